"""Recurring windows, in which new things go out: ``Mon-Thu 10:00-16:00 Asia/Seoul``.

A window is what the clock on the wall shows in its zone, on the days that it names. So an hour that the clock skips
in spring is in no window, and one that it shows twice in autumn is in its window twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
EXAMPLE = "Mon-Thu 10:00-16:00 Asia/Seoul"
_DAY = f"(?:{'|'.join(DAYS)})"
_SOME_DAYS = f"{_DAY}(?:[-\u2013]{_DAY})?"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
PATTERN = (
    rf"(?:{_SOME_DAYS}(?:,{_SOME_DAYS})* )?{_TIME}[-\u2013](?:{_TIME}|24:00) "
    r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*"
)
"""The form of a window; the days may be left out. The zone is one of the IANA database."""
_MINUTE = timedelta(minutes=1)
_LOOK = 16
"""Days to look back and ahead. A window opens each week, but where the clock skips all of it."""


class Span(Protocol):
    """A freeze: a time in which nothing new goes out, with zone."""

    @property
    def start(self) -> datetime:
        """From."""

    @property
    def end(self) -> datetime:
        """Until."""

    @property
    def reason(self) -> str:
        """Why."""


@dataclass(frozen=True)
class Window:
    """Days of the week (Monday is 0), and from when to when on each; what ends earlier ends the day after."""

    text: str
    days: frozenset[int]
    start: time
    end: time | None
    """None: at midnight."""
    zone: str

    @classmethod
    def parse(cls, text: str) -> Window:
        """Read ``DAYS HH:MM-HH:MM ZONE``; raise ValueError with what is wrong and how it is written."""
        if not re.fullmatch(PATTERN, text):
            raise ValueError(f"{text!r:.80} is not a window, as in {EXAMPLE}")
        *days, hours, zone = text.replace("\u2013", "-").split(" ")
        begins, ends = hours.split("-")
        start, end = time.fromisoformat(begins), None if ends == "24:00" else time.fromisoformat(ends)
        if start == end:
            raise ValueError(f"{text!r:.80} ends when it begins; a whole day is 00:00-24:00")
        _zone(zone)
        return cls(text, _days(days[0]) if days else frozenset(range(7)), start, end, zone)

    @property
    def tz(self) -> tzinfo:
        """The zone whose clock counts."""
        return _zone(self.zone)

    @property
    def _is_over_midnight(self) -> bool:
        return self.end is not None and self.end < self.start

    def contains(self, now: datetime) -> bool:
        """Whether the clock of its zone shows a time in this window."""
        wall = now.astimezone(self.tz)
        day, clock = wall.weekday(), wall.time()
        is_begun, is_over = clock >= self.start, self.end is not None and clock >= self.end
        if not self._is_over_midnight:
            return day in self.days and is_begun and not is_over
        return (day in self.days and is_begun) or ((day - 1) % 7 in self.days and not is_over)

    def edges(self, around: datetime) -> Iterator[datetime]:
        """Yield all times near ``around`` at which it may open or close, in no order, some of them twice."""
        today = around.astimezone(self.tz).date()
        dates = [today + timedelta(days=days) for days in range(-_LOOK, _LOOK + 1)]
        for one in dates:
            for clock in (self.start, self.end or time(0)):
                for fold in (0, 1):
                    yield datetime.combine(one, clock, self.tz).replace(fold=fold).astimezone(UTC)
        yield from _changes_of_the_clock(self.zone, dates[0], dates[-1])


def is_open(windows: Sequence[Window], freezes: Iterable[Span], now: datetime) -> bool:
    """Whether new things may go out: in a window, where there is one, and in no freeze."""
    return in_windows(windows, now) and frozen_by(freezes, now) is None


def in_windows(windows: Sequence[Window], now: datetime) -> bool:
    """Whether ``now`` is in one of these windows; always where there is none."""
    return not windows or any(window.contains(now) for window in windows)


def frozen_by(freezes: Iterable[Span], now: datetime) -> Span | None:
    """Return the freeze that is on; None where none is."""
    return next((freeze for freeze in freezes if freeze.start <= now < freeze.end), None)


def next_opening(windows: Sequence[Window], freezes: Sequence[Span], now: datetime) -> datetime | None:
    """Return from when on new things may go out: ``now`` where they may.

    None where no window opens between freezes: the clock skips all of it each time.
    """
    at = now
    while True:
        if (freeze := frozen_by(freezes, at)) is not None:
            at = freeze.end.astimezone(UTC)
        elif in_windows(windows, at):
            return at
        else:
            later = (edge for window in windows for edge in window.edges(at) if edge > at)
            opens = next((edge for edge in sorted(later) if in_windows(windows, edge)), None)
            if opens is None:
                return None
            at = opens


def open_since(windows: Sequence[Window], freezes: Sequence[Span], now: datetime) -> datetime | None:
    """Return since when new things may go out, where they may now; None where that is longer than two weeks ago."""
    edges = [freeze.end.astimezone(UTC) for freeze in freezes]
    edges += [edge for window in windows for edge in window.edges(now)]
    return _last_turn(edges, windows, freezes, now, to_open=True)


def closed_since(windows: Sequence[Window], now: datetime) -> datetime | None:
    """Return since when ``now`` is in none of the windows, which it must not be; None where nobody can say."""
    edges = [edge for window in windows for edge in window.edges(now)]
    return _last_turn(edges, windows, (), now, to_open=False)


def _last_turn(
    edges: Iterable[datetime], windows: Sequence[Window], freezes: Sequence[Span], now: datetime, *, to_open: bool
) -> datetime | None:
    for edge in sorted({edge for edge in edges if edge <= now}, reverse=True):
        before = is_open(windows, freezes, edge - timedelta(microseconds=1))
        if before != to_open and is_open(windows, freezes, edge) == to_open:
            return edge
    return None


@dataclass(frozen=True)
class Closed:
    """Nothing new goes out now: by what, why, since when, and until when; None where nobody can say."""

    cause: Literal["freeze", "window"]
    why: str
    since: datetime | None
    until: datetime | None

    @property
    def said(self) -> str:
        """Return it in a line."""
        if self.until is None:
            return f"nothing new goes out ({self.why}): no window opens"
        return f"nothing new goes out until {self.until:%Y-%m-%d %H:%M %Z} ({self.why})"


def closed(windows: Sequence[Window], freezes: Sequence[Span], now: datetime) -> Closed | None:
    """Return why nothing new may go out now, a freeze first; None where it may."""
    freeze = frozen_by(freezes, now)
    if freeze is None and in_windows(windows, now):
        return None
    until = next_opening(windows, freezes, now)
    if freeze is not None:
        # In the zone that people wrote: that of the freeze where it decides, else that of the windows.
        zone = freeze.end.tzinfo if until == freeze.end or not windows else windows[0].tz
        return Closed("freeze", freeze.reason, freeze.start.astimezone(UTC), until and until.astimezone(zone))
    why = f"windows: {'; '.join(one.text for one in windows)}"
    return Closed("window", why, closed_since(windows, now), until and until.astimezone(windows[0].tz))


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found.update(day % 7 for day in range(begin, end + 1 if end >= begin else end + 8))
    return frozenset(found)


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, LookupError, ValueError) as error:
        # A folder of the database, as in "Asia", is an OSError.
        raise ValueError(f"{name!r:.80} is not a time zone, as in Asia/Seoul, Europe/Berlin or UTC") from error


@lru_cache(maxsize=64)
def _changes_of_the_clock(name: str, first: date, last: date) -> tuple[datetime, ...]:
    """Return when a zone puts its clock forward or back between two days: the first minute of the new time."""
    zone, found = _zone(name), []
    at, end = (datetime.combine(day, time(0), UTC) for day in (first, last))
    while at < end:
        after = at + timedelta(days=1)
        if at.astimezone(zone).utcoffset() != after.astimezone(zone).utcoffset():
            low, high = at, after
            while high - low > _MINUTE:
                middle = low + ((high - low) // _MINUTE // 2) * _MINUTE
                is_before = middle.astimezone(zone).utcoffset() == at.astimezone(zone).utcoffset()
                low, high = (middle, high) if is_before else (low, middle)
            found.append(high)
        at = after
    return tuple(found)
