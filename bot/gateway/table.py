"""``routes.json`` on a shared file system, and the rules by which a gateway takes over a new table."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bot.domain.marker import MARKER_FILE
from bot.domain.routes import RouteTable, generation_file
from bot.folders import revalidate

POLL_SECONDS = 0.05
TRIAL_BYTES = 100
"""Of the file that `promobot doctor` writes to see whether it can be read here, no more bytes are returned."""


class Broken(Exception):
    """The file is there, but it is not a route table or cannot be read."""


class NotTaken(Exception):
    """The table contradicts the gateway's own table or the reload request; the gateway keeps the old one.

    ``models`` names those whose versions are not ready; it is empty where the whole table is refused.
    """

    def __init__(self, said: str, *, models: tuple[str, ...] = ()) -> None:
        super().__init__(said)
        self.models = models


class RoutesFile:
    """Reads ``routes.json`` without ever blocking the event loop: a network file system may hang."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._kept: tuple[int, int, int] | None = None
        # A thread of its own, so that reads that hang do not use up the loop's threads, which resolve host names.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="routes-file")

    async def read(self) -> RouteTable | None:
        """Return the table, or None if there is no file. Raise Broken."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read)

    async def has_changed(self, generation: int) -> bool:
        """Say whether there may be routes beyond ``generation``, without reading any. Raise Broken.

        Two look-ups by name after the folders were opened, which is what has a client of NFS ask its server. A look
        counts as a change until ``keep``.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._has_changed, generation)

    def keep(self) -> None:
        """Note that ``routes.json`` as ``has_changed`` saw it was read: only another one is a change from now on."""
        self._kept = self._seen

    async def read_from(self, generation: int, *, timeout_seconds: float) -> RouteTable:
        """Return the table as soon as its generation is at least ``generation``.

        Raise NotTaken with what was seen if it is not in time, Broken if the file is not a route table.
        """
        file = self.path.name  # where it lies is nobody's business but the log's
        seen = f"{file} could not be read within {timeout_seconds:g} s"
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    table = await self.read()
                    if table is not None and table.generation >= generation:
                        return table
                    seen = f"{file} has generation {table.generation}" if table else f"{file} is missing"
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise NotTaken(f"generation {generation} is expected, {seen} after {timeout_seconds:g} s") from None

    async def trial(self, name: str, *, timeout_seconds: float) -> str:
        """Return the text of a trial's file among the generations, or why it cannot be read; raise no error."""
        try:
            async with asyncio.timeout(timeout_seconds):
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._trial, name)
        except TimeoutError:
            return f"it could not be read within {timeout_seconds:g} s"

    def _trial(self, name: str) -> str:
        file = self.path.parent / "routes" / name
        try:
            revalidate(file)
            return file.read_bytes()[:TRIAL_BYTES].decode(errors="replace")
        except OSError as error:
            return error.strerror or type(error).__name__

    async def is_new(self) -> bool:
        """Say whether there is no file because nothing was deployed yet; False where the folder is not marked."""
        marker = self.path.parent / MARKER_FILE
        return await asyncio.get_running_loop().run_in_executor(self._thread, marker.is_file)

    def close(self) -> None:
        """Let the thread end; does not wait for a read that hangs."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _has_changed(self, generation: int) -> bool:
        following = self.path.parent / "routes" / generation_file(generation + 1)
        self._seen = self._signature()
        try:
            revalidate(following)
            return following.exists() or (self._seen is not None and self._seen != self._kept)
        except OSError as error:
            raise Broken(f"{following.name}: {error.strerror or type(error).__name__}") from error

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            revalidate(self.path)
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Broken(f"{self.path.name}: {error.strerror or type(error).__name__}") from error
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self) -> RouteTable | None:
        table = _table(self.path)
        generations = self.path.parent / "routes"
        # routes.json is a copy of the newest generation, and may lag behind: its writer was killed or overtaken.
        while later := _table(generations / generation_file((table.generation if table else 0) + 1)):
            table = later
        return table


def _table(path: Path) -> RouteTable | None:
    try:
        revalidate(path)
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Broken(f"{path.name}: {error.strerror or type(error).__name__}") from error
    try:
        return RouteTable.from_json(text)
    except ValueError as error:
        raise Broken(f"{path.name} is not a route table: {error}") from error


def check_successor(new: RouteTable, old: RouteTable) -> None:
    """Raise NotTaken unless ``new`` may replace ``old`` (whose environment is empty before the first table)."""
    if old.environment and new.environment != old.environment:
        raise NotTaken(f"the table is of environment {new.environment!r}, this gateway serves {old.environment!r}")
    if new.generation < old.generation:
        raise NotTaken(f"generation {new.generation} is older than {old.generation}, which is in service")
    if new.generation == old.generation and old.generation and new != old:
        raise NotTaken(f"generation {new.generation} is in service with other routes; changed routes need a new one")
