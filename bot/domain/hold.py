"""Held: main asks for a change, and no deployment makes it until somebody acts, a freeze ends or a window opens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from bot.domain.desired import Change
from bot.domain.release import Release, Slot

Cause = Literal[
    "quarantine", "settings", "freeze", "window", "evidence", "base", "bundle", "room", "entry gone", "retired before"
]
"""
quarantine      the digest failed here before, or a person put it there
settings        the environment file has a mistake, so its rules are not known
freeze          the environment file has a freeze
window          the environment file has windows, and this is outside of them
evidence        there is none, or it is red, revoked or expired
base            the version in service or the rules changed since the checks, and the change no longer passes
room            a Triton has no room for it beside what is loaded there
bundle          a part of its bundle is held, or has no entry
entry gone      the entry is gone, and the file does not say that the model is to leave service
retired before  the file's mark was carried out already, and a person brought the model back
"""


@dataclass(frozen=True)
class Hold:
    """Why a change is held, what to type about it, and since when. ``since`` is None where nobody can say."""

    cause: Cause
    why: str
    next_step: str
    since: datetime | None = None

    def no_earlier_than(self, asked: datetime | None) -> Hold:
        """Return it with ``since`` no earlier than the time at which main began to ask for the change.

        Where nobody knows that time, only a quarantine says since when: it is of the very digest. A freeze may be
        much older than the change.
        """
        if asked is None:
            return self if self.cause == "quarantine" else replace(self, since=None)
        times = [at.astimezone(UTC) for at in (self.since, asked) if at is not None]
        return replace(self, since=max(times))


@dataclass(frozen=True)
class Held:
    """A change that is held."""

    change: Change
    hold: Hold

    @property
    def slot(self) -> Slot:
        """The place that stays as it is."""
        return self.change.slot

    @property
    def release(self) -> Release | None:
        """The entry that is held; None where the place was to be empty."""
        return self.change.release
