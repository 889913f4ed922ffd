"""Deploys the changes that waited for a window, the end of a freeze, or a lifted quarantine, when it comes.

A look reads main after an opening only, until nothing waits there. It decides from main, routes and records alone: a
watch that is killed on the way, or works beside another, finds the change again or finds it deployed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Protocol

from bot.domain.bundled import stays_the_same
from bot.domain.desired import Change, Entry
from bot.domain.policy import Decided
from bot.domain.quarantine import QuarantineEvent, lifted_by
from bot.domain.record import DeploymentRecord, last_try
from bot.domain.windows import open_since
from bot.errors import LeaseLost, PromobotError
from bot.operations import Say
from bot.operations.holding import MainAsks, what_main_asks
from bot.render.deployment import deploy as command

if TYPE_CHECKING:
    from bot.operations.deploy import Deployed
    from bot.platform import Platform
    from bot.settings import Environment

CLOCKS_APART = timedelta(minutes=5)
"""A deployment elsewhere may have held a change by its own clock, when the window was open by ours. So main is looked
at again for this long after an opening."""
AGAIN = timedelta(minutes=1)
"""From one look at main to the next, after an opening."""
PAUSES = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 20))
"""After each deployment of the same that failed. Behind the last one it is a person's to try."""
LIFTED_FOR = timedelta(days=14)
"""A lift of longer ago starts nothing."""


@dataclass
class Opening:
    """What one watch keeps of an opening. Who loses it looks at main once more, and does nothing else."""

    since: datetime | None = None
    """When the opening was, of which the rest tells."""
    is_over: bool = False
    looked: datetime | None = None
    tried: tuple[Change, ...] = ()
    tries: int = 0
    said: str = ""
    """Why what waited is not out."""

    @property
    def pause(self) -> timedelta:
        """The time from the last look at main to the next."""
        return PAUSES[min(self.tries, len(PAUSES)) - 1] if self.tries else AGAIN


@dataclass
class Openings:
    """What one watch keeps between its looks: of windows and freezes, and of what people lifted from quarantine."""

    clock: Opening = field(default_factory=Opening)
    lift: Opening = field(default_factory=Opening)
    events: Mapping[str, QuarantineEvent] = field(default_factory=dict)
    """The events of the quarantine that were read, by name."""


class Ports(Protocol):
    """The part of the world that a look needs."""

    def quarantine(self, known: Mapping[str, QuarantineEvent]) -> Mapping[str, QuarantineEvent]:
        """Return all events of the quarantine, of which those that are ``known`` need not be read."""

    def asked(self) -> MainAsks:
        """Return what main asks for, and what of it is held; raise why that is not known."""

    def deploy(self) -> Deployed:
        """Converge to the head of main."""


@dataclass(frozen=True)
class _OfPlatform:
    platform: Platform
    say: Say

    def quarantine(self, known: Mapping[str, QuarantineEvent]) -> Mapping[str, QuarantineEvent]:
        return self.platform.ledger.quarantine_events(known)

    def asked(self) -> MainAsks:
        return what_main_asks(self.platform)

    def deploy(self) -> Deployed:
        from bot.operations.deploy import deploy

        return deploy(self.platform, say=self.say)


def deploy_what_waited(
    platform: Platform, memory: Openings, records: Sequence[DeploymentRecord], *, say: Say, now: datetime
) -> tuple[Decided, ...]:
    """Deploy what main asks for and no longer waits; return what was done.

    It may have waited for a window, for the end of a freeze, or for a person who lifts its quarantine. Main is not
    read where none of that was, and while nothing new may go out. ``records`` are those of the environment, oldest
    first: by them a watch that starts anew knows what was tried long enough.
    """
    return at_opening(platform.settings, memory, records, _OfPlatform(platform, say), now)


