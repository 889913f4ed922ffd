"""The checks of one proposed version: READY, Triton, Smoke, Behaviour. Their callers keep the results."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from bot.concurrency import map_concurrent
from bot.domain import findings_of_others
from bot.domain.behaviour import compare
from bot.domain.bundle import Bundle, Part, digest_of
from bot.domain.bundled import place_of
from bot.domain.cases import Case, judged_by_record
from bot.domain.contents import look_at
from bot.domain.desired import Change, Entry
from bot.domain.evaluation import Evaluation
from bot.domain.evidence import (
    LIFETIME,
    Answer,
    AskedCase,
    Behaviour,
    CheckName,
    CheckResult,
    Evidence,
    Finding,
    JudgedMetric,
    Latency,
    rules_of,
)
from bot.domain.gate import Gate, GateResult, judge
from bot.domain.golden import Recorder
from bot.domain.memory import Memory
from bot.domain.metrics import Measured
from bot.domain.model_config import DECOUPLED
from bot.domain.names import short
from bot.domain.package import CONFIG_FILE, SMOKE_FILE, Package, PackageFile, of_the_package
from bot.domain.packed import Packed, loaded
from bot.domain.record import verified_by
from bot.domain.retention import bisect_of
from bot.domain.routes import Target
from bot.domain.signature import Signature, as_in_mlflow
from bot.domain.signature import differences as signature_differences
from bot.domain.smoke import Answered, SmokeCase, SmokeCases, Tensor, differences, shown
from bot.errors import InvalidInput, NotAllowed, NotRegistered, OtherBytes, OutsideError, Refused, Rejected
from bot.operations import cases
from bot.operations.memory import Meter, memory_of
from bot.operations.package_rules import rule_findings
from bot.operations.progress import progress
from bot.platform import Platform
from bot.render import checks as words
from bot.settings import Environment, PackageRules
from bot.share import StagingRepository, is_large, nobody_else_writes
from bot.spool import Spool
from bot.systems.triton.config import asked_in, parse_config, placed_config, render_config
from bot.systems.triton.server import TritonControl, TritonServer

if TYPE_CHECKING:
    from bot.systems.mlflow import PackageContents, RegisteredVersion, Registry

_NO_CODE = (
    "no program, library, script, archive or pickle under another name; every file that a model names is listed"
)
_OVER_HTTP = "over HTTP"
_VALUES_SHOWN = 4

LATENCY_REQUESTS = 50


def run_check(platform: Platform, name: CheckName, change: Change, entry: Entry, *, label: str) -> CheckResult:
    """Run one check of what a change asks for; ``label`` tells its name on the staging Triton from others'."""
    seen, gate, rules = _Seen(), None, ""
    if change.bundle is not None:
        seen.findings.append(_of_its_bundle(change.bundle))
    try:
        gate = platform.settings.gate(change.model)
        law = cases.cases_of(platform.settings, change.model)
        rules = rules_in(platform.settings, change.model, law)
    except (Refused, InvalidInput) as error:
        what = "gate" if gate is None else "cases"
        seen.findings.append(_finding(what, False, _with_step(error, error.next_step)))
    else:
        try:
            _check(platform, gate, law, name, change, entry, f"{change.model}.check-{label}-{name}", seen)
        except OutsideError as error:
            # A system's objection to the version is a finding. A system that is away says nothing about the version,
            # but the check is red all the same: nothing passes that was not looked at.
            seen.findings.append(_finding(words.could_not(name), False, _with_step(error, error.next_step)))
    return CheckResult(
        check=name,
        environment=change.environment,
        section=change.section,
        model=change.model,
        version=entry.version,
        digest=entry.digest,
        run=entry.run,
        findings=tuple(seen.findings),
        at=datetime.now(UTC),
        latency=seen.latency,
        answers=tuple(seen.answers),
        behaviour=seen.behaviour,
        champion=change.champion if name == "ready" else None,
        rules=rules,
        judged=tuple(seen.judged),
        evaluation=seen.evaluation,
        bundle=change.bundle,
        cases=tuple(seen.cases),
        memory=seen.memory,
        memory_in_service=seen.memory_in_service,
    )


