"""Which changes of what is in service go back, and so put what they replace into quarantine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.desired import Change
from bot.domain.record import DeploymentRecord, Outcome, undoes
from tests.domain.entries import a_record, entry

START = datetime(2026, 1, 1, tzinfo=UTC)


def deployed(number: int, version: int, outcome: Outcome = "succeeded", model: str = "churn") -> DeploymentRecord:
    at = START + timedelta(minutes=number)
    return a_record(entry(version), number=number, at=at, outcome=outcome, model=model)


def change(before: int | None, after: int | None) -> Change:
    return Change("dev", "models", "churn", entry(before) if before else None, entry(after) if after else None)


@pytest.mark.parametrize(
    ("versions", "before", "after", "back"),
    [
        ([1, 2], 2, 1, True),  # the usual rollback
        ([1, 2, 3], 3, 1, True),  # further back
        ([1, 2], 2, 3, False),  # something new
        ([1, 2, 1], 1, 2, False),  # what was rolled back, a second time: 1 stays free to go back to
        ([1, 2, 1, 2], 2, 1, True),  # and back once more
        ([2, 1], 1, 2, True),  # the order of service counts, not the number
        ([1], 2, 1, True),  # what is in service was never verified
        ([1], None, 1, False),
        ([1], 1, None, False),
    ],
)
def test_what_goes_back(versions: list[int], before: int | None, after: int | None, back: bool) -> None:
    records = [deployed(number, version) for number, version in enumerate(versions)]
    assert undoes(records, change(before, after)) is back


def test_what_was_never_verified_here_does_not_count() -> None:
    assert not undoes([deployed(1, 1, "put back"), deployed(2, 2)], change(2, 1))
    assert not undoes([deployed(1, 1, model="other"), deployed(2, 2)], change(2, 1))
