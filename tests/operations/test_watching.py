"""``promobot watch`` on the real parts: what users get of a new version, and what becomes of it."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bot.domain.record import DeploymentRecord
from bot.domain.rollout import Table
from bot.records.ledger import RolloutNote
from bot.sandbox.reference import LARGEST, RECIPES, train
from bot.training import build_package
from tests.operations.world import HTTP, Registered, World

BAKE = {"minutes": 30, "min_requests": 40, "max_error_rate": 0.01, "max_p95_worse": 50}

TABLE = Table(
    model="any",
    new=2,
    old=1,
    beside="beside",
    new_requests=80,
    old_requests=300,
    new_failed=40,
    old_failed=0,
    new_refused=0,
    old_refused=0,
    signals=(),
)


def ask(world: World, model: str, *, times: int = 1, large: int = 0) -> list[int]:
    """Ask each gateway so often as a user, ``large`` times of them with a row of a large tumour; return the codes."""
    rows = train(RECIPES["first"]).samples[:1]
    codes = []
    for gateway in world.endpoints.gateway["dev"]:
        for number in range(times):
            row = rows.copy()
            row[0, 0] = LARGEST + 5 if number < large else row[0, 0]
            given = {"name": "X", "shape": [1, 30], "datatype": "FP32", "data": row.ravel().tolist()}
            answer = HTTP.post(f"{gateway.url}/v2/models/{model}/infer", json={"inputs": [given]})
            codes.append(answer.status_code)
    return codes


def watched(world: World, **options: Any) -> Any:
    """Look once; return what was said."""
    return world.bot("watch", "--env", "dev", "--once", **options)


def two_versions(world: World, second: str = "fragile", **bake: Any) -> tuple[str, Registered, Registered]:
    """Serve a version that users ask, and a second one after it, with a bake."""
    model = world.model()
    world.configure("dev", rollout={model: {"bake": {**BAKE, **bake}}})
    first = world.served(world.register(model))
    assert set(ask(world, model, times=150)) == {200}
    return model, first, world.served(world.register(model, second))


def last(world: World, model: str) -> DeploymentRecord:
    return world.records(model)[-1]


def test_a_version_that_fails_is_put_back_with_the_table_wherever_people_look(world: World) -> None:
    model, _, second = two_versions(world)
    rollout = last(world, model).id
    waits = watched(world)
    assert waits.code == 0, waits
    (found,) = waits.document["rollouts"]
    assert (found["state"], found["version"], found["before"], found["percent"]) == ("bakes", 2, 1, 100)
    assert found["said"] == "baking: 0 of 40 requests, 0 of 30 minutes"
    assert f"⏳ {model} 2: baking: 0 of 40 requests, 0 of 30 minutes" in world.words("status", "--env", "dev").out

    codes = ask(world, model, times=40, large=20)
    assert sorted(set(codes)) == [200, 500] and codes.count(500) == 20 * len(world.endpoints.gateway["dev"])
    done = watched(world)
    assert (done.code, world.version(model), world.quarantined(model)) == (1, 1, [2]), done
    (found,) = done.document["rollouts"]
    assert found["state"] == "put back" and found["table"]["signals"][0]["is_breach"]
    record = last(world, model)
    assert (
        (record.way_back, record.outcome, record.after.version) == (True, "succeeded", 1) if record.after else False
    )
    assert record.reason.startswith("50 % of ") and " requests to 2 failed; 1 % may, and " in record.reason

    (revert,) = world.reverts(model)
    assert "Asked for by `promobot watch`" in revert["body"] and "| failed | ⚠️ " in revert["body"], revert["body"]
    said = json.dumps(world.slack(model)[-1])
    assert "is back at version 1" in said and "requests to 2 failed" in said
    assert world.ledger().rollout_notes(rollout)["breach"].table is not None

    again = watched(world)
    assert (again.code, again.document["rollouts"]) == (0, []), "never a rollback of a rollback"
    assert len(world.records(model)) == 3 and second.version == 2


@pytest.mark.slow
def test_a_version_that_is_slow_is_put_back(world: World, tmp_path: Path) -> None:
    model, _, second = _slow_after_a_quick_one(world, tmp_path)
    assert second.version == 2
    assert set(ask(world, model, times=60)) == {200}, "each answer is right, and late"
    done = watched(world)
    (found,) = done.document["rollouts"]
    assert (found["state"], world.version(model), world.quarantined(model)) == ("put back", 1, [2]), done
    assert [signal["signal"] for signal in found["table"]["signals"] if signal["is_breach"]] == ["p95"]
    assert "p95" in last(world, model).reason


@pytest.mark.slow
def test_a_canary_that_is_slow_is_put_back(world: World, tmp_path: Path) -> None:
    model, *_ = _slow_after_a_quick_one(world, tmp_path, steps=[50, 100])
    assert "canary" in world.routes()["models"][model]
    assert set(ask(world, f"{model}/versions/1", times=400)) == {200}
    assert set(ask(world, f"{model}/versions/2", times=40)) == {200}
    done = watched(world)
    (found,) = done.document["rollouts"]
    assert (found["state"], found["percent"], world.version(model)) == ("put back", 50, 1), done
    assert "canary" not in world.routes()["models"][model]


def _slow_after_a_quick_one(world: World, folder: Path, **rules: Any) -> tuple[str, Registered, Registered]:
    """Serve a version that users ask, and after it one that takes many times as long for the same answers."""
    model = world.model()
    world.configure("dev", rollout={model: {**rules, "bake": {**BAKE, "max_p95_worse": 1}}})
    first = world.served(world.register(model))
    assert set(ask(world, model, times=150)) == {200}
    trained = train(RECIPES["better"])
    graph = copy.deepcopy(trained.model)
    graph.doc_string = model
    _compute_for_nothing(graph)
    answers = {"label": trained.labels, "probabilities": trained.probabilities}
    build_package(
        graph, folder / "package", inputs={"X": trained.samples}, answers=answers, max_batch_size=64, instances=1
    )
    second = world.register_package(folder / "package", model, "better")
    world.merged(second)
    assert world.bot("deploy", "--env", "dev").code == 0
    return model, first, second


def _compute_for_nothing(model: onnx.ModelProto, *, size: int = 768, products: int = 16) -> None:
    """Change the model: it multiplies matrices first, which begin with the input, so that nobody can know them."""
    graph, (given,) = model.graph, model.graph.input
    for node in graph.node:
        node.input[:] = ["late" if name == given.name else name for name in node.input]
    constants = {"small": np.full((size, size), 1e-3, dtype=np.float32), "zero": np.zeros(1, dtype=np.float32)}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    steps = [
        helper.make_node("ReduceMean", [given.name], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["small", "nothing"], ["product_0"]),
        *(
            helper.make_node("MatMul", [f"product_{number}", "small"], [f"product_{number + 1}"])
            for number in range(products)
        ),
        helper.make_node("ReduceMean", [f"product_{products}"], ["mean_of_all"], keepdims=0),
        helper.make_node("Mul", ["mean_of_all", "zero"], ["nothing_again"]),
        helper.make_node("Add", [given.name, "nothing_again"], ["late"]),
    ]
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*steps, *nodes])


def test_a_version_that_does_well_is_baked_once(world: World) -> None:
    model, *_ = two_versions(world, "better", minutes=0.0001)
    rollout = last(world, model).id
    assert watched(world).document["rollouts"][0]["state"] == "bakes"
    assert set(ask(world, model, times=40)) == {200}
    done = watched(world)
    assert (done.code, done.document["rollouts"][0]["state"]) == (0, "baked"), done
    note = world.ledger().rollout_notes(rollout)["baked"]
    assert note.table is not None and note.table.new_requests >= 40
    assert watched(world).document["rollouts"] == []
    assert world.version(model) == 2


@pytest.mark.slow
def test_the_bots_own_requests_are_not_those_of_users(world: World) -> None:
    two_versions(world, "better", minutes=0.0001)
    assert world.bot("drift", "--env", "dev").code == 0
    (found,) = watched(world).document["rollouts"]
    assert (found["state"], found["table"]["new_requests"]) == ("bakes", 0)


@pytest.mark.slow
def test_where_the_settings_say_so_a_breach_is_only_told_and_once(world: World) -> None:
    model, *_ = two_versions(world, on_breach="tell")
    ask(world, model, times=40, large=20)
    told = watched(world)
    assert (told.code, told.document["rollouts"][0]["state"], world.version(model)) == (1, "told", 2), told
    assert watched(world).document["rollouts"] == []
    messages = [message for message in world.slack(model) if "is not as it must be" in message["text"]]
    assert len(messages) == 1 and "on_breach: tell" in json.dumps(messages)
    assert world.quarantined(model) == [] and world.reverts(model) == []


@pytest.mark.slow
def test_a_first_release_has_nothing_to_go_back_to_and_is_told(world: World) -> None:
    model = world.model()
    world.configure("dev", rollout={model: {"bake": BAKE}})
    world.served(world.register(model, "fragile"))
    ask(world, model, times=40, large=20)
    told = watched(world)
    assert (told.code, told.document["rollouts"][0]["state"], world.version(model)) == (1, "told", 1), told
    assert "nothing was before it" in json.dumps(world.slack(model)[-1])


@pytest.mark.slow
def test_a_canary_whose_breach_was_noted_by_a_watch_that_is_gone_goes_back_all_the_same(world: World) -> None:
    model = world.model()
    world.configure("dev", rollout={model: {"steps": [10, 100], "bake": BAKE}})
    world.served(world.register(model))
    world.merged(world.register(model, "fragile"))
    assert world.bot("deploy", "--env", "dev").code == 0
    rollout, canary = last(world, model).id, f"{model}/versions/2"
    ask(world, model, times=150)
    assert ask(world, canary, times=40, large=20).count(500) == 20 * len(world.endpoints.gateway["dev"])
    note = RolloutNote(rollout=rollout, what="breach", at=datetime.now(UTC), by="gone/1", table=TABLE)
    assert world.ledger().note_rollout(note), "as a watch does that is killed right after"
    done = watched(world)
    assert [one["state"] for one in done.document["rollouts"]] == ["put back"], done
    assert "canary" not in world.routes()["models"][model] and world.version(model) == 1
    assert world.quarantined(model) == [2] and last(world, model).way_back
