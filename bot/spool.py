"""A file without a name on this machine's disk, for what is too large to keep in memory and is read part by part."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from pathlib import Path

from bot.errors import Refused


class Spool:
    """Bytes that are added at the end, and read from anywhere. The file goes with the object, or the process."""

    def __init__(self) -> None:
        self._lock, self._size = threading.Lock(), 0
        try:
            descriptor, path = tempfile.mkstemp(prefix="promobot-")
            Path(path).unlink()
        except OSError as error:
            raise _no_room(error) from error
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def add(self, content: bytes) -> int:
        """Write at the end; return where the content begins. Raises Refused where the disk takes no more."""
        with self._lock:
            begin, view = self._size, memoryview(content)
            try:
                while view:
                    written = os.pwrite(self._descriptor, view, self._size)
                    self._size, view = self._size + written, view[written:]
            except OSError as error:
                raise _no_room(error) from error
            return begin

    def read(self, begin: int, size: int) -> bytes:
        """Return a part of it; less than ``size`` bytes where the file ends before."""
        parts, at = list[bytes](), begin
        while at < begin + size and (part := os.pread(self._descriptor, begin + size - at, at)):
            parts.append(part)
            at += len(part)
        return b"".join(parts)


def _no_room(error: OSError) -> Refused:
    return Refused(
        f"the temporary folder {tempfile.gettempdir()} takes no golden cases: {error.strerror}",
        state="Nothing was changed.",
        next_step="Make room there, or name another folder in TMPDIR.",
    )
