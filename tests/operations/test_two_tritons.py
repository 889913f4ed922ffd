"""``replace: in place`` on two real Tritons: one version each at a time, and users get an answer all the while."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.domain.package import SMOKE_FILE
from bot.sandbox import seed
from bot.sandbox.platform import BOT, PARTS, Sandbox, Shape
from tests.operations.world import HTTP, Registered, World

TRITONS = 2


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox whose dev has two Tritons."""
    directory = tmp_path_factory.mktemp("pair") / "platform"
    shape = Shape(tritons={"dev": TRITONS, "prod": 1})
    parts = PARTS - {"actions", "slack-app"}
    yield Sandbox.up(directory, progress=print, seed=seed.seed_promotions, parts=parts, shape=shape)
    Sandbox.down(directory)


@pytest.fixture
def world(pair: Sandbox, tmp_path: Path) -> Iterator[World]:
    seed.clone(pair.endpoints, tmp_path / "clone")
    (tmp_path / "checkout").mkdir()
    running = World(pair, clone=tmp_path / "clone", root=tmp_path / "checkout")
    yield running
    running.put_back()


class Users:
    """They ask every gateway in turn, and somebody looks at what each Triton has READY, until the block ends."""

    def __init__(self, world: World, model: str, registered: Registered) -> None:
        self._world, self._model, self._stop = world, model, threading.Event()
        cases = json.loads((registered.artifacts / SMOKE_FILE).read_text())["cases"]
        self._body = {"inputs": cases[0]["inputs"]}
        self.answers: list[tuple[int, str]] = []
        """The status of each answer, with the version that gave it, or with its words."""
        self.ready: set[tuple[int, ...]] = set()
        """The versions that a Triton had READY at one moment."""
        self.without: set[int] = set()
        """How many Tritons had no version READY at one moment."""
        self._threads = [threading.Thread(target=one) for one in (self._ask, self._look)]

    def __enter__(self) -> Users:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        gateways = self._world.endpoints.gateway["dev"]
        for number in itertools.count():
            if self._stop.wait(0.005):
                return
            url = f"{gateways[number % len(gateways)].url}/v2/models/{self._model}/infer"
            answer = HTTP.post(url, json=self._body)
            said = answer.json().get("model_version") if answer.is_success else answer.text
            self.answers.append((answer.status_code, str(said)))

    def _look(self) -> None:
        while not self._stop.wait(0.01):
            each = [versions(triton.http, self._model) for triton in self._world.endpoints.triton["dev"]]
            self.ready.update(each)
            self.without.add(sum(not one for one in each))


def versions(http: str, model: str) -> tuple[int, ...]:
    """Return which versions of a model a Triton has READY, under whatever name."""
    index: list[dict[str, Any]] = HTTP.post(f"{http}/v2/repository/index", json={}).json()
    own = [one for one in index if one["name"].partition(".")[0] == model and one.get("state") == "READY"]
    return tuple(sorted(int(one["version"]) for one in own))


def everywhere(world: World, model: str) -> list[tuple[int, ...]]:
    return [versions(triton.http, model) for triton in world.endpoints.triton["dev"]]


@pytest.mark.extended
def test_one_gives_up_its_version_while_the_other_answers_and_back_the_same_way(world: World) -> None:
    model = world.model()
    world.configure("dev", rollout={model: {"replace": "in place"}})
    first = world.served(world.register(model))
    assert everywhere(world, model) == [(1,)] * TRITONS
    world.merged(world.register(model, "better"))
    with Users(world, model, first) as users:
        said = world.words("deploy", "--env", "dev", login=BOT)
    assert said.code == 0, said
    unloaded = [line for line in said.err.splitlines() if f"unloading {model}, to make room for {model} 2" in line]
    assert len(unloaded) == TRITONS, said.err
    assert everywhere(world, model) == [(2,)] * TRITONS and world.version(model) == 2
    see_no_outage(users, "1", "2")

    with Users(world, model, first) as users:
        back = world.bot("rollback", model, "--env", "dev", "--now", "--reason", "users complain")
    assert back.code == 0 and world.version(model) == 1, back
    assert everywhere(world, model) == [(1,)] * TRITONS
    see_no_outage(users, "2", "1")


@pytest.mark.extended
def test_a_version_that_no_triton_can_load_leaves_the_other_one_as_it_was(world: World) -> None:
    model = world.model()
    world.configure("dev", rollout={model: {"replace": "in place"}})
    first = world.served(world.register(model))
    broken = world.register(model, "better")
    (broken.artifacts / "model.onnx").write_bytes(b"no model")
    world.merged(broken.relist())
    with Users(world, model, first) as users:
        said = world.words("deploy", "--env", "dev", login=BOT)
    assert said.code == 1 and "failed before the switch" in said.out, said
    assert everywhere(world, model) == [(1,)] * TRITONS, "the first one got its version again"
    assert {one for one in users.answers if one != (200, "1")} == set()
    assert TRITONS not in users.without


def see_no_outage(users: Users, before: str, after: str) -> None:
    """Expect only answers, of one version and then of the other, and never two versions on one Triton."""
    said = [version for status, version in users.answers if status == 200]
    assert len(said) == len(users.answers), {one for one in users.answers if one[0] != 200}
    assert {*said} <= {before, after} and said, "nobody got a third version"
    assert all(len(one) <= 1 for one in users.ready), users.ready
    assert TRITONS not in users.without, "at every moment one of them had a version"
