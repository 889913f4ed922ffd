"""The route table: which version of each model answers, which canary answers for some, and which shadow listens.

A table that divides nothing is of format 1, as every table was before there were canaries. One that divides, or has
answers compared, is of format 2, which an older gateway refuses, because it would not do what the table says.

The bot writes each generation once, as ``routes/<generation>.json``, and copies the newest to ``routes.json`` beside
that folder; every gateway reads both at start and at ``/reload``. The generation only rises; a gateway refuses an
older one. The table is the commit point of a deployment: what users get follows from it alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bot.domain import jsontext
from bot.domain.names import MAX_VERSION, check_digest, check_environment_name, check_model_name
from bot.domain.release import Lane, Slot

WHOLE = 100
"""Percent of all requests."""
_TRITON_MODEL = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}")
"""A model's own name, ``-shadow``, and a dot with what tells configurations apart; in any case one plain name."""
_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_SALT = re.compile(r"[!-~]{0,100}")


def generation_file(generation: int) -> str:
    """Return the name of a generation's file in ``routes/``; names sort as generations do."""
    return f"{generation:010d}.json"


@dataclass(frozen=True)
class Target:
    """A version as Triton knows it.

    ``triton_model`` is the directory in the model repository, ``version`` the folder in it and the version in MLflow,
    ``digest`` that of the package, ``sha256:…``.
    """

    triton_model: str
    version: int
    digest: str

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``routes.json`` holds."""
        return {"triton_model": self.triton_model, "version": self.version, "digest": self.digest}

    @classmethod
    def from_json(cls, entry: object) -> Target:
        """Parse ``entry``, which :meth:`to_json` returned; raise ValueError where it is something else."""
        return _target(entry)


@dataclass(frozen=True)
class Canary:
    """A version, ``target``, that answers ``percent`` (1 to 99) of the requests in place of the live one.

    ``key`` is the header, in lower case, whose value decides which requests these are, so that one user stays with
    one version; empty where the request's own id decides. ``salt`` tells rollouts apart: it is the judged digest, so
    another release picks other users, and all parts of a bundle pick the same. :mod:`bot.domain.dividing` divides.
    """

    target: Target
    percent: int
    key: str = ""
    salt: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``routes.json`` holds."""
        return {**self.target.to_json(), "percent": self.percent, "key": self.key, "salt": self.salt}


