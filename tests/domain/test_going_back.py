"""Which changes of what is in service go back, and so put what they replace into quarantine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.desired import Change
from bot.domain.record import DeploymentRecord, Outcome, had_already, turn_of, undoes
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
        ([1, 2], 1, 2, False),  # the routes came out of a backup
        ([1, 2, 1], 2, 1, False),  # and here 2 is in quarantine since, or was lifted by a person
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


def test_routes_of_a_backup_are_told_from_a_decision() -> None:
    records = [deployed(1, 1), deployed(2, 2), deployed(3, 1)]
    assert had_already(records, change(2, 1)), "users had 1 by the last record"
    assert not had_already(records, change(1, 2)), "2 is a second try"
    assert not had_already(records[:1], change(2, 1)), "nobody knows 2: somebody goes back from it"
    assert not had_already([*records, deployed(4, 2, "rolling out")], change(2, 1)), "the canary is gone back from"
    assert not had_already([], change(None, 1))


def test_a_turn_is_read_from_the_name_of_its_record() -> None:
    assert turn_of("dev-00000012-churn", "dev") == 12
    assert turn_of("dev-eu-00000012-churn-shadow", "dev-eu") == 12
    assert turn_of("dev-churn", "dev") == 0
