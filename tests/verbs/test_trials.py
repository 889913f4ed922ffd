"""Trials of systems: they run at the same time, and nothing makes one miss its deadline."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from bot.errors import Rejected
from bot.verbs.trials import Examined, NotTried, Trial, try_all


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What hangs waits for this, which is set when the test is over."""
    event = threading.Event()
    yield event
    event.set()


def hangs(released: threading.Event) -> str:
    released.wait()
    return "released"


def rejected() -> str:
    raise Rejected("says no", system="A", next_step="Ask B.")


def test_what_was_seen_what_fails_and_what_could_not_be_tried() -> None:
    trials = [
        Trial("well", lambda: "answers"),
        Trial("ill", rejected),
        Trial("half", lambda: NotTried("answers", "Give it a scope.")),
    ]
    assert try_all(trials) == [
        [Examined("well", True, "answers")],
        [Examined("ill", False, "A: says no", "Ask B.")],
        [Examined("half", None, "answers", "Give it a scope.")],
    ]


def test_all_run_at_the_same_time() -> None:
    everybody = threading.Barrier(20)  # who comes alone waits for ever
    trials = [Trial(str(number), lambda: str(everybody.wait(timeout=60) >= 0)) for number in range(20)]
    assert try_all(trials, seconds=60) == [[Examined(str(number), True, "True")] for number in range(20)]


def test_one_that_hangs_is_named_and_the_others_are_told(released: threading.Event) -> None:
    trials = [Trial("stuck", lambda: hangs(released)), Trial("well", lambda: "answers")]
    (stuck,), (well,) = try_all(trials, seconds=0.3)
    assert (stuck.system, stuck.works) == ("stuck", False)
    assert stuck.seen == "it does not answer: the trial did not end within 0.3 s" and stuck.next_step
    assert well == Examined("well", True, "answers")


def test_what_an_entry_stands_for_has_no_more_time_than_the_others(released: threading.Event) -> None:
    replicas = [Trial("replica-1", lambda: "answers"), Trial("replica-2", lambda: hangs(released))]
    (lines,) = try_all([Trial("several", lambda: replicas)], seconds=0.3)
    assert [(line.system, line.works) for line in lines] == [("replica-1", True), ("replica-2", False)]


def test_an_entry_that_stands_for_nobody_has_no_line() -> None:
    assert try_all([Trial("several", list)]) == [[]]


def test_a_bug_is_no_finding() -> None:
    def broken() -> str:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        try_all([Trial("A", broken)])


def test_no_time_is_left_where_the_clock_jumped(released: threading.Event) -> None:
    """A laptop that slept, or a machine that stood still, is past the deadline at once."""
    times = iter([0.0, 1e9, 1e9, 1e9])
    ((stuck,),) = try_all([Trial("stuck", lambda: hangs(released))], seconds=10, clock=lambda: next(times))
    assert stuck.works is False
