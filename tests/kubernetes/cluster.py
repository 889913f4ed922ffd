"""What the overlays of ``manifests/kubernetes`` make of a cluster, as kustomize renders it, and how to look at it."""

from __future__ import annotations

import copy
import ipaddress
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[2]
MANIFESTS = PROJECT / "manifests" / "kubernetes"
OVERLAYS = tuple(sorted(path.name for path in (MANIFESTS / "overlays").iterdir()))
RUNNERS = ("checks", "deploy")
KUBECTL = Path(sys.executable).parent / "kubectl"

Object = dict[str, Any]


@cache
def rendered(overlay: str, share: str = "share-nfs") -> str:
    """Return what ``kubectl kustomize`` makes of the overlay, with the share in one of its two forms."""
    folder = MANIFESTS
    if share == "share-nfs":
        return kustomized(folder / "overlays" / overlay)
    other = Path(_scratch()) / share
    if not other.exists():
        shutil.copytree(folder, other)
        for file in other.glob("overlays/*/kustomization.yaml"):
            text = file.read_text()
            assert "components/share-nfs" in text
            file.write_text(text.replace("components/share-nfs", f"components/{share}"))
    return kustomized(other / "overlays" / overlay)


@cache
def _scratch() -> str:
    import atexit
    import tempfile

    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def kustomized(folder: Path) -> str:
    """Return what ``kubectl kustomize`` makes of a folder."""
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def objects(share: str = "share-nfs") -> list[Object]:
    """Return every object of every overlay, and both runners' pods as GitHub's chart makes them of our values."""
    return copy.deepcopy(_objects(share))


@cache
def _objects(share: str) -> list[Object]:
    found = [each for overlay in OVERLAYS for each in yaml.safe_load_all(rendered(overlay, share))]
    if (MANIFESTS / "cluster" / share).exists():
        found += yaml.safe_load_all(kustomized(MANIFESTS / "cluster" / share))
    return [*found, *(_runner(kind) for kind in RUNNERS)]


def runner_values(kind: str) -> Object:
    """Return the values for GitHub's chart that make the runners for ``checks`` or ``deploy``."""
    found: Object = yaml.safe_load((MANIFESTS / f"runner-values-{kind}.yaml").read_text())
    return found


def _runner(kind: str) -> Object:
    made = runner_values(kind)["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"runner-{kind}", "namespace": "mlops", **made["metadata"]},
        "spec": {**made["spec"], "restartPolicy": "Never"},
    }


@dataclass(frozen=True)
class Pods:
    """The pods of one workload."""

    kind: str
    name: str
    namespace: str
    labels: Mapping[str, str]
    replicas: int
    spec: Object

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def main(self) -> Object:
        """The one container that is no sidecar."""
        (container,) = self.spec["containers"]
        return dict(container)


class Cluster:
    """All objects, and what follows from them."""

    def __init__(self, everything: list[Object]) -> None:
        self.objects = everything

    def of(self, kind: str) -> Iterator[Object]:
        return (each for each in self.objects if each["kind"] == kind)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        for each in self.of(kind):
            if each["metadata"]["name"] == name and each["metadata"].get("namespace") == namespace:
                return each
        return None

    @property
    def pods(self) -> list[Pods]:
        found = []
        for each in self.objects:
            about = each["metadata"]
            if each["kind"] == "Pod":
                found.append(Pods("Pod", about["name"], about["namespace"], about["labels"], 1, each["spec"]))
            elif each["kind"] in ("StatefulSet", "Deployment"):
                made, spec = each["spec"]["template"], each["spec"]
                found.append(
                    Pods(
                        each["kind"],
                        about["name"],
                        about["namespace"],
                        made["metadata"]["labels"],
                        spec["replicas"] if "replicas" in spec else self._least(each),
                        made["spec"],
                    )
                )
        return found

    def autoscaler(self, namespace: str, name: str) -> Object | None:
        """What sets the number of a workload's pods, if anything does."""
        for each in self.of("HorizontalPodAutoscaler"):
            if each["metadata"]["namespace"] == namespace and each["spec"]["scaleTargetRef"]["name"] == name:
                return each
        return None

    def _least(self, workload: Object) -> int:
        scaled = self.autoscaler(workload["metadata"]["namespace"], workload["metadata"]["name"])
        return scaled["spec"].get("minReplicas", 1) if scaled else 1

    def pod(self, path: str) -> Pods:
        (found,) = (pods for pods in self.pods if str(pods) == path)
        return found

    def selected(self, selector: Object, namespace: str) -> list[Pods]:
        """The pods of the namespace that a service, a budget or a policy means."""
        return [each for each in self.pods if each.namespace == namespace and matches(selector, each.labels)]

    def labels_of(self, namespace: str) -> Mapping[str, str]:
        found = self.get("Namespace", namespace)
        assert found is not None
        return {"kubernetes.io/metadata.name": namespace, **found["metadata"].get("labels", {})}

    # --- what a container sees ------------------------------------------------------------------------------------

    def variables(self, pods: Pods, container: Object) -> dict[str, str]:
        """Its environment; a secret's value is shown as where it comes from."""
        found = {}
        for each in container.get("env", []):
            origin = each.get("valueFrom", {})
            if "value" in each:
                found[each["name"]] = each["value"]
            elif "secretKeyRef" in origin:
                found[each["name"]] = f"secret:{origin['secretKeyRef']['name']}/{origin['secretKeyRef']['key']}"
            elif "configMapKeyRef" in origin:
                named = self.get("ConfigMap", origin["configMapKeyRef"]["name"], pods.namespace)
                if named is not None and origin["configMapKeyRef"]["key"] in named["data"]:
                    found[each["name"]] = named["data"][origin["configMapKeyRef"]["key"]]
            elif origin.get("fieldRef", {}).get("fieldPath") == "metadata.name":
                found[each["name"]] = f"{pods.name}-0"
        return found

    def words(self, pods: Pods, container: Object) -> list[str]:
        """Its command and arguments, as the kubelet passes them on."""
        variables = self.variables(pods, container)
        return [_expanded(word, variables) for word in [*container.get("command", []), *container.get("args", [])]]

    def on_the_share(self, pods: Pods, container: Object) -> dict[str, tuple[str, bool]]:
        """Where it sees which folder of the share (``""`` is all of it), and whether it may write there."""
        claims = {
            volume["name"]: volume["persistentVolumeClaim"].get("readOnly", False)
            for volume in pods.spec.get("volumes", [])
            if volume.get("persistentVolumeClaim", {}).get("claimName") == "share"
        }
        variables = self.variables(pods, container)
        return {
            mount["mountPath"]: (
                _expanded(mount.get("subPathExpr", mount.get("subPath", "")), variables),
                not (mount.get("readOnly", False) or claims[mount["name"]]),
            )
            for mount in container.get("volumeMounts", [])
            if mount["name"] in claims
        }


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a selector means something with these labels; either form, ``matchLabels`` alone."""
    assert set(selector) <= {"matchLabels"} or not any(isinstance(value, dict | list) for value in selector.values())
    wanted = selector.get("matchLabels", selector)
    return all(labels.get(key) == value for key, value in wanted.items())


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    # As Kubernetes does: what is not known stays as it is.
    return re.sub(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)", lambda found: variables.get(found[1], found[0]), text)


# --- network policies ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod by its labels, or an address outside the cluster."""

    namespace: Mapping[str, str]
    labels: Mapping[str, str]
    ports: Mapping[str, int]
    address: str = ""


