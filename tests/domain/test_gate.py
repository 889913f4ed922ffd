"""The gate: what passes, what misses, and that nothing passes unseen."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bot.domain.desired import Entry
from bot.domain.gate import REASON_CHARACTERS, Gate, GateResult, MetricRule, SliceRule, judge
from bot.domain.metrics import Measured, Origin


def one(value: float | None, champion: float | None = None, **rule: Any) -> GateResult:
    gate = Gate(metrics={"m": MetricRule(**rule)})
    measured = Measured() if value is None else Measured({"m": value})
    return judge(gate, measured, None if champion is None else Measured({"m": champion}))


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
    result = judge(gate, Measured({"accuracy": 0.871, "auc": 0.8, "loss": 0.9, "fine": 1.0}), Measured({"auc": 0.9}))
    assert (
        result.reason == "gone is missing (there are accuracy, auc, fine and 1 more); loss 0.9 > 0.4; auc 0.1 worse "
        "than in service (0.9); accuracy 0.871 < 0.9"
    )
    assert [row.metric for row in result.rows] == ["gone", "loss", "auc", "accuracy", "fine"]
    assert [row.change for row in result.rows if row.metric == "auc"] == [pytest.approx(-0.1)]
    assert [row.rule for row in result.rows if row.metric == "auc"] == ["≥ 0.5, at most 0.01 worse"]


def test_a_metric_of_which_nobody_knows_which_number_counts_misses() -> None:
    gate = Gate(metrics={"m": MetricRule(minimum=0.5, max_regression=0.01), "n": MetricRule(minimum=0.5)})
    own = Measured({"n": 0.9}, unclear={"m": "logged for 2 datasets (test, train)"})
    result = judge(gate, own, None)
    assert not result.passed and result.reason == "m is ambiguous: logged for 2 datasets (test, train)"
    assert [(row.metric, row.value) for row in result.rows] == [("m", None), ("n", 0.9)]
    doubtful = judge(gate, Measured(doubt="its files are of another run"), None)
    assert doubtful.reason == (
        "m is ambiguous: its files are of another run; n is ambiguous: its files are of another run"
    )


def test_what_is_in_service_is_no_excuse_where_nobody_knows_its_number() -> None:
    gate = Gate(metrics={"m": MetricRule(minimum=0.5, max_regression=0.01), "n": MetricRule(minimum=0.5)})
    new = Measured({"m": 0.9, "n": 0.9})
    result = judge(gate, new, Measured({"n": 0.95}, unclear={"m": "2 values at step 3 at the same time"}))
    assert result.reason == "m of the version in service is ambiguous: 2 values at step 3 at the same time"
    assert [(row.metric, row.passed) for row in result.rows] == [("m", False), ("n", True)], "n compares with nothing"
    low = judge(gate, Measured({"m": 0.4, "n": 0.9}), Measured(doubt="it is a copy of a version that is gone"))
    assert low.reason.startswith("m 0.4 < 0.5; m of the version in service is ambiguous: it is a copy")
    assert judge(gate, new, Measured({"n": 0.95})).passed, "it never had m: there is nothing to compare with"


def test_a_metric_that_only_the_run_has_says_whose_metrics_count() -> None:
    gate = Gate(metrics={"m": MetricRule(minimum=0.5)})
    result = judge(gate, Measured(only="only what was logged for m-1 itself counts"), None)
    assert result.reason == "m is missing: only what was logged for m-1 itself counts"


def test_each_row_says_where_its_numbers_come_from() -> None:
    gate = Gate(metrics={"m": MetricRule(minimum=0.5)})
    own, other = Origin(kind="model", name="m-1", step=2), Origin(kind="run", name="run7")
    (row,) = judge(gate, Measured({"m": 0.9}, {"m": own}), Measured({"m": 0.8}, {"m": other})).rows
    assert (row.origin, row.champion_origin) == (own, other)


def test_a_reason_fits_into_the_file_of_desired_state() -> None:
    gate = Gate(metrics={f"metric_{number}": MetricRule(minimum=0.5) for number in range(50)})
    reason = judge(gate, Measured(), None).reason
    assert len(reason) == REASON_CHARACTERS and reason.endswith("…")
    Entry(version=1, digest="sha256:" + "0" * 64, run="r", reason=reason)


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
        {"minimum": 0.9, "confidence": 0.95},  # of what would it be sure?
        {"max_regression": 0.01, "confidence": 0.5},  # a coin
        {"max_regression": 0.01, "confidence": 1.0},
        {"max_regression": 0.01, "confidence": 95},
        {"max_regression": 0.01, "confidence": "0.95"},
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
        {"on_unknown": "shadow"},
        {"slices": {}},
        {"slices": {"by": ["region"]}},
        {"slices": {"by": [], "max_regression": 0.03}},
        {"slices": {"by": [""], "max_regression": 0.03}},
        {"slices": {"by": "region", "max_regression": 0.03}},
        {"slices": {"by": ["region", "region"], "max_regression": 0.03}},
        {"slices": {"by": ["region"], "max_regression": 0.03, "min_rows": 1}},
        {"slices": {"by": ["region"], "max_regression": -0.03}},
        {"slices": {"by": ["region"], "max_regression": 0.03, "confidence": 0.4}},
        {"slices": {"by": ["region"], "metrics": {}}},
        {"slices": {"by": ["region"], "metrics": {"other": 0.1}}},  # the gate has no such metric
        {"latency": {}},
        {"latency": {"p50_milliseconds": 0}},
        {"latency": {"max_p99_worse": -0.1}},
        {"latency": {"p95_milliseconds": 3}},
    ],
)
def test_a_gate_that_is_wrong_is_no_gate(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Gate(metrics={"m": MetricRule(minimum=0)}, **settings)


def test_a_gate_says_which_of_its_keys_needs_an_evaluation_set() -> None:
    plain = {"m": {"max_regression": 0.01}}
    sure = {"m": {"max_regression": 0.01, "confidence": 0.95}}
    latency, slices = {"p99_milliseconds": 20.0}, {"by": ["region"], "max_regression": 0.03}
    for gate, key in [
        ({"metrics": plain}, ""),
        ({"metrics": plain, "on_unknown": "pass"}, ""),
        ({"metrics": sure, "slices": slices}, "metrics.m.confidence"),
        ({"metrics": plain, "slices": slices, "latency": latency}, "slices"),
        ({"metrics": plain, "latency": latency}, "latency"),
    ]:
        assert Gate.model_validate(gate).needs_evaluation == key


def test_a_slice_has_the_bound_of_its_metric_or_of_all() -> None:
    of_all = SliceRule(by=["region"], max_regression=0.03, metrics={"mae": 2.5})
    assert (of_all.allows("accuracy"), of_all.allows("mae")) == (0.03, 2.5)
    assert SliceRule(by=["region"], metrics={"mae": 2.5}).allows("accuracy") is None


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


@pytest.mark.parametrize(
    ("asked", "there", "said"),
    [
        ("accuracy", ("training_accuracy_score", "val/accuracy", "loss"), "val/accuracy, training_accuracy_score"),
        ("AUC-ROC", ("auc_roc", "f1 score"), "auc_roc"),
        ("f1_score", ("f1 score",), "f1 score"),
        ("acuracy", ("accuracy",), "accuracy"),
        ("정확도", ("val/정확도",), "val/정확도"),
    ],
)
def test_a_metric_of_another_name_is_named_and_not_taken(asked: str, there: tuple[str, ...], said: str) -> None:
    gate = Gate(metrics={asked: MetricRule(minimum=0)})
    result = judge(gate, Measured(dict.fromkeys(there, 1.0)), None)
    assert not result.passed and result.reason == f"{asked} is missing (there is {said})"
