"""A rollback whose pull request is still to be opened."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bot.domain.desired import Entry
from bot.domain.way_back import WayBack, choose, decided_since, latest, may_wait
from bot.errors import PromobotError, Refused, Unavailable
from tests.domain.entries import a_record, entry


def _way(turn: int = 7, *, model: str = "churn", commit: str = "") -> WayBack:
    return WayBack(
        environment="dev",
        model=model,
        turn=turn,
        commit=commit,
        left=entry(2),
        target=entry(1),
        reason="slow",
        by="sam",
        at=datetime(2026, 11, 29, tzinfo=UTC),
    )


def test_of_two_the_later_turn_counts() -> None:
    ways = [_way(8), _way(12), _way(9), _way(3, model="fraud")]
    assert {model: way.turn for model, way in latest(ways).items()} == {"churn": 12, "fraud": 3}


def test_main_that_changed_since_was_decided_anew() -> None:
    known, unknown = _way(commit="a" * 40), _way()
    assert not known.is_overtaken(entry(2), was_verified=True), "it still says what the rollback left"
    assert all(known.is_overtaken(wanted, was_verified=False) for wanted in (entry(3), None, entry(1)))
    assert not unknown.is_overtaken(entry(3), was_verified=False), "it may have said so all along"
    assert unknown.is_overtaken(entry(4), was_verified=True), "somebody merged another way back"
    assert not unknown.is_overtaken(entry(2), was_verified=True)


def test_it_reads_what_it_wrote() -> None:
    assert WayBack.model_validate_json(_way().model_dump_json()) == _way()
    assert _way().name == "00000007-churn"


@pytest.mark.parametrize(
    ("leaves", "quarantined", "to_version", "chosen"),
    [
        (entry(3), set(), None, 2),
        (entry(3), {entry(2).digest}, None, 1),
        (entry(3), set(), 1, 1),
        (entry(3), set(), 3, None),
        (entry(3), {entry(1).digest}, 1, None),
        (entry(3), set(), 9, None),
        (entry(9), set(), None, 3),
        (None, set(), None, 3),
        (None, {entry(one).digest for one in (1, 2, 3)}, None, None),
    ],
)
def test_it_goes_to_the_newest_verified_one_that_is_neither_left_nor_in_quarantine(
    leaves: Entry | None, quarantined: set[str], to_version: int | None, chosen: int | None
) -> None:
    found = choose([entry(3), entry(2), entry(1)], leaves=leaves, quarantined=quarantined, to_version=to_version)
    assert (found.version if found else None) == chosen


@pytest.mark.parametrize(
    ("error", "main_is_known", "is_noted", "waits"),
    [
        (Unavailable("away", system="GitHub"), True, True, True),
        (Unavailable("away", system="GitHub"), False, True, True),
        (Unavailable("away", system="GitHub"), True, False, False),
        (Refused("a person's commit"), True, True, False),
        (Refused("a person's commit"), False, True, True),
        (Refused("a person's commit"), False, False, False),
    ],
)
def test_a_revert_waits_only_if_it_is_noted_and_nobody_refused_it(
    error: PromobotError, main_is_known: bool, is_noted: bool, waits: bool
) -> None:
    assert may_wait(error, main_is_known=main_is_known, is_noted=is_noted) is waits


def test_a_note_of_a_backup_is_not_followed_past_what_came_since() -> None:
    way, at = _way(7), datetime(2026, 11, 29, tzinfo=UTC)
    later = a_record(entry(3), number=9, at=at)
    assert decided_since(way, [later])
    assert not decided_since(way, [a_record(entry(2), number=6, at=at)]), "that is what it left"
    assert not decided_since(way, [a_record(entry(1), number=7, at=at), a_record(entry(1), number=8, at=at)])
    assert not decided_since(way, [a_record(entry(3), number=9, at=at, outcome="put back")])
    assert not decided_since(way, [a_record(entry(3), number=9, at=at, model="fraud")])