def judge_again(
    gate: Gate,
    rules: PackageRules,
    registry: Registry,
    change: Change,
    entry: Entry,
    latency: Latency | None,
    parts: Sequence[str] = (),
    law: Sequence[Case] = (),
    asked: Sequence[AskedCase] = (),
) -> list[Finding]:
    """Apply the rules of today to what was checked before, against the version that is in service now.

    What staging did is not done again: ``latency`` is what was measured then, ``asked`` what was answered to cases.
    ``parts`` are the models that it may ask, ``law`` the cases of today that may stop it.
    Raises OutsideError where MLflow does not tell what is to be judged, also of the version in service.
    """
    registered = registry.version(change.model, entry.version)
    contents = registry.contents(registered)
    champion = change.champion
    metrics = registry.version(change.model, champion.version).metrics if champion else None
    findings = [
        _finding("digest", contents.package.digest == entry.digest, f"{contents.package.digest} in MLflow"),
        _judged(gate, change, judge(gate, registered.metrics, metrics)),
        *_found_by_others(gate, registry, registered, change, entry),
        *rule_findings(rules, contents, parts, model=change.model),
    ]
    if latency is not None:
        today = latency.model_copy(update={"budget": gate.latency_budget_milliseconds})
        findings.append(_finding(*_latency_finding(today)))
    judged, _ = judged_by_record(law, asked)
    findings += [
        _finding(f"case {case.name}", not said, f"{'; '.join(said)}; {case.reason}") for case, said in judged
    ]
    return findings


def evidence_of(
    change: Change,
    entry: Entry,
    results: Iterable[CheckResult],
    problems: Iterable[str],
    *,
    pull_request: int | None,
    base: str,
    head: str,
    evaluation_set: str = "",
) -> Evidence:
    """Return the evidence that the results of a change's own entry make.

    ``evaluation_set`` is the digest of the rows on which the settings want it to be measured.
    """
    now = datetime.now(UTC)
    own = tuple(result for result in results if result.is_about(change))
    return Evidence(
        environment=change.environment,
        section=change.section,
        model=change.model,
        version=entry.version,
        digest=entry.digest,
        run=entry.run,
        pull_request=pull_request,
        base=base,
        head=head,
        at=now,
        # A result of an earlier commit keeps its time: evidence lives no longer because a branch was renewed.
        expires=min([now, *(result.at for result in own)]) + LIFETIME,
        checks=own,
        problems=tuple(problems),
        evaluation_set=evaluation_set,
        bundle=change.bundle,
    )


def rules_in(settings: Environment, model: str, law: Sequence[Case]) -> str:
    """Return the fingerprint of the rules that the settings have for a model; raise Refused where they have none.

    ``law`` are the model's cases.
    """
    measured = settings.evaluation_of(model)
    fingerprints = (case.fingerprint for case in law)
    return rules_of(
        settings.gate(model), settings.packages, fingerprints, measured=measured.rules if measured else None
    )


def not_passed_together(changes: Sequence[Change], results: Sequence[CheckResult]) -> dict[Change, list[str]]:
    """Return, by part of a bundle, which other parts did not pass: a bundle has one verdict."""
    failed = [c for c in changes if any(r.is_about(c) and not r.passed for r in results)]
    return {
        change: [
            f"{one.model}, a part of the same bundle, did not pass"
            for one in failed
            if one != change and place_of(one) is not None and place_of(one) == place_of(change)
        ]
        for change in changes
    }


@dataclass
class _Seen:
    """The findings of a check so far; they survive an error in the middle."""

    findings: list[Finding] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    latency: Latency | None = None
    behaviour: Behaviour | None = None
    judged: list[JudgedMetric] = field(default_factory=list)
    cases: list[AskedCase] = field(default_factory=list)
    evaluation: Evaluation | None = None
    memory: Memory | None = None
    memory_in_service: Memory | None = None


def _in_service(platform: Platform, change: Change, champion: Entry) -> tuple[RegisteredVersion, PackageContents]:
    """Return the version in service with its package; raise Rejected where it is not what may be asked here."""
    registered = platform.registry.version(change.model, champion.version, with_run=False)
    contents = platform.registry.contents(registered)
    digest = contents.package.digest
    if digest != champion.digest:
        raise OtherBytes(f"MLflow has other bytes than are in service: {digest}", system="MLflow")
    parts = platform.settings.parts_before(change.model)
    findings = rule_findings(platform.settings.packages, contents, parts, model=change.model)
    refused = [finding for finding in findings if not finding.passed]
    if refused:
        raise Rejected(f"{refused[0].what}: {refused[0].detail}", system="package rules")
    return registered, contents


