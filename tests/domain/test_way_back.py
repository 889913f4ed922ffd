"""A rollback whose pull request is still to be opened."""

from __future__ import annotations

from datetime import UTC, datetime

from bot.domain.way_back import WayBack, latest
from tests.domain.entries import entry


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
