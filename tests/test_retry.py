"""How often the bot asks again, and when: by a clock that the test moves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from email.utils import formatdate

import pytest

from bot import retry
from bot.errors import Rejected, Unavailable
from bot.retry import asked_again, going_on, patient, patient_when_told, seconds_asked_for


class Clock:
    """Stands still but for who sleeps, and for what a question takes."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked_at: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def failing(self, *told: float | None, takes: float = 0) -> Callable[[], str]:
        """Return a question that fails so often, each time saying when to come back, and is answered then."""
        answers = iter(told)

        def ask() -> str:
            self.asked_at.append(self.now - 1000)
            self.now += takes
            for after in answers:
                raise Unavailable("sorry", system="S", retry_after_seconds=after)
            return "answered"

        return ask


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(retry.time, "monotonic", clock.monotonic)
    monkeypatch.setattr(retry.time, "sleep", clock.sleep)
    return clock


def test_a_fault_that_shows_at_once_is_tried_twice_more(clock: Clock) -> None:
    assert asked_again(clock.failing(None, None), seconds=10) == "answered"
    assert clock.asked_at == [0, 0.5, 1.5]
    with pytest.raises(Unavailable):
        asked_again(clock.failing(None, None, None), seconds=10)
    assert len(clock.asked_at) == 6


def test_what_took_its_whole_deadline_is_not_tried_again(clock: Clock) -> None:
    with pytest.raises(Unavailable):
        asked_again(clock.failing(None, takes=10), seconds=10)
    assert clock.asked_at == [0]


def test_nobody_is_asked_before_the_time_that_they_asked_for(clock: Clock) -> None:
    assert asked_again(clock.failing(3, 4), seconds=10) == "answered"
    assert clock.asked_at == [0, 3, 7]


def test_who_asks_for_more_time_than_there_is_gets_no_second_question(clock: Clock) -> None:
    with pytest.raises(Unavailable) as failure:
        asked_again(clock.failing(3600), seconds=10)
    assert clock.asked_at == [0] and clock.now == 1000
    assert failure.value.next_step.startswith("It asks to be left alone for 3600 s")


def test_until_a_deadline_without_counting(clock: Clock) -> None:
    with pytest.raises(Unavailable):
        asked_again(clock.failing(*[None] * 100), seconds=10, tries=None)
    assert clock.asked_at == [0, 0.5, 1.5, 3.5, 5.5, 7.5, 9.5]


def test_what_was_rejected_is_not_asked_again(clock: Clock) -> None:
    asked: list[int] = []

    def ask() -> None:
        asked.append(1)
        raise Rejected("no", system="S")

    with pytest.raises(Rejected):
        asked_again(ask, seconds=10)
    assert len(asked) == 1


def test_a_write_is_repeated_only_where_it_surely_did_nothing(clock: Clock) -> None:
    class Adapter:
        patience_seconds = 10.0

        def __init__(self, ask: Callable[[], str]) -> None:
            self.ask = ask

        @patient
        def reads(self, key: str) -> str:
            return f"{key} {self.ask()}"

        @patient_when_told
        def writes(self) -> str:
            return self.ask()

    assert Adapter(clock.failing(None)).reads("it") == "it answered"
    assert Adapter(clock.failing(2)).writes() == "answered"
    with pytest.raises(Unavailable):
        Adapter(clock.failing(None)).writes()


@pytest.mark.parametrize(
    ("header", "seconds"), [("120", 120), (" 0 ", 0), (None, None), ("", None), ("soon", None), ("-3", None)]
)
def test_retry_after_in_seconds(header: str | None, seconds: float | None) -> None:
    assert seconds_asked_for(header) == seconds


def test_retry_after_as_a_date() -> None:
    assert seconds_asked_for(formatdate(time.time() + 100, usegmt=True)) == pytest.approx(100, abs=3)
    assert seconds_asked_for("Wed, 21 Oct 2015 07:28:00 GMT") == 0


class Source:
    """Gives 100 bytes, ten at a time, and breaks off after so many of them each time it is asked."""

    def __init__(self, *breaks: int, told: float | None = None) -> None:
        self.breaks, self.told, self.asked = list(breaks), told, list[int]()

    def read_from(self, start: int) -> Iterator[bytes]:
        self.asked.append(start)
        left = self.breaks.pop(0) if self.breaks else 100
        for at in range(start, 100, 10):
            if not left:
                raise Unavailable("it broke off", system="MLflow", retry_after_seconds=self.told)
            left -= 1
            yield bytes(range(at, at + 10))


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.retry.PAUSE_SECONDS", 0.0)


def test_a_download_goes_on_where_it_broke_off(no_pause: None) -> None:
    source = Source(3, 4)
    assert b"".join(going_on(source.read_from, start=0, seconds=10)) == bytes(range(100))
    assert source.asked == [0, 30, 70]


def test_a_download_begins_where_it_is_told_to(no_pause: None) -> None:
    source = Source(1)
    assert b"".join(going_on(source.read_from, start=50, seconds=10)) == bytes(range(50, 100))
    assert source.asked == [50, 60]


def test_a_download_that_hardly_moves_ends_after_three_tries(no_pause: None) -> None:
    source = Source(1, 1, 1, 1)
    with pytest.raises(Unavailable, match="it broke off"):
        list(going_on(source.read_from, start=0, seconds=10))
    assert source.asked == [0, 10, 20]


def test_who_sent_enough_since_the_last_break_is_asked_as_if_for_the_first_time(no_pause: None) -> None:
    source = Source(2, 2, 2, 2)
    assert b"".join(going_on(source.read_from, start=0, seconds=10, worth_bytes=20)) == bytes(range(100))
    assert source.asked == [0, 20, 40, 60, 80]


def test_a_download_is_not_gone_on_with_before_the_time_that_was_asked_for() -> None:
    source = Source(1, told=3600.0)
    with pytest.raises(Unavailable) as failure:
        list(going_on(source.read_from, start=0, seconds=10))
    assert source.asked == [0]
    assert "3600 s" in failure.value.next_step
