"""Slash commands, as Slack sends them: what is told, what is opened, what all can see."""

from __future__ import annotations

from tests.slack.people import ALEX, KIM, Office


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
    assert [body for body in world.comments(pull["number"]) if "sandbox.slack.com/archives" in body]


def test_who_may_only_look_changes_nothing(office: Office) -> None:
    world = office.world
    model = world.model()
    first = world.register(model)
    assert "You may not propose" in office.types(KIM, f"/promote {model} {first.version} dev").answer()
    assert "You may not roll it back" in office.types(KIM, f"/rollback {model} dev").answer()
    assert world.open_pulls(f"promobot/dev/{model}") == []
    assert "nothing is desired" in office.types(KIM, f"/promotions dev {model}").answer()
