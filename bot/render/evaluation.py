"""Measured numbers, for a pull request, a job's summary and the evidence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from bot.domain.evaluation import (
    ChangedDecision,
    ComparedLatency,
    Decisions,
    Evaluation,
    MeasuredMetric,
    MeasuredSlice,
    Outcome,
    Ratio,
    Replay,
)
from bot.domain.evidence import CheckResult, Evidence
from bot.domain.measured import compared, worst_first
from bot.domain.names import short
from bot.render.markdown import code, details, escape, table, tick

SLICES_SHOWN, DECISIONS_SHOWN = 5, 5
_SLICES_IN_FULL = 100
_VALUE_CHARACTERS = 60
REAL_REQUESTS = "real requests"


def measured(result: CheckResult) -> str:
    """Return what a reviewer decides by: numbers, slices, decisions, times; empty where nothing was measured."""
    evaluation = result.evaluation
    if evaluation is None:
        return ""
    parts = [_introduction(evaluation)]
    if evaluation.problem:
        return parts[0]
    passed = {finding.what: finding.passed for finding in result.findings}
    if evaluation.metrics:
        parts.append(_metrics(evaluation, passed))
    parts += _slices(evaluation, passed)
    if evaluation.decisions is not None:
        parts.append(decisions(evaluation.decisions, "rows of the evaluation set"))
    if evaluation.replay is not None:
        parts.append(_replayed(evaluation.replay))
    if evaluation.latency is not None:
        parts.append(_latency(evaluation.latency))
    return "\n\n".join(part for part in parts if part)


def _introduction(evaluation: Evaluation) -> str:
    rows = f"{evaluation.rows:,} rows of the evaluation set {code(short(evaluation.digest))}"
    if evaluation.problem:
        return f"⚠️ **Nothing was measured here.** {escape(evaluation.problem)}"
    if evaluation.champion is None:
        beside = "nothing is in service to compare with"
    elif evaluation.champion_problem:
        beside = (
            f"⚠️ version {evaluation.champion.version} in service was not measured: "
            f"{escape(evaluation.champion_problem, limit=400)}"
        )
    else:
        beside = f"beside version {evaluation.champion.version} in service, on the same Triton"
    if not evaluation.digest:
        return f"**Recorded requests**, {beside}:"
    return f"**Measured here** on {rows}, {beside}:"


def _metrics(evaluation: Evaluation, passed: Mapping[str, bool]) -> str:
    rows = []
    for one in evaluation.metrics:
        claimed = _number(one.claimed)
        if not passed.get(f"claimed {one.metric}", True):
            claimed = f"❌ {claimed}"
        holds = passed.get(f"measured {one.metric}", True)
        rows.append(
            (
                "⚠️" if holds and one.proposed is None else tick(holds),
                code(one.metric),
                claimed,
                _number(one.proposed) if one.proposed is not None else "not measured",
                _number(one.in_service),
                _difference(one),
                escape(one.rule),
            )
        )
    head = ("", "metric", "claimed by training", "measured here", "in service, measured here", "difference", "rule")
    notes = [f"{code(one.metric)}: {escape(one.why, limit=300)}." for one in evaluation.metrics if one.why]
    sure = sorted({one.confidence for one in evaluation.metrics if one.confidence is not None})
    if sure:
        notes.insert(0, f"A difference is positive where the proposed version is better; {_sure(sure)}.")
    return "\n\n".join([table(head, rows), *([" ".join(notes)] if notes else [])])


def _sure(confidences: Sequence[float]) -> str:
    said = " or ".join(f"{100 * one:.15g} %" for one in confidences)
    return f"each of its two bounds holds with {said} confidence"


def _difference(one: MeasuredMetric) -> str:
    if one.difference is None:
        return "–"
    said = compared(one, one.confidence)
    if one.outcome == "unknown":
        needed = f", about {one.rows_needed:,} rows would tell" if one.rows_needed else ""
        return f"{said}: cannot be told{needed}"
    return said


def _slices(evaluation: Evaluation, passed: Mapping[str, bool]) -> list[str]:
    if not evaluation.slices:
        return []
    ordered = worst_first(evaluation.slices)
    is_bad = [passed.get(f"slice {one.by} = {one.value}") is False and one.outcome == "misses" for one in ordered]
    bad = [one for one, is_one in zip(ordered, is_bad, strict=True) if is_one]
    listed = [*bad, *(one for one, is_one in zip(ordered, is_bad, strict=True) if not is_one)]
    first = max(SLICES_SHOWN, min(len(bad), _SLICES_IN_FULL))
    head = ("", "slice", "rows", "metric", "in service", "proposed", "difference")
    count = len({(one.by, one.value) for one in ordered})
    parts = [
        f"**Slices**, worst first, {count:,} in all:",
        table(head, [_slice(one) for one in listed[:first]]),
    ]
    if rest := listed[first:_SLICES_IN_FULL]:
        parts.append(
            details(f"{len(rest)} more row{'s' * (len(rest) > 1)}", table(head, [_slice(one) for one in rest]))
        )
    if left_out := listed[max(first, _SLICES_IN_FULL) :]:
        missing = sum(one.outcome == "misses" for one in left_out)
        worse = f", {missing:,} of them worse than allowed" if missing else ""
        parts.append(f"{len(left_out):,} more rows are not shown here{worse}. `promobot evidence show` prints them.")
    return parts


_OUTCOMES: Mapping[Outcome, str] = {"holds": "✅", "misses": "❌", "unknown": "❔ cannot be told"}


def _slice(one: MeasuredSlice) -> tuple[str, ...]:
    mark = _OUTCOMES[one.outcome] if one.outcome else "too few rows" if one.allowed is not None else ""
    difference = "–" if one.difference is None else f"{one.difference:+.4g}"
    if one.low is not None and one.high is not None:
        difference += f" ({one.low:+.3g} to {one.high:+.3g})"
    return (
        mark,
        f"{escape(one.by)} = {escape(one.value)}",
        f"{one.rows:,}",
        code(one.metric),
        _number(one.in_service),
        _number(one.proposed),
        difference,
    )


def decisions(found: Decisions, of: str) -> str:
    """Return how many rows would be decided otherwise, in which direction, and the worst of them."""
    mark = "⚠️ " if found.broken > found.fixed or (found.changed and not found.fixed and not found.broken) else ""
    first = f"{mark}{_counted(found, of)}"
    # Numbers that moved, of rows that are decided as before, are not what this table is about.
    shown = found.worst[: min(DECISIONS_SHOWN, found.changed)]
    if not shown:
        return first
    inputs, labels = any(one.inputs for one in shown), any(one.label for one in shown)
    number = "request" if of == REAL_REQUESTS else "row"
    head = (number, "in service", "proposed", *(["label"] if labels else []), *(["inputs"] if inputs else []))
    rows = [
        (
            f"{one.row:,}",
            escape(one.before, limit=_VALUE_CHARACTERS),
            escape(one.after, limit=_VALUE_CHARACTERS),
            *([escape(one.label, limit=_VALUE_CHARACTERS) or "–"] if labels else []),
            *([_inputs(one)] if inputs else []),
        )
        for one in shown
    ]
    return f"{first}\n\n{table(head, rows)}"


def _replayed(found: Replay) -> str:
    """Return what became of recorded live requests; nobody knows which answer to them is right."""
    parts = [decisions(found.decisions, REAL_REQUESTS)] if found.decisions is not None else []
    if found.since is not None and found.until is not None:
        parts.append(f"They were recorded from {found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC.")
    if found.incomplete:
        names = ", ".join(map(escape, found.without))
        parts.append(
            f"⚠️ {found.incomplete:,} of them were recorded without {names}: both versions got nothing for it."
        )
    if found.refused.proposed or found.refused.in_service:
        parts.append(
            f"⚠️ {found.refused.proposed:,} were refused by the proposed version, and {found.refused.in_service:,} by "
            "the one in service."
        )
    if found.problem:
        parts.append(f"⚠️ Not all real requests were asked: {escape(found.problem, limit=300)}.")
    return "\n\n".join(parts)


def _counted(found: Decisions, of: str) -> str:
    if not found.changed:
        return f"**None of {found.rows:,} {of} would be answered otherwise.**"
    if found.kind == "number":
        kinds = [f"{found.fixed:,} nearer to the label", f"{found.broken:,} farther from it"]
        what = "would be answered otherwise"
    else:
        kinds = [f"{found.fixed:,} fixed", f"{found.broken:,} broken"]
        what = "would be decided otherwise"
    if not found.fixed and not found.broken:
        kinds = []
    if found.other:
        kinds.append(f"{found.other:,} {'other' if kinds else 'without a label that tells which is right'}")
    worth = ""
    if found.worth is not None:
        worth = f" By the costs in the settings that is worth {found.worth:+,.6g} on these rows."
    return f"**{found.changed:,} of {found.rows:,} {of} {what}**: {', '.join(kinds)}.{worth}"


def _inputs(one: ChangedDecision) -> str:
    listed = (one.inputs or {}).items()
    return ", ".join(f"{escape(name)}: {escape(value, limit=_VALUE_CHARACTERS)}" for name, value in listed) or "–"


def _latency(found: ComparedLatency) -> str:
    rows = [("proposed", f"{found.proposed.p50:.2f}", f"{found.proposed.p99:.2f}")]
    if found.in_service is not None:
        rows.append(("in service", f"{found.in_service.p50:.2f}", f"{found.in_service.p99:.2f}"))
    if found.p50_ratio is not None and found.p99_ratio is not None:
        rows.append(("proposed ÷ in service", _ratio(found.p50_ratio), _ratio(found.p99_ratio)))
    head = ("requests in turns", "p50 ms", "p99 ms")
    return table(head, rows) + f"\n\n{found.requests:,} requests of one row to each, after a warm-up."


def _ratio(of: Ratio) -> str:
    return f"{of.ratio:.2f} × ({of.low:.2f} to {of.high:.2f})"


def on_the_rows_of_before(found: Sequence[Evidence]) -> str:
    """Return what was measured on evaluation sets that a pull request replaces, a row for each version and metric."""
    rows = [
        (
            f"{escape(one.model)} {one.version}",
            code(short(one.evaluation.digest)),
            code(metric.metric),
            _number(metric.proposed),
            f"{metric.rows:,}",
        )
        for one in found
        if one.evaluation is not None
        for metric in one.evaluation.metrics
        if metric.proposed is not None
    ]
    first = "**Measured on the rows of before**, which numbers from the new rows do not compare with:"
    return f"{first}\n\n{table(('version', 'evaluation set', 'metric', 'measured', 'rows'), rows)}"


def lines(evaluation: Evaluation) -> list[str]:
    """Return everything that was measured, for a terminal."""
    if evaluation.problem:
        return [f"measured: nothing: {evaluation.problem}"]
    champion = f"version {evaluation.champion.version}" if evaluation.champion else "nothing"
    found = [f"measured by recorded requests alone; in service: {champion}"]
    if evaluation.digest:
        on = f"{evaluation.rows:,} rows of {evaluation.digest} in {evaluation.seconds:.1f} s"
        found = [f"measured on {on}; in service: {champion}"]
    if evaluation.champion_problem:
        found.append(f"    the version in service was not measured: {evaluation.champion_problem}")
    refused = evaluation.refused
    if refused.proposed or refused.in_service:
        found.append(
            f"    rows without a usable answer: {refused.proposed:,} proposed, {refused.in_service:,} in service"
        )
    found += (f"    {line}" for one in evaluation.metrics for line in _metric_lines(one))
    found += (f"    {_slice_line(one)}" for one in worst_first(evaluation.slices))
    replay = evaluation.replay
    for what, of in ((evaluation.decisions, "rows"), (replay.decisions if replay else None, REAL_REQUESTS)):
        if what is not None:
            found.append(f"    {_plain(_counted(what, of))}")
            found += (f"      {_decision_line(one)}" for one in what.worst)
    if replay is not None and replay.problem:
        found.append(f"    not all real requests were asked: {replay.problem}")
    if evaluation.latency is not None:
        found += (f"    {line}" for line in _latency_lines(evaluation.latency))
    return found


def _metric_lines(one: MeasuredMetric) -> Iterable[str]:
    if one.proposed is None:
        yield f"{one.metric}: not measured: {one.why}"
        return
    error = f" ± {one.proposed_error:.2g}" if one.proposed_error is not None else ""
    line = f"{one.metric}: claimed {_number(one.claimed)}, measured {_number(one.proposed)}{error}"
    if one.in_service is not None:
        how = f", {one.method}" if one.method else ""
        line += f", in service {_number(one.in_service)}, difference {_difference(one)} [{one.rows:,} rows{how}]"
    yield f"{line}; rule: {one.rule}" if one.rule else line


def _slice_line(one: MeasuredSlice) -> str:
    judged = one.outcome or ("too few rows" if one.allowed is not None else "shown only")
    difference = "not compared" if one.difference is None else f"{one.difference:+.4g}"
    numbers = f"{_number(one.in_service)} in service, {_number(one.proposed)} proposed, {difference}"
    return f"{one.by} = {one.value} ({one.rows:,} rows): {one.metric} {numbers}: {judged}"


def _decision_line(one: ChangedDecision) -> str:
    label = f", label {one.label}" if one.label else ""
    inputs = "".join(f", {name}: {value}" for name, value in (one.inputs or {}).items())
    return f"row {one.row:,}: {one.before} → {one.after}{label}{inputs}"


def _latency_lines(found: ComparedLatency) -> Iterable[str]:
    yield (
        f"latency of {found.requests:,} requests: proposed p50 {found.proposed.p50:.2f} ms, "
        f"p99 {found.proposed.p99:.2f} ms"
    )
    if found.in_service is not None:
        ratios = [f"{what} {_ratio(of)}" for what, of in (("p50", found.p50_ratio), ("p99", found.p99_ratio)) if of]
        also = f"; {', '.join(ratios)}" if ratios else ""
        yield f"  in service p50 {found.in_service.p50:.2f} ms, p99 {found.in_service.p99:.2f} ms{also}"


def _plain(markdown: str) -> str:
    return markdown.replace("**", "")


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if math.isfinite(value) else f"{value:g}"
