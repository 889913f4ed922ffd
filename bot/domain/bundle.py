"""A bundle: models that go into service together, because one of them asks the others.

An ensemble names the models of its steps, and a Python model with business logic scripting (BLS) those that its code
asks. ``bundles`` of an environment lists the parts of each in order of dependence: a part names only parts before it,
and the last one is what users ask. Publishing replaces the names by those under which Triton has exactly these parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from pydantic import BaseModel, ConfigDict, Field, JsonValue

ONLY_WHERE_GIVEN: dict[str, JsonValue] = {"x-only-where-given": True}
"""Marks, in a schema, what records hold only where a model is a part of a bundle."""


def is_not_given(value: object) -> bool:
    """Whether a field that is written only where it is given is left out."""
    return not value


Bundles = Mapping[str, Sequence[str]]
"""The parts of each bundle, in order of dependence."""


class Part(BaseModel):
    """One release in a bundle."""

    model_config = ConfigDict(frozen=True, json_schema_extra=ONLY_WHERE_GIVEN)

    model: str
    version: int
    digest: str
    run: str


class Bundle(BaseModel):
    """The releases of a bundle that belong together, in order of dependence."""

    model_config = ConfigDict(frozen=True, json_schema_extra=ONLY_WHERE_GIVEN)

    name: str
    parts: tuple[Part, ...]
    missing: tuple[str, ...] = Field(default=(), description="parts without an entry beside those that have one")

    @property
    def digest(self) -> str:
        """The one digest of all of it: the sha256 of its parts' names and digests, in their order."""
        lines = (f"{part.model} {part.digest}\n" for part in self.parts)
        return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"

    @property
    def models(self) -> tuple[str, ...]:
        """The names of its parts, in their order where all are there."""
        return (*(part.model for part in self.parts), *self.missing)

    @property
    def is_whole(self) -> bool:
        """Whether every part has an entry, or none has."""
        return not self.missing or not self.parts

    def is_held(self, quarantined: AbstractSet[str]) -> bool:
        """Whether it, or any part of it, is in quarantine: then none of it goes into service."""
        return not quarantined.isdisjoint({self.digest, *(part.digest for part in self.parts)})

    def before(self, model: str) -> tuple[Part, ...]:
        """Return the parts that ``model`` may name: those before it."""
        names = [part.model for part in self.parts]
        return self.parts[: names.index(model)] if model in names else ()


def digest_of(bundle: Bundle | None) -> str:
    """Return the digest of a bundle; empty where there is none."""
    return bundle.digest if bundle else ""


def bundle_of(model: str, bundles: Bundles) -> str:
    """Return the name of the bundle that ``model`` is a part of; empty where it is a part of none."""
    return next((name for name, parts in bundles.items() if model in parts), "")


def needs_no_gate(model: str, bundles: Bundles) -> bool:
    """Whether ``model`` is a part that others ask: the last part, which users ask, is judged for all of them."""
    return any(model in parts[:-1] for parts in bundles.values())


def order_of(model: str, bundles: Bundles) -> int:
    """Return the place of ``model`` in its bundle, from 0 on; 0 also where it is a part of none."""
    return next((list(parts).index(model) for parts in bundles.values() if model in parts), 0)
