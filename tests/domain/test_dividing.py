"""Dividing requests: the share that a step says, the same users in every process, and none that moves back."""

from __future__ import annotations

from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.dividing import POINTS, is_canary, point
from bot.domain.routes import Canary, Target

DIGEST = "sha256:" + "1" * 64
KEYS = [b"user-%d" % number for number in range(100_000)]
STEPS = (1, 5, 10, 25, 50, 99)


def at(percent: int, salt: str = DIGEST) -> Canary:
    return Canary(Target("churn", 8, DIGEST), percent, "x-user-id", salt)


@pytest.mark.parametrize("salt", [DIGEST, "sha256:" + "2" * 64, ""])
def test_a_step_takes_its_share_of_100_000_keys_and_no_key_moves_back(salt: str) -> None:
    before: set[bytes] = set()
    for percent in STEPS:
        canary = at(percent, salt)
        taken = {key for key in KEYS if is_canary(canary, key)}
        share = percent / 100
        assert abs(len(taken) - share * len(KEYS)) <= 3 * sqrt(len(KEYS) * share * (1 - share)), percent
        assert before <= taken, percent
        before = taken


def test_another_release_picks_other_users() -> None:
    """Of the first tenth of one release a tenth is in the first tenth of the next, as chance has it."""
    first, second = at(10), at(10, "sha256:" + "2" * 64)
    taken = [key for key in KEYS if is_canary(first, key)]
    again = sum(is_canary(second, key) for key in taken)
    assert abs(again - len(taken) / 10) <= 3 * sqrt(len(taken) * 0.1 * 0.9)


def test_the_points_are_spread_evenly() -> None:
    """A chi-squared test over 100 groups: 99 degrees of freedom, and 160 is beyond the 99.99th percentile."""
    counts = [0] * 100
    for key in KEYS:
        counts[point(DIGEST, key) * 100 // POINTS] += 1
    expected = len(KEYS) / 100
    assert sum((count - expected) ** 2 / expected for count in counts) < 160


def test_points_are_what_they_were() -> None:
    """Gateways of two releases of the bot run side by side, and must agree: these numbers never change."""
    points = [point(DIGEST, key) for key in (b"", b"alex", b"user-1", "사용자".encode())]
    assert points == [650, 4922, 4848, 8444]


@given(st.text(), st.binary(max_size=200), st.integers(1, 98))
def test_whoever_a_canary_answers_it_answers_at_the_next_percent(salt: str, key: bytes, percent: int) -> None:
    assert not is_canary(at(percent, salt), key) or is_canary(at(percent + 1, salt), key)
    assert 0 <= point(salt, key) < POINTS
