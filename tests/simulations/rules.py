"""The rules of policies, written down a second time and by nothing of the bot: from facts, what may and must happen.

A fact is something that truly happened in the world, in the order of time; the world notes it where it happens, not
where the bot records it. A rule reads facts and settings, and nothing else.

Two words, because the bot may be late but never early: what *may* happen is judged with every doubt in its favour,
what *must* happen in the end only where nothing speaks against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

What = Literal[
    "served", "went back", "put back", "failed", "baked", "quarantined", "lifted", "rejected", "retired", "asked"
]
"""
served       users get it by a release that was verified, and that is not a way back
went back    users get an earlier version again, because somebody or a bake went back, or main did
put back     a release failed after the switch; users get what they had
failed       a release failed before the switch
baked        what is served passed its bake
quarantined  a digest is kept out; lifted ends that
rejected     a pull request that proposes the digest was closed, and not merged
retired      the model left service
asked        a person proposed it here
"""
BREAKS = ("put back", "went back", "failed", "retired")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True)
class Window:
    """From ``first`` to ``last`` day, ``opens`` to ``closes``, each week; past midnight where it closes earlier."""

    first: str
    last: str
    opens: time
    closes: time
    zone: str

    def __str__(self) -> str:
        days = self.first if self.first == self.last else f"{self.first}-{self.last}"
        return f"{days} {self.opens:%H:%M}-{self.closes:%H:%M} {self.zone}"

    def contains(self, now: datetime) -> bool:
        """Whether this moment lies in it."""
        here = now.astimezone(ZoneInfo(self.zone))
        clock, today = here.time().replace(tzinfo=None), here.weekday()
        if self.opens < self.closes:
            return self._has(today) and self.opens <= clock < self.closes
        return (self._has(today) and clock >= self.opens) or (self._has((today - 1) % 7) and clock < self.closes)

    def _has(self, day: int) -> bool:
        first, last = DAYS.index(self.first), DAYS.index(self.last)
        return first <= day <= last if first <= last else day >= first or day <= last


@dataclass(frozen=True)
class Policy:
    """What one environment's file says."""

    environment: str
    merges: bool = False
    after_clean: int | None = None
    source: str = ""
    after: timedelta = timedelta()
    only_baked: bool = False
    carries: bool = False
    """Whether ``promotes_from`` asks the bot to open pull requests."""
    bakes: bool = False
    windows: tuple[Window, ...] = ()
    freezes: tuple[tuple[datetime, datetime], ...] = ()

    def is_open(self, now: datetime) -> bool:
        """Whether new things may go out now: freezes win over windows."""
        if any(start <= now < end for start, end in self.freezes):
            return False
        return not self.windows or any(window.contains(now) for window in self.windows)

    def opens_within(self, now: datetime, span: timedelta, *, step: timedelta = timedelta(minutes=10)) -> bool:
        """Whether that is so at some time in the span."""
        moment = now
        while moment <= now + span:
            if self.is_open(moment):
                return True
            moment += step
        return False


@dataclass(frozen=True)
class Fact:
    """One thing that happened to a version of a model in an environment."""

    at: datetime
    environment: str
    model: str
    what: What
    version: int
    digest: str
    by_somebody: bool = False
    """Of what is served: whether something else than a policy proposed it here: a person, or a training job."""


@dataclass
class Facts:
    """All of them, in the order of time."""

    all: list[Fact] = field(default_factory=list)

    def add(self, fact: Fact) -> None:
        self.all.append(fact)

    def of(self, environment: str, model: str, *, until: datetime | None = None) -> list[Fact]:
        return [
            fact
            for fact in self.all
            if (fact.environment, fact.model) == (environment, model) and (until is None or fact.at <= until)
        ]


def goes_back(facts: Sequence[Fact], left: str, to: str) -> bool:
    """Whether ``to`` was released before ``left`` ever was; else it is tried once more, which is a release."""
    released = list(dict.fromkeys(fact.digest for fact in facts if fact.what == "served"))
    return to in released and (left not in released or released.index(to) < released.index(left))


def held_since(facts: Sequence[Fact]) -> Fact | None:
    """Return the way back after which policies leave the model alone; None where there is none, or it is over.

    It is over once a release that somebody proposed, and not a policy, is verified.
    """
    found: Fact | None = None
    for fact in facts:
        if fact.what in ("went back", "put back"):
            found = fact
        elif fact.what == "served" and fact.by_somebody:
            found = None
    return found


def clean(facts: Sequence[Fact], *, bakes: bool) -> int:
    """Return how many releases went well since the last that did not."""
    count, waiting = 0, False
    for fact in facts:
        if fact.what in BREAKS:
            count, waiting = 0, False
        elif fact.what == "served":
            waiting = bakes
            count += not bakes
        elif fact.what == "baked" and waiting:
            count, waiting = count + 1, False
    return count


