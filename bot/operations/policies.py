"""Policies of an environment, carried out: GitHub merges what may merge by itself, until the rules forbid it again.

A look reads records, main and the open pull requests; :func:`bot.domain.policy.may_merge` decides. Then GitHub's
auto-merge is asked for, so its branch rules decide last. It is asked for at the commit that was looked at, and only
once the checks of that commit are green in the record store. So a watch that ends leaves nothing behind that could
merge what nobody checked.

Nothing is kept but notes that are created once. GitHub says what is on, so a watch that is killed anywhere and begins
anew goes on, and several do each step once.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Protocol

from bot import environment_files
from bot.domain.bundled import together, with_left
from bot.domain.desired import Change, Desired, changes
from bot.domain.policy import (
    Candidate,
    Checked,
    Decided,
    MayMerge,
    MustWait,
    Standing,
    State,
    held_after_way_back,
    may_merge,
    requires_verdict,
    rollout_of,
)
from bot.domain.record import without_rehearsals
from bot.domain.release import Slot
from bot.domain.scope import fingerprint, scope_of
from bot.errors import InvalidInput, PromobotError
from bot.operations import Say
from bot.operations.deployment.admission import admit_all, held_among
from bot.operations.observe import underway
from bot.operations.past import Past
from bot.operations.path import is_policys
from bot.operations.proposing import commits_of_people, desired_at, parts_of, read_desired, what_is_beside
from bot.records.ledger import PolicyNote
from bot.render import policy as words
from bot.settings import path_of

if TYPE_CHECKING:
    from bot.domain.record import DeploymentRecord
    from bot.platform import Platform
    from bot.records.ledger import Ledger
    from bot.settings import Environment
    from bot.systems.git import Repository
    from bot.systems.github import Asked, Listed, PullRequest

ASK_EVERY = timedelta(seconds=30)
"""From one look at GitHub to the next, where the records say nothing new."""
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (30, 60, 120, 300, 600))
"""After each answer of GitHub that it does not merge a pull request, before it is asked again."""
RELEASES_LOOKED_AT = 50
"""Of so many releases of a model the notes of their bakes are read, the newest ones."""


class Forge(Protocol):
    """GitHub, as policies use it; :class:`bot.systems.github.GitHubRepository` is one."""

    def login(self) -> str:
        """Return who the bot is."""

    def list_open(self, *, prefix: str, known: Listed | None = None) -> Listed:
        """Return the open pull requests; ``known`` again where nothing changed since."""

    def pull_request(self, number: int) -> PullRequest:
        """Return one of them as it is now."""

    def required_checks(self) -> frozenset[str]:
        """Return the names of the checks that the base branch requires."""

    def merge_when_allowed(self, number: int, *, head: str, title: str) -> Asked:
        """Ask GitHub to merge this commit as soon as the base branch's rules allow it."""

    def stop_merging(self, number: int) -> bool:
        """Take that back; return False where it was merged already."""

    def put_comment(self, number: int, body: str, *, marker: str) -> str:
        """Write the one comment that begins with ``marker``."""


class Notes(Protocol):
    """The record store, as policies use it; :class:`bot.records.ledger.Ledger` is one."""

    def policy_notes(self, pull_request: int) -> list[PolicyNote]:
        """Return what was done about a pull request, oldest first."""

    def note_policy(self, note: PolicyNote) -> None:
        """Write what is done."""

    def pull_requests_of_policies(self) -> list[int]:
        """Return the pull requests about which something was done."""

    def newest_deployment(self) -> str:
        """Return the id of the newest deployment record."""


@dataclass(frozen=True)
class Ports:
    """The ports of a look: GitHub, the record store, and how pull requests and main are read.

    ``newest`` is the id of the newest deployment record that the look knows. ``standing`` reads main's settings; it
    says nothing of the branch's rules yet. ``describe`` returns what an open pull request changes and who wrote it;
    None where it is not of this environment. Both raise where a system does not answer.
    """

    environment: str
    base: str
    newest: str
    forge: Forge
    notes: Notes
    standing: Callable[[], Standing]
    describe: Callable[[PullRequest, Standing], Candidate | None]
    would_be_held: Callable[[Candidate], str]
    """Returns why a deployment would refuse it now; empty where it would take it."""
    only_looks: bool = False
    """Whether nothing is to be done: for those who show what is decided."""


