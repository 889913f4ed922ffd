"""One thing that a thread of its own reads again and again: the last value, and whether it still counts.

A thread for each thing, so that a system that hangs hides nothing but what it alone can tell. How often a thing is
read depends on nobody who looks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bot.concurrency import begin
from bot.errors import PromobotError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger("bot.board")
Value = TypeVar("Value")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Known(Generic[Value]):
    """The result of the last read: ``value`` was true ``at``. ``error`` is why the newest read found nothing.

    ``good_until`` is on the clock of :func:`time.monotonic`: a read that hangs raises nothing.
    """

    value: Value | None = None
    at: datetime | None = None
    error: PromobotError | None = None
    failed_at: datetime | None = None
    """When the first read failed since the last good one."""
    good_until: float = 0.0

    def is_fresh(self, monotonic: float) -> bool:
        """Say whether the value is known to be true now."""
        return self.at is not None and self.error is None and monotonic <= self.good_until

    def why(self, monotonic: float) -> str:
        """Return why it is not known now; empty where it is."""
        if self.is_fresh(monotonic):
            return ""
        if self.error is not None:
            return str(self.error)
        return "it has not been read yet" if self.at is None else "the read that began after this has not ended"


class Part(Generic[Value]):
    """One thing that is read again and again.

    ``key`` returns what two values are compared by; ``changed`` is called, in the thread of the part, whenever that
    differs, or the thing is known again, or no longer.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Value],
        *,
        every_seconds: float,
        late_seconds: float,
        key: Callable[[Value], Any] = lambda value: value,
        changed: Callable[[], object] = lambda: None,
        before: Known[Value] | None = None,
    ) -> None:
        self.name, self.every_seconds = name, every_seconds
        self._late_seconds = late_seconds
        self.known: Known[Value] = before or Known()
        self.changes = self.reads = 0
        self._read, self._key, self._changed = read, key, changed
        self._woken, self._ended = threading.Event(), threading.Event()

    def start(self) -> None:
        """Begin to read, in a thread that keeps no process from ending."""
        begin(self._run, name=f"board: {self.name}")

    def stop(self) -> None:
        """Read no more. A read that hangs is not waited for."""
        self._ended.set()
        self._woken.set()

    def wake(self) -> None:
        """Read at once."""
        self._woken.set()

    def look(self) -> None:
        """Read once."""
        before, at, began = self.known, _now(), time.monotonic()
        self.reads += 1
        try:
            value = self._read()
        except PromobotError as error:
            found = replace(before, error=error, failed_at=before.failed_at or at)
        except Exception:
            if self._ended.is_set():
                return  # what it asked was closed under it
            log.exception("%s could not be read", self.name)
            bug = Unavailable("a bug in promobot; its log has more", system=self.name)
            found = replace(before, error=bug, failed_at=before.failed_at or at)
        else:
            ended = time.monotonic()
            # The next one may take twice as long as this one did.
            good_until = ended + self.every_seconds + 2 * (ended - began) + self._late_seconds
            found = Known(value, at, good_until=good_until)
        if self._ended.is_set():
            return
        self.known = found
        if self._differs(before, found):
            self.changes += 1
            self._changed()

    def _differs(self, before: Known[Value], found: Known[Value]) -> bool:
        if str(before.error) != str(found.error) or (before.value is None) != (found.value is None):
            return True
        if before.value is None or found.value is None or before.value is found.value:
            return False
        return bool(self._key(before.value) != self._key(found.value))

    def _run(self) -> None:
        while not self._ended.is_set():
            self._woken.clear()
            self.look()
            self._woken.wait(self.every_seconds)


class Shared(Generic[Value]):
    """What several environments ask of one system: one of them asks, and the others take its answer."""

    def __init__(self, *, for_seconds: float) -> None:
        self._for_seconds = for_seconds
        self._lock = threading.Lock()
        self._each: dict[Hashable, tuple[threading.Lock, list[tuple[float, Value]]]] = {}
        self.asked = 0

    def of(self, key: Hashable, ask: Callable[[], Value], *, system: str, within_seconds: float) -> Value:
        """Return the answer, not older than ``for_seconds``; raise Unavailable where another one's question hangs."""
        with self._lock:
            lock, answers = self._each.setdefault(key, (threading.Lock(), []))
        with in_turn(lock, system=system, within_seconds=within_seconds):
            if answers and time.monotonic() - answers[0][0] < self._for_seconds:
                return answers[0][1]
            answers.clear()
            self.asked += 1
            answer = ask()
            answers.append((time.monotonic(), answer))
            return answer


@contextmanager
def in_turn(
    lock: threading.Lock | threading.BoundedSemaphore, *, system: str, within_seconds: float
) -> Iterator[None]:
    """Hold the lock; raise Unavailable where another read has it for too long."""
    if not lock.acquire(timeout=within_seconds):
        raise Unavailable("another question to it has not been answered in time", system=system)
    try:
        yield
    finally:
        lock.release()