def _check(
    platform: Platform,
    gate: Gate,
    law: Sequence[Case],
    name: CheckName,
    change: Change,
    entry: Entry,
    on_staging: str,
    seen: _Seen,
) -> None:
    registry, rules = platform.registry, platform.settings.packages
    parts = platform.settings.parts_before(change.model)
    if change.bundle is not None and not change.bundle.is_whole:
        return
    try:
        if name == "ready":
            seconds = platform.settings.deadlines.ready_seconds
            registered = registry.wait_ready(change.model, entry.version, timeout_seconds=seconds)
        else:
            # What training logged is compared with what is measured.
            registered = registry.version(change.model, entry.version, with_run=name == "behaviour")
    except NotRegistered as error:
        said = words.no_such_version(
            change,
            entry,
            error.versions,
            _owners(registry, digest=entry.digest),
            of_the_model=_with_step(error, error.next_step),
        )
        seen.findings.append(_finding("version", False, said))
        return
    if name == "ready":
        seen.findings += _ready(platform, gate, registered, change, entry, seen)
        return
    contents = registry.contents(registered)
    package = contents.package
    seen.findings.append(_digest(registry, change, entry, package.digest))
    if package.digest != entry.digest:
        return
    # A package that may not run anywhere must not be copied or loaded here either, whatever the job READY says.
    seen.findings += rule_findings(rules, contents, parts, model=change.model)
    if not all(finding.passed for finding in seen.findings):
        return
    if name == "behaviour":
        _measure(platform, gate, registered, contents, change, entry, on_staging, seen)
        return
    meter = Meter() if name == "triton" and platform.settings.staging.triton.metrics else None
    with on_staging_triton(platform, change.model, registered, contents, on_staging, change.bundle, meter) as triton:
        seen.findings.append(_finding("loads", True, f"READY as {on_staging} on {triton.name}"))
        if name == "triton":
            if meter is not None:
                seen.memory, champion = meter.memory, change.champion
                if champion is not None:
                    seen.memory_in_service = memory_of(platform.ledger, change.slot.live, champion)
            seen.findings += _agreement(registry, registered, contents, triton, on_staging)
            return
        smoke, spool = _smoke_cases(contents, registered), Spool()
        recorder, answered = Recorder(smoke.tolerance), list[Answered]()
        for finding, case, outputs in _smoke(triton, on_staging, registered.version, smoke):
            seen.findings.append(finding)
            seen.answers.append(recorder.answer(case, outputs))
            answered.append(_spooled(spool, case, outputs))
        _ask_cases(platform, triton, on_staging, law, change, entry, seen)
        seen.findings.append(_over_http(triton, on_staging, registered.version, smoke))
        budget = gate.latency_budget_milliseconds
        seen.latency = _latency(triton, on_staging, registered.version, smoke, budget)
        seen.findings.append(_finding(*_latency_finding(seen.latency)))
        champion = _other_in_service(change, entry)
        if champion is not None:
            beside = f"{on_staging.rpartition('-')[0]}-champion"
            seen.behaviour = _beside(platform, change, champion, beside, smoke, answered, spool)


def _ask_cases(
    platform: Platform,
    triton: TritonServer,
    on_staging: str,
    law: Sequence[Case],
    change: Change,
    entry: Entry,
    seen: _Seen,
) -> None:
    """Ask the cases that became law. The records say whether one that is answered wrong stops the version."""
    asked = list(cases.ask(triton, on_staging, entry.version, law))
    waived = cases.why_waived(change, entry, platform.ledger) if any(one.wrong for _, one in asked) else ""
    for case, one in asked:
        seen.cases.append(one)
        seen.findings.append(cases.finding(case, one, waived=waived))


def _other_in_service(change: Change, entry: Entry) -> Entry | None:
    """Return the version in service, if it is another one, or answers beside other parts of its bundle."""
    champion = change.champion
    moved = change.bundle is not None and digest_of(change.left) != change.bundle.digest
    return champion if champion is not None and (moved or champion.digest != entry.digest) else None


