"""Who may write: the holder of the lease with the highest fencing token."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path

from bot.errors import LeaseLost, Unavailable
from bot.folders import open_to_readers, sync_folder

_KEPT_TOKENS = 50


@dataclass
class Lease:
    """The right to write, until somebody takes a later one; its ``token`` is the number of the turn.

    ``alone`` says whether it came with all locks: then whoever wrote before is gone, not only refused.
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


def latest_token(folder: Path) -> int:
    return max((int(path.name) for path in folder.iterdir() if path.name.isdecimal()), default=0)


def take_token(folder: Path) -> int:
    number = latest_token(folder)
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
