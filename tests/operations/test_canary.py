"""A canary on the real Triton, through real gateways: it goes through, or a person stops it."""

from __future__ import annotations

import json
import os
from collections import Counter
from unittest import mock

import pytest

from bot import environment_files
from bot.domain.dividing import is_canary
from bot.domain.routes import Canary, RouteTable, Target
from bot.errors import Rejected
from bot.operations.deploy import Deployed
from bot.operations.rollout import advance
from bot.platform import Platform
from bot.systems.gateway import GatewayControl
from tests.operations.test_drift import _overwrite
from tests.operations.test_github_away import _stopped
from tests.operations.world import HTTP, World, _smoke_text

KEY = "x-user-id"
USERS = [f"user-{number}" for number in range(60)]


def stepping(world: World, **bake: float) -> str:
    """Return a new model whose changes go to a quarter of the users, to half of them, and then to all."""
    model = world.model()
    rules = {"steps": [25, 50, 100], "key": KEY, **({"bake": bake} if bake else {})}
    world.configure("dev", rollout={model: rules})
    return model


def step(world: World, model: str, percent: int, *, rollout: str) -> Deployed:
    """Make the step that is due, as ``promobot watch`` does."""
    with (
        mock.patch.dict(os.environ, world.endpoints.variables()),
        Platform(environment_files.load(world.root, "dev")) as platform,
    ):
        return advance(platform, model, percent, rollout=rollout, say=print)


def versions(world: World, model: str) -> dict[str, int]:
    """Return who gets which version; all gateways say the same."""
    inputs = json.loads(_smoke_text("first"))["cases"][0]["inputs"]
    found: list[dict[str, int]] = []
    for gateway in world.endpoints.gateway["dev"]:
        url = f"{gateway.url}/v2/models/{model}/infer"
        answers = {user: HTTP.post(url, json={"inputs": inputs}, headers={KEY: user}) for user in USERS}
        assert {answer.status_code for answer in answers.values()} == {200}
        found.append({user: int(answer.json()["model_version"]) for user, answer in answers.items()})
    assert all(one == found[0] for one in found)
    return found[0]


def expected(digest: str, percent: int) -> dict[str, int]:
    canary = Canary(Target("any", 2, digest), percent, KEY, digest)
    return {user: 2 if is_canary(canary, user.encode()) else 1 for user in USERS}


def test_a_canary_goes_through(world: World) -> None:
    model = stepping(world)
    world.served(world.register(model))
    second = world.register(model, "better")
    world.merged(second)
    said = world.words("deploy", "--env", "dev")
    assert said.code == 0, said
    assert said.out.splitlines()[0] == f"{model} 2 answers 25 % of requests in dev, version 1 the others."
    assert versions(world, model) == expected(second.digest, 25)
    assert world.alias(model, "dev") == 1
    (first, begun) = world.records(model)
    assert begun.rollout is not None and first.rollout is not None
    assert (begun.outcome, begun.serving, begun.rollout.id) == ("rolling out", first.after, begun.id)
    assert all(criterion.holds for criterion in begun.criteria) and len(begun.criteria) == 6
    assert begun.rollout.began_at == begun.started_at

    status = world.words("status", "--env", "dev")
    assert "1, 2 at 25 %" in status.out
    assert f"`promobot rollback {model} --env dev --now` ends its rollout" in status.out
    (found,) = world.promobot("status", "--env", "dev").document["environments"]
    (row,) = [row for row in found["models"] if row["model"] == model and row["section"] == "models"]
    assert (row["routed"], row["canary"], row["percent"], row["agrees"]) == (1, 2, 25, True)
    assert "rolling out" in world.words("history", model, "--env", "dev").out
    message = world.slack(model)[-1]["text"]
    assert message == f"🐤 {model} 2 answers 25 % of requests in dev, version 1 the others."

    assert world.deploy().document["records"] == []
    half = step(world, model, 50, rollout=begun.id)
    assert [(record.outcome, half.exit_code) for record in half.records] == [("rolling out", 0)]
    assert step(world, model, 50, rollout=begun.id).records == (), "it is made once"
    now = versions(world, model)
    assert now == expected(second.digest, 50)
    whole = step(world, model, 100, rollout=begun.id)
    assert [record.outcome for record in whole.records] == ["succeeded"]
    assert Counter(versions(world, model).values()) == {2: len(USERS)}
    assert world.alias(model, "dev") == 2
    assert world.words("drift", "--env", "dev").code == 0


def test_a_person_stops_a_canary_at_once(world: World) -> None:
    model = stepping(world)
    world.served(world.register(model))
    second = world.register(model, "better")
    world.merged(second)
    assert world.deploy().code == 0
    begun = world.records(model)[-1]
    said = world.words("rollback", model, "--env", "dev", "--now", "--reason", "users complain")
    assert said.code == 0, said
    assert Counter(versions(world, model).values()) == {1: len(USERS)}
    assert world.quarantined(model) == [2]
    assert world.records(model)[-1].way_back
    (revert,) = world.reverts(model)
    assert step(world, model, 50, rollout=begun.id).records == (), "nothing is due now"
    world.merge(revert["number"])
    assert world.deploy().code == 0
    assert Counter(versions(world, model).values()) == {1: len(USERS)}


