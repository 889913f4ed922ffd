"""What bakes: a step of a rollout that users have got, until it is known to do well; and what is due of it.

The routes say what users get, the records how it came so, and the gateways what the versions do. From these alone
:func:`look` decides. It can only break off: what is missing puts nothing back, and lets nothing go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from bot.domain.bundle import digest_of
from bot.domain.desired import Entry
from bot.domain.earned import flips_of
from bot.domain.plan import serves
from bot.domain.record import DeploymentRecord
from bot.domain.release import Lane, Slot
from bot.domain.routes import WHOLE, RouteTable, Target
from bot.domain.sequential import SIGNALS, Cells, Counts, is_above, is_longer, is_more_frequent, level_of
from bot.domain.shadowed import Copies
from bot.domain.traffic import Counted, Period

QUANTILE = 0.95
STARTS = 120
"""Sequences that begin later in a step: one at each 120th of its minutes."""

Signal = Literal["failed", "p95", "flips"]
Beside = Literal["beside", "before", "unknown"]
"""Where the old version's numbers come from: traffic that is divided now, or its last hour."""


class Rules(Protocol):
    """The rules of a bake, as the settings have them."""

    @property
    def minutes(self) -> float:
        """The time for which each step is watched, at least."""

    @property
    def min_requests(self) -> int:
        """Requests without which nothing is judged."""

    @property
    def max_error_rate(self) -> float:
        """The share of its requests that may fail."""

    @property
    def max_p95_worse(self) -> float:
        """By how much p95 may be above the old one, as a share of that."""

    @property
    def max_flips(self) -> float | None:
        """The share of its decisions that may be others than the old version's; None where any may be."""

    @property
    def moved_by(self) -> float | None:
        """A number that moves further is another decision, too; None where none is."""

    @property
    def on_breach(self) -> Literal["put back", "tell"]:
        """Whether a breach is put back, or only reported."""


@dataclass(frozen=True)
class Baking:
    """One step of a rollout, while it is watched.

    ``id`` is the rollout's: that of the record of its first step. ``since`` is when users got this step. If
    ``is_under_way``, the routes name this step and no record does yet: a deployment is making it, or was cut off.
    """

    id: str
    slot: Slot
    new: Entry
    old: Entry | None
    since: datetime
    percent: int = WHOLE
    steps: tuple[int, ...] = (WHOLE,)
    judged: str = ""
    """The digest that is judged: the bundle's, where it is a part of one."""
    is_under_way: bool = False
    compared: Target | None = None
    """The version with whose answers the gateways compare those of the new one; None where the routes name none."""

    @property
    def is_whole(self) -> bool:
        """Whether all users have it."""
        return self.percent == WHOLE

    @property
    def next_percent(self) -> int | None:
        """The next step; None where this is the last."""
        return next((step for step in self.steps if step > self.percent), None)

    @property
    def step(self) -> str:
        """The name of this step among the notes of its rollout."""
        return f"step-{self.percent:03d}"

    @property
    def step_before(self) -> str | None:
        """The name of the step before, whose numbers go on in this one; None where they begin with this one."""
        earlier = [step for step in self.steps if step < self.percent]
        return f"step-{earlier[-1]:03d}" if earlier and not self.is_whole else None

    @property
    def periods(self) -> int:
        """Return in how many periods gateways count it: with traffic divided, and without."""
        return 1 if self.steps == (WHOLE,) else 2

    @property
    def starts(self) -> int:
        """Return how many sequences there are in this period: one from its beginning, and those that begin later."""
        steps = 1 if self.is_whole else len(self.steps) - 1
        return 1 + STARTS * steps


@dataclass(frozen=True)
class Bakes:
    """A version that bakes, for ``percent`` of the requests, and how it stands."""

    model: str
    version: int
    percent: int
    said: str


def baking_in(records: Sequence[DeploymentRecord], table: RouteTable, slot: Slot) -> Baking | None:
    """Return what bakes in this place; None where a way back answers, or nobody knows what does.

    ``records`` come oldest first. Deployments that failed, and versions that were published again, change nothing.
    """
    found = (
        one
        for one in reversed(records)
        if one.slot == slot and one.is_well and one.after is not None and not _is_same(one.before, one.after)
        if not one.rehearsal
    )
    last = next(found, None)
    if last is None or last.after is None or last.way_back or slot.lane is not Lane.LIVE:
        return None
    canary, rollout = table.route(slot.model).canary, last.rollout
    if not serves(canary.target if canary else table.target(slot), last.after):
        return None
    percent = canary.percent if canary else WHOLE
    return Baking(
        rollout.id if rollout else last.id,
        slot,
        last.after,
        last.before,
        since=last.finished_at,
        percent=percent,
        steps=rollout.steps if rollout else (WHOLE,),
        judged=digest_of(last.bundle) or last.after.digest,
        # Users have it since a moment that no record knows yet: the time of the step before is not its own.
        is_under_way=percent != (rollout.percent if rollout else WHOLE),
        compared=table.route(slot.model).compared,
    )


