"""What is held: by the rules of a deployment, for whoever looks without deploying."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bot.domain.desired import Desired, Entry, Section
from bot.domain.hold import Held
from bot.domain.plan import Live, in_service, plan
from bot.domain.routes import RouteTable
from bot.operations.deployment.admission import admit_all, held_among
from bot.operations.main_branch import Main, main_beside
from bot.operations.past import Past
from bot.platform import Platform


@dataclass(frozen=True)
class Asked:
    """What main asks for, and what of it deployments refuse."""

    desired: Desired
    held: tuple[Held, ...]


def what_main_asks(platform: Platform, *, within_seconds: float | None = None) -> Asked:
    """Return what main asks for, and what of it a deployment would refuse right now. Asks no Triton and no gateway.

    Raises why main, the share or the records cannot be read; a main that does not answer ``within_seconds`` is one
    that cannot be read.
    """
    with main_beside(platform, within_seconds=within_seconds) as look:
        routes = platform.share.routes(platform.environment)
        main = look()
    if not isinstance(main, Main):
        raise main
    return _asked(platform, routes, main.desired)


def what_was_asked(platform: Platform, entries: Mapping[tuple[Section, str], Entry]) -> Asked:
    """Return the same where main cannot be read: it asks for these ``entries``, and for what is live besides."""
    routes = platform.share.routes(platform.environment)
    desired = in_service(routes, {})
    for (section, model), entry in entries.items():
        desired = desired.having(section, model, entry)
    return _asked(platform, routes, desired)


def _asked(platform: Platform, routes: RouteTable, desired: Desired) -> Asked:
    todo = plan(desired, Live(routes, {}, {}, {}), known={})
    return Asked(desired, tuple(held_among(admit_all(Past(platform), todo.changes))))
