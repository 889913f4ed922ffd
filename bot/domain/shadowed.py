"""What gateways counted of a shadow beside the live version: the same requests, both answers, both latencies.

Counts are sums, so those of several processes and gateways add up. A pair of versions begins at 0: where another
version comes to answer, or another to listen, what was seen before says nothing about the new pair.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from bot.domain.paired import Difference
from bot.domain.routes import Target
from bot.domain.traffic import BOUNDS

MOVED_ENDS = tuple(float(f"{digit}e{power}") for power in range(-6, 6) for digit in (1, 2, 5))
"""Ends of the cells in which rows are counted by how far their numbers moved; the last cell has no end."""
WHY_LEFT_OUT = {
    "large": "the live answer is larger than the gateway compares",
    "no room": "the budget for copies had no room for one of the answers",
    "busy": "comparing had taken its share of the processor's time (--shadow-compare-share of the gateway)",
    "encoded": "the live answer is compressed in a way that Triton does not have",
    "classification": "the request asks for the text of a classification",
    "unreadable": "the live answer cannot be read",
}
"""Why an answer of the shadow was not compared. None of it says anything about the shadow."""

_FAR = 1e30
"""A number that moved further is counted as so far: a sum of such distances must stay a number."""


@dataclass(slots=True)
class Compared:
    """The counts of one pair: ``live`` answered, and the shadow got copies of the same requests, since ``since``.

    ``copies`` answers were compared. They have ``rows``, of which ``flipped`` decide otherwise. A copy counts once,
    however many rows it has: ``flips`` is the sum of each copy's share of flipped rows. ``unlike`` copies have
    outputs of another form, so that all their rows flip; ``example`` says how in one of them. ``moved`` has, for each
    cell of `MOVED_ENDS`, the sum of each copy's share of rows that did not flip and whose numbers moved so far.
    ``distances`` is the sum and ``furthest`` the greatest of the rows' greatest change of a number.

    ``failed`` copies got no answer, or an error. For ``unreached`` ones, which are not among them, no Triton took the
    request and had the version. ``left_out`` counts answers that were not compared, by why. The latencies are those
    of the same requests, in seconds and in the cells of `bot.domain.traffic.BOUNDS`.
    """

    live: Target
    since: datetime
    copies: int = 0
    rows: int = 0
    flipped: int = 0
    flips: float = 0.0
    unlike: int = 0
    example: str = ""
    moved: list[float] = field(default_factory=lambda: [0.0] * (len(MOVED_ENDS) + 1))
    distances: float = 0.0
    furthest: float = 0.0
    failed: int = 0
    unreached: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    live_seconds: float = 0.0
    shadow_seconds: float = 0.0
    live_cells: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    shadow_cells: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def add(self, difference: Difference) -> None:
        """Count one answer that was compared."""
        rows = difference.rows
        self.copies += 1
        self.rows += rows
        if difference.flipped:
            self.flipped += difference.flipped
            self.flips += difference.flipped / rows
        if difference.unlike:
            self.unlike += 1
            self.example = difference.unlike[:200]
        if difference.furthest:
            self.distances += min(difference.distances, _FAR)
            self.furthest = max(self.furthest, min(difference.furthest, _FAR))
        if moved := sorted(difference.moved):
            begin = 0
            while begin < len(moved):  # from cell to cell: a batch may have many rows
                cell = bisect_left(MOVED_ENDS, moved[begin])
                end = len(moved) if cell == len(MOVED_ENDS) else bisect_right(moved, MOVED_ENDS[cell], begin)
                self.moved[cell] += (end - begin) / rows
                begin = end

    def took(self, *, live_seconds: float, shadow_seconds: float) -> None:
        """Count how long both took for the same request."""
        self.live_seconds += live_seconds
        self.shadow_seconds += shadow_seconds
        self.live_cells[bisect_left(BOUNDS, live_seconds)] += 1
        self.shadow_cells[bisect_left(BOUNDS, shadow_seconds)] += 1

    def leave_out(self, kind: str) -> None:
        """Count an answer that was not compared, by a word of `WHY_LEFT_OUT`."""
        self.left_out[kind] = self.left_out.get(kind, 0) + 1

    def to_json(self) -> dict[str, object]:
        """Return the object that ``GET /routes`` shows."""
        return {
            **{each.name: getattr(self, each.name) for each in fields(self)},
            "live": self.live.to_json(),
            "since": self.since.isoformat(timespec="milliseconds"),
            **{name: round(getattr(self, name), 9) for name in _SUMS_OF_FLOATS},
            "moved": [round(share, 9) for share in self.moved],
        }

    @classmethod
    def from_json(cls, entry: object) -> Compared:
        """Parse what :meth:`to_json` returned; raise ValueError for what is not that. Other keys are passed over."""
        if not isinstance(entry, Mapping) or not isinstance(entry.get("since"), str):
            raise ValueError("what a gateway compared has no since")
        since = datetime.fromisoformat(entry["since"])
        if since.tzinfo is None:
            raise ValueError(f"since {entry['since']!r:.40} has no time zone")
        left_out = entry.get("left_out")
        if not isinstance(left_out, Mapping):
            raise ValueError("what a gateway compared has no left_out")
        return cls(
            live=Target.from_json(entry.get("live")),
            since=since,
            example=str(entry.get("example", ""))[:200],
            left_out={str(kind): _count(left_out, kind) for kind in left_out},
            moved=_list(entry, "moved", len(MOVED_ENDS) + 1, _number),
            live_cells=_list(entry, "live_cells", len(BOUNDS) + 1, _count),
            shadow_cells=_list(entry, "shadow_cells", len(BOUNDS) + 1, _count),
            furthest=_number(entry, "furthest"),
            **{name: _count(entry, name) for name in _SUMS_OF_COUNTS},
            **{name: _number(entry, name) for name in _SUMS_OF_FLOATS},  # type: ignore[arg-type]
        )


_SUMS_OF_COUNTS = ("copies", "rows", "flipped", "unlike", "failed", "unreached")
_SUMS_OF_FLOATS = ("flips", "distances", "live_seconds", "shadow_seconds")
_CELLS = ("moved", "live_cells", "shadow_cells")


@dataclass(slots=True)
class Copies:
    """What became of the copies for one shadow since it is in the table. ``sent`` = answered + failed + under way.

    Of the ``failed``, the ``unreached`` met no Triton that took them and had the version. ``compared`` is how the
    answers are beside those of the live version; None where the gateway does not compare, or nothing is live.
    """

    target: Target
    sent: int = 0
    answered: int = 0
    failed: int = 0
    unreached: int = 0
    dropped: int = 0
    latency_seconds_sum: float = 0.0
    compared: Compared | None = None

    def to_json(self) -> dict[str, object]:
        """Return the object that ``GET /routes`` shows; the latency is that of the answered."""
        return {
            **self.target.to_json(),
            **{name: getattr(self, name) for name in _COUNTED},
            "latency_seconds_sum": round(self.latency_seconds_sum, 6),
            "compared": self.compared.to_json() if self.compared else None,
        }

    @classmethod
    def from_json(cls, entry: object) -> Copies:
        """Parse what :meth:`to_json` returned, here or in an earlier version; raise ValueError for what is not that.

        An earlier gateway compared nothing.
        """
        if not isinstance(entry, Mapping):
            raise ValueError("what a gateway counted of a shadow is not an object")
        compared = entry.get("compared")
        return cls(
            target=Target.from_json({key: entry.get(key) for key in ("triton_model", "version", "digest")}),
            latency_seconds_sum=_number(entry, "latency_seconds_sum"),
            compared=None if compared is None else Compared.from_json(compared),
            **{name: _count({"unreached": 0, **entry}, name) for name in _COUNTED},
        )


_COUNTED = ("sent", "answered", "failed", "unreached", "dropped")


def copies_of(counted: Iterable[Copies]) -> Copies | None:
    """Add up what several counted of the same shadow; those of another one than the first are left out."""
    all_of_them = list(counted)
    if not all_of_them:
        return None
    same = [one for one in all_of_them if one.target == all_of_them[0].target]
    found = Copies(same[0].target, compared=merged(one.compared for one in same if one.compared is not None))
    for name in (*_COUNTED, "latency_seconds_sum"):
        setattr(found, name, sum(getattr(one, name) for one in same))
    return found


def merged(counted: Iterable[Compared]) -> Compared | None:
    """Add up what several counted of the same pair; None where nobody counted.

    The pair is the one that most copies are of: while gateways switch, some still have the version of before.
    """
    all_of_them = list(counted)
    if not all_of_them:
        return None
    copies: dict[Target, int] = {}
    for one in all_of_them:
        copies[one.live] = copies.get(one.live, 0) + one.copies
    live = max(copies, key=lambda target: copies[target])
    same = [one for one in all_of_them if one.live == live]
    found = Compared(live, min(one.since for one in same))
    for one in same:
        for name in (*_SUMS_OF_COUNTS, *_SUMS_OF_FLOATS):
            setattr(found, name, getattr(found, name) + getattr(one, name))
        for name in _CELLS:
            setattr(found, name, [a + b for a, b in zip(getattr(found, name), getattr(one, name), strict=True)])
        for kind, count in one.left_out.items():
            found.left_out[kind] = found.left_out.get(kind, 0) + count
        found.furthest = max(found.furthest, one.furthest)
        found.example = found.example or one.example
    return found


def _count(entry: Mapping[str, Any], name: str) -> int:
    value = entry.get(name)
    if type(value) is not int or value < 0:
        raise ValueError(f"what a gateway compared has {name} {value!r:.40}")
    return value


def _number(entry: Mapping[str, Any], name: str) -> float:
    value = entry.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
        raise ValueError(f"what a gateway compared has {name} {value!r:.40}")
    return float(value)


def _list(entry: Mapping[str, Any], name: str, length: int, read: Any) -> list[Any]:
    values = entry.get(name)
    if not isinstance(values, Sequence) or len(values) != length:
        raise ValueError(f"what a gateway compared has other cells in {name} than {length}")
    return [read({name: value}, name) for value in values]
