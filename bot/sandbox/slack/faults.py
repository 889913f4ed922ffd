"""Answers that go wrong on purpose, so that a story can show what the bot then does."""

from __future__ import annotations

import threading

from pydantic import BaseModel, ConfigDict, Field


class Fault(BaseModel):
    """``POST /faults``: the next ``times`` calls of ``method`` (``*`` is any) answer with ``status``.

    ``after`` lets the call take effect first and only then spoils the answer: what a client sees of a broken line.
    """

    model_config = ConfigDict(extra="forbid")

    method: str = Field(min_length=1)
    status: int = Field(default=500, ge=400, le=599)
    times: int = Field(default=1, ge=1)
    retry_after: int = Field(default=1, ge=0)
    after: bool = False


class Faults:
    """Those that are still to come, in the order in which they were asked for; ``times`` is how often."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Spoil the next calls."""
        with self._lock:
            self._pending.append(fault)

    def clear(self) -> None:
        """Spoil nothing more."""
        with self._lock:
            self._pending.clear()

    def take(self, method: str) -> Fault | None:
        """Return the fault that this call of ``method`` meets, and count it; None for a call that goes well."""
        with self._lock:
            met = next((fault for fault in self._pending if fault.method in (method, "*")), None)
            if met is not None:
                met.times -= 1
                self._pending = [fault for fault in self._pending if fault.times]
            return met

    def to_json(self) -> list[dict[str, object]]:
        """Return those that are still to come."""
        with self._lock:
            return [fault.model_dump() for fault in self._pending]
