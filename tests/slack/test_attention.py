"""What waits for somebody: one message, changed while it lasts, closed after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot import settings
from bot.domain.desired import Change
from bot.domain.hold import Held, Hold
from bot.domain.users import Users
from bot.slack import attention
from bot.slack.attention import Waiting, attend, message, what_waits
from bot.verbs.status import Difference, Status
from tests.domain.entries import entry
from tests.slack.people import Office

NOW = datetime(2026, 11, 30, 4, 10, tzinfo=UTC)
CHANGE = Change("dev", "models", "churn", entry(1), entry(2))


def _held(since: datetime | None) -> Held:
    return Held(CHANGE, Hold("evidence", "its checks in #12 did not pass", "promobot recheck churn --env dev", since))


def _status(*held: Held, differences: tuple[Difference, ...] = ()) -> Status:
    users = (Users("churn", 1, "OK"),)
    return Status("dev", "c0ffee", 8, (), differences, users=users, held=held)


@pytest.mark.parametrize(
    ("since", "waits"),
    [(NOW - timedelta(minutes=59), False), (NOW - timedelta(minutes=61), True), (None, True)],
)
def test_a_hold_waits_for_somebody_after_an_hour(since: datetime | None, waits: bool) -> None:
    assert bool(what_waits(_status(_held(since)), now=NOW)) is waits


def test_what_slack_did_not_take_waits_at_once() -> None:
    outbox = Difference("slack", "the message of dev-00000009-churn is in the outbox", "promobot deploy --env dev")
    other = Difference("alias", "MLflow's alias differs", "promobot reconcile --env dev")
    assert what_waits(_status(differences=(outbox, other)), now=NOW) == [Waiting(outbox.what, outbox.next_step)]


def test_the_first_line_says_how_users_are_and_each_thing_what_to_type() -> None:
    began = NOW - timedelta(hours=1)
    waiting = [Waiting("MLflow's alias churn@dev is 1, desired is 2", "promobot reconcile --env dev")] * 22
    said = message(_status(), waiting, waiting, began=began, now=NOW)
    assert said.text == "⚠️ dev: OK. churn 1 answers. Something waits for you since 2026-11-30 03:10 UTC:"
    text = said.blocks[0]["text"]["text"]
    assert "• MLflow's alias churn@dev is 1, desired is 2\n   → promobot reconcile --env dev" in text
    assert "… and 2 more: `promobot drift --env dev`" in text
    over = message(_status(), [], [], began=began, now=NOW)
    assert over.text == (
        "✅ dev: OK. churn 1 answers. What waited from 2026-11-30 03:10 to 2026-11-30 04:10 UTC is over."
    )
    assert (said.key, said.facts["attention"], over.facts["attention"]) == (over.key, "open", "closed")


def _told(office: Office) -> list[dict[str, Any]]:
    return [one for one in office.channel() if "Something waits" in one["text"] or "What waited" in one["text"]]


@pytest.mark.slow
def test_it_is_told_once_changed_while_it_lasts_and_closed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    world = office.world
    model = world.model()
    first = world.served(world.register(model))
    second = world.register(model, "better")
    before = len(_told(office))
    dev = settings.load(world.root, "dev")
    assert attend(dev, deep=True) is False and len(_told(office)) == before

    # An alias that somebody moved is seen by a deep look only, and stays told at the looks between.
    world.move_alias(model, "dev", second.version)
    assert attend(dev, deep=False) is False and len(_told(office)) == before
    assert attend(dev, deep=True) is True and attend(dev, deep=False) is True
    (told,) = _told(office)[before:]
    assert "MLflow's alias" in str(told["blocks"])

    # A change that is held for long joins it, in the same message.
    monkeypatch.setattr(attention, "HELD_FOR", timedelta(0))
    world.desire(model, second.entry)
    assert attend(dev, deep=False) is True
    (told,) = _told(office)[before:]
    assert "MLflow's alias" in str(told["blocks"]) and f"{model} 1 → 2 in dev is held" in str(told["blocks"])

    world.desire(model, first.entry)
    world.move_alias(model, "dev", first.version)
    assert attend(dev, deep=True) is False
    (told,) = _told(office)[before:]
    assert told["text"].startswith("✅ dev: OK.") and " is over." in told["text"]
    assert attend(dev, deep=True) is False and len(_told(office)) == before + 1, "nothing is begun anew"
