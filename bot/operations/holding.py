"""The changes that a deployment would hold, by its own rules, for commands that look and do not deploy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from bot.domain.bundled import together
from bot.domain.desired import Change, Desired, Entry, Section
from bot.domain.hold import Held
from bot.domain.plan import Live, asked_for, plan
from bot.domain.routes import RouteTable
from bot.operations import Say
from bot.operations.attempts import reported
from bot.operations.deployment.admission import admit_all, held_among
from bot.operations.latest_merges import LatestMerges, checked_in
from bot.operations.main_branch import Look, Main, main_beside
from bot.operations.opened import Opened, open_pull_requests, open_revert_of, opened
from bot.operations.past import Past
from bot.platform import Platform
from bot.render import differences as words

if TYPE_CHECKING:
    from bot.systems.git import Repository


@dataclass(frozen=True)
class MainAsks:
    """What main asks for, and what of it deployments refuse."""

    desired: Desired
    held: tuple[Held, ...]
    changes: tuple[Change, ...] = ()
    """Its wishes that users do not get, held ones among them."""


def what_main_asks(platform: Platform, *, within_seconds: float | None = None) -> MainAsks:
    """Return what main asks for, and what of it a deployment would refuse right now. Asks no gateway, and
    no Triton but for room.

    A hold's ``since`` is that of its cause: main may ask for the change since later. Raises why main, the share or
    the records cannot be read; a main that does not answer ``within_seconds`` is one that cannot be read.
    """
    with main_beside(platform, within_seconds=within_seconds) as look:
        return _asked_by(platform, look)[1]


def what_is_held(platform: Platform, *, within_seconds: float | None = None, say: Say) -> list[Held]:
    """Return what of main's wishes a deployment would refuse right now, and since when, as GitHub tells it.

    The step names the open revert that takes it back. ``say`` receives what GitHub does not answer. Raises as
    :func:`what_main_asks`.
    """
    with main_beside(platform, within_seconds=within_seconds) as look:
        main, asked = _asked_by(platform, look)
        return _as_github_tells(platform, main.repository, asked.held, say)


def _asked_by(platform: Platform, look: Look) -> tuple[Main, MainAsks]:
    routes = platform.share.routes.read(platform.environment)
    main = look()
    if not isinstance(main, Main):
        raise main
    return main, _asked(platform, routes, main.desired)


def _as_github_tells(platform: Platform, repository: Repository, held: Sequence[Held], say: Say) -> list[Held]:
    if not held:
        return []
    found = opened(platform.environment, repository, partial(open_pull_requests, platform), say)
    return as_github_tells(platform, repository, held, found, say)


def what_was_asked(platform: Platform, entries: Mapping[tuple[Section, str], Entry]) -> MainAsks:
    """Return the same where main cannot be read: it asks for these ``entries``, and for what is live besides."""
    routes = platform.share.routes.read(platform.environment)
    desired = asked_for(routes, {})
    for (section, model), entry in entries.items():
        desired = desired.having(section, model, entry)
    return _asked(platform, routes, desired)


def _asked(platform: Platform, routes: RouteTable, desired: Desired) -> MainAsks:
    todo = plan(desired, Live(routes, {}, {}, {}), known={})
    name = platform.environment
    asked = together(todo.changes, {name: desired}, {name: platform.settings.bundles})
    return MainAsks(desired, tuple(held_among(admit_all(Past(platform), asked))), tuple(asked))


def as_github_tells(
    platform: Platform, repository: Repository, held: Sequence[Held], pulls: Sequence[Opened], say: Say
) -> list[Held]:
    """Return what is held, each since main asks for it at the earliest; without ``since`` where GitHub does not tell.

    Where one of the open ``pulls`` takes back what main asks for, the step names it: nobody needs to open one.
    """
    held = [_with_revert(one, open_revert_of(one.change, pulls)) for one in held]
    if not held:
        return []
    with reported(say):
        merged = LatestMerges(repository, platform.environment, platform.github.merged_pull_requests())
        found = []
        for one in held:
            pull = merged.that_asked(one.change, checked_in=checked_in(platform.ledger, one.change))
            found.append(Held(one.change, one.hold.no_earlier_than(pull.merged_at if pull else None)))
        return found
    return [Held(one.change, one.hold.no_earlier_than(None)) for one in held]


def _with_revert(held: Held, revert: int | None) -> Held:
    step = words.step_about(held.hold, held.change, revert)
    return replace(held, hold=replace(held.hold, next_step=step))
