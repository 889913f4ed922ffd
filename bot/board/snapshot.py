"""All that the board knows of one environment at one moment, and which of it is no longer known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from bot.domain.quarantine import Quarantined
from bot.domain.record import DeploymentRecord
from bot.domain.release import Slot
from bot.domain.shadowed import Copies
from bot.operations.seen import Seen
from bot.operations.status import Difference, Status
from bot.settings import Environment

ServerState = Literal["ok", "down", "unknown"]


@dataclass(frozen=True)
class Fresh:
    """Whether one thing is known: it was last true ``at``. ``why`` it is not known now; empty where it is."""

    name: str
    at: datetime | None = None
    why: str = ""
    since: datetime | None = None
    """Since when it is not known: when it was last true, or else when it was first asked for in vain."""

    @property
    def is_known(self) -> bool:
        """Whether it is known now."""
        return not self.why


@dataclass(frozen=True)
class Server:
    """One Triton or gateway. ``down`` does not answer; of ``unknown`` nobody can say whether it does."""

    name: str
    kind: Literal["Triton", "gateway"]
    state: ServerState
    since: datetime | None = None
    why: str = ""


@dataclass(frozen=True)
class Rate:
    """What users asked of one model: in the last minute, and since the same versions answer for it."""

    version: int
    since: datetime
    requests: int
    failed: int
    per_second: float | None = None
    """In about the last minute; None until two looks were so far apart."""
    failed_share: float = 0.0
    """Of the requests of the last minute."""
    p95_seconds: float | None = None


@dataclass(frozen=True)
class Counted:
    """The counts of all gateways together, without those that are ``missing``."""

    models: Mapping[str, Rate] = field(default_factory=dict)
    shadows: Mapping[str, Copies] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """One environment. ``broken`` is why its settings cannot be read; then the rest is what was known before.

    ``seen`` and ``status`` are None until routes were read somewhere. ``routes_by`` says where: where the share does
    not answer, the gateways tell what users get.
    """

    environment: str
    at: datetime
    broken: str = ""
    settings: Environment | None = None
    seen: Seen | None = None
    status: Status | None = None
    differences: Sequence[tuple[Slot | None, Difference]] = ()
    """Those of the status, each with the slot that it is of; None where it is of no one slot."""
    routes_by: Literal["share", "gateways"] = "share"
    parts: Mapping[str, Fresh] = field(default_factory=dict)
    servers: Sequence[Server] = ()
    counted: Counted = field(default_factory=Counted)
    records: Mapping[Slot, Sequence[DeploymentRecord]] = field(default_factory=dict)
    """The deployment records of each slot, oldest first."""
    quarantined: Quarantined = field(default_factory=dict)
    listing: frozenset[str] = frozenset()
    """The keys of the records that the board shows as they are."""

    def part(self, name: str) -> Fresh:
        """Return how fresh one thing is; one that was never asked for is not known."""
        return self.parts.get(name) or Fresh(name, why="it has not been read yet")
