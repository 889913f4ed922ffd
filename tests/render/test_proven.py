"""How a pull request says that the way back was proven."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.proven import ProvenWay, WaysBackNote, proof_of
from bot.render.proven import ago, proven
from tests.domain.entries import entry

AT = datetime(2026, 12, 1, 6, 3, tzinfo=UTC)
NOW = AT + timedelta(minutes=23)


def note(place: str = "in service", wrong: str = "") -> WaysBackNote:
    way = {"model": "churn", "version": 6, "digest": entry(6).digest, "place": place, "wrong": wrong}
    return WaysBackNote(at=AT, ways=(ProvenWay.model_validate(way),))


def test_it_says_when_and_where() -> None:
    proof = proof_of(note(), "churn", entry(6), now=NOW)
    assert proof is not None
    assert proven(proof) == (
        "**Way back proven 23 min ago (2026-12-01 06:03 UTC):** version 6, in service, answered its golden requests "
        "on every Triton."
    )
    warm = proof_of(note("warm"), "churn", entry(6), now=NOW)
    assert warm is not None and "loaded beside the version in service" in proven(warm)


def test_what_answered_wrong_is_not_proven() -> None:
    proof = proof_of(note(wrong="triton-0 answers wrong"), "churn", entry(6), now=NOW)
    assert proof is not None and proven(proof).startswith("⚠️ **Way back not proven:** version 6 was asked 23 min ago")


@pytest.mark.parametrize(("model", "version"), [("churn", 7), ("fraud", 6)])
def test_another_version_proves_nothing(model: str, version: int) -> None:
    assert proof_of(note(), model, entry(version), now=NOW) is None
    assert proof_of(None, model, entry(version), now=NOW) is None
    assert proof_of(note(), model, None, now=NOW) is None


def test_other_bytes_under_its_number_prove_nothing() -> None:
    other = entry(6).model_copy(update={"digest": entry(7).digest})
    assert proof_of(note(), "churn", other, now=NOW) is None


@pytest.mark.parametrize(
    ("past", "said"),
    [
        (timedelta(seconds=5), "just now"),
        (timedelta(minutes=23), "23 min ago"),
        (timedelta(hours=30), "30 h ago"),
        (timedelta(days=3, hours=2), "3 days ago"),
    ],
)
def test_how_long_ago(past: timedelta, said: str) -> None:
    assert ago(past) == said
