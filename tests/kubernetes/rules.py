"""What must hold for the objects of a cluster. Each rule returns what breaks it, so that a test can break it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import PurePosixPath

import kubernetes_validate
import yaml

from bot import cli, environment_files
from bot.gateway.__main__ import parser as gateway_parser
from bot.settings import Environment
from tests.kubernetes.cluster import (
    INSIDE,
    OUTSIDE,
    PROJECT,
    Cluster,
    End,
    Object,
    Pods,
    end,
    lets_in,
    lets_out,
    matches,
    reaches,
    stranger,
)

VERSION = "1.32"
ENVIRONMENTS = {name: environment_files.load(PROJECT, name) for name in environment_files.environments(PROJECT)}
MOUNT_OPTIONS: list[str] = yaml.safe_load(
    (PROJECT / "docs/how-to/nfs.md").read_text().partition("```yaml\n")[2].partition("```")[0]
)["mountOptions"]
DOCUMENT = PROJECT / "docs/how-to/kubernetes.md"
# Runners write their own configuration into their home.
CHECKS, DEPLOY = "mlops/runner-checks", "mlops/runner-deploy"
WRITABLE_ROOT = {CHECKS, DEPLOY}
DEPLOYERS = ("mlops/slack", "mlops/watch", DEPLOY)
BOARD = "mlops/board"
WRITTEN_BY_CHECKS = ("checks", "evidence")
"""Folders of the record store. tests/operations/test_check_with_little.py sees that the checks write there only."""

Rule = Callable[[Cluster], Iterator[str]]


def name_of(each: Object) -> str:
    return f"{each['kind']} {each['metadata'].get('namespace', '')}/{each['metadata']['name']}"


# --- Kubernetes' own ----------------------------------------------------------------------------------------------


def schema(cluster: Cluster) -> Iterator[str]:
    """Every object is what this version of Kubernetes knows, without a key that it does not."""
    for each in cluster.objects:
        if wrong := _wrong(json.dumps(each)):
            yield f"{name_of(each)}: {wrong}"


@cache
def _wrong(text: str) -> str:
    try:
        used = kubernetes_validate.validate(json.loads(text), VERSION, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        return str(error.message)
    # It takes an older schema where it does not have this one.
    return "" if used == VERSION else f"was compared with {used}"


def unique(cluster: Cluster) -> Iterator[str]:
    """No two overlays make the same object, unless both say the same of it."""
    seen: dict[str, Object] = {}
    for each in cluster.objects:
        if seen.setdefault(name_of(each), each) != each:
            yield f"{name_of(each)} is there twice"


def restricted(cluster: Cluster) -> Iterator[str]:
    """Namespaces enforce the restricted pod security standard, and every pod keeps to it."""
    for namespace in cluster.of("Namespace"):
        labels = namespace["metadata"].get("labels", {})
        if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{name_of(namespace)} does not enforce restricted"
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected"}
    for pods in cluster.pods:
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if pods.spec.get(key):
                yield f"{pods}: {key}"
        for volume in pods.spec.get("volumes", []):
            if not set(volume) - {"name"} <= allowed | {"secret"}:
                yield f"{pods}: volume {volume['name']}"
        whole = pods.spec.get("securityContext", {})
        if whole.get("sysctls"):
            yield f"{pods}: sysctls"
        for container in pods.containers:
            own = container.get("securityContext", {})
            both = {**whole, **own}
            where = f"{pods} {container['name']}"
            if both.get("runAsNonRoot") is not True or both.get("runAsUser", 1) == 0:
                yield f"{where}: may run as root"
            if both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
                yield f"{where}: no seccomp profile"
            if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
                yield f"{where}: may gain privileges"
            if "ALL" not in own.get("capabilities", {}).get("drop", []):
                yield f"{where}: keeps capabilities"
            if set(own.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"}:
                yield f"{where}: adds capabilities"
            if any("hostPort" in port for port in container.get("ports", [])):
                yield f"{where}: host port"


def hardened(cluster: Cluster) -> Iterator[str]:
    """More than Kubernetes asks: read-only roots, no tokens, resources, images that do not move by themselves."""
    for account in cluster.of("ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"{name_of(account)} gives a token to its pods"
    for pods in cluster.pods:
        if pods.spec.get("automountServiceAccountToken") is not False:
            yield f"{pods} has a token of the cluster"
        for container in pods.containers:
            where = f"{pods} {container['name']}"
            if not container["securityContext"].get("readOnlyRootFilesystem") and str(pods) not in WRITABLE_ROOT:
                yield f"{where}: writable root"
            resources = container.get("resources", {})
            if not {"cpu", "memory"} <= set(resources.get("requests", {})) or "memory" not in resources["limits"]:
                yield f"{where}: no resources"
            tagged = re.fullmatch(
                r"([^@]+:(?!latest\b)[A-Za-z0-9_][\w.-]*)(@sha256:[0-9a-f]{64})?", container["image"]
            )
            if tagged is None:
                yield f"{where}: image {container['image']} has no tag"
            elif tagged[2] is None and tagged[1] not in to_be_pinned():
                yield f"{where}: image {container['image']} moves"
        for volume in pods.spec.get("volumes", []):
            if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
                yield f"{pods}: volume {volume['name']} may fill the node"


def to_be_pinned() -> dict[str, str]:
    """Return the images whose digest the page leaves to whoever runs them, each with the command that says it."""
    rows = re.findall(r"^\| `([^`]+)` \| (?:yours)[^|]*\| `([^`]+)` \|$", DOCUMENT.read_text(), re.MULTILINE)
    return dict(rows)


# --- what refers to what ------------------------------------------------------------------------------------------


def references(cluster: Cluster) -> Iterator[str]:
    """Whatever is named is there: pods behind selectors, ports, accounts, ConfigMaps, claims, volumes."""
    for service in cluster.of("Service"):
        pods = cluster.selected(service["spec"]["selector"], service["metadata"]["namespace"])
        if len(pods) != 1:
            yield f"{name_of(service)} selects {len(pods)} workloads"
        for port in service["spec"]["ports"]:
            if any(port["targetPort"] not in _ports(each) for each in pods):
                yield f"{name_of(service)}: no port {port['targetPort']}"
    for budget in cluster.of("PodDisruptionBudget"):
        if len(cluster.selected(budget["spec"]["selector"], budget["metadata"]["namespace"])) != 1:
            yield f"{name_of(budget)} selects nothing"
    for each in cluster.objects:
        if each["kind"] in ("StatefulSet", "Deployment"):
            spec, namespace = each["spec"], each["metadata"]["namespace"]
            if not matches(spec["selector"], spec["template"]["metadata"]["labels"]):
                yield f"{name_of(each)} does not select its own pods"
            if each["kind"] == "StatefulSet":
                service = cluster.get("Service", spec["serviceName"], namespace) or {"spec": {}}
                if service["spec"].get("clusterIP") != "None":
                    yield f"{name_of(each)}: no headless service {spec['serviceName']}"
                elif not service["spec"].get("publishNotReadyAddresses"):
                    yield f"{name_of(each)}: the bot would not find what is not ready"
    for pods in cluster.pods:
        yield from _references_of(cluster, pods)
    for volume in cluster.of("PersistentVolume"):
        claimed = volume["spec"]["claimRef"]
        claim = cluster.get("PersistentVolumeClaim", claimed["name"], claimed["namespace"])
        if claim is None or claim["spec"]["volumeName"] != volume["metadata"]["name"]:
            yield f"{name_of(volume)} is for no claim"


def _references_of(cluster: Cluster, pods: Pods) -> Iterator[str]:
    if cluster.get("ServiceAccount", pods.spec["serviceAccountName"], pods.namespace) is None:
        yield f"{pods}: no ServiceAccount {pods.spec['serviceAccountName']}"
    volumes = {volume["name"]: volume for volume in pods.spec.get("volumes", [])}
    for volume in volumes.values():
        if "configMap" in volume and cluster.get("ConfigMap", volume["configMap"]["name"], pods.namespace) is None:
            yield f"{pods}: no ConfigMap {volume['configMap']['name']}"
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim and cluster.get("PersistentVolumeClaim", claim, pods.namespace) is None:
            yield f"{pods}: no claim {claim}"
    mounted = {mount["name"] for container in pods.containers for mount in container.get("volumeMounts", [])}
    if mounted != set(volumes):
        yield f"{pods}: volumes {sorted(volumes)}, mounted {sorted(mounted)}"
    for container in pods.containers:
        where = f"{pods} {container['name']}"
        missing = {each["name"] for each in container.get("env", [])} - set(cluster.variables(pods, container))
        if missing:
            yield f"{where}: nothing gives {', '.join(sorted(missing))}"
        words = [
            *cluster.words(pods, container),
            *(path for path, _ in cluster.on_the_share(pods, container).values()),
        ]
        if any("$(" in word for word in words):
            yield f"{where}: {[word for word in words if '$(' in word]} is not expanded"
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container.get(probe, {})
            if "httpGet" in asked and asked["httpGet"]["port"] not in {p["name"] for p in container["ports"]}:
                yield f"{where}: {probe} asks a port that is not there"
            if any("$(" in word for word in asked.get("exec", {}).get("command", [])):
                yield f"{where}: {probe} is not expanded from a ConfigMap"
        probes = {"startupProbe", "readinessProbe", "livenessProbe"}
        if pods.kind != "Pod" and container in pods.spec["containers"] and not probes <= set(container):
            yield f"{where}: lacks a probe"


def _ports(pods: Pods) -> set[str]:
    return {port["name"] for container in pods.containers for port in container.get("ports", [])}


# --- the share ----------------------------------------------------------------------------------------------------


def share(cluster: Cluster) -> Iterator[str]:
    """Whoever serves sees its environment's folders alone and cannot write; whoever deploys sees all in one mount."""
    writers = [pods for pods in cluster.pods if pods.labels.get("promobot/role") == "bot"]
    checks = cluster.pod(CHECKS)
    users = {pods.spec["securityContext"].get("runAsUser") for pods in (*writers, checks)}
    if len(users) != 1 or None in users:
        yield f"those who write are {users} to NFS"
    for pods in cluster.pods:
        if pods.spec["securityContext"].get("fsGroup") is not None:
            yield f"{pods}: fsGroup changes every file of the share"
        shown = _shown_by_the_board() if str(pods) == BOARD else _served_by(pods)
        own = {shares.partition("/mlops/")[2] for shares in shown}
        for container in pods.containers if str(pods) != CHECKS else ():
            for path, (folder, may_write) in cluster.on_the_share(pods, container).items():
                if may_write and (pods not in writers or folder):
                    yield f"{pods} writes to {folder or 'the share'} at {path}"
                if not may_write and folder not in own:
                    yield f"{pods} sees more than its own: {folder or 'all'}"
    yield from _seen_by_checks(cluster, checks)
    board = cluster.pod(BOARD)
    if set(cluster.on_the_share(board, board.main)) != _shown_by_the_board():
        yield f"{board} sees {sorted(cluster.on_the_share(board, board.main))}"
    for writer in writers:
        seen = cluster.on_the_share(writer, writer.main)
        for environment in ENVIRONMENTS.values():
            for wanted in _paths(environment):
                if not any(wanted.startswith(f"{path}/") and may_write for path, (_, may_write) in seen.items()):
                    yield f"{writer} has no {wanted}"
    volumes = [volume["spec"] for volume in cluster.of("PersistentVolume")]
    if len({(each["nfs"]["server"], each["nfs"]["path"]) for each in volumes}) > 1:
        yield "the overlays name different shares"
    for volume in (*volumes, *cluster.of("StorageClass")):
        if volume["mountOptions"] != MOUNT_OPTIONS:
            yield f"mount options {volume['mountOptions']}, docs/how-to/nfs.md says {MOUNT_OPTIONS}"
    for each in cluster.of("StorageClass"):
        if "${" in each["parameters"].get("subDir", "${") or each["reclaimPolicy"] != "Retain":
            yield f"{name_of(each)} gives each claim a directory of its own, or deletes it"
    for claim in cluster.of("PersistentVolumeClaim"):
        if claim["spec"]["accessModes"] != ["ReadWriteMany"]:
            yield f"{name_of(claim)} is not for several nodes"