def quarantined(facts: Iterable[Fact]) -> set[str]:
    """Return the digests that are kept out."""
    found: set[str] = set()
    for fact in facts:
        if fact.what == "quarantined":
            found.add(fact.digest)
        elif fact.what == "lifted":
            found.discard(fact.digest)
    return found


@dataclass(frozen=True)
class Proposed:
    """A pull request as the rules see it."""

    environment: str
    model: str
    version: int
    digest: str
    kind: Literal["proposal", "way back", "other"]
    by: Literal["policy", "training", "person", "bot"]
    theirs: bool = False
    """Whether a person's commit is on its branch, or it changes more than its entry."""


def why_not_merge(policy: Policy, facts: Facts, pull: Proposed, now: datetime) -> str:
    """Return the rule that forbids the bot to merge this now; empty where none does."""
    if not policy.merges:
        return "the settings merge nothing"
    if pull.theirs:
        return "a person's change is on the branch"
    if pull.kind == "other":
        return "it is not the bot's own"
    own = facts.of(pull.environment, pull.model, until=now)
    if pull.kind == "way back":
        there = standing(own)
        return "" if there is not None and there.digest == pull.digest else "users have not got it yet"
    if not policy.is_open(now):
        return "outside the windows, or in a freeze"
    if pull.digest in quarantined(own):
        return "in quarantine"
    if held := held_since(own):
        return f"held since version {held.version} {held.what}"
    if policy.after_clean is not None and (have := clean(own, bakes=policy.bakes)) < policy.after_clean:
        return f"{have} of {policy.after_clean} clean releases"
    return ""


@dataclass(frozen=True)
class Standing:
    """What an environment serves of a model, by facts."""

    version: int
    digest: str
    since: datetime
    is_release: bool
    """Whether it came by a release, not by a way back."""
    baked: bool


def standing(facts: Sequence[Fact]) -> Standing | None:
    """Return what is in service; None where nothing is."""
    found: Standing | None = None
    for fact in facts:
        if fact.what in ("served", "went back"):
            found = Standing(fact.version, fact.digest, fact.at, fact.what == "served", baked=False)
        elif fact.what == "retired":
            found = None
        elif fact.what == "baked" and found is not None and fact.digest == found.digest:
            found = Standing(found.version, found.digest, found.since, found.is_release, baked=True)
    return found


def why_not_carry(policy: Policy, facts: Facts, model: str, digest: str, now: datetime) -> str:
    """Return the rule that forbids a policy to propose this digest here now; empty where none does."""
    if not policy.carries:
        return "the settings carry nothing"
    there, here = facts.of(policy.source, model, until=now), facts.of(policy.environment, model, until=now)
    source = standing(there)
    if source is None or source.digest != digest:
        return f"{policy.source} does not serve it"
    if not source.is_release:
        return f"{policy.source} went back to it"
    if any(
        one.what in ("went back", "put back") and one.digest == digest and one.at >= source.since for one in there
    ):
        return f"{policy.source} went back from it"
    if now - source.since < policy.after:
        return f"{policy.source} serves it for {now - source.since} only"
    if policy.only_baked and not source.baked:
        return "it is not baked"
    if digest in quarantined(here):
        return "in quarantine here"
    if any(one.what == "rejected" and one.digest == digest for one in here):
        return "a person closed a pull request with it"
    if held := held_since(here):
        return f"held since version {held.version} {held.what}"
    target = standing(here)
    if target is not None and target.digest == digest:
        return "it is in service already"
    if target is not None and _served_at(there, target.digest) > source.since:
        return "it would be a step back: what is in service was verified there later"
    return ""


def _served_at(facts: Iterable[Fact], digest: str) -> datetime:
    """Return when a digest was last released; long ago where it never was."""
    return max(
        (fact.at for fact in facts if fact.what == "served" and fact.digest == digest),
        default=datetime.min.replace(tzinfo=UTC),
    )


def must_carry(policy: Policy, facts: Facts, model: str, now: datetime) -> str:
    """Return the digest that a policy must have proposed here at last; empty where it need not propose one.

    Where something failed in the source since, it need not: somebody is at work there. Nor where the digest had its
    try here, and failed.
    """
    there, here = facts.of(policy.source, model, until=now), facts.of(policy.environment, model, until=now)
    source = standing(there)
    if source is None or any(one.what in BREAKS and one.at >= source.since for one in there):
        return ""
    if any(one.digest == source.digest and one.what in ("failed", "put back", "quarantined") for one in here):
        return ""
    return "" if why_not_carry(policy, facts, model, source.digest, now) else source.digest