def _measure(
    platform: Platform,
    gate: Gate,
    registered: RegisteredVersion,
    contents: PackageContents,
    change: Change,
    entry: Entry,
    on_staging: str,
    seen: _Seen,
) -> None:
    rules, replays = platform.settings.evaluation_of(change.model), platform.settings.replays(change.model)
    if rules is None and not replays:
        said = f"the settings of {change.environment} have no evaluation set for {change.model}"
        seen.findings.append(_finding("evaluation set", False, said))
        return
    # What answered here before may answer again, as READY has it.
    verified = verified_by(platform.ledger.deployments(), entry.in_slot(change.slot.live), change.bundle)
    if verified is not None:
        said = f"not measured: these bytes were verified in service by {verified.id}"
        seen.findings.append(_finding("evaluation set", True, said))
        return
    from bot.operations.measuring import Version, measure, replay_alone

    champion = _other_in_service(change, entry)

    def version(of: RegisteredVersion, its: PackageContents, name: str, bundle: Bundle | None) -> Version:
        return Version(of, its, partial(on_staging_triton, platform, change.model, of, its, name, bundle), name)

    def in_service() -> Version:
        assert champion is not None  # noqa: S101 - asked for only then
        return version(*_in_service(platform, change, champion), f"{on_staging}-champion", change.left)

    proposed = version(registered, contents, on_staging, change.bundle)
    if rules is None:
        found = replay_alone(platform, proposed, champion, in_service, replays=replays)
    else:
        listens = change.section == "shadow"
        found = measure(platform, gate, rules, proposed, champion, in_service, replays=replays, listens=listens)
    seen.evaluation = found.evaluation
    seen.findings += found.findings


def _beside(
    platform: Platform,
    change: Change,
    champion: Entry,
    on_staging: str,
    smoke: SmokeCases,
    answers: Sequence[Answered],
    spool: Spool,
) -> Behaviour:
    """Ask the version in service what the proposed one was asked, on the same Triton at the same time.

    Where that cannot be done, the reviewer reads why: what is in service is not on trial here.
    """
    cases = len(smoke.cases)
    try:
        registered, contents = _in_service(platform, change, champion)
        with on_staging_triton(platform, change.model, registered, contents, on_staging, change.left) as triton:
            asked = _smoke(triton, on_staging, registered.version, smoke)
            before = [_spooled(spool, case, outputs) for _, case, outputs in asked]
            latency = _latency(triton, on_staging, registered.version, smoke, None)
    except OutsideError as error:
        return Behaviour(champion=champion, cases=cases, problem=str(error))
    compared, flipped, moved = compare(before, answers)
    return Behaviour(champion=champion, cases=compared, flipped=flipped, moved=tuple(moved), latency=latency)


def _ready(
    platform: Platform,
    gate: Gate,
    registered: RegisteredVersion,
    change: Change,
    entry: Entry,
    seen: _Seen,
) -> Iterator[Finding]:
    yield _finding("status", registered.status == "READY", f"{registered.status} {registered.status_message}".strip())
    if registered.status != "READY":
        return
    registry, ledger, rules = platform.registry, platform.ledger, platform.settings.packages
    if registered.run == entry.run:
        yield _finding("run", True, f"{registered.run} in MLflow, {entry.run} proposed")
    else:
        owners = _owners(registry, run=entry.run)
        yield _finding("run", False, words.wrong_run(change, entry, registered.run, owners))
    quarantined = ledger.quarantined()
    quarantine = quarantined.get(entry.digest) or quarantined.get(change.judged_digest)
    yield _finding("quarantine", quarantine is None, quarantine.reason if quarantine else "not in quarantine")
    # What answered here before may answer again, and may listen.
    verified = verified_by(ledger.deployments(), entry.in_slot(change.slot.live), change.bundle)
    if verified is not None:
        yield _finding("gate", True, f"skipped: these bytes were verified in service by {verified.id}")
    else:
        result = judge(gate, registered.metrics, _champion_metrics(registry, change))
        seen.judged += [
            JudgedMetric(
                metric=row.metric,
                value=row.value,
                origin=row.origin,
                champion=row.champion,
                champion_origin=row.champion_origin,
            )
            for row in result.rows
        ]
        yield _judged(gate, change, result)
        yield from _found_by_others(gate, registry, registered, change, entry)
    contents = registry.contents(registered)
    package = contents.package
    yield _digest(registry, change, entry, package.digest)
    if package.digest != entry.digest:
        return
    listed = {file.path for file in package.files}
    there = of_the_package(registry.files(registered), listed)
    yield _finding("file list", listed == there, _file_list(listed, there))
    yield from rule_findings(rules, contents, platform.settings.parts_before(change.model), model=change.model)
    if not package.too_large(rules.max_bytes):
        yield from _bytes(platform, registered, contents)


