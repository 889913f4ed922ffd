"""What is tried: how often a verdict is wrong, how often it is right, and how many rows it takes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.domain.measured import as_claimed, improbable, verdict
from bot.domain.spread import Spread
from bot.evaluation.metrics import PAIRED, Rows
from bot.evaluation.statistics import Difference, compare, moments, non_inferior
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


def many(
    of: Population, version: str, rng: np.random.Generator, shape: tuple[int, ...], units: int
) -> tuple[Array, Array]:
    """Draw samples of so many rows in this shape; return the difference and the `Spread` that `compare` finds."""
    better, step = _better(of.name, version)
    drawn = better[rng.integers(len(better), size=(*shape, units))]
    difference = drawn.mean(axis=-1)
    error, skew, degrees, largest = moments((drawn - difference[..., None]) / units)
    if step:
        degrees, largest = np.full(shape, units - 1.0), np.full(shape, step / units)
    every = zip(*(one.ravel().tolist() for one in (error, skew, degrees, largest)), strict=True)
    spreads = np.empty(difference.size, object)
    spreads[:] = [Spread(*one) for one in every]
    return difference, spreads.reshape(shape)


def judged(difference: float, spread: Spread, max_regression: float) -> str:
    """Return the verdict, as the check does."""
    below, above = spread.bounds(CONFIDENCE)
    return verdict(difference, (difference - below, difference + above), max_regression)


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
            for difference, spread in zip(*many(of, version, rng, (some,), units), strict=True):
                counted[judged(float(difference), spread, border)] += 1
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
            differences, spreads = many(of, "equal", rng, (some, SLICES), units)
            for run, together in enumerate(spreads):
                p_values = [one.p_value(-border - differences[run, number]) for number, one in enumerate(together)]
                wrong += bool(improbable(p_values, CONFIDENCE))
        return wrong / runs
    for _ in range(runs):
        found = [sampled(of, "equal", rng, units) for _ in range(SLICES)]
        wrong += bool(improbable([p_value(one, border) for one in found], CONFIDENCE))
    return wrong / runs


def p_value(found: Difference, max_regression: float) -> float:
    """Return the p-value of being at most so much worse."""
    if found.spread is None or found.difference is None:
        return 1.0
    return found.spread.p_value(-max_regression - found.difference)


def blamed_claims(of: Population, units: int, runs: int) -> float:
    """Return how often training is blamed for a number that is true: that of the whole population."""
    rng, wrong = _generator(of.name, "claims", units), 0
    true = compare(of.metric, of.labels, of.in_service, None, groups=of.groups).proposed
    assert true is not None
    for _ in range(runs):
        rows, groups = draw(of, rng, units)
        found = compare(of.metric, of.labels[rows], of.in_service[rows], None, groups=groups)
        if found.proposed is not None and found.proposed_error is not None:
            wrong += not as_claimed(true, found.proposed, found.proposed_error, 0.0)
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
