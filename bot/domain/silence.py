"""Since when a server does not answer: only what somebody saw, look after look."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

GAP = timedelta(hours=2)
"""Looks that are further apart prove no silence in between. The workflow *drift* looks once an hour."""
GATEWAY_GAP_SECONDS = 600.0
"""The same between two tries of a gateway; a probe of its readiness tries every few seconds."""


class Silence(BaseModel):
    """One server: silent in each look from ``since`` to ``seen``, which were never too far apart."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    since: AwareDatetime
    seen: AwareDatetime


class Silences(BaseModel):
    """The servers that did not answer the last look, by name. Kept on the share as ``silent.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    silent: Mapping[str, Silence] = {}

    def after(self, silent: Iterable[str], *, at: datetime) -> Silences:
        """Return what is known after a look ``at`` which these did not answer; all others did, or left."""
        since = self.since(at)
        return Silences(silent={name: Silence(since=since.get(name, at), seen=at) for name in sorted(silent)})

    def since(self, at: datetime) -> dict[str, datetime]:
        """Return since when each is silent, as far as the last look is recent enough to say so ``at`` this time."""
        return {name: one.since for name, one in self.silent.items() if one.seen <= at and at - one.seen <= GAP}


@dataclass(frozen=True)
class TritonsOfGateway:
    """What one process of a gateway knows of its Tritons.

    ``silent`` of the ``known`` ones do not answer, that many ``since`` then; None where that is not known. One of
    them ``answered`` last at that time.
    """

    known: int
    silent: int
    since: datetime | None = None
    answered: datetime | None = None

    def to_json(self) -> dict[str, object]:
        """Return it as ``GET /routes`` has it."""
        times = {"since": self.since, "answered": self.answered}
        return {"known": self.known, "silent": self.silent} | {
            name: at.isoformat(timespec="milliseconds") if at else None for name, at in times.items()
        }

    @classmethod
    def from_json(cls, document: object) -> TritonsOfGateway | None:
        """Return what a process says; None where it is too old to say it, or says something else."""
        match document:
            case {"known": int(known), "silent": int(silent), "since": since, "answered": answered}:
                try:
                    return cls(known, silent, _time(since), _time(answered))
                except ValueError:
                    return None
        return None


def all_silent_since(said: Iterable[TritonsOfGateway], *, tritons: int) -> datetime | None:
    """Return since when no Triton of an environment answers, by what its gateways know; None where none knows.

    Only asked where none answers us either. A gateway that knows as many, and gets an answer from none, speaks of
    the same ones, whatever their names are. Of several the earliest counts that no answer to another contradicts.
    """
    listed = list(said)
    answered = [one.answered for one in listed if one.answered is not None]
    since = [one.since for one in listed if one.since is not None and one.known == one.silent == tritons]
    return min((at for at in since if all(at >= answer for answer in answered)), default=None)


def _time(text: object) -> datetime | None:
    if text is None:
        return None
    at = datetime.fromisoformat(str(text))
    if at.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return at


@dataclass
class Tries:
    """What came of asking one server, by ``time.time()``."""

    answered: float = -math.inf
    _failed: float = field(default=-math.inf, repr=False)
    _since: float = field(default=-math.inf, repr=False)

    def failed(self, now: float) -> None:
        """Note that it could not be asked, or did not answer."""
        if self.silent_since(now) is None:
            self._since = now
        self._failed = now

    def silent_since(self, now: float) -> float | None:
        """Return since when it is known not to answer; None where it answered since, or was not tried lately."""
        if self.answered >= self._failed or now - self._failed > GATEWAY_GAP_SECONDS:
            return None
        return self._since