def _digest(registry: Registry, change: Change, entry: Entry, there: str) -> Finding:
    """Compare the digest of an entry with that of its version; where it is another one, say whose it is."""
    if there == entry.digest:
        return _finding("digest", True, f"{there} in MLflow")
    owners = _owners(registry, digest=entry.digest)
    return _finding("digest", False, words.wrong_digest(change, entry, there, owners))


def _owners(registry: Registry, *, digest: str = "", run: str = "") -> list[tuple[str, int]] | None:
    """Return which versions are registered with a digest or a run; None where MLflow does not tell.

    It only explains what is red already, so it may be missing.
    """
    try:
        return registry.registered_with(digest=digest, run=run)
    except OutsideError:
        return None


def _judged(gate: Gate, change: Change, result: GateResult) -> Finding:
    if result.asks_nothing:
        return _finding("gate", True, "it has none: its bundle is judged by the part that users ask")
    if result.passed:
        return _finding(
            "gate",
            True,
            ", ".join(f"{row.metric} {row.value:.4g} ({row.rule})" for row in result.rows if row.value is not None),
        )
    if change.section == "models":
        return _finding("gate", False, result.reason)
    allowed = gate.on_miss == "shadow"
    return _finding(
        "gate",
        allowed,
        (f"{result.reason}; " + ("so it may only listen" if allowed else "and this gate says stop, not shadow")),
    )


def _found_by_others(
    gate: Gate, registry: Registry, registered: RegisteredVersion, change: Change, entry: Entry
) -> Iterator[Finding]:
    """Judge what other tools found, as far as the gate demands it; a shadow may miss, as with metrics."""
    if not gate.findings:
        return
    found = registry.found_by_others(registered, gate.findings)
    allowed = change.section == "shadow" and gate.on_miss == "shadow"
    for name, holds, said in findings_of_others.judge(
        gate.findings, found, digest=entry.digest, now=datetime.now(UTC)
    ):
        waived = "; so it may only listen" if allowed and not holds else ""
        yield _finding(f"findings {name}", holds or allowed, f"{said}{waived}")


def _bytes(platform: Platform, registered: RegisteredVersion, contents: PackageContents) -> Iterator[Finding]:
    """Hash every file of the package and look at what it is, in one reading, which the other checks share."""
    package = contents.package
    total = f"{package.size} bytes in {len(package.files)} files hashed"
    if is_large(package.version_files) and _are_at_hand(platform, registered, contents):
        yield _finding("every byte", True, total)
        yield _finding("no code", True, _NO_CODE)
        return
    look = look_at(package)

    def problem_of(file: PackageFile) -> tuple[bool, str]:
        seen = look(file)

        def feed(chunk: bytes) -> None:
            seen.feed(chunk)
            moved(len(chunk))

        whole = contents.is_whole(file, feed)
        return whole, seen.problem() if whole and file in package.version_files else ""

    with progress(package.size) as moved:
        judged = map_concurrent(package.files, problem_of, limit=platform.settings.concurrency.files)
    found = list(zip(package.files, judged, strict=True))
    wrong = [file.path for file, (whole, _) in found if not whole]
    yield _finding("every byte", not wrong, f"other bytes than listed: {words.some(wrong, ', ')}" if wrong else total)
    strange = [f"{file.path} {problem}" for file, (_, problem) in found if problem]
    yield _finding("no code", not strange, words.some(strange) or _NO_CODE)


def _are_at_hand(platform: Platform, registered: RegisteredVersion, contents: PackageContents) -> bool:
    """Whether the whole package is as listed, with the large files where the other checks find them.

    Where a file is not, all of them are read from MLflow once more, so that each wrong one is named.
    """
    package = contents.package
    version_files = frozenset(package.version_files)
    if not all(contents.is_whole(file, lambda _: None) for file in package.files if file not in version_files):
        return False
    read = partial(platform.registry.unverified_chunks, registered)
    with progress(sum(file.size for file in version_files)) as moved:
        try:
            with platform.staging_share.models.at_hand(package, read, moved=moved, look=look_at(package)):
                return True
        except (OtherBytes, NotAllowed):
            return False


