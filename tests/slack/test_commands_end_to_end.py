"""Slash commands, as Slack sends them: what is told, what is opened, what all can see."""

from __future__ import annotations

import pytest

from bot.records.ledger import RolloutNote
from bot.render import markdown
from bot.render.ending import marker
from tests.operations.test_cases import case_of, write
from tests.operations.world import wait_until
from tests.slack.people import ALEX, CHANNEL, KIM, SAM, Office


def test_promote_opens_the_pull_request_and_its_message(office: Office) -> None:
    world = office.world
    model = world.model()
    first = world.register(model)
    sent = office.types(ALEX, f"/promote {model} {first.version} dev")
    assert (sent.status, "On it" in sent.said) == (200, True)
    assert "proposes" in sent.answer()
    (pull,) = world.open_pulls(f"promobot/dev/{model}")
    assert f"<!-- promobot:requested-by {ALEX} -->" in pull["body"]
    message = office.stands(pull["number"], "its checks run")
    assert "<@U0ALEX>" in str(message["blocks"])
    link = f"/archives/{CHANNEL}/p{message['ts'].replace('.', '')}"
    wait_until(lambda: [body for body in world.comments(pull["number"]) if link in body])


def test_who_may_only_look_changes_nothing(office: Office) -> None:
    world = office.world
    model = world.model()
    first = world.register(model)
    assert "You may not propose" in office.types(KIM, f"/promote {model} {first.version} dev").answer()
    assert "You may not roll it back" in office.types(KIM, f"/rollback {model} dev").answer()
    assert world.open_pulls(f"promobot/dev/{model}") == []
    assert "nothing is desired" in office.types(KIM, f"/promotions dev {model}").answer()


def _end(office: Office, number: int) -> str:
    """Return the one comment that says what became of a pull request."""
    (body,) = [body for body in office.world.comments(number) if body.startswith(marker("dev"))]
    return body


@pytest.mark.slow
def test_the_message_says_since_when_it_bakes_and_that_it_is_baked(office: Office) -> None:
    world = office.world
    model = world.model()
    world.configure("dev", rollout={model: {"bake": {"minutes": 30}}})
    first = world.register(model)
    office.types(ALEX, f"/promote {model} {first.version} dev").answer()
    (pull,) = world.open_pulls(f"promobot/dev/{model}")
    assert [said.code for said in world.check(pull["number"])] == [0, 0, 0, 0]
    world.merge(pull["number"])
    assert world.deploy().code == 0
    (record,) = world.records(model)
    since = f"{record.finished_at:%Y-%m-%d %H:%M} UTC"
    message = office.stands(pull["number"], f"1 is served; bakes since {since}")
    assert "⏳ baked" in str(message["blocks"])
    assert record.rollout is not None
    world.ledger().note_rollout(RolloutNote(rollout=record.rollout.id, what="baked", at=record.finished_at, by="w"))
    message = office.stands(pull["number"], "1 is served; baked")
    assert "✅ baked" in str(message["blocks"])


