"""``promobot check``: what the jobs on a pull request run, each alone, and the one that sums them up.

The pull request is data. Code, settings and gates are those of the checkout this runs in (the base branch); from the
proposal's head only ``promotions/*.yaml`` is read, through Git, and never written to disk.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bot import settings as settings_module
from bot.domain import desired
from bot.domain.desired import Change, Entry
from bot.domain.evidence import LIFETIME, CheckName, CheckResult, Evidence, Finding, Latency, latest, missing
from bot.domain.gate import judge
from bot.domain.package import CONFIG_FILE, PACKAGE_FILE, SMOKE_FILE, Package
from bot.domain.record import verified_entries
from bot.domain.signature import differences as signature_differences
from bot.domain.smoke import SmokeCases, differences
from bot.errors import InvalidInput, OutsideError, Refused, Rejected
from bot.settings import Environment
from bot.systems.records import RecordStore
from bot.systems.share import ModelRepository
from bot.systems.triton import TritonServer, parse_config, render_config
from bot.verbs import Say, connect
from bot.verbs.ledger import Ledger
from bot.verbs.proposing import read_desired
from bot.words import checks as words

if TYPE_CHECKING:
    from bot.systems.git import Repository
    from bot.systems.mlflow import RegisteredVersion, Registry

LATENCY_REQUESTS = 50


@dataclass(frozen=True)
class Subject:
    """What a pull request proposes: the changes of desired state between where it parted from main and its head."""

    pull_request: int
    base: str
    head: str
    changes: tuple[Change, ...]
    other_paths: tuple[str, ...]


@dataclass(frozen=True)
class Checked:
    """What a check found. ``subject.changes`` may be empty: then there was nothing to check, and it says so."""

    check: str
    subject: Subject
    results: tuple[CheckResult, ...]
    problems: tuple[str, ...] = ()
    comment_url: str = ""

    @property
    def passed(self) -> bool:
        """Whether every result passed and none is missing."""
        return not self.problems and all(result.passed for result in self.results)

    @property
    def exit_code(self) -> int:
        """0 passed, or nothing to check · 1 failed."""
        return 0 if self.passed else 1


def check(root: Path, name: CheckName, *, pull_request: int, head: str | None, run: str, say: Say) -> Checked:
    """Run one check for everything that the pull request proposes, and keep what it found."""
    environments = _environments(root)
    subject = _subject(environments, pull_request=pull_request, head=head)
    results: list[CheckResult] = []
    for change in subject.changes:
        settings = environments[change.environment]
        if change.after is None:
            continue
        say(f"{name}: {change.model} {change.after.version} for {change.environment}")
        findings, latency = _run(settings, name, change, change.after, pull_request)
        results.append(
            CheckResult(
                check=name,
                environment=change.environment,
                section=change.section,
                model=change.model,
                version=change.after.version,
                digest=change.after.digest,
                findings=tuple(findings),
                at=datetime.now(UTC),
                latency=latency,
            )
        )
    for environment, settings in environments.items():
        of_environment = [result for result in results if result.environment == environment]
        if of_environment:
            _ledger(settings).add_check_run(f"{_folder(pull_request, subject.head)}/{run}-{name}", of_environment)
    checked = Checked(name, subject, tuple(results))
    _write_summary(words.check_summary(name, subject.changes, checked.results))
    return checked


def sum_up(root: Path, *, pull_request: int, head: str | None, needs: dict[str, str], say: Say) -> Checked:
    """Demand that every check of every entry ran and passed; write the one comment, the summary and the evidence."""
    environments = _environments(root)
    say(f"summing up #{pull_request}")
    problems = [words.job_did_not_succeed(job, result) for job, result in needs.items() if result != "success"]
    try:
        subject = _subject(environments, pull_request=pull_request, head=head)
    except InvalidInput as error:
        # A file of desired state that cannot be read is the first thing a reviewer must see.
        subject = Subject(pull_request, "", head or "", (), ())
        problems.append(str(error))
    expected = [change for change in subject.changes if change.after is not None]
    concerned = {change.environment: _ledger(environments[change.environment]) for change in expected}
    found = [r for ledger in concerned.values() for r in ledger.check_runs(_folder(pull_request, subject.head))]
    results = latest(found)
    problems += words.missing_results(missing(results, [(c.environment, c.section, c.model) for c in expected]))
    for change in expected:
        evidence = _evidence(subject, change, results, problems)
        concerned[change.environment].add_evidence(evidence)
    checked = Checked("verdict", subject, tuple(results), tuple(problems))
    body = words.comment(subject.changes, results, problems, head=subject.head, other_paths=subject.other_paths)
    _write_summary(body)
    github = connect.github(next(iter(environments.values())))
    return replace(checked, comment_url=github.put_comment(pull_request, body, marker=words.MARKER))


def _evidence(subject: Subject, change: Change, results: list[CheckResult], problems: list[str]) -> Evidence:
    entry, now = change.after, datetime.now(UTC)
    assert entry is not None  # noqa: S101 - a removal needs no evidence
    key = (change.environment, change.section, change.model)
    return Evidence(
        environment=change.environment,
        section=change.section,
        model=change.model,
        version=entry.version,
        digest=entry.digest,
        pull_request=subject.pull_request,
        base=subject.base,
        head=subject.head,
        at=now,
        expires=now + LIFETIME,
        checks=tuple(r for r in results if (r.environment, r.section, r.model) == key and r.digest == entry.digest),
        problems=tuple(problems),
    )


# --- what is proposed ---------------------------------------------------------------------------------------------


def _environments(root: Path) -> dict[str, Environment]:
    found = {name: settings_module.load(root, name) for name in settings_module.environments(root)}
    if not found:
        raise InvalidInput("there is no environment file", file=settings_module.ENVIRONMENTS)
    return found


def _subject(environments: dict[str, Environment], *, pull_request: int, head: str | None) -> Subject:
    settings = next(iter(environments.values()))
    pull = connect.github(settings).pull_request(pull_request)
    if head is not None and pull.head != head:
        raise Refused(
            f"#{pull_request} has moved on from {head[:12]} to {pull.head[:12]}",
            state="Nothing was checked for the old commit.",
            next_step="The run for the new commit is what counts.",
        )
    with connect.repository(settings) as repository:
        base = repository.merge_base(repository.head(), repository.fetch(pull.head))
        paths = repository.changed_paths(base, pull.head)
        changes = [
            change
            for path in paths
            if path.startswith("promotions/")
            for change in _changes(repository, environments, path, base, pull.head)
        ]
    others = tuple(path for path in paths if not path.startswith("promotions/"))
    return Subject(pull_request, base, pull.head, tuple(changes), others)


def _changes(
    repository: Repository, environments: dict[str, Environment], path: str, base: str, head: str
) -> list[Change]:
    environment = path.removeprefix("promotions/").removesuffix(".yaml")
    if environment not in environments or path != desired.path_of(environment):
        known = ", ".join(desired.path_of(name) for name in environments)
        raise InvalidInput(f"is not the desired state of an environment; those are {known}", file=path)
    before, after = (read_desired(repository, environment, commit) for commit in (base, head))
    return desired.changes(before, after)


def _ledger(settings: Environment) -> Ledger:
    return Ledger(RecordStore(settings.records), settings.environment)


def _folder(pull_request: int, head: str) -> str:
    return f"pr-{pull_request}/{head}"


# --- the checks ---------------------------------------------------------------------------------------------------


def _run(
    settings: Environment, name: CheckName, change: Change, entry: Entry, pull_request: int
) -> tuple[list[Finding], Latency | None]:
    findings: list[Finding] = []
    try:
        gate = settings.gate(change.model)
    except Refused as error:
        return [_finding("gate", False, f"{error} {error.next_step}")], None
    try:
        registry = connect.registry(settings)
        if name == "ready":
            registered = registry.wait_ready(
                change.model, entry.version, timeout_seconds=settings.deadlines.ready_seconds
            )
            findings += _ready(settings, registry, registered, change, entry)
            return findings, None
        registered = registry.version(change.model, entry.version)
        package = registry.package(registered)
        findings.append(_finding("digest", package.digest == entry.digest, f"{package.digest} in MLflow"))
        # What may not run anywhere must not be loaded here either, whatever the job READY says at the same time.
        findings += _allowed(settings, registry, registered, package)
        if not all(finding.passed for finding in findings):
            return findings, None
        on_staging = f"{change.model}.check-{pull_request}-{name}"
        with _on_staging(settings, registry, registered, package, on_staging) as triton:
            findings.append(_finding("loads", True, f"READY as {on_staging} on {triton.name}"))
            if name == "triton":
                findings += _agreement(registry, registered, triton, on_staging)
                return findings, None
            smoke = _smoke_cases(registry, registered)
            findings += _smoke(triton, on_staging, registered.version, smoke)
            budget = gate.latency_budget_milliseconds
            latency = _latency(triton, on_staging, registered.version, smoke, budget)
            findings.append(_finding(*words.latency_finding(latency)))
            return findings, latency
    except OutsideError as error:
        # What a system says against the version is what the check found; a system that is away is no verdict on it,
        # but red all the same: nothing passes that was not looked at.
        findings.append(Finding(what=words.could_not(name), passed=False, detail=str(error)))
    return findings, None


def _ready(
    settings: Environment, registry: Registry, registered: RegisteredVersion, change: Change, entry: Entry
) -> Iterator[Finding]:
    yield _finding("status", registered.status == "READY", f"{registered.status} {registered.status_message}".strip())
    if registered.status != "READY":
        return
    yield _finding("run", registered.run == entry.run, f"{registered.run} in MLflow, {entry.run} proposed")
    ledger = _ledger(settings)
    quarantine = ledger.quarantined().get(entry.digest)
    yield _finding("quarantine", quarantine is None, quarantine.reason if quarantine else "not in quarantine")
    verified = [r for r, e in verified_entries(ledger.deployments(), model=change.model) if e.digest == entry.digest]
    if verified:
        yield _finding("gate", True, words.gate_skipped(verified[0].id))
    else:
        champion = _champion_metrics(registry, change)
        result = judge(settings.gate(change.model), registered.metrics, champion)
        if change.section == "models":
            yield _finding("gate", result.passed, result.reason or words.gate_passed(result))
        elif result.passed:
            yield _finding("gate", True, words.gate_passed(result))
        else:
            allowed = settings.gate(change.model).on_miss == "shadow"
            yield _finding("gate", allowed, words.shadow_allowed(result.reason, allowed=allowed))
    package = registry.package(registered)
    yield _finding("digest", package.digest == entry.digest, f"{package.digest} in MLflow")
    listed, there = {f.path for f in package.files}, set(registry.files(registered)) - {PACKAGE_FILE}
    yield _finding("file list", listed == there, words.file_list(listed, there))
    yield _finding("size", package.size <= settings.packages.max_bytes, f"{package.size} bytes")
    yield from _bytes(registry, registered, package)
    yield from _allowed(settings, registry, registered, package)


def _bytes(registry: Registry, registered: RegisteredVersion, package: Package) -> Iterator[Finding]:
    wrong: list[str] = []
    for file in package.files:
        digest, size = hashlib.sha256(), 0
        for chunk in registry.stream(registered, file.path):
            digest.update(chunk)
            size += len(chunk)
        if (size, digest.hexdigest()) != (file.size, file.sha256):
            wrong.append(file.path)
    total = f"{package.size} bytes in {len(package.files)} files hashed"
    yield _finding("every byte", not wrong, f"other bytes than listed: {', '.join(wrong)}" if wrong else total)


def _allowed(
    settings: Environment, registry: Registry, registered: RegisteredVersion, package: Package
) -> Iterator[Finding]:
    allowed_types = tuple(settings.packages.file_types)
    strange = [file.path for file in package.version_files if not file.path.endswith(allowed_types)]
    yield _finding("file types", not strange, ", ".join(strange) or f"only {', '.join(allowed_types)}")
    try:
        config = parse_config(registry.read(registered, CONFIG_FILE).decode())
    except ValueError as error:
        yield _finding("configuration", False, str(error))
        return
    allowed = settings.packages.backends
    yield _finding("backend", config.backend in allowed, f"{config.backend or 'none'}; allowed: {', '.join(allowed)}")
    code = [*config.repository_agents, *(p for p in config.parameters if p == "EXECUTION_ENV_PATH")]
    yield _finding(
        "no code", not code, f"runs code: {', '.join(code)}" if code else "no agent, no execution environment"
    )


def _agreement(
    registry: Registry, registered: RegisteredVersion, triton: TritonServer, on_staging: str
) -> Iterator[Finding]:
    config = parse_config(registry.read(registered, CONFIG_FILE).decode())
    served = triton.signature(on_staging, registered.version)
    wrong = signature_differences(config.signature, served, one_is="config.pbtxt", other_is="Triton")
    yield _finding("configuration agrees", not wrong, "; ".join(wrong) or str(served))
    logged = registry.signature(registered)
    if logged is None:
        yield _finding("signature agrees", False, words.NO_SIGNATURE)
        return
    wrong = signature_differences(logged, served, one_is="MLflow", other_is="Triton")
    yield _finding("signature agrees", not wrong, "; ".join(wrong) or str(logged))


def _smoke(triton: TritonServer, on_staging: str, version: int, smoke: SmokeCases) -> Iterator[Finding]:
    for case in smoke.cases:
        answer = triton.infer(on_staging, version, case.inputs, outputs=[tensor.name for tensor in case.outputs])
        wrong = differences(case, answer, smoke.tolerance)
        yield _finding(f"case {case.name}", not wrong, "; ".join(wrong) or words.WITHIN_TOLERANCE)


def _latency(triton: TritonServer, on_staging: str, version: int, smoke: SmokeCases, budget: float | None) -> Latency:
    case, taken = smoke.cases[0], []
    outputs = [tensor.name for tensor in case.outputs]
    for _ in range(LATENCY_REQUESTS):
        started = time.perf_counter()
        triton.infer(on_staging, version, case.inputs, outputs=outputs)
        taken.append((time.perf_counter() - started) * 1000)
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    return Latency(requests=len(taken), p50=cuts[49], p95=cuts[94], p99=cuts[98], budget=budget)


@contextmanager
def _on_staging(
    settings: Environment, registry: Registry, registered: RegisteredVersion, package: Package, name: str
) -> Iterator[TritonServer]:
    """Load the version on the staging Triton under a name of its own; leave staging as it was found."""
    seconds = settings.deadlines.load_seconds
    with connect.staging(settings) as systems:
        share, triton = systems.share, systems.tritons[0]
        # A check of this pull request that was killed may have left its own name behind.
        clear(share, triton, name, seconds)
        try:
            share.publish(
                package,
                lambda path: registry.stream(registered, path),
                triton_model=name,
                version=registered.version,
            )
            config = registry.read(registered, CONFIG_FILE).decode()
            share.write_config(name, render_config(config, versions=[registered.version]))
            triton.load(name, timeout_seconds=seconds)
            for state in triton.wait_ready([(name, registered.version)], timeout_seconds=seconds):
                raise Rejected(
                    f"{name} {state.version} is {state.state} {state.reason}", system=f"Triton {triton.name}"
                )
            yield triton
        finally:
            clear(share, triton, name, seconds)


def clear(share: ModelRepository, triton: TritonServer, name: str, seconds: float) -> None:
    """Take a name off the staging Triton and out of its root; does nothing where it is not there."""
    if any(state.model == name for state in triton.index()):
        triton.unload(name)
        triton.wait_gone(name, timeout_seconds=seconds)
    share.remove(name)


def _smoke_cases(registry: Registry, registered: RegisteredVersion) -> SmokeCases:
    try:
        return SmokeCases.from_json(registry.read(registered, SMOKE_FILE))
    except ValueError as error:
        raise Rejected(f"{SMOKE_FILE} of {registered.model} {registered.version} {error}", system="MLflow") from error


def _champion_metrics(registry: Registry, change: Change) -> dict[str, float] | None:
    before = change.before
    if change.section != "models" or before is None:
        return None
    try:
        return dict(registry.version(change.model, before.version).metrics)
    except Rejected:
        # The registry lost the version in service; the proposal says so to the reviewer.
        return None


def _finding(what: str, passed: bool, detail: str) -> Finding:
    return Finding(what=what, passed=passed, detail=detail)


def _write_summary(text: str) -> None:
    """Append to the job's summary, where GitHub Actions has one."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path:
        with Path(path).open("a", encoding="utf-8") as summary:
            summary.write(text + "\n")
