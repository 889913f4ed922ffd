"""What goes by itself from one environment to the next: what the source offers, and whether it is due there.

Values in, values out: the records of both environments, main, and what GitHub says. So two that look at the same
time decide the same, and who is killed decides it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from bot.domain.bundled import bundle_in
from bot.domain.desired import Entry
from bot.domain.record import DeploymentRecord, without_rehearsals
from bot.domain.release import Lane, Slot

When = Literal["verified", "baked"]
BySlot = Mapping[Slot, Sequence[DeploymentRecord]]
"""The records of each place, oldest first."""


def by_slot(records: Iterable[DeploymentRecord]) -> dict[Slot, list[DeploymentRecord]]:
    """Return these records by their place, in their order."""
    found: dict[Slot, list[DeploymentRecord]] = {}
    for record in without_rehearsals(records):
        found.setdefault(record.slot, []).append(record)
    return found


@dataclass(frozen=True)
class Rule:
    """From where, after how long, and whether a bake has to be over."""

    source: str
    after: timedelta = timedelta(0)
    when: When = "verified"


@dataclass(frozen=True)
class Unit:
    """A model, or the parts of a bundle in their order, which are carried together; users ask the last one."""

    name: str
    parts: tuple[str, ...]

    @property
    def asked(self) -> str:
        """The model that users ask."""
        return self.parts[-1]


def units(models: Iterable[str], bundles: Mapping[str, Sequence[str]]) -> list[Unit]:
    """Return what these models are carried as, by name; a bundle is one if any of its parts is among them."""
    found = {}
    owners = {model: name for name, parts in bundles.items() for model in parts}
    for model in sorted(models):
        name = owners.get(model, model)
        found[name] = Unit(name, tuple(bundles[name]) if model in owners else (model,))
    return list(found.values())


@dataclass(frozen=True)
class Offer:
    """The release of a unit that the source serves.

    ``record`` is the id of the deployment that verified it first, this time. ``release`` is the name under which
    notes speak of it: the record of its first step. ``way_back`` is the record that went back to it;
    empty where none did.
    """

    environment: str
    unit: Unit
    entries: Mapping[str, Entry]
    digest: str
    record: str
    release: str
    since: datetime
    way_back: str = ""

    @property
    def version(self) -> int:
        """The version of the model that users ask."""
        return self.entries[self.unit.asked].version

    @property
    def said(self) -> str:
        """Return it in words."""
        return f"{self.unit.name} {self.version}"


def digest_of(unit: Unit, entries: Mapping[str, Entry]) -> str:
    """Return the one digest of a unit's entries; empty where one is missing."""
    if any(part not in entries for part in unit.parts):
        return ""
    return entries[unit.asked].digest if len(unit.parts) == 1 else bundle_in(entries, unit.name, unit.parts).digest


def served(environment: str, unit: Unit, records: BySlot) -> dict[str, Entry]:
    """Return what users get of a unit's parts, by their newest records."""
    found = {}
    for part in unit.parts:
        of = records.get(Slot(environment, part, Lane.LIVE), ())
        if of and (entry := of[-1].serving) is not None:
            found[part] = entry
    return found


def offered(environment: str, unit: Unit, records: BySlot) -> Offer | None:
    """Return what ``environment`` serves of a unit and has verified; None where that is nothing.

    It is verified since the first of the deployments that verified it, one after another. A failed try of another
    version in between changes nothing; a step of a rollout of another version does not, either.
    """
    entries = served(environment, unit, records)
    digest = digest_of(unit, entries)
    if not digest:
        return None
    first, way_back = None, ""
    for record in reversed(records.get(Slot(environment, unit.asked, Lane.LIVE), ())):
        if not record.verified:
            continue
        if _digest(unit, record) != digest:
            break
        first = record
        way_back = record.id if record.way_back else way_back
    if first is None:
        return None
    release = first.rollout.id if first.rollout else first.id
    return Offer(environment, unit, entries, digest, first.id, release, first.finished_at, way_back)


def _digest(unit: Unit, record: DeploymentRecord) -> str:
    """Return the digest of a unit that a record asked for; empty where it asked for none."""
    if record.after is None:
        return ""
    if len(unit.parts) == 1:
        return record.after.digest
    return record.bundle.digest if record.bundle is not None else ""


def is_on_its_way(environment: str, offer: Offer, records: BySlot) -> bool:
    """Whether the environment serves an offer already, or gives it to its users step by step."""
    if digest_of(offer.unit, served(environment, offer.unit, records)) == offer.digest:
        return True
    of = records.get(Slot(environment, offer.unit.asked, Lane.LIVE), ())
    return bool(of) and of[-1].outcome == "rolling out" and _digest(offer.unit, of[-1]) == offer.digest


# --- whether it is due ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Open:
    """The open pull request that proposes something of a unit: its number, the digest, and whether a policy's."""

    number: int
    digest: str
    is_policys: bool
    is_proposal: bool = True


@dataclass(frozen=True)
class Target:
    """The state of a unit in the target, in whose place an offer would go. None stands for "not asked yet".

    ``served_since`` is the deployment that brought it; ``asks`` is main's wish, with ``retired`` where main says that
    it left service. ``taken_back`` is the way back after which policies wait. ``rejected`` are the pull requests that
    people closed, by digest, and ``open`` the one that is open.
    """

    environment: str
    serves: Mapping[str, Entry]
    quarantined: AbstractSet[str] = frozenset()
    taken_back: DeploymentRecord | None = None
    retired: str = ""
    asks: Mapping[str, Entry] | None = None
    rejected: Mapping[str, int] | None = None
    open: Open | None = None


