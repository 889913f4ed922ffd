"""Retries: one policy for every system, bounded by the environment's deadlines.

A fault that shows at once (refused, reset, 5xx, 429) is retried up to twice, after a short pause with jitter, or
after as long as the system asks for. A request that took its whole deadline is not retried. So one question to one
system takes at most two of its deadlines, whatever goes wrong. The SDKs' own retries are off.

stamina does the retrying. Its hooks see each retry before the pause; :mod:`bot.logs` has them write a line.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial, wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from bot import logs
from bot.errors import Unavailable

log = logging.getLogger(__name__)

ATTEMPTS = 3
PAUSE_SECONDS = 0.4
"""Before the second attempt; twice that before the third."""
JITTER_SECONDS = 0.2
"""At most so much longer is each pause, so that clients which failed together do not come back together."""
LONGEST_PAUSE_SECONDS = 4 * PAUSE_SECONDS + JITTER_SECONDS
WORTH_BYTES = 8 * 2**20
"""A download that brought so much since it last broke off is well: what breaks it then is a new fault."""


class Closed(Protocol):
    """An object to close once it was read."""

    def close(self) -> object: ...


class Adapter(Protocol):
    """An adapter whose methods are retried: no attempt begins later than ``retry_seconds`` after the first."""

    retry_seconds: float


Ours = TypeVar("Ours", bound=Adapter)
Given = ParamSpec("Given")
Answer = TypeVar("Answer")
Method = Callable[Concatenate[Ours, Given], Answer]


def retry_call(
    ask: Callable[[], Answer], *, seconds: float, attempts: int | None = ATTEMPTS, only_when_told: bool = False
) -> Answer:
    """Return what ``ask`` returns; after Unavailable call it again, while an attempt can begin within ``seconds``.

    ``attempts`` is how often it is called at most; None leaves only the time as a limit. ``only_when_told`` is for
    what must not happen twice: it is repeated only where the system said when to come back, because then it did
    nothing. No system is asked again before the time that it asked for.
    """
    began, failed = time.monotonic(), 0

    def again(error: Exception) -> bool | float:
        nonlocal failed
        failed += 1
        left = seconds - (time.monotonic() - began)
        return _pause_after(error, failed, left_seconds=left, only_when_told=only_when_told)

    try:
        return ask()
    except Unavailable as error:
        fault: Unavailable | None = error  # stamina's own work is for what fails: most questions do not
    try:
        for attempt in _attempts(again, attempts):
            with attempt:
                if fault is not None:
                    first, fault = fault, None
                    raise first
                return ask()
    except Unavailable as error:
        _advise(error)
        raise
    raise AssertionError("the last attempt returns or raises")


def resume(
    read_from: Callable[[int], Generator[bytes]], *, start: int, seconds: float, worth_bytes: int = WORTH_BYTES
) -> Generator[bytes]:
    """Yield the bytes from ``start`` that ``read_from`` yields; after Unavailable resume where it broke off.

    After ``worth_bytes`` the attempts are counted anew: a long download outlives more faults than a short one, and
    one that hardly moves ends as any other question does.
    """
    at, failed, heard = start, 0, time.monotonic()
    chunks: Generator[bytes] | None = None

    def again(error: Exception) -> bool | float:
        nonlocal chunks, failed
        chunks, failed = None, failed + 1
        return _pause_after(error, failed, left_seconds=seconds - (time.monotonic() - heard))

    try:
        while True:
            began, failed = at, 0
            for attempt in _attempts(again, ATTEMPTS):
                with attempt:
                    chunks = chunks or read_from(at)
                    for chunk in chunks:
                        at += len(chunk)
                        yield chunk
                        heard = time.monotonic()
                        if at - began >= worth_bytes:
                            break
                    else:
                        return
    except Unavailable as error:
        _advise(error)
        raise
    finally:
        if chunks is not None:
            chunks.close()


def skip_bytes(count: int, chunks: Iterator[bytes], answer: Closed) -> Iterator[bytes]:
    """Yield what is there beyond the first ``count`` bytes, which a server sent though it was asked not to."""
    with closing(answer):
        for chunk in chunks:
            if count < len(chunk):
                yield chunk[count:] if count else chunk
            count = max(0, count - len(chunk))


def retry(method: Method[Ours, Given, Answer]) -> Method[Ours, Given, Answer]:
    """Retry a method of an adapter that only reads, or that may happen twice."""
    return _retried(method, only_when_told=False)


def retry_when_told(method: Method[Ours, Given, Answer]) -> Method[Ours, Given, Answer]:
    """Retry a method that must not happen twice: only where the system says when to come back."""
    return _retried(method, only_when_told=True)


def read_retry_after(header: str | None) -> float | None:
    """Read the header ``Retry-After``, seconds or a date; None where it says nothing that can be read."""
    if not header:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - time.time())


def _attempts(again: Callable[[Exception], bool | float], attempts: int | None) -> Iterator[stamina.Attempt]:
    return iter(
        stamina.retry_context(
            on=again,
            attempts=attempts,
            timeout=None,  # it would be looked at before the pause only; ``again`` counts the pause, too
            wait_initial=PAUSE_SECONDS,
            wait_jitter=JITTER_SECONDS,
            wait_max=LONGEST_PAUSE_SECONDS,
        )
    )


def _pause_after(error: Exception, failed: int, *, left_seconds: float, only_when_told: bool = False) -> bool | float:
    """Return for how long to pause after the failed attempt: True is stamina's own pause, False ends the retrying."""
    if not isinstance(error, Unavailable):
        return False
    told = error.retry_after_seconds
    if told is None:
        longest = min(PAUSE_SECONDS * 2 ** min(failed - 1, 8) + JITTER_SECONDS, LONGEST_PAUSE_SECONDS)
        return not only_when_told and longest < left_seconds
    return told if told < left_seconds else False


def _advise(error: Unavailable) -> None:
    if error.retry_after_seconds is not None and not error.next_step:
        told = f"It asks to be left alone for {error.retry_after_seconds:g} s"
        error.next_step = f"{told}: run the same command again after that."


def _retried(method: Method[Ours, Given, Answer], *, only_when_told: bool) -> Method[Ours, Given, Answer]:
    @wraps(method)
    def retried(self: Ours, /, *given: Given.args, **named: Given.kwargs) -> Answer:
        ask = partial(method, self, *given, **named)
        return retry_call(ask, seconds=self.retry_seconds, only_when_told=only_when_told)

    return retried


def _log_retry(details: RetryDetails) -> None:
    """Write the line for a retry that is about to be made; stamina calls this before the pause."""
    fields: dict[str, object] = {"attempt": details.retry_num + 1, "pause_seconds": round(details.wait_for, 3)}
    if isinstance(details.caused_by, Unavailable):
        fields["system"] = details.caused_by.system
    message = "attempt %d begins in %.2f s: %s"
    log.info(message, details.retry_num + 1, details.wait_for, details.caused_by, extra=fields)


# Hooks belong to the process: an application around the bot keeps its own.
logs.when_ours(partial(set_on_retry_hooks, [_log_retry]))
# And where it has neither hooks nor logs, stamina's own lines are not written to stderr.
logging.getLogger("stamina").addHandler(logging.NullHandler())