def _served_by(pods: Pods) -> list[str]:
    share_of = {f"ml-{name}": each.share for name, each in ENVIRONMENTS.items()}
    share_of["mlops"] = next(iter(ENVIRONMENTS.values())).staging.share
    return [share_of[pods.namespace].model_repository, share_of[pods.namespace].state]


def _shown_by_the_board() -> set[str]:
    """What is routed and deployed in every environment, and the records. Staging is not among them."""
    shares = [path for each in ENVIRONMENTS.values() for path in (each.share.model_repository, each.share.state)]
    return {os.path.commonpath(shares), *(str(each.records) for each in ENVIRONMENTS.values())}


def _seen_by_checks(cluster: Cluster, checks: Pods) -> Iterator[str]:
    """A runner for checks sees staging's folder and the records, and of these writes to two folders only."""
    seen = cluster.on_the_share(checks, checks.main)
    for environment in ENVIRONMENTS.values():
        staging, records = environment.staging.share, str(environment.records)
        above = str(PurePosixPath(staging.model_repository).parent)
        wanted = {above: True, records: False, **{f"{records}/{name}": True for name in WRITTEN_BY_CHECKS}}
        if not staging.state.startswith(f"{above}/"):
            yield f"staging's folders need two mounts: {staging.model_repository}, {staging.state}"
        for other in (environment.share.model_repository, environment.share.state):
            if any(other == path or other.startswith(f"{path}/") for path in wanted):
                yield f"{other} lies in what the checks see"
        if {path: may_write for path, (_, may_write) in seen.items()} != wanted:
            yield f"{checks} sees {sorted(seen.items())}"
        for path, (folder, _) in seen.items():
            if not folder or not path.endswith(f"/{folder}"):
                yield f"{checks} sees {folder or 'all'} at {path}"