@dataclass(frozen=True)
class PutOff:
    """What could not be asked for, how often that was tried, and until when it is not tried again."""

    tries: int
    until: datetime
    decided: Decided


@dataclass
class Memory:
    """What one watch keeps between its looks. Who loses it asks GitHub more often, and does nothing else."""

    asked_at: datetime | None = None
    newest: str = ""
    """The newest deployment record when GitHub was asked last."""
    wakes_at: datetime | None = None
    """When what was decided ends by itself, as far as that is known."""
    is_over: bool = False
    """Whether nothing merges by itself here, and nothing is left on."""
    login: str = ""
    listed: Listed | None = None
    told: dict[int, str] = field(default_factory=dict)
    """The comment on each pull request."""
    switched_off: set[tuple[int, str]] = field(default_factory=set)
    """The commits of pull requests of which a person does not want that they merge by themselves."""
    put_off: dict[tuple[int, str], PutOff] = field(default_factory=dict)
    """What GitHub did not take, by pull request and commit."""
    described: dict[tuple[int, str, str], Candidate] = field(default_factory=dict)
    baked: set[str] = field(default_factory=set)
    breached: set[str] = field(default_factory=set)
    decided: tuple[Decided, ...] = ()


def policies(
    platform: Platform, records: Sequence[DeploymentRecord], memory: Memory, *, say: Say, now: datetime
) -> tuple[Decided, ...]:
    """Do what the policies of an environment have to do, and say what they decided; ``records`` come oldest first.

    Never raises for a system that is away: what is due waits then, and says why.
    """
    return merges(_ports(platform, records, memory, now), memory, say=say, now=now)


def look_at_policies(
    platform: Platform,
    *,
    now: datetime,
    records: Sequence[DeploymentRecord] | None = None,
    memory: Memory | None = None,
) -> tuple[Decided, ...]:
    """Return what the policies decide now, and change nothing. As in :func:`policies`, who is away makes it wait.

    A caller that looks repeatedly keeps ``memory``, and then GitHub is asked as seldom as by ``watch``. ``records``
    come oldest first, from a caller that has read them already.
    """
    memory = memory or Memory()
    try:
        records = platform.ledger.deployments() if records is None else records
    except PromobotError as error:
        return (Decided(platform.environment, "merge", "waits", words.not_asked(str(error))),)
    ports = replace(_ports(platform, records, memory, now), only_looks=True)
    return merges(ports, memory, say=lambda _: None, now=now)


def merges(ports: Ports, memory: Memory, *, say: Say, now: datetime) -> tuple[Decided, ...]:
    """Ask GitHub to merge what may merge by itself, and take back what may no longer.

    GitHub is asked every 30 seconds at most, and at once where a deployment was recorded or a freeze ended.
    """
    if not _is_time(ports, memory, now):
        return memory.decided
    memory.asked_at, memory.newest, memory.wakes_at = now, ports.newest, None
    try:
        memory.decided = _merges(ports, memory, say, now)
    except PromobotError as error:
        memory.decided = (Decided(ports.environment, "merge", "waits", words.not_asked(str(error))),)
    return memory.decided


def _is_time(ports: Ports, memory: Memory, now: datetime) -> bool:
    if memory.asked_at is None or ports.newest != memory.newest:
        return True
    return now - memory.asked_at >= ASK_EVERY or (memory.wakes_at is not None and memory.wakes_at <= now)


