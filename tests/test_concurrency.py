"""Many things at a time: in order, bounded, ended by the first error, and nothing of them left behind."""

from __future__ import annotations

import ast
import threading
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from bot import concurrency
from bot.concurrency import (
    LARGE_AT_ONCE,
    LARGE_BYTES,
    MODELS,
    Worker,
    background,
    begin,
    gather,
    lazy,
    map_concurrent,
    pool,
    room_for,
)
from bot.errors import LeaseLost, Unavailable
from bot.settings import Concurrency

BOT = Path(__file__).parents[1] / "bot"
AWAY = Unavailable("is away", system="Triton")


def test_they_begin_in_order_and_as_many_as_the_limit_are_under_way() -> None:
    begun: list[int] = []
    under_way, most, lock = 0, 0, threading.Lock()
    all_of_them = threading.Barrier(MODELS)

    def work(number: int) -> int:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        if number < MODELS:
            all_of_them.wait(30)  # who worked alone would wait for ever
        with lock:
            under_way -= 1
        return number * number

    answers = map_concurrent(range(100), work, limit=MODELS, first=begun.append)
    assert answers == [number * number for number in range(100)]
    assert begun == list(range(100))
    assert most == MODELS


def test_two_are_done_side_by_side_as_any_number_is() -> None:
    both = threading.Barrier(2)
    map_concurrent(range(2), lambda _: both.wait(30), limit=MODELS)
    assert not both.broken


def test_one_alone_is_done_where_whoever_asked_is() -> None:
    assert map_concurrent([1], lambda _: threading.current_thread(), limit=MODELS) == [threading.main_thread()]
    assert map_concurrent([], lambda _: 1 / 0, limit=MODELS) == []


def test_after_an_error_nothing_is_begun_and_what_is_under_way_is_waited_for() -> None:
    failed, all_of_them, stop = threading.Event(), threading.Barrier(MODELS), threading.Event()
    begun: list[int] = []
    finished: list[int] = []

    def work(number: int) -> None:
        all_of_them.wait(30)
        if number == 1:
            failed.set()
            raise ValueError("one")
        failed.wait(30)
        assert stop.wait(30), "what is under way is told"
        time.sleep(0.05)  # the error is known by then
        finished.append(number)
        if number == 0:
            raise ValueError("zero")

    with pytest.raises(ValueError, match="zero"):  # the first of them, as if one came after the other
        map_concurrent(range(50), work, limit=MODELS, first=begun.append, stop=stop)
    assert begun == list(range(MODELS))
    assert sorted([*finished, 1]) == begun


def test_an_error_before_one_begins_ends_it_too() -> None:
    done: list[int] = []

    def first(number: int) -> None:
        if number == 5:
            raise ValueError("five")

    with pytest.raises(ValueError, match="five"):
        map_concurrent(range(50), done.append, limit=MODELS, first=first)
    assert sorted(done) == [0, 1, 2, 3, 4]


def test_who_is_interrupted_begins_no_more_and_waits_for_what_is_under_way() -> None:
    class Interrupted(concurrency.Threads):
        def run(self, workers: Any, *, interrupted: Any) -> None:
            interrupted(KeyboardInterrupt())
            super().run(workers, interrupted=interrupted)
            raise KeyboardInterrupt

    done: list[int] = []
    stop = threading.Event()
    with mock.patch.object(concurrency, "schedule", Interrupted()), pytest.raises(KeyboardInterrupt):
        map_concurrent(range(50), done.append, limit=MODELS, stop=stop)
    assert done == [] and stop.is_set()


def test_everybody_is_asked_together_and_an_error_is_an_answer() -> None:
    together = threading.Barrier(8)

    def ask(number: int) -> int:
        together.wait(30)  # passes only when eight wait at the same time
        if number == 3:
            raise AWAY
        return number

    answers = gather(range(8), ask, limit=8)
    assert answers == [(number, AWAY if number == 3 else number) for number in range(8)]
    assert gather([], len, limit=8) == []


def test_a_bug_and_a_lost_lease_are_no_answers() -> None:
    with pytest.raises(ZeroDivisionError):
        gather([1, 0], lambda number: 1 / number, limit=8)

    def lost(_: int) -> None:
        raise LeaseLost("turn 1 is over")

    with pytest.raises(LeaseLost):
        gather([1, 0], lost, limit=8)


def test_what_is_lazy_is_read_when_it_is_asked_and_once_for_all() -> None:
    read: list[int] = []
    ask = lazy(lambda: read.append(1) or len(read))
    assert read == []
    assert map_concurrent(range(20), lambda _: ask(), limit=MODELS) == [1] * 20
    assert read == [1]


def test_what_cannot_be_read_is_told_to_each_that_asks_and_read_once() -> None:
    asked: list[int] = []

    def fails() -> None:
        asked.append(1)
        raise AWAY

    ask = lazy(fails)
    for _ in range(2):
        with pytest.raises(Unavailable, match="is away"):
            ask()
    assert asked == [1]


def test_what_hangs_in_the_background_delays_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "_GIVEN_UP_SECONDS", 0.01)
    hangs = threading.Event()
    try:
        with pytest.raises(ValueError, match="something else"), background(lambda: hangs.wait(60), name="hangs"):
            raise ValueError("something else")
    finally:
        hangs.set()


def test_an_error_in_the_background_is_raised_where_the_answer_is_asked_for() -> None:
    with background(lambda: 1 / 0, name="a bug") as answer, pytest.raises(ZeroDivisionError):
        answer.result(30)
    assert begin(lambda: 7, name="seven").result(30) == 7


def test_what_arrives_is_worked_on_and_waited_for() -> None:
    done: list[int] = []
    with pool(2, name="test") as submit:
        for number in range(5):
            submit(lambda number=number: done.append(number))  # type: ignore[misc]
    assert sorted(done) == [0, 1, 2, 3, 4]


def test_a_schedule_decides_who_goes_on() -> None:
    class Backwards:
        def run(self, workers: list[Worker], **_: object) -> None:
            for worker in reversed(workers):
                worker()

    with mock.patch.object(concurrency, "schedule", Backwards()):
        assert map_concurrent(range(3), str, limit=3) == ["0", "1", "2"]


def test_no_thread_begins_elsewhere() -> None:
    """The gateway is mounted by others and has two of its own; the sandbox is no part of the bot."""
    found = set()
    for path in sorted(BOT.rglob("*.py")):
        name = path.relative_to(BOT.parent).as_posix()
        if name.startswith(("bot/sandbox/", "bot/gateway/")) or name == "bot/concurrency.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("Thread", "ThreadPoolExecutor")):
                found.add(name)
    assert found == {"bot/slack/worker.py"}, "its three loops live as long as the service"


def test_what_the_settings_say_by_default() -> None:
    assert Concurrency().model_dump() == {"models": 4, "servers": 32, "files": 4, "records": 16}


def test_few_hold_much_memory_at_a_time_and_what_is_small_waits_for_nobody() -> None:
    begun, go_on = threading.Barrier(LARGE_AT_ONCE + 1), threading.Event()

    def hold() -> None:
        with room_for(LARGE_BYTES + 1):
            begun.wait(30)
            go_on.wait(30)

    holders = [begin(hold, name="holder") for _ in range(LARGE_AT_ONCE)]
    begun.wait(30)
    try:
        assert not concurrency._large.acquire(blocking=False), "the next one waits"
        with room_for(LARGE_BYTES):
            pass
    finally:
        go_on.set()
        for holder in holders:
            holder.result(30)
    with room_for(LARGE_BYTES + 1):
        pass