def at_opening(
    settings: Environment, memory: Openings, records: Sequence[DeploymentRecord], ports: Ports, now: datetime
) -> tuple[Decided, ...]:
    """Do the same through ``ports``."""
    if settings.closed(now) is not None:
        return ()
    look = partial(_at, settings.environment, records=records, ports=ports, now=now)
    done = look(memory.clock, open_since(settings.open_in, settings.freezes, now), lambda _: True)
    memory.events = ports.quarantine(memory.events)
    lifted = {
        digest: event.at
        for digest, event in lifted_by(memory.events.values()).items()
        if now - event.at <= LIFTED_FOR
    }
    since = max(lifted.values(), default=None)
    return (*done, *look(memory.lift, since, lambda change: change.judged_digest in lifted))


def _at(
    environment: str,
    memory: Opening,
    since: datetime | None,
    waited: Callable[[Change], bool],
    *,
    records: Sequence[DeploymentRecord],
    ports: Ports,
    now: datetime,
) -> tuple[Decided, ...]:
    """Deploy where a change waits that ``waited`` for what came ``since`` then; None where nothing came."""
    if since is None:
        return ()
    if memory.since != since:
        vars(memory).update(vars(Opening(since)))
    if memory.is_over or (memory.looked is not None and now - memory.looked < memory.pause):
        return _waits(environment, memory)
    memory.looked = now
    try:
        return _deployed(environment, memory, waited, records, ports, now)
    except (PromobotError, LeaseLost) as error:
        memory.said = f"what waited could not be deployed, and is tried again: {error}"
        return _waits(environment, memory)


def _deployed(
    environment: str,
    memory: Opening,
    waited: Callable[[Change], bool],
    records: Sequence[DeploymentRecord],
    ports: Ports,
    now: datetime,
) -> tuple[Decided, ...]:
    asked = ports.asked()
    held = {one.change for one in asked.held}
    waiting = tuple(one for one in asked.changes if one not in held and not stays_the_same(one) and waited(one))
    failed = [_failed_long_ago(one, memory, records, now) for one in waiting]
    if waiting and all(failed):
        memory.is_over, memory.said = True, _said(failed[0], environment, is_over=True)
        return _waits(environment, memory)
    if not waiting:
        memory.is_over, memory.said = memory.since is None or now - memory.since >= CLOCKS_APART, ""
        return ()
    if waiting != memory.tried:
        memory.tried, memory.tries = waiting, 0
    memory.tries += 1
    done = ports.deploy()
    problems = [record.problem for record in done.records if not record.is_well]
    memory.is_over = bool(problems) and memory.tries > len(PAUSES)
    memory.said = _said(problems[0], environment, is_over=memory.is_over) if problems else ""
    return (*_went_out(done), *_waits(environment, memory))


def _waits(environment: str, memory: Opening) -> tuple[Decided, ...]:
    return (Decided(environment, "deploy", "waits", memory.said),) if memory.said else ()


def _went_out(done: Deployed) -> list[Decided]:
    return [
        Decided(record.model, "deploy", "done", f"{_what(record.after)} went out, which had to wait")
        for record in done.records
        if record.is_well
    ]


def _what(entry: Entry | None) -> str:
    return f"version {entry.version}" if entry is not None else "its retirement"


def _failed_long_ago(change: Change, memory: Opening, records: Sequence[DeploymentRecord], now: datetime) -> str:
    """Return why this change failed, where it did since the opening, and was tried long enough; else nothing.

    The first record of a failure stays the only one, however often it is tried: the others would tell the same.
    """
    last = last_try([record for record in records if record.slot == change.slot], change)
    if last is None or memory.since is None or last.finished_at < memory.since:
        return ""
    return last.problem if now - last.finished_at > sum(PAUSES, timedelta(0)) else ""


def _said(problem: str, environment: str, *, is_over: bool) -> str:
    again = f"is not tried again; run {command(environment)}" if is_over else "is tried again"
    return f"what waited could not be deployed, and {again}: {problem}"
