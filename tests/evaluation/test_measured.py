"""What the answers of two versions amount to: numbers, slices, decisions that change, and what they are worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from bot.domain.evaluation import Evaluation, MeasuredMetric
from bot.domain.gate import Gate
from bot.domain.measured import _p_value, bounds, judged_slices
from bot.domain.signature import Signature, TensorSpec
from bot.errors import InvalidInput, Rejected
from bot.evaluation.asking import ask
from bot.evaluation.collected import Collected, collect
from bot.evaluation.description import Labels
from bot.evaluation.measured import changed, measures, metrics, output_of, slices
from bot.evaluation.sets import Batch
from bot.settings import EvaluationRules

CLASSES = Labels("class", "INT64")
ROWS = 400
RANDOM = np.random.default_rng(7)
LABELS = RANDOM.integers(0, 2, ROWS)
REGION = np.where(np.arange(ROWS) < 100, "north", "south")
GOOD = np.clip(LABELS * 0.8 + 0.1 + RANDOM.normal(0, 0.15, ROWS), 0.01, 0.99)
BETTER = np.clip(LABELS * 0.96 + 0.02, 0.01, 0.99)
SLANTED = np.where((REGION == "north") & (np.arange(ROWS) % 3 == 0), 1 - BETTER, BETTER)
"""Better than GOOD in the south, and wrong in every third row of the north."""


def rules(**more: Any) -> EvaluationRules:
    return EvaluationRules.model_validate({"digest": f"sha256:{'5' * 64}", "from": "runs:/r/x", **more})


def both(shares: np.ndarray) -> np.ndarray:
    return np.stack([1 - shares, shares], axis=1).astype(np.float32)


def batches(size: int = 64, labels: np.ndarray | None = LABELS, **more: Any) -> Iterator[Batch]:
    inputs = np.arange(ROWS, dtype=np.float32)[:, np.newaxis]
    columns: dict[str, Any] = {"slices": {"region": REGION}, **more}
    for start in range(0, ROWS, size):
        cut = slice(start, start + size)
        yield Batch(
            start,
            {"X": inputs[cut]},
            None if labels is None else labels[cut],
            {name: values[cut] for name, values in columns["slices"].items()},
            columns["groups"][cut] if "groups" in columns else None,
        )


def answering(answers: np.ndarray, *, refuses: tuple[int, ...] = ()) -> Any:
    def asks(batch: Batch) -> Mapping[str, Any]:
        rows = batch.inputs["X"][:, 0].astype(int)
        if set(rows) & set(refuses):
            raise Rejected("HTTP 400: not this one", system="Triton")
        return {"p": answers[rows]}

    return asks


def heard(proposed: np.ndarray, in_service: np.ndarray | None = None, *, refuses: Any = (), **more: Any) -> Collected:
    asked = {"proposed": answering(proposed, refuses=refuses)}
    if in_service is not None:
        asked["in_service"] = answering(in_service)
    return collect(ask(batches(**more), asked), rows=ROWS, output="p")


def gate(**more: Any) -> Gate:
    return Gate.model_validate(
        {
            "metrics": {"val_accuracy": {"max_regression": 0.02, "confidence": 0.95}, "roc_auc": {"minimum": 0.5}},
            **more,
        }
    )


def test_metrics_are_those_of_scikit_learn_and_the_difference_is_oriented() -> None:
    found = heard(both(BETTER), both(GOOD))
    accuracy, area = metrics(found, measures(gate(), rules()), seed="s", claimed={"val_accuracy": 0.9})
    assert (accuracy.metric, accuracy.claimed, accuracy.rows) == ("val_accuracy", 0.9, ROWS)
    assert accuracy.proposed == accuracy_score(LABELS, BETTER > 0.5) == 1
    assert accuracy.in_service == pytest.approx(accuracy_score(LABELS, GOOD > 0.5))
    assert accuracy.difference == pytest.approx((accuracy.proposed or 0) - (accuracy.in_service or 0))
    assert accuracy.outcome == "holds" and accuracy.confidence == 0.95
    assert area.proposed == pytest.approx(roc_auc_score(LABELS, BETTER)) and area.outcome is None
    worse = metrics(heard(both(GOOD), both(BETTER)), measures(gate(), rules()), seed="s", claimed={})[0]
    assert (worse.difference or 0) < 0 and worse.outcome != "holds"


def test_a_version_alone_has_numbers_and_nothing_to_compare_with() -> None:
    found = heard(both(GOOD))
    one = metrics(found, measures(gate(), rules()), seed="s", claimed={})[0]
    assert one.proposed is not None and one.proposed_error is not None
    assert (one.in_service, one.difference, one.outcome, one.confidence) == (None, None, None, None)
    assert changed(found, CLASSES, rules(), inputs=None) is None


def test_a_metric_that_nobody_knows_is_said_and_the_settings_may_say_what_it_is() -> None:
    kpi = Gate.model_validate({"metrics": {"kpi": {"minimum": 0.5}}})
    (unknown,) = metrics(heard(both(GOOD)), measures(kpi, rules()), seed="s", claimed={"kpi": 0.7})
    assert unknown.proposed is None and unknown.claimed == 0.7 and "no metric is known as 'kpi'" in unknown.why
    (known,) = metrics(heard(both(GOOD)), measures(kpi, rules(metrics={"kpi": "f1"})), seed="s", claimed={})
    assert known.proposed is not None and known.measure == "f1"


def test_a_version_that_is_better_on_average_and_worse_in_one_region_is_found() -> None:
    by_region = gate(slices={"by": ["region"], "min_rows": 50, "max_regression": 0.1, "metrics": {"roc_auc": 1.0}})
    found = heard(both(SLANTED), both(GOOD))
    measured = list(slices(found, by_region, measures(by_region, rules()), seed="s"))
    assert {(one.value, one.rows) for one in measured} == {("north", 100), ("south", 300)}
    assert by_region.slices is not None
    judged = judged_slices(by_region.slices, Evaluation(digest="d", slices=tuple(measured)))
    assert {(one.of.value, one.of.metric) for one in judged if one.outcome == "misses"} == {("north", "val_accuracy")}
    everywhere = list(slices(found, gate(), measures(gate(), rules()), seed="s"))
    assert {one.value for one in everywhere} == {"north", "south"} and not any(one.allowed for one in everywhere)


def test_rows_that_are_decided_otherwise_are_counted_by_direction_and_the_worst_come_first() -> None:
    found = changed(heard(both(SLANTED), both(GOOD)), CLASSES, rules(), inputs=None)
    before, after = GOOD > 0.5, SLANTED > 0.5
    assert found is not None and found.rows == ROWS
    assert found.changed == int((before != after).sum())
    assert found.broken == int(((before != after) & (before == LABELS)).sum()) > 0
    assert found.fixed == found.changed - found.broken and found.other == 0
    assert len(found.worst) == 10 and all(one.inputs is None for one in found.worst)
    first = found.worst[0]
    assert first.label == str(LABELS[first.row]) != first.after.split()[0]
    assert [one.by for one in found.worst] == sorted((one.by for one in found.worst), key=lambda by: -(by or 0))


def test_inputs_are_shown_only_where_they_are_given() -> None:
    def inputs(row: int) -> Mapping[str, Any]:
        return {"X": np.array([row, 0.5]), "name": np.array([b"caf\xc3\xa9"], object), "long": np.arange(1000)}

    found = changed(heard(both(SLANTED), both(GOOD)), CLASSES, rules(), inputs=inputs)
    assert found is not None
    shown = found.worst[0].inputs or {}
    assert shown["X"] == f"{found.worst[0].row}, 0.5" and shown["name"] == "café" and shown["long"].endswith("…")


def test_costs_say_what_changed_decisions_are_worth() -> None:
    costs = {"false_positive": 1.0, "false_negative": 20.0}
    found = changed(heard(both(SLANTED), both(GOOD)), CLASSES, rules(costs=costs), inputs=None)

    def cost(shares: np.ndarray) -> int:
        decided = shares > 0.5
        return int((decided & (LABELS == 0)).sum() + 20 * (~decided & (LABELS == 1)).sum())

    assert found is not None and found.worth == cost(GOOD) - cost(SLANTED) < 0
    assert changed(heard(both(SLANTED), both(GOOD)), CLASSES, rules(), inputs=None).worth is None  # type: ignore[union-attr]


def test_without_labels_changes_are_counted_and_nobody_says_which_is_right() -> None:
    found = heard(both(SLANTED), both(GOOD), labels=None)
    assert found.labels is None
    decided = changed(found, None, rules(), inputs=None)
    assert decided is not None and decided.changed == decided.other > 0 == decided.fixed == decided.broken


def test_rows_that_are_refused_or_answered_with_nan_count_as_not_answered() -> None:
    broken = both(BETTER)
    broken[5, 1] = np.nan
    found = heard(broken, both(GOOD), refuses=(7, 8))
    assert (found.refusals.proposed, found.refusals.in_service, found.refusals.only_proposed) == (3, 0, 3)
    assert found.refusals.why == "row 5: p is not a finite number"
    one = metrics(found, measures(gate(), rules()), seed="s", claimed={})[0]
    assert one.proposed == pytest.approx(1 - 3 / ROWS), "each counts as wrong"
    decided = changed(found, CLASSES, rules(), inputs=None)
    assert decided is not None
    assert {one.row for one in decided.worst if one.after == "no answer"} == {5, 7, 8}


def test_numbers_have_nearer_and_farther_and_a_price_for_each_unit() -> None:
    labels = np.linspace(0, 10, ROWS)
    proposed = labels + np.where(np.arange(ROWS) < 10, 5.0, 0.0)
    in_service = labels + 1.0
    found = collect(
        ask(
            batches(labels=labels),
            {"proposed": answering(proposed[:, None]), "in_service": answering(in_service[:, None])},
        ),
        rows=ROWS,
        output="p",
    )
    moved = changed(found, Labels("number", "FP64"), rules(costs={"per_unit": 2.0}), inputs=None)
    assert moved is not None and moved.kind == "number"
    assert (moved.changed, moved.fixed, moved.broken) == (ROWS, ROWS - 10, 10)
    assert moved.worth == pytest.approx(2.0 * ((ROWS - 10) - 10 * 4))
    assert {one.row for one in moved.worst} == set(range(10))


@pytest.mark.parametrize("refuses", [(), tuple(range(ROWS))])
def test_a_version_in_service_that_answers_nothing_is_not_compared_with(refuses: tuple[int, ...]) -> None:
    nothing = both(np.full(ROWS, np.nan))
    with pytest.raises(InvalidInput, match=f"no usable answer to any of the {ROWS:,} rows") as found:
        asked = {"proposed": answering(both(GOOD)), "in_service": answering(nothing, refuses=refuses)}
        collect(ask(batches(), asked), rows=ROWS, output="p")
    assert found.value.key == "in_service"
    alone = collect(ask(batches(), {"proposed": answering(nothing)}), rows=ROWS, output="p")
    assert alone.refusals.proposed == ROWS


def test_a_ranking_changes_where_another_row_comes_first() -> None:
    groups, relevance = np.arange(ROWS) // 4, np.tile([3.0, 2.0, 1.0, 0.0], ROWS // 4)
    same, other = relevance.copy(), relevance.copy()
    other[:4] = [0, 9, 0, 0]
    found = heard(other[:, None], same[:, None], labels=relevance, groups=groups)
    moved = changed(found, Labels("relevance", "FP64"), rules(), inputs=None)
    assert moved is not None and (moved.rows, moved.changed, moved.broken) == (ROWS // 4, 1, 1)
    assert moved.worst[0].before == "row 0, relevance 3" and moved.worst[0].after == "row 1, relevance 2"


def test_texts_are_decisions_too() -> None:
    words = np.array(["no", "yes"])
    labels = words[LABELS]
    found = heard(words[(SLANTED > 0.5).astype(int)], words[(GOOD > 0.5).astype(int)], labels=labels)
    accuracy = metrics(found, measures(gate(), rules()), seed="s", claimed={})[0]
    assert accuracy.proposed == pytest.approx(accuracy_score(LABELS, SLANTED > 0.5))
    decided = changed(found, Labels("class", "BYTES"), rules(), inputs=None)
    assert decided is not None and decided.changed == int(((GOOD > 0.5) != (SLANTED > 0.5)).sum())
    assert decided.worst[0].before in ("no", "yes")


FP, INT, TEXT = ("FP32", "INT64", "BYTES")


def of(**outputs: str | tuple[str, int]) -> Signature:
    each = ((name, (one, 1) if isinstance(one, str) else one) for name, one in outputs.items())
    return Signature((), tuple(TensorSpec(name, datatype, (-1, size)) for name, (datatype, size) in each))


@pytest.mark.parametrize(
    ("outputs", "named", "labels", "chosen"),
    [
        ({"y": FP}, None, CLASSES, "y"),
        ({"label": INT, "probabilities": FP}, None, CLASSES, "probabilities"),
        ({"label": INT, "probabilities": FP}, "label", CLASSES, "label"),
        ({"label": TEXT, "code": INT}, None, Labels("class", "BYTES"), "label"),
        ({"label": TEXT, "code": INT}, None, CLASSES, "code"),
        ({"a": FP, "b": FP}, "b", None, "b"),
        ({"price": FP, "embedding": (FP, 768)}, None, Labels("number", "FP64"), "price"),
    ],
)
def test_the_output_that_fits_is_measured(
    outputs: dict[str, str | tuple[str, int]], named: str | None, labels: Labels | None, chosen: str
) -> None:
    assert output_of(rules(output=named), labels, of(**outputs)) == chosen


@pytest.mark.parametrize(
    ("outputs", "named", "says"),
    [
        ({"a": FP, "b": FP}, None, "the model gives a, b, and the settings do not say which is measured"),
        ({"a": FP}, "b", "'b' is not an output of the model, which gives a"),
    ],
)
def test_an_output_that_does_not_fit_names_those_that_there_are(
    outputs: dict[str, str], named: str | None, says: str
) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        output_of(rules(output=named), CLASSES, of(**outputs))
    assert refused.value.key == "evaluation.output"


def test_much_lies_on_the_disk_and_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    small = heard(both(SLANTED), both(GOOD))
    monkeypatch.setattr("bot.evaluation.room.ON_DISK_BYTES", 0)
    monkeypatch.setattr("bot.evaluation.room.AT_ONCE", 37)
    large = heard(both(SLANTED), both(GOOD))
    assert isinstance(large.answers["proposed"], np.memmap)
    assert np.array_equal(large.answers["proposed"], small.answers["proposed"])
    assert np.array_equal(large.labels, small.labels)  # type: ignore[arg-type]
    assert large.slices["region"][1] == ["north", "south"]
    of = gate(slices={"by": ["region"], "min_rows": 50, "max_regression": 0.1})
    on_disk, in_memory = (list(slices(each, of, measures(of, rules()), seed="s")) for each in (large, small))
    for one, other in zip(on_disk, in_memory, strict=True):
        assert (one.value, one.metric, one.rows) == (other.value, other.metric, other.rows)
        assert (one.difference, one.low) == (pytest.approx(other.difference), pytest.approx(other.low))
    decided = changed(small, CLASSES, rules(costs={"false_positive": 1, "false_negative": 3}), inputs=None)
    assert decided == changed(large, CLASSES, rules(costs={"false_positive": 1, "false_negative": 3}), inputs=None)


def test_evidence_is_judged_at_another_confidence_as_the_check_would_have_judged_it() -> None:
    found = heard(both(SLANTED), both(GOOD))
    sure = gate(metrics={"val_accuracy": {"max_regression": 0.02, "confidence": 0.8}, "roc_auc": {"minimum": 0.5}})
    kept = metrics(found, measures(gate(), rules()), seed="s", claimed={})[0]
    anew = metrics(found, measures(sure, rules()), seed="s", claimed={})[0]
    assert kept.confidence == 0.95 and anew.confidence == 0.8
    assert bounds(MeasuredMetric.model_validate_json(kept.model_dump_json()), 0.8) == (anew.low, anew.high)
    allows = [gate(slices={"by": ["region"], "max_regression": allowed}) for allowed in (0.1, 0.02)]
    first, second = (list(slices(found, of, measures(of, rules()), seed="s")) for of in allows)
    rule = allows[1].slices
    assert rule is not None and first[0].allowed == 0.1
    again, judged = (
        [one.outcome for one in judged_slices(rule, Evaluation(digest="d", slices=tuple(found)))]
        for found in (first, second)
    )
    assert again == judged
    assert [_p_value(one, 0.02) for one in first] == [one.p_value for one in second]


def test_answers_of_numbers_that_nobody_labelled_are_compared_as_numbers() -> None:
    values = np.linspace(100, 200, ROWS, dtype=np.float32)[:, None]
    found = changed(heard(values * 3, values, labels=None), None, rules(), inputs=None)
    assert found is not None and found.kind == "number" and found.changed == found.other == ROWS
    assert found.worst[0].row == ROWS - 1 and found.worst[0].label == "" and len(found.worst) == 10
    shares = changed(heard(BETTER[:, None], GOOD[:, None], labels=None), None, rules(), inputs=None)
    assert shares is not None and shares.kind == "decision" and shares.changed < ROWS


def test_long_texts_are_kept_short_and_stay_different(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "x" * 5000
    words = np.array([long + "no", long + "yes"])
    found = heard(words[LABELS], words[1 - LABELS], labels=words[LABELS])
    assert found.answers["proposed"].dtype.itemsize <= 4 * 64
    accuracy = metrics(found, measures(gate(), rules()), seed="s", claimed={})[0]
    assert (accuracy.proposed, accuracy.in_service) == (1.0, 0.0)
    decided = changed(found, Labels("class", "BYTES"), rules(), inputs=None)
    assert decided is not None and decided.fixed == ROWS
    monkeypatch.setattr("bot.evaluation.collected.MOST_WORDS", 100)
    with pytest.raises(InvalidInput, match="answers more than 100 different texts") as refused:
        heard(np.array([f"text {row}" for row in range(ROWS)]))
    assert refused.value.key == "proposed"
    assert heard(both(GOOD), labels=np.array([f"label {row}" for row in range(ROWS)])).labels is not None
