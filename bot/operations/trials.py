"""Trials of systems, all at the same time, each with a deadline that nothing can make it miss."""

from __future__ import annotations

import queue
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from bot.concurrency import begin
from bot.errors import PromobotError

_ASK_THE_DOCTOR = re.compile(r" ?`promobot doctor`[^.:]*\.")

DEADLINE_SECONDS = 10.0
"""For one trial. Two phases of it and the start of Python stay below 15 s, whatever hangs."""
REQUEST_SECONDS = 7.0
"""For one request of a trial, so that a system that hangs says so in its own words before the deadline."""


@dataclass(frozen=True)
class Examined:
    """One system: whether it works, what was seen, and what to do where it does not.

    ``works`` is None where it answers, and something that a deployment needs could not be tried.
    """

    system: str
    works: bool | None
    seen: str
    next_step: str = ""


@dataclass(frozen=True)
class NotTried:
    """The part of a system that a trial saw, the part that it could not try, and the next step."""

    seen: str
    next_step: str = ""


@dataclass(frozen=True)
class Trial:
    """``attempt`` tries one system, and returns what was seen; it raises PromobotError where that does not work.

    It returns more trials where an entry of the settings stands for several servers; they replace this one's line.
    """

    system: str
    attempt: Callable[[], str | NotTried | Sequence[Trial]]


def try_all(
    trials: Iterable[Trial], *, seconds: float | None = None, clock: Callable[[], float] = time.monotonic
) -> list[list[Examined]]:
    """Make all trials at the same time; return the lines of each, in the order of the trials.

    ``seconds`` (:data:`DEADLINE_SECONDS`) after the start every trial has its line: the line of one that still waits
    says so. It goes on in a thread that keeps no process from ending, so it must leave nothing behind when it
    is killed.
    """
    seconds = DEADLINE_SECONDS if seconds is None else seconds
    ends = clock() + seconds
    ended: queue.SimpleQueue[tuple[_Running, Examined | Sequence[Trial] | BaseException]] = queue.SimpleQueue()
    first = [_Running(trial) for trial in trials]
    waiting = set(map(id, first))

    def start(one: _Running) -> None:
        begin(lambda: ended.put((one, _outcome(one.trial))), name=one.trial.system)

    for one in first:
        start(one)
    while waiting:
        try:
            one, outcome = ended.get(timeout=max(ends - clock(), 0))
        except queue.Empty:
            break
        waiting.discard(id(one))
        if isinstance(outcome, BaseException):
            raise outcome  # a bug is not a finding about a system
        if isinstance(outcome, Examined):
            one.found = outcome
            continue
        one.instead = [_Running(trial) for trial in outcome]
        for more in one.instead:
            waiting.add(id(more))
            start(more)
    return [list(one.lines(seconds)) for one in first]


@dataclass(eq=False)
class _Running:
    trial: Trial
    found: Examined | None = None
    instead: list[_Running] | None = None

    def lines(self, seconds: float) -> Iterator[Examined]:
        if self.instead is not None:
            for one in self.instead:
                yield from one.lines(seconds)
        else:
            yield self.found or Examined(
                self.trial.system,
                False,
                f"it does not answer: the trial did not end within {seconds:g} s",
                "Is it up, and can this machine reach it?",
            )


def _outcome(trial: Trial) -> Examined | Sequence[Trial] | BaseException:
    try:
        seen = trial.attempt()
    except PromobotError as error:
        return Examined(trial.system, False, str(error), _without_ourselves(error.next_step))
    except BaseException as error:  # noqa: BLE001 - raised where the trials are waited for
        return error
    match seen:
        case str():
            return Examined(trial.system, True, seen)
        case NotTried():
            return Examined(trial.system, None, seen.seen, seen.next_step)
        case _:
            return seen


def _without_ourselves(next_step: str) -> str:
    """Return what to do, without the advice to ask the doctor: this is the doctor."""
    left = _ASK_THE_DOCTOR.sub("", next_step)
    if left == next_step:
        return next_step
    return left.rstrip(" ;") + ("." if left.endswith(";") else "") or "Are the credentials right?"
