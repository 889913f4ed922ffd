"""A way back that was taken at once, and whose revert pull request is still to be opened."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.domain.bundle import Bundle
from bot.domain.bundled import entries_of
from bot.domain.desired import Entry
from bot.domain.record import DeploymentRecord, turn_of
from bot.domain.release import Lane, Slot
from bot.errors import PromobotError, Refused


class WayBack(BaseModel):
    """A rollback that a person did at once. It is kept on the share until the pull request for it is open.

    It is written before the switch, so a rollback that is killed, or that cannot reach GitHub, is followed by its
    pull request all the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    environment: str
    model: str
    turn: int = Field(ge=1, description="the turn of the rollback; of two for one model the later one counts")
    commit: str = Field(description="head of main when it began; empty where main could not be read")
    left: Entry | None = Field(description="what the rollback left: main's entry, or what answered")
    target: Entry = Field(description="what the rollback went to")
    reason: str
    by: str
    note: str = Field(default="", description="the paragraph of the pull request's text that says who asked")
    slack: str = Field(default="", description="id of the Slack user who asked")
    github: str = Field(default="", description="GitHub login of who asked")
    at: datetime
    bundle: Bundle | None = Field(default=None, description="the bundle that it went to, where the model is a part")
    left_bundle: Bundle | None = Field(default=None, description="the bundle that it left")

    @property
    def about(self) -> str:
        """The model under which it is known: of a bundle the part that users ask, whichever part was named."""
        return self.bundle.models[-1] if self.bundle else self.model

    @property
    def whole(self) -> dict[str, Entry]:
        """What goes back, by model: the parts of its bundle, or the model alone."""
        return entries_of(self.bundle) or {self.model: self.target}

    def is_overtaken(self, wanted: Entry | None, *, was_verified: bool, asks: Bundle | None = None) -> bool:
        """Say whether people have decided anew since: ``wanted`` is what main asks for now, ``asks`` in which bundle.

        They have if main could be read and said something else. Where it could not be read, ``wanted`` may have been
        there all along, so it counts as a new decision only if it was verified in service: a way back of its own.
        """
        if self.left_bundle is not None and asks is not None:
            is_same = self.left_bundle.digest == asks.digest
        else:
            is_same = _is_same(wanted, self.left)
        return not is_same and (bool(self.commit) or was_verified)

    @property
    def slot(self) -> Slot:
        """The place that went back."""
        return Slot(self.environment, self.model, Lane.LIVE)

    @property
    def name(self) -> str:
        """Name of its file, without the ending."""
        return f"{self.turn:08d}-{self.model}"


def decided_since(way: WayBack, records: Iterable[DeploymentRecord]) -> bool:
    """Say whether a later turn brought something else into service: then the note came out of a backup."""
    later = (one for one in records if one.slot == way.slot and turn_of(one.id, way.environment) > way.turn)
    return any(one.verified and one.after != way.target for one in later)


def _is_same(one: Entry | None, other: Entry | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.version, one.digest) == (other.version, other.digest)


def latest(ways: Iterable[WayBack]) -> dict[str, WayBack]:
    """Return the one way back that counts for each model or bundle: that of the highest turn."""
    found: dict[str, WayBack] = {}
    for way in sorted(ways, key=lambda way: way.turn):
        found[way.about] = way
    return found


def choose(
    verified: Iterable[Entry], *, leaves: Entry | None, quarantined: AbstractSet[str], to_version: int | None
) -> Entry | None:
    """Choose what to go back to among the ``verified`` entries, newest first; None where there is nothing.

    It is neither what is left nor what is in quarantine; and only ``to_version``, if a person named one.
    """
    for entry in verified:
        stays = (leaves is not None and entry.digest == leaves.digest) or entry.digest in quarantined
        if not stays and to_version in (None, entry.version):
            return entry
    return None


def choose_bundle(
    verified: Iterable[Bundle], *, leaves: str, model: str, quarantined: AbstractSet[str], to_version: int | None
) -> Bundle | None:
    """Choose the bundle to go back to among the ``verified`` ones, newest first; None where there is nothing.

    It is neither the one with the digest that is left, nor one of which any part is in quarantine. If a person named
    a version, it is that of the part ``model``.
    """
    for bundle in verified:
        stays = bundle.digest == leaves or bundle.is_held(quarantined)
        if not stays and to_version in (None, entries_of(bundle)[model].version):
            return bundle
    return None


def may_wait(error: PromobotError, *, main_is_known: bool, is_noted: bool) -> bool:
    """Decide whether a revert that could not be opened is left to the next deployment.

    It is if the share kept the note, unless somebody refused what main was read to say: that does not pass.
    """
    return is_noted and not (main_is_known and isinstance(error, Refused))
