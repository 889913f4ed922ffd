"""``promobot shadow``: a shadow beside the version in service, on a real Triton behind real gateways."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
import yaml

from bot import environment_files
from bot.operations.earned import Earned, Tries, earned
from bot.platform import Platform
from bot.records.ledger import Ledger
from bot.sandbox.reference import features
from tests.operations.world import HTTP, World

RULE = {"max_flips": 0.2, "max_error_rate": 0.2, "min_copies": 40}
"""Loose enough to be sure of it with few requests."""
SECONDS = 60.0


def listening(world: World, recipe: str, *, rule: Mapping[str, object] = RULE, note: str = "2") -> str:
    """Serve version 1 of a model, with a version of this recipe as its shadow; return the model's name."""
    model = world.model(shadow=dict(rule))
    world.served(world.register(model))
    world.served(world.register(model, recipe, note=note), section="shadow")
    return model


def ask_often(world: World, model: str, times: int, rows: Sequence[Any] = ()) -> None:
    """Ask dev's gateways in turn, in all so often, and wait until what they copied is answered."""
    gateways = world.endpoints.gateway["dev"]
    for number in range(times):
        if len(rows):
            row = {"name": "X", "datatype": "FP32", "shape": [1, 30], "data": [float(one) for one in rows[number]]}
            url = f"{gateways[number % len(gateways)].url}/v2/models/{model}/infer"
            HTTP.post(url, json={"inputs": [row]}).raise_for_status()
        else:
            world.ask(model, gateway=number % len(gateways), case=number // len(gateways))
    wait_for(lambda: (seen := report(world, model))["answered"] + seen["failed"] >= seen["sent"])


def report(world: World, model: str) -> dict[str, Any]:
    return world.promobot("shadow", model, "--env", "dev").document


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.05)


def test_an_equal_version_becomes_promotable_over_all_gateways(world: World) -> None:
    model = listening(world, "first")
    before = report(world, model)
    assert (before["version"], before["verdict"]["standing"]) == (2, "not yet")
    assert before["listens_since"] is not None
    ask_often(world, model, 60)
    found = report(world, model)
    beside = found["side_by_side"]
    assert (beside["live"], beside["flipped"], beside["flips"], beside["unlike"]) == (1, 0, 0.0, 0)
    assert beside["copies"] >= 40, "the counts of both gateways are added up"
    assert found["verdict"]["standing"] == "promotable", found["verdict"]
    assert [signal["holds"] for signal in found["verdict"]["signals"]] == [True, True]
    said = world.words("shadow", model, "--env", "dev").out
    assert said.startswith(f"{model} 2 is on dev's shadow path since 20")
    assert "beside version 1, which answers:" in said
    assert "✅ promotable: 0 % of decisions flip" in said


@pytest.mark.slow
def test_one_that_decides_otherwise_is_not_promotable(world: World) -> None:
    model = listening(world, "weak", rule={**RULE, "max_flips": 0.005})
    rows = features().held_out
    ask_often(world, model, len(rows), rows=rows)
    found = report(world, model)
    assert found["side_by_side"]["flipped"] > 0
    assert found["verdict"]["standing"] == "not", found
    assert "of decisions flip" in found["verdict"]["why"]


@pytest.mark.slow
def test_a_gateway_that_is_silent_decides_nothing(world: World) -> None:
    model = listening(world, "first")
    ask_often(world, model, 120)
    assert report(world, model)["verdict"]["standing"] == "promotable"
    gateway = world.endpoints.gateway["dev"][-1].name
    world.kill(gateway)
    found = report(world, model)
    assert list(found["silent"]) == [gateway]
    assert found["verdict"]["standing"] == "not yet"
    assert found["side_by_side"]["copies"] >= RULE["min_copies"], "what the other one saw is shown, and would do"


