"""How often the bot asks a system again: one policy for every system, bounded by the environment's deadlines.

What shows at once (refused, reset, 5xx, 429) is tried again up to twice, after a short pause, or after as long as the
system asks for. What takes its whole deadline was waited for long enough and is not. So one question to one system
takes at most two of its deadlines, whatever goes wrong. SDKs that try again by themselves are told not to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial, wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_any, stop_before_delay

from bot.errors import Unavailable

TRIES = 3
PAUSE_SECONDS = 0.5
"""Before the second try; twice that before the third."""
WORTH_BYTES = 8 * 2**20
"""A download that brought so much since it last broke off is well: what breaks it then is a new fault."""


class Closed(Protocol):
    """What is closed once it was read."""

    def close(self) -> object: ...


class Asking(Protocol):
    """An adapter: no try of one question begins later than ``patience_seconds`` after the first."""

    patience_seconds: float


Adapter = TypeVar("Adapter", bound=Asking)
Given = ParamSpec("Given")
Answer = TypeVar("Answer")
Method = Callable[Concatenate[Adapter, Given], Answer]


def asked_again(
    ask: Callable[[], Answer], *, seconds: float, tries: int | None = TRIES, only_when_told: bool = False
) -> Answer:
    """Return what ``ask`` returns; after Unavailable ask again, as long as a try can begin within ``seconds``.

    ``only_when_told`` is for what must not happen twice: it is repeated only where the system said when to come back,
    for then it did nothing. Nobody is asked again before the time that they asked for.
    """
    limit = stop_before_delay(seconds)
    retrying = Retrying(
        retry=retry_if_exception(partial(_is_worth_it, only_when_told=only_when_told)),
        wait=_pause,
        stop=limit if tries is None else stop_any(limit, stop_after_attempt(tries)),
        reraise=True,
    )
    try:
        return retrying(ask)
    except Unavailable as error:
        _advise(error)
        raise


def going_on(
    read_from: Callable[[int], Iterator[bytes]], *, start: int, seconds: float, worth_bytes: int = WORTH_BYTES
) -> Generator[bytes]:
    """Yield the bytes from ``start`` that ``read_from`` yields; after Unavailable go on from where it broke off.

    Whoever sent ``worth_bytes`` since it was last asked is asked as if it were the first time: a long download
    outlives more faults than a short one, and one that hardly moves ends as any other question does.
    """
    at, tries, asked = start, 0, time.monotonic()
    while True:
        began, tries = at, tries + 1
        try:
            for chunk in read_from(at):
                at += len(chunk)
                yield chunk
                asked = time.monotonic()
                if at - began >= worth_bytes:
                    began, tries = at, 1
            return
        except Unavailable as error:
            pause = _pause_after(error, tries)
            if tries >= TRIES or time.monotonic() + pause - asked > seconds:
                _advise(error)
                raise
            time.sleep(pause)


def without(count: int, chunks: Iterator[bytes], answer: Closed) -> Iterator[bytes]:
    """Yield what is there beyond the first ``count`` bytes, which a server sent though it was asked not to."""
    with closing(answer):
        for chunk in chunks:
            if count < len(chunk):
                yield chunk[count:] if count else chunk
            count = max(0, count - len(chunk))


def _is_worth_it(error: BaseException, *, only_when_told: bool) -> bool:
    return isinstance(error, Unavailable) and not (only_when_told and error.retry_after_seconds is None)


def _pause(state: RetryCallState) -> float:
    return _pause_after(state.outcome.exception() if state.outcome else None, state.attempt_number)


def _pause_after(error: BaseException | None, tries: int) -> float:
    told = error.retry_after_seconds if isinstance(error, Unavailable) else None
    return told if told is not None else PAUSE_SECONDS * min(2 ** (tries - 1), 4)


def _advise(error: Unavailable) -> None:
    if error.retry_after_seconds is not None and not error.next_step:
        told = f"It asks to be left alone for {error.retry_after_seconds:g} s"
        error.next_step = f"{told}: run the same command again after that."


def patient(method: Method[Adapter, Given, Answer]) -> Method[Adapter, Given, Answer]:
    """Ask again: for methods that only read, or that may happen twice."""
    return _repeated(method, only_when_told=False)


def patient_when_told(method: Method[Adapter, Given, Answer]) -> Method[Adapter, Given, Answer]:
    """Ask again only where the system says when: for methods that must not happen twice."""
    return _repeated(method, only_when_told=True)


def _repeated(method: Method[Adapter, Given, Answer], *, only_when_told: bool) -> Method[Adapter, Given, Answer]:
    @wraps(method)
    def asks(self: Adapter, /, *given: Given.args, **named: Given.kwargs) -> Answer:
        ask = partial(method, self, *given, **named)
        return asked_again(ask, seconds=self.patience_seconds, only_when_told=only_when_told)

    return asks


def seconds_asked_for(retry_after: str | None) -> float | None:
    """Read the header ``Retry-After``, seconds or a date; None where it says nothing that can be read."""
    if not retry_after:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - time.time())
