"""The dashboard: every metric that it and the alert rules name exists, with the labels that they use."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from tests.monitoring.prometheus import ALERTS, DASHBOARD, needs_prometheus, promtool
from tests.monitoring.test_page import collected, names

OF_PROMETHEUS = {"namespace", "instance", "job", "le"}
"""Labels that a scrape adds, and that of a histogram's buckets."""
OF_TRITON = {
    "nv_inference_request_success": {"model", "version"},
    "nv_inference_queue_duration_us": {"model", "version"},
    "nv_cpu_memory_used_bytes": set(),
    "nv_gpu_memory_used_bytes": {"gpu_uuid"},
}
"""Triton's own; tests/monitoring/test_scrape.py sees them on a real one, but for that of a GPU."""


def known() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for metric in collected():
        labels = set(getattr(metric, "_labelnames", ()))
        endings = ("_bucket", "_sum", "_count") if metric.type == "histogram" else ("",)
        found |= {names(metric) + ending: labels for ending in endings}
    return found | OF_TRITON


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    of_rules = [rule["expr"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    document = json.loads(DASHBOARD.read_text())
    of_dashboard = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [*of_rules, *of_dashboard, *(one["expr"] for one in document["annotations"]["list"])]


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_exists_and_has_the_labels_that_are_used(expression: str) -> None:
    there = known()
    used = re.findall(r"\b((?:promobot|nv)_\w+)(?:\{([^}]*)\})?", expression)
    assert used
    labels = set[str]()
    for name, matchers in used:
        assert name in there, f"{name} does not exist"
        labels |= there[name] | OF_PROMETHEUS
        assert set(re.findall(r"(\w+) ?[=!]", matchers)) <= there[name] | OF_PROMETHEUS
    for listed in re.findall(r"\b(?:by|ignoring) \(([^)]*)\)", expression):
        assert {one.strip() for one in listed.split(",")} <= labels


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    missing = {name for name in map(names, collected()) if name not in shown}
    # Which gateway it is, and what only an alert is for.
    assert missing == {
        "promobot_gateway_info",
        "promobot_gateway_workers",
        "promobot_gateway_recorded_requests_total",
        "promobot_gateway_shadow_left_out_total",
        "promobot_gateway_compared_left_out_total",
    }


def test_panels_do_not_lie_on_each_other_and_say_what_they_show() -> None:
    taken = set[tuple[int, int]]()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
    assert all(panel["title"] and panel["description"].endswith(".") for panel in panels())
    ids = [panel["id"] for panel in json.loads(DASHBOARD.read_text())["panels"]]
    assert len(set(ids)) == len(ids)


@needs_prometheus
def test_prometheus_understands_every_expression(tmp_path: Any) -> None:
    """As rules, because promtool evaluates no expression by itself."""
    listed = [
        {"record": f"try:{number}", "expr": one.replace("$__rate_interval", "5m").replace("$model", "churn")}
        for number, one in enumerate(expressions())
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": listed}]}))
    promtool("check", "rules", tmp_path / "rules.yaml")
