"""Bakes: a new version's requests, one by one, looked at after each, many bakes at once.

What `bot.domain.sequential` says of one look is computed here for arrays of looks; a test compares the two.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from math import log, pi
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from bot.domain.sequential import LEVEL, SIGNALS, level_of
from bot.domain.traffic import BOUNDS

Array = NDArray[Any]

LEAST = 200
LIMIT = 0.01
FLIPS = 0.02
FACTOR = 1.5
QUANTILE = 0.95
ENDS = np.array(BOUNDS)
"""The ends of the cells of a gateway's histogram, in seconds."""
STARTS = 8
"""Sequences that begin in a bake, one after the other in the same distance."""
_HALVINGS = 45
_AT_ONCE = 8_000_000
"""Requests in memory."""


@dataclass(frozen=True)
class Bake:
    """What is drawn. ``before``: requests of the old version's last hour; None: it serves beside the new one.

    ``spread`` is sigma of the log-normal latency, ``longer`` by how much the new version's is longer. ``begins``: so
    many requests pass before it fails, or takes longer; until then it is as the old one. ``flips`` of its decisions
    are others than the old one's, and none until it ``begins``; None where they are not compared.
    """

    fails: float = 0.001
    failed: float = 0.001
    longer: float = 1.0
    spread: float = 0.4
    before: int | None = 5000
    share: float = 0.1
    requests: int = 3000
    begins: int = 0
    flips: float | None = field(default=None, repr=False)

    @property
    def of_old(self) -> int:
        """The old version's requests, until the last look."""
        return self.before if self.before is not None else round(self.requests * (1 - self.share) / self.share)

    @property
    def periods(self) -> int:
        """Over how many such bakes the rollout's level is spread."""
        return 1 if self.before is not None else 2


HEALTHY = {
    "0.1 % of both fail": Bake(),
    "1 % of the new one fails, as is allowed, and 0.1 % of the old one": Bake(fails=0.01),
    "5 % of both fail; the old one's last hour had 300 requests": Bake(fails=0.05, failed=0.05, before=300),
    "5 % of both fail; the old one's last hour had 5,000 requests": Bake(fails=0.05, failed=0.05),
    "5 % of both fail, 10 % of the traffic goes to the new one": Bake(
        fails=0.05, failed=0.05, before=None, requests=2000
    ),
    "5 % of both fail, half of the traffic goes to the new one": Bake(
        fails=0.05, failed=0.05, before=None, share=0.5
    ),
    "p95 is half longer, as is allowed": Bake(longer=1.5),
    "p95 is half longer, 10 % of the traffic": Bake(longer=1.5, before=None, requests=2000),
    "p95 is half longer, all requests take nearly as long as each other": Bake(longer=1.5, spread=0.02),
    "2 % of decisions are others, as is allowed": Bake(flips=0.02),
    "2 % of decisions are others, 10 % of the traffic": Bake(flips=0.02, before=None, requests=2000),
    "2 % of decisions are others, 5 % of both fail, and p95 is half longer": Bake(
        fails=0.05, failed=0.05, longer=1.5, flips=0.02
    ),
}
WORSE = {
    "10 % fail": Bake(fails=0.1),
    "10 % fail, 10 % of the traffic goes to the new one": Bake(fails=0.1, before=None),
    "10 % fail, after 10,000 requests without any harm": Bake(fails=0.1, requests=20000, begins=10000),
    "5 % fail": Bake(fails=0.05),
    "2 % fail": Bake(fails=0.02, requests=20000),
    "10 % fail, and 5 % of the old one's": Bake(fails=0.1, failed=0.05, requests=20000),
    "p95 is twice as long; the old one's last hour had 5,000 requests": Bake(longer=2.0, requests=20000),
    "p95 is twice as long; the last hour had 50,000 requests": Bake(longer=2.0, before=50000, requests=10000),
    "p95 is twice as long, 10 % of the traffic goes to the new one": Bake(longer=2.0, before=None, requests=10000),
    "p95 is three times as long": Bake(longer=3.0),
    "10 % of decisions are others": Bake(flips=0.1),
    "10 % of decisions are others, 10 % of the traffic goes to the new one": Bake(flips=0.1, before=None),
    "10 % of decisions are others, after 10,000 requests without any": Bake(flips=0.1, requests=20000, begins=10000),
    "5 % of decisions are others": Bake(flips=0.05),
    "3 % of decisions are others": Bake(flips=0.03, requests=20000),
}


def level(of: Bake) -> float:
    """Return how often at most such a bake may be broken off, healthy as it is."""
    return LEVEL / of.periods


