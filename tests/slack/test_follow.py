"""What is told while GitHub does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest

from bot import environment_files
from bot.domain.promotion import Bake, Progress
from bot.domain.record import Rollout
from bot.errors import Denied, OutsideError, Unavailable
from bot.platform import Platform
from bot.records.directory import RecordStore
from bot.records.ledger import Ledger, PolicyNote, RolloutNote
from bot.settings import RolloutRules
from bot.slack.blocks import promotion_message
from bot.slack.follow import Away, _away, _bake, _policy, _with_policy
from bot.systems.slack import Posted
from tests.domain.entries import a_record, entry
from tests.slack.test_messages import MERGED, OPEN

ROOT = Path(__file__).parents[2]

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


@pytest.fixture
def baking(tmp_path: Path) -> Iterator[Platform]:
    """An environment with records, where churn bakes."""
    RecordStore(tmp_path / "records").begin()
    rules = RolloutRules.model_validate({"bake": {"minutes": 30}})
    update = {"records": str(tmp_path / "records"), "records_bucket": None, "rollout": {"churn": rules}}
    with Platform(environment_files.load(ROOT, "dev").model_copy(update=update), {}) as platform:
        yield platform


def test_a_bake_is_told_by_the_notes_of_watch_until_the_message_says_that_it_is_over(baking: Platform) -> None:
    rollout = Rollout(id="dev-00000002-churn", percent=100, step=1, steps=(100,), began_at=AT)
    served = a_record(entry(2), number=2, at=AT, rollout=rollout)
    assert _bake(baking, None, served) == Bake(AT, is_over=False)
    assert _bake(baking, None, served.model_copy(update={"rollout": None})) is None, "nobody watches it"
    assert _bake(baking, None, served.model_copy(update={"model": "fraud"})) is None, "no rule has it watched"
    baking.ledger.note_rollout(RolloutNote(rollout=rollout.id, what="baked", at=AT, by="watch"))
    assert _bake(baking, Posted("1", {"baked": "dev-00000001-churn"}), served) == Bake(AT, is_over=True)
    told = Posted("1", {"baked": served.id})
    other = served.model_copy(update={"rollout": rollout.model_copy(update={"id": "dev-00000009-churn"})})
    assert _bake(baking, told, other) == Bake(AT, is_over=True), "the notes are not read again"


def test_what_broke_its_rules_and_stays_does_not_bake(baking: Platform) -> None:
    rollout = Rollout(id="dev-00000002-churn", percent=100, step=1, steps=(100,), began_at=AT)
    note = RolloutNote(rollout=rollout.id, what="breach", at=AT, by="watch", only_told="the settings say so")
    baking.ledger.note_rollout(note)
    assert _bake(baking, None, a_record(entry(2), number=2, at=AT, rollout=rollout)) is None


def test_what_a_policy_did_last_is_read_until_it_is_deployed_and_known_from_the_message_then(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.begin()
    ledger = Ledger(store, "dev")
    assert _policy(ledger, OPEN, [Progress("green")], None) == ""

    def note(what: Literal["asking", "on", "taken back"], minutes: int) -> None:
        at = AT + timedelta(minutes=minutes)
        ledger.note_policy(
            PolicyNote(pull_request=OPEN.number, head=OPEN.head, what=what, why=f"why: {what}", at=at, by="a/1")
        )

    note("asking", 1)
    note("on", 2)
    assert _policy(ledger, OPEN, [Progress("green")], Posted("1", {"policy": ""})) == "on: why: on"
    assert _with_policy(Progress("green"), "on: why: on") == Progress("green", merges_itself="why: on")
    note("taken back", 3)
    said = _policy(ledger, MERGED, [Progress("deploying")], None)
    assert _with_policy(Progress("green"), said) == Progress("green", no_longer="why: taken back")
    known = Posted("1", {"policy": "on: it was known"})
    assert _policy(ledger, MERGED, [Progress("served")], known) == "on: it was known"
    assert _with_policy(Progress("green"), "") == Progress("green")
