"""The way of one release to users, in words: the numbers that `promobot report` counts."""

from __future__ import annotations

from bot.domain.report import Delivery
from bot.render.sizes import duration

_DAY = 86_400


def came_back(one: Delivery) -> str:
    """Return how users came back from a release; empty where it did not fail them."""
    if one.back is None:
        return ""
    said = f"{one.back.how}"
    said += f" by {one.back.record}" if one.back.record not in one.records else ""
    exposed, seconds = one.exposed_seconds, one.back.seconds
    said += f"; users had it for {lasting(exposed)}" if exposed is not None else "; nobody knows for how long"
    return said + (f", and were back in {lasting(seconds)}" if seconds is not None else "")


def lasting(seconds: float) -> str:
    """Return a time span as roughly as people need it; from two days on in days."""
    return f"{seconds / _DAY:.1f} d" if seconds >= 2 * _DAY else duration(seconds)
