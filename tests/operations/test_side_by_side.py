"""Many things at a time: in order, bounded, and ended by the first error."""

from __future__ import annotations

import threading
import time

import pytest

from bot.operations.side_by_side import AT_ONCE, FEW, side_by_side


def test_they_begin_in_order_and_a_few_are_under_way_at_a_time() -> None:
    begun: list[int] = []
    under_way, most, lock = 0, 0, threading.Lock()
    all_of_them = threading.Barrier(AT_ONCE)

    def work(number: int) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        if number < AT_ONCE:
            all_of_them.wait(30)  # who worked alone would wait for ever
        with lock:
            under_way -= 1

    side_by_side(range(100), work, first=begun.append)
    assert begun == list(range(100))
    assert most == AT_ONCE


@pytest.mark.parametrize("count", [0, 1, FEW])
def test_a_few_are_done_one_after_the_other_where_whoever_asked_is(count: int) -> None:
    done: list[tuple[str, int]] = []

    def work(number: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        done.append(("work", number))

    side_by_side(range(count), work, first=lambda number: done.append(("first", number)))
    assert done == [(what, number) for number in range(count) for what in ("first", "work")]


def test_after_an_error_nothing_is_begun_and_what_is_under_way_is_waited_for() -> None:
    failed, all_of_them = threading.Event(), threading.Barrier(AT_ONCE)
    begun: list[int] = []
    finished: list[int] = []

    def work(number: int) -> None:
        all_of_them.wait(30)
        if number == 1:
            failed.set()
            raise ValueError("one")
        failed.wait(30)
        time.sleep(0.05)  # the error is known by then
        finished.append(number)
        if number == 0:
            raise ValueError("zero")

    with pytest.raises(ValueError, match="zero"):  # the first of them, as if one came after the other
        side_by_side(range(50), work, first=begun.append)
    assert begun == list(range(AT_ONCE))
    assert sorted([*finished, 1]) == begun


def test_an_error_before_one_begins_ends_it_too() -> None:
    done: list[int] = []

    def first(number: int) -> None:
        if number == 5:
            raise ValueError("five")

    with pytest.raises(ValueError, match="five"):
        side_by_side(range(50), done.append, first=first)
    assert sorted(done) == [0, 1, 2, 3, 4]
