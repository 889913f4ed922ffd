"""The check Behaviour: the proposed version and the one in service answer the same rows on staging, side by side.

Nothing passes that was not looked at: a set that cannot be had, or that does not fit the model, is a finding. The
version in service is not on trial: where it cannot be loaded or asked, the proposed version is measured alone, and
the reviewer reads why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot import extras
from bot.domain.desired import Entry
from bot.domain.evaluation import ComparedLatency, Evaluation, Refusals, Replay, Who
from bot.domain.evidence import Finding
from bot.domain.gate import Gate
from bot.domain.measured import findings, judged_slices, worst_first
from bot.domain.replayed import Reading
from bot.domain.smoke import Tensor
from bot.errors import InvalidInput, OutsideError, PromobotError, Refused
from bot.operations.evaluating import Asking, asking, rows_of
from bot.platform import Platform
from bot.settings import EvaluationRules
from bot.systems.triton.server import TritonServer

if TYPE_CHECKING:
    from bot.evaluation.asking import Answered, AskOne
    from bot.evaluation.collected import Collected
    from bot.evaluation.sets import Batch, EvaluationSet
    from bot.systems.mlflow import PackageContents, RegisteredVersion

REFUSED_ROW = "it refused this row"
_LATENCY_ROWS = 256
"""Different rows that are asked while times are taken: one row again and again would be in every cache."""


@dataclass(frozen=True)
class Version:
    """One version with its package, and what loads it on staging under a name of its own."""

    registered: RegisteredVersion
    contents: PackageContents
    load: Callable[[], AbstractContextManager[TritonServer]]
    on_staging: str


@dataclass(frozen=True)
class Measured:
    """The measurement, and its findings by the gate."""

    evaluation: Evaluation
    findings: tuple[Finding, ...]


def measure(
    platform: Platform,
    gate: Gate,
    rules: EvaluationRules,
    proposed: Version,
    champion: Entry | None,
    in_service: Callable[[], Version],
    *,
    replays: int = 0,
    listens: bool,
) -> Measured:
    """Measure the proposed version on the set that the rules name, and ``champion`` beside it, if there is one.

    ``replays`` is how many recorded live requests both are asked, too. ``in_service`` returns the one in service; an
    error there is the reason why it is not measured. Raises OutsideError where a system is away.
    """
    with extras.needed("evaluation", by="the check Behaviour"):
        import bot.evaluation.measured  # noqa: F401 - fails here, and not in the middle

    try:
        rows = rows_of(platform, rules)
    except (InvalidInput, Refused, OutsideError) as error:
        return _nothing(rules, champion, f"it could not be had: {_with_step(error)}")
    with ExitStack() as stack:
        try:
            asked, problem = _side_by_side(stack, rules, rows, proposed, champion, in_service)
            evaluation = _evaluated(gate, rules, rows, proposed, champion, asked, problem)
            if replays and "in_service" in asked:
                asks: dict[Who, Infer] = {who: one.infer for who, one in asked.items()}
                reading = Reading(
                    outputs={who: one.rows.output for who, one in asked.items()},
                    decides=None if rows.labels is None else rows.labels.kind == "class",
                    threshold=rules.threshold,
                )
                found = _replayed(platform, proposed, replays, asks, reading, show_inputs=rules.show_inputs)
                evaluation = evaluation.model_copy(update={"replay": found})
        except InvalidInput as error:
            return _nothing(rules, champion, _with_step(error))
    said = f"{rules.digest}: {rows.rows:,} rows, every byte compared"
    of_the_set = Finding(what="evaluation set", passed=True, detail=said)
    judged = findings(gate, evaluation, tolerance=rules.tolerance, listens=listens)
    return Measured(evaluation, (of_the_set, *judged))


def replay_alone(
    platform: Platform, proposed: Version, champion: Entry | None, in_service: Callable[[], Version], *, replays: int
) -> Measured:
    """Ask both versions the newest ``replays`` recorded live requests, where the settings name no evaluation set.

    That stops nothing: nobody knows which answer is right. Raises OutsideError where staging or MLflow is away.
    """
    if champion is None:
        said = "no recorded request was asked: nothing is in service to compare with"
        return Measured(Evaluation(digest=""), (_replay_finding(said),))
    problem, found = "", None
    with ExitStack() as stack:
        ask: dict[Who, Infer] = {"proposed": _infer(stack.enter_context(proposed.load()), proposed)}
        with ExitStack() as trial:
            try:
                other = in_service()
                ask["in_service"] = _infer(trial.enter_context(other.load()), other)
                stack.push(trial.pop_all())
            except PromobotError as error:
                problem = _with_step(error)
        if not problem:
            found = _replayed(platform, proposed, replays, ask)
    evaluation = Evaluation(digest="", champion=champion, champion_problem=problem, replay=found)
    if found is None:
        said = f"no recorded request was asked: version {champion.version} in service cannot be: {problem}"
    else:
        said = f"{found.requests:,} answered by both versions{f': {found.problem}' if found.problem else ''}"
    return Measured(evaluation, (_replay_finding(said),))


def _replay_finding(said: str) -> Finding:
    return Finding(what="recorded requests", passed=True, detail=said)


def _nothing(rules: EvaluationRules, champion: Entry | None, problem: str) -> Measured:
    evaluation = Evaluation(digest=rules.digest, measured_by=rules.measured_by, champion=champion, problem=problem)
    return Measured(evaluation, (Finding(what="evaluation set", passed=False, detail=problem),))


def _side_by_side(
    stack: ExitStack,
    rules: EvaluationRules,
    rows: EvaluationSet,
    proposed: Version,
    champion: Entry | None,
    in_service: Callable[[], Version],
) -> tuple[dict[Who, _Opened], str]:
    """Load both versions; return what asks each, and why the one in service cannot be asked."""
    asked: dict[Who, _Opened] = {"proposed": _opened(stack, rules, rows, proposed)}
    if champion is None:
        return asked, ""
    with ExitStack() as trial:
        try:
            asked["in_service"] = _opened(trial, rules, rows, in_service())
            stack.push(trial.pop_all())
        except PromobotError as error:
            return asked, _with_step(error)
    return asked, ""


def _evaluated(
    gate: Gate,
    rules: EvaluationRules,
    rows: EvaluationSet,
    proposed: Version,
    champion: Entry | None,
    asked: Mapping[Who, _Opened],
    problem: str,
) -> Evaluation:
    try:
        return _measured(gate, rules, rows, proposed, champion, asked, problem)
    except InvalidInput as error:
        if error.key != "in_service":
            raise
        # It cannot be asked these rows at all; the proposed one still can.
        return _measured(gate, rules, rows, proposed, champion, {"proposed": asked["proposed"]}, _with_step(error))


def _replayed(
    platform: Platform,
    proposed: Version,
    replays: int,
    ask: Mapping[Who, Infer],
    reading: Reading | None = None,
    *,
    show_inputs: bool = False,
) -> Replay:
    from bot.operations.replaying import replay

    model, environment = proposed.registered.model, platform.environment
    return replay(platform.recordings, environment, model, replays, ask, reading=reading, show_inputs=show_inputs)


Infer = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""Asks a version on staging one whole request."""


