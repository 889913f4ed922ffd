"""Influences: what each row adds to the error of a metric that is not a plain average (Hampel 1974).

Each function returns the metric and one number a row. Their sum is about how far the metric is off from what it would
be on all rows that could have been drawn; so their sum of squares is its variance (the infinitesimal jackknife).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Average = Literal["binary", "macro", "weighted"]

_AT_ONCE = 2**20
"""Rows that are looked up at once, so that ten million need little memory."""


def roc_auc(positive: Mask, scores: NDArray[np.generic]) -> tuple[float, Floats]:
    """Return the area under the ROC curve and the structural components of DeLong, DeLong and Clarke-Pearson (1988).

    By sorting, as Sun and Xu (2014): n log n. Both classes must be there. The components of two versions on the same
    rows, subtracted, give the paired variance.
    """
    psi = np.empty(len(scores))
    of, others = scores[positive], scores[~positive]
    won, lost = _share_below(of, others), 1 - _share_below(others, of)
    value = float(won.mean())
    psi[positive] = (won - value) / _but_one(len(of))
    psi[~positive] = (lost - value) / _but_one(len(others))
    return value, psi


def average_precision(positive: Mask, scores: NDArray[np.generic]) -> tuple[float, Floats]:
    """Return the average precision as scikit-learn defines it, and the influence of each row."""
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    hit = positive[order]
    ends = np.flatnonzero(np.append(np.diff(scores[order].astype(np.float64)) != 0, True))
    place = np.searchsorted(ends, np.arange(len(scores)))  # of each row, which of the distinct scores it has
    found, asked = np.cumsum(hit)[ends].astype(float), ends + 1.0
    hits = np.diff(found, prepend=0.0)
    precision, count = found / asked, found[-1]
    value = float(precision @ hits / count)
    # One row more at a score is one more of those that are asked at every score below it.
    below = hits / asked
    of_positive = np.cumsum((below * (1 - precision))[::-1])[::-1]
    of_negative = np.cumsum((-below * precision)[::-1])[::-1]
    moved = np.where(hit, precision[place] - value + of_positive[place], of_negative[place]) / count
    psi = np.empty(len(scores))
    psi[order] = moved
    return value, psi


def coefficient_of_determination(labels: Floats, numbers: Floats) -> tuple[float, Floats]:
    """Return R² and the influence of each row. The labels must not all be the same."""
    missed, spread = (labels - numbers) ** 2, (labels - labels.mean()) ** 2
    ours, whole = missed.mean(), spread.mean()
    psi = (ours / whole * (spread - whole) - (missed - ours)) / whole / len(labels)
    return float(1 - ours / whole), psi


def root_mean_squared_error(labels: Floats, numbers: Floats) -> tuple[float, Floats]:
    """Return the root of the mean squared error and the influence of each row."""
    missed = (labels - numbers) ** 2
    value = float(np.sqrt(missed.mean()))
    return value, (missed - missed.mean()) / (2 * value * len(labels)) if value else np.zeros(len(labels))


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
        found = np.empty(len(labels))
        for start in range(0, len(labels), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            found[part] = self.influence[labels[part], decisions[part]]
        found /= self.rows
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


def _share_below(needles: NDArray[np.generic], hay: NDArray[np.generic]) -> Floats:
    """Return which share of ``hay`` each needle beats; half of those that it equals."""
    ordered = np.sort(hay)
    found = np.empty(len(needles))
    for start in range(0, len(needles), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        left = np.searchsorted(ordered, needles[part], "left")
        found[part] = (left + np.searchsorted(ordered, needles[part], "right")) / (2.0 * len(hay))
    return found


def _but_one(rows: int) -> float:
    """Return what to divide by, so that the squares add up to the variance without bias."""
    return float(np.sqrt(rows * (rows - 1.0))) if rows > 1 else 1.0
