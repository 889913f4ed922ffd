"""Several models in one pull request, from Slack: proposed, followed, approved, merged, served."""

from __future__ import annotations

import pytest

from tests.operations.world import Registered, World
from tests.slack.people import ALEX, KIM, SAM, Office
from tests.slack.test_only_what_was_proposed import pushed


def typed(office: Office, user: str, *versions: Registered) -> str:
    named = " ".join(f"{one.model}:{one.version}" for one in versions)
    return office.types(user, f"/promote {named} dev").answer()


def many(world: World) -> int:
    (pull,) = world.open_pulls("promobot-many/dev/")
    return int(pull["number"])


def test_several_models_are_promoted_approved_merged_and_served_from_slack(office: Office) -> None:
    world = office.world
    one, two = (world.register(world.model(), note=str(number)) for number in range(2))
    answer = typed(office, ALEX, one, two)
    number = many(world)
    assert f"#{number}> proposes {one.model} 1, {two.model} 1 in dev." in answer
    assert f"<!-- promobot:requested-by {ALEX} -->" in world.pull(number)["body"]
    message = office.stands(number, "2 models in dev: their checks run")
    assert "You may not" in office.presses(KIM, "promobot_approve", message).answer()
    assert "asked for by you" in office.presses(ALEX, "promobot_approve", message).answer()
    merge = message["blocks"][-1]["elements"][1]["value"]
    assert "have not passed" in office.sends_button(SAM, "promobot_merge", merge).answer()

    assert [said.code for said in world.check(number)] == [0, 0, 0, 0]
    message = office.stands(number, "2 models in dev: their checks passed; merge it")
    shown = str(message["blocks"])
    assert all(f"🟢 *{each.model}* 1: checks passed: " in shown for each in (one, two))
    assert "You approved" in office.presses(SAM, "promobot_approve", message).answer()
    assert "You merged" in office.presses(SAM, "promobot_merge", message).answer()
    assert world.pull(number)["merged"]
    office.stands(number, "2 waiting for the deployment")
    assert world.deploy().code == 0
    message = office.stands(number, "2 models in dev: 2 served")
    assert "`promobot retire MODEL --env dev --reason '…'` takes out of service" in str(message["blocks"][-2])
    replies = [reply["text"] for reply in message["replies"]]
    assert [f"<@{SAM}> approved" in replies[0], f"<@{SAM}> merged" in replies[1]] == [True, True]
    assert sorted(f"{each.model} 1 is served in dev." in "".join(replies[2:]) for each in (one, two)) == [True, True]
    assert [world.version(each.model) for each in (one, two)] == [1, 1]


@pytest.mark.slow
def test_a_click_on_what_has_moved_on_is_refused_and_so_is_what_lacks_a_verdict(office: Office) -> None:
    world = office.world
    one, two = (world.register(world.model(), note=str(number)) for number in range(2))
    typed(office, ALEX, one, two)
    number = many(world)
    assert [said.code for said in world.check(number)] == [0, 0, 0, 0]
    stale = office.stands(number, "their checks passed")
    newer = world.register(one.model, "better")
    assert "now proposes" in typed(office, ALEX, newer, two)
    for action in ("promobot_approve", "promobot_merge"):
        assert "moved on after you saw it" in office.presses(SAM, action, stale).answer()
    assert not world.pull(number)["merged"]
    message = office.stands(number, "their checks run")
    assert f"*{one.model}* 2: checks run" in str(message["blocks"])

    # The verdict was cut off when it had written what it found of one model.
    assert [said.code for said in world.check(number)] == [0, 0, 0, 0]
    message = office.stands(number, "their checks passed")
    for path in [path for path in world.endpoints.records.glob("evidence/**/*.json") if two.model in str(path)]:
        path.unlink()
    assert "have not passed at this commit" in office.presses(SAM, "promobot_merge", message).answer()
    office.stands(number, "their checks run")


@pytest.mark.slow
def test_of_several_models_what_one_lacks_is_named_and_a_persons_word_is_refused(office: Office) -> None:
    world = office.world
    one, two = (world.register(world.model(), note=str(number)) for number in range(2))
    low = world.register(world.model(on_miss="stop"), note="3", accuracy=0.1)
    answer = typed(office, ALEX, one, two, low)
    number = many(world)
    assert f"⛔ Left out: {low.model} 1: accuracy 0.1 &lt; 0.9" in answer
    said = office.types(KIM, "/promotions dev").answer()
    assert [line.strip() for line in said.splitlines() if "⏳" in line] == [f"⏳ #{number} Promote 2 models in dev"]
    pushed(world, world.pull(number)["head"]["ref"], {"README.md": "more"})
    message = office.stands(number, "it changes more than was proposed; do not merge")
    assert "promobot_approve" not in str(message["blocks"])


@pytest.mark.slow
def test_what_becomes_of_one_of_several_is_told_beside_the_others(office: Office) -> None:
    world = office.world
    one, two = (world.served(world.register(world.model(), note=str(number))) for number in range(2))
    newer = [world.register(each.model, "better", note="n") for each in (one, two)]
    typed(office, ALEX, *newer)
    number = many(world)
    assert [said.code for said in world.check(number)] == [0, 0, 0, 0]
    office.stands(number, "their checks passed")
    world.merge(number)
    world.ledger().put_in_quarantine(newer[0].release(), reason="nonsense", by="alex")
    message = office.stands(number, "1 held, 1 waiting for the deployment")
    assert "nonsense" in str(message["blocks"])
    assert world.deploy().code == 1
    office.stands(number, "1 held, 1 served")
    told = office.types(ALEX, f"/rollback {two.model} dev").answer()
    assert f"takes {two.model} in dev to 1" in told
    (revert,) = world.reverts(two.model)
    assert f"Back: {two.model} 2 → 1 in dev" in office.promotion(revert["number"])["text"]
