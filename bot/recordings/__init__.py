"""Where recorded requests lie: gateways add them, the check Behaviour reads the newest, and old ones go.

``<environment>/<model>/<day>/<time>-<writer>-<number>.jsonl.gz``, each file written once and whole. A day is one of
UTC, as ``2026-11-30``. Nothing is ever changed, so several gateways write side by side.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from io import BytesIO
from typing import Protocol

from bot.domain.recorded import Recorded, from_line

FILE = re.compile(r"[0-9]{6}-[0-9a-zA-Z]{1,64}-[0-9]{1,12}\.jsonl\.gz")
LARGEST_BYTES = 256 * 2**20
"""Of one file's text: a gateway writes some mebibytes, and a small file must not unpack into a full memory."""


class Store(Protocol):
    """A folder or a bucket. Names are relative POSIX paths. Raises OutsideError where it fails."""

    def add(self, name: str, content: bytes) -> None:
        """Write an object whole, in folders that are made where they are missing."""

    def names(self, folder: str) -> list[str]:
        """Return the names of the folders and objects directly in a folder, sorted; none where it is missing."""

    def read(self, name: str) -> bytes:
        """Return an object's content."""

    def remove(self, folder: str) -> None:
        """Remove a folder with all that is in it; do nothing where it is missing."""


def packed(lines: Iterable[str]) -> bytes:
    """Return the content of a file with these lines."""
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), compresslevel=5, mtime=0)


def newest(store: Store, environment: str, model: str, limit: int) -> Iterator[Recorded]:
    """Yield the newest recorded requests of a model, the newest first, at most ``limit``.

    A line that cannot be read is passed over: what a gateway wrote while its disk was full says nothing about the
    others.
    """
    folder = f"{environment}/{model}"
    left = limit
    for day in reversed(_days(store, folder)):
        for name in reversed([name for name in store.names(f"{folder}/{day}") if FILE.fullmatch(name)]):
            for line in reversed(_lines(store.read(f"{folder}/{day}/{name}"))):
                if left <= 0:
                    return
                try:
                    recorded = from_line(line)
                except ValueError:
                    continue
                left -= 1
                yield recorded


def forget(store: Store, environment: str, *, before: date) -> list[str]:
    """Remove the days before this one, of every model; return their folders."""
    gone: list[str] = []
    for model in store.names(environment):
        for day in _days(store, f"{environment}/{model}"):
            if date.fromisoformat(day) < before:
                gone.append(f"{environment}/{model}/{day}")
                store.remove(gone[-1])
    return gone


def first_kept(today: date, keep_days: int) -> date:
    """Return the oldest day that is kept, where ``keep_days`` days are, today among them."""
    return today - timedelta(days=keep_days - 1)


def _days(store: Store, folder: str) -> list[str]:
    return [name for name in store.names(folder) if _is_day(name)]


def _is_day(name: str) -> bool:
    try:
        return date.fromisoformat(name).isoformat() == name
    except ValueError:
        return False


def _lines(content: bytes) -> list[str]:
    """Return the lines of a file; of one that is damaged, those before the damage."""
    unpacked = bytearray()
    try:
        with gzip.GzipFile(fileobj=BytesIO(content)) as file:
            while chunk := file.read(2**20):
                unpacked += chunk
                if len(unpacked) > LARGEST_BYTES:
                    break
    except (OSError, EOFError, zlib.error):
        pass  # cut off or damaged: what came before it is whole lines, but for the last
    return unpacked[: unpacked.rfind(b"\n") + 1].decode(errors="replace").splitlines()
