"""Answers that go wrong on purpose, so that a story can show what the bot then does."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict, Field


class Fault(BaseModel):
    """``POST /faults``: the next ``times`` calls of ``method`` (``*`` is any) answer with ``status``.

    ``after`` lets the call take effect first and only then spoils the answer: what a client sees of a broken line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = Field(min_length=1)
    status: int = Field(default=500, ge=400, le=599)
    times: int = Field(default=1, ge=1)
    retry_after: int = Field(default=1, ge=0)
    after: bool = False


@dataclass(frozen=True)
class _Pending:
    fault: Fault
    left: int


class Faults:
    """Those that are still to come, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._pending: list[_Pending] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Spoil the next calls."""
        with self._lock:
            self._pending.append(_Pending(fault, fault.times))

    def clear(self) -> None:
        """Spoil nothing more."""
        with self._lock:
            self._pending.clear()

    def take(self, method: str) -> Fault | None:
        """Return the fault that this call of ``method`` meets, and count it; None for a call that goes well."""
        with self._lock:
            for index, pending in enumerate(self._pending):
                if pending.fault.method in (method, "*"):
                    if pending.left == 1:
                        del self._pending[index]
                    else:
                        self._pending[index] = replace(pending, left=pending.left - 1)
                    return pending.fault
        return None

    def to_json(self) -> list[dict[str, object]]:
        """Return those that are still to come; ``times`` is how often."""
        with self._lock:
            return [{**pending.fault.model_dump(), "times": pending.left} for pending in self._pending]
