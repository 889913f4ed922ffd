"""One environment's share: a part for each thing that lies there, to read, and to write with the lease."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bot.concurrency import FILES
from bot.settings import Share
from bot.share.at_work import AtWork
from bot.share.fence import nobody_else_writes
from bot.share.journal import HeldJournal, Journal
from bot.share.lease import Lease, Leases
from bot.share.models import HeldModels, Models, StagingModels
from bot.share.notes import Notes
from bot.share.outbox import HeldOutbox, Outbox
from bot.share.packages import HeldPackages, Packages
from bot.share.reverts import HeldReverts, Reverts
from bot.share.routes import HeldRoutes, Routes
from bot.share.silences import Silences
from bot.share.trash import Trash
from bot.share.trials import Trials
from bot.share.volume import Volume


class ModelRepository:
    """The share of one environment, to read. Errors are Unavailable or Rejected.

    A writer takes the :meth:`lease` and gets handles that look at it themselves.
    """

    def __init__(
        self, share: Share, neighbours: Sequence[Share] = (), *, environment: str = "", files_at_once: int = FILES
    ) -> None:
        """``environment`` is whose share it must be; empty where that is not known, or where several share it.

        Bytes that lie on a neighbour's share already are copied from there, ``files_at_once`` files at a time.
        """
        self._volume = Volume(share, environment=environment)
        self._notes, self._files_at_once = Notes(share, neighbours), files_at_once
        self.root, self.state = self._volume.root, self._volume.state
        self.models, self.packages = Models(self._volume), Packages(self._volume)
        self.routes, self.journal = Routes(self._volume), Journal(self._volume)
        self.outbox, self.reverts = Outbox(self._volume), Reverts(self._volume)
        self.silences, self.trials = Silences(self._volume), Trials(self._volume)

    def begin(self) -> None:
        """Make both folders and mark them as this share. Call it where a person says that the share is new."""
        self._volume.begin()

    @contextmanager
    def lease(
        self, *, overtake: bool = False, wait_seconds: float = 60, yields: bool = False, above: int = 0
    ) -> Iterator[HeldShare]:
        """Take the lease; yield what may write as long as it is held. See :meth:`bot.share.lease.Leases.take`."""
        leases = Leases(self._volume)
        with leases.take(overtake=overtake, wait_seconds=wait_seconds, yields=yields, above=above) as lease:
            yield HeldShare(self._volume, self._notes, lease, files_at_once=self._files_at_once)


class HeldShare:
    """The share of one environment, for the holder of the lease. Each method that writes checks the lease first."""

    def __init__(self, volume: Volume, notes: Notes, lease: Lease, *, files_at_once: int) -> None:
        self.lease, fence = lease, lease.check
        self.models = HeldModels(volume, fence, notes, files_at_once=files_at_once)
        self.packages = HeldPackages(volume, fence, notes, files_at_once=files_at_once)
        self.routes, self.journal = HeldRoutes(volume, fence), HeldJournal(volume, fence, lease.token)
        self.outbox, self.reverts = HeldOutbox(volume, fence), HeldReverts(volume, fence)
        self.trash = Trash(volume, fence, notes)


class StagingRepository:
    """The share of the staging Triton. Each check writes under a name of its own, so no lease is needed there."""

    def __init__(self, share: Share, neighbours: Sequence[Share] = (), *, files_at_once: int = FILES) -> None:
        """Bytes that lie on a neighbour's share already are copied from there, ``files_at_once`` files at a time."""
        self._volume, notes = Volume(share, staging=True), Notes(share, neighbours)
        self.root, self.state = self._volume.root, self._volume.state
        self.models = StagingModels(self._volume, nobody_else_writes, notes, files_at_once=files_at_once)
        self.packages = HeldPackages(self._volume, nobody_else_writes, notes, files_at_once=files_at_once)
        self.trash, self.trials = Trash(self._volume, nobody_else_writes, notes), Trials(self._volume)
        self.at_work = AtWork(self._volume)

    def begin(self) -> None:
        """Make both folders and mark them as this share. Call it where a person says that the share is new."""
        self._volume.begin()
