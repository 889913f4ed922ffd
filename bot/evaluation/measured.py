"""Metrics, slices and decisions that change, computed from the answers of both versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.domain.evaluation import ChangedDecision, Decisions, MeasuredMetric, MeasuredSlice
from bot.domain.gate import Gate, MetricRule
from bot.domain.measured import rule_text
from bot.domain.signature import Signature, TensorSpec
from bot.errors import InvalidInput
from bot.evaluation.description import Labels
from bot.evaluation.metrics import Metric, Undefined, UnknownMetric, decisions, metric
from bot.evaluation.statistics import Difference, compare, non_inferior
from bot.settings import Costs, EvaluationRules

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bot.evaluation.collected import Collected

PROPOSED, IN_SERVICE = "proposed", "in_service"
CONFIDENCE = 0.95
"""Of intervals that the gate asks nothing of."""
WORST = 10
MOST_VALUES_SHOWN = 50
"""A column with more values is measured only where the gate asks for it."""
_INPUT_CHARACTERS = 200
_AT_ONCE = 2**20
"""Rows whose answers are looked at in one go, so that ten million take little memory."""
_CLOSE, _CLOSE_TO_ZERO = 1e-3, 1e-6
"""Numbers that differ by less are the same up to how floats are rounded."""


def output_of(rules: EvaluationRules, labels: Labels | None, signature: Signature) -> str:
    """Return the output that is measured: the named one, or the one that fits the labels.

    Raises InvalidInput where there is no such output, or where several fit.
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
    floats = [spec.name for spec in signature.outputs if spec.datatype in ("FP16", "BF16", "FP32", "FP64")]
    fitting = floats or [spec.name for spec in signature.outputs if _is_a_decision(spec, labels)]
    if len(fitting) == 1:
        return fitting[0]
    raise InvalidInput(
        f"the model gives {listed}, and the settings do not say which is measured",
        key="evaluation.output",
        next_step="Name one in the environment file: evaluation.<model>.output.",
    )


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
    found = _compared(collected, measure, None, confidence=one.confidence, seed=seed)
    outcome, needed, why = None, None, found.why
    if found.difference is not None and rule.max_regression is not None and rule.confidence is not None:
        verdict = non_inferior(found, rule.max_regression, rule.confidence)
        outcome, needed, why = verdict.outcome, verdict.rows_needed, why or verdict.why
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


def _kept(found: Difference) -> dict[str, float | None]:
    """Return what a metric and a slice keep of a comparison, by the names of their fields."""
    return {
        "proposed": found.proposed,
        "in_service": found.in_service,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "confidence": found.confidence if found.difference is not None else None,
        "standard_error": found.standard_error,
    }


def _compared(
    collected: Collected, measure: Metric, rows: NDArray[Any] | None, *, confidence: float, seed: str
) -> Difference:
    def of(values: NDArray[Any] | None) -> Any:
        return values if values is None or rows is None else values[rows]

    assert collected.labels is not None  # noqa: S101 - nothing is measured without labels
    return compare(
        measure,
        of(collected.labels),
        of(collected.answers[PROPOSED]),
        of(collected.answers.get(IN_SERVICE)),
        groups=of(collected.groups),
        refused=(of(collected.refused[PROPOSED]), of(collected.refused.get(IN_SERVICE))),
        confidence=confidence,
        seed=seed,
    )


def slices(collected: Collected, gate: Gate, measured: Sequence[Measure], *, seed: str) -> Iterator[MeasuredSlice]:
    """Yield each metric on each slice: of the columns that the gate names, else of all that have few values."""
    rule = gate.slices
    for column, (codes, words) in collected.slices.items():
        if rule is not None and column not in rule.by:
            continue
        if rule is None and len(words) > MOST_VALUES_SHOWN:
            continue
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=len(words)))
        for number, word in enumerate(words):
            rows = order[ends[number - 1] if number else 0 : ends[number]]
            for one in measured:
                if one.metric is not None:
                    allowed = rule.allows(one.name) if rule is not None else None
                    confidence = rule.confidence if rule is not None else CONFIDENCE
                    found = _compared(collected, one.metric, rows, confidence=confidence, seed=seed)
                    yield _slice(column, str(word), one.name, len(rows), found, allowed)


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
    if labels is not None and labels.kind == "number":
        return _numbers(collected, before, after, rules.costs, inputs)
    return _decisions(collected, before, after, rules, inputs)


