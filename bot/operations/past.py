"""What is known of one environment before anything is done there: enough to decide whether a change may go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from bot.domain.desired import Change, Section
from bot.domain.record import DeploymentRecord, verified_by
from bot.platform import Platform
from bot.records.ledger import QuarantineEvent

if TYPE_CHECKING:
    from bot.systems.mlflow import Registry

Known = TypeVar("Known")


class Past:
    """Settings, records and registry of one environment. Each is asked when it is first needed, and once."""

    def __init__(self, platform: Platform) -> None:
        self.platform, self.settings, self.ledger = platform, platform.settings, platform.ledger
        # A lock of its own: that of functools.cached_property is one for all instances until Python 3.12, so a record
        # store that hangs would keep every other environment of the process waiting.
        self._lock = RLock()
        self._known: dict[str, Any] = {}

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

    @property
    def quarantined(self) -> Mapping[str, QuarantineEvent]:
        """What was in quarantine when it was first asked; what is put there since is not among it."""
        return self._once("quarantined", self.ledger.quarantined)

    def of(self, model: str, section: Section) -> list[DeploymentRecord]:
        """Return what was done before to this model on this path, oldest first."""
        return self._once("by path", self._by_path).get((model, section), [])

    def _by_path(self) -> dict[tuple[str, Section], list[DeploymentRecord]]:
        found: dict[tuple[str, Section], list[DeploymentRecord]] = {}
        for record in self.history:
            found.setdefault((record.model, record.section), []).append(record)
        return found

    def verified_by(self, change: Change) -> DeploymentRecord | None:
        """Return the newest record that verified what this change asks for in service, or None."""
        if change.after is None:
            return None
        of_path = self.of(change.model, change.section)
        return verified_by(of_path, model=change.model, section=change.section, entry=change.after)

    def goes_back(self, change: Change) -> bool:
        """Whether this change returns to what was verified in service before."""
        return self.verified_by(change) is not None

    def _once(self, name: str, ask: Callable[[], Known]) -> Known:
        with self._lock:
            if name not in self._known:
                self._known[name] = ask()
            found: Known = self._known[name]
            return found