def _merges(ports: Ports, memory: Memory, say: Say, now: datetime) -> tuple[Decided, ...]:
    standing = ports.standing()
    if standing.rule is None:
        # Nobody asks GitHub where nothing merges by itself; but what was on may have to be taken back.
        memory.is_over = memory.is_over or not ports.notes.pull_requests_of_policies()
        if memory.is_over:
            return ()
    memory.login = memory.login or ports.forge.login()
    memory.listed = ports.forge.list_open(prefix="promobot", known=memory.listed)
    found = [
        decided
        for pull in memory.listed.pulls
        if (decided := _looked_at(ports, memory, pull, standing, say, now)) is not None
    ]
    memory.is_over = standing.rule is None and not any(one.state == "waits" for one in found)
    ends = [one.until for one in found if one.until is not None]
    memory.wakes_at = min(ends, default=None)
    return tuple(found)


def _looked_at(
    ports: Ports, memory: Memory, pull: PullRequest, standing: Standing, say: Say, now: datetime
) -> Decided | None:
    """Decide on one pull request, and do it; what cannot be done now waits for the next look."""
    name = f"#{pull.number}"
    try:
        candidate = ports.describe(pull, standing)
        if candidate is None:
            return None
        name = ", ".join(dict.fromkeys(change.model for change in candidate.changes)) or name
        one = _One(ports, memory, pull, name, say, now)
        return one.settle(candidate, standing)
    except PromobotError as error:
        return Decided(name, "merge", "waits", words.waits(str(error)), pull_request=pull.number)


