"""What is tried: how often a verdict is wrong, how often it is right, and how many rows it takes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.domain.spread import FEWEST
from bot.evaluation.metrics import PAIRED, Rows
from bot.evaluation.statistics import Difference, compare, holm, moments, non_inferior, p_worse
from tests.simulations.arrays import reach, tail
from tests.simulations.populations import Population, draw, population

Array = NDArray[Any]
CONFIDENCE = 0.95
SLICES = 50


@dataclass(frozen=True)
class Shares:
    """How often each verdict was given, of ``runs``."""

    runs: int
    holds: float
    misses: float

    @property
    def unknown(self) -> float:
        """How often it could not be told."""
        return 1 - self.holds - self.misses


def _generator(*seed: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(seed).encode()))


def sampled(of: Population, version: str, rng: np.random.Generator, units: int) -> Difference:
    """Compare a version with the one in service on a sample."""
    rows, groups = draw(of, rng, units)
    answers: Array = getattr(of, version)
    return compare(of.metric, of.labels[rows], answers[rows], of.in_service[rows], groups=groups, seed="simulation")


@cache
def _better(name: str, version: str) -> tuple[Array, float]:
    """Return by how much the version is better, row by row, where a metric is the mean of rows; and the step."""
    of = population(name)
    assert of.metric.compute is not None
    ours, theirs = (of.metric.compute(Rows(of.labels, answers)) for answers in (getattr(of, version), of.in_service))
    sign = 1.0 if of.metric.higher_is_better else -1.0
    rows = len(of.labels)
    better = sign * (rows * (ours.influence - theirs.influence) + ours.value - theirs.value)
    return better, ours.step * rows


@dataclass(frozen=True)
class Many:
    """Many samples at once of a metric that is a mean of rows, in the shape of ``difference``."""

    difference: Array
    error: Array
    skew: Array
    degrees: Array
    step: Array

    @property
    def tells(self) -> Array:
        """Which samples have enough rows that carry them."""
        return self.degrees >= FEWEST

    def bound(self, side: int) -> Array:
        """Return the lower or the upper bounds."""
        away = reach(self.error, -side * self.skew, np.maximum(self.degrees, 1), self.step, CONFIDENCE)
        return self.difference + side * np.where(self.tells, away, np.inf)

    def p_values(self, allowed: float) -> Array:
        """Return the p-values of being at most so much worse."""
        distance = -allowed - self.difference
        found = tail(distance, self.error, -self.skew, np.maximum(self.degrees, 1), self.step)
        return np.where(self.tells, found, 1.0)


def many(of: Population, version: str, rng: np.random.Generator, shape: tuple[int, ...], units: int) -> Many:
    """Draw samples of so many rows in this shape; the same numbers as `compare` gives of each."""
    better, step = _better(of.name, version)
    drawn = better[rng.integers(len(better), size=(*shape, units))]
    difference = drawn.mean(axis=-1)
    error, skew, degrees, largest = moments((drawn - difference[..., None]) / units)
    if step:
        degrees, largest = np.full(shape, units - 1.0), np.full(shape, step / units)
    return Many(difference, error, skew, degrees, largest)


def is_quick(of: Population) -> bool:
    """Whether many samples can be drawn at once."""
    return of.metric.method == PAIRED and of.groups is None


def _at_once(runs: int, values: int) -> list[int]:
    """Return how many runs to draw at a time, so that each holds a few million values."""
    most = max(1, min(runs, 4_000_000 // values))
    return [min(most, runs - start) for start in range(0, runs, most)]


def verdicts(of: Population, version: str, units: int, runs: int, allowed: float | None = None) -> Shares:
    """Return how often a version holds and misses. By default it is allowed a hair less than it is worse."""
    rng, counted = _generator(of.name, version, units), {"holds": 0, "misses": 0, "unknown": 0}
    border = of.allowed(version) if allowed is None else allowed
    if is_quick(of):
        for some in _at_once(runs, units):
            found = many(of, version, rng, (some,), units)
            counted["holds"] += int((found.bound(-1) > -border).sum())
            counted["misses"] += int((found.bound(1) < -border).sum())
        return Shares(runs, counted["holds"] / runs, counted["misses"] / runs)
    for _ in range(runs):
        counted[non_inferior(sampled(of, version, rng, units), border, CONFIDENCE).outcome] += 1
    return Shares(runs, counted["holds"] / runs, counted["misses"] / runs)


def blamed_slices(of: Population, units: int, runs: int) -> float:
    """Return in how many runs an equal version is said to miss on any of 50 slices of so many units each."""
    rng, wrong = _generator(of.name, "slices", units), 0
    border = of.allowed("equal")
    if is_quick(of):
        for some in _at_once(runs, units * SLICES):
            p_values = many(of, "equal", rng, (some, SLICES), units).p_values(border)
            wrong += sum(bool(holm(dict(enumerate(one)), CONFIDENCE)) for one in p_values.tolist())
        return wrong / runs
    for _ in range(runs):
        p_values = {one: p_worse(sampled(of, "equal", rng, units), border) for one in range(SLICES)}
        wrong += bool(holm(p_values, CONFIDENCE))
    return wrong / runs


def rows_to_tell(of: Population, version: str, allowed: float, outcome: str, runs: int) -> int:
    """Return how many rows it takes until a verdict is given four times in five, to about a tenth."""

    def often(units: int) -> bool:
        return getattr(verdicts(of, version, units, runs, allowed), outcome) >= 0.8

    low, high = 50, 100
    while not often(high):
        low, high = high, high * 2
    while high > 1.1 * low:
        middle = round((low * high) ** 0.5)
        low, high = (low, middle) if often(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class Foretold:
    """What `rows_needed` says of samples of ``rows``, and how often as many as it says (the median) tell."""

    rows: int
    quartiles: tuple[int, int, int]
    holds: float


def foretold(of: Population, units: int, allowed: float, runs: int) -> Foretold:
    """Ask how many rows are needed where an equal version cannot be told, and try with so many."""
    rng, said = _generator(of.name, "foretold", units), []
    for _ in range(runs):
        verdict = non_inferior(sampled(of, "equal", rng, units), allowed, CONFIDENCE)
        if verdict.outcome == "unknown" and verdict.rows_needed is not None:
            said.append(verdict.rows_needed)
    low, middle, high = (int(np.quantile(said, share)) for share in (0.25, 0.5, 0.75))
    return Foretold(units, (low, middle, high), verdicts(of, "equal", middle, runs, allowed).holds)