def _paths(environment: Environment) -> list[str]:
    shares = (environment.share, environment.staging.share)
    records = [environment.records] if isinstance(environment.records, str) else []
    return [path for each in shares for path in (each.model_repository, each.state)] + records


# --- the environment files ----------------------------------------------------------------------------------------


def addresses(cluster: Cluster) -> Iterator[str]:
    """Every Triton and gateway that an environment file names is one that the manifests make; none is left out."""
    for environment in ENVIRONMENTS.values():
        named: dict[str, set[str]] = {}
        ends = [(triton.grpc, triton.every_address) for triton in environment.tritons]
        ends += [(gateway.url.removeprefix("http://"), gateway.every_address) for gateway in environment.gateways]
        for address, every in ends:
            yield from _behind(cluster, address, every=every, named=named)
        yield from _behind(cluster, environment.staging.triton.grpc, every=False, named={})
        yield from _behind(cluster, environment.staging.triton.http or "", every=False, named={})
        for workload, pods in named.items():
            made = {f"{workload.partition('/')[2]}-{n}" for n in range(cluster.pod(workload).replicas)}
            if pods != {"*"} and pods != made:
                yield f"{environment.environment}.yaml names {sorted(pods)}, the manifests make {sorted(made)}"


def _behind(cluster: Cluster, address: str, *, every: bool, named: dict[str, set[str]]) -> Iterator[str]:
    host, _, port = address.partition(":")
    *pod, service_name, namespace, suffix = host.split(".")
    service = cluster.get("Service", service_name, namespace)
    if suffix != "svc" or service is None or int(port) not in {p["port"] for p in service["spec"]["ports"]}:
        yield f"no service is {address}"
        return
    if service["spec"].get("clusterIP") != "None":
        yield f"{address} is one address in front of several servers"
    (pods,) = cluster.selected(service["spec"]["selector"], namespace)
    if not pod and not every and pods.replicas != 1:
        yield f"{address} stands for {pods.replicas} servers"
    named.setdefault(str(pods), set()).update(pod or ({"*"} if every else {f"{pods.name}-0"}))
    for each in service["spec"]["ports"]:
        if each["port"] == int(port) and each["port"] not in end(cluster, pods).ports.values():
            yield f"{address}: the pods listen elsewhere"


