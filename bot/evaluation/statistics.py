"""The difference between two versions on the same rows, and the verdict that these rows allow.

Pure: arrays in, values out. docs/explanation/statistics.md names the methods and their sources, and has what
simulations show.

Every metric here is an average, or nearly one: its error is a sum of one small influence a row. The squares of the
influences give the standard error, their cubes how far Student's t is off (Hall 1992), and their fourth powers how
many rows carry the result. Influences of one group are added up first, so that a group counts as one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.domain.evaluation import Outcome, UndefinedBy
from bot.domain.measured import verdict
from bot.domain.spread import FEWEST, Spread
from bot.evaluation.metrics import Metric, Rows, Sample, Undefined, UndefinedByLabels
from bot.evaluation.room import groups_of, kept, parts

Array = NDArray[Any]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

POWER = 0.8
"""The share of samples of `rows_needed` rows that would tell, if the versions are as alike as they may be."""
_POWER_REACH = NormalDist().inv_cdf(POWER)
BLOCKS = (40, 100)
"""A team's own metric is asked without each of at least and at most so many blocks of rows."""
_MOST_ROWS = 10**12


def _in_parts(influence: Floats) -> Iterable[slice]:
    return parts(influence) if influence.ndim == 1 else [slice(None)]


def moments(influence: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return standard error, skewness, effective degrees of freedom, and the largest of influences, by the last axis.

    The degrees are those of a variance whose terms have these fourth moments (Satterthwaite's rule with the kurtosis
    that was seen): about the number of rows where influences are like normal ones, and few where a few carry all.
    """
    units, largest = influence.shape[-1], np.zeros(influence.shape[:-1])
    for part in _in_parts(influence):
        some = influence[..., part]
        largest = np.maximum(largest, np.maximum(some.max(axis=-1, initial=0.0), -some.min(axis=-1, initial=0.0)))
    # In units of the largest one, so that fourth powers neither overflow nor vanish.
    unit = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    second, third, fourth = (np.zeros(influence.shape[:-1]) for _ in range(3))
    for part in _in_parts(influence):
        some = influence[..., part] / unit[..., None]
        second = second + np.einsum("...i,...i->...", some, some)
        third = third + np.einsum("...i,...i,...i->...", some, some, some)
        fourth = fourth + np.einsum("...i,...i,...i,...i->...", some, some, some, some)
    most = max(units - 1.0, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        skew = np.where(second > 0, third / second**1.5, 0.0)
        excess = fourth / second**2 - 1 / units
        degrees = np.where((second > 0) & (excess > 2 / max(units, 1)), 2 / excess, most)
    return unit * np.sqrt(second * units / max(most, 1.0)), skew, np.minimum(degrees, most), largest


@dataclass(frozen=True)
class Difference:
    """One metric of both versions on the same rows.

    ``proposed`` and ``in_service`` are in the metric's own unit. ``difference`` is positive where the proposed one is
    better, whatever the metric's direction is. ``why`` says why there is no number of one of them, and
    ``undefined_by`` whose answers give none. Of one version alone, ``in_service`` and ``difference`` are None, and
    ``spread`` is that of the version.
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
    undefined_by: UndefinedBy | None = None

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
        why = "no row counts: the set has none, or none was answered"
        return Difference(rows, confidence=confidence, why=why, undefined_by="set")
    smallest = max((_least(one) for one in (proposed, in_service) if one is not None), default=0.0)
    first = Rows(labels, proposed, groups, without, classes, smallest)
    second = None if in_service is None else Rows(labels, in_service, groups, without_in_service, classes, smallest)
    try:
        ours = _sampled(metric, first, seed)
    except Undefined as error:
        by: UndefinedBy = "set" if isinstance(error, UndefinedByLabels) else "proposed"
        theirs = _value(metric, second, seed)
        return Difference(rows, in_service=theirs, confidence=confidence, why=str(error), undefined_by=by)
    method, own = metric.method + ("" if groups is None else ", by groups"), _spread(ours.influence, ours)
    alone = Difference(rows, method, ours.value, spread=own, proposed_error=own.with_unseen, confidence=confidence)
    if second is None:
        return alone
    try:
        other = _sampled(metric, second, seed)
    except Undefined as error:
        return _where_it_answered(metric, first, second, alone, error, seed)
    sign = 1.0 if metric.higher_is_better else -1.0
    paired = ours.influence
    for part in parts(paired, other.influence):
        paired[part] = (paired[part] - other.influence[part]) * sign
    difference = sign * (ours.value - other.value)
    return replace(alone, in_service=other.value, difference=difference, spread=_spread(paired, ours, other))


def _where_it_answered(
    metric: Metric, first: Rows, second: Rows, alone: Difference, error: Undefined, seed: str
) -> Difference:
    """Compare on the rows that the version in service answered, where it has no number of all rows.

    On the others it is as bad as can be, so what holds on these holds on all.
    """
    if second.refused is not None and second.refused.any():
        left = ~second.refused
        found = compare(
            metric,
            kept(first.labels, left),
            kept(first.answers, left),
            kept(second.answers, left),
            groups=None if first.groups is None else kept(first.groups, left),
            refused=(None if first.refused is None else first.refused[left], None),
            confidence=alone.confidence,
            seed=seed,
            classes=first.classes,
        )
        if found.difference is not None:
            why = f"in service: {error}; the difference is of the {found.rows:,} rows that it answered"
            return replace(found, proposed=alone.proposed, proposed_error=alone.proposed_error, why=why)
    return replace(alone, spread=None, why=f"in service: {error}", undefined_by="in_service")


def _least(answers: Array) -> float:
    return float(np.finfo(answers.dtype if answers.dtype.kind == "f" else np.float64).eps)


def _sampled(metric: Metric, rows: Rows, seed: str) -> Sample:
    return metric.compute(rows) if metric.compute is not None else _left_out(metric, rows, seed)


def _value(metric: Metric, rows: Rows | None, seed: str) -> float | None:
    try:
        return None if rows is None else _sampled(metric, rows, seed).value
    except Undefined:
        return None


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
        # Most rows may change nothing: the most that is possible, and not those few, says what may still come.
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
        raise UndefinedByLabels(f"{metric.name} needs more than {FEWEST:g} rows or groups to tell how sure it is")
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
    """Say whether the proposed version is at most ``max_regression`` worse, and where that is unknown, why."""
    if difference.difference is None or difference.spread is None:
        return Verdict("unknown", why=difference.why or "no version is in service to compare with")
    found, spread = difference.difference, difference.spread
    if spread.too_few:
        return Verdict("unknown", _more(difference.rows, spread), f"{_few(spread)} carry the difference")
    below, above = spread.bounds(confidence)
    outcome = verdict(found, (found - below, found + above), max_regression)
    if outcome != "unknown":
        return Verdict(outcome)
    needed = rows_needed(difference, max_regression, confidence)
    return Verdict("unknown", needed, "" if needed else _no_number_of_rows(found, max_regression))


def _no_number_of_rows(found: float, max_regression: float) -> str:
    if found + max_regression > 0:
        return "nobody can say how many rows would do, while the difference may be chance"
    return "no number of rows shows that it holds, if the difference is as it was measured"


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
