"""Carries what one environment has verified to the next: ``promotes_from: {environment, after, when}``.

A look reads the records of both environments, and :func:`bot.domain.path.due` decides. Only for something that is
due it asks main and GitHub, and decides again. Then it proposes by exactly the request of ``promobot promote``, under
an id made of the deployment that verified it. So that is done once, however many watch and wherever one is killed. It
closes a proposal of its own if the source went back since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from bot.domain.bundled import entries_of
from bot.domain.desired import Change, Desired, Entry, changes
from bot.domain.path import (
    BySlot,
    Carry,
    Due,
    Held,
    NotYet,
    Offer,
    Open,
    Rule,
    Target,
    Unit,
    by_slot,
    digest_of,
    due,
    is_on_its_way,
    offered,
    served,
    taken_back_last,
    units,
)
from bot.domain.policy import Decided, State, held_after_way_back
from bot.domain.release import Lane, Slot
from bot.domain.scope import fingerprint, scope_of
from bot.errors import PromobotError, Refused, Rejected
from bot.operations import Say
from bot.operations.proposing import commits_of_people, parts_of, read_desired, readable_at
from bot.records.ledger import Withdrawn
from bot.render import path as words

if TYPE_CHECKING:
    from bot.domain.quarantine import Quarantined
    from bot.domain.record import DeploymentRecord
    from bot.platform import Platform
    from bot.records.ledger import Ledger
    from bot.systems.git import Repository
    from bot.systems.github import GitHubRepository, PullRequest

ASK_EVERY = timedelta(seconds=30)
"""From one look to the next, where the records of neither environment say anything new."""
PAUSES = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 5, 10))
"""From one try to the next of what could not be proposed; the last one again and again."""
AT_ONCE = 3
"""Proposals of one look: each asks MLflow, Git and GitHub, and rollouts are looked at in between."""

Sources = Callable[[str], "Platform"]
"""Returns the platform of another environment; raises what is wrong with its settings."""


@dataclass(frozen=True)
class CarryAsked:
    """The request of ``promobot promote`` that a policy makes. ``note`` is the paragraph that says so to people."""

    id: str
    model: str
    source: str
    version: int
    note: str


@dataclass(frozen=True)
class Promoted:
    """The result of such a request, in words; ``is_done`` where the same id does nothing more."""

    said: str
    is_done: bool
    pull_request: int | None = None


Promote = Callable[["Platform", CarryAsked, Sources, Say], Promoted]
"""Carries the request out, once under its id."""


@dataclass(frozen=True)
class Doors:
    """How a look reaches other environments, and how it proposes."""

    sources: Sources
    promote: Promote


@dataclass
class Memory:
    """What one watch keeps between its looks. Who loses it asks more often, and does nothing else."""

    asked_at: datetime | None = None
    newest: str = ""
    """What tells the target's records at that look from later ones."""
    records: list[DeploymentRecord] = field(default_factory=list)
    """Those of the source."""
    answers: bool = False
    """Whether the source's records could be read; then each look sees whether there are new ones."""
    baked: set[str] = field(default_factory=set)
    policys: dict[str, bool] = field(default_factory=dict)
    """Of deployments after a way back, whether a policy proposed what they brought."""
    done: dict[str, str] = field(default_factory=dict)
    """What came of the requests that are done, by id."""
    failed: dict[str, tuple[int, datetime, Decided]] = field(default_factory=dict)
    """The requests that came to nothing: how often, the last time, and why."""
    compared: str | None = None
    """The same of the source's, by which the open proposals were looked at last."""
    decided: tuple[Decided, ...] = ()


def _told_by(records: Sequence[DeploymentRecord]) -> str:
    """Return what changes when a record comes, also one that is not the last."""
    return f"{len(records)} {records[-1].id}" if records else ""


def carry(
    platform: Platform,
    doors: Doors,
    records: Sequence[DeploymentRecord],
    memory: Memory,
    *,
    say: Say,
    now: datetime,
) -> tuple[Decided, ...]:
    """Propose what is due here, close what the source went back from, and say what was decided.

    ``records`` are those of ``platform``, oldest first. Nothing is asked where the settings carry nothing. Never
    raises for a system that is away: what is due waits then, and says why.
    """
    rule = platform.settings.path
    if rule is None:
        return ()
    newest = _told_by(records)
    if not _is_time(doors, rule, memory, newest, now):
        return memory.decided
    memory.asked_at, memory.newest = now, newest
    memory.answers = False
    try:
        memory.decided = tuple(_Look(platform, doors, rule, records, memory, say, now).decided())
    except PromobotError as error:
        said = words.not_read(rule.source, str(error))
        memory.decided = (Decided(platform.environment, "promote", "waits", said),)
    return memory.decided


