"""Whose fault a failed switch is: which models go back, which digests are to blame, and which routes come next.

Each fault of a server after a switch is a :class:`Failure`. One that names a model concerns that model alone: the
others stay. One that names no model puts all back, and blames no digest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bot.domain.plan import targets
from bot.domain.release import Slot
from bot.domain.routes import Route, RouteTable

Kind = Literal[
    "write", "refused", "denied", "silent", "empty", "not ready", "foreign", "other version", "lost", "answer"
]
"""
write          the routes could not be written
refused        a gateway refuses the new routes, or a server our credentials, and names no model
denied         a gateway refuses our reload token
silent         a server does not answer; where it names a model, it answers for others
empty          a Triton has lost all that the routes name: it restarted
not ready      a gateway refuses the new routes, because this model is not ready for it
foreign        something between us and a gateway answers for this model
other version  a gateway answers this model with another version
lost           a Triton had this version READY before the switch, and has it no more
answer         a Triton or a gateway answers this model otherwise than before, or not at all
"""
_BLAMES: Collection[Kind] = ("lost", "answer")
"""What points at the bytes of a model, and not at a server around it."""
AWAY: Collection[Kind] = ("silent", "denied")
"""Faults of a server that is away, or that is not ours to switch: `routes.json` still tells it where to route."""
_PASSES: Collection[Kind] = ("write", "silent", "empty")
"""Faults that are worth trying again unchanged."""


@dataclass(frozen=True)
class Failure:
    """What one server did wrong after a switch; ``item`` is the id of the change that it names, or empty."""

    kind: Kind
    server: str
    said: str
    item: str = ""


@dataclass(frozen=True)
class Switched:
    """One change of the run that is being proven. ``way_back``: it returns to what was verified before.

    ``bundle`` names what goes back as a whole; empty for a model alone.
    """

    id: str
    way_back: bool = False
    bundle: str = ""


@dataclass(frozen=True)
class Seen:
    """The findings after one switch: the failures, and for which changes each server was asked."""

    failures: tuple[Failure, ...] = ()
    asked: Mapping[str, Collection[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class GoesBack:
    """Why a change goes back.

    ``to_blame``: its digest failed, and goes into quarantine. ``retry``: it is worth trying again as it is, so Git
    goes on asking for it.
    """

    problem: str
    to_blame: bool
    retry: bool


@dataclass(frozen=True)
class Decision:
    """The fate of each change, by id. A change that is in neither stays in service, proven."""

    back: Mapping[str, GoesBack]
    incomplete: Mapping[str, str]
    """The ways back that stay although a server is not known to follow, each with the words for it."""


def decide(changes: Sequence[Switched], seen: Seen) -> Decision:
    """Decide for each change of a switch: it stays, it goes back and is to blame, or it goes back and is not.

    A server that fails every one of several models that it was asked for fails by itself: that names none of them.
    A server that does not answer, or does not take our reload token, never keeps the way back closed. What goes back
    because of others is not to blame. A bundle goes back as a whole.
    """
    unit = {change.id: change.bundle or change.id for change in changes}
    failing = {f.server for f in seen.failures if f.item and _fails_all(f.server, seen, unit)}
    of_none = [f for f in seen.failures if not f.item or f.server in failing]
    back: dict[str, GoesBack] = {}
    incomplete: dict[str, str] = {}
    for change in changes:
        own = [f for f in seen.failures if f.item == change.id]
        named = [f for f in own if f.server not in failing]
        around = [f for f in of_none if f.item in ("", change.id)] or of_none[:1]
        met = [*named, *around]
        if not met:
            continue
        problem = "; ".join(dict.fromkeys(f.said for f in met))
        if change.way_back and all(f.kind in AWAY for f in met):
            incomplete[change.id] = problem
        else:
            to_blame = not change.way_back and any(f.kind in _BLAMES for f in named)
            retry = not to_blame and all(f.kind in _PASSES for f in met)
            back[change.id] = GoesBack(problem, to_blame, retry)
    for change in changes:
        others = [one for one in changes if change.bundle and one.bundle == change.bundle and one.id in back]
        if others and change.id not in back:
            # Its bytes may be right; who goes back is the bundle, and the part that failed is to blame for it.
            why = back[others[0].id]
            back[change.id] = GoesBack(f"{others[0].id} of the same bundle: {why.problem}", False, why.retry)
            incomplete.pop(change.id, None)
    return Decision(back, incomplete)


def _fails_all(server: str, seen: Seen, unit: Mapping[str, str]) -> bool:
    """Whether it fails every one of several that it was asked for; the parts of one bundle count as one."""
    asked = {unit.get(item, item) for item in seen.asked.get(server, ())}
    failed = {unit.get(f.item, f.item) for f in seen.failures if f.server == server}
    return len(asked) > 1 and asked <= failed


def routes_with(before: RouteTable, changes: Iterable[tuple[Slot, Callable[[Route], Route]]]) -> dict[str, Route]:
    """Return the routes of ``before`` in which only these changes are made: the slot of each, and what it makes."""
    models = dict(before.models)
    for slot, change in changes:
        models[slot.model] = change(models.get(slot.model, Route()))
    return models


def is_empty(ready: Collection[tuple[str, int]], *tables: RouteTable) -> bool:
    """Whether a Triton has nothing READY of all that these tables name, although they name something."""
    named = {(target.triton_model, target.version) for table in tables for target in targets(table)}
    return bool(named) and named.isdisjoint(ready)


def load_failed(state: str, reason: str) -> bool:
    """Whether Triton's index says of a version that is not READY that its own load failed.

    One that is absent, loading or unloaded was forgotten, is slow, or was taken away: that is not its fault.
    """
    return state == "UNAVAILABLE" and reason not in ("", "unloaded")
