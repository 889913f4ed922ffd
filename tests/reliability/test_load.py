"""A sample of switches under load; the whole is ``python -m tests.reliability.load --switches 200``."""

from __future__ import annotations

import argparse

import pytest

from tests.operations.world import World
from tests.reliability import load
from tests.reliability.load import InService, judge
from tests.reliability.users import Asked, golden


@pytest.mark.slow
def test_a_sample_of_switches_under_load(world: World) -> None:
    # A rate is no matter of right or wrong here: the machine may do much else.
    for outcome in load.run(world, argparse.Namespace(switches=2, rate=1)):
        assert outcome.problems == [], outcome


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_hundred_switches_under_load(world: World) -> None:
    for outcome in load.run(world, argparse.Namespace(switches=200, rate=100)):
        assert outcome.problems == [], outcome


def test_what_counts_as_wrong() -> None:
    recipes = {1: "first", 2: "better"}
    spans = [InService(1, 0, 11), InService(2, 10, 100)]
    first, better = golden("first"), golden("better")

    def of(started: float, version: int | None, answer: tuple[float, ...] = (), problem: str = "") -> Asked:
        return Asked(started, started + 0.5, 0, version, answer, problem)

    right = [of(5, 1, first), of(9.7, 2, better), of(10.5, 1, first), of(10.5, 2, better), of(50, 2, better)]
    assert all(not found for found in judge(right, spans, recipes).values())
    wrong = [of(9, 2, better), of(11.1, 1, first), of(50, 3, first), of(50, 2, first), of(50, None, (), "HTTP 503")]
    assert {kind: len(found) for kind, found in judge(wrong, spans, recipes).items()} == {
        "failed": 1,
        "not in service": 3,
        "not golden": 1,
    }
