"""Metrics, slices and decisions that change, computed from the answers of both versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.domain.evaluation import ChangedDecision, Decisions, MeasuredMetric, MeasuredSlice
from bot.domain.gate import CONFIDENCE, Gate, MetricRule
from bot.domain.measured import rule_text
from bot.domain.signature import Signature, TensorSpec
from bot.errors import InvalidInput
from bot.evaluation.asking import IN_SERVICE, PROPOSED
from bot.evaluation.description import Labels
from bot.evaluation.metrics import Metric, Undefined, UnknownMetric, classes_of, decisions, metric
from bot.evaluation.room import AT_ONCE, counted, groups_of, in_order, parts, release, taken
from bot.evaluation.statistics import Difference, compare, non_inferior
from bot.settings import Costs, EvaluationRules

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bot.evaluation.collected import Collected

WORST = 10
MOST_VALUES_SHOWN = 50
"""A column with more values is measured only where the gate asks for it."""
_INPUT_CHARACTERS = 200
_CLOSE, _CLOSE_TO_ZERO = 1e-3, 1e-6
"""Numbers that differ by less are the same up to how floats are rounded."""


def output_of(rules: EvaluationRules, labels: Labels | None, signature: Signature) -> str:
    """Return the output that is measured: the named one, the only one, or the only one with floating-point numbers.

    Without such numbers it is the only one whose type is that of the labels. Where labels are numbers, an output of
    several numbers a row is none of them. Raises InvalidInput where there is no such output, or where several fit.
    """
    names = [spec.name for spec in signature.outputs]
    listed = ", ".join(names)
    if rules.output is not None:
        if rules.output not in names:
            raise InvalidInput(
                f"{rules.output!r:.80} is not an output of the model, which gives {listed}", key="evaluation.output"
            )
        return rules.output
    if len(names) == 1:
        return names[0]
    floats = [
        spec.name
        for spec in signature.outputs
        if spec.datatype in ("FP16", "BF16", "FP32", "FP64") and not (_one_a_row(labels) and _is_wide(spec))
    ]
    fitting = floats or [spec.name for spec in signature.outputs if _is_a_decision(spec, labels)]
    if len(fitting) == 1:
        return fitting[0]
    raise InvalidInput(
        f"the model gives {listed}, and the settings do not say which is measured",
        key="evaluation.output",
        next_step="Name one in the environment file: evaluation.<model>.output.",
    )


def _one_a_row(labels: Labels | None) -> bool:
    return labels is not None and labels.kind != "class"


def _is_wide(spec: TensorSpec) -> bool:
    return any(size > 1 for size in spec.shape[1:])


def _is_a_decision(spec: TensorSpec, labels: Labels | None) -> bool:
    return labels is None or (spec.datatype == "BYTES") == (labels.datatype == "BYTES")


@dataclass(frozen=True)
class Measure:
    """One metric of the gate, and what computes it; ``why`` says why nothing does."""

    name: str
    rule: MetricRule
    metric: Metric | None
    why: str = ""

    @property
    def confidence(self) -> float:
        """Of its interval."""
        return self.rule.confidence or CONFIDENCE


def measures(gate: Gate, rules: EvaluationRules) -> list[Measure]:
    """Return what is measured for each metric of the gate."""
    found = []
    for name, rule in gate.metrics.items():
        try:
            computed = metric(
                rules.metrics.get(name, name), threshold=rules.threshold, lower_is_better=rule.lower_is_better
            )
            found.append(Measure(name, rule, computed))
        except UnknownMetric as error:
            found.append(Measure(name, rule, None, str(error)))
    return found


def metrics(
    collected: Collected, measured: Sequence[Measure], *, seed: str, claimed: Mapping[str, float]
) -> list[MeasuredMetric]:
    """Return every metric of the gate, measured on all rows; ``claimed`` is what training logged."""
    return [_metric(collected, one, seed=seed, claimed=claimed.get(one.name)) for one in measured]


def _metric(collected: Collected, one: Measure, *, seed: str, claimed: float | None) -> MeasuredMetric:
    measure, rule = one.metric, one.rule
    common: dict[str, Any] = {"metric": one.name, "claimed": claimed, "rule": rule_text(rule)}
    if measure is None:
        return MeasuredMetric(**common, measure="", why=one.why)
    found = _compared(_all_of(collected), measure, confidence=one.confidence, seed=seed)
    outcome, needed, why = None, None, found.why
    if found.difference is not None and rule.max_regression is not None and rule.confidence is not None:
        verdict = non_inferior(found, rule.max_regression, rule.confidence)
        outcome, needed = verdict.outcome, verdict.rows_needed
        why = "; ".join(said for said in (why, verdict.why) if said)
    return MeasuredMetric(
        **common,
        measure=measure.name,
        lower_is_better=not measure.higher_is_better,
        **_kept(found),
        proposed_error=found.proposed_error,
        method=found.method,
        rows=found.rows,
        outcome=outcome,
        rows_needed=needed,
        why=why,
    )


def _kept(found: Difference) -> dict[str, Any]:
    """Return what a metric and a slice keep of a comparison, by the names of their fields."""
    spread = found.spread if found.difference is not None else None
    return {
        "proposed": found.proposed,
        "in_service": found.in_service,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "confidence": found.confidence if found.difference is not None else None,
        "standard_error": found.standard_error,
        "skew": spread.skew if spread else None,
        "degrees": spread.degrees if spread else None,
        "step": spread.step if spread else None,
        "undefined_by": found.undefined_by,
    }


@dataclass(frozen=True)
class _Some:
    """Some rows of a set: all of them, or those of one slice."""

    labels: NDArray[Any]
    proposed: NDArray[Any]
    in_service: NDArray[Any] | None
    groups: NDArray[Any] | None
    refused: tuple[NDArray[np.bool_], NDArray[np.bool_] | None]
    classes: NDArray[Any] | None


def _all_of(collected: Collected) -> _Some:
    assert collected.labels is not None  # noqa: S101 - nothing is measured without labels
    answers, refused = collected.answers, collected.refused
    masks = refused[PROPOSED], refused.get(IN_SERVICE)
    return _Some(
        collected.labels, answers[PROPOSED], answers.get(IN_SERVICE), collected.groups, masks, collected.classes
    )


def _of_a_slice(every: _Some, rows: NDArray[Any]) -> _Some:
    proposed, in_service = every.refused
    return _Some(
        taken(every.labels, rows),
        taken(every.proposed, rows),
        None if every.in_service is None else taken(every.in_service, rows),
        None if every.groups is None else groups_of(taken(every.groups, rows))[0],
        (taken(proposed, rows), None if in_service is None else taken(in_service, rows)),
        every.classes,
    )


def _compared(rows: _Some, measure: Metric, *, confidence: float, seed: str) -> Difference:
    return compare(
        measure,
        rows.labels,
        rows.proposed,
        rows.in_service,
        groups=rows.groups,
        refused=rows.refused,
        confidence=confidence,
        seed=seed,
        classes=rows.classes,
    )


def slices(collected: Collected, gate: Gate, measured: Sequence[Measure], *, seed: str) -> Iterator[MeasuredSlice]:
    """Yield each metric on each slice: of the columns that the gate names, else of all that have few values."""
    rule, every = gate.slices, _all_of(collected)
    for column, (codes, words) in collected.slices.items():
        if rule is not None and column not in rule.by:
            continue
        if rule is None and len(words) > MOST_VALUES_SHOWN:
            continue
        sizes = counted(codes, len(words))
        order, ends = in_order(codes, sizes), np.cumsum(sizes)
        for number, word in enumerate(words):
            some = _of_a_slice(every, order[ends[number] - sizes[number] : ends[number]])
            for one in measured:
                if one.metric is not None:
                    allowed = rule.allows(one.name) if rule is not None else None
                    confidence = rule.confidence if rule is not None else CONFIDENCE
                    found = _compared(some, one.metric, confidence=confidence, seed=seed)
                    yield _slice(column, str(word), one.name, len(some.labels), found, allowed)


def _slice(by: str, value: str, name: str, rows: int, found: Difference, allowed: float | None) -> MeasuredSlice:
    p_value = None
    if allowed is not None and found.difference is not None and found.spread is not None:
        p_value = found.spread.p_value(-(found.difference + allowed))
    return MeasuredSlice(
        by=by,
        value=value,
        rows=rows,
        metric=name,
        **_kept(found),
        allowed=allowed,
        p_value=p_value,
        why=found.why,
    )


# --- decisions that change ----------------------------------------------------------------------------------------

Inputs = Callable[[int], Mapping[str, "NDArray[Any]"]]
"""Returns the inputs of one row of the set."""


def changed(
    collected: Collected, labels: Labels | None, rules: EvaluationRules, *, inputs: Inputs | None
) -> Decisions | None:
    """Return which rows the proposed version decides otherwise; None where that cannot be said.

    ``inputs`` gives those of the rows that are shown; None where the settings do not allow them to be shown.
    """
    if IN_SERVICE not in collected.answers:
        return None
    before, after = collected.answers[IN_SERVICE], collected.answers[PROPOSED]
    if labels is not None and labels.kind == "relevance":
        return _first_places(collected, before, after, inputs)
    if (labels is not None and labels.kind == "number") or (labels is None and _are_numbers(before, after)):
        return _numbers(collected, before, after, rules.costs, inputs)
    return _decisions(collected, before, after, rules, inputs)


def _are_numbers(*answers: NDArray[Any]) -> bool:
    """Whether answers that nobody has labelled are numbers: one a row, and not all of them between 0 and 1."""
    if any(one.dtype.kind != "f" or one.size != len(one) for one in answers):
        return False
    of_each = ((one[part] for part in parts(one)) for one in answers)
    return any(bool(((some < 0) | (some > 1)).any()) for one in of_each for some in one)


def _decisions(
    collected: Collected, before: NDArray[Any], after: NDArray[Any], rules: EvaluationRules, inputs: Inputs | None
) -> Decisions | None:
    words, none_before, no_answer = collected.labels, collected.refused[IN_SERVICE], collected.refused[PROPOSED]
    classes = np.array([0, 1]) if words is None else classes_of(words)

    def decided(rows: slice) -> tuple[NDArray[Any], NDArray[Any]]:
        was, now = (
            decisions(classes, _without(answers[rows], mask[rows]), rules.threshold)
            for answers, mask in ((before, none_before), (after, no_answer))
        )
        if was.ndim != 1 or now.ndim != 1 or (was.dtype.kind == "U") != (now.dtype.kind == "U"):
            raise Undefined("decisions of the two versions do not compare")
        return was, now

    found, mistakes = _Moves(), _Mistakes(classes)
    try:
        for part in parts(before, after, words):
            was, now = decided(part)
            nothing_was, nothing_is = none_before[part], no_answer[part]
            differs = (was != now) & ~nothing_is & ~nothing_was | (nothing_is != nothing_was)
            right_before, right_after = np.zeros(len(was), np.bool_), np.zeros(len(now), np.bool_)
            if words is not None:
                labels = words[part]
                right_before, right_after = (was == labels) & ~nothing_was, (now == labels) & ~nothing_is
                mistakes.add(labels, was, now, nothing_was, nothing_is)
            found.add(
                part.start,
                _moved(before[part], after[part], was, now),
                fixed=differs & right_after & ~right_before,
                broken=differs & right_before & ~right_after,
                differs=differs,
            )
        shown = {row: decided(slice(row, row + 1)) for row, _ in found.worst("broken", "other", "fixed")}
    except Undefined:
        return None
    return Decisions(
        rows=collected.rows,
        **found.counts,
        worst=tuple(
            ChangedDecision(
                row=row,
                before="no answer" if none_before[row] else _shown(shown[row][0][0], before[row]),
                after="no answer" if no_answer[row] else _shown(shown[row][1][0], after[row]),
                label="" if words is None else str(words[row]),
                by=_finite(by),
                inputs=_of_row(inputs, row),
            )
            for row, by in found.worst("broken", "other", "fixed")
        ),
        worth=None if words is None else mistakes.saved(rules.costs),
    )


class _Moves:
    """Counts of what moved, and the rows that moved furthest, over all parts of a set."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(("changed", "fixed", "broken", "other"), 0)
        self._furthest: dict[str, list[tuple[float, int]]] = {"fixed": [], "broken": [], "other": []}

    def add(
        self,
        start: int,
        by: NDArray[Any],
        *,
        fixed: NDArray[np.bool_],
        broken: NDArray[np.bool_],
        differs: NDArray[np.bool_],
    ) -> None:
        """Take rows from ``start`` on; ``by`` says how far each moved."""
        self.counts["changed"] += int(differs.sum())
        for kind, which in (("fixed", fixed), ("broken", broken), ("other", differs & ~fixed & ~broken)):
            rows = np.flatnonzero(which)
            self.counts[kind] += len(rows)
            furthest = rows[np.argsort(-by[rows], kind="stable")][:WORST]
            both = [*self._furthest[kind], *((float(by[row]), start + int(row)) for row in furthest)]
            self._furthest[kind] = sorted(both, key=lambda one: -one[0])[:WORST]

    def worst(self, *kinds: str) -> list[tuple[int, float]]:
        """Return the rows of the first kind that moved furthest, then of the next, `WORST` in all, and how far."""
        return [(row, by) for kind in kinds for by, row in self._furthest[kind]][:WORST]