@dataclass(frozen=True)
class Carry:
    """It is due: what the source offers is proposed to the target."""

    offer: Offer

    @property
    def request(self) -> str:
        """The id of the request: the same for everybody who looks, and another one for another release."""
        return f"policy-{self.offer.record}"


@dataclass(frozen=True)
class NotYet:
    """It is not due now, and becomes so by itself; ``until`` when, where that is known."""

    why: str
    until: datetime | None = None


@dataclass(frozen=True)
class Held:
    """It is not due until a person acts, or something else is released."""

    why: str


Due = Carry | NotYet | Held | None
"""None: nothing is to be carried, and nothing is to be said of it."""


def due(
    rule: Rule,
    offer: Offer,
    source: BySlot,
    target: Target,
    *,
    baked: Callable[[str], bool | None],
    now: datetime,
) -> Due:
    """Say whether an offer is due in the target, and why not. ``source`` are the source's records.

    ``baked`` says whether the bake of a release is over, and None where nobody bakes it; it is asked of what is old
    enough only.
    """
    unit, there = offer.unit, rule.source
    if digest_of(unit, target.serves) == offer.digest:
        return None
    if target.asks is not None and digest_of(unit, target.asks) == offer.digest:
        return None
    if offer.way_back:
        return Held(
            f"{there} went back to {offer.said} ({offer.way_back}); a version is not carried after a way back to it"
        )
    if left := taken_back_after(unit, offer, source):
        return Held(f"{there} took {offer.said} back ({left})")
    if target.retired:
        return Held(f"{target.environment} has retired {unit.name}: {target.retired}")
    if target.taken_back is not None:
        return Held(after_way_back(target.taken_back))
    parts = {offer.digest, *(entry.digest for entry in offer.entries.values())}
    if not parts.isdisjoint(target.quarantined):
        return Held(f"{offer.said} is in quarantine in {target.environment}")
    for name, entries in (("serves", target.serves), ("is asked for", target.asks or {})):
        if is_step_back(offer, entries, source):
            what = f"{unit.name} {entries[unit.asked].version}" if unit.asked in entries else f"a part of {unit.name}"
            has = f"{target.environment} serves {what}" if name == "serves" else f"main asks for {what}"
            return Held(f"{has}, which is newer than {offer.said} of {there}")
    if now < offer.since + rule.after:
        since = f"verified in {there} since {offer.since:%Y-%m-%d %H:%M} UTC"
        return NotYet(f"{offer.said} is {since}, {duration(rule.after)} are asked for", offer.since + rule.after)
    if rule.when == "baked" and not (is_baked := baked(offer.release)):
        if is_baked is None:
            return Held(f"{there} does not bake {unit.name}, and `when: baked` waits for that")
        return NotYet(f"{offer.said} is not baked in {there} yet")
    if target.rejected and offer.digest in target.rejected:
        return Held(f"#{target.rejected[offer.digest]}, which proposed {offer.said}, was closed without a merge")
    if target.open is not None and not target.open.is_policys:
        what = f"proposes {unit.name}" if target.open.is_proposal else f"takes {unit.name} back or out"
        return Held(f"#{target.open.number} {what}, and is a person's to decide on")
    return Carry(offer)


def after_way_back(record: DeploymentRecord) -> str:
    """Return why policies leave a model alone."""
    what = f"{record.model} was put back" if record.outcome == "put back" else f"{record.model} went back"
    return f"{what} in {record.environment} ({record.id}): policies wait until somebody proposes"


def taken_back_after(unit: Unit, offer: Offer, source: BySlot) -> str:
    """Return the record that took an offer back after it was verified; empty where none did.

    Its bytes may be in service all the same, where another deployment brought them again.
    """
    for record in reversed(source.get(Slot(offer.environment, unit.asked, Lane.LIVE), ())):
        if record.id == offer.record:
            break
        if took_back(unit, record, offer.digest):
            return record.id
    return ""


def taken_back_last(environment: str, unit: Unit, digest: str, source: BySlot) -> str:
    """Return the record that took a digest out of service there, where no release brought it again since."""
    for record in reversed(source.get(Slot(environment, unit.asked, Lane.LIVE), ())):
        if took_back(unit, record, digest):
            return record.id
        if record.verified and not record.way_back and _digest(unit, record) == digest:
            break
    return ""


def took_back(unit: Unit, record: DeploymentRecord, digest: str) -> bool:
    """Whether a deployment took a digest out of service because something was wrong with it."""
    if record.outcome == "put back" and not record.way_back:
        return _digest(unit, record) == digest
    if not record.way_back or record.before is None:
        return False
    return record.before.digest == digest if len(unit.parts) == 1 else _digest(unit, record) != digest


def is_step_back(offer: Offer, entries: Mapping[str, Entry], source: BySlot) -> bool:
    """Whether an offer is older than what the target has: by the source's own order, else by the version."""
    unit = offer.unit
    if unit.asked not in entries:
        return False
    digest = digest_of(unit, entries)
    of = source.get(Slot(offer.environment, unit.asked, Lane.LIVE), ())
    verified = [record for record in of if record.verified and digest and _digest(unit, record) == digest]
    if verified:
        return verified[-1].finished_at > offer.since
    return any(entries[part].version > offer.entries[part].version for part in unit.parts if part in entries)


def duration(span: timedelta) -> str:
    """Return a time as the settings say it: 30m, 24h, 7d."""
    seconds = int(span.total_seconds())
    for size, letter in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds % size == 0 and seconds:
            return f"{seconds // size}{letter}"
    return f"{seconds}s"
