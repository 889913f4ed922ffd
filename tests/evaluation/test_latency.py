"""Times of two versions: in turns, after a warm-up, and a ratio with bounds that says the same each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from bot.errors import Denied, Rejected
from bot.evaluation.latency import FEWEST, LIMIT_SECONDS, PAIRS, WARM_UP, compare_latency
from bot.evaluation.sets import Batch

ROWS = [Batch(number, {"X": np.zeros((1, 1))}) for number in range(3)]


class Clock:
    """Time that passes only while somebody asks."""

    def __init__(self) -> None:
        self.now, self.asked = 0.0, list[tuple[str, int]]()

    def __call__(self) -> float:
        return self.now

    def version(self, who: str, milliseconds: Callable[[], float]) -> Any:
        def asks(batch: Batch) -> dict[str, Any]:
            self.asked.append((who, batch.start))
            self.now += milliseconds() / 1000
            return {}

        return asks


def times(mean: float, seed: int) -> Callable[[], float]:
    drawn: Iterator[float] = iter(np.random.default_rng(seed).normal(mean, mean / 20, 10_000))
    return lambda: abs(next(drawn))


def test_two_versions_are_asked_in_turns_and_compared() -> None:
    clock = Clock()
    asked = {"proposed": clock.version("p", times(12, 1)), "in_service": clock.version("s", times(10, 2))}
    found = compare_latency(asked, ROWS, seed="d", clock=clock)
    assert found is not None and found.requests == PAIRS and len(clock.asked) == 2 * (WARM_UP + PAIRS)
    measured = clock.asked[2 * WARM_UP :]
    assert measured[:4] == [("p", 0), ("s", 0), ("s", 1), ("p", 1)], "who is first alternates, and rows go round"
    assert found.proposed.p50 == pytest.approx(12, rel=0.05) and found.in_service is not None
    ratio = found.p50_ratio
    assert ratio is not None and ratio.low < 1.2 < ratio.high and ratio.low > 1.1 and ratio.high < 1.3
    assert found.p99_ratio is not None and found.p99_ratio.low < found.p99_ratio.ratio <= found.p99_ratio.high
    clock = Clock()
    asked = {"proposed": clock.version("p", times(12, 1)), "in_service": clock.version("s", times(10, 2))}
    assert compare_latency(asked, ROWS, seed="d", clock=clock) == found


def test_one_version_alone_has_times_and_no_ratio() -> None:
    clock = Clock()
    found = compare_latency({"proposed": clock.version("p", times(5, 1))}, ROWS, seed="d", clock=clock)
    assert found is not None and (found.in_service, found.p50_ratio, found.p99_ratio) == (None, None, None)
    assert found.proposed.p50 == pytest.approx(5, rel=0.05)


def test_a_slow_model_is_asked_less_often_and_never_too_rarely() -> None:
    for each, expected in ((LIMIT_SECONDS * 1000, FEWEST), (LIMIT_SECONDS * 1000 / 100, 101)):
        clock = Clock()
        found = compare_latency({"proposed": clock.version("p", lambda each=each: each)}, ROWS, seed="", clock=clock)
        assert found is not None and abs(found.requests - expected) <= 1


def test_a_request_that_one_version_refuses_has_no_time_of_either() -> None:
    clock = Clock()
    answers = clock.version("s", times(10, 2))

    def picky(batch: Batch) -> Any:
        if batch.start == 1:
            raise Rejected("not this one", system="Triton")
        return clock.version("p", times(12, 1))(batch)

    found = compare_latency({"proposed": picky, "in_service": answers}, ROWS, seed="d", clock=clock)
    assert found is not None and found.requests == PAIRS - len(range(1, PAIRS, 3)) and found.p50_ratio is not None
    assert compare_latency({"proposed": picky}, [ROWS[1]], seed="d", clock=clock) is None
    assert compare_latency({"proposed": picky}, [], seed="d", clock=clock) is None


def test_a_triton_that_admits_nobody_is_no_refusal_of_a_row() -> None:
    def denied(_: Batch) -> Any:
        raise Denied("who are you?", system="Triton")

    with pytest.raises(Denied):
        compare_latency({"proposed": denied}, ROWS, seed="d")
