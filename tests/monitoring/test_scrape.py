"""A real Prometheus scrapes a real gateway, a real Triton and a service: what it reads is what they counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.metrics import ServiceMetrics
from tests.gateway.conftest import StartGateway
from tests.gateway.conftest import start_gateway as start_gateway
from tests.gateway.gateways import table, target, wait_for
from tests.gateway.triton import RunningTriton, publish_adder, running_triton
from tests.monitoring.prometheus import ALERTS, MONITORING, Running, needs_prometheus, running
from tests.monitoring.test_dashboard import OF_TRITON, known
from tests.stand_ins.failing_triton import StandIn

pytestmark = needs_prometheus


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    repository = tmp_path_factory.mktemp("models")
    publish_adder(repository / "adder", versions=(1,))
    with running_triton(repository, metrics=True) as started:
        started.load("adder")
        yield started


def number(prometheus: Running, expression: str) -> float | None:
    found = prometheus.query(expression)
    return float(found[0]["value"][1]) if found else None


@pytest.mark.slow
def test_what_prometheus_reads_is_what_they_counted(
    start_gateway: StartGateway, triton: RunningTriton, tmp_path: Path
) -> None:
    gateway = start_gateway(triton.url, routes=table(1, target(1)))
    service = ServiceMetrics("slack")
    service.looked("dev")
    service.drifted("dev", 0)
    with ExitStack() as open_:
        port = open_.enter_context(service.served(host="127.0.0.1", port=0))
        targets = {
            "gateway": [gateway.host_and_port],
            "triton": [triton.metrics],
            "slack": [f"127.0.0.1:{port}"],
        }
        prometheus = open_.enter_context(running(tmp_path, targets, rules=ALERTS))
        wait_for(lambda: number(prometheus, "sum(up)") == 3)
        for _ in range(20):
            assert gateway.infer(1.0).status_code == 200
        assert gateway.infer().status_code == 200  # no values: an empty batch
        assert gateway.infer(1.0, model="other").status_code == 404
        of = 'model="adder",version="1"'
        counted = f'promobot_gateway_requests_total{{{of},lane="live",code="200"}}'
        wait_for(lambda: number(prometheus, counted) == 21)
        assert number(prometheus, f"promobot_gateway_request_duration_seconds_count{{{of}}}") == 21
        assert number(prometheus, 'promobot_gateway_refusals_total{code="404"}') == 1
        wait_for(lambda: number(prometheus, f"nv_inference_request_success{{{of}}}") == 21)
        # Each histogram is one to Prometheus, which says so of a series it cannot add up.
        quantile = f"histogram_quantile(0.95, rate(promobot_gateway_request_duration_seconds_bucket{{{of}}}[1m]))"
        wait_for(lambda: (number(prometheus, quantile) or 0) > 0)
        seen = {sample["metric"]["__name__"] for sample in prometheus.query('{__name__=~"(promobot|nv)_.*"}')}
        assert OF_TRITON.keys() - {"nv_gpu_memory_used_bytes"} <= seen
        ours = {name for name in seen if name.startswith("promobot_")}
        assert ours <= known().keys(), "what is scraped is on the page"

        # An alert that waits for nothing, as Prometheus tells it.
        assert gateway.reload(1, token="wrong").status_code == 401
        wait_for(lambda: "PromobotReloadRefused" in prometheus.firing())
        said = prometheus.firing()["PromobotReloadRefused"]["annotations"]["summary"]
        assert said == f"A reload of gateway {gateway.host_and_port} was unauthorized"
        assert set(prometheus.firing()) == {"PromobotReloadRefused"}, "all else is well"


def test_the_example_of_a_scrape_finds_what_the_component_annotates(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    """Debian's Prometheus is built without the discovery of pods. The labels that it would give are given here."""
    (job,) = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    job["scrape_interval"] = "1s"
    with StandIn() as triton:
        gateway = start_gateway(triton.url, routes=table(1, target(1)))
        host, _, port = gateway.host_and_port.partition(":")
        annotations = "__meta_kubernetes_pod_annotation_prometheus_io_"

        def pod(name: str, **annotated: str) -> dict[str, Any]:
            about = {"__meta_kubernetes_namespace": "ml-dev", "__meta_kubernetes_pod_name": name}
            about |= {"__meta_kubernetes_pod_ip": host}
            about |= {annotations + key: value for key, value in annotated.items()}
            return {"targets": ["nobody:1"], "labels": about}

        (discovery,) = job.pop("kubernetes_sd_configs")
        assert discovery["role"] == "pod"
        job["static_configs"] = [
            pod("gateway-0", scrape="true", port=port, path="/metrics"),
            pod("other-0", port=port),
        ]
        with running(tmp_path, {}, rules=ALERTS, jobs=[job]) as prometheus:
            wait_for(lambda: number(prometheus, "promobot_gateway_generation") == 1)
            (found,) = prometheus.query("up")
            there = {"__name__": "up", "job": "promobot", "namespace": "ml-dev", "instance": "gateway-0"}
            assert found["metric"] == there
