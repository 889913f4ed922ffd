"""How often the bot asks again, and after which pauses. In stamina's test mode no pause takes any time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterator
from email.utils import formatdate

import pytest
import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from bot.errors import Rejected, Unavailable
from bot.retry import (
    JITTER_SECONDS,
    LONGEST_PAUSE_SECONDS,
    PAUSE_SECONDS,
    read_retry_after,
    resume,
    retry,
    retry_call,
    retry_when_told,
)


class Question:
    """Fails so often, each time saying when to come back, and is answered then. ``asked`` counts the attempts."""

    def __init__(self, *told: float | None) -> None:
        self.told, self.asked = list(told), 0

    def __call__(self) -> str:
        self.asked += 1
        if self.told:
            raise Unavailable("sorry", system="S", retry_after_seconds=self.told.pop(0))
        return "answered"


@pytest.fixture
def no_pauses() -> Iterator[None]:
    """Attempts are as many as usual, and none waits."""
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


class _PauseBegins(Exception):
    """A pause was about to begin."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


@pytest.fixture
def pauses() -> Iterator[Callable[[Question, float, int | None], float]]:
    """Returns how long the first pause that takes any time is to be; nobody waits for it."""

    def stop(details: RetryDetails) -> None:
        if details.wait_for:
            raise _PauseBegins(details.wait_for)

    def first_pause(question: Question, seconds: float = 60, attempts: int | None = 3) -> float:
        with pytest.raises(_PauseBegins) as begins:
            retry_call(question, seconds=seconds, attempts=attempts)
        return begins.value.seconds

    set_on_retry_hooks([stop])
    yield first_pause
    set_on_retry_hooks(None)


def test_a_fault_that_shows_at_once_is_retried_twice(no_pauses: None) -> None:
    assert retry_call(question := Question(None, None), seconds=10) == "answered"
    assert question.asked == 3
    with pytest.raises(Unavailable):
        retry_call(question := Question(None, None, None), seconds=10)
    assert question.asked == 3


def test_each_pause_is_twice_the_one_before_with_jitter_up_to_a_limit(pauses: Callable[..., float]) -> None:
    for retries, shortest in enumerate((PAUSE_SECONDS, 2 * PAUSE_SECONDS, 4 * PAUSE_SECONDS)):
        # Whoever may come back after 0 s causes no pause, and counts as a retry.
        found = [pauses(Question(*[0.0] * retries, None), 60, 10) for _ in range(20)]
        assert all(shortest <= pause <= shortest + JITTER_SECONDS for pause in found)
        assert len(set(found)) > 10, "clients that failed together do not come back together"
    assert pauses(Question(*[0.0] * 5, None), 60, 10) == LONGEST_PAUSE_SECONDS


def test_nobody_is_asked_before_the_time_that_they_asked_for(pauses: Callable[..., float]) -> None:
    assert pauses(Question(3.0)) == 3
    assert pauses(Question(0.0, 4.0)) == 4


def test_no_attempt_begins_later_than_the_limit(pauses: Callable[..., float]) -> None:
    question = Question(None, None)
    with pytest.raises(Unavailable):
        retry_call(question, seconds=PAUSE_SECONDS)
    assert question.asked == 1, "the pause alone would take as long"
    assert pauses(Question(None), seconds=PAUSE_SECONDS + 2 * JITTER_SECONDS) >= PAUSE_SECONDS


def test_what_took_its_whole_deadline_is_not_retried(no_pauses: None) -> None:
    question, began = Question(0.0, 0.0), time.monotonic()

    def ask() -> str:
        while time.monotonic() < began + 0.01:
            pass
        return question()

    with pytest.raises(Unavailable):
        retry_call(ask, seconds=0.01)
    assert question.asked == 1


def test_who_asks_for_more_time_than_there_is_gets_no_second_question() -> None:
    question = Question(3600.0)
    with pytest.raises(Unavailable) as failure:
        retry_call(question, seconds=10)
    assert question.asked == 1
    assert failure.value.next_step.startswith("It asks to be left alone for 3600 s")


def test_until_a_deadline_without_counting(no_pauses: None) -> None:
    assert retry_call(question := Question(*[None] * 50), seconds=600, attempts=None) == "answered"
    assert question.asked == 51


