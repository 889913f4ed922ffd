"""A sample of live requests, kept so that the next version can be asked the same before it serves.

Off by default. A request is taken after its live answer has left, and only a reference to its body is kept. A thread
parses it later, drops the fields that must not be kept, and writes files. What does not fit the budget is dropped and
counted, and nothing that goes wrong here reaches a user.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bot.domain.recorded import Recorded, asked, without
from bot.domain.recorded_field import field
from bot.domain.routes import Target
from bot.errors import OutsideError
from bot.extras import needed
from bot.gateway.connection import Headers
from bot.gateway.rewrite import HEADER_LENGTH
from bot.gateway.settings import BUCKET, RecordingSettings

if TYPE_CHECKING:
    from bot.recordings import Store

log = logging.getLogger("bot.gateway")

_ENCODED = b"content-encoding"


@dataclass
class RecordingCounts:
    """What became of the requests that the share chose, since the start."""

    taken: int = 0
    written: int = 0
    dropped: int = 0
    unreadable: int = 0
    failed: int = 0

    def to_json(self) -> dict[str, int]:
        """Return the object that ``GET /routes`` shows."""
        return dict(vars(self))


@dataclass(frozen=True)
class _Taken:
    at: datetime
    model: str
    target: Target
    header_length: str | None
    body: bytes | bytearray


def opened(settings: RecordingSettings) -> Store:
    """Return the folder or bucket of the settings; raise ModuleNotFoundError where a bucket needs an extra."""
    found = BUCKET.fullmatch(settings.to)
    if found is None:
        from bot.recordings.directory import Directory

        return Directory(Path(settings.to))
    with needed("recording", by="a gateway that records to a bucket"):
        from bot.recordings.bucket import Bucket
    return Bucket(found["bucket"], found["prefix"] or "")


class Recorder:
    """Takes a sample of one process's requests and writes it. ``writer`` tells its files from those of others."""

    def __init__(
        self,
        settings: RecordingSettings,
        *,
        environment: Callable[[], str],
        writer: Callable[[], str],
        store: Store | None = None,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``environment`` and ``writer`` are asked when files are written: both are known after the start only."""
        self.counts = RecordingCounts()
        self._settings, self._environment, self._writer = settings, environment, writer
        self._store, self._chance, self._clock = store, chance, clock
        self._fields = tuple(map(field, settings.drop))
        self._waiting: list[_Taken] = []
        self._bytes = 0
        self._allowed, self._counted_at = max(1.0, settings.per_second), clock()
        self._files, self._expired_on = 0, date.min
        self._said = ""
        self._running: asyncio.Task[None] | None = None

    def take(self, model: str, target: Target, headers: Headers, body: bytes | bytearray) -> None:
        """Keep this request for writing, if chance and the budget say so; never waits, never raises."""
        settings = self._settings
        if self._chance() >= settings.share:
            return
        now = self._clock()
        self._allowed = min(
            max(1.0, settings.per_second), self._allowed + (now - self._counted_at) * settings.per_second
        )
        self._counted_at = now
        too_much = len(body) > settings.max_request_bytes or self._bytes + len(body) > settings.max_bytes_waiting
        if self._allowed < 1 or too_much:
            self.counts.dropped += 1
            return
        length = None
        for name, value in headers:
            if name == HEADER_LENGTH:
                length = value.decode("latin-1")
            elif name == _ENCODED:
                self.counts.unreadable += 1  # Triton unpacks it; here nobody does
                return
        self._allowed -= 1
        self._bytes += len(body)
        self.counts.taken += 1
        self._waiting.append(_Taken(datetime.now(UTC), model, target, length, body))

    async def begin(self) -> None:
        """Write what is taken from now on."""
        self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Write what is left and stop."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.write(), timeout=5)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.every_seconds)
            await self.write()

    async def write(self) -> None:
        """Write all that was taken, in a thread; what cannot be written is counted and given up."""
        taken, self._waiting = self._waiting, []
        self._bytes = 0
        try:
            await asyncio.to_thread(self._write, taken)
            self._said = ""
        except (OutsideError, OSError, ModuleNotFoundError) as error:
            if str(error) != self._said:  # else once in every ``every_seconds``
                log.warning("requests are not recorded: %s", error)
            self._said = str(error)
        except Exception:  # recording must not end because of one request
            log.exception("requests are not recorded")

    def _write(self, taken: Sequence[_Taken]) -> None:
        from bot.recordings import first_kept, forget, packed

        counts, lines = self.counts, dict[tuple[str, str], list[str]]()
        for one in taken:
            try:
                line = self._recorded(one).to_line()
            except (ValueError, RecursionError):
                counts.unreadable += 1
                continue
            lines.setdefault((one.model, one.at.date().isoformat()), []).append(line)
        left = sum(map(len, lines.values()))
        try:
            store = self._store = self._store or opened(self._settings)
            environment, writer = self._environment() or "unnamed", re.sub(r"[^0-9a-zA-Z]", "", self._writer()) or "0"
            for (model, day), own in lines.items():
                self._files += 1
                name = f"{datetime.now(UTC):%H%M%S}-{writer[:64]}-{self._files}.jsonl.gz"
                store.add(f"{environment}/{model}/{day}/{name}", packed(own))
                counts.written += len(own)
                left -= len(own)
            today = datetime.now(UTC).date()
            if self._expired_on != today:
                forget(store, environment, before=first_kept(today, self._settings.keep_days))
                self._expired_on = today
        finally:
            counts.failed += left

    def _recorded(self, one: _Taken) -> Recorded:
        inputs, dropped = without(asked(one.body, one.header_length), self._fields)
        return Recorded(one.at, one.model, one.target.version, one.target.digest, inputs, dropped)
