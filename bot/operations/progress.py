"""Progress of work that takes longer than a second: one line on the terminal, rewritten in place."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from bot.render import sizes as words

BEGINS_SECONDS = 1.0
EVERY_SECONDS = 0.2
_FROM_THE_START, _TO_THE_END = "\r", "\x1b[K"

Moved = Callable[[int], None]
"""Is told how many more bytes are in place, by any thread."""


class _Shown:
    """Where it is shown; nowhere, as long as the command line does not say that a person is looking."""

    on: TextIO | None = None


def show_on(stream: TextIO | None) -> None:
    """Show progress there from now on, if it is a terminal."""
    _Shown.on = stream if stream is not None and stream.isatty() else None


@contextmanager
def progress(total_bytes: int, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Moved]:
    """Show how many of the bytes are there, how fast they come, how long it takes; the line goes at the end."""
    stream = _Shown.on
    if stream is None:
        yield lambda _: None
        return
    begun, done, shown, lock = clock(), 0, 0.0, threading.Lock()

    def moved(count: int) -> None:
        nonlocal done, shown
        with lock:
            done += count
            seconds = clock() - begun
            if seconds >= BEGINS_SECONDS and seconds - shown >= EVERY_SECONDS:
                shown = seconds
                line = words.progress(done, total_bytes, seconds)
                stream.write(f"{_FROM_THE_START}{line}{_TO_THE_END}")
                stream.flush()

    try:
        yield moved
    finally:
        if shown:
            stream.write(f"{_FROM_THE_START}{_TO_THE_END}")
            stream.flush()
