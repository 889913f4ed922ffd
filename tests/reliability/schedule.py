"""Which worker of a concurrent step goes on, decided by a seed, so that one interleaving happens again.

The bot does its work through ``bot.concurrency``: several workers take models one after the other. Here the workers
are greenlets of one thread. Who goes on is drawn at every look at the lease, before and after it, and where a worker
begins or ends: there stands a step between what it has read and what it is about to change. So a run that is logged
and the run that is killed do the same calls in the same order, and strace, which counts for each thread alone, finds
all of them in one.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from unittest import mock

from greenlet import getcurrent, greenlet

from bot import concurrency
from bot.concurrency import Worker
from bot.share import Lease


class Seeded:
    """A schedule for :data:`bot.concurrency.schedule`; the same seed gives the same one."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - it decides nothing but an order
        self._ready: list[greenlet] = []
        self._hub = greenlet(self._loop)
        self._thread = threading.get_ident()

    def run(self, workers: Sequence[Worker], *, interrupted: Callable[[BaseException], None]) -> None:  # noqa: ARG002
        """Run all workers, one step of one at a time, and return when all have ended."""
        asked, left = getcurrent(), len(workers)

        def work(worker: Worker) -> None:
            nonlocal left
            worker()
            left -= 1
            if not left:
                self._ready.append(asked)

        self._ready += [greenlet(partial(work, worker), parent=self._hub) for worker in workers]
        if workers:
            self._hub.switch()

    def pause(self) -> None:
        """Let another worker go on, or this one."""
        if self._ready and threading.get_ident() == self._thread:
            self._ready.append(getcurrent())
            self._hub.switch()

    def _loop(self) -> None:
        while True:
            self._ready.pop(self._random.randrange(len(self._ready))).switch()


@contextmanager
def seeded(seed: int) -> Iterator[Seeded]:
    """Have everything in this process that runs side by side follow the seed."""
    schedule, check = Seeded(seed), Lease.check

    def paused(lease: Lease) -> None:
        schedule.pause()
        check(lease)
        schedule.pause()

    with mock.patch.object(concurrency, "schedule", schedule), mock.patch.object(Lease, "check", paused):
        yield schedule
