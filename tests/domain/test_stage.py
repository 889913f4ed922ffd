"""What follows from the stage of a change: outcome, quarantine, revert. A table, and that no stage is left out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import pytest

from bot.domain.blame import GoesBack
from bot.domain.record import CRITERIA, Criterion, Outcome
from bot.domain.stage import (
    CutOff,
    Failed,
    Fault,
    Incomplete,
    Planned,
    PutBack,
    Stage,
    Switched,
    fault,
    fault_of,
    fault_of_load,
    git_must_follow,
    may_go_on,
    outcome,
    problem_of,
    should_quarantine,
    why_back,
    with_more_problems,
)
from bot.errors import (
    Denied,
    InvalidInput,
    NotAllowed,
    OtherBytes,
    PromobotError,
    Refused,
    Rejected,
    Unavailable,
    WrongAnswers,
)

TO_BLAME = GoesBack("answers wrong", to_blame=True, retry=False)
REFUSED = GoesBack("a gateway refuses", to_blame=False, retry=False)
SILENT = GoesBack("a gateway is silent", to_blame=False, retry=True)
ALL = tuple(Criterion(name=name, holds=True, at=datetime(2026, 1, 1, tzinfo=UTC), proof="") for name in CRITERIA)

ROWS: list[tuple[Stage, Fault, bool, bool, bool, Outcome]] = [
    # stage, whose fault, goes on, quarantine, Git follows, outcome with the first criterion alone
    (Planned(), Fault.NOBODY, True, False, False, "failed"),
    (Switched(), Fault.NOBODY, True, False, False, "put back"),
    (Incomplete("gateway-2 is away"), Fault.NOBODY, False, False, False, "incomplete"),
    (Failed(Fault.DIGEST, "no model"), Fault.DIGEST, False, True, True, "failed"),
    (Failed(Fault.LOST_BYTES, "other bytes"), Fault.LOST_BYTES, False, False, True, "failed"),
    (Failed(Fault.ENVIRONMENT, "is away"), Fault.ENVIRONMENT, False, False, False, "failed"),
    (PutBack(TO_BLAME, TO_BLAME.problem), Fault.DIGEST, False, True, True, "put back"),
    (PutBack(REFUSED, REFUSED.problem), Fault.ENVIRONMENT, False, False, True, "put back"),
    (PutBack(SILENT, SILENT.problem), Fault.ENVIRONMENT, False, False, False, "put back"),
    (CutOff("cut off", switched=False), Fault.NOBODY, False, False, False, "failed"),
    (CutOff("cut off", switched=True), Fault.NOBODY, False, False, False, "put back"),
    (CutOff("wrong", switched=True, why=TO_BLAME), Fault.DIGEST, False, True, True, "put back"),
    (CutOff("refused", switched=True, why=REFUSED), Fault.ENVIRONMENT, False, False, True, "put back"),
    (CutOff("silent", switched=True, why=SILENT), Fault.ENVIRONMENT, False, False, False, "put back"),
]


@pytest.mark.parametrize(("stage", "whose", "goes_on", "quarantine", "follows", "ends"), ROWS, ids=repr)
def test_what_follows_from_each_stage(
    stage: Stage, whose: Fault, goes_on: bool, quarantine: bool, follows: bool, ends: Outcome
) -> None:
    assert fault(stage) is whose
    assert may_go_on(stage) is goes_on
    assert should_quarantine(stage) is quarantine
    assert git_must_follow(stage) is follows
    assert outcome(stage, ALL[:1]) == ends


def test_every_stage_and_every_fault_has_a_row() -> None:
    assert {type(row[0]) for row in ROWS} == set(get_args(Stage))
    assert {row[1] for row in ROWS} == set(Fault)


def test_what_is_in_service_succeeded_when_all_of_it_was_seen() -> None:
    assert outcome(Switched(), ALL) == "succeeded"
    assert outcome(Switched(), ALL[:-1]) == "unconfirmed"
    assert outcome(Incomplete("gateway-2 is away"), ALL) == "incomplete", "nobody calls this done"


@pytest.mark.parametrize(
    ("error", "whose", "of_a_load"),
    [
        (NotAllowed("a pickle", system="package"), Fault.DIGEST, Fault.DIGEST),
        (WrongAnswers("0.2 instead of 0.1", system="Triton"), Fault.ENVIRONMENT, Fault.DIGEST),
        (OtherBytes("other bytes", system="MLflow"), Fault.LOST_BYTES, Fault.DIGEST),
        (Rejected("no such field", system="Triton"), Fault.ENVIRONMENT, Fault.DIGEST),
        (Denied("the key is wrong", system="Triton"), Fault.ENVIRONMENT, Fault.ENVIRONMENT),
        (Unavailable("is away", system="Triton"), Fault.ENVIRONMENT, Fault.ENVIRONMENT),
        (Refused("not now"), Fault.ENVIRONMENT, Fault.ENVIRONMENT),
        (InvalidInput("no number"), Fault.ENVIRONMENT, Fault.ENVIRONMENT),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, PromobotError) else value.name,
)
def test_whose_fault_an_error_is(error: PromobotError, whose: Fault, of_a_load: Fault) -> None:
    assert fault_of(error) is whose
    assert fault_of_load(error) is of_a_load
    assert fault_of(error, judged=True) is Fault.DIGEST


def test_problems_add_up_and_what_goes_well_has_none() -> None:
    back = with_more_problems(PutBack(REFUSED, REFUSED.problem), ["gateway-2 is not known to be back"])
    assert problem_of(back) == "a gateway refuses; gateway-2 is not known to be back"
    assert why_back(back) is REFUSED, "what the journal says of it stays"
    assert problem_of(with_more_problems(Switched(), ["gateway-2"])) == "" and why_back(Switched()) is None
