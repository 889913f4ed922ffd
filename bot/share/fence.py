"""Handles that look at the lease themselves before they write: forgetting a look is impossible.

What reads and what writes are two classes of each part. The writing one derives from :class:`Fenced`, which puts the
look before each public method that the class itself has, and hands it to what renames into place. It can only be made
with a fence, and the holder of the lease has one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from inspect import isfunction
from typing import Any

from bot.share.volume import Part, Volume

Fence = Callable[[], None]
"""Raises LeaseLost where the right to write is gone, Unavailable where that cannot be seen."""


def nobody_else_writes() -> None:
    """Let everything pass: what is written has a name that no other run uses, as on staging."""


class Fenced(Part):
    """One part of the share, for a process that may write: each method looks at the lease before it does anything."""

    def __init__(self, volume: Volume, fence: Fence) -> None:
        super().__init__(volume)
        self._fence = fence
        self._replace = partial(volume.replace, last_look=fence)

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        for name, method in list(vars(cls).items()):
            if isfunction(method) and not name.startswith("_"):
                setattr(cls, name, _fenced(method))


def _fenced(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def looks_first(self: Fenced, /, *given: Any, **named: Any) -> Any:
        self._fence()
        return method(self, *given, **named)

    return looks_first
