"""The findings of the checks about one proposed version, and the proposal that they hold for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, model_validator

from bot.domain.answers import Output, output_from_json, output_to_json
from bot.domain.bundle import ONLY_WHERE_GIVEN, Bundle, digest_of, is_not_given
from bot.domain.desired import Change, Entry, Section
from bot.domain.evaluation import Evaluation
from bot.domain.gate import Gate
from bot.domain.memory import Memory
from bot.domain.metrics import Origin
from bot.domain.release import Release, Slot

CheckName = Literal["ready", "triton", "smoke", "behaviour"]
CHECKS: tuple[CheckName, ...] = ("ready", "triton", "smoke")
"""What every entry must pass."""
LIFETIME = timedelta(days=30)
_PROPOSED_RUN = re.compile(r" in MLflow, (\S+) proposed")


class Finding(BaseModel):
    """One thing a check looked at: what it should be, and what is wrong with it where something is."""

    model_config = ConfigDict(frozen=True)

    what: str
    passed: bool
    detail: str = ""


class Latency(BaseModel):
    """The time that smoke requests took on the staging Triton, in milliseconds."""

    model_config = ConfigDict(frozen=True)

    requests: int
    p50: float
    p95: float
    p99: float
    budget: float | None = None


class Answer(BaseModel):
    """What one golden request was answered on the staging Triton: the outputs that its case names."""

    model_config = ConfigDict(frozen=True)

    case: str
    outputs: tuple[Annotated[Output, PlainValidator(output_from_json), PlainSerializer(output_to_json)], ...] = Field(
        description="each as the protocol's JSON has a tensor, with all its values; a large one has format 2: the "
        "sha256 of its bytes in the protocol's binary form, how many values are not exactly those of the training "
        "framework, and the furthest of them, with index, expected and got"
    )


class AskedCase(BaseModel):
    """The answer of the staging Triton to one case of ``cases/<model>``."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants", json_schema_extra=ONLY_WHERE_GIVEN)

    case: str = Field(description="name of its file, without the ending")
    request: str = Field(description="sha256 of the request: a case with the same one would get the same answer")
    demands: str = Field(description="sha256 of the request and of what the case demanded then")
    outputs: tuple[Annotated[Output, PlainValidator(output_from_json), PlainSerializer(output_to_json)], ...] = Field(
        description="each as in `answers`"
    )
    wrong: str = Field(default="", description="which demand it does not meet; empty where it holds")
    refused: bool = Field(default=False, description="whether Triton refused the request, so that there is no answer")


class CasesInService(BaseModel):
    """The answers of the version in service to cases that a pull request proposes; they decide nothing."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    environment: str
    model: str
    entry: Entry = Field(description="the version in service")
    asked: tuple[AskedCase, ...]
    at: datetime
    problem: str = Field(default="", description="why it could not be asked")
    away: bool = Field(default=False, description="whether a system was away, so that another run may tell more")


class Moved(BaseModel):
    """One case that the champion answered otherwise on staging: where it moved most."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    case: str
    output: str = Field(description="name of the output, and the index of the value")
    before: str = Field(description="what the version in service answered")
    after: str = Field(description="what the proposed one answered")
    flips: bool = Field(description="whether the decision is another, not only a number")
    by: float = Field(description="the change of a number; infinite where the answer is not a number")


class Behaviour(BaseModel):
    """How the proposed version answered its own smoke cases beside the version in service, both on staging."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    champion: Entry
    cases: int
    flipped: int = 0
    moved: tuple[Moved, ...] = Field(default=(), description="those that moved most, the worst first")
    latency: Latency | None = Field(default=None, description="of the version in service, measured at the same time")
    problem: str = Field(default="", description="why nothing could be compared; no reason to refuse the new one")


class JudgedMetric(BaseModel):
    """One number that the gate judged, and where it came from; likewise of the version in service."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    metric: str
    value: float | None
    origin: Origin | None
    champion: float | None
    champion_origin: Origin | None


