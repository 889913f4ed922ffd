"""What is in quarantine after a history of events, and which release an event is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.quarantine import QuarantineEvent, beginning_with, quarantined_by
from bot.domain.release import Lane
from tests.domain.entries import release

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(version: int, *, hours: int = 0, lifted: bool = False, reason: str = "wrong answers") -> QuarantineEvent:
    put = QuarantineEvent.of(release(version), reason=reason, by="promobot", at=NOW + timedelta(hours=hours))
    return put.lifted_by("alex", reason="it was the network", at=put.at) if lifted else put


def test_the_newest_event_of_a_digest_decides_in_whatever_order_they_are_read() -> None:
    again = event(7, hours=2, reason="again")
    events = [event(8, hours=3, lifted=True), again, event(7), event(8), event(7, hours=1, lifted=True)]
    assert quarantined_by(events) == quarantined_by(reversed(events)) == {again.digest: again}


@given(st.lists(st.tuples(st.sampled_from([7, 8]), st.booleans()), max_size=8))
def test_what_was_lifted_last_is_out_and_everything_else_is_in(history: list[tuple[int, bool]]) -> None:
    last = dict(history)
    events = [event(version, hours=number, lifted=lifted) for number, (version, lifted) in enumerate(history)]
    assert {e.version for e in quarantined_by(events).values()} == {v for v, lifted in last.items() if not lifted}


def test_an_event_embeds_its_release_and_keeps_its_form() -> None:
    blamed = release(7, Lane.SHADOW)
    put = QuarantineEvent.of(blamed, reason="slow", by="promobot", at=NOW, deployment="dev-00000012-churn-shadow")
    read = QuarantineEvent.model_validate_json(put.model_dump_json())
    assert (read, read.release) == (put, blamed)
    lifted = read.lifted_by("alex", reason="it was the network", at=NOW)
    assert (lifted.release, lifted.lifted, lifted.by, lifted.deployment) == (blamed, True, "alex", put.deployment)


@pytest.mark.parametrize(
    ("deployment", "lane"),
    [("dev-00000012-churn-shadow", Lane.SHADOW), ("dev-00000012-churn", Lane.LIVE), (None, Lane.LIVE)],
)
def test_an_event_of_before_says_its_place_by_the_deployment_and_no_run(deployment: str | None, lane: Lane) -> None:
    old = {
        "environment": "dev",
        "model": "churn",
        "version": 7,
        "digest": release(7).digest,
        "lifted": False,
        "reason": "wrong answers",
        "by": "promobot deploy",
        "at": "2025-03-01T12:00:00Z",
    }
    read = QuarantineEvent.model_validate(old if deployment is None else {**old, "deployment": deployment})
    assert (read.release.slot.lane, read.release.version, read.release.run) == (lane, 7, "")


def test_the_beginning_of_a_digest_is_enough_and_nothing_begins_with_nothing() -> None:
    held = quarantined_by([event(0x1), event(0x2)])
    first, second = event(0x1).digest, event(0x2).digest
    assert [e.digest for e in beginning_with(first, held)] == [first]
    assert [e.digest for e in beginning_with(second.removeprefix("sha256:"), held)] == [second]
    assert sorted(e.digest for e in beginning_with("0000", held)) == [first, second]
    assert beginning_with("", held) == beginning_with("sha256:", held) == beginning_with("f", held) == []