def folders(cluster: Cluster) -> Iterator[str]:
    """Triton and gateway read the very folders to which the environment file has the bot write."""
    (root,) = {path for pods in map(cluster.pod, DEPLOYERS) for path in cluster.on_the_share(pods, pods.main)}
    wanted = {f"ml-{name}": each.share for name, each in ENVIRONMENTS.items()}
    wanted["mlops"] = next(iter(ENVIRONMENTS.values())).staging.share
    for pods in cluster.pods:
        seen = {path: f"{root}/{folder}" for path, (folder, _) in cluster.on_the_share(pods, pods.main).items()}
        words = cluster.words(pods, pods.main)
        if pods.labels["app.kubernetes.io/name"] == "triton":
            state, repository = words[words.index("start") + 1], _value(words, "--model-repository")
            probe = pods.main["readinessProbe"]["exec"]["command"]
            if probe[probe.index("ready") + 1] != state:
                yield f"{pods}: start and readiness look at different routes"
        elif pods.labels["app.kubernetes.io/name"] == "gateway":
            state, repository = _value(words, "--routes").removesuffix("/routes.json"), ""
        else:
            continue
        if seen.get(state) != wanted[pods.namespace].state:
            yield f"{pods} reads routes in {seen.get(state)}"
        if repository and seen.get(repository) != wanted[pods.namespace].model_repository:
            yield f"{pods} serves from {seen.get(repository)}"


