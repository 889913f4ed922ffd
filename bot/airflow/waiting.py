"""Look again and again without blocking the loop that many others wait in, too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from bot.errors import Unavailable
from bot.operations.awaiting import NotYet

Found = TypeVar("Found")
LONGEST_PAUSE_SECONDS = 300.0
"""The longest pause, however long a system asks to be left alone: a waiting task wants to know sooner."""


async def wait(
    look: Callable[[], Found | NotYet],
    *,
    deadline: float,
    interval_seconds: float,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Found | NotYet:
    """Return what ``look`` finds; at the deadline (seconds since 1970), what it said last.

    Each look runs in a thread, since our adapters wait for their answers. A system that does not answer is asked
    again: its deadline is the same. Every other error is raised. ``say`` hears what is new, once.
    """
    said = ""
    while True:
        pause = interval_seconds
        try:
            found = await asyncio.to_thread(look)
        except Unavailable as error:
            found = NotYet(f"asked in vain: {error}")
            pause = min(max(pause, error.retry_after_seconds or 0), LONGEST_PAUSE_SECONDS)
        if not isinstance(found, NotYet):
            return found
        if found.said != said:
            said = found.said
            say(said)
        left = deadline - clock()
        if left <= 0:
            return found
        await sleep(min(pause, left))
