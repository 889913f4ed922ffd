"""The component `metrics`: what is scraped is there, the one namespace reaches it, and all other rules hold."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes import rules
from tests.kubernetes.cluster import KUBECTL, MANIFESTS, Cluster, Object, end, objects, reaches, stranger
from tests.kubernetes.rules import DEPLOYERS, ENVIRONMENTS, RULES, Rule
from tests.monitoring.prometheus import MONITORING

HELD = [rule for rule in RULES if rule is not rules.network]
MONITORING_NAMESPACE = {"kubernetes.io/metadata.name": "monitoring", "promobot/scrapes": "true"}


@cache
def _with_metrics() -> str:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "kubernetes"
        shutil.copytree(MANIFESTS, folder)
        found = []
        for overlay in (*ENVIRONMENTS, "mlops"):
            file = folder / "overlays" / overlay / "kustomization.yaml"
            text = file.read_text()
            assert text.count("components/images\n") == 1
            file.write_text(text.replace("components/images\n", "components/images\n  - ../../components/metrics\n"))
            done = subprocess.run([KUBECTL, "kustomize", file.parent], capture_output=True, text=True, check=True)
            found.append(done.stdout)
    return "---\n".join(found)


def with_metrics() -> Cluster:
    """All of the cluster, with the component in every overlay that runs something."""
    changed = list(yaml.safe_load_all(_with_metrics()))
    names = {(each["kind"], rules.name_of(each)) for each in changed}
    return Cluster([*changed, *(each for each in objects() if (each["kind"], rules.name_of(each)) not in names)])


def scraped(cluster: Cluster) -> list[Object]:
    workloads = [each for kind in ("StatefulSet", "Deployment") for each in cluster.of(kind)]
    return [each for each in workloads if "prometheus.io/scrape" in _annotations(each)]


def _annotations(workload: Object) -> dict[str, Any]:
    found: dict[str, Any] = workload["spec"]["template"]["metadata"].get("annotations", {})
    return found


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if rule is not rules.network], ids=lambda rule: rule.__name__
)
def test_it_holds(rule: Rule) -> None:
    assert list(rule(with_metrics())) == []


def test_the_bot_reaches_the_metrics_of_tritons_and_nobody_else_reaches_anything_more() -> None:
    tritons = ["mlops/triton-staging", *(f"ml-{name}/triton" for name in ENVIRONMENTS)]
    more = {f"{bot} reaches {triton}:8002" for bot in DEPLOYERS for triton in tritons}
    assert set(rules.network(with_metrics())) == {*more, "mlops/runner-checks reaches mlops/triton-staging:8002"}


def test_everything_that_counts_is_scraped_where_it_listens() -> None:
    cluster = with_metrics()
    found = scraped(cluster)
    assert {each["metadata"]["name"] for each in found} == {"gateway", "triton", "triton-staging", "slack", "watch"}
    for each in found:
        about = _annotations(each)
        pods = cluster.pod(f"{each['metadata']['namespace']}/{each['metadata']['name']}")
        port = int(about["prometheus.io/port"])
        assert port in end(cluster, pods).ports.values()
        assert about["prometheus.io/path"] == "/metrics"
        flag = "--port=8080" if pods.name == "gateway" else f"--metrics-port={port}"
        assert flag in cluster.words(pods, pods.main)
        assert "app.kubernetes.io/part-of" in pods.labels, "prometheus.yml looks for it"


def test_the_namespace_that_scrapes_reaches_that_and_nothing_of_control() -> None:
    cluster = with_metrics()
    prometheus = stranger(namespace=MONITORING_NAMESPACE)
    found = {
        (str(pods), port)
        for pods in cluster.pods
        for port in end(cluster, pods).ports.values()
        if reaches(cluster, prometheus, end(cluster, pods), port)
    }
    serving = {
        (f"ml-{name}/{part}", port) for name in ENVIRONMENTS for part, port in (("gateway", 8080), ("triton", 8002))
    }
    assert found == serving | {("mlops/triton-staging", 8002), ("mlops/slack", 9100), ("mlops/watch", 9100)}


def test_without_the_component_nobody_scrapes() -> None:
    cluster = Cluster(objects())
    assert scraped(cluster) == []
    prometheus = stranger(namespace=MONITORING_NAMESPACE)
    for pods in cluster.pods:
        for port in (*end(cluster, pods).ports.values(), 8002, 9100):
            assert not reaches(cluster, prometheus, end(cluster, pods), port)


def test_rules_and_dashboard_are_config_maps_as_they_are() -> None:
    done = subprocess.run([KUBECTL, "kustomize", MONITORING], capture_output=True, text=True, check=True).stdout
    made = {each["metadata"]["name"]: each for each in yaml.safe_load_all(done)}
    assert made["promobot-alerts"]["data"] == {"alerts.yaml": (MONITORING / "alerts.yaml").read_text()}
    assert made["promobot-dashboard"]["data"] == {"dashboard.json": (MONITORING / "dashboard.json").read_text()}
    assert made["promobot-dashboard"]["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert list(rules.schema(Cluster(list(made.values())))) == []