def tritons_of_gateways(cluster: Cluster) -> Iterator[str]:
    """Each gateway names each Triton of its environment; where their number changes, it finds them by their name."""
    for pods in cluster.pods:
        if pods.labels["app.kubernetes.io/name"] == "gateway":
            named = [w for w in cluster.words(pods, pods.main) if w.startswith("--triton")]
            triton = cluster.pod(f"{pods.namespace}/triton")
            wanted = [f"--triton=http://triton-{number}.triton:8000" for number in range(triton.replicas)]
            if cluster.autoscaler(pods.namespace, "triton"):
                wanted = ["--triton-every-address=http://triton:8000"]
            if sorted(named) != wanted:
                yield f"{pods} asks {named}, there are {wanted}"


def autoscaling(cluster: Cluster) -> Iterator[str]:
    """What an autoscaler scales is there, and only it says how many; it can measure, and takes away slowly."""
    for each in cluster.of("HorizontalPodAutoscaler"):
        spec, namespace = each["spec"], each["metadata"]["namespace"]
        scaled = spec["scaleTargetRef"]
        workload = cluster.get(scaled["kind"], scaled["name"], namespace)
        if workload is None:
            yield f"{name_of(each)} scales nothing"
            continue
        if "replicas" in workload["spec"]:
            yield f"{name_of(workload)} says how many, too"
        if not 1 < spec.get("minReplicas", 1) < spec["maxReplicas"]:
            yield f"{name_of(each)}: {spec.get('minReplicas')} to {spec['maxReplicas']}"
        for metric in spec["metrics"]:
            wanted = metric.get("resource", {}).get("name")
            if any(
                wanted not in c["resources"]["requests"] for c in workload["spec"]["template"]["spec"]["containers"]
            ):
                yield f"{name_of(each)} cannot measure {wanted or metric['type']}"
        down = spec["behavior"]["scaleDown"]
        if down["stabilizationWindowSeconds"] < 300 or [p["value"] for p in down["policies"]] != [1]:
            yield f"{name_of(each)} takes away in haste"
        environment = ENVIRONMENTS[namespace.removeprefix("ml-")]
        if not all(triton.every_address for triton in environment.tritons):
            yield f"{environment.environment}.yaml names Tritons one by one"


