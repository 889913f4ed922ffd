"""What came of releases in a time, from deployment records alone. ``docs/how-to/report.md`` defines each number.

A *delivery* is one change on its way to users: of a model or of a bundle, with all steps of its rollout. Numbers are
counted over deliveries, and each says of how many of them it is known.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from bot.domain.bundle import digest_of
from bot.domain.desired import Section
from bot.domain.origin import Origin
from bot.domain.record import DeploymentRecord, without_rehearsals

Kind = Literal["release", "way back", "shadow", "out of service"]
"""
release         users were to get another version
way back        users were to get a version again that was verified before what they had
shadow          a version was to listen on the shadow path
out of service  a model was to leave service
"""
Result = Literal["served", "put back", "stopped", "under way", "ended", "incomplete"]
"""
served      all users had it, verified
put back    it failed after users had it, and the same deployment or rollout took it back
stopped     it failed before any user had it
under way   some users have it, by a step of its rollout
ended       some users had it, and main asked for something else before all had
incomplete  a way back in service wherever gateways answered
"""
Undone = Literal["put back", "rolled back"]
"""
put back     by the deployment that brought it
rolled back  by a later way back: of a person, of `promobot watch`, or by a merged revert
"""

_SWITCH, _BACK = "switch to generation", "put back by generation"
"""How the steps of a record begin that gave users the new version, and took it from them."""


@dataclass(frozen=True)
class Back:
    """How users came back from a release that failed them."""

    how: Undone
    record: str
    """The deployment that took it back."""
    at: datetime
    """When users had the version before again."""
    asked_at: datetime | None
    """When it was known that they must: it failed, or somebody asked to go back; None where no record says that."""

    @property
    def seconds(self) -> float | None:
        """Time to restore, in seconds."""
        if self.asked_at is None or self.asked_at > self.at:
            return None
        return (self.at - self.asked_at).total_seconds()


@dataclass(frozen=True)
class Delivery:
    """One change on its way to users. Times are None where no record knows them."""

    environment: str
    name: str
    """The model, or the bundle."""
    is_bundle: bool
    kind: Kind
    versions: tuple[str, ...]
    """Model and version of each part that changed; a model alone where it leaves service."""
    records: tuple[str, ...]
    """Its deployments, oldest first."""
    result: Result
    began_at: datetime
    reached_at: datetime | None
    """When the first users had it."""
    ended_at: datetime
    """When all users had it, or it was over; of one under way its last step."""
    is_again: bool = False
    """Whether it was in service before: then nothing of its way from the registration is new."""
    origin: Origin | None = None
    back: Back | None = None

    @property
    def reached_users(self) -> bool:
        """Whether users had it and its way is over: served, put back, or taken back on the way."""
        return self.result in ("served", "put back") or (self.result == "ended" and self.back is not None)

    @property
    def lead_seconds(self) -> float | None:
        """Lead time: from the registration to the moment in which all users had it."""
        registered = self.origin.registered_at if self.origin else None
        return _between(registered, self.ended_at) if self.result == "served" else None

    @property
    def review_seconds(self) -> float | None:
        """Time for which its pull request waited: for the last approval, or without one for the merge."""
        origin = self.origin
        return _between(origin.opened_at, origin.approved_at or origin.merged_at) if origin else None

    @property
    def exposed_seconds(self) -> float | None:
        """Time for which users had it, where it failed them."""
        return _between(self.reached_at, self.back.at) if self.back else None


def _between(began: datetime | None, ended: datetime | None) -> float | None:
    """Return the seconds between two moments; None where one is not known, or clocks contradict each other."""
    if began is None or ended is None or ended < began:
        return None
    return (ended - began).total_seconds()


# --- from records to deliveries ------------------------------------------------------------------------------------

_NEVER = datetime.min.replace(tzinfo=UTC)
Group = list[DeploymentRecord]
Place = tuple[Section, str]


def deliveries(records: Iterable[DeploymentRecord]) -> list[Delivery]:
    """Return the deliveries of one environment by the records of all its deployments, which come oldest first.

    What changes nothing that users get is none: the same version published again, a shadow that is taken away.
    """
    listed = without_rehearsals(records)
    last = _last_switches(listed)
    found: list[Delivery] = []
    live, canaries = _There(), _There()
    had: dict[tuple[Section, str], set[str]] = {}
    for group in _grouped(listed):
        kind = _kind(group)
        if kind is None:
            continue
        section, judged, number = group[0].section, _judged(group), len(found)
        one = _delivery(group, kind, last)
        had_before = had.setdefault((section, one.name), set())
        found.append(replace(one, is_again=kind == "release" and judged in had_before))
        if one.result in ("served", "incomplete"):
            had_before.add(judged)
            if kind == "way back":
                _note_what_it_took_back(found, (canaries, live), group, one)
            for record in group:
                canaries.leaves(record)
                live.gets(record, number)
        elif one.result in ("under way", "ended"):
            for record in group:
                canaries.gets(record, number)
    return found


class _There:
    """Which delivery brought what is in each place, and the digest that it brought."""

    def __init__(self) -> None:
        self._by: dict[Place, tuple[int, str]] = {}

    def leaves(self, record: DeploymentRecord) -> None:
        self._by.pop((record.section, record.model), None)

    def gets(self, record: DeploymentRecord, number: int) -> None:
        place = (record.section, record.model)
        if record.after is None:
            self.leaves(record)
        elif self._by.get(place, (0, ""))[1] != record.after.digest:  # else it has been there all along
            self._by[place] = number, record.after.digest

    def by(self, record: DeploymentRecord) -> int | None:
        """Return the delivery that brought what a deployment replaced; None where no release did."""
        number, digest = self._by.get((record.section, record.model), (0, ""))
        return number if record.before is not None and record.before.digest == digest else None


def _grouped(records: Iterable[DeploymentRecord]) -> list[Group]:
    """Return the records of each change together: the steps of a rollout, and the parts of a bundle."""
    found: list[Group] = []
    rollouts: dict[str, Group] = {}
    bundles: dict[tuple[Section, str, str], Group] = {}
    for record in records:
        group: Group | None = None
        if record.rollout is not None:
            group = rollouts.get(record.rollout.id)
        elif record.bundle is not None:
            group = bundles.get((record.section, record.bundle.name, record.bundle.digest))
            if group is not None and any(one.model == record.model for one in group):
                group = None  # tried again
        if group is None:
            group = []
            found.append(group)
        group.append(record)
        if record.rollout is not None:
            rollouts[record.rollout.id] = group
        elif record.bundle is not None:
            bundles[record.section, record.bundle.name, record.bundle.digest] = group
    return found


def _changed(group: Group) -> Group:
    return [record for record in group if record.before != record.after]


def _kind(group: Group) -> Kind | None:
    changed = _changed(group)
    if not changed:
        return None
    brings = any(record.after is not None for record in changed)
    if changed[0].section == "shadow":
        return "shadow" if brings else None
    if not brings:
        return "out of service"
    return "way back" if any(record.way_back for record in changed) else "release"


def _judged(group: Group) -> str:
    record = _changed(group)[-1]
    return digest_of(record.bundle) or (record.after.digest if record.after else "")


def _delivery(group: Group, kind: Kind, last: dict[Place, DeploymentRecord]) -> Delivery:
    first, bundle = group[0], group[0].bundle
    newest = list({record.model: record for record in group}.values())
    result = _result(group, newest, last)
    origin = _origin(group)
    changed = {record.model: record for record in _changed(group)}
    return Delivery(
        environment=first.environment,
        name=bundle.name if bundle else first.model,
        is_bundle=bundle is not None,
        kind=kind,
        versions=tuple(f"{model} {one.after.version}" if one.after else model for model, one in changed.items()),
        records=tuple(record.id for record in group),
        result=result,
        began_at=min(record.started_at for record in group),
        reached_at=min((at for record in group if (at := _reached(record)) is not None), default=None),
        ended_at=max(_served(one) if result in ("served", "incomplete") else one.finished_at for one in newest),
        origin=origin,
        back=_put_back(group, newest) if (kind, result) == ("release", "put back") else None,
    )


def _result(group: Group, newest: Group, last: dict[Place, DeploymentRecord]) -> Result:
    outcomes = {record.outcome for record in newest}
    if "put back" in outcomes:
        return "put back"
    if "incomplete" in outcomes:
        return "incomplete"
    bundle = group[0].bundle
    is_whole = bundle is None or {record.model for record in newest} >= {part.model for part in bundle.parts}
    if is_whole and all(record.verified for record in newest):
        return "served"
    if not any(record.is_well for record in group):
        return "stopped"
    ids = {record.id for record in group}
    later = [last.get((record.section, record.model)) for record in newest]
    is_over = any(one is not None and one.id not in ids and one.id > group[-1].id for one in later)
    return "ended" if is_over else "under way"


def _last_switches(records: Iterable[DeploymentRecord]) -> dict[Place, DeploymentRecord]:
    """Return the last deployment in each place that switched what users get there."""
    return {(one.section, one.model): one for one in records if one.outcome != "failed" and one.before != one.after}


def _reached(record: DeploymentRecord) -> datetime | None:
    """Return when users got something by one deployment; None where they never did, or the record does not say."""
    if record.outcome == "put back":
        return _switched(record)
    return None if record.outcome == "failed" else _served(record)


def _served(record: DeploymentRecord) -> datetime:
    """Return when every gateway was seen to serve it."""
    return next(
        (one.at for one in record.criteria if one.name == "fastapi_reloaded" and one.holds), record.finished_at
    )


def _switched(record: DeploymentRecord) -> datetime | None:
    """Return when the switch began."""
    switches = (one for one in record.steps if one.what.startswith(_SWITCH))
    return next((one.at - timedelta(seconds=one.seconds) for one in switches), None)


def _put_back(group: Group, newest: Group) -> Back:
    """Return how users came back in the deployment that failed."""
    failed = [record for record in newest if record.outcome == "put back"]
    switched = min((at for record in failed if (at := _switched(record)) is not None), default=None)
    if switched is None and any(record.outcome == "rolling out" for record in group):
        switched = min(record.started_at for record in failed)  # the step failed, and some users had it already
    back = [one.at for record in failed for one in record.steps if one.what.startswith(_BACK)]
    return Back("put back", failed[-1].id, at=max(back, default=failed[-1].finished_at), asked_at=switched)


def _origin(group: Group) -> Origin | None:
    """Return where all of it comes from: what was registered last, what was merged last."""
    known = [record.origin for record in _changed(group) if record.origin is not None]
    if not known:
        return None
    newest = max(known, key=lambda one: one.merged_at or one.asked_at or _NEVER)
    registered = [one.registered_at for one in known if one.registered_at is not None]
    return newest.model_copy(update={"registered_at": max(registered) if len(registered) == len(known) else None})


def _note_what_it_took_back(found: list[Delivery], there: Sequence[_There], group: Group, way_back: Delivery) -> None:
    """Write on each release that a way back left how users came back from it."""
    origin = way_back.origin
    asked_at = (origin.asked_at or origin.opened_at) if origin else None
    for record in _changed(group):
        number = next((by for one in there if (by := one.by(record)) is not None), None)
        left = found[number] if number is not None else None
        if number is not None and left is not None and left.kind == "release" and left.back is None:
            found[number] = replace(left, back=Back("rolled back", record.id, way_back.ended_at, asked_at))


# --- numbers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """So many of so many; ``rate`` is None of none."""

    count: int
    of: int
    rate: float | None

    @classmethod
    def part(cls, count: int, of: int) -> Share:
        """Return it with its rate."""
        return cls(count, of, count / of if of else None)


@dataclass(frozen=True)
class Times:
    """Times in numbers: ``known`` of ``of`` are known, and without one there is no number."""

    known: int
    of: int
    median_seconds: float | None
    p90_seconds: float | None
    """Nine of ten took no longer."""

    @classmethod
    def over(cls, seconds: Sequence[float | None]) -> Times:
        """Return the numbers of these times, of which None is not known."""
        known = sorted(one for one in seconds if one is not None)
        if not known:
            return cls(0, len(seconds), None, None)
        return cls(len(known), len(seconds), statistics.median(known), known[math.ceil(0.9 * len(known)) - 1])


@dataclass(frozen=True)
class Numbers:
    """What came of the deliveries of a time."""

    releases: int
    """Releases that came to all users, verified."""
    by_policy: int
    """Of these: merged by the policy of the environment."""
    by_people: int
    """Of these: merged by a person. Of the others nobody knows, or main was changed without a pull request."""
    repeated: int
    """Of these: of a version that was in service before."""
    put_back: int
    rolled_back: int
    """Releases, whole or on their way, that a later way back took from users."""
    stopped: int
    """Releases that failed before any user had them."""
    under_way: int
    ended: int
    """Rollouts that main left before all users had them, and that failed nobody."""
    change_failures: Share
    """Change-failure rate: put back or rolled back, of all releases that users had."""
    lead_time: Times
    waiting_for_review: Times
    time_to_restore: Times
    exposed: Times
    """The time for which users had a release that failed them."""
    shadows: int
    ways_back: int
    failed_ways_back: int
    out_of_service: int


def numbers(found: Iterable[Delivery], since: datetime, until: datetime) -> Numbers:
    """Return what came of the deliveries that ended from ``since`` to ``until``, and of those that were taken back
    then."""
    listed = list(found)
    within = [one for one in listed if since <= one.ended_at <= until]
    tried = [one for one in within if one.kind == "release"]
    released = [one for one in tried if one.result == "served"]
    had = [one for one in tried if one.reached_users]
    failed = [one for one in had if one.back is not None]
    back = [one for one in listed if one.back is not None and since <= one.back.at <= until]
    merged = [one.origin for one in released if one.origin is not None and one.origin.merged_at is not None]
    ways_back = [one for one in within if one.kind == "way back"]
    return Numbers(
        releases=len(released),
        by_policy=sum(one.by_policy for one in merged),
        by_people=sum(not one.by_policy for one in merged),
        repeated=sum(one.is_again for one in released),
        put_back=sum(one.result == "put back" for one in failed),
        rolled_back=sum(one.result != "put back" for one in failed),
        stopped=sum(one.result == "stopped" for one in tried),
        under_way=sum(one.result == "under way" for one in tried),
        ended=sum(one.result == "ended" and one.back is None for one in tried),
        change_failures=Share.part(len(failed), len(had)),
        lead_time=Times.over([one.lead_seconds for one in released if not one.is_again]),
        waiting_for_review=Times.over([one.review_seconds for one in released]),
        time_to_restore=Times.over([one.back.seconds for one in back if one.back is not None]),
        exposed=Times.over([one.exposed_seconds for one in back]),
        shadows=sum(one.kind == "shadow" and one.result == "served" for one in within),
        ways_back=sum(one.result in ("served", "incomplete") for one in ways_back),
        failed_ways_back=sum(one.result in ("put back", "stopped") for one in ways_back),
        out_of_service=sum(one.kind == "out of service" and one.result == "served" for one in within),
    )