@dataclass(frozen=True)
class _One:
    """One open pull request, while it is decided on."""

    ports: Ports
    memory: Memory
    pull: PullRequest
    name: str
    say: Say
    now: datetime

    def settle(self, candidate: Candidate, standing: Standing) -> Decided | None:
        """Decide, and do what follows."""
        notes = self.ports.notes.policy_notes(self.pull.number)
        pull = self._as_it_is(notes)
        if pull.state != "open":
            return None
        if pull.head != self.pull.head:
            return self._decided("held", words.branch_moved())
        return replace(self, pull=pull)._settle(candidate, standing, notes)

    def _as_it_is(self, notes: Sequence[PolicyNote]) -> PullRequest:
        """Return the pull request as it is now: a list of GitHub may lag behind what was asked for a moment ago."""
        asked = bool(notes) and notes[-1].what in ("asking", "on")
        if not asked or self.pull.auto_merge_by or self._here in self.memory.switched_off:
            return self.pull
        return self.ports.forge.pull_request(self.pull.number)

    @property
    def _here(self) -> tuple[int, str]:
        return self.pull.number, self.pull.head

    def _settle(self, candidate: Candidate, standing: Standing, notes: Sequence[PolicyNote]) -> Decided | None:
        # A person who only looks is not the bot: then a pull request of any bot counts as its own.
        is_its_own = candidate.by_the_bot or (self.ports.only_looks and self.pull.author.endswith("[bot]"))
        asked = replace(candidate, by_the_bot=is_its_own, switched_off=self._is_switched_off(notes))
        decided = may_merge(asked, standing)
        if isinstance(decided, MayMerge) and not self.pull.auto_merge_by:
            if (put_off := self.memory.put_off.get(self._here)) is not None and self.now < put_off.until:
                return put_off.decided
            # Asked where it matters: each takes several requests.
            standing = replace(standing, requires_verdict=requires_verdict(self.ports.forge.required_checks()))
            decided = may_merge(replace(asked, would_be_held=self.ports.would_be_held(asked)), standing)
        if self.ports.only_looks:
            return self._seen(decided, standing)
        if isinstance(decided, MustWait):
            return self._must_wait(decided, notes, standing)
        if self.pull.auto_merge_by:
            return self._is_on(decided, notes)
        try:
            done = self._have_it_merged(decided, notes)
        except PromobotError as error:
            self._put_off(self._decided("waits", words.waits(str(error))))
            raise
        return done

    def _seen(self, decided: MayMerge | MustWait, standing: Standing) -> Decided | None:
        if isinstance(decided, MayMerge):
            return self._decided("due", words.due(decided.why))
        return None if standing.rule is None else self._decided("held", words.held(decided), until=decided.until)

    def _is_switched_off(self, notes: Sequence[PolicyNote]) -> bool:
        """Say whether a person took back what GitHub was asked for at this commit."""
        last = notes[-1] if notes else None
        if not self.pull.auto_merge_by and last is not None and (last.what, last.head) == ("on", self.pull.head):
            self.memory.switched_off.add(self._here)
        return self._here in self.memory.switched_off

    def _must_wait(self, decided: MustWait, notes: Sequence[PolicyNote], standing: Standing) -> Decided | None:
        """Take back what the policy asked for; what a person asked for stays."""
        is_ours = self.pull.auto_merge_by == self.memory.login and bool(notes)
        if is_ours:
            is_off = self.ports.forge.stop_merging(self.pull.number)
            said = words.taken_back(decided) if is_off else words.too_late(decided)
            self._note("taken back" if is_off else "merged", decided.why)
            self.say(f"#{self.pull.number} {said}")
            self._tell(decided, was_on=True)
            return self._decided("held" if is_off else "done", said)
        if standing.rule is None:
            return None
        was_on = bool(notes) and notes[-1].what == "taken back"
        if was_on or not decided.causes & {"checks", "kind"}:
            # Its checks speak for themselves, and so does what only a person decides.
            self._tell(decided, was_on=was_on)
        return self._decided("held", words.held(decided), until=decided.until)

    def _is_on(self, decided: MayMerge, notes: Sequence[PolicyNote]) -> Decided:
        """GitHub has it. Write comment and note where the watch that asked was killed before it did."""
        if self.pull.auto_merge_by == self.memory.login and notes:
            if (notes[-1].what, notes[-1].head) != ("on", self.pull.head):
                self._note("on", decided.why)
            self._tell(decided)
        return self._decided("due", words.due(decided.why))

    def _have_it_merged(self, decided: MayMerge, notes: Sequence[PolicyNote]) -> Decided:
        """Ask GitHub. The reason stands in the pull request before."""
        if self.ports.notes.newest_deployment() != self.ports.newest:
            self.memory.asked_at = None  # the decision may no longer be true: look again at once
            return self._decided("held", words.moved_on())
        if not notes or (notes[-1].what, notes[-1].head) != ("asking", self.pull.head):
            self._note("asking", decided.why)
        self._tell(decided)
        title = f"{self.pull.title} (#{self.pull.number})"
        asked = self.ports.forge.merge_when_allowed(self.pull.number, head=self.pull.head, title=title)
        match asked:
            case "unstable":
                return self._put_off(self._decided("due", words.unstable()))
            case "on":
                self._note("on", decided.why)
                return self._decided("due", words.due(decided.why))
            case "merged" | "queued":
                self._note("merged", decided.why)
                said = words.merged(decided.why, queued=asked == "queued")
                self.say(f"#{self.pull.number} {said}")
                return self._decided("done", said)

    def _put_off(self, decided: Decided) -> Decided:
        """Ask for it again later, and later each time."""
        before = self.memory.put_off.get(self._here)
        tries = 1 if before is None else before.tries + 1
        until = self.now + PAUSES[min(tries, len(PAUSES)) - 1]
        self.memory.put_off[self._here] = PutOff(tries, until, decided)
        return decided

    def _note(self, what: str, why: str) -> None:
        note = {"pull_request": self.pull.number, "head": self.pull.head, "what": what, "why": why, "at": self.now}
        self.ports.notes.note_policy(
            PolicyNote.model_validate({**note, "by": f"{socket.gethostname()}/{os.getpid()}"})
        )

    def _tell(self, decided: MayMerge | MustWait, *, was_on: bool = False) -> None:
        """Write the one comment that says why, where it says something else."""
        text = words.comment(decided, self.ports.environment, self.ports.base, was_on=was_on)
        if self.memory.told.get(self.pull.number) != text:
            self.ports.forge.put_comment(self.pull.number, text, marker=words.MARKER)
            self.memory.told[self.pull.number] = text

    def _decided(self, state: State, said: str, *, until: datetime | None = None) -> Decided:
        return Decided(self.name, "merge", state, said, until, self.pull.number)


