"""Findings about measured numbers, by the rules of a gate.

The same judgement is made when a pull request is checked and when its evidence is judged again by other rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bot.domain.desired import Entry
from bot.domain.evaluation import ComparedLatency, Evaluation, MeasuredMetric, MeasuredSlice, Outcome, Ratio
from bot.domain.evidence import Finding
from bot.domain.gate import Gate, MetricRule, SliceRule

CLAIM_ERRORS = 3
"""A number of training is another one if it is farther from ours than so many standard errors, and the tolerance."""
_SLICES_NAMED = 3


def findings(gate: Gate, evaluation: Evaluation, *, tolerance: float, listens: bool = False) -> list[Finding]:
    """Judge what was measured by a gate. ``listens``: it is for a shadow, which may miss where the gate says so."""
    may_miss = listens and gate.on_miss == "shadow"
    found = [_answered(evaluation)]
    if not evaluation.labelled:
        return [*found, _without_labels(gate), *_latency(gate, evaluation)]
    # What training promised comes first: where that is wrong, the rest may follow from it.
    for metric in evaluation.metrics:
        found += _claim(metric, tolerance)
    for name, rule in gate.metrics.items():
        metric = evaluation.metric(name) or MeasuredMetric(metric=name, measure="", why="it was not measured")
        found.append(_excused(_metric(gate, rule, metric, evaluation), may_miss))
    found += (_excused(finding, may_miss) for finding in _slices(gate, evaluation))
    return [*found, *_latency(gate, evaluation)]


def unmeasured(evaluation: Evaluation) -> tuple[str, ...]:
    """Return the metrics of the gate that could not be measured: a reviewer has nothing but training's word for them.

    Empty where nothing was to be measured, as of recorded requests alone.
    """
    return tuple(one.metric for one in evaluation.metrics if one.proposed is None)


def against(evaluation: Evaluation, champion: Entry | None, beside: Evaluation | None) -> Evaluation:
    """Return the same numbers beside those of another version in service, where both were measured alike.

    ``beside`` is what was measured of ``champion`` when it was proposed itself. Rows were not paired then, so the
    differences have no interval.
    """
    if (champion and champion.digest) == (evaluation.champion and evaluation.champion.digest):
        return evaluation
    alike = (
        beside is not None
        and (beside.digest, beside.measured_by) == (evaluation.digest, evaluation.measured_by)
        and not beside.problem
    )

    def compared_anew(metric: MeasuredMetric) -> MeasuredMetric:
        of = beside.metric(metric.metric) if beside is not None and alike else None
        value = of.proposed if of and of.measure == metric.measure else None
        sign = -1 if metric.lower_is_better else 1
        difference = None if value is None or metric.proposed is None else sign * (metric.proposed - value)
        unknown = dict.fromkeys(
            ("low", "high", "confidence", "standard_error", "skew", "degrees", "step", "outcome", "rows_needed")
        )
        seen = {"in_service": value, "difference": difference, "method": ""}
        if metric.proposed is not None:
            lacks = bool(of and of.measure == metric.measure and of.undefined_by == "proposed")
            seen |= {
                "undefined_by": "in_service" if lacks else None,
                "why": f"in service: {of.why}" if of and lacks else "",
            }
        return metric.model_copy(update={**unknown, **seen})

    # Which rows the two left open together nobody saw, and its own live requests were answered beside another one.
    refused = {"in_service": beside.refused.proposed if beside is not None and alike else 0, "only_proposed": None}
    missing = "" if champion is None or alike else f"nothing was measured of version {champion.version} in this way"
    return evaluation.model_copy(
        update={
            "champion": champion,
            "champion_problem": missing,
            "refused": evaluation.refused.model_copy(update=refused),
            "metrics": tuple(map(compared_anew, evaluation.metrics)),
            "slices": (),
            "decisions": None,
            "replay": None,
            "latency": evaluation.latency
            and evaluation.latency.model_copy(update={"in_service": None, "p50_ratio": None, "p99_ratio": None}),
        }
    )


def why_stale(gate: Gate, evaluation: Evaluation, champion: Entry | None, *, measured_by: str) -> str:
    """Say why recorded numbers (see `against`) cannot answer what the gate asks today; empty where they can."""
    if evaluation.measured_by != measured_by:
        return "the settings measure in another way than its checks did"
    measured = {one.metric for one in evaluation.metrics}
    if missing := [name for name in gate.metrics if name not in measured] if evaluation.labelled else []:
        return f"{missing[0]} was not measured"
    if champion is None:
        return ""
    in_service = f"against version {champion.version}, which is in service now"
    if evaluation.refused.proposed and evaluation.champion_problem:
        return f"which rows are answered was not measured {in_service}"
    for metric in evaluation.metrics:
        rule = gate.metrics.get(metric.metric)
        if rule is None or rule.max_regression is None or (metric.proposed is None and metric.why):
            continue
        if regression(rule, metric) is None:
            return f"{metric.metric} was not measured {in_service}"
        if rule.confidence is not None and metric.standard_error is None and metric.difference is not None:
            return f"how sure {metric.metric} is was not measured {in_service}"
        if rule.confidence not in (None, metric.confidence or rule.confidence) and metric.spread is None:
            return f"how sure {metric.metric} is was measured at a confidence of {metric.confidence} only"
    if gate.slices is not None and evaluation.labelled:
        if not evaluation.slices:
            return f"slices were not measured {in_service}"
        if absent := set(gate.slices.by) - {one.by for one in evaluation.slices}:
            return f"slices by {', '.join(sorted(absent))} were not measured"
        if any(_is_of_another_rule(one, gate.slices) for one in evaluation.slices):
            return "slices were measured for another max_regression or confidence"
    latency = gate.latency
    slower = latency is not None and (latency.max_p50_worse, latency.max_p99_worse) != (None, None)
    if slower and (evaluation.latency is None or evaluation.latency.p50_ratio is None):
        return f"latency was not measured {in_service}"
    if latency is not None and evaluation.latency is None:
        return "latency was not measured"
    return ""


def _is_of_another_rule(of: MeasuredSlice, rule: SliceRule) -> bool:
    """Whether a slice was measured for other numbers than the rule has, and its evidence cannot tell for others."""
    allowed = rule.allows(of.metric) if of.by in rule.by else None
    if allowed is None or of.standard_error is None or of.spread is not None:
        return False
    return (of.allowed, of.confidence) != (allowed, rule.confidence)


def regression(rule: MetricRule, metric: MeasuredMetric) -> Outcome | None:
    """Return whether a metric is at most as much worse as the rule allows; None where nothing can be compared."""
    allowed, difference = rule.max_regression, metric.difference
    if allowed is not None and difference is None and metric.undefined_by == "in_service":
        return "holds"  # what is in service has no number at all, and this version has one
    if allowed is None or difference is None:
        return None
    if math.isnan(difference):
        return "misses"
    if rule.confidence is None:
        return "holds" if _at_least(difference, -allowed) else "misses"
    return verdict(difference, bounds(metric, rule.confidence), allowed)


def verdict(difference: float, bounds: tuple[float, float], max_regression: float) -> Outcome:
    """Judge a difference by its one-sided bounds: a test of non-inferiority, in the metric's own unit.

    It holds where the lower bound is above ``-max_regression``, and misses where the upper one is below. Two versions
    that are measured the same, and cannot differ, hold also where nothing is allowed.
    """
    low, high = bounds
    if low > -max_regression or (low == difference and _at_least(difference, -max_regression)):
        return "holds"
    return "misses" if high < -max_regression else "unknown"


def bounds(of: MeasuredMetric | MeasuredSlice, confidence: float) -> tuple[float, float]:
    """Return one-sided bounds of a difference at a confidence: those that the check would have had for it.

    Infinite where that cannot be told: too few rows carry it, or the evidence is of an earlier version, which kept
    the bounds at one confidence only.
    """
    if of.difference is None or of.low is None or of.high is None:
        return -math.inf, math.inf
    if of.confidence == confidence:
        return of.low, of.high
    if of.spread is None:
        return -math.inf, math.inf
    below, above = of.spread.bounds(confidence)
    return of.difference - below, of.difference + above


@dataclass(frozen=True)
class JudgedSlice:
    """One slice and metric, and whether it holds after correction for many; None where it has too few rows.

    Unknown where it has no number.
    """

    of: MeasuredSlice
    allowed: float
    outcome: Outcome | None


def judged_slices(rule: SliceRule, evaluation: Evaluation) -> list[JudgedSlice]:
    """Judge all slices by the columns of the rule together: one misses only if that is improbable among so many."""
    listed = [
        (one, allowed)
        for one in evaluation.slices
        if one.by in rule.by and (allowed := rule.allows(one.metric)) is not None
    ]
    large = [one for one in listed if one[0].rows >= rule.min_rows and one[0].difference is not None]
    missing = {id(large[place][0]) for place in improbable([_p_value(*one) for one in large], rule.confidence)}

    def outcome(one: MeasuredSlice, allowed: float) -> Outcome | None:
        if one.rows < rule.min_rows:
            return None
        if id(one) in missing:
            return "misses"
        if one.difference is None:
            return "holds" if one.undefined_by == "in_service" else "unknown"
        return "holds" if bounds(one, rule.confidence)[0] > -allowed else "unknown"

    return [JudgedSlice(one, allowed, outcome(one, allowed)) for one, allowed in listed]


def improbable(p_values: Sequence[float], confidence: float) -> frozenset[int]:
    """Return the places of p-values too small for chance, so that one wrong among all is as rare as 1 - confidence.

    Holm (1979): the smallest p-value is held to the level divided by all, the next to the level divided by the rest,
    until one is not small enough. The tests may depend on each other in any way, as slices and metrics do.
    """
    found = set[int]()
    for place, number in enumerate(sorted(range(len(p_values)), key=lambda one: _nan_last(p_values[one]))):
        if not p_values[number] <= (1 - confidence) / (len(p_values) - place):
            break
        found.add(number)
    return frozenset(found)


def _nan_last(p_value: float) -> tuple[bool, float]:
    return math.isnan(p_value), p_value


def _p_value(of: MeasuredSlice, allowed: float) -> float:
    if of.p_value is not None and of.allowed == allowed:
        return of.p_value
    if of.difference is None or math.isnan(of.difference):
        return 0.0
    return 1.0 if of.spread is None else of.spread.p_value(-(of.difference + allowed))


def _answered(evaluation: Evaluation) -> Finding:
    refused, champion = evaluation.refused, evaluation.champion
    said = f"{evaluation.rows:,} rows of {evaluation.digest[:19]}"
    if refused.proposed:
        why = f": {refused.why}" if refused.why else ""
        said = f"{refused.proposed:,} of {said} have no usable answer{why}"
    if champion is not None and not evaluation.champion_problem and (refused.proposed or refused.in_service):
        said += f"; version {champion.version} in service left {refused.in_service:,} unanswered"
        said += f", and answered {refused.only_proposed:,} of those" if refused.only_proposed else ""
    return Finding(what="rows answered", passed=not refused.proposed or _left_open_before(evaluation), detail=said)


def _left_open_before(evaluation: Evaluation) -> bool:
    """Whether the version in service leaves the same rows open; one that answers nothing excuses nothing."""
    refused = evaluation.refused
    if evaluation.champion is None or evaluation.champion_problem or refused.in_service >= evaluation.rows:
        return False
    if refused.only_proposed is None:  # rows of two versions that were not asked together: their numbers compare
        return refused.proposed <= refused.in_service
    return not refused.only_proposed


def _without_labels(gate: Gate) -> Finding:
    asks = next((f"metrics.{name}.confidence" for name, r in gate.metrics.items() if r.confidence is not None), "")
    asks = asks or ("slices" if gate.slices else "")
    if asks:
        return Finding(
            what="labels", passed=False, detail=f"the gate asks for {asks}, and the evaluation set has no labels"
        )
    said = "the evaluation set has none, so no metric was measured; READY judged what training logged"
    return Finding(what="labels", passed=True, detail=said)


def _metric(gate: Gate, rule: MetricRule, metric: MeasuredMetric, evaluation: Evaluation) -> Finding:
    what = f"measured {metric.metric}"
    value = metric.proposed
    if value is None and metric.undefined_by == "proposed":
        detail = f"{metric.metric} has no number, by what this version answers: {metric.why}"
        return Finding(what=what, passed=False, detail=detail)
    if value is None:
        stops = rule.confidence is not None and gate.on_unknown == "stop"
        claim = "" if stops else "; READY judged the number that training logged"
        return Finding(what=what, passed=not stops, detail=f"not measured: {metric.why}{claim}")
    if rule.max_regression is not None and rule.lower_is_better != metric.lower_is_better:
        is_better = "lower" if metric.lower_is_better else "higher"
        said = f"{metric.measure} is better the {is_better} it is, and the gate's lower_is_better says otherwise"
        return Finding(what=what, passed=False, detail=said)
    misses, unknown, notes = list[str](), list[str](), list[str]()
    if not math.isfinite(value):
        misses.append(f"{value:g} is not a finite number")
    if rule.minimum is not None and not _at_least(value, rule.minimum):
        misses.append(f"{value:.4g} < {rule.minimum:g}")
    if rule.maximum is not None and not _at_least(rule.maximum, value):
        misses.append(f"{value:.4g} > {rule.maximum:g}")
    if rule.max_regression is not None and evaluation.champion is not None:
        in_service = f"version {evaluation.champion.version} in service"
        match regression(rule, metric):
            case "holds":
                notes.append(metric.why if metric.difference is None else compared(metric, rule.confidence))
            case "misses":
                how_much = compared(metric, rule.confidence)
                misses.append(f"more than {rule.max_regression:g} worse than {in_service}: {how_much}")
            case "unknown":
                unknown.append(_cannot_tell(rule, metric, in_service))
            case None:
                why = evaluation.champion_problem or metric.why or "nothing was measured of it"
                said = f"not compared with {in_service}: {why}"
                (notes if rule.confidence is None else unknown).append(said)
    if unknown and gate.on_unknown == "pass":
        notes, unknown = notes + unknown, []
    if problems := misses + unknown:
        return Finding(what=what, passed=False, detail=f"{metric.metric} {'; '.join(problems)}")
    return Finding(what=what, passed=True, detail="; ".join([f"{value:.4g} ({rule_text(rule)})", *notes]))


def compared(metric: MeasuredMetric, confidence: float | None) -> str:
    """Return a difference with its interval, as ``+0.012 (0.003 to 0.021)``."""
    if metric.difference is None:
        return "not compared"
    if metric.standard_error is None and metric.low is None:
        return f"{metric.difference:+.4g}"
    low, high = bounds(metric, confidence or metric.confidence or 0.95)
    if math.isinf(low) and math.isinf(high):
        return f"{metric.difference:+.4g} (too few rows carry it to say how sure that is)"
    return f"{metric.difference:+.4g} ({low:+.4g} to {high:+.4g})"


def rule_text(rule: MetricRule) -> str:
    """Return a rule in a few words."""
    parts = [f"≥ {rule.minimum:g}"] if rule.minimum is not None else []
    parts += [f"≤ {rule.maximum:g}"] if rule.maximum is not None else []
    if rule.max_regression is not None:
        sure = f", {rule.confidence} sure" if rule.confidence is not None else ""
        parts.append(f"at most {rule.max_regression:g} worse{sure}")
    return ", ".join(parts)


def _cannot_tell(rule: MetricRule, metric: MeasuredMetric, in_service: str) -> str:
    parts = [metric.why] if metric.why else []
    # The check found the number of rows for its own rule.
    as_then = not metric.rule or metric.rule == rule_text(rule)
    parts += [f"about {metric.rows_needed:,} rows would do"] if metric.rows_needed and as_then else []
    said = f"may be more than {rule.max_regression:g} worse than {in_service}: {compared(metric, rule.confidence)}"
    return ", ".join([f"{said}; that cannot be told with {metric.rows:,} rows", *parts])


def _claim(metric: MeasuredMetric, tolerance: float) -> Iterator[Finding]:
    claimed, value = metric.claimed, metric.proposed
    if claimed is None or value is None:
        return
    error = metric.proposed_error or 0.0
    apart = abs(claimed - value)
    said = f"training logged {claimed:.4g}, measured here {value:.4g} ± {error:.2g}"
    passed = as_claimed(claimed, value, error, tolerance)
    if not passed:
        said += f": {apart:.2g} apart, more than {CLAIM_ERRORS} standard errors and the tolerance of {tolerance:g}"
    yield Finding(what=f"claimed {metric.metric}", passed=passed, detail=said)


def as_claimed(claimed: float, measured: float, error: float, tolerance: float) -> bool:
    """Whether a number of training is the measured one, whose standard error is ``error``."""
    apart = abs(claimed - measured)
    # A comparison with NaN never holds: a claim or a measurement that is none is another number.
    return apart <= tolerance or apart <= CLAIM_ERRORS * error


def _slices(gate: Gate, evaluation: Evaluation) -> Iterator[Finding]:
    rule = gate.slices
    if rule is None:
        return
    if evaluation.champion is None:
        yield Finding(what="slices", passed=True, detail="nothing is in service that a slice could be worse than")
        return
    judged = judged_slices(rule, evaluation)
    if not judged:
        why = evaluation.champion_problem or f"the evaluation set has no slices by {', '.join(rule.by)}"
        yield Finding(what="slices", passed=gate.on_unknown == "pass", detail=f"not judged: {why}")
        return
    absent = sorted(set(rule.by) - {one.of.by for one in judged})
    if absent:
        yield Finding(what="slices", passed=False, detail=f"the evaluation set has no column {', '.join(absent)}")
    bad = [one for one in judged if one.outcome == "misses"]
    unknown = [one for one in judged if one.outcome == "unknown"]
    small = {(one.of.by, one.of.value) for one in judged if one.outcome is None}
    count = len({(one.of.by, one.of.value) for one in judged})
    for one in bad:
        yield Finding(what=f"slice {one.of.by} = {one.of.value}", passed=False, detail=_slice(one))
    if unknown and rule.on_unknown == "stop":
        said = "; ".join(f"{one.of.by} = {one.of.value}: {_slice(one)}" for one in unknown[:_SLICES_NAMED])
        more = f"; and {len(unknown) - _SLICES_NAMED} more" if len(unknown) > _SLICES_NAMED else ""
        yield Finding(what="slices", passed=False, detail=f"cannot be told with these rows: {said}{more}")
    elif not bad:
        said = f"{count} slices by {', '.join(rule.by)}: none is shown to be worse than allowed"
        too_small = f"; {len(small)} have fewer than {rule.min_rows} rows and are not judged" if small else ""
        empty = [one for one in unknown if one.of.difference is None]
        none = (
            f"; {len(empty)} cannot be told: {empty[0].of.by} = {empty[0].of.value}: {_slice(empty[0])}"
            if empty
            else ""
        )
        yield Finding(what="slices", passed=True, detail=said + too_small + none)


def _slice(one: JudgedSlice) -> str:
    of = one.of
    if of.proposed is None or of.in_service is None or of.difference is None:
        return f"{of.metric} has no number" + (f": {of.why}" if of.why else "")
    return (
        f"{of.metric} {of.in_service:.4g} in service, {of.proposed:.4g} proposed: {-of.difference:.4g} worse on "
        f"{of.rows:,} rows, allowed is {one.allowed:g}"
    )


def _latency(gate: Gate, evaluation: Evaluation) -> Iterator[Finding]:
    rule, seen = gate.latency, evaluation.latency
    if rule is None:
        return
    if seen is None:
        yield Finding(what="latency", passed=False, detail="it was not measured")
        return
    for what, value, budget in (
        ("p50", seen.proposed.p50, rule.p50_milliseconds),
        ("p99", seen.proposed.p99, rule.p99_milliseconds),
    ):
        if budget is not None:
            said = f"{value:.2f} ms in {seen.requests} requests; budget: {budget:g} ms"
            yield Finding(what=f"latency {what}", passed=value <= budget, detail=said)
    for what, ratio, allowed in (
        ("p50", seen.p50_ratio, rule.max_p50_worse),
        ("p99", seen.p99_ratio, rule.max_p99_worse),
    ):
        if allowed is not None and evaluation.champion is not None:
            yield _slower(gate, what, ratio, allowed, seen, evaluation)


def _slower(
    gate: Gate, what: str, ratio: Ratio | None, allowed: float, seen: ComparedLatency, evaluation: Evaluation
) -> Finding:
    name = f"latency {what} against the version in service"
    if ratio is None:
        why = evaluation.champion_problem or "it was not measured"
        return Finding(what=name, passed=True, detail=f"not compared: {why}")
    limit = 1 + allowed
    said = (
        f"{ratio.ratio:.2f} × ({ratio.low:.2f} to {ratio.high:.2f}) in {seen.requests} requests to each in turns; "
        f"allowed is {limit:g} ×"
    )
    if ratio.low > limit:
        return Finding(what=name, passed=False, detail=said)
    if ratio.high > limit:
        return Finding(what=name, passed=gate.on_unknown == "pass", detail=f"cannot be told: {said}")
    return Finding(what=name, passed=True, detail=said)


def _excused(finding: Finding, may_miss: bool) -> Finding:
    if finding.passed or not may_miss:
        return finding
    return finding.model_copy(update={"passed": True, "detail": f"{finding.detail}; so it may only listen"})


def _at_least(value: float, bound: float) -> bool:
    """Whether it reaches a bound; binary fractions must not decide that."""
    return value >= bound or math.isclose(value, bound, rel_tol=1e-9, abs_tol=1e-12)


def worst_first(slices: Sequence[MeasuredSlice]) -> list[MeasuredSlice]:
    """Return slices, the largest loss first: those that the gate judges, then others, then what was not compared.

    Losses of several metrics have no common unit, so the metrics that the gate asks for come first.
    """

    def place(one: MeasuredSlice) -> tuple[bool, bool, float, str, str]:
        return one.difference is None, one.allowed is None, one.difference or 0.0, one.by, one.value

    return sorted(slices, key=place)
