"""``promobot status``: what is desired, what is live everywhere, why they differ, what to type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal

from bot.concurrency import SERVERS, map_concurrent
from bot.domain.bundle import Bundle
from bot.domain.bundled import bundle_in
from bot.domain.desired import SECTIONS, Change, Desired, Section
from bot.domain.hold import Held
from bot.domain.journal import Journal
from bot.domain.names import short
from bot.domain.plan import Live, aimed_at, in_service, serves
from bot.domain.policy import Decided
from bot.domain.proven import ProvenWay
from bot.domain.record import DeploymentRecord
from bot.domain.release import Slot
from bot.domain.rollout import Bakes
from bot.domain.routes import routed
from bot.domain.underway import step_of
from bot.domain.users import WORST_FIRST, Users, users_of
from bot.domain.way_back import latest
from bot.domain.windows import Closed
from bot.operations.main_branch import Main
from bot.operations.opened import open_revert_of
from bot.operations.seen import Seen, Watched, see
from bot.render import differences as words
from bot.render.deployment import describe
from bot.render.proposal import revert_of

if TYPE_CHECKING:
    from bot.platform import Platform


@dataclass(frozen=True)
class ModelStatus:
    """One model on one path: what is wanted, and what each system has. None stands for "does not answer".

    ``desired`` is "unknown", and ``agrees`` None, where main cannot be read.
    """

    model: str
    section: Section
    desired: int | Literal["unknown"] | None
    routed: int | None
    tritons: dict[str, bool | None]
    gateways: dict[str, int | bool | None]
    agrees: bool | None
    pending: tuple[str, ...] = ()
    canary: int | None = None
    """The version that answers ``percent`` of the requests beside the routed one; None where none does."""
    percent: int = 0


@dataclass(frozen=True)
class Difference:
    """One way in which the world is not as Git says, and what to type about it."""

    kind: str
    what: str
    next_step: str


Placed = tuple[Slot | None, Difference]
"""A difference, and the slot that it is of; None where it is of no one slot."""


@dataclass(frozen=True)
class Status:
    """One environment, now. ``commit`` is empty, and ``unknown`` says why, where main cannot be read."""

    environment: str
    commit: str
    generation: int
    models: tuple[ModelStatus, ...]
    differences: tuple[Difference, ...]
    quarantined: tuple[str, ...] = ()
    undelivered: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())
    unknown: str = ""
    users: tuple[Users, ...] = ()
    """Those of each model that is in service, the worst first."""
    held: tuple[Held, ...] = ()
    underway_since: datetime | None = None
    """When the deployment began that is under way, or was cut off."""
    failed: DeploymentRecord | None = None
    """The newest deployment that failed, where nothing of its model was deployed since."""
    silent: Mapping[str, datetime | None] = field(default_factory=dict)
    """The servers that do not answer, and since when, as far as earlier looks saw it."""
    bundles: tuple[Bundle, ...] = ()
    """The bundles in service, with what each has of its parts."""
    bakes: tuple[Bakes, ...] = ()
    """The versions that bake, and how each stands."""
    closed: Closed | None = None
    """Why nothing new may go out now, and until when; None where it may."""
    policies: tuple[Decided, ...] = ()
    """The decisions about open pull requests: which merge by themselves, and why others do not.

    ``drift`` does not ask for them.
    """

    ways_back: tuple[ProvenWay, ...] = ()
    """What answers, and the version before it where that is loaded: whether each answered its golden requests.

    Only ``drift`` asks.
    """

    @property
    def in_sync(self) -> bool:
        """Whether nothing differs, as far as everybody answered."""
        return not self.differences


def statuses(platforms: Sequence[Platform], watched: Watched | None = None) -> list[Status]:
    """Look at several environments at the same time; return them in their order.

    ``watched`` is what somebody who looks again and again keeps between the looks.
    """
    look = partial(status, watched=watched)
    if len(platforms) == 1:
        return [look(platforms[0])]
    return map_concurrent(platforms, look, limit=SERVERS)


@dataclass(frozen=True)
class Look:
    """One look at an environment: what was found, what everybody had, and main, None where it cannot be read."""

    found: Status
    live: Live
    desired: Desired | None


def status(platform: Platform, watched: Watched | None = None) -> Status:
    """Look at what everybody says of itself, change nothing; what takes longer is left to drift."""
    found = looked(platform, watched).found
    # A look that is repeated would ask GitHub as often.
    return found if watched is not None else replace(found, policies=_policies(platform))


def looked(platform: Platform, watched: Watched | None = None) -> Look:
    """Return the status, and also what the look saw: ``drift`` goes on from there.

    ``watched`` holds the servers that did not answer at the previous look, by environment. The function updates it.
    """
    seen = see(platform, watched)
    known = seen.main if isinstance(seen.main, Main) else None
    return Look(judged(seen, _bakes(platform, seen)), seen.live, known.desired if known else None)


def judged(seen: Seen, bakes: tuple[Bakes, ...], placed: Sequence[Placed] | None = None) -> Status:
    """Return the status of what was seen; ``bakes`` are the versions that bake.

    ``placed`` are the differences, from a caller that has them already.
    """
    rows, placed = _rows(seen), placed_differences(seen) if placed is None else placed
    return Status(
        environment=seen.environment,
        commit=seen.main.commit if isinstance(seen.main, Main) else "",
        generation=seen.live.routes.generation,
        models=tuple(rows),
        differences=tuple(difference for _, difference in placed),
        quarantined=tuple(
            f"{e.model} {e.version} ({short(e.digest)}): {e.reason}" for e in seen.records.quarantined.values()
        ),
        undelivered=seen.outbox,
        problems=seen.problems,
        unknown=seen.unknown,
        users=_users(rows, seen.silences, seen.at),
        held=seen.records.held,
        underway_since=_underway_since(seen.journal),
        failed=seen.records.failed,
        silent=seen.silences,
        bundles=tuple(_bundles(seen)),
        bakes=bakes,
        closed=seen.settings.closed(seen.at),
    )


def _bakes(platform: Platform, seen: Seen) -> tuple[Bakes, ...]:
    if not any(rules.watched for rules in seen.settings.rollout.values()) or seen.records.why_not:
        return ()
    from bot.operations.watching import bakes

    return bakes(platform, seen.live.routes, seen.at)


def _policies(platform: Platform) -> tuple[Decided, ...]:
    if platform.settings.merge is None:
        return ()
    from bot.operations.policies import look_at_policies

    return look_at_policies(platform, now=datetime.now(UTC))


def _bundles(seen: Seen) -> Iterator[Bundle]:
    served = in_service(seen.live.routes, {})
    for name, parts in seen.settings.bundles.items():
        for section in SECTIONS:
            found = bundle_in(served.section(section), name, parts)
            if found.parts:
                yield found


def placed_differences(seen: Seen) -> list[Placed]:
    """Return how what was seen differs from what main says, and what to type about each, each with its slot."""
    deploy = _step_that_deploys(seen)
    return [
        *_not_known(seen),
        *((None, one) for one in _unfinished(seen)),
        *_not_as_desired(seen, deploy),
        *_quarantined_in_service(seen),
        *_tritons_behind(seen, deploy),
        *((None, one) for one in of_unknown_workers(seen.environment, seen.unproven)),
        *((None, one) for one in _gateways_behind(seen, deploy)),
        *((None, Difference("slack", f"the message of {name} is in the outbox", deploy)) for name in seen.outbox),
    ]


def of_unknown_workers(environment: str, unproven: Mapping[str, str]) -> list[Difference]:
    """Return the gateways of which nobody knows all processes."""
    return [
        Difference("gateway", f"gateway {gateway} cannot be switched: {why}", words.doctor(environment))
        for gateway, why in unproven.items()
    ]


def _step_that_deploys(seen: Seen) -> str:
    """Return what to type so that a deployment puts something right."""
    if seen.records.why_not:
        return words.doctor(seen.environment)  # without records it refuses
    if isinstance(seen.journal, Journal):
        return _wait_for(seen.environment)
    return words.deploy(seen.environment)


def _not_known(seen: Seen) -> list[Placed]:
    """Return what nobody can know now: main, settings, records, who is silent; and the reverts still to be opened."""
    doctor, deploy = words.doctor(seen.environment), words.deploy(seen.environment)
    main = [Difference("main", f"desired: unknown. {seen.unknown}", doctor)] if seen.unknown else []
    why_not = seen.records.why_not
    correct = words.correct(seen.environment)
    before = [*main, *(Difference("settings", str(one), correct) for one in seen.settings.mistakes)]
    reverts: list[Placed] = [
        (
            way.slot,
            Difference(
                "revert", f"{revert_of(way.model, way.target.version, way.by, way.at)} is not open yet", deploy
            ),
        )
        for way in latest(seen.ways).values()
    ]
    behind = [
        *(Difference("revert", said, words.open_it_anew()) for said in seen.unreadable_ways),
        *([Difference("records", f"what is in quarantine is not known: {why_not}", doctor)] if why_not else []),
        *(Difference("silent", why, doctor) for why in seen.todo.silent.values()),
    ]
    return [*((None, one) for one in before), *reverts, *((None, one) for one in behind)]


def _unfinished(seen: Seen) -> list[Difference]:
    """Return the deployment that is under way, or was cut off."""
    journal = seen.journal
    if isinstance(journal, Journal):
        said = _under_way(journal, [step_of(item, seen.live) for item in journal.underway])
        return [Difference("unfinished", said, _wait_for(seen.environment))]
    # Who cannot read it cannot say that no deployment is under way.
    return [Difference("unfinished", str(journal), journal.next_step)] if journal is not None else []


def _not_as_desired(seen: Seen, deploy: str) -> list[Placed]:
    """Return what main asks for and is not live: what a deployment refuses with its reason, and the rest."""
    held = {one.change: one for one in seen.records.held}
    found: list[Placed] = []
    for change in seen.todo.changes:
        if one := held.get(change):
            kind = words.KIND_OF_HOLD.get(one.hold.cause, "held")
            found.append((change.slot, Difference(kind, words.is_held(one), one.hold.next_step)))
        else:
            found.append((change.slot, Difference("desired", _differs(change), deploy)))
    return found


def _quarantined_in_service(seen: Seen) -> list[Placed]:
    """Return what main asks for, is live, and is in quarantine."""
    if seen.unknown:
        return []
    found: list[Placed] = []
    for what in routed(seen.live.routes):
        event = seen.records.quarantined.get(what.target.digest)
        wanted = seen.desired.section(what.slot.section).get(what.slot.model)
        if event is not None and serves(what.target, wanted):
            change = Change(seen.environment, what.slot.section, what.slot.model, wanted, wanted)
            said = (
                f"{what.slot.model} {what.target.version} is in service in {seen.environment}, and in quarantine "
                f"there: {event.reason}"
            )
            revert = open_revert_of(change, seen.opened)
            step = words.merge_revert(change) if revert is None else words.merge_open(revert, change.model)
            found.append((what.slot, Difference("serves quarantined", said, step)))
    return found


def _tritons_behind(seen: Seen, deploy: str) -> list[Placed]:
    slots = {what.target: what.slot for what in routed(seen.live.routes)} if any(seen.todo.load.values()) else {}
    return [
        (
            slots.get(target),
            Difference(
                "triton", f"{target.triton_model} {target.version} is routed but not READY on Triton {triton}", deploy
            ),
        )
        for triton, missing in seen.todo.load.items()
        for target in missing
    ]


def _gateways_behind(seen: Seen, deploy: str) -> list[Difference]:
    generations = {name: table.generation if table else 0 for name, table in seen.live.gateways.items()}
    return [
        Difference(
            "gateway",
            f"gateway {name} serves generation {generations[name]}, not {seen.live.routes.generation}",
            deploy,
        )
        for name in seen.todo.reload
    ]


def _rows(seen: Seen) -> list[ModelStatus]:
    """Return a row for each model on each path that is desired, live, or proposed."""
    return [
        _row(seen, section, model)
        for section in SECTIONS
        for model in sorted(
            {
                *seen.desired.section(section),
                *(slot.model for slot in seen.live.routes.slots if slot.section == section),
                # A proposal of a model that was never served is seen, too.
                *(one.change.model for one in seen.opened if one.change.section == section),
            }
        )
    ]


def _row(seen: Seen, section: Section, model: str) -> ModelStatus:
    entry, slot = seen.desired.section(section).get(model), Slot.of(seen.environment, model, section)
    target = seen.live.routes.target(slot)
    canary = seen.live.routes.route(model).canary if section == "models" else None
    through = {name: None if table is None else table.target(slot) for name, table in seen.live.gateways.items()}
    return ModelStatus(
        model=model,
        section=section,
        desired="unknown" if seen.unknown else entry.version if entry else None,
        routed=target.version if target else None,
        tritons={
            name: None if loaded is None else target is None or (target.triton_model, target.version) in loaded
            for name, loaded in seen.live.tritons.items()
        },
        gateways={
            name: False if table is None else there.version if (there := through[name]) else None
            for name, table in seen.live.gateways.items()
        },
        agrees=None if seen.unknown else serves(aimed_at(seen.live.routes.route(model), slot.lane), entry),
        pending=tuple(one.said for one in seen.opened if one.is_of(model, section)),
        canary=canary.target.version if canary else None,
        percent=canary.percent if canary else 0,
    )


def _users(rows: Sequence[ModelStatus], silences: Mapping[str, datetime | None], now: datetime) -> tuple[Users, ...]:
    """Return how the users of each model are; a shadow has none."""
    since = {name: at for name, at in silences.items() if at is not None}
    found = [
        users_of(row.model, row.routed, tritons=row.tritons, gateways=row.gateways, since=since, now=now)
        for row in rows
        if row.section == "models" and row.routed is not None
    ]
    return tuple(sorted(found, key=lambda users: WORST_FIRST.index(users.health)))


def _underway_since(journal: object) -> datetime | None:
    if not isinstance(journal, Journal):
        return None
    return min((item.started_at for item in journal.underway), default=None)


def _under_way(journal: Journal, steps: Sequence[str]) -> str:
    """Somebody deploys: what, since when, at which step, and who. ``steps`` are those of the journal's changes."""
    by = f", by {journal.by}" if journal.by else ""
    if not journal.underway:
        return f"a deployment is under way{by}, or was cut off"
    began = min(item.started_at for item in journal.underway)
    what = [
        f"{item.model}{f' {item.after.version}' if item.after else ''} ({step})"
        for item, step in zip(journal.underway, steps, strict=True)
    ]
    more = f" and {len(what) - 5} more" if len(what) > 5 else ""
    return f"a deployment is under way since {began:%Y-%m-%d %H:%M} UTC{by}: {', '.join(what[:5])}{more}"


def _wait_for(environment: str) -> str:
    """Somebody deploys already."""
    return f"wait for its end; where its run is over, it was cut off: {words.deploy(environment)}"


def _differs(change: Change) -> str:
    """Desired is not what is routed."""
    why = f" ({change.retired})" if change.retired else ""
    now = f"{change.before.version} is live" if change.before else "nothing is live"
    return f"{describe(change)} is desired{why}, {now}"