def _agreement(
    registry: Registry,
    registered: RegisteredVersion,
    contents: PackageContents,
    triton: TritonServer,
    on_staging: str,
) -> Iterator[Finding]:
    config = parse_config(contents.read(CONFIG_FILE).decode())
    served = triton.signature(on_staging, registered.version)
    # Triton completes a configuration by the model's own file.
    declared = Signature(config.signature.inputs or served.inputs, config.signature.outputs or served.outputs)
    wrong = signature_differences(declared, served, one_is="config.pbtxt", other_is="Triton")
    completed = "" if declared == config.signature else "completed by Triton: "
    yield _finding("configuration agrees", not wrong, "; ".join(wrong) or f"{completed}{served}")
    if parse_config(triton.configuration(on_staging, registered.version)).is_decoupled:
        yield _finding("one answer", False, f"completed by Triton: {DECOUPLED}")
    logged = registry.signature(registered)
    if logged is None:
        yield _finding(
            "signature agrees", False, "the version has no signature of tensors in MLflow; log the model with one"
        )
        return
    wrong = signature_differences(logged, as_in_mlflow(served), one_is="MLflow", other_is="Triton")
    yield _finding("signature agrees", not wrong, "; ".join(wrong) or str(logged))


def _smoke(
    triton: TritonServer, on_staging: str, version: int, smoke: SmokeCases
) -> Iterator[tuple[Finding, SmokeCase, list[Tensor]]]:
    for case in smoke.cases:
        answer = triton.infer(on_staging, version, case.inputs, outputs=[tensor.name for tensor in case.outputs])
        wrong = differences(case, answer, smoke.tolerance)
        detail = "; ".join(wrong) or f"{'; '.join(map(_shown, answer))}: as the training framework answered"
        yield _finding(f"case {case.name}", not wrong, detail), case, answer


def _spooled(spool: Spool, case: SmokeCase, outputs: Sequence[Tensor]) -> Answered:
    """Return the same answer with large outputs on the disk: those of all cases need not fit into memory."""

    def moved(tensor: Tensor) -> Tensor:
        data = tensor.data
        if not isinstance(data, Packed):
            return tensor
        there = partial(spool.read, spool.add(data.raw()), data.size)
        return replace(tensor, data=Packed(data.datatype, len(data), there, size=data.size))

    return Answered(case.name, [moved(tensor) for tensor in outputs])


def _over_http(triton: TritonServer, on_staging: str, version: int, smoke: SmokeCases) -> Finding:
    """Ask every case as a gateway will ask it: what only one wire carries must be found before it is deployed."""
    if triton.http is None:
        return _finding(
            _OVER_HTTP,
            True,
            (
                "not asked: staging.triton.http is not set. Gateways ask Triton over HTTP; these "
                "cases were asked over gRPC only"
            ),
        )
    wrong: list[str] = []
    for case in smoke.cases:
        outputs = [tensor.name for tensor in case.outputs]
        answer = triton.infer_over_http(on_staging, version, case.inputs, outputs=outputs)
        wrong += (f"{case.name}: {said}" for said in differences(case, answer, smoke.tolerance))
    return _finding(
        _OVER_HTTP,
        not wrong,
        "; ".join(wrong[:3])
        or f"all {len(smoke.cases)} cases, in the binary form that gateways use: the same answers",
    )


def _latency(triton: TritonServer, on_staging: str, version: int, smoke: SmokeCases, budget: float | None) -> Latency:
    case, taken = smoke.cases[0], []
    # Read before the clock starts, so that the time is that of Triton.
    inputs = [replace(tensor, data=loaded(tensor.data)) for tensor in case.inputs]
    outputs = [tensor.name for tensor in case.outputs]
    for _ in range(LATENCY_REQUESTS):
        started = time.perf_counter()
        triton.infer(on_staging, version, inputs, outputs=outputs)
        taken.append((time.perf_counter() - started) * 1000)
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    return Latency(requests=len(taken), p50=cuts[49], p95=cuts[94], p99=cuts[98], budget=budget)