class CheckResult(BaseModel):
    """What one check found about one entry."""

    # A model may answer NaN, which must be read as it was written.
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    check: CheckName
    environment: str
    section: Section
    model: str
    version: int
    digest: str
    run: str = Field(default="", description="of the entry; empty in results of earlier versions of promobot")
    findings: tuple[Finding, ...]
    at: datetime
    latency: Latency | None = None
    answers: tuple[Answer, ...] = Field(default=(), description="of smoke: what staging answered, case by case")
    behaviour: Behaviour | None = Field(default=None, description="of smoke: compared with the version in service")
    champion: Entry | None = Field(default=None, description="of ready: the version that the gate compared with")
    rules: str = Field(default="", description="fingerprint of the rules that were applied")
    judged: tuple[JudgedMetric, ...] = Field(default=(), description="of ready: the numbers that the gate judged")
    evaluation: Evaluation | None = Field(
        default=None,
        description="of behaviour: what was measured on the evaluation set",
        exclude_if=is_not_given,
        json_schema_extra=ONLY_WHERE_GIVEN,
    )
    bundle: Bundle | None = Field(
        default=None,
        description="the bundle with which it was checked",
        exclude_if=is_not_given,
        json_schema_extra=ONLY_WHERE_GIVEN,
    )
    cases: tuple[AskedCase, ...] = Field(
        default=(),
        description="of smoke: what the cases of `cases/<model>` were answered",
        exclude_if=is_not_given,
        json_schema_extra=ONLY_WHERE_GIVEN,
    )
    memory: Memory | None = Field(
        default=None,
        description="of triton: what loading took on staging, where its metrics are known",
        exclude_if=is_not_given,
        json_schema_extra=ONLY_WHERE_GIVEN,
    )
    memory_in_service: Memory | None = Field(
        default=None,
        description="of triton: what loading the version in service took when it was checked",
        exclude_if=is_not_given,
        json_schema_extra=ONLY_WHERE_GIVEN,
    )

    @property
    def slot(self) -> Slot:
        """The place for which it was checked."""
        return Slot.of(self.environment, self.model, self.section)

    @property
    def release(self) -> Release:
        """The checked release; its run is empty in results of earlier versions of promobot."""
        return Release(self.slot, self.version, self.digest, self.run)

    @property
    def passed(self) -> bool:
        """Whether anything was looked at and all of it holds: nothing checked is nothing passed."""
        return bool(self.findings) and all(finding.passed for finding in self.findings)

    @property
    def problems(self) -> list[Finding]:
        """The findings that do not hold."""
        return [finding for finding in self.findings if not finding.passed]

    def is_about(self, change: Change) -> bool:
        """Whether this is about the entry that a change proposes, on this path of this environment.

        Results are kept under the commit that proposes the entry, so one without a run is about that commit's run.
        """
        of = change.release
        same = of is not None and self.release in (of, replace(of, run=""))
        return same and digest_of(self.bundle) == digest_of(change.bundle)


class Revocation(BaseModel):
    """A person takes back the verdict of the checks on one digest. Later checks make new evidence."""

    model_config = ConfigDict(frozen=True)

    environment: str
    model: str
    version: int
    digest: str
    evidence: tuple[str, ...] = Field(description="names of what is revoked")
    reason: str
    by: str
    at: datetime


class Evidence(BaseModel):
    """All checks of one entry, bound to the proposal they were made for."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    format: Literal[1] = 1
    environment: str
    section: Section
    model: str
    version: int
    digest: str
    run: str = Field(
        default="", description="MLflow run of the entry; empty in a record of earlier versions that does not tell it"
    )
    pull_request: int | None = Field(description="None where main itself was checked again")
    base: str = Field(description="commit of main that the checks compared with")
    head: str = Field(description="commit of the proposal")
    at: datetime
    expires: datetime
    checks: tuple[CheckResult, ...]
    problems: tuple[str, ...] = Field(default=(), description="what else kept the proposal from passing")
    evaluation_set: str = Field(
        default="",
        description="digest of the rows on which the settings wanted it to be measured",
        exclude_if=is_not_given,
        json_schema_extra=ONLY_WHERE_GIVEN,
    )
    bundle: Bundle | None = Field(
        default=None,
        description="the bundle with which it was checked, as a whole",
        exclude_if=is_not_given,
        json_schema_extra=ONLY_WHERE_GIVEN,
    )
    revoked: Revocation | None = Field(default=None, description="set when it is read, where somebody revoked it")

    @model_validator(mode="before")
    @classmethod
    def _without_a_run(cls, given: Any) -> Any:
        """Earlier versions of promobot wrote the proposed run into a finding of READY only."""
        if not isinstance(given, Mapping) or given.get("run"):
            return given
        return {**given, "run": _run_in_findings(given.get("checks", ()))}

    @property
    def name(self) -> str:
        """Its name among the evidence of its digest; in the order of time."""
        return f"{self.at:%Y%m%dT%H%M%S.%fZ}"

    @property
    def passed(self) -> bool:
        """Whether every check that was demanded is there, all passed, and nothing else was wrong."""
        found = {result.check for result in self.checks}
        demanded = set(checks_of(evaluated=bool(self.evaluation_set)))
        return not self.problems and demanded <= found and all(result.passed for result in self.checks)

    @property
    def slot(self) -> Slot:
        """The place for which it was checked."""
        return Slot.of(self.environment, self.model, self.section)

    @property
    def release(self) -> Release:
        """The checked release; its run is empty where an earlier version of promobot did not record it."""
        return Release(self.slot, self.version, self.digest, self.run)

    def covers(self, release: Release) -> bool:
        """Whether this counts for the release, and not only for the same bytes in another proposal.

        Where the run is not known, failed checks count for every run, and passed ones for none.
        """
        if self.run:
            return self.release == release
        return self.release == replace(release, run="") and not self.passed

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The answers of staging to the golden requests, in the order of the package's cases."""
        return tuple(answer for result in self.checks if result.check == "smoke" for answer in result.answers)

    @property
    def cases(self) -> tuple[AskedCase, ...]:
        """The answers of staging to the cases of the repository."""
        return tuple(case for result in self.checks if result.check == "smoke" for case in result.cases)

    @property
    def evaluation(self) -> Evaluation | None:
        """The measurement on the evaluation set; None where nothing was measured."""
        return next((result.evaluation for result in self.checks if result.evaluation is not None), None)

    @property
    def memory(self) -> Memory | None:
        """What loading took on staging; None where it was not measured."""
        return next((result.memory for result in self.checks if result.memory is not None), None)

    @property
    def champion(self) -> Entry | None:
        """The version that the gate compared with."""
        return next((result.champion for result in self.checks if result.check == "ready"), None)

    @property
    def rules(self) -> str:
        """The fingerprint of the rules that every check applied; empty where they did not apply the same."""
        found = {result.rules for result in self.checks}
        return found.pop() if len(found) == 1 else ""

    def state(self, now: datetime) -> Literal["revoked", "red", "expired", "green"]:
        """Return what it is worth now, as far as it can tell by itself."""
        if not self.passed:
            return "red"
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires <= now else "green"


