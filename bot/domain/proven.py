"""The way back, proven before anybody needs it: what drift asked of what answers, and of the version before it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.domain.desired import Entry


class ProvenWay(BaseModel):
    """A version to which users can go back, and whether it answered its golden requests on every Triton."""

    model_config = ConfigDict(frozen=True)

    model: str
    version: int
    digest: str
    place: Literal["in service", "warm"] = Field(
        description="in service: it answers, so it is the way back of what comes next; warm: it is loaded beside that"
    )
    wrong: str = Field(default="", description="what was wrong; empty where it answered rightly everywhere")

    def is_of(self, model: str, entry: Entry) -> bool:
        """Whether it tells of this entry."""
        return (self.model, self.version, self.digest) == (model, entry.version, entry.digest)


class WaysBackNote(BaseModel):
    """The ways back that one deep look asked."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    at: datetime
    ways: tuple[ProvenWay, ...]


@dataclass(frozen=True)
class WayProof:
    """The findings of the newest look about one way back, as they read at ``now``."""

    way: ProvenWay
    at: datetime
    now: datetime


def proof_of(note: WaysBackNote | None, model: str, entry: Entry | None, *, now: datetime) -> WayProof | None:
    """Return the proof of the way back to an entry; None where nobody noted one."""
    found: Iterable[ProvenWay] = note.ways if note is not None and entry is not None else ()
    way = next((one for one in found if entry is not None and one.is_of(model, entry)), None)
    return WayProof(way, note.at, now) if way is not None and note is not None else None
