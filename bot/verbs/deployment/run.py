"""One run of a deployment under one turn: what it works on, and what was done here before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

from bot.domain.desired import Change, Section
from bot.domain.record import DeploymentRecord, verified_by
from bot.domain.routes import RouteTable
from bot.settings import Environment
from bot.systems.share import ReadFile, Turn
from bot.verbs import Say, connect
from bot.verbs.connect import Serving
from bot.verbs.ledger import Ledger, QuarantineEvent

if TYPE_CHECKING:
    from bot.systems.mlflow import RegisteredVersion, Registry


@dataclass
class Run:
    """What every step of one deployment needs."""

    settings: Environment
    systems: Serving
    ledger: Ledger
    turn: Turn
    commit: str
    history: list[DeploymentRecord]
    say: Say
    alone: Lock = field(default_factory=Lock)
    """Held by whoever publishes a large package."""
    _registered: dict[tuple[str, int], RegisteredVersion] = field(default_factory=dict)

    @cached_property
    def registry(self) -> Registry:
        """The model registry; opened by the first step that needs it, for its SDK is slow to import."""
        return connect.registry(self.settings)

    @cached_property
    def quarantined(self) -> Mapping[str, QuarantineEvent]:
        """What was in quarantine when it was first asked; what this run puts there itself is not among it."""
        return self.ledger.quarantined()

    def of(self, model: str, section: Section) -> list[DeploymentRecord]:
        """Return what was done before to this model on this path, oldest first."""
        return self._by_path.get((model, section), [])

    @cached_property
    def _by_path(self) -> dict[tuple[str, Section], list[DeploymentRecord]]:
        found: dict[tuple[str, Section], list[DeploymentRecord]] = {}
        for record in self.history:
            found.setdefault((record.model, record.section), []).append(record)
        return found

    def routes(self) -> RouteTable:
        """Return routes.json as it is now."""
        return self.systems.share.routes(self.settings.environment)

    def registered(self, model: str, version: int) -> RegisteredVersion:
        """Return what the registry says of a version, without its run; it is asked once."""
        found = self._registered.get((model, version))
        if found is None:
            found = self._registered[(model, version)] = self.registry.version(model, version, with_run=False)
        return found

    def reader(self, model: str, version: int) -> ReadFile:
        """Return what the share reads a version's files from: the registry, asked when the first is read."""

        def read(path: str, start: int = 0) -> Iterator[bytes]:
            return self.registry.unverified_chunks(self.registered(model, version), path, start)

        return read

    def verified_by(self, change: Change) -> DeploymentRecord | None:
        """Return the newest record that verified what this change asks for in service, or None."""
        if change.after is None:
            return None
        of_path = self.of(change.model, change.section)
        return verified_by(of_path, model=change.model, section=change.section, entry=change.after)

    def goes_back(self, change: Change) -> bool:
        """Whether this change returns to what was verified in service before."""
        return self.verified_by(change) is not None