def released(platform: Platform, model: str, entry: Entry) -> tuple[RegisteredVersion, PackageContents]:
    """Return what MLflow has of a version that was in service; raise Rejected where it may not be loaded.

    That is where MLflow lost it, has other bytes under its number, or the rules of today allow it nowhere.
    """
    registered = platform.registry.version(model, entry.version, with_run=False)
    contents = platform.registry.contents(registered)
    digest = contents.package.digest
    if digest != entry.digest:
        raise OtherBytes(f"{model} {entry.version} is {digest} now, and not {entry.digest}", system="MLflow")
    parts = platform.settings.parts_before(model)
    findings = rule_findings(platform.settings.packages, contents, parts, model=model)
    if wrong := [finding for finding in findings if not finding.passed]:
        raise NotAllowed(f"{wrong[0].what}: {wrong[0].detail}", system="package rules")
    return registered, contents


@contextmanager
def on_staging_triton(
    platform: Platform,
    model: str,
    registered: RegisteredVersion,
    contents: PackageContents,
    name: str,
    bundle: Bundle | None,
    meter: Meter | None = None,
) -> Iterator[TritonServer]:
    """Load the version on the staging Triton under a name of its own; leave staging as it was found.

    ``meter`` measures what the load takes.

    Where it asks other models, the parts of ``bundle`` before it are loaded first, each under a name that ends the
    same, and taken off last.
    """
    config, parts = contents.read(CONFIG_FILE).decode(), dict[str, Target]()
    with ExitStack() as before:
        if asked_in(config) and bundle is not None:
            for part in bundle.before(model):
                of_part = platform.registry.version(part.model, part.version, with_run=False)
                its = platform.registry.contents(of_part)
                _see_that_a_part_may_be_loaded(platform, part, its)
                target = Target(f"{part.model}{name.removeprefix(model)}", part.version, part.digest)
                its_config = _placed(its.read(CONFIG_FILE).decode(), part.version, parts, part.model)
                before.enter_context(_loaded(platform, of_part, its, target.triton_model, its_config))
                parts[part.model] = target
        placed = _placed(config, registered.version, parts, model)
        yield before.enter_context(_loaded(platform, registered, contents, name, placed, meter))


def _placed(config: str, version: int, parts: Mapping[str, Target], model: str) -> str:
    try:
        return placed_config(config, version, parts)
    except ValueError as error:
        raise Rejected(f"config.pbtxt of {model} {version}: {error}", system="MLflow") from error


def _see_that_a_part_may_be_loaded(platform: Platform, part: Part, contents: PackageContents) -> None:
    """Raise Rejected where another part of the bundle has other bytes than are proposed, or may run nowhere."""
    name, digest = f"{part.model} {part.version}, a part of its bundle,", contents.package.digest
    if digest != part.digest:
        raise OtherBytes(f"{name} is {digest} now, and not {part.digest}", system="MLflow")
    parts = platform.settings.parts_before(part.model)
    findings = rule_findings(platform.settings.packages, contents, parts, model=part.model)
    wrong = [finding for finding in findings if not finding.passed]
    if wrong:
        raise Rejected(f"{name} is not allowed: {wrong[0].what}: {wrong[0].detail}", system="package rules")


@contextmanager
def _loaded(
    platform: Platform,
    registered: RegisteredVersion,
    contents: PackageContents,
    name: str,
    config: str,
    meter: Meter | None = None,
) -> Iterator[TritonServer]:
    """Load the version with this configuration, and take it off again."""
    seconds, package = platform.settings.deadlines.load_seconds, contents.package
    staging = platform.staging
    share, triton = staging.share, staging.triton
    # A check of this pull request that was killed may have left its own name behind.
    purge(share, triton, name, seconds)
    try:
        _bring(share, platform.registry, registered, package, name)
        share.models.write_config(name, render_config(config, versions=[registered.version]))
        with _measured(share, triton, name, registered.version, meter):
            TritonControl(triton, nobody_else_writes).load(name, timeout_seconds=seconds)
            for state in triton.wait_ready([(name, registered.version)], timeout_seconds=seconds):
                said = f"{name} {state.version} is {state.state} {state.reason}"
                raise Rejected(said, system=f"Triton {triton.name}")
        yield triton
    finally:
        # The model is still in memory, and a Triton needs seconds to free it. Only the next check under this name
        # waits for that.
        TritonControl(triton, nobody_else_writes).unload(name)
        share.models.remove(name)


