"""What parts of the matrix give and get, and how they are found."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import tests.reliability

if TYPE_CHECKING:
    from tests.reliability.scene import Scene

T = TypeVar("T")
SAMPLE_POINTS = 1


@dataclass(frozen=True)
class Point:
    """One thing that was tried: the table's row that it counts for, which one it was, and what was wrong."""

    row: str
    name: str
    problems: Sequence[str] = ()


@dataclass
class Matrix:
    """What was asked for on the command line, and the scene that all parts share."""

    points: int | None = None
    skip: int = 0
    """How many sequences, or first kills of pairs, to leave out: what a run that was interrupted had tried."""
    sample: bool = False
    everything: bool = False
    lane: tuple[int, int] = (1, 1)
    """Which of how many processes this is, where several share the points of the crash matrix."""
    rows: str = ""
    say: Callable[[str], None] = print
    open_scene: Callable[[], Scene] | None = field(default=None, repr=False)

    def scene(self) -> Scene:
        """Return the one scene; started by whoever asks first."""
        assert self.open_scene is not None
        return self.open_scene()

    def some(self, everything: Sequence[T], *, stride: int = 1) -> list[T]:
        """Return what is to be tried of these: all, or as many as were asked for, evenly spread.

        ``stride``: by default every so-manieth; ``--everything`` takes all of them.
        """
        chosen = list(everything) if self.everything else list(everything[::stride])
        limit = SAMPLE_POINTS if self.sample else self.points
        if limit is None or len(chosen) <= limit:
            return chosen
        # The middle of each stretch: the first point of all is often one at which nothing has begun yet.
        return [chosen[(2 * number + 1) * len(chosen) // (2 * limit)] for number in range(limit)]

    def mine(self, points: Sequence[T]) -> list[T]:
        """Return those of the points that this lane tries; each lane takes others, all lanes together all."""
        return [point for number, point in enumerate(points) if self.is_mine(number)]

    def is_mine(self, number: int) -> bool:
        """Whether this lane tries the point with this number, from 0 on."""
        lane, lanes = self.lane
        return number % lanes == lane - 1

    def wants(self, row: str) -> bool:
        """Whether ``--rows`` lets this row pass."""
        return bool(re.search(self.rows, row))


@dataclass(frozen=True)
class Part:
    """A part of the matrix: its name on the command line, what it tries, and how."""

    name: str
    says: str
    run: Callable[[Matrix], Iterator[Point]]


def named(known: Collection[str]) -> Callable[[str], list[str]]:
    """Return what reads ``--only``: names with commas between them, of those that there are."""

    def some(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}; there is {', '.join(known)}")
        return chosen

    return some


def lane(text: str) -> tuple[int, int]:
    """Read ``--lane``: which of how many, as ``2/3``."""
    if not (match := re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)) or int(match[1]) > int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a lane of so many, as 1/2 is")
    return int(match[1]), int(match[2])


def parts() -> list[Part]:
    """Return the parts of every module of this package that has one, by name."""
    found = []
    for module in pkgutil.iter_modules(tests.reliability.__path__, "tests.reliability."):
        if not module.name.rpartition(".")[2].startswith(("__main__", "test_")):
            part = getattr(importlib.import_module(module.name), "PART", None)
            if part is not None:
                found.append(part)
    return sorted(found, key=lambda part: part.name)
