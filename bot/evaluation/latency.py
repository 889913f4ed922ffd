"""Times of requests: both versions in turns, after a warm-up, so that both meet the same moments.

A ratio's bounds come from a bootstrap of the pairs (Efron 1979), so that what was asked at one moment stays together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bot.domain.evaluation import ComparedLatency, Percentiles, Ratio
from bot.errors import Denied, Foreign, Rejected
from bot.evaluation.asking import IN_SERVICE, PROPOSED, AskOne
from bot.evaluation.sets import Batch

WARM_UP, PAIRS, FEWEST = 20, 400, 50
LIMIT_SECONDS = 20.0
"""For the measurement; a slow model is asked less often, but `FEWEST` times at least."""
CONFIDENCE = 0.95
_RESAMPLES = 1000
_PERCENTS = (50, 99)


def compare_latency(
    asked: Mapping[str, AskOne],
    rows: Sequence[Batch],
    *,
    seed: str,
    clock: Callable[[], float] = time.perf_counter,
) -> ComparedLatency | None:
    """Ask single rows, in turns, and return the times; ``rows`` are batches of one row, and go round.

    Give rows that every version answers. A request that is refused all the same has no time, for neither version;
    None where no request has one.
    """
    order = list(asked)
    taken: dict[str, list[float]] = {who: [] for who in order}
    if not rows:
        return None
    for number in range(WARM_UP):
        _times(asked, order, rows[number % len(rows)], clock)
    began = clock()
    for number in range(PAIRS):
        if number >= FEWEST and clock() - began > LIMIT_SECONDS:
            break
        first = number % len(order)
        times_of = _times(asked, order[first:] + order[:first], rows[number % len(rows)], clock)
        for who, milliseconds in times_of.items():
            taken[who].append(milliseconds)
    if not taken[order[0]]:
        return None
    times = {who: np.array(each) for who, each in taken.items()}
    found = {who: Percentiles(p50=p50, p99=p99) for who, each in times.items() for p50, p99 in [_percentiles(each)]}
    ratios: Sequence[Ratio | None] = (None, None)
    if IN_SERVICE in times:
        ratios = _ratios(times[PROPOSED], times[IN_SERVICE], seed)
    return ComparedLatency(
        requests=len(times[PROPOSED]),
        proposed=found[PROPOSED],
        in_service=found.get(IN_SERVICE),
        p50_ratio=ratios[0],
        p99_ratio=ratios[1],
        confidence=CONFIDENCE,
    )


def _times(
    asked: Mapping[str, AskOne], order: Sequence[str], row: Batch, clock: Callable[[], float]
) -> dict[str, float]:
    """Return the time of each version in milliseconds; nothing where one of them refuses the row."""
    found: dict[str, float] = {}
    for who in order:
        started = clock()
        try:
            asked[who](row)
        except (Denied, Foreign):
            raise
        except Rejected:
            return {}
        found[who] = (clock() - started) * 1000
    return found


def _percentiles(times: NDArray[np.float64]) -> tuple[float, float]:
    p50, p99 = np.percentile(times, _PERCENTS)
    return float(p50), float(p99)


def _ratios(proposed: NDArray[np.float64], in_service: NDArray[np.float64], seed: str) -> list[Ratio]:
    generator = np.random.default_rng(list(seed.encode()))
    drawn = generator.integers(0, len(proposed), (_RESAMPLES, len(proposed)))
    tails = [100 * (1 - CONFIDENCE), 100 * CONFIDENCE]
    found = []
    for percent in _PERCENTS:
        ratios = np.percentile(proposed[drawn], percent, axis=1) / np.percentile(in_service[drawn], percent, axis=1)
        low, high = np.percentile(ratios, tails)
        now = float(np.percentile(proposed, percent) / np.percentile(in_service, percent))
        found.append(Ratio(ratio=now, low=float(low), high=float(high)))
    return found