def breaches(of: Bake, bakes: int, *, soon: bool = False) -> Array:
    """Return after how many requests of the new version each bake breaks off, from where it begins; 0: never.

    ``soon`` expects most of them to break off early, and is quick then.
    """
    rng = np.random.default_rng(zlib.crc32(repr(of).encode()))
    some = max(1, _AT_ONCE // (of.requests + of.of_old))
    found = [_breaches(of, min(some, bakes - start), rng, soon=soon) for start in range(0, bakes, some)]
    return np.concatenate(found)


def _breaches(of: Bake, bakes: int, rng: np.random.Generator, *, soon: bool) -> Array:
    fails, lasts = drawn(of, bakes, rng)
    flips = None if of.flips is None else decisions(of, bakes, rng)
    found, going_on = np.zeros(bakes, dtype=int), np.arange(bakes)
    until = min(of.begins + 500, of.requests) if soon else of.requests
    while True:
        looked_at = replace(of, requests=until)
        of_those = [(new[going_on, :until], old[going_on, : looked_at.of_old]) for new, old in (fails, lasts)]
        seen = np.zeros((len(going_on), until), dtype=bool)
        signals = SIGNALS if of.flips is None else SIGNALS + 1
        for start in range(0, until, -(-of.requests // STARTS)):
            alpha = level_of(periods=of.periods, starts=STARTS, is_first=start == 0, signals=signals)
            if flips is not None:
                seen[:, start:] |= by_decisions(flips[going_on, :until], alpha=alpha, start=start)
            seen[:, start:] |= by_errors(looked_at, *of_those[0], alpha=alpha, start=start)
            seen[:, start:] |= by_latency(looked_at, *of_those[1], alpha=alpha, start=start)
        seen[:, : max(LEAST, of.begins) - 1] = False
        is_over = seen.any(axis=1)
        found[going_on[is_over]] = seen[is_over].argmax(axis=1) + 1 - of.begins
        going_on = going_on[~is_over]
        if until == of.requests or not going_on.size:
            return found
        until = min(2 * until, of.requests)


def drawn(of: Bake, bakes: int, rng: np.random.Generator) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Draw failures, and the cells of latencies; each of the new version and of the old one.

    Where the old version is beside the new one, it gets its requests in the same proportion at each moment.
    """

    def failures(share: float, requests: int) -> Array:
        found: Array = rng.random((bakes, requests), dtype=np.float32) < share
        return found

    # The scale differs from bake to bake, so that p95 lies anywhere in its cell.
    scale = 0.01 * np.exp(0.25 * rng.random((bakes, 1), dtype=np.float32))

    def durations(requests: int) -> Array:
        found: Array = np.exp(np.float32(of.spread) * rng.standard_normal((bakes, requests), dtype=np.float32))
        return scale * found

    def in_cells(lasts: Array) -> Array:
        return np.searchsorted(ENDS.astype(np.float32), lasts).astype(np.int8)

    fails, lasts = failures(of.fails, of.requests), durations(of.requests)
    if of.begins:
        fails[:, : of.begins] = failures(of.failed, of.begins)
    lasts[:, of.begins :] *= np.float32(of.longer)
    return (fails, failures(of.failed, of.of_old)), (in_cells(lasts), in_cells(durations(of.of_old)))


def decisions(of: Bake, bakes: int, rng: np.random.Generator) -> Array:
    """Draw which answers decide otherwise than those of the old version; all are compared."""
    found: Array = rng.random((bakes, of.requests), dtype=np.float32) < (of.flips or 0.0)
    found[:, : of.begins] = False
    return found


def by_decisions(flips: Array, *, alpha: float, start: int = 0) -> Array:
    """Say of each look whether surely more decisions are others than may be."""
    of = np.arange(1, flips.shape[1] - start + 1)
    found: Array = _counted(flips, start) >= _least_above(flips.shape[1], FLIPS, alpha)[of]
    return found


def by_errors(of: Bake, new: Array, old: Array, *, alpha: float, start: int = 0) -> Array:
    """Say of each look whether the new version surely fails more often than it may and than the old one does.

    Only what happened after the first ``start`` requests counts.
    """
    of_new = np.arange(1, new.shape[1] - start + 1)
    hits, (of_old, theirs) = _counted(new, start), _at_each_look(of, old, start)
    sure: Array = hits >= _least_above(new.shape[1], LIMIT, alpha)[of_new]
    sure &= hits * of_old > theirs * of_new
    at = np.nonzero(sure)
    if at[0].size:
        n, m = np.broadcast_to(of_new, sure.shape)[at], np.broadcast_to(of_old, sure.shape)[at]
        x, y = hits[at], np.broadcast_to(theirs, sure.shape)[at]
        # Its lower bound is above the old one's share, or it is nowhere near: few looks are left after that.
        with np.errstate(divide="ignore", invalid="ignore"):
            near = refuted(x, n, y / m, alpha / 2)
        low = lower(x[near], n[near], alpha / 2)
        near[near] = refuted(y[near], m[near], low, alpha / 2) & (low > y[near] / m[near])
        sure[at] = near
    return sure


def by_latency(of: Bake, new: Array, old: Array, *, alpha: float, start: int = 0) -> Array:
    """Say of each look whether the new version's p95 is surely more than half longer than the old one's."""
    of_new, of_old = np.arange(1, new.shape[1] - start + 1), _at_each_look(of, old, start)[0]
    most = _most_below(new.shape[1], QUANTILE, alpha / 2)[of_new]
    least = _least_above(old.shape[1], QUANTILE, alpha / 2)[of_old]
    later = np.searchsorted(ENDS, FACTOR * ENDS * (1 - 1e-9))
    if of.before is not None:
        # The end of the old one's bound is the same at each look.
        cells = len(ENDS) + 1
        numbered = old + cells * np.arange(len(old))[:, None]
        in_cells = np.bincount(numbered.ravel(), minlength=cells * len(old)).reshape(len(old), cells)
        up_to = in_cells.cumsum(axis=1)[:, :-1] >= least
        ends = np.append(later, len(ENDS))[np.where(up_to.any(axis=1), up_to.argmax(axis=1), len(ENDS))]
        found: Array = _counted(new <= ends[:, None], start) <= most
        return found & (ends < len(ENDS))[:, None]
    seen = np.zeros((len(new), len(of_new)), dtype=bool)
    for old_end, new_end in enumerate(later):
        below, beside = new <= new_end, old <= old_end
        if new_end >= len(ENDS) or beside.mean(axis=1).max() < 0.9 or below.mean(axis=1).min() > 0.97:
            continue  # nowhere near p95 in any bake
        is_below = _counted(below, start) <= most
        if is_below.any():
            seen |= is_below & (_at_each_look(of, beside, start)[1] >= least)
    return seen


def _counted(hits: Array, start: int) -> Array:
    """Return how many of the requests are hits, after each one that follows the first ``start``."""
    return hits[:, start:].cumsum(axis=1, dtype=np.int32)


def refuted(hits: Array, of: Array, p: Array | float, alpha: float) -> Array:
    """Say whether counts are too improbable under a rate, as `sequential` does; ``p`` lies between 0 and 1."""
    halves, wholes = _gammas(int(np.max(of, initial=1)))
    mixture = halves[hits] + halves[of - hits] - wholes[of] - log(pi)
    found: Array = mixture - hits * np.log(p) - (of - hits) * np.log1p(-np.asarray(p)) >= -log(alpha)
    return found


def lower(hits: Array, of: Array, alpha: float) -> Array:
    """Return the lower bounds of rates, as `sequential.rate` does; of counts with hits."""
    outside, inside = np.full(hits.shape, 1e-12), hits / of
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        out = refuted(hits, of, middle, alpha)
        outside, inside = np.where(out, middle, outside), np.where(out, inside, middle)
    return outside


def _at_each_look(of: Bake, old: Array, start: int) -> tuple[Array, Array]:
    """Return how many requests the old version had at each look, and how many of them were hits."""
    if of.before is not None:
        return np.array([old.shape[1]]), old.sum(axis=1, keepdims=True)
    each = (1 - of.share) / of.share
    began = round(start * each)
    requests = np.maximum(np.rint(np.arange(start + 1, of.requests + 1) * each).astype(int) - began, 1)
    return requests, _counted(old, began)[:, requests - 1]


@cache
def _gammas(most: int) -> tuple[Array, Array]:
    counts = np.arange(most + 1)
    return gammaln(counts + 0.5), gammaln(counts + 1.0)


@cache
def _least_above(requests: int, limit: float, alpha: float) -> Array:
    """Return for each number of requests the least hits whose rate is surely above the limit; by 0: more than all."""
    of = np.arange(requests + 1)
    floor = np.floor(limit * of).astype(int)
    return _first(floor, of + 1, lambda hits: (hits > limit * of) & refuted(np.minimum(hits, of), of, limit, alpha))


@cache
def _most_below(requests: int, limit: float, alpha: float) -> Array:
    """Return for each number of requests the most hits whose rate is surely below the limit; -1: none."""
    of = np.arange(requests + 1)
    misses = _first(
        np.floor((1 - limit) * of).astype(int),
        of + 1,
        lambda misses: (of - misses < limit * of) & refuted(np.maximum(of - misses, 0), of, limit, alpha),
    )
    return of - misses


def _first(low: Array, high: Array, holds: Callable[[Array], Array]) -> Array:
    """Return the first number above ``low`` for which it holds; it goes on holding, and does at ``high``."""
    while (high - low > 1).any():
        middle = (low + high) // 2
        held = holds(middle)
        low, high = np.where(held, low, middle), np.where(held, middle, high)
    return high