def secrets(cluster: Cluster) -> Iterator[str]:
    """Every variable with a secret that the settings name comes from a Secret, and the page says how it is made."""
    for pods in cluster.pods:
        for container in pods.containers:
            for name, value in cluster.variables(pods, container).items():
                if re.search(r"TOKEN|SECRET|KEY|PASSWORD", name) and not value.startswith("secret:"):
                    yield f"{pods} {container['name']}: {name} is no secret"
    given = {
        str(pods): {n for n, v in cluster.variables(pods, pods.main).items() if v.startswith("secret:")}
        for pods in cluster.pods
    }
    for environment in ENVIRONMENTS.values():
        named = dict(_variables(environment.model_dump()))
        del named["slack.app_token_env"]  # Socket Mode's; here Slack is served over HTTP
        if "github.app.private_key_env" in named:
            del named["github.token_env"]  # the App's key takes its place
        if lacking := set(named.values()) - given["mlops/slack"]:
            yield f"mlops/slack lacks {sorted(lacking)}"
        del named["slack.signing_secret_env"]
        # What GitHub gives to a job, the workflow's step says; the rest must be the runner's own.
        serving = {key for key in named if key.startswith("tritons.")}
        for workflow, runner, without in (
            ("deploy", DEPLOY, set()),
            ("dispatch", DEPLOY, set()),
            ("checks", CHECKS, {"slack.token_env", "reload_token_env", *serving}),
            ("drift", DEPLOY, {"slack.token_env", "reload_token_env"}),
        ):
            needs = {variable for key, variable in named.items() if key not in without}
            if lacking := needs - given[runner] - _of_workflow(workflow):
                yield f"{runner} lacks {sorted(lacking)} for {workflow}"
        closed_to_checks = {named[key] for key in ("slack.token_env", "reload_token_env", *serving)}
        if more := closed_to_checks & (given[CHECKS] | _of_workflow("checks")):
            yield f"checks have {sorted(more)}"
        # Whoever looks at the board gets through it what its secrets open.
        reads = {variable for key, variable in named.items() if key.startswith(("github.", "records."))}
        if lacking := reads - given[BOARD]:
            yield f"{BOARD} lacks {sorted(lacking)}"
        if more := given[BOARD] - reads:
            yield f"{BOARD} has {sorted(more)}"
        name = f"ml-{environment.environment}"
        if environment.reload_token_env not in given[f"{name}/gateway"]:
            yield f"{name}/gateway lacks the reload token"
        tritons = {"mlops/triton-staging": environment.staging.triton, f"{name}/triton": environment.tritons[0]}
        for path, triton in tritons.items():
            pods = cluster.pod(path)
            closed = [w for w in cluster.words(pods, pods.main) if w.startswith(("--grpc-restr", "--http-restr"))]
            variable = triton.control_key_env or ""
            key = re.compile(rf".*model-repository.*:promobot-control=secret:[\w-]+/{re.escape(variable or '?')}")
            if len(closed) != 2 or not all(key.fullmatch(w) for w in closed):
                yield f"{path}: control is open, or has another key than {variable}"
    page = DOCUMENT.read_text() if DOCUMENT.is_file() else ""
    for pods in cluster.pods:
        for value in (v for c in pods.containers for v in cluster.variables(pods, c).values()):
            if value.startswith("secret:"):
                secret, _, key = value.removeprefix("secret:").partition("/")
                made = [
                    line
                    for line in page.splitlines()
                    if f"-n {pods.namespace} create secret generic {secret} " in line
                ]
                if len(made) != 1 or not re.search(rf"--from-(?:literal|file)={key}=", made[0]):
                    yield f"docs/how-to/kubernetes.md does not make {key} of {secret} in {pods.namespace}"


