"""Whether a shadow has earned its promotion, by what gateways counted of copies of real requests.

Three things are asked: how many decisions flip, how many copies fail, and how long 95 of 100 take. Each is judged by
a confidence sequence (:mod:`bot.domain.sequential`), so that anyone may look at any time. They share the level.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import Literal

from bot.domain import sequential
from bot.domain.gate import ShadowRule
from bot.domain.sequential import Cells, Counts
from bot.domain.shadowed import MOVED_ENDS, Compared
from bot.domain.traffic import BOUNDS

Standing = Literal["promotable", "not", "not yet"]
SignalName = Literal["flips", "errors", "p95"]
P95 = 0.95


@dataclass(frozen=True)
class Signal:
    """One thing that is judged. ``holds`` is None where it cannot be told yet.

    ``value`` is what was seen, and the truth is surely from ``low`` to ``high``; ``limit`` is the most that is
    allowed. All are shares, and of ``p95`` seconds. None stands for nothing seen, and for no bound.
    """

    name: SignalName
    value: float | None
    low: float
    high: float | None
    limit: float
    holds: bool | None


@dataclass(frozen=True)
class Verdict:
    """Whether a shadow may answer: ``promotable``, ``not``, or ``not yet``, and ``why`` in a few words.

    ``copies`` were compared, of ``min_copies`` that are asked for. ``ends_at`` is when its time is over; None where
    nothing limits it.
    """

    standing: Standing
    signals: tuple[Signal, ...] = ()
    copies: int = 0
    min_copies: int = 0
    ends_at: datetime | None = None
    why: str = ""

    def is_over(self, now: datetime) -> bool:
        """Whether its time is over and it has not earned its promotion."""
        return self.standing != "promotable" and self.ends_at is not None and self.ends_at <= now


@dataclass(frozen=True)
class SideBySide:
    """How the shadow answered the same requests as version ``live``, since ``since``.

    ``copies`` answers were compared; ``rows`` are their decisions, of which ``flipped`` are others. ``flips`` is the
    share of flipped rows of a copy on average, and what the rule judges. ``unlike`` copies had outputs of another
    form, as ``example`` says. ``mean_distance`` and ``furthest`` are how far the numbers of a row moved. ``failed``
    copies got no answer, or an error, and no Triton took the ``unreached``. ``not_compared`` counts answers by why.
    The latencies, in milliseconds, are the ends of the cells in which they lie; None where there is none.
    """

    live: int
    since: datetime
    copies: int
    rows: int
    flipped: int
    flips: float | None
    unlike: int
    example: str
    mean_distance: float | None
    furthest: float
    failed: int
    unreached: int
    not_compared: dict[str, int]
    live_p50: float | None
    live_p95: float | None
    p50: float | None
    p95: float | None


def judge(rule: ShadowRule, counted: Compared | None, *, listens_since: datetime | None = None) -> Verdict:
    """Judge by the rule what gateways counted; None where no gateway says anything, which decides nothing."""
    ends_at = listens_since + timedelta(days=rule.days) if listens_since is not None and rule.days else None
    if counted is None:
        said = "no gateway has compared its answers with those of the version in service"
        return Verdict("not yet", min_copies=rule.min_copies, ends_at=ends_at, why=said)
    signals = _signals(rule, counted)
    misses = [signal for signal in signals if signal.holds is False]
    open_ones = [signal for signal in signals if signal.holds is None]
    standing: Standing = "not" if misses else "not yet" if open_ones else "promotable"
    why = "; ".join(in_words(signal) for signal in misses or open_ones or signals)
    if standing != "not" and counted.copies < rule.min_copies:
        standing, why = "not yet", f"{counted.copies} of {rule.min_copies} copies are compared"
    return Verdict(standing, signals, counted.copies, rule.min_copies, ends_at, why)


def flips_of(moved_by: float | None, counted: Compared) -> Counts:
    """Return how many copies flip, each by the share of its rows; a number that moves by more is a flip, too.

    A value between 0 and 1 for each copy is what the bounds of a rate need: they hold for the mean of such values as
    they do for yes and no (Hoeffding 1963: of all with one mean, yes and no spread most).
    """
    hits = counted.flips
    if moved_by is not None:
        # Of a cell that the limit divides, all rows count.
        hits += sum(by for by, end in zip(counted.moved, (*MOVED_ENDS, inf), strict=True) if end > moved_by)
    return Counts(min(max(hits, 0.0), float(counted.copies)), counted.copies)


def side_by_side(counted: Compared) -> SideBySide:
    """Return the counts as people read them."""
    live, ours = (Cells(cells, BOUNDS) for cells in (counted.live_cells, counted.shadow_cells))

    def milliseconds(cells: Cells, share: float) -> float | None:
        end = cells.end_of(share)
        return None if end is None or end == inf else end * 1e3

    return SideBySide(
        live=counted.live.version,
        since=counted.since,
        copies=counted.copies,
        rows=counted.rows,
        flipped=counted.flipped,
        flips=counted.flips / counted.copies if counted.copies else None,
        unlike=counted.unlike,
        example=counted.example,
        mean_distance=counted.distances / counted.rows if counted.rows else None,
        furthest=counted.furthest,
        failed=counted.failed,
        unreached=counted.unreached,
        not_compared=dict(sorted(counted.left_out.items())),
        live_p50=milliseconds(live, 0.5),
        live_p95=milliseconds(live, P95),
        p50=milliseconds(ours, 0.5),
        p95=milliseconds(ours, P95),
    )


def in_words(signal: Signal) -> str:
    """Return a signal in a few words: what was seen, how sure that is, and what is allowed."""
    if signal.name == "p95":
        high = "more than a minute" if signal.high is None else f"{signal.high * 1e3:.3g} ms"
        return f"p95 is from {signal.low * 1e3:.3g} ms to {high}, allowed {signal.limit * 1e3:.3g} ms"
    what = "decisions flip" if signal.name == "flips" else "copies fail"
    if signal.value is None:
        return f"how many {what} is not known yet, allowed {share(signal.limit)}"
    sure = f"(from {share(signal.low)} to {share(signal.high or 0.0)})"
    return f"{share(signal.value)} of {what} {sure}, allowed {share(signal.limit)}"


def share(value: float) -> str:
    """Return a share as people read it."""
    return f"{value * 100:.3g} %"


def _signals(rule: ShadowRule, counted: Compared) -> tuple[Signal, ...]:
    judged = 2 if rule.max_p95_worse is None else 3
    alpha = (1 - rule.confidence) / judged
    errors = Counts(counted.failed, sum(counted.shadow_cells) + counted.failed)
    found = (
        _rate("flips", flips_of(rule.moved_by, counted), rule.max_flips, alpha),
        _rate("errors", errors, rule.max_error_rate, alpha),
    )
    return found if rule.max_p95_worse is None else (*found, _p95(counted, rule.max_p95_worse, alpha))


def _rate(name: SignalName, seen: Counts, limit: float, alpha: float) -> Signal:
    bounds = sequential.rate(seen, alpha)
    holds = True if bounds.high < limit else False if bounds.low > limit else None
    return Signal(name, seen.share, bounds.low, bounds.high, limit, holds)


def _p95(counted: Compared, worse: float, alpha: float) -> Signal:
    """Judge the latency: the limit follows from what the live version took for the same requests."""
    shadow, live = (Cells(cells, BOUNDS) for cells in (counted.shadow_cells, counted.live_cells))
    ours, theirs = (sequential.quantile(cells, P95, alpha / 2) for cells in (shadow, live))
    factor = 1 + worse
    holds = True if ours.high <= factor * theirs.low else False if ours.low >= factor * theirs.high else None
    value, limit = (None if end is None or end == inf else end for end in (shadow.end_of(P95), live.end_of(P95)))
    high = None if ours.high == inf else ours.high
    return Signal("p95", value, ours.low, high, factor * (limit or 0.0), holds)
