"""What is told while GitHub does not answer."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bot.domain.promotion import Progress
from bot.errors import Denied, OutsideError, Unavailable
from bot.slack.blocks import promotion_message
from bot.slack.follow import Away, _away
from bot.systems.slack import Posted
from tests.slack.test_messages import OPEN

AT = datetime(2026, 11, 30, 3, 2, tzinfo=UTC)
GONE = Unavailable("no connection", system="GitHub (acme/models)")


def test_since_when_github_is_away_is_kept_in_the_messages() -> None:
    before = datetime.now(UTC)
    first = _away({"dev/#1": Posted("1", {})}, GONE)
    assert before <= first.since <= datetime.now(UTC)
    told = {"dev/#1": Posted("1", {"github_away": AT.isoformat()}), "dev/#2": Posted("2", {})}
    assert _away(told, GONE) == Away(AT, refuses=False)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (GONE, "GitHub does not answer since 2026-11-30 03:02 UTC."),
        (Denied("401", system="GitHub (acme/models)"), "GitHub refuses the bot since 2026-11-30 03:02 UTC."),
    ],
)
def test_the_first_line_says_that_github_may_know_more(error: OutsideError, said: str) -> None:
    away = _away({"dev/#1": Posted("1", {"github_away": AT.isoformat()})}, error)
    message = promotion_message(OPEN, Progress("merged"), way_back=None, unsure=away.said)
    assert message.text.endswith(f"merged; waiting for the deployment (#{OPEN.number}). {said}")
    assert message.blocks[0]["text"]["text"].splitlines()[0].endswith(f"merged; waiting for the deployment. {said}")