OUTSIDE = End({}, {}, {}, address="192.0.2.1")
INSIDE = End({}, {}, {}, address="10.20.30.40")
"""A machine of the company's own, outside the cluster."""


def stranger(labels: Mapping[str, str] | None = None, *, namespace: Mapping[str, str]) -> End:
    """Some pod that is not ours."""
    return End(namespace, labels or {}, {})


def end(cluster: Cluster, pods: Pods) -> End:
    """One of these pods."""
    ports = {port["name"]: port["containerPort"] for each in pods.containers for port in each.get("ports", [])}
    return End(cluster.labels_of(pods.namespace), pods.labels, ports)


def reaches(cluster: Cluster, source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    """Whether the network policies let ``source`` connect to a port of ``target``."""
    return all(
        _lets(cluster, direction, here, there, target, port, protocol)
        for direction, here, there in (("Egress", source, target), ("Ingress", target, source))
    )


def lets_in(cluster: Cluster, source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    """Whether the policies for ``target`` alone let ``source`` in, whatever those for ``source`` say."""
    return _lets(cluster, "Ingress", target, source, target, port, protocol)


def lets_out(cluster: Cluster, source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    """Whether the policies for ``source`` alone let it out to ``target``, whatever those for ``target`` say."""
    return _lets(cluster, "Egress", source, target, target, port, protocol)


def _lets(cluster: Cluster, direction: str, here: End, there: End, target: End, port: int, protocol: str) -> bool:
    ruling = [
        policy
        for policy in cluster.of("NetworkPolicy")
        if policy["metadata"]["namespace"] == here.namespace.get("kubernetes.io/metadata.name")
        and direction in policy["spec"]["policyTypes"]
        and matches(policy["spec"]["podSelector"], here.labels)
    ]
    if not ruling:
        return True
    key, side = direction.lower(), "to" if direction == "Egress" else "from"
    return any(
        any(_means(peer, there, policy["metadata"]["namespace"]) for peer in rule.get(side, []))
        and any(
            each.get("protocol", "TCP") == protocol
            and (each["port"] if isinstance(each["port"], int) else target.ports.get(each["port"])) == port
            for each in rule["ports"]
        )
        for policy in ruling
        for rule in policy["spec"].get(key, [])
    )


def _means(peer: Object, there: End, own_namespace: str) -> bool:
    if "ipBlock" in peer:
        address = ipaddress.ip_address(there.address or "10.0.0.1")
        network, *without = (
            ipaddress.ip_network(each) for each in (peer["ipBlock"]["cidr"], *peer["ipBlock"].get("except", []))
        )
        return address in network and not any(address in each for each in without)
    if there.address:
        return False
    if "namespaceSelector" in peer:
        if not matches(peer["namespaceSelector"], there.namespace):
            return False
    elif there.namespace.get("kubernetes.io/metadata.name") != own_namespace:
        return False
    return matches(peer.get("podSelector", {}), there.labels)
