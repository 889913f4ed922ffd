"""What a pull request says after its merge: true for whoever reads it, now or in a year."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.domain.desired import Change
from bot.domain.ending import Ending, ending_of
from bot.domain.hold import Hold
from bot.domain.record import Outcome
from bot.render.ending import comment, headline, marker
from tests.domain.entries import a_record, entry

AT = datetime(2026, 11, 30, 3, 2, tzinfo=UTC)
HOLD = Hold("evidence", "its checks in #12 did not pass", "`promobot recheck churn --env dev`", AT)


def _record(outcome: Outcome, **more: Any) -> Any:
    served = {"succeeded": 2, "unconfirmed": 2, "incomplete": 2}.get(outcome, 1)
    said = {"before": entry(1), "outcome": outcome, "serving": entry(served), "id": "dev-00000002-churn", **more}
    return a_record(entry(2), at=AT, **said)


CHANGE = Change("dev", "models", "churn", entry(1), entry(2))


def _end(outcome: Outcome, **more: Any) -> Ending:
    return Ending(CHANGE, _record(outcome, **more))


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
    said = _read(comment("dev", [_end(outcome, problem="gateway-2 refused")]))
    unseen, ended, *_ = said.splitlines()
    assert (unseen, ended) == (marker("dev"), first)
    assert "`promobot history show dev-00000002-churn --env dev`" in said


def test_a_rollback_that_failed_is_told_as_one() -> None:
    said = _read(comment("dev", [_end("put back", way_back=True)]))
    assert said.splitlines()[1] == (
        "❌ **The rollback to churn 2 in dev failed at 2026-11-30 03:02 UTC: version 1 answered after it.**"
    )


def test_what_is_held_says_why_since_when_and_what_to_do() -> None:
    said = _read(comment("dev", [Ending(CHANGE, hold=HOLD)]))
    assert said.splitlines()[1] == (
        "✋ **churn 1 → 2 in dev was merged and held since 2026-11-30 03:02 UTC; version 1 went on answering.**"
    )
    assert "Why: its checks in #12 did not pass." in said and "`promobot recheck churn --env dev`" in said


def test_of_many_what_went_wrong_comes_first_and_the_rest_is_counted() -> None:
    well = [_end("succeeded", model=f"m{n}", id=f"dev-2-m{n}") for n in range(30)]
    said = comment("dev", [*well, _end("failed", finished_at=AT + timedelta(minutes=1))])
    assert said.splitlines()[1].startswith("❌ **churn 2 failed before the switch")
    assert "… and 11 more: `promobot history --env dev`" in said


def test_the_head_of_the_text_says_the_worst_and_how_many_more_there_are() -> None:
    ends = [_end("succeeded"), _end("put back"), Ending(CHANGE, hold=HOLD)]
    unseen, first = _read(headline("dev", ends)).splitlines()
    assert unseen == marker("dev") and first.startswith("✋ **churn 1 → 2 in dev was merged and held since ")
    assert first.endswith("version 1 went on answering.** And 2 more.")
    _, alone = _read(headline("dev", [_end("put back")])).splitlines()
    assert alone == "↩️ **churn 2 was put back in dev at 2026-11-30 03:02 UTC: version 1 answered after it.**"


def _first_line(end: Ending | None) -> str:
    assert end is not None
    return _read(headline("dev", [end])).splitlines()[1]


def _ending(*records: Any, hold: Hold | None = None, merged: int = 0, next_merge: int | None = None) -> Ending | None:
    at = None if next_merge is None else AT + timedelta(minutes=next_merge)
    return ending_of(CHANGE, records, hold=hold, merged_at=AT + timedelta(minutes=merged), next_merge=at)


def _at(minutes: int, after: int, before: int, **more: Any) -> Any:
    at = AT + timedelta(minutes=minutes)
    return a_record(entry(after), at=at, number=minutes, before=entry(before), serving=entry(after), **more)


def test_what_was_rolled_back_since_was_in_service_whatever_holds_it_now() -> None:
    released, undone = _at(1, 2, 1), _at(5, 1, 2, way_back=True)
    went = (
        "↩️ **churn 2 went into service in dev at 2026-11-30 03:03 UTC (before: 1), and was rolled back at 2026-11-30"
    )
    assert _first_line(_ending(released, undone)) == f"{went} 03:07 UTC: version 1 answered after it.**"
    end = _ending(released, undone, hold=HOLD)
    assert _first_line(end).endswith("version 1 answered after it.** Held since 2026-11-30 03:02 UTC.")
    assert end is not None and "Why: its checks in #12 did not pass." in _read(comment("dev", [end])), (
        "and what holds it"
    )


def test_what_was_put_back_and_is_held_since_keeps_its_cause() -> None:
    said = _read(comment("dev", [Ending(CHANGE, _record("put back", problem="gateway-2 refused"), hold=HOLD)]))
    assert said.splitlines()[1].startswith("↩️ **churn 2 was put back in dev at ") and "Held since" in said
    assert "gateway-2 refused" in said and "Why: its checks in #12 did not pass." in said


def test_a_deployment_after_the_next_merge_is_not_told_to_the_one_before() -> None:
    # As #8 was told of a rollback that overtook #9: both make main say 2.
    assert _ending(_at(9, 2, 5), next_merge=4) is None
    assert _first_line(_ending(_at(3, 2, 5), next_merge=4)).startswith("✅ **churn 2 went into service in dev at")
    assert _ending(_at(1, 2, 1), merged=2) is None, "before the merge it was another one's"


def test_a_merge_after_which_there_was_nothing_to_deploy_says_so() -> None:
    said = _first_line(Ending(CHANGE, merged_at=AT))
    assert said == (
        "✅ **churn 2 answered in dev already when this was merged at 2026-11-30 03:02 UTC: nothing was deployed.**"
    )


def test_a_shadow_does_not_go_into_service() -> None:
    shadow = Change("dev", "shadow", "churn", None, entry(2))
    said = _first_line(Ending(shadow, _record("succeeded", section="shadow", before=None)))
    assert said == (
        "✅ **churn 2 went to dev's shadow path at 2026-11-30 03:02 UTC, where it answers nobody; "
        "all six criteria held.**"
    )