def _numbers(
    collected: Collected, before: NDArray[Any], after: NDArray[Any], costs: Costs | None, inputs: Inputs | None
) -> Decisions | None:
    labels = collected.labels
    if before.size != len(before) or after.size != len(after):
        return None
    was, now, found, farther_in_all = before.reshape(-1), after.reshape(-1), _Moves(), 0.0
    neither = collected.refused[PROPOSED] | collected.refused[IN_SERVICE]
    for part in parts(was, now, labels):
        then, today = was[part].astype(np.float64), now[part].astype(np.float64)
        both = ~neither[part]
        differs = both & ~np.isclose(then, today, rtol=_CLOSE, atol=_CLOSE_TO_ZERO)
        if labels is None:
            nothing = np.zeros(len(both), np.bool_)
            found.add(part.start, np.abs(today - then), fixed=nothing, broken=nothing, differs=differs)
            continue
        farther = np.where(both, np.abs(today - labels[part]) - np.abs(then - labels[part]), 0.0)
        farther_in_all += float(farther.sum())
        found.add(part.start, farther, fixed=differs & (farther < 0), broken=differs & (farther > 0), differs=differs)
    per_unit = costs.per_unit if costs is not None else None
    return Decisions(
        rows=collected.rows,
        **found.counts,
        kind="number",
        worst=tuple(
            ChangedDecision(
                row=row,
                before=f"{was[row]:.6g}",
                after=f"{now[row]:.6g}",
                label="" if labels is None else f"{labels[row]:.6g}",
                by=float(np.float64(now[row]) - np.float64(was[row])),
                inputs=_of_row(inputs, row),
            )
            for row, _ in found.worst("other" if labels is None else "broken")
        ),
        worth=None if per_unit is None or labels is None else -farther_in_all * per_unit,
    )


