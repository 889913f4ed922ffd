"""Only what was proposed is approved and merged from Slack, and by nobody who proposed it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from bot.domain import desired
from bot.domain.desired import Entry
from bot.domain.release import Slot
from bot.operations.proposing import AUTHOR, EMAIL
from tests.operations.world import Registered, World
from tests.slack.people import ALEX, KIM, LOGINS, MAY, SAM, Office

BUTTONS = ("promobot_approve", "promobot_merge")


def pushed(
    world: World, branch: str, files: dict[str, str], *, name: str = "kim", email: str = "kim@example.com"
) -> str:
    """Push a commit on top of a branch, under any name; return its id."""
    world.git("fetch", "--quiet", "origin", branch)
    world.git("checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
    for path, text in files.items():
        (world.clone / path).parent.mkdir(parents=True, exist_ok=True)
        (world.clone / path).write_text(text)
    world.git("add", "--all")
    identity = ("-c", f"user.name={name}", "-c", f"user.email={email}")
    world.git(*identity, "commit", "--quiet", "--message", "More", f"--author={name} <{email}>")
    world.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    return world.git("rev-parse", "HEAD")


def value(world: World, number: int) -> str:
    """What a button under a message for the head of now would bring."""
    head = world.pull(number)["head"]["sha"]
    return json.dumps({"environment": "dev", "number": number, "head": head, "model": "churn", "version": 1})


def answers(office: Office, user: str, number: int) -> list[str]:
    shown = value(office.world, number)
    return [office.sends_button(user, action, shown).answer() for action in BUTTONS]


def entry_of(world: World, branch: str, model: str, entry: Entry, environment: str = "dev") -> dict[str, str]:
    path = f"promotions/{environment}.yaml"
    world.git("fetch", "--quiet", "origin", branch)
    text = world.git("show", f"FETCH_HEAD:{path}") + "\n"
    return {path: desired.with_entry(text, file=path, section="models", model=model, entry=entry)}


def green(world: World, number: int, of: Registered) -> None:
    """Write evidence for the head of now that passed, as if every check had."""
    world.evidence(of)
    newest = world.ledger().evidence(of.entry.in_slot(Slot.of("dev", of.model, "models")))
    assert newest is not None
    head = world.pull(number)["head"]["sha"]
    world.ledger().add_evidence(
        newest.model_copy(update={"head": head, "pull_request": number, "at": datetime.now(UTC)})
    )


def test_code_on_the_bots_branch_makes_the_verdict_red_and_slack_refuse_it(office: Office) -> None:
    world = office.world
    model = world.model()
    registered = world.register(model)
    office.types(ALEX, f"/promote {model} 1 dev").answer()
    (pull,) = world.open_pulls(f"promobot/dev/{model}")
    number, branch = pull["number"], pull["head"]["ref"]
    pushed(world, branch, {"pyproject.toml": "[build-system]\nbuild-backend = 'evil'\n"})

    needs = json.dumps({name: {"result": "success"} for name in ("ready", "triton", "smoke")})
    verdict = world.bot("check", "verdict", "--pull-request", number, "--needs", needs)
    assert verdict.code == 1
    more = f"{branch} is a branch of the bot, and changes more than was proposed: pyproject.toml"
    assert verdict.document["problems"][0].startswith(more)
    assert f"❌ **Do not merge: {more}" in world.sticky(number).replace("\\", "")

    message = office.stands(number, "it changes more than was proposed; do not merge")
    assert "besides the entry it changes pyproject.toml" in str(message["blocks"])
    assert not any(action in str(message["blocks"]) for action in BUTTONS)
    green(world, number, registered)
    for answer in answers(office, SAM, number):
        assert "is not only what was proposed: besides the entry it changes pyproject.toml" in answer
    assert not world.pull(number)["merged"] and world.api("GET", f"/pulls/{number}/reviews") == []


@pytest.mark.slow
def test_a_file_that_cannot_be_read_on_one_branch_silences_no_other_promotion(office: Office) -> None:
    world = office.world
    broken, other = world.model(), world.model()
    world.register(broken)
    world.register(other)
    office.types(ALEX, f"/promote {broken} 1 dev").answer()
    (pull,) = world.open_pulls(f"promobot/dev/{broken}")
    office.stands(pull["number"], "its checks run")
    pushed(world, pull["head"]["ref"], {"promotions/dev.yaml": "environment: dev\nmodels: [\n"})
    message = office.stands(pull["number"], "it changes more than was proposed; do not merge")
    assert "promotions/dev.yaml" in str(message["blocks"])
    office.types(ALEX, f"/promote {other} 1 dev").answer()
    (pull,) = world.open_pulls(f"promobot/dev/{other}")
    office.stands(pull["number"], "its checks run")


@pytest.mark.slow
def test_another_version_under_the_bots_name_is_what_nobody_asked_the_bot_for(office: Office) -> None:
    world = office.world
    model = world.model()
    first, second = world.register(model), world.register(model, "better")
    office.types(SAM, f"/promote {model} {first.version} dev").answer()
    (pull,) = world.open_pulls(f"promobot/dev/{model}")
    number, branch = pull["number"], pull["head"]["ref"]
    pushed(world, branch, entry_of(world, branch, model, second.entry), name=AUTHOR, email=EMAIL)
    green(world, number, second)
    for answer in answers(office, ALEX, number):
        assert "proposes what nobody asked the bot for" in answer
    assert not world.pull(number)["merged"]


@pytest.mark.slow
def test_the_role_is_asked_for_in_every_environment_that_is_touched(office: Office) -> None:
    world = office.world
    model = world.model()
    registered = world.register(model)
    world.configure("prod", slack={"may": {"approve": [ALEX]}})
    office.types(ALEX, f"/promote {model} 1 dev").answer()
    (pull,) = world.open_pulls(f"promobot/dev/{model}")
    number, branch = pull["number"], pull["head"]["ref"]
    pushed(world, branch, entry_of(world, branch, model, registered.entry, "prod"))
    for answer in answers(office, SAM, number):
        assert "⛔ You may not approve or merge there: `prod` allows that" in answer


@pytest.mark.slow
def test_without_a_known_login_nobody_approves(office: Office) -> None:
    world = office.world
    world.configure("dev", slack={"may": {**MAY, "approve": ["U0NEW"]}})
    model = world.model()
    registered = world.register(model)
    office.types(ALEX, f"/promote {model} 1 dev").answer()
    (pull,) = world.open_pulls(f"promobot/dev/{model}")
    green(world, pull["number"], registered)
    for answer in answers(office, "U0NEW", pull["number"]):
        assert "`slack.github_logins: {U0NEW: your-login}`" in answer
        assert "manifests/environments/dev.yaml" in answer
    assert not world.pull(pull["number"])["merged"]


@pytest.mark.slow
def test_whoever_asked_by_another_way_or_another_account_does_not_approve(office: Office) -> None:
    world = office.world
    model = world.model()
    registered = world.register(model)
    # Sam starts the workflow dispatch; the bot opens the pull request.
    dispatched = {"GITHUB_ACTOR": "Sam"}
    said = world.bot("propose", model, 1, "--env", "dev", env=dispatched)
    number = said.document["pull_request"]
    green(world, number, registered)
    for answer in answers(office, SAM, number):
        assert "was asked for by you" in answer
    # Alex asks for the same; then Alex's other account is Alex, too, whatever the text of the pull request says.
    office.types(ALEX, f"/promote {model} 1 dev").answer()
    world.api("PATCH", f"/pulls/{number}", {"body": "Requested by nobody."})
    logins = {**LOGINS, "U0ALEX2": "ALEX"}
    world.configure("dev", slack={"may": {"approve": [SAM, KIM, "U0ALEX2"]}, "github_logins": logins})
    for answer in answers(office, "U0ALEX2", number):
        assert "was asked for by you" in answer
    assert "You approved" in office.sends_button(KIM, "promobot_approve", value(world, number)).answer()
    assert "You merged" in office.sends_button(KIM, "promobot_merge", value(world, number)).answer()


@pytest.mark.slow
def test_a_broken_file_of_one_environment_silences_no_other_and_no_way_back(office: Office) -> None:
    world = office.world
    model = world.model()
    world.served(world.register(model))
    world.served(world.register(model, "better"))
    world.configure("prod", tritons=[])
    world.configure("dev", freeze="Christmas")
    assert "takes" in office.types(ALEX, f"/rollback {model} dev").answer()
    assert "freeze: unknown key" in office.types(ALEX, f"/promote {model} 2 dev").answer()
    assert f"*{model}*" in office.types(KIM, f"/promotions dev {model}").answer()
