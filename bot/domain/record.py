"""The deployment record: what a deployment of one model did and proved. It is written once and never changed.

One run of ``promobot deploy`` may deploy several models; they share its turn, and each has a record of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bot.domain.bundle import ONLY_WHERE_GIVEN, Bundle, digest_of, is_not_given
from bot.domain.desired import SECTIONS, Change, Desired, Entry, KnownEntries, Section
from bot.domain.origin import Origin
from bot.domain.release import Release, Slot
from bot.domain.routes import WHOLE

Outcome = Literal["succeeded", "unconfirmed", "rolling out", "incomplete", "put back", "failed"]
"""
succeeded    all six criteria hold
unconfirmed  all but Slack; the message is in the outbox
rolling out  a step of a rollout: a canary answers for some users, and all that holds of a release holds of it
incomplete   a way back is in service wherever gateways answer, and one did not; run again when it does
put back     it failed after the switch; what users get is the last verified state again
failed       it failed before the switch; what users get never changed
"""

CriterionName = Literal[
    "registered_in_mlflow", "ready", "triton_loaded", "smoke_passed", "fastapi_reloaded", "slack_delivered"
]
CRITERIA: tuple[CriterionName, ...] = (
    "registered_in_mlflow",
    "ready",
    "triton_loaded",
    "smoke_passed",
    "fastapi_reloaded",
    "slack_delivered",
)


class Criterion(BaseModel):
    """One of the six: whether it holds, when that was seen, and by what."""

    model_config = ConfigDict(frozen=True)

    name: CriterionName
    holds: bool
    at: datetime
    proof: str


class Step(BaseModel):
    """One thing that was done, in order."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    what: str
    seconds: float


class Rollout(BaseModel):
    """The way of one change to all users, and the step of it that a deployment made."""

    model_config = ConfigDict(frozen=True, json_schema_extra=ONLY_WHERE_GIVEN)

    id: str = Field(description="the record of its first step")
    percent: int = Field(ge=1, le=100, description="of requests, which the new version answers after this step")
    step: int = Field(ge=1, description="number of this step, from 1")
    steps: tuple[int, ...] = Field(description="percent of all its steps, as the settings had them when it began")
    began_at: datetime
    key: str = Field(default="", description="header that divides users; empty where the request's id does")

    @property
    def is_whole(self) -> bool:
        """Whether all users get the new version by this step."""
        return self.percent == WHOLE

    @property
    def next_percent(self) -> int | None:
        """The percent of the step after this one; None after the last."""
        return next((percent for percent in self.steps if percent > self.percent), None)

    def at(self, percent: int) -> Rollout:
        """Return its step with this percent."""
        return self.model_copy(update={"percent": percent, "step": self.steps.index(percent) + 1})