@dataclass(frozen=True)
class Route:
    """What happens to requests for one model: ``live`` answers, and ``canary`` answers some in its place.

    ``shadow`` receives copies of ``shadow_share`` percent (1 to 100) of them. ``partly``: Tritons get the live
    version one after another, so a gateway takes the route as soon as one of them has it. ``compared`` is the version
    before the newest: it receives copies of what the newest answers, and its answers are compared with those.
    """

    live: Target | None = None
    shadow: Target | None = None
    canary: Canary | None = None
    shadow_share: int = WHOLE
    partly: bool = False
    compared: Target | None = None

    def target(self, lane: Lane) -> Target | None:
        """Return the target in ``lane``; None where it is empty. A canary is in none."""
        return self.live if lane is Lane.LIVE else self.shadow

    def having(self, lane: Lane, target: Target | None) -> Route:
        """Return the route with ``target`` in ``lane``, where None empties it.

        A change of what is live also ends what divides its requests.
        """
        if lane is Lane.LIVE:
            return replace(self, live=target, canary=None, partly=False, compared=None)
        return replace(self, shadow=target, shadow_share=WHOLE)

    def divided(self, canary: Canary) -> Route:
        """Return the route in which ``canary`` answers its share; without one where that is what is live already."""
        return replace(self, canary=None if canary.target == self.live else canary, compared=None)

    def undivided(self) -> Route:
        """Return the route without a canary, and without what the canary's answers are compared with."""
        return self if self.canary is None else replace(self, canary=None, compared=None)

    def comparing(self, before: Target | None) -> Route:
        """Return the route in which the newest version's answers are compared with those of ``before``."""
        return replace(self, compared=None if before == self.newest else before)

    def again(self, lane: Lane, target: Target) -> Route:
        """Return the route with the same release in ``lane`` under another name, ``target``; a canary stays."""
        if lane is Lane.SHADOW:
            return replace(self, shadow=target)
        compared = target if self.compared is not None and self.compared == self.live else self.compared
        return replace(self, live=target, compared=compared)

    @property
    def newest(self) -> Target | None:
        """The version that came last: the canary, where there is one, else the live one."""
        return self.canary.target if self.canary is not None else self.live

    @property
    def answering(self) -> tuple[Target, ...]:
        """The versions that answer users: the live one, and the canary."""
        canary = self.canary.target if self.canary else None
        return tuple(target for target in (self.live, canary) if target is not None)

    @property
    def compared_beside(self) -> Target | None:
        """The version that is loaded only to be compared with; None where there is none."""
        return None if self.compared in (self.live, self.shadow) else self.compared

    @property
    def divides(self) -> bool:
        """Whether a gateway must divide its requests, so that one of before must not take it."""
        return self.canary is not None or (self.shadow is not None and self.shadow_share != WHOLE)

    @property
    def needs_format_2(self) -> bool:
        """Whether a gateway of before must not take it, because it would not do what it says."""
        return self.divides or self.partly or self.compared is not None

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``routes.json`` holds."""
        targets = {"live": self.live, "shadow": self.shadow, "canary": self.canary, "compared": self.compared}
        document: dict[str, Any] = {name: one.to_json() for name, one in targets.items() if one is not None}
        if self.shadow is not None and self.shadow_share != WHOLE:
            document["shadow_share"] = self.shadow_share
        if self.partly:
            document["partly"] = True
        return document


_NOWHERE = Route()
"""One for all: making one is a twentieth of what a gateway does for a request."""


@dataclass(frozen=True)
class Routed:
    """A version in service: the ``slot`` that it is in, and the ``target`` by which Triton knows it."""

    slot: Slot
    target: Target
    parts: Mapping[str, Target] = field(default_factory=dict, compare=False)
    """All that is in service in the same lane, by model: what it may ask. Of a bundle the parts of that release."""
    asks: frozenset[tuple[str, int]] = field(default_factory=frozenset, compare=False)
    """The versions that it asks, by the names that Triton has."""
    asked_by: str = field(default="", compare=False)
    """What asks it, as in ``fraud.1a2b3c4d 7``, where no route names it; its slot may hold another version."""
    percent: int = field(default=0, compare=False)
    """Of a canary the percent of requests that it answers, else 0; its slot holds the live version."""
    is_divided: bool = field(default=False, compare=False)
    """Whether another version answers the same users: then only a request that names the version gets this one."""
    is_compared: bool = field(default=False, compare=False)
    """Whether it is the version before, with whose answers those of its slot's version are compared."""

    @property
    def fills_its_slot(self) -> bool:
        """Whether its slot holds it: a route names it as live or as a shadow."""
        return self.is_routed and not self.percent

    @property
    def is_routed(self) -> bool:
        """Whether a route names it to answer or to listen, so that nothing else under its name does."""
        return not self.asked_by and not self.is_compared

    @property
    def answers_users(self) -> bool:
        """Whether a gateway answers users with it."""
        return self.slot.lane is Lane.LIVE and self.is_routed

    @property
    def why(self) -> str:
        """Why it is in use, to follow its name."""
        if self.asked_by:
            return f"asked by {self.asked_by}"
        if self.is_compared:
            return "what the version in service is compared with"
        return f"in service for {self.percent} % of requests" if self.percent else "in service"


