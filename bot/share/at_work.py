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
