"""Metrics of the bot's services, as a monitor reads them."""

from __future__ import annotations

import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import parser

from bot.domain.desired import Entry
from bot.domain.record import DeploymentRecord, Outcome, Rollout
from bot.errors import Refused
from bot.metrics import ServiceMetrics

AT = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def record(number: int, outcome: Outcome, *, model: str = "churn", percent: int | None = None) -> DeploymentRecord:
    at = AT + timedelta(minutes=number)
    rollout = percent and Rollout(id="dev-1", percent=percent, step=1, steps=(10, 100), began_at=AT)
    return DeploymentRecord(
        id=f"dev-{number:08d}-{model}",
        environment="dev",
        section="models",
        model=model,
        before=None,
        after=Entry(version=8, digest=f"sha256:{8:064x}", run="r"),
        commit="c",
        started_at=at,
        finished_at=at,
        outcome=outcome,
        criteria=(),
        steps=(),
        rollout=rollout or None,
    )


@pytest.fixture
def metrics() -> ServiceMetrics:
    return ServiceMetrics("slack", clock=lambda: 1000.0)


def scraped(metrics: ServiceMetrics) -> Samples:
    with metrics.served(host="127.0.0.1", port=0) as port:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    found = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


def value(found: Samples, name: str, /, **labels: str) -> float | None:
    return found.get((f"promobot_{name}", frozenset(labels.items())))


def test_deployments_are_counted_by_outcome_and_what_never_came_is_zero(metrics: ServiceMetrics) -> None:
    metrics.deployments("dev", [record(1, "succeeded"), record(2, "succeeded"), record(3, "put back")])
    found = scraped(metrics)
    assert value(found, "deployments_total", environment="dev", outcome="succeeded") == 2
    assert value(found, "deployments_total", environment="dev", outcome="put back") == 1
    assert value(found, "deployments_total", environment="dev", outcome="failed") == 0
    newest = (AT + timedelta(minutes=3)).timestamp()
    assert value(found, "newest_deployment_timestamp_seconds", environment="dev") == newest


def test_a_rollout_is_told_until_it_ends(metrics: ServiceMetrics) -> None:
    step = record(2, "rolling out", percent=10)
    metrics.deployments("dev", [record(1, "succeeded"), step, record(3, "succeeded", model="fraud")])
    assert value(scraped(metrics), "rollout_percent", environment="dev", model="churn") == 10
    metrics.deployments("dev", [step, record(4, "failed", percent=50)])
    assert value(scraped(metrics), "rollout_percent", environment="dev", model="churn") == 10, "it stays where it is"
    metrics.deployments("dev", [step, record(4, "put back")])
    assert value(scraped(metrics), "rollout_percent", environment="dev", model="churn") is None


def test_looks_and_what_they_find(metrics: ServiceMetrics) -> None:
    metrics.looked("dev")
    metrics.look_failed("prod")
    metrics.look_failed("prod")
    metrics.outbox("dev", 3)
    metrics.differences("dev", ["triton", "triton", "gateway"], held=1)
    metrics.drifted("dev", 4)
    found = scraped(metrics)
    assert value(found, "look_timestamp_seconds", service="slack", environment="dev") == 1000
    assert value(found, "failed_looks_total", service="slack", environment="dev") == 0
    assert value(found, "failed_looks_total", service="slack", environment="prod") == 2
    assert value(found, "look_timestamp_seconds", service="slack", environment="prod") is None
    assert value(found, "outbox_messages", environment="dev") == 3
    assert value(found, "differences", environment="dev", kind="triton") == 2
    assert value(found, "held_changes", environment="dev") == 1
    assert value(found, "drift_differences", environment="dev") == 4
    assert value(found, "drift_timestamp_seconds", environment="dev") == 1000
    metrics.differences("dev", [], held=0)
    assert value(scraped(metrics), "differences", environment="dev", kind="triton") is None, "it is gone"


def test_a_port_that_is_taken_is_said(metrics: ServiceMetrics) -> None:
    with metrics.served(host="127.0.0.1", port=0) as port:
        taken = metrics.served(host="127.0.0.1", port=port)
        with pytest.raises(Refused, match=f"metrics cannot be served at 127.0.0.1:{port}: Address already in use"):
            taken.__enter__()
