"""The metrics of a promotion as Slack's own bar charts (``data_visualization``), beside the table with the numbers.

slack_sdk has no model of that block yet, so the limits that Slack documents are kept here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bot.domain.promotion import Metric, Promotion
from bot.render import slack as words
from bot.systems.slack import CHART

_MOST = 2
"""As many charts as Slack takes in one message."""
_BARS = 20
"""As many metrics as it takes in one chart."""
_LABEL, _TITLE = 20, 50
"""Characters."""
_SMALLEST = 1 / 20
"""A bar that is smaller than this part of the tallest one cannot be seen beside it, and gets a chart of its own."""


@dataclass(frozen=True)
class _Bars:
    """One metric: what was proposed, what is in service and the limit, where they are known."""

    name: str
    proposed: float
    in_service: float | None
    limit: float | None

    @property
    def tallest(self) -> float:
        return max(abs(value) for value in (self.proposed, self.in_service, self.limit) if value is not None)


def charts(promotion: Promotion) -> list[dict[str, Any]]:
    """Return two charts at most: of the metrics that have numbers, those of like size beside each other."""
    of_all = [bars for bars in map(_bars, promotion.metrics) if bars is not None]
    names = [bars.name for bars in of_all]
    groups = _of_like_size([bars for bars in of_all if names.count(bars.name) == 1])
    fullest = sorted(groups, key=len, reverse=True)[:_MOST]
    return [_chart(promotion, group[:_BARS]) for group in fullest]


def _bars(metric: Metric) -> _Bars | None:
    proposed = _number(metric.proposed)
    if proposed is None or not metric.name:
        return None
    name = metric.name if len(metric.name) <= _LABEL else f"{metric.name[: _LABEL - 1]}…"
    return _Bars(name, proposed, _number(metric.in_service), _number(metric.limit))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _of_like_size(listed: Sequence[_Bars]) -> list[list[_Bars]]:
    groups: list[list[_Bars]] = []
    for bars in sorted(listed, key=lambda one: one.tallest, reverse=True):
        if not groups or bars.tallest < groups[-1][0].tallest * _SMALLEST:
            groups.append([])
        groups[-1].append(bars)
    return [sorted(group, key=listed.index) for group in groups]


def _chart(promotion: Promotion, group: Sequence[_Bars]) -> dict[str, Any]:
    # A series needs a value for each metric: what one of them lacks is left to the table.
    series = [_series(words.PROPOSED, group, [bars.proposed for bars in group])]
    in_service = [bars.in_service for bars in group if bars.in_service is not None]
    limits = [bars.limit for bars in group if bars.limit is not None]
    champion = len(in_service) == len(group)
    if champion:
        series.append(_series(words.IN_SERVICE, group, in_service))
    if len(limits) == len(group):
        series.append(_series(words.LIMIT, group, limits))
    title = words.chart_title(promotion, champion=champion)
    return {
        "type": CHART,
        "title": title if len(title) <= _TITLE else f"{title[: _TITLE - 1]}…",
        "chart": {"type": "bar", "series": series, "axis_config": {"categories": [bars.name for bars in group]}},
    }


def _series(name: str, group: Sequence[_Bars], values: Sequence[float]) -> dict[str, Any]:
    points = [{"label": bars.name, "value": value} for bars, value in zip(group, values, strict=True)]
    return {"name": name, "data": points}
