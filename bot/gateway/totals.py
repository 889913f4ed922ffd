"""Counts of the processes behind one address since they began: numbers that only rise, for monitors.

A monitor takes a number that falls for a restart, and all that is left for new. So what a process had counted when it
ended stays in the sum, as far as the last scrape saw it. The processes keep that in the folder that they share.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Key = tuple[str, ...]
"""The kind of a count, and the values of its labels."""
ENDED = ""
"""Stands for all processes that have ended."""


@dataclass
class Totals:
    """Numbers by what they count, and histograms: a sum in seconds, and cells.

    ``at`` is when they were read, by a clock that all processes of the machine share.
    """

    at: float = field(default_factory=time.monotonic)
    numbers: dict[Key, float] = field(default_factory=dict)
    times: dict[Key, tuple[float, list[int]]] = field(default_factory=dict)

    def add(self, key: Key, number: float) -> None:
        """Add a number; one that is 0 is there from then on, so that its first rise can be seen."""
        self.numbers[key] = self.numbers.get(key, 0) + number

    def add_times(self, key: Key, seconds: float, cells: Iterable[int]) -> None:
        """Add a histogram."""
        found = list(cells)
        if key in self.times:
            seconds += self.times[key][0]
            found = list(map(sum, zip(self.times[key][1], found, strict=True)))
        self.times[key] = seconds, found

    def take(self, other: Totals) -> None:
        """Add what another process counted."""
        for key, number in other.numbers.items():
            self.add(key, number)
        for key, (seconds, cells) in other.times.items():
            self.add_times(key, seconds, cells)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        times = [[key, seconds, cells] for key, (seconds, cells) in self.times.items()]
        return {"at": self.at, "numbers": [[key, number] for key, number in self.numbers.items()], "times": times}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Totals:
        """Read what ``to_json`` returned; raise ValueError, KeyError or TypeError where it is something else."""
        return cls(
            document["at"],
            {tuple(key): number for key, number in document["numbers"]},
            {tuple(key): (seconds, cells) for key, seconds, cells in document["times"]},
        )


def total(answered: Mapping[str, Totals], *, silent: Iterable[str], folder: Path | None) -> Totals:
    """Return the sum over all processes: those that ``answered``, by id, the ``silent`` ones, and those that ended.

    ``folder`` keeps what was seen of them; None where there is one process only. Blocks while another process is at
    it.
    """
    known = dict(answered)
    if folder is not None:
        with _kept(folder) as seen:
            for process, before in seen.items():
                if process in answered:
                    known[process] = max(before, answered[process], key=lambda totals: totals.at)
                elif process in silent:
                    known[process] = before
                else:
                    known.setdefault(ENDED, Totals()).take(before)
            if ENDED in known:
                known[ENDED] = _still_counted(known.pop(ENDED), known.values())
            seen.clear()
            seen.update(known)
    found = Totals()
    for totals in known.values():
        found.take(totals)
    return found


def _still_counted(ended: Totals, others: Iterable[Totals]) -> Totals:
    """Return what ended processes counted of versions that are still there: labels must not pile up."""
    there = {key[:3] for one in others for key in (*one.numbers, *one.times)}
    numbers = {key: number for key, number in ended.numbers.items() if len(key) < 3 or key[:3] in there}
    return Totals(ended.at, numbers, {key: times for key, times in ended.times.items() if key[:3] in there})


def forget(folder: Path) -> None:
    """Remove what is kept; for the last process of a folder."""
    for file in _files(folder):
        file.unlink(missing_ok=True)


def _files(folder: Path) -> tuple[Path, Path]:
    # Hidden: every other name is that of a process.
    return folder / ".totals.json", folder / ".totals.lock"


@contextlib.contextmanager
def _kept(folder: Path) -> Iterator[dict[str, Totals]]:
    """Yield what is kept, to be changed, while no other process may; raise OSError where the folder is gone."""
    file, lock = _files(folder)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            seen = {name: Totals.from_json(one) for name, one in json.loads(file.read_bytes()).items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            seen = {}  # the first scrape, or a file that a full disk cut off: as after a restart
        yield seen
        staged = file.with_suffix(".new")
        staged.write_text(json.dumps({name: totals.to_json() for name, totals in seen.items()}))
        staged.replace(file)