# --- what a look reads ---------------------------------------------------------------------------------------------


def _ports(platform: Platform, records: Sequence[DeploymentRecord], memory: Memory, now: datetime) -> Ports:
    look = _Look(platform, without_rehearsals(records), memory, now)
    return Ports(
        environment=platform.environment,
        base=platform.settings.github.base,
        newest=records[-1].id if records else "",
        forge=platform.github,
        notes=platform.ledger,
        standing=look.standing,
        describe=look.describe,
        would_be_held=look.would_be_held,
    )


@dataclass
class _Look:
    """One look at main and the records, for what is decided."""

    platform: Platform
    records: Sequence[DeploymentRecord]
    memory: Memory
    now: datetime
    main: str = ""
    rules: Environment | None = None

    def standing(self) -> Standing:
        """Return what holds now. Main's rules decide where it has settings; the checkout must have one, too."""
        from bot.systems.github import ACTIONS_OWN

        platform, own = self.platform, self.platform.settings
        plain = partial(
            Standing, environment=platform.environment, records=self.records, quarantined=(), requires_verdict=True
        )
        if own.merge is None:
            return plain(rule=None)
        repository = platform.repository()
        self.main = repository.head()
        self.rules, mistake = _rules_of_main(repository, self.main, own)
        if self.rules.merge is None:
            return plain(rule=None)
        counts_as = {part: parts[-1] for parts in self.rules.bundles.values() for part in parts}
        bakes = self._bakes()
        self._read_bakes(bakes)
        return plain(
            rule=self.rules.merge,
            quarantined=platform.ledger.quarantined().keys(),
            starts_workflows=self._login() != ACTIONS_OWN,
            mistake=mistake,
            shut=self.rules.closed(self.now),
            bakes=bakes,
            baked=self.memory.baked,
            breached=self.memory.breached,
            underway={Slot.of(platform.environment, one.model, one.section) for one in underway(platform.share)},
            counts_as=counts_as,
            after_way_back=self._after_way_back,
        )

    def _after_way_back(self, slot: Slot) -> DeploymentRecord | None:
        own = [record for record in self.records if record.slot == slot]
        return held_after_way_back(own, partial(is_policys, self.platform.ledger))

    def _login(self) -> str:
        self.memory.login = self.memory.login or self.platform.github.login()
        return self.memory.login

    def _bakes(self) -> frozenset[str]:
        """Return the models whose releases count once they are baked; all of them only where it is counted at all."""
        assert self.rules is not None  # noqa: S101 - it is asked behind it
        if self.rules.merge is None or self.rules.merge.after_clean is None:
            return frozenset()
        models = {record.model for record in self.records if record.section == "models"}
        return frozenset(model for model in models if self.rules.rollout_of(model).watched is not None)

    def _read_bakes(self, models: frozenset[str]) -> None:
        """Read which of the newest releases are baked, and which breached their rules; a decision stays."""
        known = self.memory.baked | self.memory.breached
        for model in models:
            slot = Slot.of(self.platform.environment, model, "models")
            releases = dict.fromkeys(rollout_of(one) for one in self.records if one.slot == slot and one.is_well)
            for release in list(releases)[-RELEASES_LOOKED_AT:]:
                if release not in known:
                    notes = self.platform.ledger.rollout_notes(release)
                    self.memory.breached |= {release} if "breach" in notes else set()
                    self.memory.baked |= {release} if "baked" in notes else set()

    def describe(self, pull: PullRequest, standing: Standing) -> Candidate | None:
        """Return what an open pull request changes, and who wrote it."""
        scope = scope_of(pull.branch)
        if scope is None or scope.environment != self.platform.environment:
            return None
        if standing.rule is None:
            # Nothing of it decides: what is on is taken back.
            return Candidate(
                number=pull.number,
                head=pull.head,
                kind=scope.kind,
                changes=(),
                by_the_bot=False,
                was_asked=False,
                checked="not yet",
            )
        key = (pull.number, pull.head, self.main)
        if (known := self.memory.described.get(key)) is None:
            known = self._described(pull)
            self.memory.described = {
                old: one for old, one in self.memory.described.items() if old[2] == self.main
            } | ({key: known} if known.was_asked else {})
        checked = _checked(self.platform.ledger, known, self.now)
        return replace(known, checked=checked, is_draft=pull.is_draft)

    def would_be_held(self, pull: Candidate) -> str:
        """Return why a deployment would hold what it asks for; empty where it would not.

        What the checks saw may have changed since: another version in service, the rules, the room on a Triton.
        """
        # From what answers now, as a deployment would: main may say something else.
        answers = self.platform.ledger.answers(pull.changes)
        asked = with_left([replace(one, before=entry) for one, entry in zip(pull.changes, answers, strict=True)])
        held = held_among(admit_all(Past(self.platform), asked))
        return f"{held[0].change.model}: {held[0].hold.why}" if held else ""

    def _described(self, pull: PullRequest) -> Candidate:
        platform, name = self.platform, self.platform.environment
        assert self.rules is not None  # noqa: S101 - the standing was asked before
        scope = scope_of(pull.branch)
        assert scope is not None  # noqa: S101 - as above
        repository = platform.repository()
        base = repository.merge_base(self.main, repository.fetch(pull.head))
        parts = parts_of(pull.branch, self.rules.bundles)
        theirs = commits_of_people(
            repository, pull.branch, main=self.main, tip=pull.head, ours=platform.github.author(), parts=parts
        )
        beside = what_is_beside(repository, pull.branch, base=base, head=pull.head, parts=parts)
        asked: list[Change] = []
        wanted = Desired(environment=name)
        try:
            wanted = read_desired(repository, name, pull.head)
            asked = changes(desired_at(repository, name, base) or Desired(environment=name), wanted)
        except InvalidInput as error:
            beside = beside or [str(error)]
        return Candidate(
            number=pull.number,
            head=pull.head,
            kind=scope.kind,
            changes=tuple(together(asked, {name: wanted}, {name: self.rules.bundles})),
            by_the_bot=pull.author == self.memory.login,
            was_asked=bool(asked) and bool(platform.ledger.proposers(fingerprint(asked))),
            checked="not yet",
            people=tuple(f"{commit.id[:12]} by {commit.author}" for commit in theirs),
            beside=tuple(beside),
        )


