"""The route table: which version of each model answers, and which shadow listens.

The bot writes each generation once, as ``routes/<generation>.json``, and copies the newest to ``routes.json`` beside
that folder; every gateway reads both at start and at ``/reload``. The generation only rises; a gateway refuses an
older one. The table is the commit point of a deployment: what users get follows from it alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bot.domain import jsontext
from bot.domain.names import MAX_VERSION, check_digest, check_environment_name, check_model_name
from bot.domain.release import Lane, Slot

_TRITON_MODEL = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}")
"""A model's own name, ``-shadow``, and a dot with what tells configurations apart; in any case one plain name."""


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
class Route:
    """What happens to requests for one model: ``live`` answers, ``shadow`` receives copies."""

    live: Target | None = None
    shadow: Target | None = None

    def target(self, lane: Lane) -> Target | None:
        """Return the target in ``lane``; None where it is empty."""
        return self.live if lane is Lane.LIVE else self.shadow

    def having(self, lane: Lane, target: Target | None) -> Route:
        """Return the route with ``target`` in ``lane``, where None empties it."""
        return Route(target, self.shadow) if lane is Lane.LIVE else Route(self.live, target)


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

    @property
    def why(self) -> str:
        """Why it is in use, to follow its name."""
        return f"asked by {self.asked_by}" if self.asked_by else "in service"


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
        return self.models.get(model, Route())

    def target(self, slot: Slot) -> Target | None:
        """Return the target in ``slot``; None where it is empty."""
        return self.route(slot.model).target(slot.lane)

    @property
    def slots(self) -> dict[Slot, Target]:
        """The slots that are not empty, by model, and what is in each."""
        return {
            Slot(self.environment, model, lane): target
            for model, route in sorted(self.models.items())
            for lane in Lane
            if (target := route.target(lane)) is not None
        }

    def to_json(self) -> str:
        """Return the text of ``routes.json``."""
        models = {
            name: {
                kind: target.to_json()
                for kind, target in (("live", route.live), ("shadow", route.shadow))
                if target is not None
            }
            for name, route in sorted(self.models.items())
        }
        document = {
            "format": 1,
            "environment": self.environment,
            "generation": self.generation,
            "models": models,
        }
        return json.dumps(document, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> RouteTable:
        """Parse ``text``, that of ``routes.json``; raise ValueError that says what is wrong with it."""
        document = jsontext.read(text)
        if not isinstance(document, dict) or document.get("format") != 1:
            raise ValueError("not a routes.json of format 1")
        generation, models = document.get("generation"), document.get("models")
        if type(generation) is not int or generation < 0 or not isinstance(models, dict):
            raise ValueError("bad generation or models")
        return cls(
            environment=check_environment_name(str(document.get("environment"))),
            generation=generation,
            models={check_model_name(name): _route(entry) for name, entry in models.items()},
        )


def routed(table: RouteTable) -> list[Routed]:
    """Return every version in service, by model."""
    lanes = {lane: {slot.model: target for slot, target in table.slots.items() if slot.lane is lane} for lane in Lane}
    return [Routed(slot, target, lanes[slot.lane]) for slot, target in table.slots.items()]


def _route(entry: object) -> Route:
    if not isinstance(entry, dict) or set(entry) - {"live", "shadow"}:
        raise ValueError("a route has other keys than live and shadow")
    return Route(
        live=_target(entry["live"]) if "live" in entry else None,
        shadow=_target(entry["shadow"]) if "shadow" in entry else None,
    )


def _target(entry: object) -> Target:
    if not isinstance(entry, dict) or set(entry) != {"triton_model", "version", "digest"}:
        raise ValueError("a target has other keys than triton_model, version and digest")
    model, version, digest = entry["triton_model"], entry["version"], entry["digest"]
    if not isinstance(model, str) or type(version) is not int or not isinstance(digest, str):
        raise ValueError("a target has a value of the wrong type")
    if not _TRITON_MODEL.fullmatch(model) or not 1 <= version <= MAX_VERSION:
        raise ValueError(f"a target that Triton cannot have: {model!r:.80} {version!r:.20}")
    return Target(triton_model=model, version=version, digest=check_digest(digest))