@dataclass(frozen=True)
class _Opened:
    """A version on staging that can be asked: rows of the set, and whole requests."""

    rows: Asking
    infer: Infer


def _opened(stack: ExitStack, rules: EvaluationRules, rows: EvaluationSet, version: Version) -> _Opened:
    triton = stack.enter_context(version.load())
    found = asking(triton, version.on_staging, version.registered.version, rows, rules)
    return _Opened(found, _infer(triton, version))


def _infer(triton: TritonServer, version: Version) -> Infer:
    number = version.registered.version
    outputs = [spec.name for spec in triton.signature(version.on_staging, number).outputs]
    return partial(triton.infer, version.on_staging, number, outputs=outputs)


def _measured(
    gate: Gate,
    rules: EvaluationRules,
    rows: EvaluationSet,
    proposed: Version,
    champion: Entry | None,
    asked: Mapping[Who, _Opened],
    champion_problem: str,
) -> Evaluation:
    from bot.evaluation import measured as numbers
    from bot.evaluation.asking import ask, rows_in_a_request
    from bot.evaluation.collected import collect

    output = asked["proposed"].rows.output
    asks: dict[str, AskOne] = {who: _of_the_same_name(one.rows, output) for who, one in asked.items()}
    if rules.answers is None:
        size = rows_in_a_request(rules.batch_rows, (one.rows.max_rows for one in asked.values()))
        answered = ask(rows.batches(size), asks)
    else:
        answered = _of_all_parts(Path(rules.answers), rows, proposed, champion, asked)
    collected = collect(answered, rows=rows.rows, output=output)
    metrics, slices = [], []
    if collected.labels is not None:
        measures, seed = numbers.measures(gate, rules), rules.digest
        claimed = proposed.registered.metrics.values
        metrics = numbers.metrics(collected, measures, seed=seed, claimed=claimed)
        slices = list(numbers.slices(collected, gate, measures, seed=seed))

    def inputs(row: int) -> Mapping[str, Any]:
        return next(rows.batches(1, start=row, stop=row + 1)).inputs

    evaluation = Evaluation(
        digest=rules.digest,
        measured_by=rules.measured_by,
        rows=rows.rows,
        labelled=collected.labels is not None,
        champion=champion,
        champion_problem=champion_problem,
        refused=collected.refusals if rules.show_inputs else _without_texts(collected.refusals),
        metrics=tuple(metrics),
        slices=tuple(worst_first(slices)),
        decisions=numbers.changed(collected, rows.labels, rules, inputs=inputs if rules.show_inputs else None),
        latency=_latency(asks, rows, collected),
        seconds=collected.seconds,
    )
    return _with_outcomes(gate, evaluation)


