"""Bounds and p-values of many samples at once: what `bot.domain.spread` computes of one, for arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from bot.domain.spread import KEPT, PSEUDO_ROWS, STRAIGHT


def reach(error: Any, skew: Any, degrees: Any, step: Any, confidence: Any) -> Any:
    """Return how far below an estimate its one-sided lower bound lies; of arrays elementwise.

    Student's t, or where influences are skewed Hall's transformation (1992), whichever is wider. Two rows more than
    were seen count as having the influence ``step``, and half a row is subtracted for continuity: else a version that
    was seen to change nothing would be certain to change nothing. A tenth of the level is kept for what is
    approximate in all this.
    """
    x = stats.t.ppf(1 - KEPT * (1 - np.asarray(confidence)), degrees)
    a = np.where(np.abs(skew) < STRAIGHT, STRAIGHT, skew)
    bent = 3 / a * (np.cbrt(1 + a * (x - a / 6)) - 1)
    return np.maximum(x, bent) * np.sqrt(np.square(error) + PSEUDO_ROWS * np.square(step)) + np.multiply(step, 0.5)


def tail(distance: Any, error: Any, skew: Any, degrees: Any, step: Any) -> Any:
    """Return the p-value of the true value being ``distance`` or more below the estimate: the inverse of `reach`."""
    spread = np.sqrt(np.square(error) + PSEUDO_ROWS * np.square(step))
    away = np.subtract(distance, np.multiply(step, 0.5))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        t = np.where(spread > 0, away / spread, np.where(away > 0, np.inf, -np.inf))
        a = np.where(np.abs(skew) < STRAIGHT, STRAIGHT, skew)
        straight = t + a * t**2 / 3 + a**2 * t**3 / 27 + a / 6
    straight = np.where(np.isfinite(t), straight, t)
    return np.minimum(stats.t.sf(np.minimum(t, straight), degrees) / KEPT, 1.0)
