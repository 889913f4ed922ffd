"""How sure a measured difference is, at any confidence, from the four figures that evidence keeps of it.

The check computes a verdict with this, and a deployment that judges again computes the same.
docs/explanation/statistics.md names the methods and their sources.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

FEWEST = 30.0
"""Where fewer rows than this carry a result, there is no verdict: one more of them may turn it round."""
PSEUDO_ROWS = 2.0
"""So many rows more than were seen count as having the influence of the step."""
KEPT = 0.9
"""The share of the level that is used; the rest is kept for what is approximate."""
STRAIGHT = 1e-6
"""A smaller skewness counts as this one, which bends nothing."""
_MANY = 1000.0
_TINY, _ENOUGH = 1e-300, 1e-15
_MOST_STEPS = 1000


@dataclass(frozen=True)
class Spread:
    """How an estimate spreads: its standard ``error``, ``skew`` and effective ``degrees`` of freedom.

    ``step`` is how much one row more can change it: the most that is possible, or where there is no most, as of a
    loss of numbers, the most that any row was seen to.
    """

    error: float
    skew: float
    degrees: float
    step: float = 0.0

    @property
    def too_few(self) -> bool:
        """Whether so few rows carry the estimate that nothing can be said of it."""
        return self.degrees < FEWEST

    def bounds(self, confidence: float) -> tuple[float, float]:
        """Return how far below and above the estimate the one-sided bounds lie; inf where too few carry it."""
        if self.too_few:
            return math.inf, math.inf
        return self._reach(self.skew, confidence), self._reach(-self.skew, confidence)

    def p_value(self, above: float) -> float:
        """Return the p-value of the true value lying ``above`` the estimate, or more; 1 where nothing can be said."""
        if self.too_few:
            return 1.0
        away = above - self.step * 0.5
        if not self.with_unseen:
            return 0.0 if away > 0 else 1.0
        t = away / self.with_unseen
        a = -self.skew if abs(self.skew) >= STRAIGHT else STRAIGHT
        straight = t + a * t**2 / 3 + a**2 * t**3 / 27 + a / 6
        return min(t_above(min(t, straight), self.degrees) / KEPT, 1.0)

    def of(self, times: float) -> Spread:
        """Return the spread of so many times the rows."""
        root = math.sqrt(times)
        return Spread(self.error / root, self.skew / root, self.degrees * times, self.step / times)

    @property
    def with_unseen(self) -> float:
        """The standard error with that of rows that were not seen: what looks perfect may still be wrong."""
        return math.sqrt(self.error**2 + PSEUDO_ROWS * self.step**2)

    def _reach(self, skew: float, confidence: float) -> float:
        """Return how far below the estimate its lower bound lies.

        Student's t, or where influences are skewed Hall's transformation (1992), whichever is wider. Two rows more
        than were seen count as having the influence of the step, and half a row is subtracted for continuity: else a
        version that was seen to change nothing would be certain to change nothing. A tenth of the level is kept for
        what is approximate in all this.
        """
        x = t_quantile(1 - KEPT * (1 - confidence), self.degrees)
        a = skew if abs(skew) >= STRAIGHT else STRAIGHT
        bent = 3 / a * (math.cbrt(1 + a * (x - a / 6)) - 1)
        return max(x, bent) * self.with_unseen + self.step * 0.5


def t_above(t: float, degrees: float) -> float:
    """Return the probability of a larger value than ``t`` by Student's distribution.

    By the continued fraction of the incomplete beta function (Press et al., Numerical Recipes, 6.4); of many degrees
    by Hill's normal deviate (1970, Algorithm 395), whose next term is far below what a float holds there.
    """
    if t < 0:
        return 1.0 - t_above(-t, degrees)
    if math.isinf(t):
        return 0.0
    rest = t * t / (degrees + t * t)
    if not rest:
        return 0.5
    if degrees > _MANY:
        return 0.5 * math.erfc(_normal(t, degrees) / math.sqrt(2))
    a, x = degrees / 2, degrees / (degrees + t * t)
    front = math.exp(_log_of_gammas(a) - 0.5 * math.log(math.pi) + a * math.log1p(-rest) + 0.5 * math.log(rest))
    if x < (a + 1) / (a + 2.5):
        return 0.5 * front * _fraction(a, 0.5, x) / a
    return 0.5 - front * _fraction(0.5, a, rest)


def _normal(t: float, degrees: float) -> float:
    """Return the value that a normal distribution exceeds as often as Student's exceeds ``t``."""
    a = degrees - 0.5
    b = 48 * a * a
    w = math.sqrt(a * math.log1p(t * t / degrees))
    return w + (w**3 + 3 * w) / b - (4 * w**7 + 33 * w**5 + 240 * w**3 + 855 * w) / (10 * b * (b + 0.8 * w**4 + 100))


@lru_cache(maxsize=1024)
def t_quantile(share: float, degrees: float) -> float:
    """Return the value that this ``share``, 0.5 or more, of Student's distribution is below."""
    beyond, t = 1 - share, NormalDist().inv_cdf(share)
    low, high = 0.0, max(2 * t, 1.0)
    while t_above(high, degrees) > beyond:
        low, high = high, 2 * high
    t = min(max(t, low), high)
    for _ in range(200):
        above = t_above(t, degrees)
        low, high = (t, high) if above > beyond else (low, t)
        density = math.exp(
            _log_of_gammas(degrees / 2)
            - 0.5 * math.log(degrees * math.pi)
            - (degrees + 1) / 2 * math.log1p(t * t / degrees)
        )
        following = t + (above - beyond) / density
        following = following if low <= following <= high else (low + high) / 2
        if abs(following - t) <= 1e-14 * max(t, 1e-3):
            return following
        t = following
    return t


def _log_of_gammas(x: float) -> float:
    """Return the logarithm of Γ(x + 1/2) / Γ(x): of large x by its series, where a difference would lose digits."""
    if x < 50:
        return math.lgamma(x + 0.5) - math.lgamma(x)
    series = 1 - 1 / (8 * x) + 1 / (128 * x**2) + 5 / (1024 * x**3) - 21 / (32768 * x**4) - 399 / (262144 * x**5)
    return 0.5 * math.log(x) + math.log(series)


def _fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function, by Lentz's method."""
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    found = d
    for m in range(1, _MOST_STEPS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _not_zero(1 + term * d)
            c = _not_zero(1 + term / c)
            found *= c * d
        if abs(c * d - 1) < _ENOUGH:
            break
    return found


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