def _is_time(doors: Doors, rule: Rule, memory: Memory, newest: str, now: datetime) -> bool:
    if memory.asked_at is None or memory.newest != newest or now - memory.asked_at >= ASK_EVERY:
        return True
    if not memory.answers:
        return False  # rollouts are looked at meanwhile, and do not wait for it each time
    before = _told_by(memory.records)
    try:
        memory.records = doors.sources(rule.source).ledger.with_new(memory.records)
    except PromobotError:
        return True
    return _told_by(memory.records) != before


@dataclass(frozen=True)
class _Forge:
    """Main, and the pull requests of the target, as they are at one look."""

    repository: Repository
    github: GitHubRepository
    environment: str
    main: Desired
    open: Sequence[PullRequest]
    closed: Sequence[PullRequest]

    @classmethod
    def of(cls, platform: Platform) -> _Forge:
        repository, github = platform.repository(), platform.github
        main = read_desired(repository, platform.environment, repository.head())
        pulls = github.open_pull_requests(prefix="promobot")
        return cls(repository, github, platform.environment, main, pulls, github.closed_pull_requests())

    def asks(self, unit: Unit) -> dict[str, Entry]:
        return {part: self.main.models[part] for part in unit.parts if part in self.main.models}

    def changed_by(self, pull: PullRequest) -> list[Change]:
        """Return what a pull request changes in the environment since it parted from main; nothing of another one."""
        head = self.repository.fetch(pull.head)
        base = self.repository.merge_base(self.repository.head(), head)
        before, after = (readable_at(self.repository, self.environment, commit) for commit in (base, head))
        return changes(before, after) if before and after else []

    def pull(self, number: int) -> PullRequest | None:
        """Return a pull request; None where GitHub has none of that number."""
        try:
            return self.github.pull_request(number)
        except Rejected:
            return None

    def proposes(self, unit: Unit, found: Sequence[Change]) -> str:
        """Return the digest of a unit that these changes lead to; empty where they are not about it."""
        own = {c.model: c.after for c in found if c.section == "models" and c.model in unit.parts}
        entries = self.asks(unit) | {model: entry for model, entry in own.items() if entry is not None}
        return digest_of(unit, entries) if own else ""