def _is_same(one: Entry | None, other: Entry | None) -> bool:
    return one is not None and other is not None and (one.version, one.digest) == (other.version, other.digest)


# --- what was counted ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """What both versions did; the old one in the same time where it is ``beside``, else in its last hour.

    ``flips`` are the answers of the new one that were compared, and how many of them decide otherwise than the old
    one; None where nobody compares. ``began`` is when the last of the gateway's processes began to count.
    """

    new: Counted
    old: Counted | None = None
    beside: Beside = "unknown"
    began: datetime | None = field(default=None, compare=False)
    flips: Counts | None = None

    def after(self, earlier: Pair) -> Pair | None:
        """Return what happened since then; None where nobody can say: the numbers began anew in between."""
        if self.began != earlier.began:
            return None  # they may have passed the earlier ones since, and their difference would be nothing's
        new, flips = _less(self.new, earlier.new), _flips_since(self.flips, earlier.flips)
        if self.beside != "beside" or self.old is None:
            return replace(self, new=new, flips=flips) if new is not None else None
        old = _less(self.old, earlier.old) if earlier.old is not None else None
        return replace(self, new=new, old=old, flips=flips) if new is not None and old is not None else None


def pair_of(period: Period | None, step: Baking, flips: Counts | None = None) -> Pair | None:
    """Return what gateways counted of a rollout; None where these are the numbers of other versions."""
    if period is None:
        return None
    new, old, beside = (
        (period.live, period.before, "before") if step.is_whole else (period.canary, period.live, "beside")
    )
    if new is None or new.digest != step.new.digest or new.version != step.new.version:
        return None
    if old is None or old.digest == new.digest:
        return Pair(new, flips=flips, began=period.began_last)
    return Pair(new, old, "before" if beside == "before" else "beside", period.began_last, flips)


def flips_in(copies: Copies | None, step: Baking, moved_by: float | None) -> Counts | None:
    """Return how many decisions of a step are others than the old version's; None where nobody compared these two."""
    found = copies.compared if copies is not None and copies.target == step.compared else None
    if found is None or (found.live.version, found.live.digest) != (step.new.version, step.new.digest):
        return None
    return flips_of(moved_by, found)


def together(pairs: Iterable[Pair]) -> Pair | None:
    """Return what several gateways counted; None where there is none."""
    found: Pair | None = None
    for pair in pairs:
        found = pair if found is None else _added(found, pair)
    return found


def _added(one: Pair, other: Pair) -> Pair:
    old, beside = one.old or other.old, one.beside if one.old else other.beside
    if one.old is not None and other.old is not None and one.old.of == other.old.of:
        old = one.old.plus(other.old)
    flips = one.flips or other.flips
    if one.flips is not None and other.flips is not None:
        flips = Counts(one.flips.hits + other.flips.hits, one.flips.of + other.flips.of)
    return Pair(one.new.plus(other.new), old, beside, flips=flips)


def _flips_since(now: Counts | None, earlier: Counts | None) -> Counts | None:
    """Return the difference of two counts; None where it is not one. Their hits are rounded sums of shares."""
    if now is None or earlier is None or now.of < earlier.of:
        return None
    of = now.of - earlier.of
    return Counts(min(max(now.hits - earlier.hits, 0.0), float(of)), of)


def _less(now: Counted, earlier: Counted) -> Counted | None:
    """Return the difference of two counts; None where it is not one."""
    if now.of != earlier.of or len(now.cells) != len(earlier.cells):
        return None
    cells = tuple(a - b for a, b in zip(now.cells, earlier.cells, strict=True))
    numbers = now.requests - earlier.requests, now.failed - earlier.failed, now.refused - earlier.refused
    if min(*cells, *numbers, 0) < 0:
        return None
    return replace(
        now,
        requests=numbers[0],
        failed=numbers[1],
        refused=numbers[2],
        seconds=max(now.seconds - earlier.seconds, 0.0),
        cells=cells,
    )