def _without_texts(refusals: Refusals) -> Refusals:
    """Return the same without what a model said of a row, which may quote it."""
    row, said, _ = refusals.why.partition(": ")
    return refusals.model_copy(update={"why": f"{row}: {REFUSED_ROW}"}) if said else refusals


def _latency(asks: Mapping[str, AskOne], rows: EvaluationSet, collected: Collected) -> ComparedLatency | None:
    """Return the times of rows that both versions answer; of the proposed one alone, where it shares none."""
    from bot.evaluation.latency import compare_latency

    for who in (asks, ("proposed",)):
        if chosen := set(collected.answered_by(who, limit=_LATENCY_ROWS)):
            batches = rows.batches(1, start=min(chosen), stop=max(chosen) + 1)
            single = [batch for batch in batches if batch.start in chosen]
            return compare_latency({each: asks[each] for each in who}, single, seed=rows.digest)
    return None


def _with_outcomes(gate: Gate, evaluation: Evaluation) -> Evaluation:
    """Return the same with what becomes of each slice among all."""
    if gate.slices is None:
        return evaluation
    judged = {(one.of.by, one.of.value, one.of.metric): one.outcome for one in judged_slices(gate.slices, evaluation)}
    slices = tuple(
        one.model_copy(update={"outcome": judged.get((one.by, one.value, one.metric))}) for one in evaluation.slices
    )
    return evaluation.model_copy(update={"slices": slices})


def _of_all_parts(
    folder: Path,
    rows: EvaluationSet,
    proposed: Version,
    champion: Entry | None,
    asked: Mapping[Who, _Opened],
) -> Iterator[Answered]:
    """Yield what tasks of their own were answered, part by part, in place of asking.

    Raises InvalidInput where a part is missing, or is of other versions, another set or another output.
    """
    from bot.evaluation.parts import merged

    versions: dict[str, str] = {"proposed": proposed.contents.package.digest}
    if champion is not None and "in_service" in asked:
        versions["in_service"] = champion.digest
    root = folder / versions["proposed"].removeprefix("sha256:")
    name = asked["proposed"].rows.output
    own: dict[str, str] = {who: one.rows.output for who, one in asked.items()}
    for each in merged(root, rows, versions, own):
        yield replace(
            each, outputs={who: {name: found[own[who]]} if found else {} for who, found in each.outputs.items()}
        )


def _of_the_same_name(asked: Asking, output: str) -> AskOne:
    """Return what asks, with the measured output under one name: two versions may call it differently."""
    if asked.output == output:
        return asked.ask

    def asks(batch: Batch) -> Mapping[str, Any]:
        return {output: asked.ask(batch)[asked.output]}

    return asks


def _with_step(error: PromobotError) -> str:
    said = error.problem if isinstance(error, InvalidInput) else str(error)
    return f"{said}. {error.next_step}" if error.next_step else said
