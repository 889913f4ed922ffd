"""What differs between desired and live, and what has to happen for each difference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from bot.domain.desired import SECTIONS, Change, Desired, Entry, KnownEntries, Section
from bot.domain.release import Lane
from bot.domain.routes import WHOLE, Route, RouteTable, Target

Loaded = frozenset[tuple[str, int]]
"""(triton_model, version) pairs that a Triton has READY."""
Named = Mapping[str, AbstractSet[Target]]
"""The targets that are in use, by the name under which Triton has them."""


@dataclass(frozen=True)
class Live:
    """What every system says it has, now. None stands for a system that did not answer."""

    routes: RouteTable
    tritons: Mapping[str, Loaded | None]
    gateways: Mapping[str, RouteTable | None]
    silent: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """Desired less live. ``load`` names, by Triton, what routes need and it does not have READY."""

    changes: tuple[Change, ...]
    load: Mapping[str, tuple[Target, ...]]
    reload: tuple[str, ...]
    silent: Mapping[str, str]

    @property
    def nothing(self) -> bool:
        """Whether the environment is as desired, everywhere, as far as everybody answered."""
        return not (self.changes or any(self.load.values()) or self.reload or self.silent)


def ahead_of(live: Live) -> tuple[str, RouteTable] | None:
    """Return the gateway that serves the highest generation of the routes, where the share does not know it yet.

    That happens only where the share is older than the gateways: it came out of a backup, or is a new one.
    """
    ahead = [
        (table.generation, name, table)
        for name, table in live.gateways.items()
        if table is not None
        and table.environment == live.routes.environment
        and table.generation > live.routes.generation
    ]
    _, name, table = max(ahead, key=lambda one: one[:2], default=(0, "", None))
    return (name, table) if table is not None else None


def targets(table: RouteTable) -> list[Target]:
    """Return every target of the table: live ones, shadows, canaries, and what is compared with these."""
    compared = (route.compared_beside for route in table.models.values())
    return [
        *table.slots.values(),
        *(canary.target for canary in table.canaries.values()),
        *(target for target in compared if target is not None),
    ]


def by_name(given: Iterable[Target]) -> Named:
    """Return these targets by name."""
    found: dict[str, set[Target]] = {}
    for target in given:
        found.setdefault(target.triton_model, set()).add(target)
    return found


def serves(target: Target | None, entry: Entry | None) -> bool:
    """Say whether the target is what the entry asks for."""
    if target is None or entry is None:
        return target is None and entry is None
    return (target.version, target.digest) == (entry.version, entry.digest)


def plan(desired: Desired, live: Live, *, known: KnownEntries, asked: Sequence[Target] = ()) -> Plan:
    """Compare. ``known`` gives the entries in service, for what a route does not say (the run).

    ``asked`` is what the routes need besides what they name, because it is asked by that. A canary that main asks for
    makes no change: its rollout goes on. One that main does not ask for makes one, also beside what main asks for.
    """
    changes = [
        Change(
            desired.environment,
            section,
            model,
            _entry(
                model, _left_for(entry, live.routes.route(model), lane), known, _share(live.routes.route(model), lane)
            ),
            entry,
            desired.why_retired(section, model),
        )
        for section in SECTIONS
        for lane in [Lane.of(section)]
        for model in sorted({*desired.section(section), *live.routes.models})
        for entry in [desired.section(section).get(model)]
        if not serves(aimed_at(live.routes.route(model), lane), entry)
        or _copies_other_share(live.routes.route(model), lane, entry)
    ]
    needed = [*asked, *targets(live.routes)]
    return Plan(
        changes=tuple(changes),
        load={
            name: tuple(t for t in needed if (t.triton_model, t.version) not in loaded)
            for name, loaded in live.tritons.items()
            if loaded is not None
        },
        reload=tuple(
            name
            for name, table in live.gateways.items()
            if table is not None and (table.generation, table.models) != (live.routes.generation, live.routes.models)
        ),
        silent=live.silent,
    )


def _copies_other_share(route: Route, lane: Lane, entry: Entry | None) -> bool:
    """Whether only the share of requests is another, of which a shadow gets copies."""
    return lane is Lane.SHADOW and entry is not None and route.shadow_share != entry.percent


def _share(route: Route, lane: Lane) -> float | None:
    return route.shadow_share / WHOLE if lane is Lane.SHADOW and route.shadow_share != WHOLE else None


def aimed_at(route: Route, lane: Lane) -> Target | None:
    """Return what a lane is to have in the end: the canary, where one is on its way to all users."""
    return route.canary.target if route.canary is not None and lane is Lane.LIVE else route.target(lane)


def _left_for(entry: Entry | None, route: Route, lane: Lane) -> Target | None:
    """Return what a change to ``entry`` replaces: what is live, or the canary where that alone has to go."""
    there = route.target(lane)
    return aimed_at(route, lane) if serves(there, entry) else there


def in_service(table: RouteTable, known: KnownEntries) -> Desired:
    """Return what the table serves, in the terms of desired state; canaries are left out."""
    return _entries_of(table, known, Route.target)


def asked_for(table: RouteTable, known: KnownEntries) -> Desired:
    """Return the desired state that would leave the table as it is: canaries stay on their way."""
    return _entries_of(table, known, aimed_at)


def _entries_of(table: RouteTable, known: KnownEntries, of: Callable[[Route, Lane], Target | None]) -> Desired:
    found: dict[Section, dict[str, Entry]] = {"models": {}, "shadow": {}}
    for model, route in table.models.items():
        for section in SECTIONS:
            entry = _entry(model, of(route, Lane.of(section)), known, _share(route, Lane.of(section)))
            if entry is not None:
                found[section][model] = entry
    return Desired(environment=table.environment, models=found["models"], shadow=found["shadow"])


def _entry(model: str, target: Target | None, known: KnownEntries, share: float | None = None) -> Entry | None:
    if target is None:
        return None
    entry = known.get((model, target.version, target.digest))
    run = entry.run if entry else "unknown"
    return Entry(version=target.version, digest=target.digest, run=run, share=share)
