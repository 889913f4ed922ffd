"""Copies of requests for the shadow, under a budget so hard that a live answer never waits for it.

A copy is made after the live answer has left, goes over connections of its own, and is dropped, never queued, when
the budget is spent. The shadow's answer is read and thrown away; only counts remain.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.domain.routes import RouteTable, Target
from bot.gateway.budget import Budget, Full, Held
from bot.gateway.connection import ExchangeFailed, Headers
from bot.gateway.settings import ShadowSettings
from bot.gateway.tritons import Tritons, request_to

_COUNTED = ("sent", "answered", "failed", "dropped", "latency_seconds_sum")


@dataclass
class ShadowCounts:
    """What became of the copies for one shadow since it is in the table. ``sent`` = answered + failed + under way."""

    target: Target
    sent: int = 0
    answered: int = 0
    failed: int = 0
    dropped: int = 0
    latency_seconds_sum: float = 0.0

    def to_json(self) -> dict[str, object]:
        """Return the object that ``GET /routes`` shows; the latency is that of the answered."""
        return {
            **self.target.to_json(),
            "sent": self.sent,
            "answered": self.answered,
            "failed": self.failed,
            "dropped": self.dropped,
            "latency_seconds_sum": round(self.latency_seconds_sum, 6),
        }


def sum_of_counts(counted: Iterable[Mapping[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Add up the counts of several workers, by model; those of another shadow than the first one's are left out."""
    found: dict[str, dict[str, Any]] = {}
    for counts in counted:
        for model, count in counts.items():
            known = found.setdefault(model, {**count, **dict.fromkeys(_COUNTED, 0)})
            if (known["triton_model"], known["version"]) == (count["triton_model"], count["version"]):
                known.update({name: known[name] + count[name] for name in _COUNTED})
    for known in found.values():
        known["latency_seconds_sum"] = round(known["latency_seconds_sum"], 6)
    return found


class Shadows:
    """Sends copies to the shadows of one environment and counts what became of them."""

    def __init__(self, urls: Sequence[str], settings: ShadowSettings) -> None:
        self._settings = settings
        self._tritons = Tritons(
            urls,
            timeout_seconds=settings.timeout_seconds,
            probe_timeout_seconds=settings.timeout_seconds,
            limits=settings.limits,
        )
        self._counts: dict[str, ShadowCounts] = {}
        self._bodies = Budget(settings.max_bytes_in_flight)
        self._under_way: set[asyncio.Task[None]] = set()

    def become(self, name: str, urls: Sequence[str]) -> None:
        """Let these Tritons, and no others, stand for ``name``."""
        self._tritons.become(name, urls)

    async def ask_those_that_lack(self) -> None:
        """Ask each Triton for the shadows that it lacked when a copy met it."""
        await self._tritons.ask_those_that_lack()

    @property
    def counts(self) -> dict[str, ShadowCounts]:
        """The counts of each model that has a shadow."""
        return self._counts

    def follow(self, table: RouteTable) -> None:
        """Begin to count anew for shadows that are new in ``table``, and forget those that left."""
        targets = {model: route.shadow for model, route in table.models.items() if route.shadow is not None}
        old = self._counts
        self._counts = {
            model: old[model] if model in old and old[model].target == target else ShadowCounts(target)
            for model, target in targets.items()
        }
        self._tritons.keep_to(targets.values())

    def copy(self, model: str, headers: Headers, body: bytes | bytearray) -> None:
        """Send a copy in the background, if the budget allows; never waits, never raises for what the shadow does."""
        counts = self._counts.get(model)
        if counts is None:
            return
        spent = len(self._under_way) >= self._settings.limits.max_in_flight
        held = Held(self._bodies)
        try:
            if spent or len(body) > self._settings.max_request_bytes:
                raise Full
            held.take(len(body))
        except Full:
            counts.dropped += 1
            return
        counts.sent += 1
        headers = [(name, value) for name, value in headers if name != b"accept-encoding"]
        task = asyncio.create_task(self._send(counts, headers, body, held))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Give up the copies that are under way and close the connections."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        self._tritons.close()

    async def _send(self, counts: ShadowCounts, headers: Headers, body: bytes | bytearray, held: Held) -> None:
        started = time.perf_counter()
        request = request_to(counts.target, b"POST", b"/infer", headers, body, admit=held.take)
        try:
            with held:
                async with asyncio.timeout(self._settings.timeout_seconds):
                    reply = await self._tritons.send(counts.target, request)
        except (ExchangeFailed, Full, TimeoutError):
            counts.failed += 1
            return
        if reply.status != 200:
            counts.failed += 1
            return
        counts.answered += 1
        counts.latency_seconds_sum += time.perf_counter() - started
