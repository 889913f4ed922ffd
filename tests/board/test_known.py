"""One thing that is read again and again: what it knows, and since when it does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from bot.board.known import Part, Shared, in_turn
from bot.errors import Rejected, Unavailable


def part(read: Callable[[], Any], **more: Any) -> Part[Any]:
    return Part("share", read, **{"every_seconds": 2.0, "late_seconds": 5.0, **more})


def test_what_was_read_is_known_until_the_next_read_is_late() -> None:
    one = part(lambda: 7)
    assert not one.known.is_fresh(time.monotonic()) and one.known.why(0) == "it has not been read yet"
    one.look()
    now = time.monotonic()
    assert one.known.value == 7 and one.known.is_fresh(now + 6.9)
    assert not one.known.is_fresh(now + 8), "a read that hangs raises nothing"
    assert one.known.why(now + 8) == "the read that began after this has not ended"


def test_an_error_keeps_the_last_value_and_says_why_and_since_when() -> None:
    answers: list[Any] = [7, Unavailable("no route", system="share"), Rejected("no", system="share"), 8]

    def read() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    one = part(read)
    one.look()
    first = one.known
    one.look()
    failed = one.known
    assert (failed.value, failed.at) == (7, first.at) and not failed.is_fresh(time.monotonic())
    assert failed.why(0) == "share: no route"
    one.look()
    assert (one.known.failed_at, one.known.why(0)) == (failed.failed_at, "share: no")
    one.look()
    assert one.known.value == 8 and one.known.is_fresh(time.monotonic()) and one.known.failed_at is None


def test_a_bug_in_one_part_is_shown_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    one = part(lambda: 1 // 0)
    one.look()
    assert one.known.why(0) == "share: a bug in promobot; its log has more"
    assert "ZeroDivisionError" in caplog.text


def test_only_what_changed_is_told() -> None:
    values, told = [1, 1, 2], list[int]()
    one = part(lambda: values.pop(0), changed=lambda: told.append(1))
    for changes in (1, 1, 2):
        one.look()
        assert (one.changes, len(told)) == (changes, changes)


def test_a_slow_system_is_known_between_its_reads() -> None:
    def read() -> int:
        threading.Event().wait(0.2)
        return 7

    one = part(read, every_seconds=0.0, late_seconds=0.0)
    one.look()
    assert one.known.is_fresh(time.monotonic() + 0.3), "the next read may take as long as this one"


def test_what_a_stopped_part_reads_last_is_not_taken() -> None:
    one = part(lambda: 7)
    one.stop()
    one.look()
    assert one.known.value is None


def test_one_asks_for_all_of_them() -> None:
    shared, asked = Shared[int](for_seconds=60), list[int]()

    def ask() -> int:
        asked.append(1)
        return 7

    for _ in range(3):
        assert shared.of("repository", ask, system="Git", within_seconds=1) == 7
    assert shared.of("another", ask, system="Git", within_seconds=1) == 7
    assert len(asked) == shared.asked == 2


def test_an_error_is_not_kept_for_others() -> None:
    shared = Shared[int](for_seconds=60)

    def fail() -> int:
        raise Unavailable("no", system="Git")

    with pytest.raises(Unavailable):
        shared.of("repository", fail, system="Git", within_seconds=1)
    assert shared.of("repository", lambda: 7, system="Git", within_seconds=1) == 7


def test_who_waits_for_a_question_that_hangs_does_not_wait_for_ever() -> None:
    lock = threading.Lock()
    lock.acquire()
    with (
        pytest.raises(Unavailable, match="another question to it has not been answered in time"),
        in_turn(lock, system="Git", within_seconds=0.01),
    ):
        pass
