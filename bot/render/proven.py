"""The age of the proof of a way back, in one sentence."""

from __future__ import annotations

from datetime import timedelta

from bot.domain.proven import WayProof
from bot.render.markdown import escape

_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_MINUTE = timedelta(minutes=1)


def proven(proof: WayProof) -> str:
    """Return whether the version that people go back to answered rightly, and when it was asked."""
    way, asked = proof.way, f"{ago(proof.now - proof.at)} ({proof.at:%Y-%m-%d %H:%M} UTC)"
    if way.wrong:
        return f"⚠️ **Way back not proven:** version {way.version} was asked {asked}, and {escape(way.wrong)}."
    loaded = "in service" if way.place == "in service" else "loaded beside the version in service"
    return (
        f"**Way back proven {asked}:** version {way.version}, {loaded}, answered its golden requests on every Triton."
    )


def ago(past: timedelta) -> str:
    """Return how long ago that was: ``23 min ago``."""
    if past < _MINUTE:
        return "just now"
    if past < _HOUR:
        return f"{past // _MINUTE} min ago"
    return f"{past // _HOUR} h ago" if past < 2 * _DAY else f"{past // _DAY} days ago"
