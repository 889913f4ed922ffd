"""Who may do what: the environment file says it, by user or by user group."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from bot.platform import Platform

Role = Literal["read", "propose", "approve", "roll_back"]
EVERYONE = "everyone"
REMEMBER_SECONDS = 60.0
"""The members of a user group are cached for this long."""


class People:
    """Asks Slack for the members of user groups, and remembers them for a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, frozenset[str]]] = {}
        self._lock = threading.Lock()

    def may(self, platform: Platform, user: str, role: Role) -> bool:
        """Say whether this user has the role; raise Unavailable or Rejected where Slack does not tell."""
        listed: list[str] = getattr(platform.settings.slack.may, role)
        if user in listed or (role == "read" and EVERYONE in listed):
            return True
        # A person who may change something may see what there is to change.
        if role == "read" and any(self.may(platform, user, other) for other in _CHANGING):
            return True
        groups = [one for one in listed if one.startswith("S")]
        return any(user in self._members(platform, group) for group in groups)

    def _members(self, platform: Platform, group: str) -> frozenset[str]:
        key = (platform.settings.slack.token_env, group)
        with self._lock:
            asked, members = self._known.get(key, (-REMEMBER_SECONDS, frozenset()))
        if self._clock() - asked < REMEMBER_SECONDS:
            return members
        members = platform.slack.members(group)
        with self._lock:
            self._known[key] = (self._clock(), members)
        return members


_CHANGING: tuple[Role, ...] = ("propose", "approve", "roll_back")
