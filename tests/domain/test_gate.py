"""The gate: what passes, what misses, and that nothing passes unseen."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bot.domain.gate import Gate, GateResult, MetricRule, judge


def one(value: float | None, champion: float | None = None, **rule: Any) -> GateResult:
    gate = Gate(metrics={"m": MetricRule(**rule)})
    return judge(gate, {} if value is None else {"m": value}, None if champion is None else {"m": champion})


@pytest.mark.parametrize(
    ("value", "champion", "rule", "limit"),
    [
        (0.95, None, {"minimum": 0.9}, 0.9),
        (0.45, None, {"minimum": 0.4, "maximum": 0.6}, 0.4),
        (0.99, 0.98, {"minimum": 0.9, "max_regression": 0.01}, 0.97),
        (0.91, 0.905, {"minimum": 0.9, "max_regression": 0.01}, 0.9),
        (0.1, 0.3, {"maximum": 0.4, "max_regression": 0.05, "lower_is_better": True}, 0.35),
        (0.9, None, {"max_regression": 0.01}, None),
        (None, 0.9, {"minimum": 0.9}, None),
    ],
)
def test_the_limit_is_the_bound_that_is_nearest(
    value: float | None, champion: float | None, rule: dict[str, Any], limit: float | None
) -> None:
    (row,) = one(value, champion, **rule).rows
    assert row.limit == (None if limit is None else pytest.approx(limit))


@pytest.mark.parametrize(
    ("value", "champion", "rule", "passes"),
    [
        (0.9, None, {"minimum": 0.9}, True),
        (0.8999, None, {"minimum": 0.9}, False),
        (0.4, None, {"maximum": 0.4}, True),
        (0.4001, None, {"maximum": 0.4}, False),
        (0.5, None, {"minimum": 0.4, "maximum": 0.6}, True),
        (0.7, None, {"minimum": 0.4, "maximum": 0.6}, False),
        (None, None, {"minimum": 0.0}, False),
        (math.nan, None, {"minimum": 0.0}, False),
        (math.inf, None, {"minimum": 0.0}, False),
        (-math.inf, None, {"maximum": 0.0}, False),
        # against the version in service
        (0.89, 0.9, {"max_regression": 0.01}, True),  # exactly as much worse as is allowed
        (0.3 - 0.1, 0.3, {"max_regression": 0.1}, True),  # … also where binary fractions miss it by a hair
        (0.8899, 0.9, {"max_regression": 0.01}, False),
        (0.95, 0.9, {"max_regression": 0.0}, True),
        (0.9, 0.9, {"max_regression": 0.0}, True),
        (0.31, 0.3, {"max_regression": 0.01, "lower_is_better": True}, True),
        (0.32, 0.3, {"max_regression": 0.01, "lower_is_better": True}, False),
        (0.1, 0.3, {"max_regression": 0.0, "lower_is_better": True}, True),
        (0.1, None, {"max_regression": 0.0}, True),  # nothing is in service yet
        (0.1, math.nan, {"max_regression": 0.0}, True),  # nothing is worse than what is no number
        (0.1, math.inf, {"max_regression": 0.0}, True),
        (0.1, math.nan, {"max_regression": 0.0, "minimum": 0.5}, False),
        (0.1, math.inf, {"max_regression": 0.0, "minimum": 0.5}, False),
        (0.95, 0.9, {"max_regression": 0.01, "minimum": 0.96}, False),  # better than the champion, not good enough
        (0.91, 0.99, {"max_regression": 0.01, "minimum": 0.9}, False),  # good enough, worse than the champion
    ],
)
def test_one_rule(value: float | None, champion: float | None, rule: dict[str, Any], passes: bool) -> None:
    result = one(value, champion, **rule)
    assert result.passed is passes
    assert bool(result.reason) is not passes


def test_the_reason_says_what_was_missed_worst_first() -> None:
    gate = Gate(
        metrics={
            "accuracy": MetricRule(minimum=0.9),
            "auc": MetricRule(minimum=0.5, max_regression=0.01),
            "loss": MetricRule(maximum=0.4),
            "gone": MetricRule(minimum=0.1),
            "fine": MetricRule(minimum=0.1),
        }
    )
    result = judge(gate, {"accuracy": 0.871, "auc": 0.8, "loss": 0.9, "fine": 1.0}, {"auc": 0.9})
    assert (
        result.reason == "gone is missing; loss 0.9 > 0.4; auc 0.1 worse than in service (0.9); accuracy 0.871 < 0.9"
    )
    assert [row.metric for row in result.rows] == ["gone", "loss", "auc", "accuracy", "fine"]
    assert [row.change for row in result.rows if row.metric == "auc"] == [pytest.approx(-0.1)]
    assert [row.rule for row in result.rows if row.metric == "auc"] == ["≥ 0.5, at most 0.01 worse"]


def test_nothing_judged_is_nothing_passed() -> None:
    assert not GateResult(()).passed
    with pytest.raises(ValidationError):
        Gate(metrics={})


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"lower_is_better": True},
        {"minimum": math.nan},
        {"minimum": math.inf},
        {"maximum": -math.inf},
        {"max_regression": math.nan},
        {"max_regression": -0.1},
        {"minimum": "0.9"},
        {"minimum": "nan"},
        {"minimum": True},
        {"minimum": 0.9, "lower_is_better": "yes"},
        {"minimum": 0.9, "lower_is_better": 1},
        {"minimum": 0.9, "minimun": 0.8},
    ],
)
def test_a_rule_that_holds_nothing_is_no_rule(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MetricRule(**rule)


@pytest.mark.parametrize(
    "settings",
    [
        {"on_miss": "ship"},
        {"latency_budget_milliseconds": 0},
        {"latency_budget_milliseconds": math.nan},
        {"onmiss": "stop"},
    ],
)
def test_a_gate_that_is_wrong_is_no_gate(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Gate(metrics={"m": MetricRule(minimum=0)}, **settings)


finite = st.floats(-1e6, 1e6)


@given(finite, finite, st.floats(0, 1e6), st.floats(0, 1e6), st.booleans())
def test_what_is_at_least_as_good_passes_where_the_worse_one_does(
    value: float, champion: float, allowed: float, better_by: float, lower: bool
) -> None:
    rule = {"max_regression": allowed, "lower_is_better": lower}
    if one(value, champion, **rule).passed:
        assert one(value - better_by if lower else value + better_by, champion, **rule).passed


@given(finite, finite)
def test_a_minimum_and_a_maximum_are_what_they_say(value: float, bound: float) -> None:
    assert one(value, minimum=bound).passed is (value >= bound)
    assert one(value, maximum=bound).passed is (value <= bound)
