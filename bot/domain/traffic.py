"""The requests of users to each version, as gateways count them in ``GET /routes``.

The bot's own requests are not among them. The numbers of a model begin anew whenever another version answers for it,
or another one is tried beside it. So the numbers of two versions are of the same time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import add
from typing import Any, Literal

OWN_HEADER = "promobot-own"
"""The header of the bot's own requests, with the value ``1``: a gateway answers them, and does not count them."""

_R20 = (1.0, 1.12, 1.25, 1.4, 1.6, 1.8, 2.0, 2.24, 2.5, 2.8, 3.15, 3.55, 4.0, 4.5, 5.0, 5.6, 6.3, 7.1, 8.0, 9.0)
"""The preferred numbers R20 (ISO 3): twenty in a decade, the round ones among them."""
BOUNDS = tuple(
    round(mantissa * 10.0**decade, 7)
    for decade in range(-4, 2)
    for mantissa in _R20
    if 0.0005 <= mantissa * 10.0**decade <= 63
)
"""Upper bounds of the cells of a histogram, in seconds, from 0.5 ms to 63 s. Each is about 1.12 times the one before,
so a quantile is known to an eighth of itself. One more cell holds what took longer. With cells twice as wide, half of
all versions whose p95 is twice as long as the one before would not be seen to be more than half longer.
"""

TrafficLane = Literal["live", "canary"]
"""Which part of the requests a version gets: all that the other one does not, or its share."""


