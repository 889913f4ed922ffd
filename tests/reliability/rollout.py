"""Rollouts: canaries that grow step by step, and everything that ends them, at any percent and with kills in between.

Users ask all the while. What answers them is compared with the bytes of the version that gave the answer, and at any
moment it is one of the two that the rollout is about.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from bot.domain.record import DeploymentRecord
from bot.domain.routes import Canary, Target
from tests.reliability.matrix import Matrix, Part, Point
from tests.reliability.scenarios import ROLLBACK
from tests.reliability.scene import STEP, Ended, Scene

STEPS = (10, 50, 100)
ROLLOUT: Mapping[str, Any] = {
    "churn": {"steps": list(STEPS), "key": "x-user-id"},
    "fraud": {"steps": [5, 100], "key": "x-user-id"},
}
DRIFT = ("drift", "--env", "dev")


@dataclass(frozen=True)
class Row:
    """Something that happens to a rollout; ``act`` yields what does not hold."""

    name: str
    act: Callable[[Scene], Iterator[str]]


def run(matrix: Matrix) -> Iterator[Point]:
    """Try each row once."""
    scene = matrix.scene()
    for row in ROWS:
        if matrix.wants(row.name) and (not matrix.sample or row.name in SAMPLED):
            scene.seed = 0
            scene.restore("empty", models=())
            with stepping(scene):
                yield Point(row.name, "as told", list(row.act(scene)))


@contextlib.contextmanager
def stepping(scene: Scene) -> Iterator[None]:
    """Let changes of churn and of the bundle go out step by step."""
    path = scene.settings_file
    was = path.read_text()
    path.write_text(yaml.safe_dump({**yaml.safe_load(was), "rollout": dict(ROLLOUT)}, sort_keys=False))
    try:
        yield
    finally:
        path.write_text(was)


# --- what happens -------------------------------------------------------------------------------------------------


def _goes_through(scene: Scene) -> Iterator[str]:
    """It begins by itself, goes on when it is told to, and is what any release is in the end."""
    yield from _begun(scene)
    began = scene.deployments()[-1].id
    yield from _ended(scene.deploy(), 0)  # which makes no step
    yield from _at(scene, 10)
    yield from _ended(scene.run(*DRIFT), 0)
    yield from _says(step(scene, 50), 0, "rolling out 50")
    yield from _at(scene, 50)
    yield from _says(step(scene, 50), 0, "")  # made already
    yield from _says(step(scene, 10), 0, "")
    yield from _at(scene, 50)
    yield from _says(step(scene, 100), 0, "succeeded 100")
    yield from _whole(scene, 2)
    yield from _says(step(scene, 100), 0, "")
    records = _of_rollout(scene)
    told = [(record.outcome, record.rollout.percent, record.rollout.step) for record in records if record.rollout]
    if told != [("rolling out", 10, 1), ("rolling out", 50, 2), ("succeeded", 100, 3)]:
        yield f"the records tell {told}"
    if {record.rollout.id for record in records if record.rollout} != {began}:
        yield f"the records are of several rollouts: {records}"
    for record in records:
        if not all(criterion.holds for criterion in record.criteria) or len(record.criteria) != 6:
            yield f"of {record.id} not all six criteria hold"
        if record.before is None or record.before.version != 1:
            yield f"{record.id} says that it replaced {record.before}"
    yield from _ended(scene.run(*DRIFT), 0)


def _rolled_back(scene: Scene, percent: int) -> Iterator[str]:
    """A person puts users back at once, and main follows."""
    yield from _begun(scene, percent)
    yield from _ended(scene.run(*ROLLBACK), 0)
    yield from _whole(scene, 1)
    if not any("churn" in branch for branch, _ in scene.look().pulls):
        yield f"no revert is open: {scene.look().pulls}"
    newest = scene.deployments()[-1]
    if (
        (newest.outcome, newest.way_back) != ("succeeded", True)
        or newest.before is None
        or newest.before.version != 2
    ):
        yield f"the record tells {newest}"
    yield from _ended(scene.deploy(), 1)  # main still asks for it, and it is held
    yield from _whole(scene, 1)
    scene.merge("churn", 1)
    yield from _ended(scene.deploy(), 0)
    yield from _whole(scene, 1)
    yield from _ended(scene.run(*DRIFT), 0)


def _reverted(scene: Scene, percent: int) -> Iterator[str]:
    """Main goes back, and the next deployment ends the rollout."""
    yield from _begun(scene, percent)
    scene.merge("churn", 1, evidence=False)
    yield from _ended(scene.deploy(), 0)
    yield from _whole(scene, 1)
    yield from _says(step(scene, 50), 0, "")
    yield from _whole(scene, 1)
    yield from _ended(scene.run(*DRIFT), 0)


# --- what people do, and what is seen -----------------------------------------------------------------------------


def step(scene: Scene, percent: int, model: str = "churn") -> Ended:
    """Make the step that is due, as ``promobot watch`` does."""
    return scene.run(STEP, model, str(percent))


def _begun(scene: Scene, percent: int = STEPS[0]) -> Iterator[str]:
    """Bring a rollout of churn 2 beside 1 to this percent."""
    scene.merge("churn", 1)
    yield from _ended(scene.deploy(), 0)
    scene.tell("ask_for", models=("churn",))
    yield from _whole(scene, 1)
    scene.merge("churn", 2)
    yield from _says(scene.deploy(), 0, "churn 2 answers 10 % of requests in dev, version 1 the others")
    for one in STEPS[1:]:
        if one <= percent:
            yield from _ended(step(scene, one), 0)
    yield from _at(scene, percent)


def _at(scene: Scene, percent: int) -> Iterator[str]:
    """Look whether churn 2 answers this share beside 1, on every gateway, and both are loaded everywhere."""
    route = scene.routes().route("churn")
    live, canary = route.live, route.canary
    if live is None or canary is None:
        yield f"there is no canary: {route}"
        return
    expected = Canary(canary.target, percent, "x-user-id", scene.version("churn", 2).entry.digest)
    if (live.version, canary.target.version, canary) != (1, 2, expected):
        yield f"the route is {route}"
    yield from _served(scene, {1, 2}, {live, canary.target})
    if (alias := scene.look().aliases.get(("churn", "dev"))) != 1:
        yield f"the alias is at {alias}"


def _whole(scene: Scene, version: int) -> Iterator[str]:
    """Look whether this version alone answers, on every gateway."""
    route = scene.routes().route("churn")
    if route.live is None or route.live.version != version or route.canary is not None:
        yield f"the route is {route}"
        return
    yield from _served(scene, {version}, {route.live})
    if (alias := scene.look().aliases.get(("churn", "dev"))) != version:
        yield f"the alias is at {alias}"


def _served(scene: Scene, versions: set[int], targets: set[Target]) -> Iterator[str]:
    scene.look(ask=False)  # while it was deployed, users had the versions before, too
    look, table = scene.look(), scene.routes()
    for answer in sorted(look.answers, key=str):
        if answer.status != 200 or answer.version not in versions or not answer.whole:
            yield f"a user was told {answer}"
    for n, there in enumerate(look.tables, 1):
        if (there.generation, there.models) != (table.generation, table.models):
            yield f"gateway {n} serves {there}, not {table}"
    for n, ready in enumerate(look.ready, 1):
        for target in targets:
            if ready.get((target.triton_model, target.version)) != scene.version("churn", target.version).adds:
                yield f"Triton {n} does not answer rightly for {target}: {ready}"


def _of_rollout(scene: Scene) -> list[DeploymentRecord]:
    return [r for r in scene.deployments() if r.model == "churn" and r.rollout and len(r.rollout.steps) > 1]


def _ended(ended: Ended, code: int) -> Iterator[str]:
    if ended.code != code:
        yield f"it ended with {ended.code} instead of {code}: {ended.said}"


def _says(ended: Ended, code: int, text: str) -> Iterator[str]:
    yield from _ended(ended, code)
    if text not in ended.said or (not text and "rolling out" in ended.said):
        yield f"it does not say {text!r}: {ended.said}"


ROWS = (
    Row("a canary goes through", _goes_through),
    Row("rolled back at 10 %", lambda scene: _rolled_back(scene, 10)),
    Row("rolled back at 50 %", lambda scene: _rolled_back(scene, 50)),
    Row("reverted on main at 10 %", lambda scene: _reverted(scene, 10)),
    Row("reverted on main at 50 %", lambda scene: _reverted(scene, 50)),
)
SAMPLED = ("a canary goes through",)
PART = Part("rollout", "canaries that go through, and everything that ends one", run)
