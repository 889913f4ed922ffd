"""What a pull request says after its merge: true for whoever reads it, now or in a year."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.domain.desired import Change
from bot.domain.hold import Held, Hold
from bot.domain.record import Outcome
from bot.render.ending import comment, headline, marker
from tests.domain.entries import a_record, entry

AT = datetime(2026, 11, 30, 3, 2, tzinfo=UTC)
HOLD = Hold("evidence", "its checks in #12 did not pass", "`promobot recheck churn --env dev`", AT)


def _record(outcome: Outcome, **more: Any) -> Any:
    served = {"succeeded": 2, "unconfirmed": 2, "incomplete": 2}.get(outcome, 1)
    said = {"before": entry(1), "outcome": outcome, "serving": entry(served), "id": "dev-00000002-churn", **more}
    return a_record(entry(2), at=AT, **said)


def _read(markdown: str) -> str:
    """Return it as GitHub shows it."""
    return markdown.replace("\\", "").replace("\u200b", "")


@pytest.mark.parametrize(
    ("outcome", "first"),
    [
        (
            "succeeded",
            "✅ **churn 2 went into service in dev at 2026-11-30 03:02 UTC (before: 1); all six criteria held.**",
        ),
        (
            "unconfirmed",
            "✅ **churn 2 went into service in dev at 2026-11-30 03:02 UTC (before: 1); "
            "Slack had not taken the message yet.**",
        ),
        ("put back", "↩️ **churn 2 was put back in dev at 2026-11-30 03:02 UTC: version 1 answered after it.**"),
        (
            "failed",
            "❌ **churn 2 failed before the switch in dev at 2026-11-30 03:02 UTC: version 1 stayed in service.**",
        ),
    ],
)
def test_it_says_first_how_it_ended(outcome: Outcome, first: str) -> None:
    said = _read(comment("dev", [_record(outcome, problem="gateway-2 refused")], []))
    unseen, ended, *_ = said.splitlines()
    assert (unseen, ended) == (marker("dev"), first)
    assert "`promobot history show dev-00000002-churn --env dev`" in said


def test_a_rollback_that_failed_is_told_as_one() -> None:
    said = _read(comment("dev", [_record("put back", way_back=True)], []))
    assert said.splitlines()[1] == (
        "❌ **The rollback to churn 2 in dev failed at 2026-11-30 03:02 UTC: version 1 answered after it.**"
    )


def test_what_is_held_says_why_since_when_and_what_to_do() -> None:
    held = Held(Change("dev", "models", "churn", entry(1), entry(2)), HOLD)
    said = _read(comment("dev", [], [held]))
    assert said.splitlines()[1] == (
        "✋ **churn 1 → 2 in dev was merged and held since 2026-11-30 03:02 UTC; version 1 went on answering.**"
    )
    assert "Why: its checks in #12 did not pass." in said and "`promobot recheck churn --env dev`" in said


def test_of_many_what_went_wrong_comes_first_and_the_rest_is_counted() -> None:
    well = [_record("succeeded", model=f"m{n}", id=f"dev-2-m{n}") for n in range(30)]
    said = comment("dev", [*well, _record("failed", finished_at=AT + timedelta(minutes=1))], [])
    assert said.splitlines()[1].startswith("❌ **churn 2 failed before the switch")
    assert "… and 11 more: `promobot history --env dev`" in said


def test_the_head_of_the_text_says_the_worst_and_how_many_more_there_are() -> None:
    held = Held(Change("dev", "models", "churn", entry(1), entry(2)), HOLD)
    unseen, first = _read(headline("dev", [_record("succeeded"), _record("put back")], [held])).splitlines()
    assert unseen == marker("dev") and first.startswith("✋ **churn 1 → 2 in dev was merged and held since ")
    assert first.endswith("version 1 went on answering.** And 2 more.")
    _, alone = _read(headline("dev", [_record("put back")], [])).splitlines()
    assert alone == "↩️ **churn 2 was put back in dev at 2026-11-30 03:02 UTC: version 1 answered after it.**"
