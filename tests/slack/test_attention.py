"""What waits for somebody: one message, changed while it lasts, closed after it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot import environment_files
from bot.domain.desired import Change
from bot.domain.hold import Held, Hold
from bot.domain.users import Users
from bot.metrics import ServiceMetrics
from bot.operations.status import Difference, Status
from bot.platform import Platform
from bot.render.differences import is_held
from bot.settings import Environment
from bot.slack import attention
from bot.slack.attention import Drifted, Waiting, attend, message, what_waits
from tests.domain.entries import entry
from tests.slack.people import Office
from tests.slack.test_messages import assert_slack_takes_it

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


def test_a_hold_is_told_with_its_own_step() -> None:
    held = _held(None)
    assert what_waits(_status(held), now=NOW) == [Waiting(is_held(held), held.hold.next_step)]


def test_what_slack_did_not_take_waits_at_once() -> None:
    outbox = Difference("slack", "the message of dev-00000009-churn is in the outbox", "promobot deploy --env dev")
    other = Difference("alias", "MLflow's alias differs", "promobot reconcile --env dev")
    assert what_waits(_status(differences=(outbox, other)), now=NOW) == [Waiting(outbox.what, outbox.next_step)]


@pytest.mark.parametrize(("minutes", "waits"), [(59, False), (61, True)])
def test_a_deployment_that_takes_an_hour_was_cut_off_most_likely(minutes: int, waits: bool) -> None:
    unfinished = Difference("unfinished", "a deployment is under way since 03:09 UTC", "wait for its end; …")
    found = replace(_status(differences=(unfinished,)), underway_since=NOW - timedelta(minutes=minutes))
    assert what_waits(found, now=NOW) == [Waiting(unfinished.what, unfinished.next_step)] * waits


SILENT = Difference("silent", "Triton t1 does not answer", "promobot doctor --env dev")


def test_users_who_get_no_answer_are_told_at_the_next_look() -> None:
    down = replace(_status(differences=(SILENT,)), users=(Users("churn", 1, "DOWN", "1 of 1 Triton silent (t1)"),))
    assert what_waits(down, now=NOW) == [Waiting(SILENT.what, SILENT.next_step)]
    said = message(down, what_waits(down, now=NOW), Drifted.of(what_waits(down, now=NOW)), began=NOW, now=NOW)
    assert said.text.startswith("⚠️ dev: churn is DOWN")
    assert said.blocks[0]["text"]["text"].count("t1 does not answer") == 1, "the deep look found the same"
    assert "more" not in said.blocks[0]["text"]["text"]


def test_a_server_that_restarts_in_a_deployment_is_nobodys_alarm() -> None:
    down = replace(_status(differences=(SILENT,)), users=(Users("churn", 1, "degraded", "1 of 2 Tritons silent"),))
    assert what_waits(replace(down, underway_since=NOW - timedelta(minutes=5)), now=NOW) == []


DRIFTED = [Waiting("MLflow's alias churn@dev is 1, desired is 2", "promobot reconcile --env dev")]


def test_the_first_line_says_how_users_are_and_each_thing_what_to_type() -> None:
    began = NOW - timedelta(hours=1)
    said = message(_status(), [], Drifted.of(DRIFTED * 22), began=began, now=NOW)
    assert said.text == "⚠️ dev: OK. churn 1 answers. Waiting for you since 2026-11-30 03:10 UTC:"
    text = said.blocks[0]["text"]["text"]
    assert "• MLflow's alias churn@dev is 1, desired is 2\n   → promobot reconcile --env dev" in text
    assert "… and 7 more: `promobot drift --env dev`" in text
    over = message(_status(), [], Drifted(), began=began, now=NOW)
    assert over.text == (
        "✅ dev: OK. churn 1 answers. What waited from 2026-11-30 03:10 to 2026-11-30 04:10 UTC is over."
    )
    assert (said.key, said.facts["attention"], over.facts["attention"]) == (over.key, "open", "closed")


@pytest.mark.parametrize("text", ["x" * 5000, "→ <!channel> & " * 400, "\U0001f680" * 3000])
def test_slack_takes_it_when_much_is_wrong(text: str) -> None:
    wrong = [Waiting(f"{number} {text}", text) for number in range(100)]
    more = [Waiting(f"also {number} {text}", text) for number in range(100)]
    said = message(_status(), wrong, Drifted.of(more), began=NOW, now=NOW)
    assert_slack_takes_it(said.blocks)
    assert sum(len(str(value)) for value in said.facts.values()) < 7_000
    assert sum(len(block["text"]["text"]) for block in said.blocks) < 10_000
    assert "… and 185 more" in said.blocks[-1]["text"]["text"]


def _told(office: Office) -> list[dict[str, Any]]:
    return [one for one in office.channel() if "Waiting for you" in one["text"] or "What wait" in one["text"]]


METRICS = ServiceMetrics("slack")


def _attend(dev: Environment, *, deep: bool) -> bool:
    with Platform(dev) as platform:
        return attend(platform, deep=deep, metrics=METRICS)


def _monitored(name: str) -> dict[tuple[str, ...], float]:
    """Return what a monitor would read, by the values of the labels."""
    (family,) = (one for one in METRICS.collect() if one.name == f"promobot_{name}")
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


@pytest.mark.slow
def test_it_is_told_once_changed_while_it_lasts_and_closed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    world = office.world
    model = world.model()
    first = world.served(world.register(model))
    second = world.register(model, "better")
    before = len(_told(office))
    dev = environment_files.load(world.root, "dev")
    assert _attend(dev, deep=True) is False and len(_told(office)) == before

    # An alias that somebody moved is seen by a deep look only, and stays told at the looks between.
    world.move_alias(model, "dev", second.version)
    assert _attend(dev, deep=False) is False and len(_told(office)) == before
    assert _attend(dev, deep=True) is True and _attend(dev, deep=False) is True
    (told,) = _told(office)[before:]
    assert "MLflow's alias" in str(told["blocks"])
    assert _monitored("drift_differences") == {("dev",): 1} and _monitored("held_changes") == {("dev",): 0}

    # A change that is held for long joins it, in the same message.
    monkeypatch.setattr(attention, "WAITS_FROM", timedelta(0))
    world.desire(model, second.entry)
    assert _attend(dev, deep=False) is True
    assert _monitored("held_changes") == {("dev",): 1}
    (told,) = _told(office)[before:]
    assert "MLflow's alias" in str(told["blocks"]) and f"{model} 1 → 2 in dev is held" in str(told["blocks"])

    world.desire(model, first.entry)
    world.move_alias(model, "dev", first.version)
    assert _attend(dev, deep=True) is False
    (told,) = _told(office)[before:]
    assert told["text"].startswith("✅ dev: OK.") and " is over." in told["text"]
    assert _attend(dev, deep=True) is False and len(_told(office)) == before + 1, "nothing is begun anew"

    # Nobody is notified of a message that is changed: what is new after a day begins another.
    world.move_alias(model, "dev", second.version)
    assert _attend(dev, deep=True) is True
    monkeypatch.setattr(attention, "ANEW_AFTER", timedelta(0))
    world.desire(model, second.entry)
    assert _attend(dev, deep=False) is True
    *_, old, new = _told(office)[before:]
    assert old["text"].startswith("⏭️ dev: OK.") and f"{model} 1 → 2 in dev is held" in str(new["blocks"])
    assert _attend(dev, deep=False) is True
    assert len(_told(office)) == before + 3, "nothing is new in it"
