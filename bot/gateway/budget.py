"""The budget for bodies that a gateway holds at one time, in bytes, over all its clients."""

from __future__ import annotations

from types import TracebackType


class Full(Exception):
    """The budget does not hold that much more now; the request may fit again soon."""


class Budget:
    """One number of bytes that all bodies in flight share. ``refused`` counts what did not fit."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self.refused = 0

    def room_for(self, size: int) -> None:
        """Raise Full if ``size`` more bytes do not fit now."""
        if self.held_bytes + size > self.max_bytes:
            self.refused += 1
            raise Full

    def to_json(self) -> dict[str, int]:
        """Return the object that ``GET /routes`` shows."""
        return {"held_bytes": self.held_bytes, "max_bytes": self.max_bytes, "refused": self.refused}


class Held:
    """What one request holds of a budget. The block gives it back at its end, however it ends."""

    __slots__ = ("_budget", "_bytes")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0

    def __enter__(self) -> Held:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._budget.held_bytes -= self._bytes
        self._bytes = 0

    def take(self, size: int) -> None:
        """Hold ``size`` bytes more; raise Full, and hold no more than before, if they do not fit."""
        self._budget.room_for(size)
        self._budget.held_bytes += size
        self._bytes += size

    def expect(self, size: int) -> None:
        """Raise Full if ``size`` bytes, which a client announces, would not fit now. Nothing is reserved for them."""
        self._budget.room_for(size)
