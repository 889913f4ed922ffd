"""``docs/reference/metrics.md`` has each metric, with its labels, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.core import Metric

from bot.domain.routes import RouteTable
from bot.gateway.metrics import Scrape
from bot.gateway.totals import Totals
from bot.metrics import ServiceMetrics

PAGE = Path(__file__).parents[2] / "docs/reference/metrics.md"


def collected() -> list[Metric]:
    gateway = Scrape(RouteTable("dev"), Totals(), [{"id": "1", "generation": 0}], name="gateway")
    return [*gateway.collect(), *ServiceMetrics("slack").collect()]


def names(metric: Metric) -> str:
    """The name as a monitor shows it."""
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def test_the_page_has_each_metric_and_no_other() -> None:
    rows = re.findall(r"^\| `(promobot_\w+)` \|([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(names(metric) for metric in collected())


def test_the_page_has_the_labels_of_each_metric() -> None:
    rows = dict(re.findall(r"^\| `(promobot_\w+)` \|([^|]*)\|", PAGE.read_text(), re.MULTILINE))
    for metric in collected():
        labels = tuple(re.findall(r"`(\w+)`", rows[names(metric)]))
        assert labels == tuple(getattr(metric, "_labelnames", ())), metric.name
