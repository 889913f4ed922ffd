"""The identity of a release: where it is, and which version, bytes and run it is. Two are the same when all of it is.

Files that people write, and records, keep their own words: ``models`` and ``shadow`` are the sections of desired
state, ``live`` and ``shadow`` the keys of a route. In code it is a :class:`Lane`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from bot.domain.names import SHADOW_SUFFIX

_Section = Literal["models", "shadow"]


class Lane(StrEnum):
    """Who gets the answers: users (``live``), or nobody (``shadow``), which receives copies of requests."""

    LIVE = "live"
    SHADOW = "shadow"

    @classmethod
    def of(cls, section: _Section) -> Lane:
        """Return the lane that ``section`` of desired state fills: ``models`` or ``shadow``."""
        return cls.LIVE if section == "models" else cls.SHADOW

    @property
    def section(self) -> _Section:
        """The section of desired state that fills this lane."""
        return "models" if self is Lane.LIVE else "shadow"

    @property
    def suffix(self) -> str:
        """The text that is appended to a name that both lanes would have."""
        return SHADOW_SUFFIX if self is Lane.SHADOW else ""


@dataclass(frozen=True)
class Slot:
    """The place of one ``model`` in one ``environment`` and ``lane``; one release at a time is in it."""

    environment: str
    model: str
    lane: Lane

    @classmethod
    def of(cls, environment: str, model: str, section: _Section) -> Slot:
        """Return the slot that an entry of ``model`` in ``section`` of the desired state of ``environment`` fills."""
        return cls(environment, model, Lane.of(section))

    @property
    def section(self) -> _Section:
        """The section of desired state that fills this slot."""
        return self.lane.section

    @property
    def published_name(self) -> str:
        """The name under which Triton knows what is here, unless its configuration needs another."""
        return f"{self.model}{self.lane.suffix}"

    @property
    def alias(self) -> str:
        """The alias in MLflow that points to the version that is here."""
        return f"{self.environment}{self.lane.suffix}"

    @property
    def live(self) -> Slot:
        """The slot of the same model that answers users."""
        return Slot(self.environment, self.model, Lane.LIVE)


@dataclass(frozen=True)
class Release:
    """One version of a model in its slot. The same bytes under another version or run are another release.

    ``run`` is empty where an earlier version of promobot wrote what names the release and did not tell the run.
    """

    slot: Slot
    version: int
    digest: str
    run: str