@dataclass
class _Look:
    platform: Platform
    doors: Doors
    rule: Rule
    records: Sequence[DeploymentRecord]
    memory: Memory
    say: Say
    now: datetime
    _forge: _Forge | PromobotError | None = None
    _quarantined: Quarantined | None = None
    proposed: int = 0

    def decided(self) -> Iterator[Decided]:
        """Yield what is decided of each unit, and do it."""
        if self.platform.settings.mistakes:
            said = words.mistake(str(self.platform.settings.mistakes[0]))
            yield Decided(self.platform.environment, "promote", "held", said)
            return
        source, memory = self.doors.sources(self.rule.source), self.memory
        memory.records = source.ledger.with_new(memory.records)
        memory.answers = True
        there, here = by_slot(memory.records), by_slot(self.records)
        yield from self._withdrawn(there)
        settings = self.platform.settings
        models = {slot.model for slot in there if slot.lane is Lane.LIVE}
        for unit in units(models, settings.bundles):
            offer = offered(self.rule.source, unit, there)
            if offer is not None and settings.has_gate(unit.asked):
                try:
                    yield from self._of(source, offer, there, here)
                except PromobotError as error:
                    yield self._failed(f"policy-{offer.record}", offer, error)

    def _of(self, source: Platform, offer: Offer, there: BySlot, here: BySlot) -> Iterator[Decided]:
        environment, unit = self.platform.environment, offer.unit
        if is_on_its_way(environment, offer, here):
            return
        serves = served(environment, unit, here)
        own = here.get(Slot(environment, unit.asked, Lane.LIVE), ())
        back = held_after_way_back(own, self._is_policys)
        target = Target(environment, serves, quarantined=self.quarantined.keys(), taken_back=back)
        judge = partial(due, self.rule, offer, there, baked=partial(self._is_baked, source, unit), now=self.now)
        judged: Due = judge(target)
        if isinstance(judged, Carry):
            if (done := self._done(judged)) is not None:
                yield Decided(unit.name, "promote", "due", words.proposed_once(done))
                return
            if (failed := self._is_to_wait(judged)) is not None:
                yield failed
                return
            judged = judge(self._with_forge(target, offer))
        match judged:
            case Carry():
                yield self._propose(source, judged)
            case NotYet(why, until):
                yield Decided(unit.name, "promote", "held", why, until)
            case Held(why):
                yield Decided(unit.name, "promote", "held", why)

    @property
    def quarantined(self) -> Quarantined:
        if self._quarantined is None:
            self._quarantined = self.platform.ledger.quarantined()
        return self._quarantined

    def _is_policys(self, record: DeploymentRecord) -> bool:
        if record.id not in self.memory.policys:
            self.memory.policys[record.id] = is_policys(self.platform.ledger, record)
        return self.memory.policys[record.id]

    def _is_baked(self, source: Platform, unit: Unit, release: str) -> bool | None:
        if release not in self.memory.baked and "baked" in source.ledger.rollout_notes(release):
            self.memory.baked.add(release)
        if release in self.memory.baked:
            return True
        return None if source.settings.rollout_of(unit.asked).watched is None else False

    # --- what GitHub says ------------------------------------------------------------------------------------------

    def forge(self) -> _Forge:
        """Ask Git and GitHub once in a look, also where they do not answer."""
        if self._forge is None:
            try:
                self._forge = _Forge.of(self.platform)
            except PromobotError as error:
                self._forge = error
        if isinstance(self._forge, PromobotError):
            raise self._forge
        return self._forge

    def _with_forge(self, target: Target, offer: Offer) -> Target:
        forge, unit = self.forge(), offer.unit
        why = next((why for part in unit.parts if (why := forge.main.why_retired("models", part))), "")
        return replace(
            target,
            asks=forge.asks(unit),
            retired=why,
            rejected=self._rejected(forge, offer),
            open=self._open(forge, unit),
        )

    def _open(self, forge: _Forge, unit: Unit) -> Open | None:
        """Return the open pull request of the bot's branches that is about a unit; a person's before a policy's."""
        found = []
        for pull in forge.open:
            scope = scope_of(pull.branch)
            if scope is None or scope.environment != forge.environment:
                continue
            changed = forge.changed_by(pull)
            if any(change.model in unit.parts for change in changed):
                digest = forge.proposes(unit, changed)
                is_proposal = scope.kind == "proposal"
                is_policys = is_proposal and self._is_by_policy(changed)
                found.append(Open(pull.number, digest, is_policys, is_proposal))
        return min(found, key=lambda one: one.is_policys, default=None)

    def _is_by_policy(self, changed: Sequence[Change]) -> bool:
        asked = self.platform.ledger.proposers(fingerprint(changed))
        return bool(asked) and all(one.policy for one in asked)

    def _rejected(self, forge: _Forge, offer: Offer) -> dict[str, int]:
        """Return the pull request with this digest that a person closed, by the digest."""
        ledger, unit = self.platform.ledger, offer.unit
        slot = Slot(forge.environment, unit.asked, Lane.LIVE)
        evidence = ledger.evidence_of(slot, offer.entries[unit.asked].digest)
        checked = {one.pull_request for one in evidence if one.pull_request is not None}
        # GitHub lists the last hundred. An older one, and one of a branch of any name, is known if it was checked.
        others = checked - {pull.number for pull in (*forge.closed, *forge.open)}
        pulls = (*forge.closed, *(one for one in map(forge.pull, sorted(others)) if one is not None))
        withdrawn = ledger.withdrawn() if pulls else frozenset()
        for pull in pulls:
            scope = scope_of(pull.branch)
            is_ours = scope is not None and scope.environment == forge.environment and scope.kind == "proposal"
            if (
                pull.state == "open"
                or pull.merged
                or pull.number in withdrawn
                or not (is_ours or pull.number in checked)
            ):
                continue
            if scope is not None and not any(scope.covers(part) for part in unit.parts):
                continue
            try:
                digest = forge.proposes(unit, forge.changed_by(pull))
            except Rejected:
                # Its commits are gone from GitHub. The records know what was checked.
                digest = offer.digest if pull.number in checked else ""
            if digest == offer.digest:
                return {digest: pull.number}
        return {}

    # --- proposing -------------------------------------------------------------------------------------------------

    def _done(self, judged: Carry) -> str | None:
        """Return what came of the request, where it is done."""
        if judged.request not in self.memory.done:
            done = self.platform.ledger.request_done(judged.request)
            if done is None:
                return None
            self.memory.done[judged.request] = done.said
        return self.memory.done[judged.request]

    def _is_to_wait(self, judged: Carry) -> Decided | None:
        if judged.request not in self.memory.failed:
            return None
        tries, last, decided = self.memory.failed[judged.request]
        return decided if self.now - last < PAUSES[min(tries, len(PAUSES)) - 1] else None

    def _propose(self, source: Platform, judged: Carry) -> Decided:
        offer = judged.offer
        if self.proposed >= AT_ONCE:
            self.memory.asked_at = None  # the next look goes on at once
            return Decided(offer.unit.name, "promote", "waits", words.next_look(offer))
        self.proposed += 1
        slot = Slot(self.rule.source, offer.unit.asked, Lane.LIVE)
        evidence = source.ledger.evidence_of(slot, offer.entries[offer.unit.asked].digest)
        checked = next((one.pull_request for one in evidence if one.pull_request is not None), None)
        asked = CarryAsked(
            judged.request,
            offer.unit.name,
            self.rule.source,
            offer.version,
            words.opened_by_policy(self.platform.environment, self.rule, offer, checked, self.now),
        )
        done = self.doors.promote(self.platform, asked, self.doors.sources, self.say)
        if not done.is_done:
            return self._noted(judged.request, Decided(offer.unit.name, "promote", "held", done.said))
        self.memory.done[judged.request] = done.said
        self.say(f"{offer.said}: {done.said}")
        return Decided(offer.unit.name, "promote", "done", done.said, pull_request=done.pull_request)

    def _failed(self, request: str, offer: Offer, error: PromobotError) -> Decided:
        # A refusal is for a person to look at, and a system that is away comes back.
        state: State = "held" if isinstance(error, Refused) else "waits"
        return self._noted(request, Decided(offer.unit.name, "promote", state, words.not_proposed(offer, str(error))))

    def _noted(self, request: str, decided: Decided) -> Decided:
        tries = self.memory.failed.get(request, (0, self.now, decided))[0] + 1
        self.memory.failed[request] = tries, self.now, decided
        return decided

    # --- taking back -----------------------------------------------------------------------------------------------

    def _withdrawn(self, there: BySlot) -> Iterator[Decided]:
        """Close each open proposal of the policy whose digest the source took back; a person's stay."""
        newest = _told_by(self.memory.records)
        if self.memory.compared == newest:
            return
        bundles = self.platform.settings.bundles
        if any(record.way_back or record.outcome == "put back" for of in there.values() for record in of):
            try:
                forge = self.forge()
                for pull in forge.open:
                    scope = scope_of(pull.branch)
                    if scope is None or (scope.environment, scope.kind) != (forge.environment, "proposal"):
                        continue
                    changed = forge.changed_by(pull)
                    for unit in units({change.model for change in changed}, bundles):
                        digest = forge.proposes(unit, changed)
                        gone = taken_back_last(self.rule.source, unit, digest, there) if digest else ""
                        if gone and self._is_by_policy(changed):
                            yield self._close(forge, pull, unit, gone)
            except PromobotError as error:
                yield Decided(self.platform.environment, "promote", "waits", words.not_compared(str(error)))
                return
        self.memory.compared = newest

    def _close(self, forge: _Forge, pull: PullRequest, unit: Unit, gone: str) -> Decided:
        repository, parts = forge.repository, parts_of(pull.branch, self.platform.settings.bundles)
        tip, main = repository.fetch(pull.head), repository.head()
        ours = forge.github.author()
        if commits_of_people(repository, pull.branch, main=main, tip=tip, ours=ours, parts=parts):
            return Decided(
                unit.name,
                "promote",
                "held",
                words.theirs(pull.number, self.rule.source, gone),
                pull_request=pull.number,
            )
        why = words.withdrawn(unit.name, self.rule.source, gone)
        forge.github.put_comment(pull.number, f"{words.MARKER}\n{why}", marker=words.MARKER)
        # Noted first: a watch that is killed in between closes it later, and nobody takes that for a person's no.
        self.platform.ledger.note_withdrawn(Withdrawn(pull_request=pull.number, at=self.now, why=why))
        forge.github.close(pull.number)
        self.say(f"#{pull.number}: {why}")
        return Decided(unit.name, "promote", "done", f"#{pull.number} is closed: {why}", pull_request=pull.number)


def is_policys(ledger: Ledger, record: DeploymentRecord) -> bool:
    """Whether what a deployment brought was proposed by a policy, and by no person."""
    if record.after is None:
        return False
    environment = record.environment
    name = record.bundle.name if record.bundle is not None else record.model
    entries = entries_of(record.bundle) or {record.model: record.after}
    version = entries[record.bundle.models[-1] if record.bundle is not None else record.model].version
    if not ledger.asked_by_policy(name, version):
        return False
    said = [Change(environment, "models", model, None, entry) for model, entry in entries.items()]
    from_shadow = [*said, *(replace(one, section="shadow", before=one.after, after=None) for one in said)]
    return all(one.policy for changed in (said, from_shadow) for one in ledger.proposers(fingerprint(changed)))