@pytest.mark.slow
def test_from_proposal_to_rollback_in_one_thread(office: Office) -> None:
    world = office.world
    model = world.model()
    first, second = world.register(model), world.register(model, "better")
    world.served(first)
    office.types(ALEX, f"/promote {model} {second.version} dev").answer()
    (pull,) = world.open_pulls(f"promobot/dev/{model}")
    number = pull["number"]
    message = office.stands(number, "its checks run")
    table = next(block for block in message["blocks"] if block["type"] == "table")
    assert [cell["text"] for cell in table["rows"][0]] == ["metric", "proposed", "in service", "change"]
    assert any(cell["text"].startswith("+0.0") for row in table["rows"] for cell in row)

    # Nobody approves or merges their own; nobody merges what is not checked.
    assert "asked for by you" in office.presses(ALEX, "promobot_approve", message).answer()
    value = message["blocks"][-1]["elements"][1]["value"]
    assert "asked for by you" in office.sends_button(ALEX, "promobot_merge", value).answer()
    assert "may not approve or merge" in office.sends_button(KIM, "promobot_merge", value).answer()
    assert "have not passed" in office.sends_button(SAM, "promobot_merge", value).answer()
    assert world.pull(number)["state"] == "open"

    for said in world.check(number):
        assert said.code == 0, said
    message = office.stands(number, "its checks passed")
    assert "You approved" in office.presses(SAM, "promobot_approve", message).answer()
    assert [body for body in world.comments(number) if "Approved by sam from Slack" in body]
    assert "You merged" in office.presses(SAM, "promobot_merge", message).answer()
    assert world.pull(number)["merged"]
    assert "merged already" in office.presses(SAM, "promobot_merge", message).answer()
    office.stands(number, "merged; waiting")
    # What a deployment would refuse is held, as long as it would.
    ledger = world.ledger()
    ledger.put_in_quarantine(second.release(), reason="nonsense", by="alex")
    message = office.stands(number, "merged, and held since")
    assert "in quarantine here since" in str(message["blocks"]) and "*What to do:* merge the revert" in str(
        message["blocks"]
    )
    assert world.deploy().code == 1
    shown = markdown.escape(model)
    assert f"✋ **{shown} 1 → 2 in dev was merged and held since " in _end(office, number)
    for revert in world.reverts(model):
        office.stands(revert["number"], "its checks run")
        world.api("PATCH", f"/pulls/{revert['number']}", {"state": "closed"})
    ledger.lift_quarantine(ledger.quarantined()[second.digest], reason="it was not", by="alex")
    office.stands(number, "merged; waiting")
    assert world.deploy().code == 0
    ended = _end(office, number)
    assert f"✅ **{shown} 2 went into service in dev at " in ended and "held since" not in ended
    assert "promobot history show dev-" in ended
    message = office.stands(number, f"{second.version} is served")
    replies = [reply["text"] for reply in message["replies"]]
    assert [f"<@{SAM}> approved" in replies[0], f"<@{SAM}> merged" in replies[1]] == [True, True]
    assert f"{model} {second.version} is served in dev (was 1)." in replies[2] and len(replies) == 3

    told = office.presses(ALEX, "promobot_roll_back", message).answer()
    assert "takes" in told
    (revert,) = world.reverts(model)
    assert f"<!-- promobot:requested-by {ALEX} -->" in revert["body"]
    back = office.promotion(revert["number"])
    assert f"Back: {model} 2 → 1 in dev" in back["text"]
    for said in world.check(revert["number"]):
        assert said.code == 0, said
    back = office.stands(revert["number"], "its checks passed")
    assert "asked for by you" in office.presses(ALEX, "promobot_merge", back).answer()
    assert "You merged" in office.presses(SAM, "promobot_merge", back).answer()
    assert world.deploy().code == 0
    office.stands(revert["number"], "1 is served")
    office.stands(number, "rolled back to 1")
    assert world.version(model) == 1
    assert "dev no longer serves" in office.presses(ALEX, "promobot_roll_back", message).answer()
    assert len(office.promotions(model)) == 3, "the revert that was opened while it was held, too"
    shown = office.types(KIM, f"/promotions history {model}").answer()
    assert "1 → 2 succeeded" in shown and "2 → 1 succeeded" in shown
    assert "has no shadow" in office.types(KIM, f"/promotions shadow {model}").answer()
    world.served(world.register(model, "better", note="listens"), section="shadow")
    world.ask(model)
    shown = office.types(KIM, f"/promotions shadow {model}").answer()
    assert f"*dev*: {model} 3 in shadow" in shown and "beside version 1, which answers" in shown


@pytest.mark.slow
def test_bisect_says_which_release_began_and_a_case_is_named_and_never_a_path(office: Office) -> None:
    world = office.world
    model = world.model()
    first = world.served(world.register(model))
    world.served(world.register(model, "better"))
    write(world, model, **{"inc-1207": case_of(first)})
    said = office.types(KIM, f"/bisect {model} dev inc-1207").answer()
    assert f"{model} 2 (" in said and "began to answer inc-1207 wrong in dev on " in said
    assert f"promobot rollback {model} --env dev --to 1" in said
    assert "is neither a file nor a case of" in office.types(KIM, f"/bisect {model} dev nothing").answer()
