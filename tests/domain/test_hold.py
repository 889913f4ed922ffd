"""Since when a change is held: not before main asked for it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bot.domain.hold import Hold
from bot.domain.release import Slot
from bot.domain.scope import asks_for

EARLY, LATE = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cause", "asked", "since"),
    [(EARLY, LATE, LATE), (LATE, EARLY, LATE), (None, LATE, LATE), (LATE, None, None), (None, None, None)],
)
def test_it_is_held_since_both_are_true(
    cause: datetime | None, asked: datetime | None, since: datetime | None
) -> None:
    assert Hold("freeze", "why", "wait", cause).no_earlier_than(asked).since == since


@pytest.mark.parametrize(
    ("branch", "asks"),
    [
        ("promobot/dev/churn", True),
        ("promobot-revert/dev/churn", True),
        ("promobot-retire/dev/churn", True),
        ("revert-12-promobot/dev/churn", True),
        ("promobot/prod/churn", False),
        ("promobot/dev/churn2", False),
        ("promobot-revert/dev/churn-shadow", False),
        ("churn", False),
    ],
)
def test_which_branches_ask_for_an_entry(branch: str, asks: bool) -> None:
    assert asks_for(branch, Slot.of("dev", "churn", "models")) is asks


def test_of_a_change_that_nobody_saw_merged_only_its_own_quarantine_says_since_when() -> None:
    assert Hold("quarantine", "why", "revert", EARLY).no_earlier_than(None).since == EARLY
    assert Hold("evidence", "why", "recheck", EARLY).no_earlier_than(None).since is None