@dataclass(frozen=True)
class RouteTable:
    """The routes of one ``environment`` at one ``generation`` (from 1; 0 is the empty table before the first).

    ``models`` are the routes by the model's name.
    """

    environment: str
    generation: int = 0
    models: Mapping[str, Route] = field(default_factory=dict)

    def following(self, models: Mapping[str, Route]) -> RouteTable:
        """Return the table of the next generation with the routes ``models``; a model without any drops out."""
        kept = {name: route for name, route in sorted(models.items()) if route.live or route.shadow}
        return replace(self, generation=self.generation + 1, models=kept)

    def route(self, model: str) -> Route:
        """Return the route of ``model``, which is empty for a model that is not served."""
        return self.models.get(model, _NOWHERE)

    def target(self, slot: Slot) -> Target | None:
        """Return the target in ``slot``; None where it is empty."""
        return self.route(slot.model).target(slot.lane)

    @property
    def slots(self) -> dict[Slot, Target]:
        """The slots that are not empty, by model, and what is in each. Canaries are in none: see ``canaries``."""
        return {
            Slot(self.environment, model, lane): target
            for model, route in sorted(self.models.items())
            for lane in Lane
            if (target := route.target(lane)) is not None
        }

    @property
    def canaries(self) -> dict[str, Canary]:
        """What divides the requests of a model, by model."""
        return {model: route.canary for model, route in sorted(self.models.items()) if route.canary is not None}

    def undivided(self, models: Iterable[str]) -> RouteTable:
        """Return the table of the same generation without the canaries of ``models``."""
        routes = dict(self.models)
        for model in models:
            if (route := routes.get(model)) is not None:
                routes[model] = route.undivided()
        return replace(self, models=routes)

    def to_json(self) -> str:
        """Return the text of ``routes.json``."""
        document = {
            "format": 2 if any(route.needs_format_2 for route in self.models.values()) else 1,
            "environment": self.environment,
            "generation": self.generation,
            "models": {name: route.to_json() for name, route in sorted(self.models.items())},
        }
        return json.dumps(document, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> RouteTable:
        """Parse ``text``, that of ``routes.json``; raise ValueError that says what is wrong with it."""
        document = jsontext.read(text)
        version = document.get("format") if isinstance(document, dict) else None
        if type(version) is not int or version not in (1, 2):
            raise ValueError("not a routes.json of format 1 or 2")
        generation, models = document.get("generation"), document.get("models")
        if type(generation) is not int or generation < 0 or not isinstance(models, dict):
            raise ValueError("bad generation or models")
        return cls(
            environment=check_environment_name(str(document.get("environment"))),
            generation=generation,
            models={check_model_name(name): _route(entry, divided=version == 2) for name, entry in models.items()},
        )


def routed(table: RouteTable) -> list[Routed]:
    """Return every version in service, by model: after a live version the canary beside it."""
    lanes = {lane: {slot.model: target for slot, target in table.slots.items() if slot.lane is lane} for lane in Lane}
    beside = {**lanes[Lane.LIVE], **{model: canary.target for model, canary in table.canaries.items()}}
    found: list[Routed] = []
    for slot, target in table.slots.items():
        canary = table.route(slot.model).canary if slot.lane is Lane.LIVE else None
        found.append(Routed(slot, target, lanes[slot.lane], is_divided=canary is not None))
        if canary is not None:
            found.append(Routed(slot, canary.target, beside, percent=canary.percent, is_divided=True))
        before = table.route(slot.model).compared_beside if slot.lane is Lane.LIVE else None
        if before is not None:
            found.append(Routed(slot, before, lanes[slot.lane], is_compared=True))
    return found


def _route(entry: object, *, divided: bool) -> Route:
    of_format_2 = {"canary", "shadow_share", "partly", "compared"}
    allowed = {"live", "shadow", *(of_format_2 if divided else ())}
    if not isinstance(entry, dict) or set(entry) - allowed:
        raise ValueError(f"a route has other keys than {' and '.join(sorted(allowed))}")
    share = entry.get("shadow_share", WHOLE)
    if type(share) is not int or not 1 <= share <= WHOLE or ("shadow_share" in entry and "shadow" not in entry):
        raise ValueError("shadow_share is a number from 1 to 100, and needs a shadow")
    if entry.get("partly", True) is not True or ("partly" in entry and "live" not in entry):
        raise ValueError("partly is true, and needs a live version")
    if "canary" in entry and "live" not in entry:
        raise ValueError("a canary needs a live version beside it")
    if "compared" in entry and "live" not in entry:
        raise ValueError("what is compared needs a live version")
    return Route(
        live=_target(entry["live"]) if "live" in entry else None,
        shadow=_target(entry["shadow"]) if "shadow" in entry else None,
        canary=_canary(entry["canary"]) if "canary" in entry else None,
        shadow_share=share,
        partly="partly" in entry,
        compared=_target(entry["compared"]) if "compared" in entry else None,
    )


def _canary(entry: object) -> Canary:
    if not isinstance(entry, dict) or not {"percent", "key", "salt"} <= set(entry):
        raise ValueError("a canary has other keys than those of a target, percent, key and salt")
    given = dict(entry)
    percent, key, salt = given.pop("percent"), given.pop("key"), given.pop("salt")
    if type(percent) is not int or not 1 <= percent < WHOLE:
        raise ValueError("a canary answers 1 to 99 percent")
    if not isinstance(key, str) or (key and not _HEADER.fullmatch(key)):
        raise ValueError(f"a canary's key is not the name of a header in lower case: {key!r:.80}")
    if not isinstance(salt, str) or not _SALT.fullmatch(salt):
        raise ValueError(f"a canary has a salt that is not plain text: {salt!r:.80}")
    return Canary(_target(given), percent, key, salt)


def _target(entry: object) -> Target:
    if not isinstance(entry, dict) or set(entry) != {"triton_model", "version", "digest"}:
        raise ValueError("a target has other keys than triton_model, version and digest")
    model, version, digest = entry["triton_model"], entry["version"], entry["digest"]
    if not isinstance(model, str) or type(version) is not int or not isinstance(digest, str):
        raise ValueError("a target has a value of the wrong type")
    if not _TRITON_MODEL.fullmatch(model) or not 1 <= version <= MAX_VERSION:
        raise ValueError(f"a target that Triton cannot have: {model!r:.80} {version!r:.20}")
    return Target(triton_model=model, version=version, digest=check_digest(digest))