def test_a_model_without_a_shadow_or_a_rule_is_told_what_to_do(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    said = world.words("shadow", model, "--env", "dev")
    assert said.code == 1
    assert f"{model} has no shadow in dev" in said.err
    assert f"promobot propose {model} VERSION --env dev --as shadow" in " ".join(said.err.split())
    world.served(world.register(model, "better"), section="shadow")
    found = world.promobot("shadow", model, "--env", "dev")
    assert (found.code, found.document["verdict"], found.document["rule"]) == (0, None, None)
    assert (
        f"gates.{model}.shadow in manifests/environments/dev.yaml would say"
        in world.words("shadow", model, "--env", "dev").out
    )


@pytest.mark.slow
def test_another_share_is_a_deployment_that_loads_nothing(world: World) -> None:
    model = listening(world, "better")
    (before,) = [record for record in world.records(model) if record.section == "shadow"]
    assert before.after is not None
    world.desire(model, before.after.model_copy(update={"share": 0.05}), section="shadow")
    said = world.words("deploy", "--env", "dev")
    assert (said.code, f"{model} 2 is on the shadow path in dev." in said.out) == (0, True)
    route = world.routes()["models"][model]
    assert (route["shadow"]["version"], route["shadow_share"]) == (2, 5)
    record = world.records(model)[-1]
    assert (record.outcome, record.serving) == ("succeeded", record.after)
    assert f"{model}-shadow 2" in world.loaded()
    world.desire(model, before.after, section="shadow")
    assert world.words("deploy", "--env", "dev").code == 0
    assert "shadow_share" not in world.routes()["models"][model]
    assert len(world.records(model)) == 4, "nothing is left to do"
    assert world.words("deploy", "--env", "dev").code == 0
    assert len(world.records(model)) == 4


# --- what is due of it ----------------------------------------------------------------------------------------------


def settle(world: World, *, tries: Tries | None = None, now: datetime | None = None) -> list[Earned]:
    """Do what is due of dev's shadows, as ``promobot watch`` does at each look."""
    with Platform(environment_files.load(world.root, "dev"), world.endpoints.variables()) as platform:
        table = platform.share.routes.read("dev")
        records = platform.ledger.deployments()
        return list(earned(platform, table, records, tries or Tries(), say=print, now=now))


def earning(world: World, recipe: str = "first", *, published: bool = True, **gate: Any) -> str:
    """Serve a model with a shadow of this recipe, and have it asked often enough to be judged."""
    rule = gate.pop("shadow", RULE)
    model = world.model(shadow=dict(rule), **gate)
    world.served(world.register(model))
    world.served(world.register(model, recipe, note="2"), section="shadow")
    if published:
        world.publish_settings()
    return model


def test_what_has_earned_it_is_proposed_once_with_what_it_showed(world: World) -> None:
    model = earning(world)
    (before,) = settle(world)
    assert (before.state, before.verdict.standing, world.open_pulls()) == ("listens", "not yet", [])
    ask_often(world, model, 60)
    (done,) = settle(world)
    assert (done.state, done.verdict.standing) == ("proposed", "promotable"), done
    (pull,) = world.open_pulls()
    assert (pull["number"], pull["title"]) == (done.pull_request, f"Promote {model} to 2 in dev")
    assert "### It listened as a shadow, and has earned to answer" in pull["body"]
    assert "of its answers with those of version 1, for the same requests of users" in pull["body"]
    assert "✅ 0 % of decisions flip" in pull["body"]
    proposed = yaml.safe_load(world.promotions(at=pull["head"]["sha"]))
    assert proposed["models"][model]["version"] == 2
    assert not proposed["shadow"], "it answers, so it listens no more"
    head = pull["head"]["sha"]
    assert settle(world)[0].state == "listens", "another watch finds what was decided"
    assert world.pull(pull["number"])["head"]["sha"] == head
    world.api("PATCH", f"/pulls/{pull['number']}", {"state": "closed"})
    assert settle(world)[0].state == "listens"
    assert world.open_pulls() == [], "what a person closed is not proposed again"


@pytest.mark.slow
def test_killed_between_the_pull_request_and_its_note_it_finds_the_pull_request_again(world: World) -> None:
    model = earning(world)
    ask_often(world, model, 60)
    with mock.patch.object(Ledger, "note_shadow", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        settle(world)
    (pull,) = world.open_pulls()
    (done,) = settle(world)
    assert (done.state, done.pull_request) == ("proposed", pull["number"])
    assert [one["number"] for one in world.open_pulls()] == [pull["number"]]


@pytest.mark.slow
def test_one_that_misses_its_gate_is_not_proposed_whatever_it_earned(world: World) -> None:
    model = earning(world, on_miss="shadow", metrics={"accuracy": {"minimum": 0.9999}})
    ask_often(world, model, 60)
    tries = Tries()
    (done,) = settle(world, tries=tries)
    assert (done.state, "accuracy" in done.said, world.open_pulls()) == ("waits", True, [])
    with mock.patch("bot.operations.earned.propose") as asked:
        assert settle(world, tries=tries)[0].said == done.said
        assert not asked.called, "it is not tried at each look"


@pytest.mark.slow
def test_one_whose_time_is_over_is_taken_out_once(world: World) -> None:
    model = earning(world, "weak", shadow={**RULE, "max_flips": 0.005, "days": 7})
    later = datetime.now(UTC) + timedelta(days=7, minutes=1)
    assert settle(world)[0].state == "listens"
    (done,) = settle(world, now=later)
    (pull,) = world.open_pulls()
    assert (done.state, done.pull_request) == ("taken out", pull["number"])
    assert pull["title"] == f"Take shadow {model} 2 out of dev: its time is over"
    proposed = yaml.safe_load(world.promotions(at=pull["head"]["sha"]))
    assert (model in proposed["models"], not proposed["shadow"]) == (True, True)
    assert settle(world, now=later)[0].state == "listens"
    world.merge(pull["number"])
    assert world.deploy().code == 0
    assert "shadow" not in world.routes()["models"][model]
    assert settle(world, now=later) == []


@pytest.mark.slow
def test_another_shadow_that_main_asks_for_already_is_not_taken_out_in_its_place(world: World) -> None:
    model = earning(world, "weak", shadow={**RULE, "max_flips": 0.005, "days": 7})
    world.merged(world.register(model, "better", note="3"), section="shadow")
    (done,) = settle(world, now=datetime.now(UTC) + timedelta(days=7, minutes=1))
    assert (done.state, done.said, world.open_pulls()) == ("taken out", "main asks for it no more", [])


@pytest.mark.slow
def test_without_a_rule_nobody_is_asked(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.served(world.register(model, "better"), section="shadow")
    with mock.patch("bot.operations.earned.listening") as asked:
        assert settle(world) == []
    assert not asked.called
