"""What the usual intervals would have said of accuracy where few rows differ: why they are not used.

One version is 1 point worse in accuracy, in 1 row of 100, and never better. The samples are counts, so all are drawn
at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bot.domain.spread import Spread

Array = NDArray[Any]
ALLOWED = 0.01
CONFIDENCE = 0.95
RESAMPLES = 1999


def false_holds(rows: int, runs: int, seed: int = 1) -> dict[str, float]:
    """Return how often each method says that a version holds, which is exactly as much worse as is allowed."""
    rng = np.random.default_rng(seed)
    lost = rng.binomial(rows, ALLOWED, size=runs)
    d = -lost / rows
    second = (lost * (1 + d) ** 2 + (rows - lost) * d**2) / rows**2
    third = (-lost * (1 + d) ** 3 - (rows - lost) * d**3) / rows**3
    error = np.sqrt(second * rows / (rows - 1))
    skew = np.divide(third, second**1.5, out=np.zeros(runs), where=second > 0)
    bounds = {
        "Student's t": d - stats.t.ppf(CONFIDENCE, rows - 1) * error,
        "BCa bootstrap": _bca(rng, lost, rows),
        "what is used here": d - _reach(lost, error, skew, rows),
    }
    return {name: float((low > -ALLOWED).mean()) for name, low in bounds.items()}


def _reach(lost: Array, error: Array, skew: Array, rows: int) -> Array:
    """Return how far below the difference its bound lies; the same number of lost rows has the same."""
    _, first, which = np.unique(lost, return_index=True, return_inverse=True)
    found = [Spread(float(error[at]), float(skew[at]), rows - 1.0, 1 / rows).bounds(CONFIDENCE)[0] for at in first]
    return np.array(found)[which]


def _bca(rng: np.random.Generator, lost: Array, rows: int) -> Array:
    """Return the lower bounds of Efron (1987); of a sample without a difference the bootstrap has no other."""
    low = np.zeros(len(lost))
    for count in np.unique(lost[lost > 0]):
        resampled = np.sort(-rng.binomial(rows, count / rows, size=RESAMPLES) / rows)
        found = -count / rows
        share = (np.mean(resampled < found) + np.mean(resampled <= found)) / 2
        bias = stats.norm.ppf(share)
        # The jackknife's skewness of a mean of `count` values of -1 and zeros.
        centred = np.repeat([-1 - found, -found], [count, rows - count])
        acceleration = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
        z = bias + stats.norm.ppf(1 - CONFIDENCE)
        level = stats.norm.cdf(bias + z / (1 - acceleration * z))
        low[lost == count] = np.quantile(resampled, level, method="inverted_cdf")
    return low