class DeploymentRecord(BaseModel):
    """What happened, in full."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1, 2] = 2
    id: str = Field(description="environment, turn and model, as in dev-00000012-churn")
    environment: str
    section: Section
    model: str
    before: Entry | None = Field(description="what was in service")
    after: Entry | None = Field(description="what was asked for")
    # Empty where main could not be read: a way back needs no Git.
    commit: str = Field(description="head of main that was deployed")
    started_at: datetime
    finished_at: datetime
    outcome: Outcome
    serving: Entry | None = Field(
        default=None, description="what users get of this model on this path when the deployment is over"
    )
    in_service: Desired | None = Field(
        default=None, exclude=True, description="format 1 only: what users get of every model, instead of `serving`"
    )
    criteria: tuple[Criterion, ...]
    steps: tuple[Step, ...]
    problem: str = ""
    way_back: bool = Field(
        default=False, description="whether it went back to what was in service before what it replaced ever was"
    )
    reason: str = Field(
        default="",
        description="why what was in service already was published again, why the model left service, or why it "
        "went back",
    )
    quarantined: bool = Field(default=False, description="whether the digest asked for went into quarantine for it")
    bundle: Bundle | None = Field(
        default=None,
        description="the bundle with which it was asked for",
        exclude_if=is_not_given,
        json_schema_extra=ONLY_WHERE_GIVEN,
    )
    published_as: str = Field(
        default="",
        description="name under which Triton has it, where it is a part of a bundle: others ask it so",
        exclude_if=is_not_given,
        json_schema_extra=ONLY_WHERE_GIVEN,
    )
    rollout: Rollout | None = Field(
        default=None,
        description="the rollout that it is a step of",
        exclude_if=is_not_given,
        json_schema_extra=ONLY_WHERE_GIVEN,
    )
    rehearsal: str = Field(
        default="",
        description="who rehearsed the way back, where it is a part of that: nobody decided against a version",
        exclude_if=is_not_given,
        json_schema_extra=ONLY_WHERE_GIVEN,
    )
    origin: Origin | None = Field(
        default=None,
        description="where it comes from; what the record itself does not hold is kept beside it",
        exclude_if=is_not_given,
        json_schema_extra=ONLY_WHERE_GIVEN,
    )

    @model_validator(mode="before")
    @classmethod
    def _of_format_1(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or given.get("in_service") is None:
            return given
        served = Desired.model_validate(given["in_service"])
        section: Section = given.get("section", "models")
        return {**given, "in_service": served, "serving": served.section(section).get(str(given.get("model")))}

    @property
    def slot(self) -> Slot:
        """The place that was deployed to."""
        return Slot.of(self.environment, self.model, self.section)

    @property
    def release(self) -> Release | None:
        """The release that was asked for; None where the place was to be empty."""
        return self.after.in_slot(self.slot) if self.after else None

    @property
    def verified(self) -> bool:
        """Whether a rollback may go back to what this record says was in service."""
        return self.outcome in ("succeeded", "unconfirmed")

    @property
    def is_well(self) -> bool:
        """Whether all went as it was to go: verified, or a step of a rollout that goes on."""
        return self.verified or self.outcome == "rolling out"

    @property
    def leaves_rollout(self) -> bool:
        """Whether it is a further step of a rollout and failed before its switch: users keep the step before it."""
        return self.outcome == "failed" and self.rollout is not None and self.rollout.step > 1


def run_of(deployment: str, environment: str) -> str:
    """Return the run of a deployment: ``dev-00000012`` of ``dev-00000012-churn``."""
    return f"{environment}-{deployment.removeprefix(f'{environment}-').partition('-')[0]}"


def without_rehearsals(records: Iterable[DeploymentRecord]) -> list[DeploymentRecord]:
    """Return the records of decisions: a rehearsal goes back and forth, and decides nothing."""
    return [record for record in records if not record.rehearsal]


def turn_of(deployment: str, environment: str) -> int:
    """Return the turn in which a deployment began: 12 of ``dev-00000012-churn``; 0 of a name without one."""
    turn = run_of(deployment, environment).rpartition("-")[2]
    return int(turn) if turn.isascii() and turn.isdecimal() else 0


def outcome_of(criteria: Iterable[Criterion], *, switched: bool) -> Outcome:
    """Decide the outcome from what was seen: ``switched`` says whether users ever got the new version."""
    held = {criterion.name for criterion in criteria if criterion.holds}
    if held == set(CRITERIA):
        return "succeeded"
    if held == set(CRITERIA) - {"slack_delivered"}:
        return "unconfirmed"
    return "put back" if switched else "failed"


def verified_entries(records: Iterable[DeploymentRecord], slot: Slot) -> list[tuple[DeploymentRecord, Entry]]:
    """Return each version that was verified in this place, newest first, with the record that verified it.

    The same digest is listed once, where it was verified last. ``records`` come oldest first.
    """
    found: list[tuple[DeploymentRecord, Entry]] = []
    for record in reversed(list(records)):
        entry = record.after if record.verified and record.slot == slot else None
        if entry is not None and entry.digest not in {known.digest for _, known in found}:
            found.append((record, entry))
    return found


def verified_bundles(records: Iterable[DeploymentRecord], slot: Slot) -> list[Bundle]:
    """Return each bundle that was verified with a part in this place, newest first and once."""
    found: dict[str, Bundle] = {}
    for record in reversed(list(records)):
        if record.verified and record.slot == slot and record.bundle is not None and record.after is not None:
            found.setdefault(record.bundle.digest, record.bundle)
    return list(found.values())


def verified_by(
    records: Iterable[DeploymentRecord], release: Release, bundle: Bundle | None = None
) -> DeploymentRecord | None:
    """Return the newest record that verified this very release. ``records`` come oldest first.

    The same bytes under another version or run are another release, which has to pass the checks itself. So is the
    same release beside other parts of its bundle.
    """
    found = (one for one in reversed(list(records)) if one.verified and one.release == release)
    return next((one for one in found if digest_of(one.bundle) == digest_of(bundle)), None)


def undoes(records: Iterable[DeploymentRecord], change: Change) -> bool:
    """Say whether a change goes back: what it asks for was verified in service before what it replaces first was.

    Putting a version into service again that was rolled back once is a second try, not a way back. Neither is it one
    where the last record says that users had it already: nobody decided against what came out of a backup.
    """
    if change.before is None or change.after is None:
        return False
    records = list(records)
    if had_already(records, change):
        return False
    first: list[str] = []
    for record in records:
        if record.slot == change.slot and record.verified and record.after is not None:
            digest = digest_of(record.bundle if change.bundle else None) or record.after.digest
            first += [digest] if digest not in first else []
    before = digest_of(change.left) or change.before.digest
    after = digest_of(change.bundle) or change.after.digest
    return after in first and (before not in first or first.index(after) < first.index(before))


def had_already(records: Iterable[DeploymentRecord], change: Change) -> bool:
    """Say whether the last record of this place brought what the change asks for, and an older one what it replaces.

    Then the routes are older than the records: they came out of a backup, and the change only restores them.
    """
    own = [one for one in records if one.slot == change.slot]
    last = own[-1] if own else None
    if last is None or change.before is None or not last.verified or last.after is None:
        return False
    has_it = (last.after, digest_of(last.bundle)) == (change.after, digest_of(change.bundle))
    return has_it and any(one.verified and one.after == change.before for one in own)


def failed_as_before(records: Iterable[DeploymentRecord], record: DeploymentRecord) -> DeploymentRecord | None:
    """Return the newest of ``records`` of this model where it tells the same: this change failed for this problem.

    Who tries again every few minutes learns nothing new from it, and has nobody to tell.
    """
    last = next((one for one in reversed(list(records)) if one.slot == record.slot), None)

    def facts(one: DeploymentRecord) -> tuple[object, ...]:
        return one.outcome, one.before, one.after, one.reason, one.problem, one.serving

    return last if record.outcome == "failed" and last is not None and facts(last) == facts(record) else None


def last_try(records: Iterable[DeploymentRecord], change: Change) -> DeploymentRecord | None:
    """Return the newest record of one model and path if it tells that this very change failed, else None."""
    last = next(reversed(list(records)), None)
    failed = last is not None and last.outcome in ("put back", "failed") and last.after is not None
    return last if failed and last and change.after and last.after == change.after else None


def is_failed_rollback(record: DeploymentRecord) -> bool:
    """Whether users still get what somebody wanted to go back from."""
    return record.outcome in ("put back", "failed") and record.way_back and record.before is not None


def last_failed(records: Iterable[DeploymentRecord]) -> DeploymentRecord | None:
    """Return the newest record of a deployment that failed, where its model had no other since; oldest come first."""
    newest = {record.slot: record for record in records}
    failed = [record for record in newest.values() if not record.is_well]
    return max(failed, key=lambda record: record.id, default=None)


def served_after(environment: str, records: Iterable[DeploymentRecord]) -> Desired:
    """Return what users get of every model after these deployments, which come oldest first."""
    found: dict[Section, dict[str, Entry]] = {section: {} for section in SECTIONS}
    for record in records:
        if record.in_service is not None:
            found = {section: dict(record.in_service.section(section)) for section in SECTIONS}
        elif record.serving is not None:
            found[record.section][record.model] = record.serving
        else:
            found[record.section].pop(record.model, None)
    return Desired(environment=environment, models=found["models"], shadow=found["shadow"])


def known_entries(records: Iterable[DeploymentRecord]) -> KnownEntries:
    """Return every entry that a record tells of, by model, version and digest; a newer record counts."""
    return {
        (record.model, entry.version, entry.digest): entry
        for record in records
        for entry in (record.before, record.after)
        if entry
    }
