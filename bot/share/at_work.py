"""Names that a process uses on staging: a file for each, locked as long as the process lives."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bot.folders import make_folder, open_to_readers, revalidate
from bot.share.volume import Part

FOLDER = "at-work"


class AtWork(Part):
    """Says of a name whether somebody works under it. A process that is killed no longer holds anything."""

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Hold a name that nobody else has, until the block ends or the process does."""
        path = self._path(name)
        with self._errors(f"say that {name} is at work"):
            self._make_folders()
            make_folder(path.parent)
            opened = path.open("w")
        try:
            with opened:
                with self._errors(f"say that {name} is at work"):
                    open_to_readers(opened.fileno(), path.parent)
                    fcntl.flock(opened, fcntl.LOCK_EX)
                yield
        finally:
            # Closed first: what is removed while it is open NFS keeps, under another name.
            with suppress(OSError):
                path.unlink(missing_ok=True)

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Wait until nobody else does this, and let nobody else begin until the block ends or the process does."""
        path = self._path(what)
        with self._errors(f"wait until nobody else is at work on {what}"):
            self._make_folders()
            make_folder(path.parent)
            # It stays: were it removed, one who waits for it and one who comes later would hold two files.
            opened = path.open("a")
        with opened:
            with self._errors(f"wait until nobody else is at work on {what}"):
                open_to_readers(opened.fileno(), path.parent)
                fcntl.flock(opened, fcntl.LOCK_EX)
            yield

    def is_held(self, name: str) -> bool:
        """Whether a living process holds the name, also a thread of this one."""
        path = self._path(name)
        with self._errors(f"see whether {name} is at work"):
            revalidate(path)
            try:
                descriptor = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                return False
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(descriptor)
            path.unlink(missing_ok=True)  # of a process that was killed
            return False

    def _path(self, name: str) -> Path:
        return self.state / FOLDER / f"{name}.lock"