def test_what_was_rejected_is_not_asked_again(no_pauses: None) -> None:
    asked: list[int] = []

    def ask() -> None:
        asked.append(1)
        raise Rejected("no", system="S")

    with pytest.raises(Rejected):
        retry_call(ask, seconds=10)
    assert len(asked) == 1


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_whoever_stops_the_bot_is_obeyed_at_once(no_pauses: None, stop: type[BaseException]) -> None:
    asked: list[int] = []

    def ask() -> None:
        asked.append(1)
        raise stop

    with pytest.raises(stop):
        retry_call(ask, seconds=10)
    assert len(asked) == 1


def test_a_write_is_repeated_only_where_it_surely_did_nothing(no_pauses: None) -> None:
    class Adapter:
        retry_seconds = 10.0

        def __init__(self, ask: Callable[[], str]) -> None:
            self.ask = ask

        @retry
        def reads(self, key: str) -> str:
            return f"{key} {self.ask()}"

        @retry_when_told
        def writes(self) -> str:
            return self.ask()

    assert Adapter(Question(None)).reads("it") == "it answered"
    assert Adapter(Question(2.0)).writes() == "answered"
    with pytest.raises(Unavailable):
        Adapter(Question(None)).writes()


@pytest.mark.parametrize(
    ("header", "seconds"), [("120", 120), (" 0 ", 0), (None, None), ("", None), ("soon", None), ("-3", None)]
)
def test_retry_after_in_seconds(header: str | None, seconds: float | None) -> None:
    assert read_retry_after(header) == seconds


def test_retry_after_as_a_date() -> None:
    assert read_retry_after(formatdate(time.time() + 100, usegmt=True)) == pytest.approx(100, abs=3)
    assert read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


class Source:
    """Gives 100 bytes, ten at a time, and breaks off after so many of them each time it is asked."""

    def __init__(self, *breaks: int, told: float | None = None) -> None:
        self.breaks, self.told, self.asked = list(breaks), told, list[int]()

    def read_from(self, start: int) -> Generator[bytes]:
        self.asked.append(start)
        left = self.breaks.pop(0) if self.breaks else 100
        for at in range(start, 100, 10):
            if not left:
                raise Unavailable("it broke off", system="MLflow", retry_after_seconds=self.told)
            left -= 1
            yield bytes(range(at, at + 10))


def test_a_download_goes_on_where_it_broke_off(no_pauses: None) -> None:
    source = Source(3, 4)
    assert b"".join(resume(source.read_from, start=0, seconds=10)) == bytes(range(100))
    assert source.asked == [0, 30, 70]


def test_a_download_begins_where_it_is_told_to(no_pauses: None) -> None:
    source = Source(1)
    assert b"".join(resume(source.read_from, start=50, seconds=10)) == bytes(range(50, 100))
    assert source.asked == [50, 60]


def test_a_download_that_hardly_moves_ends_after_three_tries(no_pauses: None) -> None:
    source = Source(1, 1, 1, 1)
    with pytest.raises(Unavailable, match="it broke off"):
        list(resume(source.read_from, start=0, seconds=10))
    assert source.asked == [0, 10, 20]


def test_who_sent_enough_since_the_last_break_is_asked_as_if_for_the_first_time(no_pauses: None) -> None:
    source = Source(2, 2, 2, 2)
    assert b"".join(resume(source.read_from, start=0, seconds=10, worth_bytes=20)) == bytes(range(100))
    assert source.asked == [0, 20, 40, 60, 80]


def test_a_download_is_not_gone_on_with_before_the_time_that_was_asked_for() -> None:
    source = Source(1, told=3600.0)
    with pytest.raises(Unavailable) as failure:
        list(resume(source.read_from, start=0, seconds=10))
    assert source.asked == [0]
    assert "3600 s" in failure.value.next_step


def test_a_download_that_is_stopped_early_closes_what_it_reads() -> None:
    closed: list[int] = []

    def read_from(start: int) -> Generator[bytes]:
        try:
            for at in itertools.count(start):
                yield bytes([at % 256])
        finally:
            closed.append(start)

    chunks = resume(read_from, start=0, seconds=10, worth_bytes=2)
    assert [next(chunks) for _ in range(5)] == [b"\0", b"\1", b"\2", b"\3", b"\4"]
    chunks.close()
    assert closed == [0], "at once, not when somebody collects garbage"