@contextmanager
def _measured(
    share: StagingRepository, triton: TritonServer, name: str, version: int, meter: Meter | None
) -> Iterator[None]:
    """Measure the load in this block; where memory is measured at all, loads come one after another."""
    if triton.metrics is None:
        yield
        return
    with share.at_work.alone("loading"), meter.measuring(triton, name, version) if meter else nullcontext():
        yield


def _bring(
    share: StagingRepository, registry: Registry, registered: RegisteredVersion, package: Package, name: str
) -> None:
    """Publish the version under this name of staging; a large one by what the checks of the proposal have at hand."""
    read = partial(registry.unverified_chunks, registered)
    with progress(sum(file.size for file in package.version_files)) as moved:
        if is_large(package.version_files):
            with share.models.at_hand(package, read, moved=moved, look=look_at(package)) as there:
                share.models.place(package, there, triton_model=name, version=registered.version)
        else:
            share.models.publish(
                package,
                read,
                triton_model=name,
                version=registered.version,
                moved=moved,
                look=look_at(package),
            )


def purge(share: StagingRepository, triton: TritonServer, name: str, seconds: float) -> None:
    """Take a name off the staging Triton and out of its root; does nothing where it is not there."""
    if any(state.model == name for state in triton.index()):
        TritonControl(triton, nobody_else_writes).unload(name)
        triton.wait_gone(name, timeout_seconds=seconds)
    share.models.remove(name)


def left_by_killed(share: StagingRepository) -> list[str]:
    """Return the names on staging under which a bisect that was killed left a release; a living one holds its own."""
    named = ((name, bisect_of(name)) for name in share.models.names())
    return [name for name, token in named if token is not None and not share.at_work.is_held(token)]


def _smoke_cases(contents: PackageContents, registered: RegisteredVersion) -> SmokeCases:
    try:
        return contents.smoke()
    except ValueError as error:
        raise Rejected(f"{SMOKE_FILE} of {registered.model} {registered.version} {error}", system="MLflow") from error


def _champion_metrics(registry: Registry, change: Change) -> Measured | None:
    champion = change.champion
    if champion is None:
        return None
    try:
        return registry.version(change.model, champion.version).metrics
    except Rejected:
        # The registry lost the version in service; the proposal says so to the reviewer.
        return None


def _of_its_bundle(bundle: Bundle) -> Finding:
    """Say with which other parts it is checked; one that is not whole is refused."""
    if not bundle.is_whole:
        missing = ", ".join(bundle.missing)
        said = f"{bundle.name} is not whole: {missing} has no entry; propose all of its parts in one pull request"
        return _finding("bundle", False, said)
    parts = ", ".join(f"{part.model} {part.version}" for part in bundle.parts)
    return _finding("bundle", True, f"{bundle.name} {short(bundle.digest)}: {parts}")


def _finding(what: str, passed: bool, detail: str) -> Finding:
    return Finding(what=what, passed=passed, detail=detail)


def _with_step(error: Exception, next_step: str) -> str:
    """Return an error in one line, with what to do about it."""
    return f"{error}. {next_step}" if next_step else str(error)


def _file_list(listed: set[str], there: set[str]) -> str:
    """Compare the package's list with the artifacts."""
    if listed == there:
        return f"{len(listed)} files, as listed"
    missing, extra = sorted(listed - there), sorted(there - listed)
    return "; ".join(
        [f"missing: {', '.join(missing)}"] * bool(missing) + [f"not listed: {', '.join(extra)}"] * bool(extra)
    )


def _latency_finding(latency: Latency) -> tuple[str, bool, str]:
    """Judge the latency by its budget."""
    said = f"p50 {latency.p50:.1f} ms, p95 {latency.p95:.1f} ms, p99 {latency.p99:.1f} ms"
    if latency.budget is None:
        return "latency", True, f"{said}; no budget"
    return "latency", latency.p50 <= latency.budget, f"{said}; budget for p50: {latency.budget:g} ms"


def _shown(tensor: Tensor) -> str:
    values = map(shown, tensor.data[:_VALUES_SHOWN])
    return f"{tensor.name} {', '.join(values)}{', …' * (len(tensor.data) > _VALUES_SHOWN)}"
