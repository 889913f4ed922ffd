"""Waiting, without Airflow: deadlines, systems that do not answer, and a loop that stays free."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bot.airflow.waiting import LONGEST_PAUSE_SECONDS, wait
from bot.errors import Rejected, Unavailable
from bot.operations.awaiting import NotYet


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, list[float]()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def looks(*found: Any) -> Callable[[], Any]:
    """Return what looks find, one after another; errors are raised, the last one stays."""
    answers: Iterator[Any] = iter(found)
    last = found[-1]

    def look() -> Any:
        one = next(answers, last)
        if isinstance(one, Exception):
            raise one
        return one

    return look


def waited(look: Callable[[], Any], *, deadline: float = 1060, clock: Clock | None = None) -> tuple[Any, list[str]]:
    said: list[str] = []
    clock = clock or Clock()
    found = asyncio.run(
        wait(look, deadline=deadline, interval_seconds=10, say=said.append, clock=clock, sleep=clock.sleep)
    )
    return found, said


def test_what_is_found_ends_the_wait_and_what_is_new_is_said_once() -> None:
    clock = Clock()
    found, said = waited(looks(NotYet("open"), NotYet("open"), NotYet("merged"), "found"), clock=clock)
    assert found == "found"
    assert said == ["open", "merged"]
    assert clock.slept == [10, 10, 10]


def test_at_the_deadline_it_looks_once_more_and_tells_how_things_were() -> None:
    clock = Clock()
    found, _ = waited(looks(NotYet("open")), deadline=1025, clock=clock)
    assert found == NotYet("open")
    assert clock.slept == [10, 10, 5]


def test_a_deadline_in_the_past_still_looks_once() -> None:
    assert waited(looks("found"), deadline=1)[0] == "found"
    assert waited(looks(NotYet("open")), deadline=1)[0] == NotYet("open")


def test_a_system_that_does_not_answer_is_asked_again_when_it_said_so() -> None:
    clock = Clock()
    busy = Unavailable("HTTP 429", system="GitHub", retry_after_seconds=45)
    found, said = waited(looks(busy, "found"), clock=clock)
    assert (found, clock.slept) == ("found", [45])
    assert "HTTP 429" in said[0]

    for_hours = Unavailable("HTTP 429", system="GitHub", retry_after_seconds=7200)
    clock = Clock()
    assert waited(looks(for_hours, "found"), deadline=9999, clock=clock)[0] == "found"
    assert clock.slept == [LONGEST_PAUSE_SECONDS]


def test_one_that_never_answers_ends_at_the_deadline_with_its_reason() -> None:
    found, _ = waited(looks(Unavailable("refused", system="MLflow")))
    assert isinstance(found, NotYet)
    assert "MLflow: refused" in found.said


def test_what_asking_again_does_not_change_is_raised() -> None:
    with pytest.raises(Rejected):
        waited(looks(Rejected("no such version", system="MLflow")))
    with pytest.raises(ZeroDivisionError):  # a bug is none of ours to hide
        waited(looks(ZeroDivisionError()))


def test_a_look_that_hangs_blocks_nobody_else_in_the_loop() -> None:
    hanging, others = threading.Event(), 0

    async def all_of_them() -> None:
        nonlocal others
        clock = Clock()
        waiting = asyncio.create_task(
            wait(
                lambda: hanging.wait(30) and "found",
                deadline=2000,
                interval_seconds=1,
                say=lambda _: None,
                clock=clock,
                sleep=clock.sleep,
            )
        )
        for _ in range(100):
            await asyncio.sleep(0)
            others += 1
        assert not waiting.done()
        hanging.set()
        assert await waiting == "found"

    asyncio.run(all_of_them())
    assert others == 100