def _decisions(
    collected: Collected, before: NDArray[Any], after: NDArray[Any], rules: EvaluationRules, inputs: Inputs | None
) -> Decisions | None:
    words = collected.labels if collected.labels is not None else np.zeros(1, np.int64)
    classes = np.unique(words)
    try:
        was, now = (
            _decided(classes, answers, collected.refused[who], rules.threshold)
            for who, answers in ((IN_SERVICE, before), (PROPOSED, after))
        )
    except Undefined:
        return None
    if was.ndim != 1 or now.ndim != 1 or (was.dtype.kind == "U") != (now.dtype.kind == "U"):
        return None
    no_answer, none_before = collected.refused[PROPOSED], collected.refused[IN_SERVICE]
    differs = (was != now) & ~no_answer & ~none_before | (no_answer != none_before)
    right_before, right_after = np.zeros(len(was), np.bool_), np.zeros(len(now), np.bool_)
    worth = None
    if collected.labels is not None:
        right_before, right_after = (was == words) & ~none_before, (now == words) & ~no_answer
        worth = _worth(rules.costs, words, was, now, none_before, no_answer)
    fixed, broken = differs & right_after & ~right_before, differs & right_before & ~right_after
    moved = _moved(before, after, was, now)
    return Decisions(
        rows=collected.rows,
        changed=int(differs.sum()),
        fixed=int(fixed.sum()),
        broken=int(broken.sum()),
        other=int((differs & ~fixed & ~broken).sum()),
        worst=tuple(
            ChangedDecision(
                row=row,
                before="no answer" if none_before[row] else _shown(was[row], before[row]),
                after="no answer" if no_answer[row] else _shown(now[row], after[row]),
                label="" if collected.labels is None else str(words[row]),
                by=_finite(moved[row]),
                inputs=_of_row(inputs, row),
            )
            for row in _worst(moved, broken, differs & ~fixed & ~broken, fixed)
        ),
        worth=worth,
    )