def _variables(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every key that names a variable, with its path."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        where = f"{path}.{key}" if path else str(key)
        if where.endswith("_env") and inner is not None:
            yield where, str(inner)
        yield from _variables(inner, where)


def _of_workflow(name: str) -> set[str]:
    text = yaml.safe_load((PROJECT / f".github/workflows/{name}.yml").read_text())
    return {key for job in text["jobs"].values() for step in job["steps"] for key in step.get("env", {})}


def identities(cluster: Cluster) -> Iterator[str]:
    """Checks and deployments are somebody else to the cloud, to GitHub and to each other."""
    accounts = [pods.spec["serviceAccountName"] for pods in cluster.pods if pods.namespace == "mlops"]
    if doubled := sorted({account for account in accounts if accounts.count(account) > 1}):
        yield f"several are {doubled}"
    if cluster.pod(CHECKS).labels["promobot/role"] == cluster.pod(DEPLOY).labels["promobot/role"]:
        yield "the network takes one for the other"
    for name in ("promobot-checks", "promobot-deploy"):
        for each in cluster.of("ServiceAccount"):
            if each["metadata"]["name"] == name and "imagePullSecrets" in each:
                yield f"{name} has more than a name"


# --- commands and times -------------------------------------------------------------------------------------------


def commands(cluster: Cluster) -> Iterator[str]:
    """What our own containers are started with is what the programs understand."""
    for pods in cluster.pods:
        words = cluster.words(pods, pods.main)
        ours = {name: lambda words: cli.parse(words).arguments for name in ("slack", "board")}
        parsers = {**ours, "gateway": gateway_parser().parse_args}
        parse = parsers.get(pods.labels["app.kubernetes.io/name"])
        if parse is not None:
            try:
                arguments = parse(words)
            except SystemExit:
                yield f"{pods}: {words} is not understood"
                continue
            port = arguments.http if hasattr(arguments, "http") else arguments.port
            if port not in end(cluster, pods).ports.values() or arguments.host != "0.0.0.0":  # noqa: S104
                yield f"{pods} listens where nobody asks"


def endings(cluster: Cluster) -> Iterator[str]:
    """Whatever is told to end has the time to finish what it began."""
    for pods in cluster.pods:
        grace = pods.spec.get("terminationGracePeriodSeconds", 30)
        sleep = pods.main.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        words = cluster.words(pods, pods.main)
        match pods.labels["app.kubernetes.io/name"]:
            case "gateway":
                # uvicorn waits --timeout-seconds and 5 s more for what is under way.
                if sleep < 5 or grace < sleep + float(_value(words, "--timeout-seconds")) + 5 + 5:
                    yield f"{pods} is killed while it answers"
            case "triton":
                if grace < int(_value(words, "--exit-timeout-secs")) + 5:
                    yield f"{pods} is killed while it answers"
            case "slack":
                if grace < 60:
                    yield f"{pods} is killed in the middle of a verb"


def replicas(cluster: Cluster) -> Iterator[str]:
    """Whatever users wait for is there more than once, and a drain leaves one."""
    for pods in cluster.pods:
        role = pods.labels["app.kubernetes.io/name"]
        if pods.kind == "Pod":
            continue
        if pods.replicas < 2 and (role in ("gateway", "slack") or pods.namespace == "ml-prod"):
            yield f"{pods} is there once"
        budgets = [b for b in cluster.of("PodDisruptionBudget") if b["metadata"]["namespace"] == pods.namespace]
        if not any(matches(b["spec"]["selector"], pods.labels) and b["spec"]["maxUnavailable"] == 1 for b in budgets):
            yield f"{pods} has no disruption budget"


def _value(words: list[str], flag: str) -> str:
    return next(word.partition("=")[2] for word in words if word.startswith(f"{flag}="))


# --- the network --------------------------------------------------------------------------------------------------


def network(cluster: Cluster) -> Iterator[str]:
    """Who reaches whom: the list, and nothing else."""
    ours = {str(pods): end(cluster, pods) for pods in cluster.pods}
    mlops = cluster.labels_of("mlops")
    others = {
        "mlflow": stranger({"app.kubernetes.io/name": "mlflow"}, namespace=mlops),
        "users": stranger(namespace={"kubernetes.io/metadata.name": "shop", "promobot/uses-models": "true"}),
        "ingress": stranger(
            namespace={"kubernetes.io/metadata.name": "ingress", "promobot/reaches-slack-app": "true"}
        ),
        "people": stranger(namespace={"kubernetes.io/metadata.name": "login", "promobot/reaches-board": "true"}),
        "stranger": stranger({"promobot/role": "bot"}, namespace={"kubernetes.io/metadata.name": "elsewhere"}),
        "DNS": stranger({"k8s-app": "kube-dns"}, namespace={"kubernetes.io/metadata.name": "kube-system"}),
        "outside": OUTSIDE,
        "inside": INSIDE,
    }
    everybody: dict[str, End] = {**ours, **others}
    may = set(_may())
    for source, one in everybody.items():
        for target, other in everybody.items():
            if source == target or (source in others and target in others):
                continue
            known = set(other.ports.values()) | {port for s, t, port in may if t == target} | {22, 80}
            for port in sorted(known):
                protocol = "UDP" if port == 53 else "TCP"
                can = reaches(cluster, one, other, port, protocol)
                if can != ((source, target, port) in may):
                    yield f"{source} {'reaches' if can else 'does not reach'} {target}:{port}"
                elif target in ours and lets_in(cluster, one, other, port, protocol) != can:
                    yield f"{target}:{port} is closed to {source} only by what {source} may not do"
                elif source in ours and lets_out(cluster, one, other, port, protocol) != can:
                    yield f"{target}:{port} is closed to {source} only by whom {target} lets in"


def _may() -> Iterator[tuple[str, str, int]]:
    for name in ENVIRONMENTS:
        gateway, triton = f"ml-{name}/gateway", f"ml-{name}/triton"
        yield gateway, triton, 8000
        yield gateway, "DNS", 53
        yield "users", gateway, 8080
        for bot in (*DEPLOYERS, BOARD):
            yield bot, triton, 8001
            yield bot, gateway, 8080
    for bot in (*DEPLOYERS, BOARD):
        yield bot, "inside", 443
    yield "people", BOARD, 8090
    yield BOARD, "DNS", 53
    yield BOARD, "outside", 443
    for bot in (*DEPLOYERS, CHECKS):
        yield bot, "mlops/triton-staging", 8001
        yield bot, "mlops/triton-staging", 8000
        yield bot, "mlflow", 5000
        yield bot, "DNS", 53
        yield bot, "outside", 443
    yield "ingress", "mlops/slack", 8080


def policies(cluster: Cluster) -> Iterator[str]:
    """No policy is for pods that nobody makes, or names a port that they do not have."""
    for policy in cluster.of("NetworkPolicy"):
        pods = cluster.selected(policy["spec"]["podSelector"], policy["metadata"]["namespace"])
        if not pods:
            yield f"{name_of(policy)} is for nobody"
        for rule in policy["spec"].get("ingress", []):
            for port in rule["ports"]:
                if not all(port["port"] in _ports(each) for each in pods):
                    yield f"{name_of(policy)}: no port {port['port']}"
    for namespace in cluster.of("Namespace"):
        about = namespace["metadata"]["name"]
        silent = [
            pods
            for pods in cluster.pods
            if pods.namespace == about
            and not any(
                matches(policy["spec"]["podSelector"], pods.labels)
                and set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
                and not {"ingress", "egress"} & set(policy["spec"])
                for policy in cluster.of("NetworkPolicy")
                if policy["metadata"]["namespace"] == about
            )
        ]
        for pods in silent:
            yield f"{pods} is open by default"


RULES: tuple[Rule, ...] = (
    schema,
    unique,
    restricted,
    hardened,
    references,
    share,
    addresses,
    folders,
    tritons_of_gateways,
    autoscaling,
    secrets,
    identities,
    commands,
    endings,
    replicas,
    network,
    policies,
)
