"""Replacing a version in its place: Tritons that have no room for two of a model, with kills at every point.

Each Triton refuses to load a version of churn while another one is in its memory, as one does that runs out of it.
Users ask all the while, and every question is answered: by one of the two versions, with its own bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import yaml

from tests.reliability import invariants
from tests.reliability.crash import kills
from tests.reliability.matrix import Matrix, Part, Point
from tests.reliability.scenarios import ROLLBACK, Scenario, expect, served
from tests.reliability.scene import Kill, Scene
from tests.reliability.told import Row, as_told, told_meanwhile

MODEL = "churn"


def run(matrix: Matrix) -> Iterator[Point]:
    """Try each row once, then kill each scenario at each of its points."""
    with one_at_a_time(matrix.scene()):
        yield from as_told(matrix, ROWS, sampled=SAMPLED)
        yield from kills(matrix, [one for one in KILLED if not matrix.sample or one.name in SAMPLED])


@contextlib.contextmanager
def one_at_a_time(scene: Scene, replace: str = "in place") -> Iterator[None]:
    """Have Tritons with room for one version of churn, and settings that say so."""
    with scene.settings_with(rollout={MODEL: {"replace": replace}}):
        scene.tell("no_room_for_two", models=(MODEL,))
        try:
            yield
        finally:
            scene.tell("no_room_for_two", models=())


# --- what happens -------------------------------------------------------------------------------------------------


def _goes_through(scene: Scene) -> Iterator[str]:
    """A version takes the place of another on one Triton after another, then goes back the same way."""
    served(scene, MODEL, 1)
    scene.tell("ask_for", models=(MODEL,))
    scene.look()
    scene.merge(MODEL, 2)
    ended = scene.deploy()
    yield from _ended(ended.code, 0, ended.said)
    yield from _only(scene, 2)
    unloaded = [line for line in ended.said.splitlines() if "unloading churn" in line]
    if len(unloaded) != 2:
        yield f"it does not say for each Triton that it unloads: {ended.said}"
    ended = scene.run(*ROLLBACK)
    yield from _ended(ended.code, 0, ended.said)
    yield from _only(scene, 1)


def _main_changes_its_mind(scene: Scene) -> Iterator[str]:
    """It is killed when half of the Tritons have the next version, and main asks for a third one then."""
    for named in ("routes", "reload"):
        scene.restore("empty", models=())
        served(scene, MODEL, 1)
        scene.tell("ask_for", models=(MODEL,))
        scene.merge(MODEL, 2)
        ended = scene.run(
            "deploy", "--env", "dev", kill=Kill(named="gateway-1 POST /reload", after=named == "reload")
        )
        if not ended.killed:
            yield f"it was not killed: {ended.said}"
        scene.merge(MODEL, 5)
        yield from invariants.converges(scene, {MODEL: frozenset({1, 2, 5})})
        yield from _only(scene, 5, asked=False)


def _only_one_triton(scene: Scene) -> Iterator[str]:
    """Without a second Triton it is held, unless the settings accept an outage; going back is not held."""
    served(scene, MODEL, 1)
    tritons = yaml.safe_load(scene.settings_file.read_text())["tritons"][:1]
    scene.change_settings(tritons=tritons)
    scene.merge(MODEL, 2)
    ended = scene.deploy()
    yield from _ended(ended.code, 1, ended.said)
    if "held: churn 1 → 2 in dev" not in ended.said or "dev has one Triton" not in ended.said:
        yield f"it does not say that it is held: {ended.said}"
    scene.change_settings(rollout={MODEL: {"replace": "in place with an outage"}})
    ended = scene.deploy()
    yield from _ended(ended.code, 0, ended.said)


def _gateway_refuses(scene: Scene) -> Iterator[str]:
    """The other half keeps the version in service until every gateway follows: one that refuses can answer on."""
    served(scene, MODEL, 1)
    scene.tell("ask_for", models=(MODEL,))
    scene.look()
    scene.merge(MODEL, 2)
    scene.tell("refuse_reload", gateway=2, model=MODEL, version=2, not_ready=True)
    ended = scene.deploy()
    yield from _ended(ended.code, 1, ended.said)
    yield from _only(scene, 1)


def _triton_restarts(scene: Scene) -> Iterator[str]:
    """A Triton that lost the version in service gets it again, also where it has another one by then."""
    served(scene, MODEL, 1)
    scene.tell("ask_for", models=(MODEL,))
    scene.tell("restart_triton", number=1)
    ended = scene.deploy()
    yield from _ended(ended.code, 0, ended.said)
    yield from _only(scene, 1)


# --- what is killed -----------------------------------------------------------------------------------------------


def _update(scene: Scene) -> None:
    served(scene, MODEL, 1)
    scene.merge(MODEL, 2)


def _wrong(scene: Scene) -> None:
    served(scene, MODEL, 1)
    scene.merge(MODEL, 3)


def _broken(scene: Scene) -> None:
    served(scene, MODEL, 1)
    scene.merge(MODEL, 4)


def _with_another(scene: Scene) -> None:
    _update(scene)
    scene.merge("wine", 1)


def _two_served(scene: Scene) -> None:
    _update(scene)
    expect(scene.deploy(), 0)


def _refuse_2(scene: Scene) -> None:
    scene.tell("refuse_reload", gateway=2, model=MODEL, version=2)


BOTH = {MODEL: frozenset[int | None]({1, 2})}
OLD = {MODEL: frozenset[int | None]({1})}
KILLED = (
    Scenario("in place, update", _update, BOTH),
    Scenario("in place, put back", _update, BOTH, faults=_refuse_2, codes=frozenset({1})),
    Scenario("in place, wrong", _wrong, OLD, codes=frozenset({1})),
    Scenario("in place, does not load", _broken, OLD, codes=frozenset({1})),
    Scenario("in place, rollback --now", _two_served, BOTH, verb=ROLLBACK),
    Scenario("in place, beside another model", _with_another, {**BOTH, "wine": frozenset({None, 1})}),
)


# --- what is seen -------------------------------------------------------------------------------------------------


def _ended(code: int | None, wanted: int, said: str) -> Iterator[str]:
    if code != wanted:
        yield f"it ended with {code} instead of {wanted}: {said}"


def _only(scene: Scene, version: int, *, asked: bool = True) -> Iterator[str]:
    """Look whether every Triton has this version of churn and no other, and every gateway routes to it."""
    yield from told_meanwhile(scene) if asked else ()
    look, table = scene.look(), scene.routes()
    live = table.route(MODEL).live
    if live is None or live.version != version:
        yield f"the route is {table.route(MODEL)}"
    for answer in sorted(look.answers, key=str) if asked else ():
        if answer.status != 200 or not answer.whole:
            yield f"a user was told {answer}"
    for n, there in enumerate(look.tables, 1):
        if (there.generation, there.models) != (table.generation, table.models):
            yield f"gateway {n} serves {there}, not {table}"
    for n, ready in enumerate(look.ready, 1):
        own = {name: number for name, number in ready if name.partition(".")[0] == MODEL}
        if list(own.values()) != [version]:
            yield f"Triton {n} has {sorted(ready)}"


ROWS = (
    Row("goes through and back", _goes_through),
    Row("main changes its mind in the middle", _main_changes_its_mind),
    Row("only one Triton", _only_one_triton),
    Row("a gateway refuses", _gateway_refuses),
    Row("a Triton restarts", _triton_restarts),
)
SAMPLED = ("goes through and back", "a gateway refuses", "in place, update", "in place, put back")
PART = Part("in place", "versions that take the place of others, one Triton after another; kills at every point", run)
