"""The stages of one change in a deployment: what each stage knows, and what follows from it.

    Planned ──► Switched ──► live, for all or for some, as the criteria say
       │            ├──────► Incomplete   a way back, in service as far as gateways answer
       │            └──────► PutBack      it failed after the switch
       └──► Failed                        it failed before the switch
    CutOff                                an earlier run began it, and no run resumes it

Steps move a change from one stage to the next. The later decisions (outcome, quarantine, revert) are functions of
the stage alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import assert_never

from bot.domain.blame import GoesBack
from bot.domain.record import Criterion, Outcome, outcome_of
from bot.errors import Denied, NotAllowed, OtherBytes, PromobotError, Rejected


class Fault(Enum):
    """Whose fault a failure is."""

    DIGEST = "the bytes themselves: they go into quarantine"
    LOST_BYTES = "the merged bytes no longer exist: Git must ask for others, and the digest is not to blame"
    ENVIRONMENT = "something around them: the same bytes may pass the next time"
    NOBODY = "nothing failed"


@dataclass(frozen=True)
class Planned:
    """It is on its way, and users have what they had."""


@dataclass(frozen=True)
class Switched:
    """Users may get it. ``partly``: only some of them, by a step of a rollout."""

    partly: bool = False


@dataclass(frozen=True)
class Incomplete:
    """A way back that is in service as far as gateways answer; ``problem`` says who did not."""

    problem: str


@dataclass(frozen=True)
class Failed:
    """It failed before the switch; users never got it."""

    fault: Fault
    problem: str


@dataclass(frozen=True)
class PutBack:
    """It failed after the switch; users get what they had before. ``problem`` may say more than ``why``."""

    why: GoesBack
    problem: str


@dataclass(frozen=True)
class CutOff:
    """An earlier run began it and was cut off. ``why`` it was going back already, if it was."""

    problem: str
    switched: bool
    why: GoesBack | None = None


Stage = Planned | Switched | Incomplete | Failed | PutBack | CutOff


def fault_of(error: PromobotError, *, judged: bool = False) -> Fault:
    """Return whose fault an error is; ``judged``: the step that raised it has judged the bytes, and blames them."""
    if judged or isinstance(error, NotAllowed):
        return Fault.DIGEST
    return Fault.LOST_BYTES if isinstance(error, OtherBytes) else Fault.ENVIRONMENT


def fault_of_load(error: PromobotError) -> Fault:
    """Return whose fault it is that a Triton does not load a version: it says so of the bytes, or it is away."""
    return Fault.DIGEST if isinstance(error, Rejected) and not isinstance(error, Denied) else Fault.ENVIRONMENT


def may_go_on(stage: Stage) -> bool:
    """Whether the next step is for it, too."""
    return isinstance(stage, Planned | Switched)


def fault(stage: Stage) -> Fault:
    """Return whose fault it is that a change did not come into service."""
    match stage:
        case Failed():
            return stage.fault
        case PutBack(why) | CutOff(why=GoesBack() as why):
            return Fault.DIGEST if why.to_blame else Fault.ENVIRONMENT
        case Planned() | Switched() | Incomplete() | CutOff():
            return Fault.NOBODY
        case _:
            assert_never(stage)


def why_back(stage: Stage) -> GoesBack | None:
    """Return why it goes back, or went; None while it goes forward."""
    return stage.why if isinstance(stage, PutBack | CutOff) else None


def problem_of(stage: Stage) -> str:
    """Return what went wrong, in the words of the step that saw it; empty where nothing did."""
    return "" if isinstance(stage, Planned | Switched) else stage.problem


def with_more_problems(stage: Stage, more: Iterable[str]) -> Stage:
    """Return the stage with what went wrong besides."""
    if isinstance(stage, Planned | Switched):
        return stage
    return replace(stage, problem="; ".join([stage.problem, *more]))


def should_quarantine(stage: Stage) -> bool:
    """Whether its digest goes into quarantine."""
    return fault(stage) is Fault.DIGEST


def git_must_follow(stage: Stage) -> bool:
    """Whether Git must follow by a revert: what failed does not go into service by trying again."""
    why = why_back(stage)
    return fault(stage) in (Fault.DIGEST, Fault.LOST_BYTES) or (why is not None and not why.retry)


def outcome(stage: Stage, criteria: Iterable[Criterion]) -> Outcome:
    """Decide the outcome from the stage and what was seen to hold."""
    match stage:
        case Incomplete():
            return "incomplete"
        case Planned() | Failed():
            return outcome_of(criteria, switched=False)
        case Switched(partly=True):
            found = outcome_of(criteria, switched=True)
            return "rolling out" if found in ("succeeded", "unconfirmed") else found
        case Switched() | PutBack():
            return outcome_of(criteria, switched=True)
        case CutOff():
            return outcome_of(criteria, switched=stage.switched)
        case _:
            assert_never(stage)
