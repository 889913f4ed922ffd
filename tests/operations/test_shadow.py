"""``promobot shadow``: a shadow beside the version in service, on a real Triton behind real gateways."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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


def test_one_that_decides_otherwise_is_not_promotable(world: World) -> None:
    model = listening(world, "weak", rule={**RULE, "max_flips": 0.005})
    rows = features().held_out
    ask_often(world, model, len(rows), rows=rows)
    found = report(world, model)
    assert found["side_by_side"]["flipped"] > 0
    assert found["verdict"]["standing"] == "not", found
    assert "of decisions flip" in found["verdict"]["why"]


def test_a_gateway_that_is_silent_decides_nothing(world: World) -> None:
    model = listening(world, "first")
    ask_often(world, model, 60)
    assert report(world, model)["verdict"]["standing"] == "promotable"
    gateway = world.endpoints.gateway["dev"][-1].name
    world.kill(gateway)
    found = report(world, model)
    assert list(found["silent"]) == [gateway]
    assert found["verdict"]["standing"] == "not yet"
    assert found["side_by_side"]["copies"] > 0, "what the other one saw is shown all the same"


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
    assert f"gates.{model}.shadow in the settings would say" in world.words("shadow", model, "--env", "dev").out


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
