"""The worker processes behind one address: how they find each other, so that one answer can speak for all of them.

A server such as uvicorn or gunicorn starts several processes that accept connections from one socket. Each has a
gateway of its own, with a route table in its own memory, and nobody can choose which of them answers. So each worker
opens a Unix socket in a folder that the workers of one master share. It answers there with its state, and takes over
the routes when another worker was told to. A worker that was killed refuses connections at once, since the kernel
closes its socket. One that stands still accepts them and does not answer, so it can be named.

Nothing is written to the share, which may be mounted read-only. Workers on other machines do not see each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import secrets
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bot.gateway.totals import forget

log = logging.getLogger("bot.gateway")

State = dict[str, Any]
"""The fields that a worker reports of itself: ``id``, ``generation``, ``routes``, ``draining``, ``problem``,
``tritons``, ``silence``, ``shadows`` and ``compared``.
"""

LINE_BYTES = 16 * 2**20
"""A line holds the counts of every shadow of an environment."""
TOTALS = b"totals\n"
"""Asks a worker what it counted."""
MAX_PATH_BYTES = 100
"""A Unix socket's path is limited to 104 bytes on some systems, and to 108 on Linux."""


class NotAnswering(Exception):
    """A worker lives, and did not answer in time."""


class Workers:
    """This process among the workers of its master.

    ``id`` names this process: its number on its machine, and random digits. ``group`` is equal for workers that can
    see each other. Both are empty before ``join``. ``known`` is False where this process cannot tell whether there
    are others.
    """

    def __init__(self, *, alone: bool, of: Sequence[str]) -> None:
        """``of`` says what these workers serve: two gateways under one master have different names."""
        self.id = self.group = ""
        self._alone, self._of = alone, of
        self._folder: Path | None = None
        self._server: asyncio.Server | None = None
        self._state: Callable[[], State] = dict
        self._totals: Callable[[], State] = dict
        self._reload: Callable[[int], Awaitable[State]] | None = None

    @property
    def known(self) -> bool:
        """Whether this process can tell which other workers there are."""
        return self._alone or self._folder is not None

    @property
    def folder(self) -> Path | None:
        """The folder that the workers share; None where this process is alone, or cannot see others."""
        return self._folder

    async def join(
        self,
        *,
        state: Callable[[], State],
        reload: Callable[[int], Awaitable[State]],
        totals: Callable[[], State] = dict,
    ) -> None:
        """Begin to answer other workers. To be called in the process that serves, before it reads its routes.

        ``state`` returns what this worker says of itself. ``reload`` takes over a generation, and returns
        ``{"status": 200}``, or the status, ``error`` and ``models`` of a refusal. ``totals`` returns what it counted
        since it began.
        """
        self.id = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._state, self._reload, self._totals = state, reload, totals
        key = "\0".join((socket.gethostname(), str(os.getppid()), *self._of))
        self.group = self.id if self._alone else hashlib.sha256(key.encode()).hexdigest()[:12]
        if self._alone:
            return
        try:
            folder = _private_folder(self.group)
            await self._listen(folder)
        except OSError as error:
            self.group = self.id
            log.warning("other workers of this server cannot be found, and cannot find this one: %s", error)
            return
        self._folder = folder

    async def stay(self) -> None:
        """See that other workers still find this one: whatever tidies temporary folders may have removed it."""
        if self._folder is None or (self._folder / self.id).exists():
            return
        log.warning("%s is gone, and is made anew", self._folder / self.id)
        self._close()
        try:
            await self._listen(_private_folder(self.group))
        except OSError as error:
            log.warning("other workers of this server cannot find this one: %s", error)

    def leave(self) -> None:
        """Stop answering."""
        self._close()
        folder, self._folder = self._folder, None
        if folder is not None:
            with contextlib.suppress(OSError):
                (folder / self.id).unlink()
            with contextlib.suppress(OSError):
                if not _names_in(folder):
                    forget(folder)
                folder.rmdir()  # of the last one

    async def states(self, *, timeout_seconds: float) -> list[State]:
        """Return what each other worker says of itself; of one that does not answer, its id and ``problem``."""
        return await self._ask_others(lambda name: self._state_of(name, timeout_seconds))

    async def totals(self, *, timeout_seconds: float) -> list[State]:
        """Return the same, with what each counted as ``totals``."""
        return await self._ask_others(lambda name: self._state_of(name, timeout_seconds, totals=True))

    async def reload(self, generation: int, *, timeout_seconds: float, answer_seconds: float) -> list[State]:
        """Make each other worker take over ``generation``; return how each answers ``reload``, with its ``id``.

        Each has ``timeout_seconds`` to answer at all, and ``answer_seconds`` to take over the routes.
        """
        return await self._ask_others(lambda name: self._reload_on(name, generation, timeout_seconds, answer_seconds))

    async def _ask_others(self, ask: Callable[[str], Awaitable[State | None]]) -> list[State]:
        if self._folder is None:
            return []
        names = sorted(name for name in _names_in(self._folder) if name != self.id)
        return [answer for answer in await asyncio.gather(*map(ask, names)) if answer is not None]

    async def _state_of(self, name: str, seconds: float, *, totals: bool = False) -> State | None:
        try:
            async with asyncio.timeout(seconds), self._connected(name) as (reader, writer):
                state = await _read(reader)
                if totals:
                    writer.write(TOTALS)
                    await writer.drain()
                    state["totals"] = await _read(reader)
                return state
        except (TimeoutError, NotAnswering):
            return {"id": name, "problem": "it does not answer"}
        except _Gone:
            return None

    async def _reload_on(self, name: str, generation: int, seconds: float, answer_seconds: float) -> State | None:
        try:
            async with asyncio.timeout(seconds) as limit, self._connected(name) as (reader, writer):
                await _read(reader)  # it answers at all
                limit.reschedule(asyncio.get_running_loop().time() + answer_seconds)
                writer.write(b"%d\n" % generation)
                await writer.drain()
                return {"id": name, **await _read(reader)}
        except (TimeoutError, NotAnswering):
            return {"id": name, "status": 503, "error": f"worker {name} does not answer"}
        except _Gone:
            return None

    @contextlib.asynccontextmanager
    async def _connected(self, name: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        if self._folder is None:
            raise _Gone
        path = self._folder / name
        try:
            reader, writer = await asyncio.open_unix_connection(path, limit=LINE_BYTES)
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(OSError):
                path.unlink()  # its process ended without leaving
            raise _Gone from None
        except OSError as error:  # its queue is full
            raise NotAnswering from error
        try:
            yield reader, writer
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            if await _has_ended(path):
                raise _Gone from error
            raise NotAnswering from error
        finally:
            writer.close()

    async def _listen(self, folder: Path) -> None:
        path = folder / self.id
        if len(os.fsencode(path)) > MAX_PATH_BYTES:
            raise OSError(f"{path} is longer than {MAX_PATH_BYTES} bytes; TMPDIR names a shorter folder")
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            # Under a hidden name until it listens: a name that refuses connections is that of a process that ended.
            hidden = folder / f".{self.id}"
            made.bind(os.fsencode(hidden))
            made.listen(64)
            hidden.replace(path)
            self._server = await asyncio.start_unix_server(self._answer, sock=made, limit=LINE_BYTES)
        except BaseException:
            made.close()
            raise

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(_line({"id": self.id, **self._state()}))
            await writer.drain()
            asked = await reader.readline()
            if asked == TOTALS:
                writer.write(_line(self._totals()))
                await writer.drain()
            elif asked.strip().isdigit() and self._reload is not None:
                writer.write(_line(await self._reload(int(asked))))
                await writer.drain()
        except (OSError, ValueError):
            pass  # the caller has gone, or speaks another protocol
        finally:
            writer.close()

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None


class _Gone(Exception):
    """The process ended."""


async def _has_ended(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except OSError:
        return False
    writer.close()
    return False


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        return []


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"


async def _read(reader: asyncio.StreamReader) -> State:
    line = await reader.readuntil(b"\n")
    document = json.loads(line)
    if not isinstance(document, dict):
        raise ValueError("not a worker's answer")
    return document


def _private_folder(group: str) -> Path:
    """Return the folder of these workers, which only this user may enter; raise OSError where it cannot be had."""
    uid = os.getuid()
    above = Path(tempfile.gettempdir()) / f"promobot-gateway-{uid}"
    for folder in (above, above / group):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or stat.S_IMODE(found.st_mode) & 0o077:
            raise PermissionError(f"{folder} is not a folder that only this user may enter")
    return above / group
