"""Confidence sequences: bounds that hold at every moment at once, so that anyone may look as often as they like.

An interval of a fixed sample that is looked at after every request is wrong far more often than its level says. These
bounds are wrong at *any* look of one sequence with a probability of at most ``alpha``. They need counts only.

- A rate: the beta-binomial mixture (Robbins 1970; Howard, Ramdas, McAuliffe, Sekhon 2021). The likelihood of the
  counts under a Beta(½, ½) mixture, divided by that under the true rate, is a martingale that starts at 1. It
  exceeds 1/alpha ever with a probability of at most alpha (Ville).
- The difference of two rates: the bounds of both, each at half of alpha.
- A quantile of what is counted in cells (Howard, Ramdas 2022): the share of values up to a cell's end is a rate. The
  bound is found by going through the cells, and yet alpha is not divided among them. If the upper bound of a quantile
  is too low at any cell's end, the counts claim too much there; the counts up to the last end below the true quantile
  are at least as large, so they claim too much, too. That end is fixed before anything is counted. One fixed cell can
  fool us, not any of them.

The bounds assume that each request fails, or is slow, independently of the others, and at the same rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf, lgamma, log

LEVEL = 0.001
"""Largest probability that a healthy rollout is put back. Its signals, periods and sequences share it."""
SIGNALS = 2
"""Failures and latency; decisions are a third one, where they are compared."""
_PRIOR = 0.5
_HALVINGS = 60


@dataclass(frozen=True)
class Bounds:
    """The true value lies between them, both included: that is sure at every look."""

    low: float
    high: float


@dataclass(frozen=True)
class Counts:
    """Requests, and how many of them are hits: failures, flips, slow ones.

    A request may also be a hit in part, by a value from 0 to 1: of all such values with one mean, yes and no spread
    most (Hoeffding 1963), so the bounds hold for the mean.
    """

    hits: float
    of: int

    @property
    def share(self) -> float | None:
        """The hits' share of the requests; None where there are none."""
        return self.hits / self.of if self.of else None


@dataclass(frozen=True)
class Cells:
    """A histogram: how many values lie in each cell. Cell k ends at ``ends[k]``, included; the last has no end."""

    counts: Sequence[int]
    ends: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.ends) + 1:
            raise ValueError(f"{len(self.ends)} ends make {len(self.ends) + 1} cells, not {len(self.counts)}")

    @property
    def of(self) -> int:
        """Number of values."""
        return sum(self.counts)

    def up_to(self) -> list[Counts]:
        """Return for each end how many values are not above it."""
        of = self.of
        return [Counts(hits, of) for hits in accumulate(self.counts[:-1])]

    def end_of(self, quantile: float) -> float | None:
        """Return the end of the cell in which the quantile of these values lies; None where there are none."""
        if not self.of:
            return None
        reached = (end for end, seen in zip(self.ends, self.up_to(), strict=True) if seen.hits >= quantile * seen.of)
        return next(reached, inf)


def level_of(*, periods: int, starts: int, is_first: bool, signals: int = SIGNALS) -> float:
    """Return the alpha of one signal in one of ``starts`` sequences that begin one after the other in a period.

    A sequence from the beginning takes long to see that a version begins to fail after an hour, so others begin
    later. The first has half of the level, the others share the rest.
    """
    of_signal = LEVEL / periods / signals
    return of_signal / 2 if is_first else of_signal / 2 / (starts - 1)


def rate(seen: Counts, alpha: float) -> Bounds:
    """Return the bounds of a true rate. With nothing seen they are 0 and 1."""
    if not seen.of:
        return Bounds(0.0, 1.0)
    middle = seen.hits / seen.of
    low = 0.0 if not seen.hits else _border(lambda p: _is_refuted(seen, p, alpha), 0.0, middle)
    high = 1.0 if seen.hits == seen.of else 1 - _border(lambda p: _is_refuted(seen, 1 - p, alpha), 0.0, 1 - middle)
    return Bounds(low, high)


def is_above(seen: Counts, limit: float, alpha: float) -> bool:
    """Say whether the true rate is surely above the limit."""
    return seen.hits > limit * seen.of and _is_refuted(seen, limit, alpha)


def is_below(seen: Counts, limit: float, alpha: float) -> bool:
    """Say whether the true rate is surely below the limit."""
    return seen.hits < limit * seen.of and _is_refuted(seen, limit, alpha)


def difference(new: Counts, old: Counts, alpha: float) -> Bounds:
    """Return the bounds of the new rate less the old one, of sequences that need not have the same length."""
    ours, theirs = rate(new, alpha / 2), rate(old, alpha / 2)
    return Bounds(ours.low - theirs.high, ours.high - theirs.low)


def quantile(seen: Cells, share: float, alpha: float) -> Bounds:
    """Return the bounds of the true quantile: ends of cells, 0 below all of them and infinity above.

    The quantile is above ``low`` and not above ``high``. Each is wrong with a probability of at most alpha.
    """
    up_to = seen.up_to()
    low = [end for end, counts in zip(seen.ends, up_to, strict=True) if is_below(counts, share, alpha)]
    high = [end for end, counts in zip(seen.ends, up_to, strict=True) if is_above(counts, share, alpha)]
    return Bounds(max(low, default=0.0), min(high, default=inf))


def is_more_frequent(new: Counts, old: Counts, *, limit: float, alpha: float) -> bool:
    """Say whether the new rate is surely above the limit and above the old rate.

    Both must be sure, so each may be wrong as often as both together: alpha is not divided among the two.
    """
    return is_above(new, limit, alpha) and difference(new, old, alpha).low > 0


def is_longer(new: Cells, old: Cells, share: float, *, factor: float, alpha: float) -> bool:
    """Say whether the new quantile is surely above ``factor`` times the old one."""
    return quantile(new, share, alpha / 2).low >= factor * quantile(old, share, alpha / 2).high


def _is_refuted(seen: Counts, p: float, alpha: float) -> bool:
    """Say whether the counts are too improbable under the rate ``p``, compared with the mixture of all rates."""
    if not seen.of:
        return False
    hits, misses = seen.hits, seen.of - seen.hits
    if (hits and p <= 0) or (misses and p >= 1):
        return True
    likely = (hits * log(p) if hits else 0.0) + (misses * log(1 - p) if misses else 0.0)
    return _log_beta(hits + _PRIOR, misses + _PRIOR) - _log_beta(_PRIOR, _PRIOR) - likely >= -log(alpha)


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _border(is_out: Callable[[float], bool], outside: float, inside: float) -> float:
    """Return where ``is_out`` ends, from the outside; the last point that is out, so the interval is never short."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if is_out(middle) else (outside, middle)
    return outside