def test_a_step_that_a_gateway_refuses_leaves_no_canary_and_blames_nobody(world: World) -> None:
    model = stepping(world)
    world.served(world.register(model))
    second = world.register(model, "better")
    world.merged(second)
    assert world.deploy().code == 0
    begun = world.records(model)[-1]
    reload = GatewayControl.reload

    def refuses_half(gateway: GatewayControl, generation: int, *, timeout_seconds: float) -> RouteTable:
        there = reload(gateway, generation, timeout_seconds=timeout_seconds)
        canary = there.route(model).canary
        if gateway.name == "gateway-dev-2" and canary is not None and canary.percent == 50:
            raise Rejected("could not reload: HTTP 422", system="gateway gateway-dev-2")
        return there

    with mock.patch.object(GatewayControl, "reload", refuses_half):
        done = step(world, model, 50, rollout=begun.id)
    assert [record.outcome for record in done.records] == ["put back"]
    assert Counter(versions(world, model).values()) == {1: len(USERS)}
    assert "canary" not in world.routes()["models"][model]
    assert world.quarantined(model) == []
    assert len(world.reverts(model)) == 1
    again = world.words("deploy", "--env", "dev")
    assert again.out.splitlines()[0] == f"{model} 2 answers 25 % of requests in dev, version 1 the others."
    assert world.reverts(model) == [], "it is on its way again"


@pytest.mark.slow
def test_while_github_is_stopped_users_go_back_to_what_is_live_beside_the_canary(world: World) -> None:
    model = stepping(world)
    world.served(world.register(model))
    second = world.register(model, "better")
    world.merged(second)
    assert world.deploy().code == 0
    begun = world.records(model)[-1]
    for percent in (50, 100):
        step(world, model, percent, rollout=begun.id)
    world.merged(world.register(model, note="third"))
    assert world.deploy().code == 0
    assert world.routes()["models"][model]["canary"]["version"] == 3
    with _stopped(world):
        said = world.words("rollback", model, "--env", "dev", "--now", "--reason", "users complain")
        assert (said.code, world.version(model)) == (0, 2), said
        assert "canary" not in world.routes()["models"][model]


@pytest.mark.slow
def test_damaged_bytes_of_a_canary_are_published_again_and_its_rollout_goes_on(world: World) -> None:
    model = stepping(world, max_flips=0.02)
    world.served(world.register(model))
    second = world.register(model, "better")
    world.merged(second)
    assert world.deploy().code == 0
    begun, was = world.records(model)[-1], world.routes()["models"][model]["canary"]
    _overwrite(world.endpoints.model_repository("dev") / was["triton_model"] / "2" / "model.onnx", b"damaged")
    assert world.words("drift", "--env", "dev").code == 1
    said = world.words("reconcile", "--env", "dev")
    assert said.code == 0, said
    sentence = f"{model} 2 answers 25 % of requests in dev, version 1 the others; it was published again: "
    assert said.out.splitlines()[0] == f"{sentence}model.onnx has other bytes."
    now = world.routes()["models"][model]["canary"]
    assert now["triton_model"] != was["triton_model"], "nothing is written over"
    assert {**now, "triton_model": ""} == {**was, "triton_model": ""}
    assert world.routes()["models"][model]["compared"] == world.routes()["models"][model]["live"], "as before"
    assert versions(world, model) == expected(second.digest, 25), "no user gets another version"
    again = world.records(model)[-1]
    assert begun.rollout is not None and again.rollout is not None
    assert (again.outcome, again.rollout.id, again.rollout.percent) == ("rolling out", begun.id, 25)
    assert world.words("drift", "--env", "dev").code == 0
    assert [record.outcome for record in step(world, model, 50, rollout=begun.id).records] == ["rolling out"]
    assert world.words("rollback", model, "--env", "dev", "--now", "--reason", "enough").code == 0
    assert Counter(versions(world, model).values()) == {1: len(USERS)}


@pytest.mark.slow
def test_a_canary_goes_back_now_also_where_main_asks_for_the_old_version_already(world: World) -> None:
    """The revert is merged, and nobody has deployed it: users must not wait for that."""
    model = stepping(world)
    first = world.served(world.register(model))
    world.merged(world.register(model, "better"))
    assert world.deploy().code == 0
    world.desire(model, first.entry)
    said = world.words("rollback", model, "--env", "dev", "--to", "1", "--now", "--reason", "it fails")
    assert said.code == 0, said
    assert "canary" not in world.routes()["models"][model]
    assert (world.version(model), world.quarantined(model), world.reverts(model)) == (1, [2], [])
    again = world.words("rollback", model, "--env", "dev", "--to", "1", "--now", "--reason", "it fails")
    assert again.code == 1 and f"main asks for {model} 1 in dev already" in again.err
