"""The Kubernetes manifests: rendered, valid, and right in what a schema does not see; each rule can be broken."""

from __future__ import annotations

import copy
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot import cli, environment_files, settings
from bot.gateway.settings import GatewaySettings
from tests.kubernetes import rules
from tests.kubernetes.cluster import (
    KUBECTL,
    MANIFESTS,
    OVERLAYS,
    PROJECT,
    RUNNERS,
    Cluster,
    Object,
    objects,
    rendered,
    runner_values,
)
from tests.kubernetes.rules import ENVIRONMENTS, RULES, Rule
from tests.kubernetes.test_container import STAGES

FORMS = ("share-nfs", "share-dynamic")
Break = Callable[[Cluster], Any]


def with_component(folder: Path, overlay: str, component: str) -> Cluster:
    """Return what an overlay makes with one component more."""
    shutil.copytree(MANIFESTS, folder / "kubernetes")
    file = folder / "kubernetes/overlays" / overlay / "kustomization.yaml"
    file.write_text(file.read_text().replace("images\n", f"images\n  - ../../components/{component}\n"))
    done = subprocess.run([KUBECTL, "kustomize", file.parent], capture_output=True, text=True, check=True).stdout
    return Cluster(list(yaml.safe_load_all(done)))


@cache
def _autoscaled() -> list[Object]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copytree(MANIFESTS, folder / "kubernetes")
        file = folder / "kubernetes/overlays/prod/kustomization.yaml"
        # As the component says: what names Tritons one by one goes.
        kept, one_by_one = re.subn(r"^replicas:\n.*\Z", "", file.read_text(), flags=re.MULTILINE | re.DOTALL)
        assert one_by_one == 1 and "- ../../components/images\n" in kept
        file.write_text(kept.replace("images\n", "images\n  - ../../components/autoscaling\n"))
        done = subprocess.run([KUBECTL, "kustomize", file.parent], capture_output=True, text=True, check=True).stdout
    others = [each for each in objects() if each not in yaml.safe_load_all(rendered("prod"))]
    return [*others, *yaml.safe_load_all(done)]


def autoscaled() -> Cluster:
    """All of the cluster, with an autoscaler for the Tritons of prod."""
    return Cluster(copy.deepcopy(_autoscaled()))