def _first_places(
    collected: Collected, before: NDArray[Any], after: NDArray[Any], inputs: Inputs | None
) -> Decisions | None:
    """Return for how many groups, which are queries, another row comes first."""
    groups, labels = collected.groups, collected.labels
    if groups is None or labels is None or before.size != len(before) or after.size != len(after):
        return None
    codes, sizes = groups_of(groups)
    order = in_order(codes, sizes)
    was, now = (
        _first_of_each(order, sizes, answers.reshape(-1), collected.refused[who])
        for who, answers in ((IN_SERVICE, before), (PROPOSED, after))
    )
    differs = was != now
    gained = labels[now] - labels[was]
    release(labels)
    found = _Moves()
    found.add(0, -gained, fixed=differs & (gained > 0), broken=differs & (gained < 0), differs=differs)
    return Decisions(
        rows=len(was),
        **found.counts,
        worst=tuple(
            ChangedDecision(
                row=int(now[query]),
                before=f"row {was[query]:,}, relevance {labels[was[query]]:g}",
                after=f"row {now[query]:,}, relevance {labels[now[query]]:g}",
                by=float(gained[query]),
                inputs=_of_row(inputs, int(now[query])),
            )
            for query, _ in found.worst("broken")
        ),
    )


def _first_of_each(
    order: NDArray[Any], sizes: NDArray[Any], scores: NDArray[Any], refused: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the row with the greatest score of each group; ``order`` has the rows group by group, as `in_order`."""
    found, ends = np.empty(len(sizes), np.intp), np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        begin = int(ends[first] - sizes[first])
        last = max(int(np.searchsorted(ends, begin + AT_ONCE, "right")), first + 1)
        rows = order[begin : int(ends[last - 1])]
        numbers = _without(scores[rows], refused[rows]).astype(np.float64)
        own = np.repeat(np.arange(last - first), sizes[first:last])
        best = np.lexsort((-numbers, own))
        found[first:last] = rows[best[ends[first:last] - sizes[first:last] - begin]]
        release(order, scores)
        first = last
    return found


class _Mistakes:
    """Mistakes of both versions, by kind, and what they cost."""

    def __init__(self, classes: NDArray[Any]) -> None:
        self._positive = classes[-1]
        self._has_kinds = len(classes) <= 2
        self._fewer_positives = self._fewer_negatives = 0

    def add(
        self,
        labels: NDArray[Any],
        was: NDArray[Any],
        now: NDArray[Any],
        none_before: NDArray[np.bool_],
        no_answer: NDArray[np.bool_],
    ) -> None:
        """Count those of some rows."""
        so, before, after = labels == self._positive, (was != labels) | none_before, (now != labels) | no_answer
        self._fewer_positives += int((before & ~so).sum()) - int((after & ~so).sum())
        self._fewer_negatives += int((before & so).sum()) - int((after & so).sum())

    def saved(self, costs: Costs | None) -> float | None:
        """Return what fewer mistakes save; None where that cannot be said."""
        if costs is None or costs.false_positive is None or costs.false_negative is None or not self._has_kinds:
            return None
        return float(self._fewer_positives * costs.false_positive + self._fewer_negatives * costs.false_negative)


def _without(answers: NDArray[Any], refused: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the answers with 0 in the rows that have none: what is made of those rows counts nowhere."""
    if answers.dtype.kind != "f" or not refused.any():
        return answers
    return np.where(refused.reshape(-1, *[1] * (answers.ndim - 1)), answers.dtype.type(0), answers)


def _moved(before: NDArray[Any], after: NDArray[Any], was: NDArray[Any], now: NDArray[Any]) -> NDArray[np.float32]:
    """Return how far each row's answer moved: the largest change of any of its numbers."""
    if before.dtype.kind != "f" or before.shape != after.shape:
        return np.asarray(was != now, dtype=np.float32)
    distance = np.abs(after.astype(np.float64) - before.astype(np.float64)).reshape(len(before), -1).max(axis=1)
    return np.asarray(np.nan_to_num(distance, nan=np.inf), dtype=np.float32)


def _shown(decided: Any, answer: NDArray[Any]) -> str:
    if answer.dtype.kind != "f":
        return str(decided)
    flat = answer.reshape(-1)
    if flat.size == 1:
        return f"{decided} ({float(flat[0]):.3g})"
    return f"{decided} ({float(flat.max()):.3g})"


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _of_row(inputs: Inputs | None, row: int) -> dict[str, str] | None:
    if inputs is None:
        return None
    found = {}
    for name, values in inputs(row).items():
        flat = values.reshape(-1)
        listed = [_text(value) for value in flat[:_INPUT_CHARACTERS].tolist()]
        text = ", ".join(listed)
        cut = len(text) > _INPUT_CHARACTERS or flat.size > _INPUT_CHARACTERS
        found[name] = text[:_INPUT_CHARACTERS] + "…" if cut else text
    return found


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return f"{value:.6g}" if isinstance(value, float) else str(value)
