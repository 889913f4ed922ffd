"""The past of one environment, read before anything is done there: enough to decide whether a change may proceed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from bot.domain.desired import Change
from bot.domain.quarantine import Quarantined
from bot.domain.record import DeploymentRecord, verified_by
from bot.domain.release import Slot
from bot.domain.windows import Closed
from bot.platform import Platform

if TYPE_CHECKING:
    from bot.systems.mlflow import Registry
    from bot.systems.triton.server import TritonServer

Known = TypeVar("Known")


class Past:
    """Settings, records and registry of one environment. Each is asked when it is first needed, and once."""

    def __init__(
        self,
        platform: Platform,
        *,
        history: Sequence[DeploymentRecord] | None = None,
        quarantined: Quarantined | None = None,
    ) -> None:
        """``history`` and ``quarantined`` are given by a caller that has read them already."""
        self.platform, self.settings, self.ledger = platform, platform.settings, platform.ledger
        # A lock of its own: that of functools.cached_property is one for all instances until Python 3.12, so a record
        # store that hangs would keep every other environment of the process waiting.
        self._lock = RLock()
        self._known: dict[str, Any] = {}
        if history is not None:
            self._known["history"] = list(history)
        if quarantined is not None:
            self._known["quarantined"] = quarantined

    @property
    def history(self) -> list[DeploymentRecord]:
        """All deployment records, oldest first."""
        return self._once("history", self.ledger.deployments)

    def newest(self, count: int) -> list[DeploymentRecord]:
        """Return the newest of them, oldest first; reads no more than these, unless all were read."""
        with self._lock:
            history: list[DeploymentRecord] | None = self._known.get("history")
        return self.ledger.deployments(newest=count) if history is None else history[-count:]

    @property
    def registry(self) -> Registry:
        """The model registry; opened by the first step that needs it."""
        return self.platform.registry

    def tritons(self) -> Sequence[TritonServer]:
        """Return every Triton that serves, to look at; raises Unavailable where DNS does not answer."""
        return self.platform.serving(reads_only=True).tritons

    @property
    def quarantined(self) -> Quarantined:
        """The quarantine as it was at the first look; digests that entered it later are not in it."""
        return self._once("quarantined", self.ledger.quarantined)

    @property
    def closed(self) -> Closed | None:
        """Why nothing new may go out, at the first look; None where it may."""
        return self._once("closed", lambda: self.settings.closed(datetime.now(UTC)))

    def of(self, slot: Slot) -> list[DeploymentRecord]:
        """Return what was done before in this place, oldest first."""
        return self._once("by slot", self._by_slot).get(slot, [])

    def _by_slot(self) -> dict[Slot, list[DeploymentRecord]]:
        found: dict[Slot, list[DeploymentRecord]] = {}
        for record in self.history:
            found.setdefault(record.slot, []).append(record)
        return found

    def verified_by(self, change: Change) -> DeploymentRecord | None:
        """Return the newest record that verified what this change asks for in service, or None."""
        return verified_by(self.of(change.slot), change.release, change.bundle) if change.release else None

    def goes_back(self, change: Change) -> bool:
        """Whether this change returns to what was verified in service before."""
        return self.verified_by(change) is not None

    def _once(self, name: str, ask: Callable[[], Known]) -> Known:
        with self._lock:
            if name not in self._known:
                self._known[name] = ask()
            found: Known = self._known[name]
            return found
