"""Counts users' requests by version, on the path of every request: plain integers, no lock.

A counter goes on for as long as its version is in the table, so that what monitors read never falls. A period of a
model begins when the version that answers, or the one beside it, changes; its numbers are what was added since. For
what was live until then, marks of the last hour are kept, one a minute.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import sub

from bot.domain.routes import Route, RouteTable, Target
from bot.domain.traffic import BOUNDS, OWN_HEADER, Counted, Period, Traffic, TrafficLane

OWN = (OWN_HEADER.encode(), b"1")
"""The header of the bot's own requests, as ASGI has it."""
CLIENT_LEFT = 499
"""The code of a request whose client left before the answer. It is neither failed nor refused."""
MINUTE_SECONDS = 60.0
MINUTES = 60
MOST_LEFT = 20
"""Counters of one model that are kept beside those that count now."""


@dataclass(frozen=True)
class _Mark:
    """The numbers of a counter at one time."""

    requests: int
    failed: int
    refused: int
    seconds: float
    cells: tuple[int, ...]


_NOTHING = _Mark(0, 0, 0, 0.0, (0,) * (len(BOUNDS) + 1))


class Counter:
    """Counts the requests to one version in one lane."""

    __slots__ = ("_marks", "cells", "codes", "failed", "lane", "refused", "seconds", "target")

    def __init__(self, target: Target, lane: TrafficLane) -> None:
        self.target, self.lane = target, lane
        self.codes: defaultdict[int, int] = defaultdict(int)
        self.failed = self.refused = 0
        self.seconds = 0.0
        self.cells = list(_NOTHING.cells)
        self._marks: deque[_Mark] = deque([_NOTHING], maxlen=MINUTES)

    def note(self, code: int, seconds: float, *, lacking: bool = False) -> None:
        """Count a request that ended with ``code`` after ``seconds``; ``lacking``: no Triton had the version."""
        self.codes[code] += 1
        self.seconds += seconds
        self.cells[bisect_left(BOUNDS, seconds)] += 1
        if code >= 500 or lacking:
            self.failed += 1
        elif code >= 400 and code != CLIENT_LEFT:
            self.refused += 1

    def mark(self) -> _Mark:
        """Return what was counted until now."""
        requests, last = sum(self.codes.values()), self._marks[-1]
        if requests == last.requests:
            return last  # a fleet has many models that nobody asks
        return _Mark(requests, self.failed, self.refused, self.seconds, tuple(self.cells))

    def keep_mark(self) -> None:
        """Keep a mark; to be called each minute."""
        self._marks.append(self.mark())

    def since(self, mark: _Mark) -> Counted:
        """Return what was counted since ``mark``."""
        now = self.mark()
        if now.requests == mark.requests:  # a fleet has many models that nobody asks
            return Counted(self.target.version, self.target.digest, self.lane, cells=_NOTHING.cells)
        return Counted(
            version=self.target.version,
            digest=self.target.digest,
            lane=self.lane,
            requests=now.requests - mark.requests,
            failed=now.failed - mark.failed,
            refused=now.refused - mark.refused,
            seconds=max(now.seconds - mark.seconds, 0.0),
            cells=tuple(map(sub, now.cells, mark.cells)),
        )

    def last_hour(self) -> Counted:
        """Return what was counted in the last hour, to a minute; less where this counter is younger."""
        return self.since(self._marks[0])


@dataclass(frozen=True)
class Running:
    """A model since ``since``: who answers, where each began, and what was counted ``before``."""

    since: datetime
    begun: tuple[tuple[Counter, _Mark], ...]
    before: Counted | None = None
    left: tuple[Counter, ...] = ()
    """Those that left when this began, as their last requests may still be under way. And those of before whose
    version is still asked, in another lane or under another name: histograms have no lane, and would fall."""

    @property
    def counters(self) -> tuple[Counter, ...]:
        return tuple(counter for counter, _ in self.begun)

    def period(self) -> Period:
        return Period(self.since, tuple(counter.since(mark) for counter, mark in self.begun), self.before)


class TrafficCounts:
    """Counts the requests of one process."""

    def __init__(self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._generation = 0
        self._running: Mapping[str, Running] = {}
        self._asked: Mapping[str, tuple[Counter, ...]] = {}

    def follow(self, table: RouteTable) -> None:
        """Begin a new period for each model that ``table`` has other versions for."""
        before, now = self._running, self._clock()
        self._running = {
            model: following(before.get(model), _asked(route), now)
            for model, route in table.models.items()
            if route.live is not None
        }
        self._asked = {model: running.counters for model, running in self._running.items()}
        self._generation = table.generation

    def counter(self, model: str, target: Target) -> Counter:
        """Return what counts the requests to ``target``, which the table in force names for ``model``."""
        counters = self._asked[model]
        return counters[0] if len(counters) == 1 or counters[0].target == target else counters[1]

    def keep_marks(self) -> None:
        """Keep a mark of each counter; to be called each minute."""
        for _, counter in self.counters():
            counter.keep_mark()

    def counters(self) -> Iterator[tuple[str, Counter]]:
        """Yield every counter with its model, also those of versions that left last."""
        for model, running in self._running.items():
            for counter in (*running.counters, *running.left):
                yield model, counter

    def traffic(self) -> Traffic:
        """Return what was counted in the period of each model."""
        return Traffic(self._generation, {model: running.period() for model, running in self._running.items()})


def _asked(route: Route) -> list[tuple[Target, TrafficLane]]:
    """Return who gets requests of users; the live one comes first."""
    if route.live is None:
        return []
    return [(route.live, "live"), *([(route.canary.target, "canary")] if route.canary else ())]


def following(running: Running | None, asked: Sequence[tuple[Target, TrafficLane]], now: datetime) -> Running:
    """Return the period of those who are ``asked`` now: the one that is running, where they are the same."""
    known = () if running is None else running.counters
    if running is not None and [(counter.target, counter.lane) for counter in known] == asked:
        return running
    # One that was there just now, and comes back, goes on: what monitors read never falls at a rollback.
    there = (*known, *(running.left if running else ()))
    counters = [
        next((one for one in there if (one.target, one.lane) == (target, lane)), None) or Counter(target, lane)
        for target, lane in asked
    ]
    return Running(
        since=now,
        begun=tuple((counter, counter.mark()) for counter in counters),
        before=known[0].last_hour() if known else None,
        left=tuple(
            one
            for one in there
            if one not in counters and (one in known or any(one.target.version == to.version for to, _ in asked))
        )[:MOST_LEFT],
    )