@dataclass(frozen=True)
class Counted:
    """What one version did in one lane.

    ``failed`` counts requests that Triton answered with 500 or more, did not answer, or did not have the version for.
    ``refused`` counts those that Triton answered with 4xx. ``seconds`` is the sum of all times from the whole request
    to the whole answer. ``cells`` counts the requests, failed ones too, by that time: each cell holds those up to its
    bound in ``Traffic.bounds``, and the last one those beyond. It is empty where nobody knows the times.
    """

    version: int
    digest: str
    lane: TrafficLane = "live"
    requests: int = 0
    failed: int = 0
    refused: int = 0
    seconds: float = 0.0
    cells: tuple[int, ...] = ()

    @property
    def of(self) -> tuple[int, str, str]:
        """What these numbers are of: version, digest and lane."""
        return self.version, self.digest, self.lane

    def plus(self, other: Counted) -> Counted:
        """Return both together; raise ValueError where the other is of something else."""
        if self.of != other.of:
            raise ValueError(f"numbers of {self.of} and of {other.of}")
        known = self.cells and other.cells
        return replace(
            self,
            requests=self.requests + other.requests,
            failed=self.failed + other.failed,
            refused=self.refused + other.refused,
            seconds=self.seconds + other.seconds,
            cells=tuple(map(add, self.cells, other.cells)) if known else (),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``GET /routes`` shows; without requests it has no cells."""
        return {**vars(self), "seconds": round(self.seconds, 6), "cells": list(self.cells) if self.requests else []}

    @classmethod
    def from_json(cls, document: object, *, cells: int) -> Counted:
        """Read one version's numbers, which have as many ``cells``; raise ValueError where they are none."""
        match document:
            case {
                "version": int(version),
                "digest": str(digest),
                "lane": ("live" | "canary") as lane,
                "requests": int(requests),
                "failed": int(failed),
                "refused": int(refused),
                "seconds": float(seconds) | int(seconds),
                "cells": list(listed),
            }:
                found = tuple(listed) if requests else (0,) * cells
            case _:
                raise ValueError(f"not the numbers of a version: {document!r:.80}")
        numbers = (_count(requests), _count(failed), _count(refused))
        if not all(type(cell) is int and cell >= 0 for cell in found):
            raise ValueError(f"not counts: {found!r:.80}")
        if found and (len(found) != cells or sum(found) != requests):
            raise ValueError(f"{requests} requests, but {sum(found)} in {len(found)} cells of {cells}")
        if failed + refused > requests or not 0 <= seconds < float("inf"):
            raise ValueError(f"numbers that cannot be: {document!r:.200}")
        return cls(version, digest, lane, *numbers, float(seconds), found)


@dataclass(frozen=True)
class Period:
    """One model since the same versions answer for it.

    ``since`` is the earliest time from which its numbers count. ``versions`` has the one that is live, and the one
    that gets a share beside it. ``before`` is what answered as live until then, in its last hour; None where nothing
    did, or where nobody knows. ``latest`` is when the last of its processes began to count: if that is another time
    than before, one of them began anew, and what it had counted is gone.
    """

    since: datetime
    versions: tuple[Counted, ...]
    before: Counted | None = None
    latest: datetime | None = field(default=None, compare=False)

    @property
    def live(self) -> Counted | None:
        """The numbers of the live version."""
        return next((one for one in self.versions if one.lane == "live"), None)

    @property
    def canary(self) -> Counted | None:
        """The numbers of the version that gets a share; None where no requests are divided."""
        return next((one for one in self.versions if one.lane == "canary"), None)

    @property
    def of(self) -> tuple[tuple[int, str, str], ...]:
        """Which versions these are."""
        return tuple(one.of for one in self.versions)

    def plus(self, other: Period) -> Period:
        """Return both together; what the other says of other versions is left out."""
        if self.of != other.of:
            return self
        before = self.before
        if before and other.before and before.of == other.before.of:
            before = before.plus(other.before)
        pairs = zip(self.versions, other.versions, strict=True)
        versions = tuple(mine.plus(theirs) for mine, theirs in pairs)
        latest = max(self.began_last, other.began_last)
        return Period(min(self.since, other.since), versions, before or other.before, latest)

    @property
    def began_last(self) -> datetime:
        """When the last of its processes began to count."""
        return self.latest or self.since

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``GET /routes`` shows."""
        return {
            "since": _as_text(self.since),
            "latest": _as_text(self.began_last),
            "versions": [one.to_json() for one in self.versions],
            "before": self.before.to_json() if self.before else None,
        }

    @classmethod
    def from_json(cls, document: object, *, cells: int) -> Period:
        """Read the numbers of one model; raise ValueError where they are none."""
        match document:
            case {"since": str(text), "versions": list(listed), "before": before, **others}:
                since, latest = _as_time(text), _as_time(others.get("latest", text))
            case _:
                raise ValueError(f"not the numbers of a model: {document!r:.80}")
        versions = tuple(Counted.from_json(one, cells=cells) for one in listed)
        if len({one.lane for one in versions}) != len(versions):
            raise ValueError("two versions in one lane")
        return cls(since, versions, None if before is None else Counted.from_json(before, cells=cells), latest)


@dataclass(frozen=True)
class Traffic:
    """What one process, one gateway or all gateways counted, by model.

    ``generation`` is that of the routes that they serve. ``bounds`` are the upper bounds of the cells in seconds;
    without any, nobody knows how long requests took.
    """

    generation: int
    models: Mapping[str, Period] = field(default_factory=dict)
    bounds: tuple[float, ...] = BOUNDS

    def of(self, model: str) -> Period | None:
        """Return the numbers of ``model``; None where nobody counted any."""
        return self.models.get(model)

    def to_json(self) -> dict[str, Any]:
        """Return what ``GET /routes`` has of it: ``traffic`` and ``traffic_bounds``."""
        models = {model: period.to_json() for model, period in sorted(self.models.items())}
        return {"traffic": models, "traffic_bounds": list(self.bounds)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Traffic | None:
        """Read what an answer of ``GET /routes``, or a worker, says; None where it is too old to say anything.

        Raise ValueError where it says something else.
        """
        if "traffic" not in document:
            return None
        models, bounds, generation = (document.get(key) for key in ("traffic", "traffic_bounds", "generation"))
        if not isinstance(models, dict) or not isinstance(bounds, list) or type(generation) is not int:
            raise ValueError("traffic without its bounds or its generation")
        if not all(type(bound) in (int, float) for bound in bounds) or sorted(set(bounds)) != bounds:
            raise ValueError(f"the bounds do not rise: {bounds!r:.80}")
        cells = len(bounds) + 1 if bounds else 0
        periods = {str(model): Period.from_json(period, cells=cells) for model, period in models.items()}
        return cls(generation, periods, tuple(map(float, bounds)))


def merged(several: Iterable[Traffic]) -> Traffic | None:
    """Add up what several processes or gateways counted; None where there is none.

    Of each model the newest routes say which versions it has; numbers of a process that still has others are left
    out. Where two have different bounds, the times are left out.
    """
    listed = sorted(several, key=lambda traffic: -traffic.generation)
    if not listed:
        return None
    bounds = listed[0].bounds
    if any(traffic.bounds != bounds for traffic in listed):
        listed = [_without_times(traffic) for traffic in listed]
    newest = listed[0]
    models = dict(newest.models)
    for traffic in listed[1:]:
        for model in models.keys() & traffic.models.keys():
            models[model] = models[model].plus(traffic.models[model])
    return Traffic(newest.generation, models, newest.bounds)


def _without_times(traffic: Traffic) -> Traffic:
    def without(one: Counted) -> Counted:
        return replace(one, cells=())

    models = {
        model: replace(
            period,
            versions=tuple(map(without, period.versions)),
            before=without(period.before) if period.before else None,
        )
        for model, period in traffic.models.items()
    }
    return Traffic(traffic.generation, models, ())


def _as_text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _as_time(text: object) -> datetime:
    at = datetime.fromisoformat(str(text))
    if at.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return at


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"not a count: {value!r:.40}")
    return value


def quantile(cells: Sequence[int], bounds: Sequence[float], share: float) -> float | None:
    """Return the upper bound of the cell in which this ``share`` of the requests has ended, in seconds.

    None without requests, or where it lies beyond the last bound.
    """
    needed, seen = share * sum(cells), 0
    for count, bound in zip(cells, bounds, strict=False):
        seen += count
        if seen and seen >= needed:
            return bound
    return None
