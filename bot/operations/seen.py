"""What ``status`` looks at: everybody at once. What cannot be read is kept as a value, and hides nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from bot.concurrency import background
from bot.domain.bundled import together
from bot.domain.desired import Desired
from bot.domain.hold import Held
from bot.domain.journal import Journal
from bot.domain.plan import Live, Plan, asked_for, plan
from bot.domain.quarantine import Quarantined
from bot.domain.record import DeploymentRecord, last_failed
from bot.domain.silence import Silences
from bot.domain.way_back import WayBack
from bot.errors import InvalidInput, PromobotError, Rejected
from bot.operations.deployment.admission import admit_all, held_among
from bot.operations.deployment.unfinished import read_journal
from bot.operations.following import read_ways_back
from bot.operations.holding import as_github_tells
from bot.operations.main_branch import Main, main_beside
from bot.operations.observe import observe
from bot.operations.opened import Opened, open_pull_requests, opened
from bot.operations.past import Past
from bot.operations.silence import noted, silent_since
from bot.render.deployment import unknown_workers

if TYPE_CHECKING:
    from bot.operations import Say
    from bot.platform import Platform, Serving
    from bot.settings import Environment
    from bot.share import ModelRepository


LOOKED_BACK = 30
"""Among how many deployments the last failed one is looked for."""

Watched = dict[str, Silences]
"""The servers that did not answer at the previous look, by environment. A caller that looks repeatedly keeps it."""


@dataclass(frozen=True)
class FromRecords:
    """The facts from the records; if they cannot be read, ``why_not`` says why and the rest is empty."""

    quarantined: Quarantined = field(default_factory=dict)
    held: tuple[Held, ...] = ()
    failed: DeploymentRecord | None = None
    why_not: str = ""


@dataclass(frozen=True)
class Seen:
    """One environment as everybody says it is. Nothing is judged yet.

    ``main`` and ``journal`` are why they cannot be read, where they cannot. ``todo`` is what main asks for less what
    is live; of live models it knows only the version, as the routes do. ``silences`` are the servers that do not
    answer, and since when. ``unproven`` are the gateways of which nobody knows all processes, and why. ``problems``
    are what else was not learned.
    """

    settings: Environment
    at: datetime
    live: Live
    silences: Mapping[str, datetime | None]
    unproven: Mapping[str, str]
    outbox: tuple[str, ...]
    journal: Journal | Rejected | None
    ways: tuple[WayBack, ...]
    unreadable_ways: tuple[str, ...]
    main: Main | PromobotError
    todo: Plan
    opened: tuple[Opened, ...]
    records: FromRecords
    problems: tuple[str, ...]

    @property
    def environment(self) -> str:
        """The name of the environment."""
        return self.settings.environment

    @property
    def unknown(self) -> str:
        """Why main cannot be read; empty where it can."""
        return "" if isinstance(self.main, Main) else str(self.main)

    @property
    def desired(self) -> Desired:
        """What main asks for. Where that is not known, what serves is still compared with the routes."""
        return _desired(self.main, self.live)


def see(platform: Platform, watched: Watched | None = None) -> Seen:
    """Ask everybody, change nothing. ``watched``: as in :func:`bot.operations.status.looked`.

    Raises InvalidInput where Git answers, and what main says is wrong: its file, line and key are named.
    """
    settings, systems = platform.settings, platform.serving(reads_only=True)
    problems: list[str] = []
    with (
        # Git, GitHub, and all that serves: who waits for an answer waits for the slowest of the three only.
        main_beside(platform, within_seconds=settings.deadlines.request_seconds) as look,
        background(partial(open_pull_requests, platform), name="pull requests") as pulls,
    ):
        live, now = observe(settings, systems), datetime.now(UTC)
        silences = _silences(settings.environment, systems, live, watched, at=now, say=problems.append)
        outbox = tuple(systems.share.outbox.read())
        journal = journal_of(systems.share)
        ways, unreadable = read_ways_back(systems.share)
        main = look()
        if isinstance(main, InvalidInput):
            raise main
        todo = plan(_desired(main, live), live, known={})
        found = (
            opened(settings.environment, main.repository, pulls.result, problems.append)
            if isinstance(main, Main)
            else []
        )
        records = _from_records(platform, main, todo, found, problems.append)
    return Seen(
        settings=settings,
        at=now,
        live=live,
        silences=silences,
        unproven=unproven(systems),
        outbox=outbox,
        journal=journal,
        ways=tuple(ways),
        unreadable_ways=tuple(unreadable),
        main=main,
        todo=todo,
        opened=tuple(found),
        records=records,
        problems=tuple(problems),
    )


def unproven(systems: Serving) -> dict[str, str]:
    """Return the gateways of which nobody knows all processes, and why, by what they said when they were asked."""
    return {gateway.name: why for gateway in systems.gateways if (why := unknown_workers(gateway.latest))}


def _desired(main: Main | PromobotError, live: Live) -> Desired:
    return main.desired if isinstance(main, Main) else asked_for(live.routes, {})


def _silences(
    environment: str, systems: Serving, live: Live, watched: Watched | None, *, at: datetime, say: Say
) -> dict[str, datetime | None]:
    """Return who is silent and since when: by the note on the share, by the look before, and by the gateways."""
    looks = [noted(systems.share, say)]
    if watched is not None:
        watched[environment] = watched.get(environment, Silences()).after(live.silent, at=at)
        looks.append(watched[environment])
    return silent_since(live, looks, systems.gateways, at=at)


def journal_of(share: ModelRepository) -> Journal | Rejected | None:
    """Return the journal of a deployment under way, or why it cannot be read, which hides nothing else."""
    try:
        return read_journal(share)
    except Rejected as error:
        return error


def held_in(past: Past, desired: Desired, todo: Plan) -> tuple[Held, ...]:
    """Return what of ``todo`` a deployment would refuse now, with why and since when; main asks for ``desired``."""
    name, bundles = past.platform.environment, past.settings.bundles
    asked = together(todo.changes, {name: desired}, {name: bundles})
    return tuple(held_among(admit_all(past, asked)))


def _from_records(
    platform: Platform, main: Main | PromobotError, todo: Plan, pulls: Sequence[Opened], say: Say
) -> FromRecords:
    """Return what is in quarantine, what a deployment refuses and since when, and which failed last.

    How users are is known without records, so nobody is kept from seeing it.
    """
    past = Past(platform)
    try:
        held = held_in(past, main.desired, todo) if isinstance(main, Main) else ()
        found = FromRecords(past.quarantined, held, last_failed(past.newest(LOOKED_BACK)))
    except PromobotError as error:
        return FromRecords(why_not=str(error))
    if not isinstance(main, Main):
        return found
    return replace(found, held=tuple(as_github_tells(platform, main.repository, found.held, pulls, say)))