def _decided(
    classes: NDArray[Any], answers: NDArray[Any], refused: NDArray[np.bool_], threshold: float
) -> NDArray[Any]:
    """Return what each answer decides, part by part: on the way each number takes several times its size."""
    parts = []
    for start in range(0, len(answers), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        decided = decisions(classes, _without(answers[part], refused[part]), threshold)
        is_small = decided.dtype.kind in "iu" and decided.size and -(2**31) < decided.min() <= decided.max() < 2**31
        parts.append(decided.astype(np.int32) if is_small else decided)
    return np.concatenate(parts)


def _numbers(
    collected: Collected, before: NDArray[Any], after: NDArray[Any], costs: Costs | None, inputs: Inputs | None
) -> Decisions | None:
    if before.size != len(before) or after.size != len(after) or collected.labels is None:
        return None
    was, now = before.reshape(-1).astype(np.float64), after.reshape(-1).astype(np.float64)
    both = ~(collected.refused[PROPOSED] | collected.refused[IN_SERVICE])
    differs = both & ~np.isclose(was, now, rtol=_CLOSE, atol=_CLOSE_TO_ZERO)
    farther = np.where(both, np.abs(now - collected.labels) - np.abs(was - collected.labels), 0.0)
    fixed, broken = differs & (farther < 0), differs & (farther > 0)
    worth = -float(farther.sum()) * costs.per_unit if costs is not None and costs.per_unit is not None else None
    return Decisions(
        rows=collected.rows,
        changed=int(differs.sum()),
        fixed=int(fixed.sum()),
        broken=int(broken.sum()),
        other=int((differs & ~fixed & ~broken).sum()),
        kind="number",
        worst=tuple(
            ChangedDecision(
                row=row,
                before=f"{was[row]:.6g}",
                after=f"{now[row]:.6g}",
                label=f"{collected.labels[row]:.6g}",
                by=float(now[row] - was[row]),
                inputs=_of_row(inputs, row),
            )
            for row in _worst(farther, broken)
        ),
        worth=worth,
    )


def _first_places(
    collected: Collected, before: NDArray[Any], after: NDArray[Any], inputs: Inputs | None
) -> Decisions | None:
    """Return for how many groups, which are queries, another row comes first."""
    groups, labels = collected.groups, collected.labels
    if groups is None or labels is None or before.size != len(before) or after.size != len(after):
        return None
    was, now = (
        _first_of_each(groups, _without(answers, collected.refused[who]).reshape(-1).astype(np.float64))
        for who, answers in ((IN_SERVICE, before), (PROPOSED, after))
    )
    differs = was != now
    gained = labels[now] - labels[was]
    fixed, broken = differs & (gained > 0), differs & (gained < 0)
    return Decisions(
        rows=len(was),
        changed=int(differs.sum()),
        fixed=int(fixed.sum()),
        broken=int(broken.sum()),
        other=int((differs & (gained == 0)).sum()),
        worst=tuple(
            ChangedDecision(
                row=int(now[query]),
                before=f"row {was[query]:,}, relevance {labels[was[query]]:g}",
                after=f"row {now[query]:,}, relevance {labels[now[query]]:g}",
                by=float(gained[query]),
                inputs=_of_row(inputs, int(now[query])),
            )
            for query in _worst(-gained, broken)
        ),
    )


def _first_of_each(groups: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.intp]:
    """Return the row with the greatest score of each group, in the order of the groups."""
    order = np.lexsort((-scores, groups))
    begins = np.flatnonzero(np.concatenate([[True], groups[order][1:] != groups[order][:-1]]))
    return np.asarray(order[begins])


def _worth(
    costs: Costs | None,
    labels: NDArray[Any],
    was: NDArray[Any],
    now: NDArray[Any],
    none_before: NDArray[np.bool_],
    no_answer: NDArray[np.bool_],
) -> float | None:
    """Return what the changed decisions save, by what each kind of mistake costs; None where that cannot be said."""
    classes = np.unique(labels)
    if costs is None or costs.false_positive is None or costs.false_negative is None or len(classes) > 2:
        return None
    so = labels == (1 if classes.dtype.kind in "biuf" and np.isin(classes, (0, 1)).all() else classes[-1])

    def cost(decided: NDArray[Any], missing: NDArray[np.bool_]) -> float:
        wrong = (decided != labels) | missing
        positives, negatives = int((wrong & ~so).sum()), int((wrong & so).sum())
        return float(positives * (costs.false_positive or 0) + negatives * (costs.false_negative or 0))

    return cost(was, none_before) - cost(now, no_answer)


def _without(answers: NDArray[Any], refused: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the answers with 0 in the rows that have none: what is made of those rows counts nowhere."""
    if answers.dtype.kind != "f" or not refused.any():
        return answers
    return np.where(refused.reshape(-1, *[1] * (answers.ndim - 1)), answers.dtype.type(0), answers)


def _moved(before: NDArray[Any], after: NDArray[Any], was: NDArray[Any], now: NDArray[Any]) -> NDArray[np.float32]:
    """Return how far each row's answer moved: the largest change of any of its numbers."""
    if before.dtype.kind != "f" or before.shape != after.shape:
        return np.asarray(was != now, dtype=np.float32)
    found = np.zeros(len(before), np.float32)
    for start in range(0, len(before), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        distance = np.abs(after[part].astype(np.float64) - before[part].astype(np.float64))
        found[part] = np.nan_to_num(distance.reshape(len(distance), -1).max(axis=1), nan=np.inf)
    return found


def _worst(by: NDArray[Any], *kinds: NDArray[np.bool_]) -> list[int]:
    """Return the rows that moved furthest of the first kind, then of the next, `WORST` in all."""
    found: list[int] = []
    for kind in kinds:
        rows = np.flatnonzero(kind)
        room = WORST - len(found)
        if room <= 0:
            break
        found += (int(row) for row in rows[np.argsort(-by[rows], kind="stable")][:room])
    return found


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
