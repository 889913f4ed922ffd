"""Influences: what each row adds to the error of a metric that is not a plain average (Hampel 1974).

Each function returns the metric and one number a row. Their sum is about how far the metric is off from what it would
be on all rows that could have been drawn; so their sum of squares is its variance (the infinitesimal jackknife).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bot.evaluation.room import parts, release, room

Array = NDArray[Any]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Average = Literal["binary", "macro", "weighted"]


def roc_auc(positive: Mask, scores: NDArray[np.generic]) -> tuple[float, Floats]:
    """Return the area under the ROC curve and the structural components of DeLong, DeLong and Clarke-Pearson (1988).

    By sorting, as Sun and Xu (2014): n log n. Both classes must be there. The components of two versions on the same
    rows, subtracted, give the paired variance.
    """
    of, others = _sorted(scores, positive), _sorted(scores, ~positive)
    psi, whole = room(scores.shape, np.float64), 0.0
    for part in parts(scores, psi):
        so, some = positive[part], scores[part]
        won = _share_below(some[so], others)
        whole += won.sum()
        share = np.empty(len(some))
        share[so], share[~so] = won, 1 - _share_below(some[~so], of)
        psi[part] = share
    value = float(whole / len(of))
    for part in parts(psi):
        so, share = positive[part], psi[part]
        psi[part] = np.where(so, (share - value) / _but_one(len(of)), (share - value) / _but_one(len(others)))
    return value, psi


def step_of_roc_auc(positives: int, others: int) -> float:
    """Return the most that one row can change the area: a row of the rarer class that goes from first to last."""
    return 1 / min(positives, others)


def step_of_roc_auc_of_many(rows: NDArray[np.intp]) -> float:
    """Return the same of the mean over classes that have so many rows: a row counts once for each of them."""
    of_others = 1 / (rows.sum() - rows)
    return float((1 / rows + of_others.sum() - of_others).max() / len(rows))


def step_of_average_precision(positives: int, _: int) -> float:
    """Return the most that one row can change it: a row that goes to the top lessens the precision at each positive.

    At the k-th positive by no more than 1 / (k + 1), and a positive that goes to the end by less: together no more
    than the harmonic number of the positives, which is below 1 + ln.
    """
    return (1 + math.log(positives)) / positives


def average_precision(positive: Mask, scores: NDArray[np.generic]) -> tuple[float, Floats]:
    """Return the average precision as scikit-learn defines it, and the influence of each row."""
    of, every = _sorted(scores, positive), _sorted(scores, np.ones(len(scores), np.bool_))
    count, ends = len(of), np.append(every[1:] != every[:-1], True)
    values = every[ends]  # the distinct scores, and from here on in falling order
    falling = values[::-1]
    shape, value, above = (len(values),), 0.0, 0.0
    of_positive, of_negative = room(shape, np.float64), room(shape, np.float64)
    for part in parts(of_positive, of_negative):
        found = (count - np.searchsorted(of, falling[part], "left")).astype(float)
        asked = (len(every) - np.searchsorted(every, falling[part], "left")).astype(float)
        hits = np.diff(found, prepend=above)
        above, precision = found[-1], found / asked
        value += float(precision @ hits)
        # One row more at a score is one more of those that are asked at every score below it.
        below = hits / asked
        of_positive[part], of_negative[part] = below * (1 - precision), -below * precision
    value /= count
    _summed_from_below(of_positive)
    _summed_from_below(of_negative)
    above = 0.0
    for part in parts(of_positive):
        found = (count - np.searchsorted(of, falling[part], "left")).astype(float)
        asked = (len(every) - np.searchsorted(every, falling[part], "left")).astype(float)
        of_positive[part] += found / asked - value
    del of, every
    psi = room(scores.shape, np.float64)
    for part in parts(scores, psi):
        so, some = positive[part], scores[part]
        order, place = np.argsort(some), np.empty(len(some), np.intp)
        place[order] = len(values) - 1 - np.searchsorted(values, some[order], "left")
        moved = np.empty(len(some))
        moved[so] = of_positive[place[so]]
        release(of_positive)
        moved[~so] = of_negative[place[~so]]
        release(of_negative)
        psi[part] = moved / count
    return value, psi


def coefficient_of_determination(labels: Array, numbers: Array) -> tuple[float, Floats]:
    """Return R² and the influence of each row. The labels must not all be the same."""
    rows = len(labels)
    mean = sum(_wide(labels[part]).sum() for part in parts(labels)) / rows
    missed, spread = room(labels.shape, np.float64), room(labels.shape, np.float64)
    ours = whole = 0.0
    for part in parts(labels, numbers, missed, spread):
        some = _wide(labels[part])
        missed[part], spread[part] = (some - _wide(numbers[part])) ** 2, (some - mean) ** 2
        ours, whole = ours + missed[part].sum(), whole + spread[part].sum()
    ours, whole = ours / rows, whole / rows
    for part in parts(missed, spread):
        missed[part] = (ours / whole * (spread[part] - whole) - (missed[part] - ours)) / whole / rows
    return float(1 - ours / whole), missed


def root_mean_squared_error(labels: Array, numbers: Array) -> tuple[float, Floats]:
    """Return the root of the mean squared error and the influence of each row."""
    rows, whole = len(labels), 0.0
    missed = room(labels.shape, np.float64)
    for part in parts(labels, numbers, missed):
        missed[part] = (_wide(labels[part]) - _wide(numbers[part])) ** 2
        whole += missed[part].sum()
    mean = whole / rows
    value = float(np.sqrt(mean))
    for part in parts(missed):
        missed[part] = (missed[part] - mean) / (2 * value * rows) if value else 0.0
    return value, missed


@dataclass(frozen=True)
class Decided:
    """A metric of decisions, for any number of rows: its ``value``, and what a row of each kind moves it.

    ``influence[label, decision]`` is that of one row, times ``rows``.
    """

    value: float
    influence: Floats
    rows: float

    @property
    def step(self) -> float:
        """The most that the metric changes where one row is decided otherwise."""
        return float((self.influence.max(axis=1) - self.influence.min(axis=1)).max() / self.rows)

    def of_rows(self, labels: NDArray[Any], decisions: NDArray[Any]) -> Floats:
        """Return the influence of each row."""
        found = room(labels.shape, np.float64)
        for part in parts(found):
            found[part] = self.influence[labels[part], decisions[part]] / self.rows
        return found


def recall(counts: Floats, average: Average) -> Decided:
    """Return recall: of the rows of a class, how many are decided so. Balanced accuracy is its macro average."""
    return _averaged(counts, average, by_label=1.0, by_decision=0.0)


def precision(counts: Floats, average: Average) -> Decided:
    """Return precision: of the rows that are decided for a class, how many are of it."""
    return _averaged(counts, average, by_label=0.0, by_decision=1.0)


def f1(counts: Floats, average: Average) -> Decided:
    """Return F1, the harmonic mean of precision and recall."""
    return _averaged(counts, average, by_label=0.5, by_decision=0.5)


def _averaged(counts: Floats, average: Average, *, by_label: float, by_decision: float) -> Decided:
    """Average ``right / whole`` over the classes; ``counts[label, decision]`` are rows.

    A class's ``whole`` counts a row of the class as ``by_label``, and one that is decided for it as ``by_decision``.
    The last column of ``counts`` is of rows that are decided for no class.
    """
    rows = float(counts.sum())
    shares = counts / rows
    of, right = shares.sum(axis=1), np.diag(shares)
    whole = by_label * of + by_decision * shares.sum(axis=0)[:-1]
    there = whole > 0
    each = np.divide(right, whole, out=np.zeros(len(of)), where=there)
    weights = _weights(of, there, average)
    scale = np.divide(weights, whole, out=np.zeros(len(of)), where=there)
    value = float(weights @ each)
    influence = np.zeros(counts.shape)
    influence[:, :-1] = np.diag(scale) - by_decision * each * scale
    influence -= by_label * (each * scale)[:, None]
    if average == "weighted":  # the weights are shares of the rows, too
        influence += each[:, None] - value
    return Decided(value, influence, rows)


def _weights(of: Floats, there: Mask, average: Average) -> Floats:
    if average == "weighted":
        return of
    if average == "binary":
        return np.asarray(np.eye(len(of))[1], dtype=np.float64)
    return np.asarray(there / there.sum(), dtype=np.float64)


def _share_below(needles: NDArray[np.generic], ordered: NDArray[np.generic]) -> Floats:
    """Return which share of ``ordered``, which is sorted, each needle beats; half of those that it equals."""
    order = np.argsort(needles)
    rising, found = needles[order], np.empty(len(needles))  # neighbours are found near each other: ten times as fast
    left = np.searchsorted(ordered, rising, "left")
    found[order] = (left + np.searchsorted(ordered, rising, "right")) / (2.0 * len(ordered))
    return found


def _sorted(scores: NDArray[np.generic], mask: Mask) -> NDArray[np.generic]:
    """Return the scores of these rows in memory, the smallest first."""
    found, at = np.empty(int(mask.sum()), scores.dtype), 0
    for part in parts(scores):
        some = scores[part][mask[part]]
        found[at : at + len(some)] = some
        at += len(some)
    found.sort()
    return found


def _summed_from_below(values: Floats) -> None:
    """Make of each value the sum of itself and all that come after it."""
    carried = 0.0
    for part in reversed(list(parts(values))):
        values[part] = np.cumsum(np.append(carried, values[part][::-1]))[:0:-1]
        carried = values[part][0]
        release(values)


def _wide(values: Array) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _but_one(rows: int) -> float:
    """Return what to divide by, so that the squares add up to the variance without bias."""
    return float(np.sqrt(rows * (rows - 1.0))) if rows > 1 else 1.0
