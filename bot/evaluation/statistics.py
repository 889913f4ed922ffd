"""The difference between two versions on the same rows, and the verdict that these rows allow.

Pure: arrays in, values out. docs/statistics.md names the methods and their sources, and has what simulations show.

Every metric here is an average, or nearly one: its error is a sum of one small influence a row. The squares of the
influences give the standard error, their cubes how far Student's t is off (Hall 1992), and their fourth powers how
many rows carry the result. Influences of one group are added up first, so that a group counts as one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bot.domain.evaluation import Outcome
from bot.domain.spread import FEWEST, Spread
from bot.evaluation.metrics import Metric, Rows, Sample, Undefined
from bot.evaluation.room import groups_of, kept, parts

Array = NDArray[Any]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Name = TypeVar("Name")

POWER = 0.8
"""The share of samples of `rows_needed` rows that would tell, if the versions are as alike as they may be."""
_POWER_REACH = NormalDist().inv_cdf(POWER)
BLOCKS = (40, 100)
"""A team's own metric is asked without each of at least and at most so many blocks of rows."""
_MOST_ROWS = 10**12


def moments(influence: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return standard error, skewness, effective degrees of freedom, and the largest of influences, by the last axis.

    The degrees are those of a variance whose terms have these fourth moments (Satterthwaite's rule with the kurtosis
    that was seen): about the number of rows where influences are like normal ones, and few where a few carry all.
    """
    units = influence.shape[-1]
    second, third, fourth, largest = (np.zeros(influence.shape[:-1]) for _ in range(4))
    for part in parts(influence) if influence.ndim == 1 else [slice(None)]:
        some = influence[..., part]
        second = second + np.einsum("...i,...i->...", some, some)
        third = third + np.einsum("...i,...i,...i->...", some, some, some)
        fourth = fourth + np.einsum("...i,...i,...i,...i->...", some, some, some, some)
        largest = np.maximum(largest, np.maximum(some.max(axis=-1, initial=0.0), -some.min(axis=-1, initial=0.0)))
    most = max(units - 1.0, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        skew = np.where(second > 0, third / second**1.5, 0.0)
        excess = fourth / second**2 - 1 / units
        degrees = np.where((second > 0) & (excess > 2 / max(units, 1)), 2 / excess, most)
    return np.sqrt(second * units / max(most, 1.0)), skew, np.minimum(degrees, most), largest


@dataclass(frozen=True)
class Difference:
    """One metric of both versions on the same rows.

    ``proposed`` and ``in_service`` are in the metric's own unit. ``difference`` is positive where the proposed one is
    better, whatever the metric's direction is. ``why`` says why there is no number; then all of them are None. Of one
    version alone, ``in_service`` and ``difference`` are None, and ``spread`` is that of the version.
    """

    rows: int
    method: str = ""
    proposed: float | None = None
    in_service: float | None = None
    difference: float | None = None
    spread: Spread | None = None
    proposed_error: float | None = None
    confidence: float = 0.95
    why: str = ""

    @property
    def standard_error(self) -> float | None:
        """The standard error of the difference; None where there is none."""
        return None if self.spread is None or self.difference is None else self.spread.error

    @property
    def low(self) -> float | None:
        """The one-sided lower bound of the difference at ``confidence``; None where nothing can be said."""
        return self._bound(-1, self.confidence)

    @property
    def high(self) -> float | None:
        """The one-sided upper bound of the difference at ``confidence``; None where nothing can be said."""
        return self._bound(1, self.confidence)

    def _bound(self, side: int, confidence: float) -> float | None:
        if self.difference is None or self.spread is None or self.spread.too_few:
            return None
        below, above = self.spread.bounds(confidence)
        return self.difference + (above if side > 0 else -below)


@dataclass(frozen=True)
class Verdict:
    """The verdict on a difference: it ``holds``, it ``misses``, or that is ``unknown``.

    ``rows_needed`` are about so many rows as would tell; None where no number of rows will, and
    where the verdict is there already. ``why`` says why it is unknown.
    """

    outcome: Outcome
    rows_needed: int | None = None
    why: str = ""


def compare(
    metric: Metric,
    labels: Array,
    proposed: Array,
    in_service: Array | None,
    *,
    groups: Array | None = None,
    refused: tuple[Mask | None, Mask | None] = (None, None),
    confidence: float = 0.95,
    seed: str = "",
    classes: Array | None = None,
) -> Difference:
    """Compare two versions on the same rows; measure one alone where ``in_service`` is None.

    ``groups`` names, for each row, what it is drawn with (a user, a day, a query): rows of one group are not
    independent. ``refused`` marks the rows that each version did not answer: what both refuse does not count, and
    else it is decided, or ranked, as wrongly as can be. ``seed`` is the digest of the set, so that a rerun says the
    same of a team's own metric. ``classes`` are those of the set, where these are some of its rows. Nothing is
    raised: ``why`` of the result says what is missing.
    """
    try:
        return _compared(metric, labels, proposed, in_service, groups, refused, confidence, seed, classes)
    except Undefined as error:
        return Difference(rows=len(labels), confidence=confidence, why=str(error))


def _compared(
    metric: Metric,
    labels: Array,
    proposed: Array,
    in_service: Array | None,
    groups: Array | None,
    refused: tuple[Mask | None, Mask | None],
    confidence: float,
    seed: str,
    classes: Array | None,
) -> Difference:
    without, without_in_service = refused
    if without is not None:
        both = (
            without
            if in_service is None
            else without & (np.False_ if without_in_service is None else without_in_service)
        )
        if both.any():
            left = ~both
            labels, proposed = kept(labels, left), kept(proposed, left)
            in_service = None if in_service is None else kept(in_service, left)
            groups = None if groups is None else kept(groups, left)
            without = without[left]
            without_in_service = None if without_in_service is None else without_in_service[left]
    rows = len(labels)
    if not rows:
        raise Undefined("no row counts: the set has none, or none was answered")
    smallest = max((_least(one) for one in (proposed, in_service) if one is not None), default=0.0)
    first = Rows(labels, proposed, groups, without, classes, smallest)
    second = None if in_service is None else Rows(labels, in_service, groups, without_in_service, classes, smallest)
    samples = [_sampled(metric, one, who, seed) for one, who in ((first, ""), (second, "in service: ")) if one]
    ours, sign = samples[0], 1.0 if metric.higher_is_better else -1.0
    own = _spread(ours.influence, ours)
    if len(samples) == 1:
        return Difference(
            rows,
            metric.method + ("" if groups is None else ", by groups"),
            ours.value,
            spread=own,
            proposed_error=own.error,
            confidence=confidence,
        )
    theirs = samples[1]
    paired = ours.influence
    for part in parts(paired, theirs.influence):
        paired[part] = (paired[part] - theirs.influence[part]) * sign
    return Difference(
        rows,
        metric.method + ("" if groups is None else ", by groups"),
        ours.value,
        theirs.value,
        sign * (ours.value - theirs.value),
        _spread(paired, ours, theirs),
        own.error,
        confidence,
    )


def _least(answers: Array) -> float:
    return float(np.finfo(answers.dtype if answers.dtype.kind == "f" else np.float64).eps)


def _sampled(metric: Metric, rows: Rows, who: str, seed: str) -> Sample:
    try:
        return metric.compute(rows) if metric.compute is not None else _left_out(metric, rows, seed)
    except Undefined as error:
        raise Undefined(f"{who}{error}") from error


def _spread(influence: Floats, *samples: Sample) -> Spread:
    step, groups = max(sample.step for sample in samples), samples[0].groups
    if groups is not None:
        codes, sizes = groups_of(groups)
        summed = np.zeros(len(sizes))
        for part in parts(influence, codes):
            np.add.at(summed, codes[part], influence[part])
        influence, step = summed, step * int(sizes.max())
    error, skew, degrees, largest = (float(one) for one in moments(influence))
    if step:
        # Of decisions most rows change nothing: the step, and not those few, says what may still come.
        degrees = max(len(influence) - 1.0, 0.0)
    step = step or largest
    return Spread(error, skew, min([degrees, *(one.rarest - 1.0 for one in samples if one.rarest is not None)]), step)


def _left_out(metric: Metric, rows: Rows, seed: str) -> Sample:
    """Return a team's own metric. Where it is one number, leave out one block of rows after another.

    This is the delete-a-group jackknife (Shao and Wu 1989), with about as many blocks as rows in a block, so that it
    also holds for medians. Rows of one group stay together. Both versions have the same blocks.
    """
    assert metric.own is not None  # noqa: S101
    labels, answers = rows.labels, rows.answered()
    whole = metric.own(labels, answers)
    if not isinstance(whole, float):
        value = float(whole.mean())
        return Sample(value, (whole - value) / len(whole), groups=rows.groups)
    codes = np.arange(len(labels)) if rows.groups is None else np.unique(rows.groups, return_inverse=True)[1]
    units = int(codes.max()) + 1
    blocks = min(max(math.isqrt(units), BLOCKS[0]), BLOCKS[1], units)
    if blocks <= FEWEST:
        raise Undefined(f"{metric.name} needs more than {FEWEST:g} rows or groups to tell how sure it is")
    shuffled = np.random.default_rng(_number(seed)).permutation(units) % blocks
    of_row = shuffled[codes]
    without = np.array([_one(metric, labels[of_row != block], answers[of_row != block]) for block in range(blocks)])
    return Sample(whole, -(without - without.mean()) * (blocks - 1) / blocks)


def _one(metric: Metric, labels: Array, answers: Array) -> float:
    assert metric.own is not None  # noqa: S101
    found = metric.own(labels, answers)
    if not isinstance(found, float):
        raise Undefined(f"{metric.name} returned one number for all rows, and one a row for most of them")
    return found


def _number(seed: str) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")


def non_inferior(difference: Difference, max_regression: float, confidence: float) -> Verdict:
    """Say whether the proposed version is at most ``max_regression`` worse, in the metric's own unit.

    It holds where the one-sided lower bound at ``confidence`` is above ``-max_regression``. It misses where the upper
    bound is below. Two versions that are measured the same, and cannot differ, hold also where nothing is allowed.
    """
    if difference.why or difference.difference is None or difference.spread is None:
        return Verdict("unknown", why=difference.why or "no version is in service to compare with")
    found, spread = difference.difference, difference.spread
    if spread.too_few:
        return Verdict("unknown", _more(difference.rows, spread), f"{_few(spread)} carry the difference")
    below, above = spread.bounds(confidence)
    if found - below > -max_regression or (found + max_regression >= 0 and below == 0):
        return Verdict("holds")
    if found + above < -max_regression:
        return Verdict("misses")
    needed = rows_needed(difference, max_regression, confidence)
    why = "" if needed else "no number of rows shows that it holds, if the difference is as it was measured"
    return Verdict("unknown", needed, why)


def _few(spread: Spread) -> str:
    about = math.floor(spread.degrees) + 1
    return "no more than about " + (f"{about} rows" if about > 1 else "one row")


def _more(rows: int, spread: Spread) -> int | None:
    return math.ceil(rows * FEWEST / spread.degrees) if spread.degrees > 0 else None


def rows_needed(difference: Difference, max_regression: float, confidence: float) -> int | None:
    """Return about how many rows would show, four times in five, that it holds; None where no number would.

    n ≈ ((z of the confidence + z of 0.8) · s / (δ + d))² as the textbooks have it (Julious 2004), with the wider
    bounds that are used here. While the rows are too few, a measured d is mostly chance. So d is 0 here, or a
    standard error above the measured one where that is less.
    """
    if difference.difference is None or difference.spread is None:
        return None
    measured, spread = difference.difference, difference.spread
    likely = min(0.0, measured + spread.error) + max_regression
    room = measured + max_regression if _is_enough(spread, likely, confidence) else likely
    if room <= 0:
        return None
    low, high = 1.0, 2.0
    while not _is_enough(spread.of(high), room, confidence):
        low, high = high, high * 2
        if high * difference.rows > _MOST_ROWS:
            return None
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _is_enough(spread.of(middle), room, confidence) else (middle, high)
    return math.ceil(high * difference.rows)


def _is_enough(spread: Spread, room: float, confidence: float) -> bool:
    """Whether a lower bound of this spread leaves the room, four times in five."""
    return not spread.too_few and spread.bounds(confidence)[0] + _POWER_REACH * spread.error < room


def p_worse(difference: Difference, max_regression: float) -> float:
    """Return the p-value of being at most ``max_regression`` worse: small where that is hard to believe."""
    if difference.difference is None or difference.spread is None:
        return 1.0
    return difference.spread.p_value(-max_regression - difference.difference)


def holm(p_values: Mapping[Name, float], confidence: float) -> frozenset[Name]:
    """Return those whose hypothesis is rejected, so that the chance of one wrong among all is 1 - ``confidence``.

    Holm (1979): the smallest p-value is held to the level divided by all, the next to the level divided by the rest,
    until one is not small enough. The tests may depend on each other in any way, as slices and metrics do.
    """
    ordered: Sequence[tuple[Name, float]] = sorted(p_values.items(), key=lambda one: (math.isnan(one[1]), one[1]))
    found: list[Name] = []
    for place, (name, p_value) in enumerate(ordered):
        if not p_value <= (1 - confidence) / (len(ordered) - place):
            break
        found.append(name)
    return frozenset(found)