def _rules_of_main(repository: Repository, main: str, own: Environment) -> tuple[Environment, str]:
    """Return the settings that decide, and the mistake in them where there is one.

    They are main's, because everybody reviewed those. If main has none, the checkout's count.
    """
    path = path_of(own.environment)
    mistake = str(own.mistakes[0]) if own.mistakes else ""
    text = repository.read(main, path)
    if text is None:
        return own, mistake
    try:
        return environment_files.parse(text, file=path, environment=own.environment), mistake
    except InvalidInput as error:
        return own, str(error)


def _checked(ledger: Ledger, pull: Candidate, now: datetime) -> Checked:
    """Return what the record store knows of the checks of a pull request's newest commit: the worst of its models.

    Where nothing is asked for (a model leaves service), there is nothing to check but what GitHub requires.
    """
    order: tuple[Checked, ...] = ("red", "revoked", "expired", "not yet", "green")
    found: list[Checked] = []
    for change in pull.changes:
        release = change.release
        if release is None:
            continue
        evidence = next(
            (
                one
                for one in ledger.evidence_of(change.slot, release.digest)
                if one.head == pull.head and one.covers(release)
            ),
            None,
        )
        found.append("not yet" if evidence is None else evidence.state(now))
    return min(found, key=order.index, default="green")
