"""One run of a deployment under one turn: what it works on, and what was done here before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

from bot.domain.desired import Change
from bot.domain.record import DeploymentRecord, verified_entries
from bot.domain.routes import RouteTable
from bot.settings import Environment
from bot.systems.share import ReadFile, Turn
from bot.verbs import Say, connect
from bot.verbs.connect import Serving
from bot.verbs.ledger import Ledger

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

    @cached_property
    def registry(self) -> Registry:
        """The model registry; opened by the first step that needs it, for its SDK is slow to import."""
        return connect.registry(self.settings)

    def routes(self) -> RouteTable:
        """Return routes.json as it is now."""
        return self.systems.share.routes(self.settings.environment)

    def reader(self, model: str, version: int) -> ReadFile:
        """Return what reads the files of a version from the registry, which is asked when the first is read."""

        @cache
        def registered() -> RegisteredVersion:
            return self.registry.version(model, version)

        def read(path: str, start: int = 0) -> Iterator[bytes]:
            return self.registry.stream(registered(), path, start)

        return read

    def verified_by(self, change: Change) -> DeploymentRecord | None:
        """Return the newest record that verified what this change asks for in service, or None."""
        verified = verified_entries(self.history, model=change.model, section=change.section)
        return next(
            (record for record, entry in verified if change.after and entry.digest == change.after.digest), None
        )

    def goes_back(self, change: Change) -> bool:
        """Whether this change returns to what was verified in service before."""
        return self.verified_by(change) is not None