@pytest.mark.parametrize("share", FORMS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_it_holds(rule: Rule, share: str) -> None:
    assert list(rule(Cluster(objects(share)))) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_it_holds_with_an_autoscaler(rule: Rule) -> None:
    assert list(rule(autoscaled())) == []


def test_what_names_tritons_one_by_one_beside_an_autoscaler_is_seen(tmp_path: Path) -> None:
    """An overlay that was left as it is."""
    cluster = with_component(tmp_path, "prod", "autoscaling")
    assert len(list(rules.tritons_of_gateways(cluster))) == len(list(rules.autoscaling(cluster))) == 1


def test_every_environment_has_an_overlay_and_the_bot_has_one() -> None:
    assert set(OVERLAYS) == {*ENVIRONMENTS, "mlops", "airflow"}


def test_the_same_namespace_is_said_everywhere() -> None:
    for overlay in OVERLAYS:
        kustomization = yaml.safe_load((MANIFESTS / "overlays" / overlay / "kustomization.yaml").read_text())
        share = yaml.safe_load((MANIFESTS / "overlays" / overlay / "share.yaml").read_text())
        assert share["data"]["namespace"] == kustomization["namespace"]
        assert share["data"]["volume"] == f"promobot-share-{overlay}"


@pytest.mark.parametrize("share", FORMS)
def test_no_parameter_is_left_unset(share: str) -> None:
    assert "set-by-the-overlay" not in yaml.safe_dump(objects(share))
    assert not list(Cluster(objects(share)).of("Secret")), "secrets are no manifests"


def test_the_server_and_the_path_of_the_share_are_parameters(tmp_path: Path) -> None:
    shutil.copytree(MANIFESTS, tmp_path / "kubernetes")
    file = tmp_path / "kubernetes/overlays/dev/share.yaml"
    file.write_text(file.read_text().replace("nfs.example.com", "10.1.2.3").replace(": /mnt/nfs_share", ": /export"))
    done = subprocess.run([KUBECTL, "kustomize", file.parent], capture_output=True, text=True, check=True).stdout
    (volume,) = Cluster(list(yaml.safe_load_all(done))).of("PersistentVolume")
    assert volume["spec"]["nfs"] == {"server": "10.1.2.3", "path": "/export/mlops"}
    assert volume["spec"]["claimRef"]["namespace"] == "ml-dev"


@pytest.mark.parametrize("share", FORMS)
def test_no_overlay_makes_what_another_makes_too(share: str) -> None:
    """Who applies two of them, or has Argo CD or Flux do it, must not have two owners of one object."""
    seen: dict[tuple[str, str, str], str] = {}
    for overlay in OVERLAYS:
        for each in yaml.safe_load_all(rendered(overlay, share)):
            name = (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"])
            assert seen.setdefault(name, overlay) == overlay, name
            assert each["kind"] != "StorageClass", "it is the cluster's: manifests/kubernetes/cluster"


def test_the_storage_class_is_of_the_share_that_the_overlays_name() -> None:
    (made,) = Cluster(objects("share-dynamic")).of("StorageClass")
    for overlay in OVERLAYS:
        share = yaml.safe_load((MANIFESTS / "overlays" / overlay / "share.yaml").read_text())["data"]
        assert (made["parameters"]["server"], made["parameters"]["share"]) == (share["server"], share["path"])


@pytest.mark.parametrize(("overlay", "name"), [("prod", "triton"), ("mlops", "triton-staging")])
def test_with_gpus_a_triton_goes_where_one_is_and_gets_it(tmp_path: Path, overlay: str, name: str) -> None:
    cluster = with_component(tmp_path, overlay, "gpu")
    (pods,) = (pods for pods in cluster.pods if pods.name == name)
    assert pods.main["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pods.spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert pods.spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    others = [each for each in cluster.pods if each.name != name]
    assert others and not any("nodeSelector" in each.spec for each in others)


def test_as_a_github_app_nothing_has_a_persons_token_and_the_key_is_where_the_settings_say(tmp_path: Path) -> None:
    cluster = with_component(tmp_path, "mlops", "github-app")
    assert [each for each in cluster.objects if list(rules.schema(Cluster([each])))] == []
    done = yaml.safe_dump(cluster.objects)
    assert "GITHUB_TOKEN" not in done and "GITSYNC_PASSWORD" not in done
    slack = cluster.pod("mlops/slack")
    assert settings.GitHubApp(id=1).private_key_env in {each["name"] for each in slack.main["env"]}
    (checkout,) = slack.spec["initContainers"]
    given = {each["name"]: each.get("value", each.get("valueFrom")) for each in checkout["env"]}
    (mount,) = (each for each in checkout["volumeMounts"] if each["name"] == "app")
    assert given["GITSYNC_GITHUB_APP_PRIVATE_KEY_FILE"] == f"{mount['mountPath']}/github_app_private_key"
    # git-sync wants these two beside the key.
    assert {"GITSYNC_GITHUB_APP_APPLICATION_ID", "GITSYNC_GITHUB_APP_INSTALLATION_ID"} <= set(given)
    assert not any(mount["name"] == "app" for mount in slack.main["volumeMounts"])


def test_every_image_is_pinned_in_one_file(tmp_path: Path) -> None:
    """What the page leaves to fill in is filled in; then whatever is rendered has a digest."""
    shutil.copytree(MANIFESTS, tmp_path / "kubernetes")
    file = tmp_path / "kubernetes/components/images/kustomization.yaml"
    filled, count = re.subn(r"(newTag: \S+\n)(?!    digest)", rf"\1    digest: sha256:{'a' * 64}\n", file.read_text())
    assert count == len(rules.to_be_pinned()) == 2
    file.write_text(filled)
    for overlay in OVERLAYS:
        folder = tmp_path / "kubernetes/overlays" / overlay
        assert "images:" not in (folder / "kustomization.yaml").read_text()
        done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=True).stdout
        images = re.findall(r"image: (\S+)", done)
        assert bool(images) == (overlay != "airflow"), "Airflow's chart names its own"
        assert all(re.search(r":[\w.-]+@sha256:[0-9a-f]{64}$", image) for image in images)


def test_the_page_lists_the_digests_that_are_missing_and_those_that_are_there() -> None:
    images = {each["image"] for pods in Cluster(objects()).pods for each in pods.containers}
    images |= {STAGES["build"].base.removeprefix("docker.io/library/")}
    assert set(rules.to_be_pinned()) == {image for image in images if "@" not in image}
    assert all(re.search(r"--digestfile|inspect --format", how) for how in rules.to_be_pinned().values())
    page = rules.DOCUMENT.read_text()
    for image in images - set(rules.to_be_pinned()):
        name, _, digest = image.partition("@")
        assert re.search(rf"^\| `[\w./-]*{re.escape(name)}` \| `{digest[:19]}…` \|", page, re.MULTILINE), image


def test_both_runners_have_the_image_that_the_page_names_and_the_label_that_the_workflows_ask_for() -> None:
    for kind in RUNNERS:
        values = runner_values(kind)
        assert values["runnerScaleSetName"] == values["runnerGroup"] == f"promobot-{kind}"
    checks, deploy = (runner_values(kind)["template"]["spec"]["containers"][0]["image"] for kind in RUNNERS)
    assert checks == deploy


def test_a_triton_takes_the_largest_request_that_a_gateway_passes_on() -> None:
    pods = (cluster := Cluster(objects())).pod("ml-prod/triton")
    assert f"--http-max-input-size={GatewaySettings.max_request_bytes}" in cluster.words(pods, pods.main)


def test_with_cilium_the_runners_for_checks_reach_names_alone(tmp_path: Path) -> None:
    cluster = with_component(tmp_path, "mlops", "egress-by-name")
    (plain,) = (each for each in cluster.of("NetworkPolicy") if each["metadata"]["name"] == "checks")
    (by_name,) = cluster.of("CiliumNetworkPolicy")
    assert by_name["metadata"]["namespace"] == "mlops"
    assert by_name["spec"]["endpointSelector"] == plain["spec"]["podSelector"]
    # A rule for the same port that does not look into it would have Cilium read no answers of DNS.
    ports = {port["port"] for rule in plain["spec"]["egress"] for port in rule["ports"]}
    assert ports == {8001, 8000, 5000} and "ipBlock" not in str(plain)
    names = [next(iter(name.values())) for rule in by_name["spec"]["egress"] for name in rule.get("toFQDNs", [])]
    assert names and all(name.endswith(("github.com", "githubusercontent.com", ".windows.net")) for name in names)


# --- each rule can be broken --------------------------------------------------------------------------------------


def at(cluster: Cluster, path: str) -> Object:
    """``Kind namespace/name``; the object itself, to be broken."""
    (found,) = (each for each in cluster.objects if rules.name_of(each) == path)
    return found


def pod(cluster: Cluster, path: str) -> Object:
    """The pod's specification of a workload."""
    spec: Object = at(cluster, path)["spec"]
    return spec["template"]["spec"] if "template" in spec else spec


def main(cluster: Cluster, path: str) -> Object:
    container: Object = pod(cluster, path)["containers"][0]
    return container


def swap(words: list[str], old: str, new: str) -> None:
    assert any(old in word for word in words), (old, words)
    words[:] = [word.replace(old, new) for word in words]


def drop_words(words: list[str], old: str) -> None:
    assert any(old in word for word in words), (old, words)
    words[:] = [word for word in words if old not in word]


def swap_image(cluster: Cluster, path: str, old: str, new: str) -> None:
    container = main(cluster, path)
    before, container["image"] = container["image"], re.sub(old, new, container["image"])
    assert container["image"] != before


def without(entries: list[Object], name: str) -> None:
    assert any(each["name"] == name for each in entries)
    entries[:] = [each for each in entries if each["name"] != name]


TRITON, GATEWAY = "StatefulSet ml-prod/triton", "StatefulSet ml-prod/gateway"
STAGING, SLACK, RUNNER = "StatefulSet mlops/triton-staging", "Deployment mlops/slack", "Pod mlops/runner-deploy"
BOARD = "Deployment mlops/board"
CHECKS = "Pod mlops/runner-checks"
SCALER = "HorizontalPodAutoscaler ml-prod/triton"

BREAKS: list[tuple[Rule, str, Break]] = [
    (rules.schema, "unknown key", lambda c: main(c, GATEWAY).update(imagePullPolice="Always")),
    (rules.schema, "wrong type", lambda c: at(c, GATEWAY)["spec"].update(replicas="2")),
    (rules.schema, "unknown kind", lambda c: at(c, "Service ml-prod/models").update(kind="Servise")),
    (rules.schema, "missing key", lambda c: at(c, GATEWAY)["spec"].pop("selector")),
    (rules.unique, "same name", lambda c: at(c, "PersistentVolume /promobot-share-dev")["metadata"].update(
        name="promobot-share-prod")),
    (rules.restricted, "namespace", lambda c: at(c, "Namespace /ml-prod")["metadata"]["labels"].update(
        {"pod-security.kubernetes.io/enforce": "baseline"})),
    (rules.restricted, "root", lambda c: pod(c, TRITON)["securityContext"].update(runAsUser=0)),
    (rules.restricted, "perhaps root", lambda c: pod(c, TRITON)["securityContext"].pop("runAsNonRoot")),
    (rules.restricted, "seccomp", lambda c: pod(c, SLACK)["securityContext"].pop("seccompProfile")),
    (rules.restricted, "privileges", lambda c: main(c, RUNNER)["securityContext"].pop("allowPrivilegeEscalation")),
    (rules.restricted, "capabilities", lambda c: main(c, GATEWAY)["securityContext"].pop("capabilities")),
    (rules.restricted, "sidecar", lambda c: pod(c, SLACK)["initContainers"][0].pop("securityContext")),
    (rules.restricted, "host path", lambda c: pod(c, TRITON)["volumes"].append(
        {"name": "host", "hostPath": {"path": "/"}})),
    (rules.restricted, "host network", lambda c: pod(c, GATEWAY).update(hostNetwork=True)),
    (rules.hardened, "latest", lambda c: main(c, GATEWAY).update(image="ghcr.io/acme/promobot-gateway:latest")),
    (rules.hardened, "a tag alone", lambda c: swap_image(c, RUNNER, r"@sha256:.*", "")),
    (rules.hardened, "half a digest", lambda c: swap_image(c, CHECKS, "@sha256:.*", "@sha256:4ffadc00")),
    (rules.hardened, "a digest alone", lambda c: swap_image(c, RUNNER, ":[^/@]*@", "@")),
    (rules.hardened, "sidecar's tag", lambda c: pod(c, SLACK)["initContainers"][0].update(
        image="registry.k8s.io/git-sync/git-sync:v4.4.0")),
    (rules.hardened, "no tag", lambda c: main(c, RUNNER).update(image="ghcr.io/actions/actions-runner")),
    (rules.hardened, "port of a registry is no tag", lambda c: main(c, RUNNER).update(image="registry:5000/runner")),
    (rules.hardened, "writable root", lambda c: main(c, SLACK)["securityContext"].pop("readOnlyRootFilesystem")),
    (rules.hardened, "token", lambda c: pod(c, RUNNER).pop("automountServiceAccountToken")),
    (rules.hardened, "account", lambda c: at(c, "ServiceAccount mlops/promobot-checks").pop(
        "automountServiceAccountToken")),
    (rules.hardened, "limits", lambda c: main(c, TRITON)["resources"]["limits"].pop("memory")),
    (rules.hardened, "requests", lambda c: main(c, TRITON)["resources"]["requests"].pop("cpu")),
    (rules.hardened, "endless", lambda c: pod(c, RUNNER)["volumes"][0].update(emptyDir={})),
    (rules.references, "service", lambda c: at(c, "Service ml-prod/models")["spec"].update(
        selector={"app.kubernetes.io/name": "gatewya"})),
    (rules.references, "port", lambda c: at(c, "Service ml-prod/models")["spec"]["ports"][0].update(
        targetPort="web")),
    (rules.references, "budget", lambda c: at(c, "PodDisruptionBudget ml-prod/triton")["spec"]["selector"].update(
        matchLabels={"app": "triton"})),
    (rules.references, "selector", lambda c: at(c, TRITON)["spec"]["selector"].update(matchLabels={"app": "x"})),
    (rules.references, "headless", lambda c: at(c, "Service ml-prod/triton")["spec"].pop("clusterIP")),
    (rules.references, "not ready", lambda c: at(c, "Service ml-prod/triton")["spec"].pop(
        "publishNotReadyAddresses")),
    (rules.references, "account", lambda c: pod(c, SLACK).update(serviceAccountName="promobot")),
    (rules.references, "claim", lambda c: pod(c, RUNNER)["volumes"][1]["persistentVolumeClaim"].update(
        claimName="shares")),
    (rules.references, "volume", lambda c: without(main(c, GATEWAY)["volumeMounts"], "tmp")),
    (rules.references, "variable", lambda c: without(main(c, TRITON)["env"], "ENVIRONMENT")),
    (rules.references, "probe", lambda c: main(c, GATEWAY)["livenessProbe"]["httpGet"].update(port="metrics")),
    (rules.references, "no probe", lambda c: main(c, SLACK).pop("readinessProbe")),
    (rules.references, "probe's variable", lambda c: main(c, TRITON)["readinessProbe"]["exec"]["command"].append(
        "$(ENVIRONMENT)")),
    (rules.references, "volume for nobody", lambda c: at(c, "PersistentVolume /promobot-share-dev")["spec"][
        "claimRef"].update(namespace="ml-prod")),
    (rules.share, "triton writes", lambda c: [
        pod(c, TRITON)["volumes"][0]["persistentVolumeClaim"].pop("readOnly"),
        main(c, TRITON)["volumeMounts"][0].pop("readOnly")]),
    (rules.share, "gateway sees all", lambda c: main(c, GATEWAY)["volumeMounts"][0].pop("subPathExpr")),
    (rules.share, "checks see all", lambda c: main(c, CHECKS)["volumeMounts"].append(
        {"name": "share", "mountPath": "/mnt/nfs_share/mlops"})),
    (rules.share, "checks see what serves", lambda c: main(c, CHECKS)["volumeMounts"][1].update(
        subPath="triton/model-repo/prod")),
    (rules.share, "checks lift a quarantine", lambda c: main(c, CHECKS)["volumeMounts"][2].pop("readOnly")),
    (rules.share, "checks invent deployments", lambda c: main(c, CHECKS)["volumeMounts"].append(
        {"name": "share", "mountPath": "/mnt/nfs_share/mlops/promobot-records/deployments",
         "subPath": "promobot-records/deployments"})),
    (rules.share, "checks cannot write", lambda c: main(c, CHECKS)["volumeMounts"].pop()),
    (rules.share, "two mounts", lambda c: main(c, RUNNER)["volumeMounts"][1].update(subPath="triton/model-repo/dev")),
    (rules.share, "another user", lambda c: pod(c, RUNNER)["securityContext"].update(runAsUser=1002)),
    (rules.share, "fsGroup", lambda c: pod(c, SLACK)["securityContext"].update(fsGroup=1001)),
    (rules.share, "elsewhere", lambda c: main(c, SLACK)["volumeMounts"][1].update(mountPath="/share")),
    (rules.share, "other server", lambda c: at(c, "PersistentVolume /promobot-share-dev")["spec"]["nfs"].update(
        server="other")),
    (rules.share, "soft", lambda c: at(c, "PersistentVolume /promobot-share-dev")["spec"]["mountOptions"].remove(
        "hard")),
    (rules.share, "one node", lambda c: at(c, "PersistentVolumeClaim ml-prod/share")["spec"].update(
        accessModes=["ReadWriteOnce"])),
    (rules.addresses, "name", lambda c: at(c, "Service ml-prod/triton")["metadata"].update(name="tritons")),
    (rules.addresses, "port", lambda c: at(c, "Service ml-dev/gateway")["spec"]["ports"][0].update(port=80)),
    (rules.addresses, "one more", lambda c: at(c, "StatefulSet ml-dev/gateway")["spec"].update(replicas=3)),
    (rules.addresses, "one less", lambda c: at(c, "StatefulSet ml-dev/gateway")["spec"].update(replicas=1)),
    (rules.addresses, "in front", lambda c: at(c, "Service ml-prod/gateway")["spec"].pop("clusterIP")),
    (rules.addresses, "staging", lambda c: at(c, STAGING)["spec"].update(replicas=2)),
    (rules.folders, "other environment", lambda c: without(
        main(c, TRITON)["env"], "ENVIRONMENT") or main(c, TRITON)["env"].append(
        {"name": "ENVIRONMENT", "value": "dev"})),
    (rules.folders, "repository", lambda c: swap(main(c, STAGING)["args"], "/share/model-repo", "/share/state")),
    (rules.folders, "routes", lambda c: swap(main(c, GATEWAY)["args"], "/share/state", "/share")),
    (rules.folders, "probe", lambda c: swap(
        main(c, TRITON)["readinessProbe"]["exec"]["command"], "/share/state", "/share")),
    (rules.tritons_of_gateways, "one more", lambda c: at(c, TRITON)["spec"].update(replicas=3)),
    (rules.tritons_of_gateways, "typo", lambda c: swap(main(c, GATEWAY)["args"], "triton-1", "triton-2")),
    (rules.secrets, "slack", lambda c: without(main(c, SLACK)["env"], "SLACK_SIGNING_SECRET")),
    (rules.secrets, "runner", lambda c: without(main(c, RUNNER)["env"], "PROMOBOT_TRITON_KEY")),
    (rules.secrets, "runner for checks", lambda c: without(main(c, CHECKS)["env"], "PROMOBOT_STAGING_TRITON_KEY")),
    (rules.secrets, "checks with the key of what serves", lambda c: main(c, CHECKS)["env"].append(
        *[each for each in main(c, RUNNER)["env"] if each["name"] == "PROMOBOT_TRITON_KEY"])),
    (rules.secrets, "checks with the reload token", lambda c: main(c, CHECKS)["env"].append(
        *[each for each in main(c, SLACK)["env"] if each["name"] == "PROMOBOT_RELOAD_TOKEN"])),
    (rules.secrets, "one key for staging and what serves", lambda c: main(c, STAGING)["env"][0].update(
        valueFrom={"secretKeyRef": {"name": "triton-control", "key": "PROMOBOT_TRITON_KEY"}})),
    (rules.identities, "one account", lambda c: pod(c, CHECKS).update(serviceAccountName="promobot-deploy")),
    (rules.identities, "one role", lambda c: at(c, CHECKS)["metadata"]["labels"].update({"promobot/role": "bot"})),
    (rules.identities, "more than a name", lambda c: at(c, "ServiceAccount mlops/promobot-checks").update(
        imagePullSecrets=[{"name": "x"}])),
    (rules.secrets, "board with the reload token", lambda c: main(c, BOARD)["env"].append(
        *[each for each in main(c, SLACK)["env"] if each["name"] == "PROMOBOT_RELOAD_TOKEN"])),
    (rules.secrets, "board without GitHub", lambda c: without(main(c, BOARD)["env"], "GITHUB_TOKEN")),
    (rules.share, "board writes", lambda c: main(c, BOARD)["volumeMounts"][1].pop("readOnly")),
    (rules.share, "board sees all", lambda c: main(c, BOARD)["volumeMounts"][1].pop("subPath")),
    (rules.network, "board for everybody", lambda c: at(c, "NetworkPolicy mlops/board")["spec"]["ingress"][0][
        "from"][0].update(namespaceSelector={})),
    (rules.commands, "flag of the board", lambda c: swap(main(c, BOARD)["args"], "--port=", "--http=")),
    (rules.secrets, "gateway", lambda c: without(main(c, GATEWAY)["env"], "PROMOBOT_RELOAD_TOKEN")),
    (rules.secrets, "in clear", lambda c: main(c, GATEWAY)["env"].append({"name": "API_KEY", "value": "1"})),
    (rules.secrets, "gRPC open", lambda c: drop_words(main(c, TRITON)["args"], "--grpc-restricted-protocol")),
    (rules.secrets, "HTTP open", lambda c: swap(main(c, TRITON)["args"], "api=model-repository,", "api=")),
    (rules.secrets, "other header", lambda c: swap(main(c, STAGING)["args"], "promobot-control", "admin-key")),
    (rules.secrets, "not told", lambda c: main(c, SLACK)["env"][0]["valueFrom"]["secretKeyRef"].update(name="bot")),
    (rules.commands, "flag of the bot", lambda c: swap(main(c, SLACK)["args"], "--http=", "--port=")),
    (rules.commands, "flag of the gateway", lambda c: main(c, GATEWAY)["args"].append("--workers=4")),
    (rules.commands, "port", lambda c: swap(main(c, GATEWAY)["args"], "8080", "9090")),
    (rules.commands, "host", lambda c: drop_words(main(c, SLACK)["args"], "--host")),
    (rules.endings, "gateway", lambda c: pod(c, GATEWAY).pop("terminationGracePeriodSeconds")),
    (rules.endings, "preStop", lambda c: main(c, GATEWAY).pop("lifecycle")),
    (rules.endings, "longer answers", lambda c: swap(main(c, GATEWAY)["args"], "seconds=30", "seconds=60")),
    (rules.endings, "triton", lambda c: swap(main(c, TRITON)["args"], "timeout-secs=30", "timeout-secs=90")),
    (rules.endings, "slack", lambda c: pod(c, SLACK).pop("terminationGracePeriodSeconds")),
    (rules.replicas, "one gateway", lambda c: at(c, GATEWAY)["spec"].update(replicas=1)),
    (rules.replicas, "budget", lambda c: c.objects.remove(at(c, "PodDisruptionBudget ml-prod/gateway"))),
    (rules.network, "control for gateways", lambda c: at(c, "NetworkPolicy ml-prod/triton")["spec"]["ingress"][1][
        "ports"].append({"port": "grpc"})),
    (rules.network, "control for all of mlops", lambda c: at(c, "NetworkPolicy ml-prod/triton")["spec"]["ingress"][0][
        "from"][0].pop("podSelector")),
    (rules.network, "control for any bot", lambda c: at(c, "NetworkPolicy ml-prod/triton")["spec"]["ingress"][0][
        "from"][0].update(namespaceSelector={})),
    (rules.network, "open", lambda c: [
        c.objects.remove(at(c, "NetworkPolicy ml-prod/nothing-else")),
        c.objects.remove(at(c, "NetworkPolicy ml-prod/triton"))]),
    (rules.network, "no DNS", lambda c: at(c, "NetworkPolicy mlops/bot")["spec"]["egress"].pop()),
    (rules.network, "bot's label", lambda c: at(c, RUNNER)["metadata"]["labels"].pop("promobot/role")),
    (rules.network, "no gateway", lambda c: at(c, "NetworkPolicy ml-dev/gateway")["spec"]["egress"].pop(0)),
    (rules.network, "checks reach what serves", lambda c: at(c, CHECKS)["metadata"]["labels"].update(
        {"promobot/role": "bot"})),
    (rules.network, "checks reach gateways", lambda c: at(c, "NetworkPolicy mlops/checks")["spec"]["egress"].append(
        at(c, "NetworkPolicy mlops/bot")["spec"]["egress"][1])),
    (rules.network, "checks reach the company", lambda c: at(c, "NetworkPolicy mlops/checks")["spec"]["egress"][3][
        "to"][0]["ipBlock"].pop("except")),
    (rules.network, "checks reach no staging", lambda c: at(c, "NetworkPolicy mlops/checks")["spec"][
        "egress"].pop(0)),
    (rules.network, "namespace's label", lambda c: at(c, "Namespace /ml-dev")["metadata"]["labels"].pop(
        "promobot/serves-models")),
    (rules.policies, "for nobody", lambda c: at(c, "NetworkPolicy ml-dev/gateway")["spec"]["podSelector"].update(
        matchLabels={"app": "gateway"})),
    (rules.policies, "port", lambda c: at(c, "NetworkPolicy ml-dev/gateway")["spec"]["ingress"][0]["ports"][
        0].update(port="web")),
    (rules.policies, "default", lambda c: c.objects.remove(at(c, "NetworkPolicy mlops/nothing-else"))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "how"), [(rule, how) for rule, _, how in BREAKS], ids=[f"{r.__name__}-{n}" for r, n, _ in BREAKS]
)
def test_it_can_be_broken(rule: Rule, how: Break) -> None:
    broken = Cluster(objects())
    how(broken)
    assert list(rule(broken)) != []


SCALED: list[tuple[Rule, str, Break]] = [
    (rules.autoscaling, "nothing", lambda c: at(c, SCALER)["spec"]["scaleTargetRef"].update(name="tritons")),
    (rules.autoscaling, "another kind", lambda c: at(c, SCALER)["spec"]["scaleTargetRef"].update(kind="Deployment")),
    (rules.autoscaling, "two say how many", lambda c: at(c, TRITON)["spec"].update(replicas=2)),
    (rules.autoscaling, "down to one", lambda c: at(c, SCALER)["spec"].pop("minReplicas")),
    (rules.autoscaling, "never", lambda c: at(c, SCALER)["spec"].update(maxReplicas=2)),
    (rules.autoscaling, "unknown", lambda c: main(c, TRITON)["resources"]["requests"].pop("cpu")),
    (rules.autoscaling, "in haste", lambda c: at(c, SCALER)["spec"]["behavior"]["scaleDown"].update(
        stabilizationWindowSeconds=0)),
    (rules.autoscaling, "all at once", lambda c: at(c, SCALER)["spec"]["behavior"]["scaleDown"]["policies"][0].update(
        value=4)),
    (rules.tritons_of_gateways, "a fixed list", lambda c: swap(
        main(c, GATEWAY)["args"], "--triton-every-address=http://triton:", "--triton=http://triton-0.triton:")),
    (rules.tritons_of_gateways, "both", lambda c: main(c, GATEWAY)["args"].append(
        "--triton=http://triton-0.triton:8000")),
    (rules.replicas, "once", lambda c: at(c, SCALER)["spec"].update(minReplicas=1)),
    (rules.commands, "typo", lambda c: swap(main(c, GATEWAY)["args"], "every-address", "each-address")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "how"), [(rule, how) for rule, _, how in SCALED], ids=[f"{r.__name__}-{n}" for r, n, _ in SCALED]
)
def test_an_autoscaler_can_be_broken(rule: Rule, how: Break) -> None:
    broken = autoscaled()
    how(broken)
    assert list(rule(broken)) != []


DYNAMIC: list[tuple[str, Break]] = [
    ("own directories", lambda c: next(c.of("StorageClass"))["parameters"].pop("subDir")),
    ("deleted", lambda c: next(c.of("StorageClass")).update(reclaimPolicy="Delete")),
    ("options", lambda c: next(c.of("StorageClass"))["mountOptions"].remove("actimeo=1")),
]


@pytest.mark.parametrize("how", [how for _, how in DYNAMIC], ids=[name for name, _ in DYNAMIC])
def test_a_share_by_storage_class_can_be_broken(how: Break) -> None:
    broken = Cluster(objects("share-dynamic"))
    how(broken)
    assert list(rules.share(broken)) != []


def test_no_rule_is_left_unbroken() -> None:
    assert {rule for rule, _, _ in (*BREAKS, *SCALED)} == set(RULES)


# --- the examples -------------------------------------------------------------------------------------------------


def example(name: str) -> list[Object]:
    return list(yaml.safe_load_all((MANIFESTS / "examples" / name).read_text()))


def test_external_secrets_are_the_secrets_that_pods_name_and_no_others() -> None:
    named: dict[tuple[str, str], set[str]] = {}
    for pods in Cluster(objects()).pods:
        for container in pods.containers:
            for variable in container.get("env", []):
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    named.setdefault((pods.namespace, reference["name"]), set()).add(reference["key"])
    given = {}
    for each in example("external-secrets.yaml"):
        assert each["apiVersion"] == "external-secrets.io/v1" and each["kind"] == "ExternalSecret"
        assert each["spec"]["target"]["name"] == each["metadata"]["name"]
        keys = {entry["secretKey"] for entry in each["spec"]["data"]}
        given[each["metadata"]["namespace"], each["metadata"]["name"]] = keys
    assert given == named


def test_ways_in_lead_to_services_that_are_there_and_to_nothing_of_control() -> None:
    cluster = Cluster(objects())
    for each in example("ingress.yaml"):
        assert list(rules.schema(Cluster([each]))) == []
        (rule,) = each["spec"]["rules"]
        (path,) = rule["http"]["paths"]
        service = cluster.get("Service", path["backend"]["service"]["name"], each["metadata"]["namespace"])
        assert service is not None
        assert path["backend"]["service"]["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
        known = {("models", "/v2"), ("slack", "/slack"), ("board", "/")}
        assert path["pathType"] == "Prefix" and (each["metadata"]["name"], path["path"]) in known
        if path["path"] == "/":
            asked = each["metadata"]["annotations"]
            assert asked["nginx.ingress.kubernetes.io/auth-url"].startswith("https://"), "who is not signed in"
            board = cli.parse(cluster.words(cluster.pod(rules.BOARD), cluster.pod(rules.BOARD).main)).arguments
            assert asked["nginx.ingress.kubernetes.io/auth-response-headers"].lower() == board.who_header
            assert board.host_name == [rule["host"]]
        assert each["spec"]["tls"][0]["hosts"] == [rule["host"]]


# --- the page -----------------------------------------------------------------------------------------------------


def lines() -> list[str]:
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", rules.DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines()]


def test_the_page_applies_every_overlay_and_names_what_is_there() -> None:
    applied = [line.split()[-1] for line in lines() if line.startswith("kubectl apply -k ")]
    assert applied == [f"manifests/kubernetes/overlays/{name}" for name in ("mlops", "dev", "prod")]
    assert set(OVERLAYS) == {*(Path(path).name for path in applied), "airflow"}, "docs/how-to/airflow.md has that one"
    values = [line.rpartition("--values ")[2] for line in lines() if "--values" in line]
    assert values == [f"manifests/kubernetes/runner-values-{kind}.yaml" for kind in RUNNERS]
    assert all((PROJECT / path).is_file() for path in values)


def test_the_page_makes_the_folders_and_asks_in_a_container_that_is_there() -> None:
    cluster = Cluster(objects())
    inside = [line.partition(" -- ") for line in lines() if " exec " in line]
    assert {before for before, _, _ in inside} == {"kubectl -n mlops exec deployment/slack -c slack"}
    assert cluster.pod("mlops/slack").main["name"] == "slack"
    made = {path for _, _, command in inside if command.startswith("mkdir") for path in command.split()[2:]}
    shares = [share for each in ENVIRONMENTS.values() for share in (each.share, each.staging.share)]
    # A folder that is mounted must be there before, and be the bot's own: what the node makes is root's.
    mounted = {f"{each.records}/{name}" for each in ENVIRONMENTS.values() for name in rules.WRITTEN_BY_CHECKS}
    assert made == {share.model_repository for share in shares} | mounted
    (asked,) = (shlex.split(command) for _, _, command in inside if not command.startswith("mkdir"))
    root = cli.parse(asked[1:]).context.root_typed
    assert f"--root={root}" in cluster.words(cluster.pod("mlops/slack"), cluster.pod("mlops/slack").main)


def test_what_watches_a_checkout_sees_it_change(tmp_path: Path) -> None:
    """The checkout of the Slack app is a link that git-sync flips; what it led to before is deleted."""
    for name, channel in (("a", "C0OLD"), ("b", "C0NEW")):
        shutil.copytree(PROJECT / "manifests/environments", tmp_path / name / "manifests/environments")
        file = tmp_path / name / "manifests/environments/dev.yaml"
        file.write_text(re.sub(r"channel: \w+", f"channel: {channel}", file.read_text()))
    link = tmp_path / "current"
    link.symlink_to("a")
    root = cli.parse(["slack", "--http=8080", f"--root={link}"]).context.root
    assert environment_files.load(root, "dev").slack.channel == "C0OLD"
    (tmp_path / "next").symlink_to("b")
    (tmp_path / "next").replace(link)
    shutil.rmtree(tmp_path / "a")
    assert environment_files.load(root, "dev").slack.channel == "C0NEW"


def test_what_the_page_writes_into_an_environment_file_is_understood_and_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (records,) = re.findall(r"^```yaml\n(records:\n.*?)^```$", rules.DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    text = (PROJECT / settings.path_of("dev")).read_text()
    changed = re.sub(r"^records: .*\n", records, text, flags=re.MULTILINE)
    environment = environment_files.parse(changed, file=settings.path_of("dev"), environment="dev")
    monkeypatch.setitem(ENVIRONMENTS, "dev", environment)
    named = "['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']"
    # Whatever secret an environment file names, the manifests must give.
    assert list(rules.secrets(Cluster(objects()))) == [
        f"mlops/slack lacks {named}",
        f"mlops/runner-deploy lacks {named} for deploy",
        f"mlops/runner-deploy lacks {named} for dispatch",
        f"mlops/runner-checks lacks {named} for checks",
        f"mlops/runner-deploy lacks {named} for drift",
        f"mlops/board lacks {named}",
    ]
