"""Who may write: the holder of the lease with the highest fencing token."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bot.errors import LeaseLost, Unavailable
from bot.folders import open_to_readers, sync_folder
from bot.share.volume import Part

_KEPT_TOKENS = 50
_MOMENT_SECONDS = 1.0


@dataclass
class Lease:
    """The right to write, until somebody takes a later one; its ``token`` is the number of the turn.

    ``alone`` says whether it came with all locks: then the process that wrote before is gone, not only refused.
    """

    token: int
    alone: bool
    _folder: Path

    def check(self) -> None:
        """Raise LeaseLost if somebody took a later one: that run converges the environment to the head of main.

        Raises Unavailable where that cannot be seen: who does not know must not write either.
        """
        try:
            latest = latest_token(self._folder)
        except OSError as error:
            raise Unavailable(
                f"could not look for a later turn: {error.strerror or error} ({self._folder})",
                system=f"model repository ({self._folder.parent})",
                state="Nothing more was changed from here.",
                next_step="Run the command again once the share answers: it goes on from there.",
            ) from error
        if latest > self.token:
            raise LeaseLost(
                f"turn {self.token} is over: turn {latest} was taken by a later deployment or rollback",
                state="Nothing more was changed from here; the later one converges the environment.",
                next_step="`promobot status` shows what it did.",
            )


class Busy(Unavailable):
    """Somebody else has the lease, and keeps it."""


class Leases(Part):
    """Where a lease is taken."""

    @contextmanager
    def take(
        self, *, overtake: bool = False, wait_seconds: float = 60, yields: bool = False, above: int = 0
    ) -> Iterator[Lease]:
        """Take the lease, with the next token. Waits for its holder, and for all who overtook; these wait for nobody.

        Who ``yields`` raises Busy where the holder is not done by then; all others take it from the holder. The token
        is greater than ``above``: a share that came out of a backup no longer knows the turns that were taken since.

        The locks are politeness; the token decides. A holder that was overtaken, or that was paused and wakes up
        late, finds a higher token, even if it still has the lock. The overtaken holder leaves its lock to the next
        process in line. That is why those who overtake have a lock of their own: without it, the next in line would
        take a later token in the middle of a rollback, and end it.
        """
        with self._errors("take a turn"):
            self._make_folders()
        with self._lock_file("lock") as lock, self._lock_file("overtaking") as overtaking:
            with self._errors("take a turn"):
                deadline = time.monotonic() + (0 if overtake else wait_seconds)
                locked = wait_for_lock(lock, until=deadline)
                alone = wait_for_lock(overtaking, until=deadline) and locked
                if overtake:
                    # A process that has it for itself only takes a number, and is through at once.
                    wait_for_lock(overtaking, until=time.monotonic() + _MOMENT_SECONDS, shared=True)
                if yields and not alone:
                    raise Busy(
                        "another deployment is under way",
                        system=f"model repository ({self.state})",
                        state="Nothing was changed from here.",
                        next_step="`promobot status` shows what it does.",
                    )
                folder = self.state / "turns"
                lease = Lease(take_token(folder, above=above), alone, folder)
                if not overtake:
                    unlock(overtaking)
            yield lease

    @contextmanager
    def _lock_file(self, name: str) -> Iterator[int]:
        with self._errors("take a turn"):
            descriptor = self._opened_lock(name)
        try:
            yield descriptor
        finally:
            # Nothing was written to it, and Linux gives descriptor and lock back whatever close answers: a share that
            # answers with an error here takes nothing back of what is done.
            with suppress(OSError):
                os.close(descriptor)

    def _opened_lock(self, name: str) -> int:
        path = self.state / name
        try:
            return os.open(path, os.O_RDWR)
        except FileNotFoundError:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            open_to_readers(descriptor, self.state)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


def latest_token(folder: Path) -> int:
    return max((int(path.name) for path in folder.iterdir() if path.name.isdecimal()), default=0)


def take_token(folder: Path, *, above: int = 0) -> int:
    number = max(latest_token(folder), above)
    while True:
        number += 1
        try:
            descriptor = os.open(folder / f"{number:08d}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            continue
        try:
            open_to_readers(descriptor, folder)
        finally:
            os.close(descriptor)
        # A crash must not make the number free again: a record is named by it.
        sync_folder(folder)
        # Old numbers go, recent ones stay: a listing from an NFS cache must not make a number free again.
        for path in folder.iterdir():
            if path.name.isdecimal() and int(path.name) <= number - _KEPT_TOKENS:
                path.unlink(missing_ok=True)
        return number


def wait_for_lock(descriptor: int, *, until: float, shared: bool = False) -> bool:
    """Try to lock until then, on the monotonic clock, and once in any case; say whether it is locked."""
    while not (locked := _try_lock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)):
        if time.monotonic() >= until:
            break
        time.sleep(0.05)
    return locked


def unlock(descriptor: int) -> None:
    fcntl.lockf(descriptor, fcntl.LOCK_UN)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.lockf(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True
