"""``promobot watch`` on the real parts: what users get of a new version, and what becomes of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from bot.domain.record import DeploymentRecord
from bot.domain.rollout import Table
from bot.records.ledger import RolloutNote
from bot.sandbox.reference import LARGEST, RECIPES, features, train
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


def decide(world: World, model: str, rows: Sequence[Any], *, until: int, version: int | None = None) -> None:
    """Ask for these rows in turn as a user, until so many answers are compared with the version before, in all."""
    gateways, path = world.endpoints.gateway["dev"], f"{model}/versions/{version}" if version else model
    for number in range(20_000):
        given = {"name": "X", "shape": [1, 30], "datatype": "FP32", "data": rows[number % len(rows)].tolist()}
        url = gateways[number % len(gateways)].url
        HTTP.post(f"{url}/v2/models/{path}/infer", json={"inputs": [given]}).raise_for_status()
        if number % 20 == 19:
            counted = [HTTP.get(f"{gateway.url}/routes").json()["compared"][model] for gateway in gateways]
            if sum(one["compared"]["copies"] for one in counted) >= until:
                return
    pytest.fail("too few answers were compared")


def rows_to_decide(*recipes: str) -> list[Any]:
    """Return rows of which every third one is decided otherwise by the second of two recipes; of one, plain rows."""
    rows = features().held_out
    labels = [_labels(train(RECIPES[recipe]).model, rows) for recipe in recipes]
    same, other = (np.flatnonzero(labels[0] == labels[-1]), np.flatnonzero(labels[0] != labels[-1]))
    wrong = [rows[other[number % len(other)]] for number in range(5)] if len(other) else []
    return [rows[index] for index in same[:10]] + wrong


def _labels(model: onnx.ModelProto, rows: Any) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["label"], {"X": rows})[0].ravel()


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


COMPARED = {"max_flips": 0.02, "max_p95_worse": 1000, "max_error_rate": 0.5}


@pytest.mark.slow
def test_a_version_that_is_wrong_on_some_rows_is_put_back(world: World) -> None:
    """No request fails, and none is late. The version before says what it would have answered."""
    model, *_ = two_versions(world, "weak", **COMPARED)
    route = world.routes()["models"][model]
    assert (route["live"]["version"], route["compared"]["version"]) == (2, 1)
    assert world.words("drift", "--env", "dev").code == 0, "what is compared is in use, and whole"
    decide(world, model, rows_to_decide("first", "weak"), until=60)
    done = watched(world)
    (found,) = done.document["rollouts"]
    assert (found["state"], world.version(model), world.quarantined(model)) == ("put back", 1, [2]), done
    assert [signal["signal"] for signal in found["table"]["signals"] if signal["is_breach"]] == ["flips"]
    assert "compared" not in world.routes()["models"][model]
    assert "of decisions of 2 are others than those of 1 to the same requests" in last(world, model).reason
    (revert,) = world.reverts(model)
    assert "| other decisions | ⚠️ " in revert["body"], revert["body"]
    assert "of decisions of 2 are others" in json.dumps(world.slack(model)[-1])


@pytest.mark.slow
def test_a_canary_that_is_wrong_on_some_rows_is_put_back(world: World) -> None:
    model = _at_half(world, "weak")
    route = world.routes()["models"][model]
    assert (route["canary"]["version"], route["compared"]) == (2, route["live"])
    decide(world, model, rows_to_decide("first", "weak"), until=60, version=2)
    done = watched(world)
    (found,) = done.document["rollouts"]
    assert (found["state"], found["percent"], world.version(model)) == ("put back", 50, 1), done
    assert set(world.routes()["models"][model]) == {"live"}


@pytest.mark.slow
def test_a_version_that_decides_as_the_one_before_bakes_step_by_step(world: World) -> None:
    model = _at_half(world, "first", minutes=0.0001)
    (waits,) = watched(world).document["rollouts"]
    assert waits["said"].endswith("0 of 40 answers compared"), waits
    assert set(ask(world, f"{model}/versions/2", times=40)) == {200}
    decide(world, model, rows_to_decide("first"), until=40, version=2)
    assert watched(world).document["rollouts"][0]["state"] == "next step"
    route = world.routes()["models"][model]
    assert (route["live"]["version"], route["compared"]["version"], "canary" in route) == (2, 1, False)
    decide(world, model, rows_to_decide("first"), until=40)
    (baked,) = watched(world).document["rollouts"]
    signal = baked["table"]["signals"][-1]
    assert (baked["state"], signal["signal"], signal["new"]) == ("baked", "flips", 0.0), baked


def _at_half(world: World, second: str, **bake: Any) -> str:
    """Serve a version, and a second one to half of the users beside it, whose decisions are compared."""
    model = world.model()
    world.configure("dev", rollout={model: {"steps": [50, 100], "bake": {**BAKE, **COMPARED, **bake}}})
    world.served(world.register(model))
    world.merged(world.register(model, second, note="2"))
    assert world.bot("deploy", "--env", "dev").code == 0
    assert set(ask(world, f"{model}/versions/1", times=200)) == {200}
    return model


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
