"""Measuring what loading a version takes on the staging Triton: its metrics before and after the load."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bot.domain.desired import Entry
from bot.domain.memory import UNKNOWN, Memory, Reading, of_backend, taken
from bot.domain.release import Slot
from bot.errors import PromobotError, Unavailable
from bot.records.ledger import Ledger
from bot.systems.triton.server import TritonServer

LOOKS = 2
"""Readings before a load, and after it."""
BEAT_SECONDS = 10.0
"""Triton looks at its machine every one or two seconds, unless --metrics-interval-ms says otherwise."""
PAUSE_SECONDS = 0.1


class Meter:
    """Measures one load. ``memory`` is what it took; the problem in it says why that is not known."""

    def __init__(self) -> None:
        self.memory = UNKNOWN

    @contextmanager
    def measuring(self, triton: TritonServer, name: str, version: int) -> Iterator[None]:
        """Measure what the load in this block takes. Nobody else may load on this Triton meanwhile.

        A load that cannot be measured is still a load, so the block runs in any case.
        """
        before: tuple[list[Reading], frozenset[tuple[str, int]]] | None = None
        try:
            others = _others(triton, name)
            before = looks(triton), others
        except PromobotError as error:
            self.memory = Memory(problem=str(error))
        yield
        if before is None:
            return
        try:
            told = of_backend(triton.memory_told_of(name, version))
            after = looks(triton)
            if _others(triton, name) != before[1]:
                self.memory = Memory(problem=f"other models were loaded or unloaded on {triton.name} meanwhile")
            else:
                self.memory = taken(before[0], after, told)
        except PromobotError as error:
            self.memory = Memory(problem=str(error))


def memory_of(ledger: Ledger, slot: Slot, entry: Entry) -> Memory | None:
    """Return what loading a version took by its newest evidence that knows it; None where none does."""
    found = (one.memory for one in ledger.evidence_of(slot, entry.digest) if one.version == entry.version)
    return next((one for one in found if one is not None and not one.problem), None)


def looks(triton: TritonServer, count: int = LOOKS) -> list[Reading]:
    """Return readings of so many looks that the Triton took at its machine after this was called.

    Raises Unavailable where its metrics stay as they are, or cannot be read.
    """
    found: list[Reading] = []
    last, deadline = triton.memory(), time.monotonic() + count * BEAT_SECONDS
    while len(found) < count:
        if time.monotonic() >= deadline:
            # One that has just started says 0 of everything.
            said = f"do not change within {BEAT_SECONDS:g} s" if _tells(last) else "say nothing of memory"
            raise Unavailable(f"its metrics {said}", system=f"Triton {triton.name} ({triton.metrics})")
        time.sleep(PAUSE_SECONDS)
        reading = triton.memory()
        if reading.beat != last.beat:
            # It writes one gauge after another: the next reading has all of the same look.
            time.sleep(PAUSE_SECONDS)
            last = triton.memory()
            found += [last] if _tells(last) else []
    return found


def _tells(reading: Reading) -> bool:
    return reading.main is not None or bool(reading.gpus)


def _others(triton: TritonServer, name: str) -> frozenset[tuple[str, int]]:
    """Return what else is loaded there, once Triton is done with what it loads and unloads.

    Raises Unavailable where that takes longer than a look of Triton's at the machine.
    """
    deadline = time.monotonic() + BEAT_SECONDS
    while True:
        index = [state for state in triton.index() if state.model != name]
        moving = [state for state in index if state.loaded and not state.ready]
        if not moving:
            return frozenset(state.pair for state in index if state.ready)
        if time.monotonic() >= deadline:
            said = f"{moving[0].model} is {moving[0].state} there"
            raise Unavailable(said, system=f"Triton {triton.name} ({triton.metrics})")
        time.sleep(PAUSE_SECONDS)
