"""Rounds, figures, and what they are compared with."""

from __future__ import annotations

import importlib
import os
import pkgutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import tests.benchmarks

ROUNDS = 5
Found = TypeVar("Found")


@dataclass(frozen=True)
class Figure:
    """One measured thing: ``ours`` and ``peer`` hold a value for each round, in ``unit``.

    ``goal`` is the largest value that is good enough: of the ratio where there is a ``peer``, else of ``ours``. None
    where the figure is only stated.
    """

    name: str
    ours: Sequence[float]
    against: str = ""
    peer: Sequence[float] = ()
    goal: float | None = None
    unit: str = "s"
    note: str = ""
    more: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """What a plot needs besides, by the name of the line."""

    @property
    def value(self) -> float:
        """The median of the rounds' ratios, or of our own values where there is no peer."""
        if self.peer:
            return statistics.median(ours / peer for ours, peer in zip(self.ours, self.peer, strict=True))
        return statistics.median(self.ours)

    @property
    def value_unit(self) -> str:
        """What ``value`` is in: ``×`` for a ratio."""
        return "×" if self.peer else self.unit

    @property
    def reached(self) -> bool | None:
        """Whether the goal is; None where there is none."""
        return None if self.goal is None else self.value <= self.goal

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON, every round included."""
        return {
            "name": self.name,
            "against": self.against,
            "value": self.value,
            "value_unit": self.value_unit,
            "goal": self.goal,
            "reached": self.reached,
            "unit": self.unit,
            "ours": list(self.ours),
            "peer": list(self.peer),
            "note": self.note,
            "more": {name: list(values) for name, values in self.more.items()},
        }


@dataclass(frozen=True)
class Bench:
    """What was asked for on the command line, and where a benchmark may write."""

    folder: Path
    rounds: int = ROUNDS
    quick: bool = False
    """Small and once, to see that it runs: what is measured then says nothing."""
    say: Callable[[str], None] = print

    def size(self, full: int, quick: int) -> int:
        """Return how much of something to take."""
        return quick if self.quick else full

    def compare(
        self,
        ours: Callable[[], object],
        peer: Callable[[], object],
        *,
        before: Callable[[], object] = lambda: None,
        around: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> tuple[list[float], list[float]]:
        """Time both in every round, taking turns at who goes first; return our seconds and the peer's.

        ``before`` runs before each of them, and ``around`` is entered around each, both outside of what is timed.
        """
        works = {"peer": peer, "ours": ours}
        found = self.in_turns(works, before=dict.fromkeys(works, before), around=around)
        return found["ours"], found["peer"]

    def in_turns(
        self,
        works: Mapping[str, Callable[[], object]],
        *,
        before: Mapping[str, Callable[[], object]] | None = None,
        around: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> dict[str, list[float]]:
        """Time all in every round, beginning with another each time; return the seconds of each.

        What ``before`` has for a work runs before it, outside of what is timed; ``around`` as in ``compare``.
        """

        def timed(name: str) -> float:
            if before and name in before:
                before[name]()
            # What an earlier one left to be written must not be paid for by this one.
            os.sync()
            with around():
                started = time.perf_counter()
                works[name]()
                return time.perf_counter() - started

        return self.alternate({name: partial(timed, name) for name in works})

    def alternate(self, works: Mapping[str, Callable[[], Found]], *, turns: int = 1) -> dict[str, list[Found]]:
        """Run all in every round, so often, beginning with another each time; return what each returned, in order.

        For works that measure themselves, where the seconds that they take say nothing.
        """
        found: dict[str, list[Found]] = {name: [] for name in works}
        names = list(works)
        for number in range(self.rounds * turns):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                found[name].append(works[name]())
        return found

    def time(self, work: Callable[[], object], *, before: Callable[[], object] = lambda: None) -> list[float]:
        """Time it once in every round; return the seconds."""
        seconds = []
        for _ in range(self.rounds):
            before()
            started = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - started)
        return seconds


@dataclass(frozen=True)
class Benchmark:
    """A part of the benchmarks: its name on the command line, what it measures, and how."""

    name: str
    says: str
    run: Callable[[Bench], Iterator[Figure]]
    about: str = ""
    """How it is measured, for the page: what its module says of itself."""
    slow: bool = False
    """Whether it takes long also with ``--quick``, as it starts much: then no test of the default run tries it."""


def benchmarks() -> list[Benchmark]:
    """Return those of every module of this package that has one, by name."""
    found = []
    for module in pkgutil.iter_modules(tests.benchmarks.__path__, "tests.benchmarks."):
        if not module.name.rpartition(".")[2].startswith(("__main__", "test_")):
            imported = importlib.import_module(module.name)
            benchmark = getattr(imported, "BENCHMARK", None)
            if benchmark is not None:
                about = " ".join((imported.__doc__ or "").split("\n\n    ")[0].split("\n"))
                found.append(replace(benchmark, about=about.strip()))
    return sorted(found, key=lambda benchmark: benchmark.name)
