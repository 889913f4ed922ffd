"""Which step of a rollout is due, and what a failure before a step ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.domain.blame import GoesBack
from bot.domain.desired import Change
from bot.domain.record import Rollout
from bot.domain.routes import Route, RouteTable
from bot.domain.stage import Failed, Fault, PutBack, Stage
from bot.operations.deployment.item import Item
from bot.operations.deployment.rollouts import Due, ended_by_failure, is_due, under_way
from tests.domain.entries import entry
from tests.domain.test_rollouts import BACK, BEGAN, FIRST, STEPS, divided, record, target

TEN, FIFTY = record(2), record(3, rollout=STEPS.at(50))


def test_the_step_that_is_under_way_is_the_newest_of_what_is_the_canary() -> None:
    assert under_way(divided(8, 50), [FIRST, TEN, FIFTY], "churn") == STEPS.at(50)
    failed = record(4, "failed", rollout=STEPS.at(100))
    assert under_way(divided(8, 50), [FIRST, TEN, FIFTY, failed], "churn") == STEPS.at(50)
    assert under_way(divided(9, 50), [FIRST, TEN, FIFTY], "churn") is None, "no record tells of this canary"
    assert under_way(divided(8).undivided(["churn"]), [FIRST, TEN, BACK], "churn") is None
    assert under_way(divided(8), [FIRST, TEN], "fraud") is None


@pytest.mark.parametrize(
    ("due", "expected"),
    [
        (Due("churn", STEPS.id, 50), True),
        (Due("churn", STEPS.id, 100), False),
        (Due("churn", STEPS.id, 10), False),
        (Due("churn", STEPS.id, 60), False),
        (Due("churn", "dev-00000001-churn", 50), False),
        (Due("fraud", STEPS.id, 50), False),
    ],
    ids=["the next", "one too far", "made already", "no step of it", "of another rollout", "of another model"],
)
def test_only_the_next_step_of_the_same_rollout_is_due(due: Due, expected: bool) -> None:
    assert is_due(due, divided(8, 10), [FIRST, TEN]) == expected


def test_a_step_is_due_once() -> None:
    assert not is_due(Due("churn", STEPS.id, 50), divided(8, 50), [FIRST, TEN, FIFTY])
    assert is_due(Due("churn", STEPS.id, 100), divided(8, 50), [FIRST, TEN, FIFTY])
    assert not is_due(Due("churn", STEPS.id, 50), divided(8).undivided(["churn"]), [FIRST, TEN, BACK])


def item(stage: Stage, rollout: Rollout | None = STEPS) -> Item:
    change = Change("dev", "models", "churn", entry(7), entry(8))
    return Item(change, "dev-00000003-churn", BEGAN, stage=stage, target=target(8), rollout=rollout)


@pytest.mark.parametrize(
    ("fault", "blamed"), [(Fault.DIGEST, True), (Fault.LOST_BYTES, False)], ids=lambda value: str(value)
)
def test_a_canary_whose_bytes_fail_a_step_is_put_back(fault: Fault, blamed: bool) -> None:
    (ended,) = ended_by_failure([item(Failed(fault, "0.9 instead of 0.1"))], divided(8))
    assert ended.stage == PutBack(GoesBack("0.9 instead of 0.1", blamed, retry=False), "0.9 instead of 0.1")


def test_what_failed_around_a_step_or_without_a_canary_ends_nothing() -> None:
    assert ended_by_failure([item(Failed(Fault.ENVIRONMENT, "a gateway is away"))], divided(8)) == []
    assert ended_by_failure([item(Failed(Fault.DIGEST, "wrong"))], divided(8).undivided(["churn"])) == []
    assert ended_by_failure([item(Failed(Fault.DIGEST, "wrong"))], divided(9)) == [], "another one is the canary"


def test_a_step_divides_and_the_last_one_does_not() -> None:
    before = Route(target(7), target(3))
    at_ten = item(Failed(Fault.ENVIRONMENT, "")).placed_in(before)
    assert at_ten.canary is not None
    assert (at_ten.live, at_ten.shadow, at_ten.canary.percent) == (target(7), target(3), 10)
    assert at_ten.canary.salt == entry(8).digest, "another release picks other users"
    whole = replace(item(Failed(Fault.ENVIRONMENT, "")), rollout=STEPS.at(100)).placed_in(at_ten)
    assert whole == Route(target(8), target(3))


def test_a_repair_leaves_the_canary_beside_it() -> None:
    route = divided(8).route("churn")
    renamed = replace(target(7), triton_model="churn.1a2b3c4d")
    change = Change("dev", "models", "churn", entry(7), entry(7))
    repaired = Item(change, "dev-00000003-churn", BEGAN, target=renamed, publishes_again=True).placed_in(route)
    assert repaired == replace(route, live=renamed)


def test_a_part_that_is_the_same_has_no_canary() -> None:
    table = RouteTable("dev", 1, {"churn": Route(target(8))})
    assert item(Failed(Fault.ENVIRONMENT, "")).placed_in(table.route("churn")) == Route(target(8))
