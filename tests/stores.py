"""Stores that a person has marked, as ``promobot doctor --init`` does; and a share to write to without a lease."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bot.credentials import Credentials
from bot.records.bucket import BucketRecords
from bot.settings import Bucket, MLflow, Share
from bot.share import ModelRepository, StagingRepository, nobody_else_writes
from bot.share.journal import HeldJournal
from bot.share.models import StagingModels
from bot.share.outbox import HeldOutbox
from bot.share.packages import HeldPackages
from bot.share.reverts import HeldReverts
from bot.share.routes import HeldRoutes
from bot.share.trash import Trash
from bot.systems.mlflow import Registry


def registry_of(settings: MLflow, **more: Any) -> Registry:
    """Return a registry whose secrets are in the variables of this process."""
    return Registry(settings, Credentials(os.environ), **more)


class Unfenced(ModelRepository):
    """A share on which nobody else is at work: a test writes there without a lease."""

    models: StagingModels
    packages: HeldPackages
    routes: HeldRoutes
    outbox: HeldOutbox
    reverts: HeldReverts

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        volume, notes, at_once = self._volume, self._notes, {"files_at_once": self._files_at_once}
        self.models = StagingModels(volume, nobody_else_writes, notes, **at_once)
        self.packages = HeldPackages(volume, nobody_else_writes, notes, **at_once)
        self.routes, self.outbox = HeldRoutes(volume, nobody_else_writes), HeldOutbox(volume, nobody_else_writes)
        self.reverts, self.trash = HeldReverts(volume, nobody_else_writes), Trash(volume, nobody_else_writes, notes)

    def journal_of(self, token: int) -> HeldJournal:
        """Return the journal of this turn."""
        return HeldJournal(self._volume, nobody_else_writes, token)


def begin_share(model_repository: Path, state: Path, *, staging: bool = False) -> ModelRepository | StagingRepository:
    """Make a share that nobody used before; return it."""
    of = Share(model_repository=str(model_repository), state=str(state))
    share = StagingRepository(of) if staging else Unfenced(of)
    share.begin()
    return share


def bucket_records(bucket: Bucket, *, seconds: float) -> BucketRecords:
    """Return the records in a bucket, with the keys that its settings name; read anew, not from another test's."""
    keys = Credentials(os.environ).of_bucket(bucket, of="a test")
    return BucketRecords(bucket, keys, request_seconds=seconds)