# --- what is due ---------------------------------------------------------------------------------------------------


class Compared(BaseModel):
    """One signal of both versions. Shares of requests or of decisions, or seconds; None where nobody knows."""

    model_config = ConfigDict(frozen=True)

    signal: Signal
    new: float | None
    old: float | None
    allowed: float | None = Field(description="above this, and above the old version's, is too much")
    is_breach: bool


class Table(BaseModel):
    """What both versions did, as a breach and a baked version show it."""

    model_config = ConfigDict(frozen=True)

    model: str
    new: int = Field(description="the new version")
    old: int | None = Field(description="the old version")
    beside: Beside = Field(description="whether the old version served beside the new one, or in the hour before it")
    new_requests: int
    old_requests: int
    new_failed: int
    old_failed: int
    new_refused: int = Field(description="requests that Triton refused with 4xx; they do not count as failed")
    old_refused: int
    signals: tuple[Compared, ...]
    compared: int = Field(default=0, description="answers of the new version that were compared with the old one's")


@dataclass(frozen=True)
class Breach:
    """It surely does what it must not. ``only_told`` says why it is not put back, where it is not.

    ``is_open``: it may still be put back, when more is known. Until then ``watch`` tells it once and looks on.
    """

    table: Table
    only_told: str = ""
    is_open: bool = False


@dataclass(frozen=True)
class Waits:
    """It bakes. ``missing`` are the gateways of which nobody knows what they counted.

    ``compared`` is how many of its answers were compared with the old version's; None where none are to be.
    """

    requests: int
    minutes: float
    missing: tuple[str, ...] = ()
    table: Table | None = None
    compared: int | None = None


@dataclass(frozen=True)
class Next:
    """This step is baked, and the next one is due."""

    percent: int
    table: Table


@dataclass(frozen=True)
class Baked:
    """Nothing more is due."""

    table: Table


@dataclass(frozen=True)
class UnderWay:
    """The routes name this step, and no record does: a deployment makes it, or was cut off and is to be finished."""

    percent: int
    table: Table | None = None


Verdict = Breach | Waits | Next | Baked | UnderWay


@dataclass(frozen=True)
class Seen:
    """The counts until now: from the beginning, and in ``later`` sequences that began since.

    ``bounds`` are the ends of the histogram's cells in seconds. ``earlier`` requests of them were made before this
    step.
    """

    pair: Pair | None
    bounds: tuple[float, ...]
    later: tuple[Pair, ...] = ()
    missing: tuple[str, ...] = ()
    earlier: int = 0


def start_of(step: Baking, rules: Rules, now: datetime) -> int | None:
    """Return which of the later sequences begins now, from 1; None outside the time of the bake."""
    if rules.minutes <= 0:
        return None
    number = int((now - step.since) / timedelta(minutes=rules.minutes) * STARTS)
    return number if 1 <= number <= STARTS else None


def look(step: Baking, seen: Seen, rules: Rules, now: datetime) -> Verdict:
    """Say what is due."""
    minutes = max((now - step.since).total_seconds() / 60, 0.0)
    if seen.pair is None:
        return UnderWay(step.percent) if step.is_under_way else Waits(0, minutes, seen.missing)
    requests = seen.pair.new.requests
    # Fewer than there were: a gateway began anew, and those that are left are of this step, as far as anybody knows.
    of_step = requests - seen.earlier if requests >= seen.earlier else requests
    table = table_of(step, seen.pair, seen.bounds, rules)
    compared = table.compared if _compares(step, rules) else None
    is_time = minutes >= rules.minutes and not step.is_under_way
    if requests >= rules.min_requests:
        if (breach := _breach(step, seen, rules) or _unclear(step, seen, rules, is_time=is_time)) is not None:
            return breach
        is_known = compared is None or compared >= rules.min_requests
        if is_time and of_step >= rules.min_requests and is_known and not seen.missing:
            percent = step.next_percent
            return Baked(table) if percent is None else Next(percent, table)
    if step.is_under_way:
        return UnderWay(step.percent, table)
    return Waits(of_step, minutes, seen.missing, table, compared)


