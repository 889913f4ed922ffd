"""What measured numbers mean by a gate: which of them stop a proposal, and in which words."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bot.domain.desired import Entry
from bot.domain.evaluation import (
    ComparedLatency,
    Evaluation,
    MeasuredMetric,
    MeasuredSlice,
    Percentiles,
    Ratio,
    Refusals,
    Replay,
)
from bot.domain.gate import Gate
from bot.domain.measured import against, findings, improbable, judged_slices, rule_text, why_stale, worst_first
from bot.domain.spread import Spread

CHAMPION = Entry(version=7, digest=f"sha256:{'7' * 64}", run="run7")
OTHER = Entry(version=8, digest=f"sha256:{'8' * 64}", run="run8")
ROWS = f"sha256:{'5' * 64}"


def gate(**more: Any) -> Gate:
    return Gate.model_validate({"metrics": {"accuracy": {"minimum": 0.9, "max_regression": 0.01}}, **more})


SURE = {"metrics": {"accuracy": {"max_regression": 0.01, "confidence": 0.95}}}


def accuracy(**more: Any) -> MeasuredMetric:
    values: dict[str, Any] = {
        "metric": "accuracy",
        "measure": "accuracy",
        "claimed": 0.951,
        "proposed": 0.95,
        "proposed_error": 0.005,
        "in_service": 0.94,
        "difference": 0.01,
        "low": 0.002,
        "high": 0.018,
        "confidence": 0.95,
        "standard_error": 0.005,
        "rows": 1000,
    }
    return MeasuredMetric(**{**values, **more})


def evaluation(*metrics: MeasuredMetric, **more: Any) -> Evaluation:
    values: dict[str, Any] = {"digest": ROWS, "measured_by": "way", "rows": 1000, "champion": CHAMPION}
    return Evaluation(**{**values, "metrics": metrics or (accuracy(),), **more})


def problems(of: Gate, measured: Evaluation, *, tolerance: float = 0.01, listens: bool = False) -> dict[str, str]:
    found = findings(of, measured, tolerance=tolerance, listens=listens)
    assert found, "nothing judged is nothing passed"
    return {finding.what: finding.detail for finding in found if not finding.passed}


def test_what_is_as_good_as_it_must_be_passes_and_says_by_how_much() -> None:
    found = findings(gate(), evaluation(), tolerance=0.01)
    assert all(finding.passed for finding in found)
    assert [finding.what for finding in found] == ["rows answered", "claimed accuracy", "measured accuracy"]
    assert found[2].detail == "0.95 (≥ 0.9, at most 0.01 worse); +0.01 (+0.002 to +0.018)"
    assert found[1].detail == "training logged 0.951, measured here 0.95 ± 0.005"


@pytest.mark.parametrize(
    ("of", "metric", "says"),
    [
        (gate(), accuracy(proposed=0.89, claimed=None), "0.89 < 0.9"),
        (gate(), accuracy(proposed=math.nan, claimed=None), "not a finite number"),
        (gate(), accuracy(difference=-0.02), "more than 0.01 worse than version 7 in service"),
        (gate(), accuracy(difference=math.nan), "more than 0.01 worse"),
        (gate(metrics={"accuracy": {"maximum": 0.9}}), accuracy(), "0.95 > 0.9"),
        (gate(**SURE), accuracy(difference=-0.03, low=-0.04, high=-0.02), "more than 0.01 worse"),
        (
            gate(**SURE),
            accuracy(difference=-0.005, low=-0.015, high=0.005, rows_needed=4200),
            "cannot be told with 1,000 rows, about 4,200 rows would do",
        ),
        (gate(**SURE), accuracy(low=None, high=None, why="about 3 rows carry the difference"), "about 3 rows carry"),
        (gate(**SURE), accuracy(proposed=None, why="no row has the label 1"), "not measured: no row has the label 1"),
        (gate(**SURE), accuracy(difference=None, why="all labels are the same"), "all labels are the same"),
        (
            gate(metrics={"accuracy": {"max_regression": 0.01, "lower_is_better": True}}),
            accuracy(),
            "accuracy is better the higher it is, and the gate's lower_is_better says otherwise",
        ),
    ],
)
def test_what_misses_or_cannot_be_told_stops(of: Gate, metric: MeasuredMetric, says: str) -> None:
    found = problems(of, evaluation(metric))
    assert list(found) == ["measured accuracy"]
    assert says in found["measured accuracy"]


def test_a_loss_of_exactly_what_is_allowed_passes() -> None:
    assert not problems(gate(), evaluation(accuracy(difference=0.94 - 0.95)))
    nothing = {"metrics": {"accuracy": {"max_regression": 0, "confidence": 0.95}}}
    same = accuracy(difference=0.0, low=0.0, high=0.0, standard_error=0.0)
    assert not problems(gate(**nothing), evaluation(same))


def test_what_cannot_be_told_passes_only_where_the_gate_says_so() -> None:
    unknown = evaluation(accuracy(difference=-0.005, low=-0.015, high=0.005))
    assert problems(gate(**SURE), unknown) and problems(gate(**SURE, on_unknown="stop"), unknown)
    assert not problems(gate(**SURE, on_unknown="pass"), unknown)
    missing = evaluation(accuracy(difference=-0.03, low=-0.04, high=-0.02))
    assert problems(gate(**SURE, on_unknown="pass"), missing), "what is known to be worse is another matter"


def test_without_a_confidence_the_numbers_themselves_decide_and_an_unknown_metric_is_said() -> None:
    assert not problems(gate(), evaluation(accuracy(difference=-0.005, low=-0.015, high=0.005)))
    unknown = MeasuredMetric(metric="accuracy", measure="", why="no metric is known as 'kpi'")
    found = findings(gate(), evaluation(unknown), tolerance=0.01)
    said = "not measured: no metric is known as 'kpi'; READY judged the number that training logged"
    assert [f.detail for f in found if f.what == "measured accuracy"] == [said]
    assert all(finding.passed for finding in found)
    assert not evaluation().metric("f1")


def lacking(by: str | None, **more: Any) -> MeasuredMetric:
    nothing = dict.fromkeys(("difference", "low", "high", "standard_error"))
    return accuracy(**{**nothing, "undefined_by": by, "why": "no row is decided for 1", **more})


def test_a_version_whose_own_answers_give_no_number_stops() -> None:
    mine = lacking("proposed", proposed=None)
    for rules in (gate(), gate(on_unknown="pass"), gate(**SURE), gate(metrics={"accuracy": {"minimum": 0.9}})):
        for champion in (CHAMPION, None):
            found = problems(rules, evaluation(mine, champion=champion))
            said = "accuracy has no number, by what this version answers: no row is decided for 1"
            assert found == {"measured accuracy": said}


def test_what_the_labels_do_not_give_stops_only_who_wants_to_be_sure() -> None:
    nobodys = lacking("set", proposed=None, in_service=None)
    assert not problems(gate(), evaluation(nobodys))
    assert problems(gate(**SURE), evaluation(nobodys)) and not problems(
        gate(**SURE, on_unknown="pass"), evaluation(nobodys)
    )
    assert not problems(gate(), evaluation(lacking(None, proposed=None))), "evidence of earlier versions"


def test_what_is_in_service_and_has_no_number_is_no_bar_to_its_fix() -> None:
    its = lacking("in_service", in_service=None)
    for rules in (gate(), gate(**SURE)):
        found = findings(rules, evaluation(its), tolerance=0.01)
        assert all(finding.passed for finding in found)
        assert found[-1].detail.endswith("; no row is decided for 1")
        assert why_stale(rules, evaluation(its), CHAMPION, measured_by="way") == ""
    low = gate(metrics={"accuracy": {"minimum": 0.99, "max_regression": 0.01, "confidence": 0.95}})
    assert problems(low, evaluation(its)), "its own number is judged all the same"
    then = evaluation(lacking("proposed", proposed=None))
    now = against(evaluation(), OTHER, then)
    assert (now.metrics[0].undefined_by, now.metrics[0].why) == ("in_service", "in service: no row is decided for 1")
    assert not problems(gate(**SURE), now) and why_stale(gate(**SURE), now, OTHER, measured_by="way") == ""
    better = against(evaluation(its), OTHER, evaluation())
    assert (better.metrics[0].undefined_by, better.metrics[0].why) == (None, "")
    assert math.isclose(better.metrics[0].difference or 0, 0, abs_tol=1e-9)


def test_what_is_in_service_is_not_on_trial_but_nobody_is_sure_without_it() -> None:
    alone = accuracy(in_service=None, difference=None, low=None, high=None, standard_error=None)
    lost = evaluation(alone, champion_problem="MLflow lost version 7")
    found = findings(gate(), lost, tolerance=0.01)
    assert all(finding.passed for finding in found)
    assert "not compared with version 7 in service: MLflow lost version 7" in found[2].detail
    assert "MLflow lost version 7" in problems(gate(**SURE), lost)["measured accuracy"]
    assert not problems(gate(**SURE), evaluation(alone, champion=None)), "nothing is in service"


@pytest.mark.parametrize(
    ("claimed", "error", "tolerance", "passes"),
    [
        (0.951, 0.005, 0.01, True),
        (0.98, 0.005, 0.01, False),
        (0.92, 0.005, 0.01, False),
        (0.98, 0.011, 0.01, True),
        (0.98, 0.005, 0.05, True),
        (0.98, None, 0.01, False),
        (math.nan, 0.005, 0.01, False),
        (None, 0.005, 0.01, True),
    ],
)
def test_a_claim_of_training_is_held_to_what_was_measured(
    claimed: float | None, error: float | None, tolerance: float, passes: bool
) -> None:
    measured = evaluation(accuracy(claimed=claimed, proposed_error=error))
    found = problems(gate(), measured, tolerance=tolerance)
    assert found.keys() == (set() if passes else {"claimed accuracy"})
    assert passes or "apart, more than 3 standard errors and the tolerance of" in found["claimed accuracy"]


def slice_of(value: str, difference: float | None, **more: Any) -> MeasuredSlice:
    values: dict[str, Any] = {
        "by": "region",
        "value": value,
        "rows": 400,
        "metric": "accuracy",
        "in_service": 0.94,
        "proposed": 0.94 + (difference or 0),
        "difference": difference,
        "low": (difference or 0) - 0.02,
        "high": (difference or 0) + 0.02,
        "confidence": 0.95,
        "standard_error": 0.012,
        "skew": 0.0,
        "degrees": 399.0,
        "step": 0.0,
    }
    return MeasuredSlice(**{**values, **more})


BY_REGION = {"slices": {"by": ["region"], "min_rows": 200, "max_regression": 0.03}}


def test_a_confidence_is_said_as_it_was_given() -> None:
    sure = gate(metrics={"accuracy": {"max_regression": 0.5, "confidence": 0.99999999}})
    assert rule_text(sure.metrics["accuracy"]) == "at most 0.5 worse, 0.99999999 sure"


def test_the_slices_that_the_gate_judges_come_first_and_the_greatest_loss_among_them() -> None:
    shown = slice_of("shown", -9.0, metric="log_loss")
    judged, worse = (slice_of(name, loss, allowed=0.03) for name, loss in (("a", -0.01), ("b", -0.2)))
    nothing = slice_of("nothing", None, allowed=0.03)
    assert worst_first([nothing, shown, judged, worse]) == [worse, judged, shown, nothing]


def test_one_bad_slice_among_good_ones_stops_and_is_named() -> None:
    slices = tuple(slice_of(f"r{number}", 0.0) for number in range(20))
    assert not problems(gate(**BY_REGION), evaluation(slices=slices))
    found = problems(gate(**BY_REGION), evaluation(slices=(*slices, slice_of("north", -0.13))))
    assert list(found) == ["slice region = north"]
    said = found["slice region = north"]
    assert said == "accuracy 0.94 in service, 0.81 proposed: 0.13 worse on 400 rows, allowed is 0.03"


def test_a_slice_is_not_blamed_for_being_the_worst_of_many() -> None:
    """Alone, 2.2 standard errors below its allowance would be improbable; as the worst of fifty it is not."""
    one = slice_of("north", -0.03 - 2.2 * 0.012)
    rule = gate(**BY_REGION).slices
    assert rule is not None
    assert judged_slices(rule, evaluation(slices=(one,)))[0].outcome == "misses"
    others = tuple(slice_of(f"r{number}", 0.0) for number in range(50))
    assert judged_slices(rule, evaluation(slices=(one, *others)))[0].outcome != "misses"


def test_a_slice_with_few_rows_is_said_and_not_judged() -> None:
    small = slice_of("north", -0.5, rows=12)
    found = findings(gate(**BY_REGION), evaluation(slices=(small, slice_of("south", 0.0))), tolerance=0.01)
    assert all(finding.passed for finding in found)
    assert found[-1].detail.endswith("1 have fewer than 200 rows and are not judged")


@pytest.mark.parametrize(
    ("more", "measured", "says"),
    [
        ({"by": ["plan", "region"]}, {"slices": (slice_of("a", 0.0, by="plan"),)}, "no column region"),
        ({}, {"slices": (slice_of("a", 0.0, by="plan"),)}, "the evaluation set has no slices by region"),
        ({}, {"slices": ()}, "the evaluation set has no slices by region"),
        ({}, {"slices": (), "champion_problem": "it does not load"}, "it does not load"),
        ({"on_unknown": "stop"}, {"slices": (slice_of("a", -0.025),)}, "cannot be told with these rows: region = a"),
    ],
)
def test_slices_that_cannot_be_judged_stop(more: dict[str, Any], measured: dict[str, Any], says: str) -> None:
    rule = {"slices": {**BY_REGION["slices"], **more}}
    assert says in problems(gate(**rule), evaluation(**measured))["slices"]


@pytest.mark.parametrize(("by", "stops"), [("proposed", True), ("set", True), (None, True), ("in_service", False)])
def test_a_slice_without_a_number_is_not_too_small(by: str | None, stops: bool) -> None:
    empty = slice_of("north", None, undefined_by=by, why="all labels are the same", rows=1000)
    slices = (empty, slice_of("south", 0.0), slice_of("west", -0.5, rows=12))
    (said,) = (
        f for f in findings(gate(**BY_REGION), evaluation(slices=slices), tolerance=0.01) if f.what == "slices"
    )
    assert said.passed and "1 have fewer than 200 rows" in said.detail
    assert ("1 cannot be told: region = north: accuracy has no number: all labels are" in said.detail) is stops
    strict = {"slices": {**BY_REGION["slices"], "on_unknown": "stop"}}
    found = problems(gate(**strict), evaluation(slices=(empty, slice_of("south", 0.0, low=-0.02))))
    assert ("all labels are the same" in found.get("slices", "")) is stops


def test_only_slices_by_the_columns_of_the_rule_are_judged_and_counted() -> None:
    """Evidence of before the rule has slices by every column."""
    by_plan = tuple(slice_of(f"p{number}", -0.4, by="plan") for number in range(50))
    worse = slice_of("north", -0.03 - 2.2 * 0.012)
    rule = gate(**BY_REGION).slices
    assert rule is not None
    (judged,) = judged_slices(rule, evaluation(slices=(*by_plan, worse)))
    assert (judged.of, judged.outcome) == (worse, "misses")


def test_a_p_value_that_is_none_does_not_hide_the_others() -> None:
    assert improbable([0.5, math.nan, 1e-9], 0.95) == {2}


def test_slices_that_cannot_be_told_pass_by_default() -> None:
    assert not problems(gate(**BY_REGION), evaluation(slices=(slice_of("a", -0.025),)))
    assert not problems(gate(**BY_REGION), evaluation(slices=(), champion=None))


def latency(p50: float = 5.0, p99: float = 9.0, low: float = 0.9, high: float = 1.1) -> ComparedLatency:
    ratio = Ratio(ratio=(low + high) / 2, low=low, high=high)
    return ComparedLatency(
        requests=400,
        proposed=Percentiles(p50=p50, p99=p99),
        in_service=Percentiles(p50=5.0, p99=9.0),
        p50_ratio=ratio,
        p99_ratio=ratio,
    )


@pytest.mark.parametrize(
    ("rule", "seen", "what"),
    [
        ({"p50_milliseconds": 6}, latency(), ""),
        ({"p50_milliseconds": 4}, latency(), "latency p50"),
        ({"p99_milliseconds": 8}, latency(), "latency p99"),
        ({"max_p50_worse": 0.2}, latency(), ""),
        ({"max_p50_worse": 0.2}, latency(low=1.3, high=1.5), "latency p50 against the version in service"),
        ({"max_p99_worse": 0.2}, latency(low=1.1, high=1.3), "latency p99 against the version in service"),
        ({"p50_milliseconds": 6}, None, "latency"),
    ],
)
def test_latency_has_budgets_absolute_and_against_what_is_in_service(
    rule: dict[str, float], seen: ComparedLatency | None, what: str
) -> None:
    assert list(problems(gate(latency=rule), evaluation(latency=seen))) == ([what] if what else [])


def test_latency_that_cannot_be_told_passes_only_where_the_gate_says_so() -> None:
    between = evaluation(latency=latency(low=1.1, high=1.3))
    (said,) = problems(gate(latency={"max_p50_worse": 0.2}), between).values()
    assert said.startswith("cannot be told: 1.20 × (1.10 to 1.30) in 400 requests to each in turns; allowed is 1.2 ×")
    assert not problems(gate(latency={"max_p50_worse": 0.2}, on_unknown="pass"), between)


@pytest.mark.parametrize(
    ("refused", "champion", "stops"),
    [
        (Refusals(), CHAMPION, False),
        (Refusals(in_service=5), CHAMPION, False),
        (Refusals(proposed=1), CHAMPION, True),
        (Refusals(proposed=1), None, True),
        (Refusals(proposed=5, in_service=5), CHAMPION, False),
        (Refusals(proposed=6, in_service=5, why="row 3: HTTP 400"), CHAMPION, True),
        (Refusals(proposed=5, in_service=5, only_proposed=0), CHAMPION, False),
        (Refusals(proposed=2, in_service=5, only_proposed=2), CHAMPION, True),
        (Refusals(proposed=400, in_service=1000, only_proposed=0), CHAMPION, True),
    ],
)
def test_rows_that_only_the_proposed_version_leaves_unanswered_stop(
    refused: Refusals, champion: Entry | None, stops: bool
) -> None:
    found = problems(gate(), evaluation(refused=refused, champion=champion))
    assert list(found) == (["rows answered"] if stops else [])
    assert not refused.why or refused.why in found["rows answered"]
    assert not refused.only_proposed or "version 7 in service left 5 unanswered, and answered 2 of those" in str(
        found
    )


def test_where_the_version_in_service_was_not_asked_nothing_is_said_of_its_rows() -> None:
    lost = evaluation(refused=Refusals(proposed=3), champion_problem="MLflow lost version 7")
    assert problems(gate(), lost)["rows answered"].endswith("have no usable answer")


def test_a_set_without_labels_measures_no_metric_and_cannot_answer_a_gate_that_wants_to_be_sure() -> None:
    bare = evaluation(labelled=False)
    found = findings(gate(), bare, tolerance=0.01)
    assert [finding.what for finding in found] == ["rows answered", "labels"]
    assert all(finding.passed for finding in found)
    for more in (SURE, BY_REGION):
        assert "has no labels" in problems(gate(**more), bare)["labels"]


def test_a_shadow_may_miss_where_its_gate_says_so_and_its_claims_may_not() -> None:
    weak = evaluation(accuracy(proposed=0.8, claimed=0.8, difference=-0.14))
    assert problems(gate(on_miss="shadow"), weak) and problems(gate(), weak, listens=True)
    assert not problems(gate(on_miss="shadow"), weak, listens=True)
    lying = evaluation(accuracy(proposed=0.8, claimed=0.97, difference=-0.14))
    assert list(problems(gate(on_miss="shadow"), lying, listens=True)) == ["claimed accuracy"]


# --- judged again ---------------------------------------------------------------------------------------------------


def test_numbers_are_put_beside_what_was_measured_of_another_champion() -> None:
    beside = evaluation(accuracy(proposed=0.97), champion=None)
    numbers = against(evaluation(), OTHER, beside)
    assert numbers.champion == OTHER and numbers.slices == () and numbers.decisions is None
    (metric,) = numbers.metrics
    assert (metric.in_service, metric.standard_error) == (0.97, None)
    assert math.isclose(metric.difference or 0, -0.02)
    assert why_stale(gate(), numbers, OTHER, measured_by="way") == ""
    assert list(problems(gate(), numbers)) == ["measured accuracy"]
    loss = accuracy(metric="accuracy", lower_is_better=True, proposed=0.2)
    assert (against(evaluation(loss), OTHER, evaluation(accuracy(proposed=0.3))).metrics[0].difference or 0) > 0


@pytest.mark.parametrize(
    ("rules", "beside", "says"),
    [
        (gate(), None, "accuracy was not measured against version 8"),
        (gate(), evaluation(digest=f"sha256:{'6' * 64}"), "accuracy was not measured against version 8"),
        (gate(), evaluation(measured_by="other"), "accuracy was not measured against version 8"),
        (gate(**SURE), evaluation(), "how sure accuracy is was not measured against version 8"),
        (gate(**BY_REGION), evaluation(), "slices were not measured against version 8"),
        (gate(latency={"max_p50_worse": 0.2}), evaluation(), "latency was not measured against version 8"),
        (gate(metrics={"accuracy": {"minimum": 0.9}, "f1": {"minimum": 0.9}}), evaluation(), "f1 was not measured"),
        (gate(metrics={"accuracy": {"minimum": 0.9}}), None, ""),
        (gate(), evaluation(), ""),
    ],
)
def test_numbers_that_cannot_answer_are_stale(rules: Gate, beside: Evaluation | None, says: str) -> None:
    measured = evaluation(slices=(slice_of("a", 0.0),), latency=latency())
    assert why_stale(rules, against(measured, OTHER, beside), OTHER, measured_by="way").startswith(says)
    assert bool(why_stale(rules, against(measured, OTHER, beside), OTHER, measured_by="way")) is bool(says)


def test_a_metric_or_a_column_that_the_gate_has_only_since_the_checks_is_stale() -> None:
    f1 = gate(metrics={"accuracy": {"minimum": 0.9}, "f1": {"minimum": 0.9}})
    assert why_stale(f1, evaluation(champion=None), None, measured_by="way") == "f1 was not measured"
    assert why_stale(f1, evaluation(labelled=False), CHAMPION, measured_by="way") == "", "its labels are a finding"
    by_region = evaluation(slices=(slice_of("a", 0.0),))
    two = gate(slices={"by": ["region", "plan"], "max_regression": 0.03})
    assert why_stale(two, by_region, CHAMPION, measured_by="way") == "slices by plan were not measured"
    assert why_stale(gate(**BY_REGION), by_region, CHAMPION, measured_by="way") == ""


def test_refusals_and_live_requests_are_those_of_the_version_that_was_in_service_then() -> None:
    """Version 7 left five rows open; 8, which is in service now, answered all."""
    before = Refusals(proposed=3, in_service=5, only_proposed=0, why="row 3: HTTP 400")
    seen = evaluation(refused=before, replay=Replay(requests=10, asked=10))
    now = against(seen, OTHER, evaluation())
    assert now.replay is None and now.refused == Refusals(proposed=3, why="row 3: HTTP 400")
    assert "version 8 in service left 0 unanswered" in problems(gate(), now)["rows answered"]
    left_three = against(seen, OTHER, evaluation(refused=Refusals(proposed=3)))
    assert not problems(gate(), left_three)
    unknown = against(seen, OTHER, None)
    rules = gate(metrics={"accuracy": {"minimum": 0.9}})
    assert why_stale(rules, unknown, OTHER, measured_by="way").startswith("which rows are answered was not measured")


def test_numbers_of_another_way_to_measure_are_stale() -> None:
    assert "measure in another way" in why_stale(gate(), evaluation(), CHAMPION, measured_by="other")
    assert why_stale(gate(), evaluation(), CHAMPION, measured_by="way") == ""
    assert against(evaluation(), CHAMPION, None) == evaluation(), "the same champion: nothing to put beside"


def sure(confidence: float) -> Gate:
    return gate(metrics={"accuracy": {"max_regression": 0.01, "confidence": confidence}})


def test_another_confidence_is_judged_as_the_check_would_have() -> None:
    """Of 40 rows no decision differs: nothing is certain of them, at any confidence."""
    nothing = Spread(0.0, 0.0, 39.0, 1 / 40)
    below, above = nothing.bounds(0.95)
    kept = {"skew": 0.0, "degrees": 39.0, "step": 1 / 40, "standard_error": 0.0, "rows": 40}
    measured = evaluation(accuracy(difference=0.0, low=-below, high=above, **kept))
    assert why_stale(sure(0.99), measured, CHAMPION, measured_by="way") == ""
    assert "cannot be told with 40 rows" in problems(sure(0.99), measured)["measured accuracy"]
    lax = gate(metrics={"accuracy": {"max_regression": below * 1.01, "confidence": 0.95}})
    assert not problems(lax, measured)
    stricter = gate(metrics={"accuracy": {"max_regression": below * 1.01, "confidence": 0.99}})
    assert problems(stricter, measured)


def test_evidence_that_kept_the_bounds_at_one_confidence_only_is_stale_at_another() -> None:
    old = evaluation(accuracy(difference=0.0, low=-0.008, high=0.008), slices=(slice_of("a", 0.0, **OLD),))
    assert why_stale(sure(0.95), old, CHAMPION, measured_by="way") == ""
    said = "how sure accuracy is was measured at a confidence of 0.95 only"
    assert why_stale(sure(0.9999), old, CHAMPION, measured_by="way") == said
    assert "cannot be told" in problems(sure(0.9999), old)["measured accuracy"]
    for rule in ({"max_regression": 0.01}, {"max_regression": 0.03, "confidence": 0.99}):
        of = gate(slices={"by": ["region"], **rule})
        assert why_stale(of, old, CHAMPION, measured_by="way").startswith("slices were measured for another")
    assert why_stale(gate(**BY_REGION), old, CHAMPION, measured_by="way") == ""
    now = evaluation(slices=(slice_of("a", 0.0, allowed=0.5),))
    assert why_stale(gate(**BY_REGION), now, CHAMPION, measured_by="way") == ""


OLD = {"skew": None, "degrees": None, "step": None, "allowed": 0.03, "p_value": 0.9}
"""What evidence of earlier versions has of a slice, and has not."""