RULES_OF_THE_BOT = 4
"""Raised when the bot itself judges packages by other rules: then evidence of before is judged again."""


def rules_of(
    gate: Gate,
    packages: BaseModel,
    cases: Iterable[str] = (),
    *,
    measured: Mapping[str, object] | None = None,
) -> str:
    """Return the fingerprint of what decides the findings: gate, what packages may contain, the model's cases.

    ``cases`` are the fingerprints of the cases. Where there are none, the result is as in earlier versions.
    ``measured`` is what decides the findings of a measurement; None where the settings ask for none.
    """
    rules: dict[str, object] = {
        # The rule for shadows is judged after the checks, so it decides no finding.
        "gate": gate.model_dump(mode="json", exclude={"shadow"}),
        "packages": packages.model_dump(mode="json"),
        "bot": RULES_OF_THE_BOT,
    }
    if law := sorted(cases):
        rules["cases"] = law
    if measured is not None:
        rules["evaluation"] = dict(measured)
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()


def checks_of(*, evaluated: bool) -> tuple[CheckName, ...]:
    """Return what an entry must pass; ``evaluated`` where the settings have an evaluation set for its model."""
    return (*CHECKS, "behaviour") if evaluated else CHECKS


def latest(results: Iterable[CheckResult]) -> list[CheckResult]:
    """Return the newest result of each check of each entry: a job that was run again replaces what it found.

    ``results`` are those of one commit, which proposes one entry of a model on a path.
    """
    newest: dict[tuple[str, Section, str, CheckName], CheckResult] = {}
    for result in sorted(results, key=lambda result: result.at):
        newest[(result.environment, result.section, result.model, result.check)] = result
    return list(newest.values())


def missing(
    results: Iterable[CheckResult], expected: Iterable[Change], evaluated: Callable[[Change], bool] = lambda _: False
) -> list[str]:
    """Return ``check of environment/model`` for each check of a proposed entry that has no result.

    ``evaluated`` says whether a change is to be measured, too.
    """
    found = list(results)
    return [
        f"{check} of {change.environment}/{change.model}"
        for change in expected
        for check in checks_of(evaluated=evaluated(change))
        if not any(result.check == check and result.is_about(change) for result in found)
    ]


def newest_for(evidence: Iterable[Evidence], release: Release, bundle: Bundle | None = None) -> Evidence | None:
    """Return the first of ``evidence``, which comes newest first, that counts for the entry; None without one.

    What was checked beside other parts of its bundle does not count.
    """
    found = (one for one in evidence if digest_of(one.bundle) == digest_of(bundle))
    return next((one for one in found if one.covers(release)), None)


def newest_of_each(evidence: Iterable[Evidence]) -> list[Evidence]:
    """Return the newest evidence of each entry on each path; ``evidence`` comes newest first."""
    newest: dict[tuple[object, ...], Evidence] = {}
    for one in evidence:
        of = (one.environment, one.section, one.model, one.version, one.digest, one.run)
        newest.setdefault(of, one)
    return list(newest.values())


def is_green_at(evidence: Iterable[Evidence], head: str, wanted: Iterable[Release], now: datetime) -> bool:
    """Whether everything that was found about a commit is green, and nothing that it asks for is left unsaid.

    ``evidence`` comes newest first, ``wanted`` are the releases that the commit asks for.
    """
    found = list(newest_of_each(one for one in evidence if one.head == head))
    is_whole = all(any(one.covers(release) for one in found) for release in wanted)
    return bool(found) and is_whole and all(one.state(now) == "green" for one in found)


def _run_in_findings(checks: Any) -> str:
    """Return the run that a READY of earlier versions was asked about; empty where it does not tell."""
    for check in checks:
        result = check if isinstance(check, CheckResult) else CheckResult.model_validate(check)
        if result.check == "ready":
            said = (_PROPOSED_RUN.search(finding.detail) for finding in result.findings if finding.what == "run")
            return next((found[1] for found in said if found), "")
    return ""