def _breach(step: Baking, seen: Seen, rules: Rules) -> Breach | None:
    for pair, alpha in _sequences(step, seen, rules):
        if signals := _breached(step, pair, seen.bounds, rules, alpha):
            only_told = "" if rules.on_breach == "put back" else "the settings say so (on_breach: tell)"
            return Breach(table_of(step, pair, seen.bounds, rules, signals), only_told)
    return None


def _unclear(step: Baking, seen: Seen, rules: Rules, *, is_time: bool) -> Breach | None:
    """Return what surely fails too often, where nobody can say that it does so more often than the old one."""
    for pair, alpha in _sequences(step, seen, rules):
        old = pair.old
        if old is not None and old.requests >= rules.min_requests:
            continue
        if pair.beside == "beside" and step.old is not None and not is_time:
            continue  # the old one answers, too: soon enough is known of it
        if is_above(_failures(pair.new), rules.max_error_rate, alpha):
            why = f"too little is known of what {step.old.version} did" if step.old else "nothing was before it"
            # Where few requests were made before, more of the new ones may still make it sure.
            return Breach(table_of(step, pair, seen.bounds, rules, ("failed",)), why, is_open=step.old is not None)
    return None


def _compares(step: Baking, rules: Rules) -> bool:
    """Whether decisions are judged: the rules limit them, and the routes say what they are compared with."""
    return rules.max_flips is not None and step.compared is not None


def _sequences(step: Baking, seen: Seen, rules: Rules) -> Iterator[tuple[Pair, float]]:
    """Yield each sequence of counts, the one from the beginning first, with the level that it has."""
    pairs = () if seen.pair is None else (seen.pair, *seen.later)
    signals = SIGNALS + _compares(step, rules)
    for number, pair in enumerate(pairs):
        yield pair, level_of(periods=step.periods, starts=step.starts, is_first=number == 0, signals=signals)


def _breached(step: Baking, pair: Pair, bounds: Sequence[float], rules: Rules, alpha: float) -> tuple[Signal, ...]:
    found: list[Signal] = []
    # The old version answered the same requests, so its own numbers are not needed.
    if _compares(step, rules) and pair.flips and is_above(pair.flips, rules.max_flips or 0.0, alpha):
        found.append("flips")
    if pair.old is None:
        return tuple(found)
    if is_more_frequent(_failures(pair.new), _failures(pair.old), limit=rules.max_error_rate, alpha=alpha):
        found.append("failed")
    new, old = _cells(pair.new, bounds), _cells(pair.old, bounds)
    if new and old and is_longer(new, old, QUANTILE, factor=1 + rules.max_p95_worse, alpha=alpha):
        found.append("p95")
    return tuple(found)


def table_of(
    step: Baking, pair: Pair, bounds: Sequence[float], rules: Rules, breached: Sequence[Signal] = ()
) -> Table:
    """Return what both did, with what is allowed."""
    new, old = pair.new, pair.old
    new_cells, old_cells = _cells(new, bounds), _cells(old, bounds) if old else None
    p95 = old_cells.end_of(QUANTILE) if old_cells else None
    return Table(
        model=step.slot.model,
        new=new.version,
        old=old.version if old else step.old.version if step.old else None,
        beside=pair.beside,
        new_requests=new.requests,
        old_requests=old.requests if old else 0,
        new_failed=new.failed,
        old_failed=old.failed if old else 0,
        new_refused=new.refused,
        old_refused=old.refused if old else 0,
        signals=(
            Compared(
                signal="failed",
                new=_failures(new).share,
                old=_failures(old).share if old else None,
                allowed=rules.max_error_rate,
                is_breach="failed" in breached,
            ),
            Compared(
                signal="p95",
                new=new_cells.end_of(QUANTILE) if new_cells else None,
                old=p95,
                allowed=None if p95 is None else p95 * (1 + rules.max_p95_worse),
                is_breach="p95" in breached,
            ),
            *((_decisions(pair, rules, "flips" in breached),) if _compares(step, rules) else ()),
        ),
        compared=pair.flips.of if pair.flips else 0,
    )


def _decisions(pair: Pair, rules: Rules, is_breach: bool) -> Compared:
    share = pair.flips.share if pair.flips else None
    return Compared(signal="flips", new=share, old=None, allowed=rules.max_flips, is_breach=is_breach)


def _failures(counted: Counted) -> Counts:
    return Counts(counted.failed, counted.requests)


def _cells(counted: Counted, bounds: Sequence[float]) -> Cells | None:
    return Cells(counted.cells, bounds) if counted.cells and len(counted.cells) == len(bounds) + 1 else None
