"""Rollouts: canaries that grow step by step, and everything that ends them, at any percent and with kills in between.

Users ask all the while. What answers them is compared with the bytes of the version that gave the answer, and at any
moment it is one of the two that the rollout is about.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from bot.domain.record import DeploymentRecord
from bot.domain.routes import Canary, Target
from tests.reliability.crash import kills
from tests.reliability.matrix import Matrix, Part, Point
from tests.reliability.overtaken import standing_still
from tests.reliability.scenarios import DEPLOY, ROLLBACK, Scenario, expect, served
from tests.reliability.scene import BUNDLE, STEP, Ended, Scene
from tests.reliability.told import Row, as_told, told_meanwhile

STEPS = (10, 50, 100)
ROLLOUT: Mapping[str, Any] = {
    "churn": {"steps": list(STEPS), "key": "x-user-id"},
    "fraud": {"steps": [5, 100], "key": "x-user-id"},
}
DRIFT = ("drift", "--env", "dev")


def run(matrix: Matrix) -> Iterator[Point]:
    """Try each row once, then kill each scenario at each of its points."""
    with stepping(matrix.scene()):
        yield from as_told(matrix, ROWS, sampled=SAMPLED)
        yield from kills(matrix, [one for one in KILLED if not matrix.sample or one.name in SAMPLED])
        yield from standing_still(matrix, () if matrix.sample else OVERTAKEN)


def stepping(scene: Scene) -> contextlib.AbstractContextManager[None]:
    """Let changes of churn and of the bundle go out step by step."""
    return scene.settings_with(rollout=dict(ROLLOUT))


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


def _overtaken(scene: Scene, percent: int) -> Iterator[str]:
    """Main asks for a third version: it takes the canary's place, from its own first step."""
    yield from _begun(scene, percent)
    scene.merge("churn", 5)
    yield from _says(scene.deploy(), 0, "churn 5 answers 10 % of requests in dev, version 1 the others")
    yield from _at(scene, 10, canary=5)
    yield from _says(step(scene, 50), 0, "rolling out 50")
    yield from _at(scene, 50, canary=5)
    yield from _ended(scene.run(*DRIFT), 0)
    yield from _ended(step(scene, 100), 0)
    yield from _whole(scene, 5)


def _step_is_refused(scene: Scene) -> Iterator[str]:
    """A gateway refuses the reload: users get what was live, no digest is blamed, and it may begin anew."""
    yield from _begun(scene)
    scene.tell("refuse_step", gateway=2, model="churn", percent=50)
    yield from _says(step(scene, 50), 1, "put back 50")
    yield from _whole(scene, 1)
    if scene.ledger.quarantined():
        yield "a digest is in quarantine"
    if not scene.look().pulls:
        yield "no revert is open"
    scene.tell("accept_reload", gateway=2)
    yield from _ended(scene.deploy(), 0)
    yield from _at(scene, 10)
    ids = [record.rollout.id for record in _of_rollout(scene) if record.rollout]
    if ids[-1] in ids[:-1]:
        yield f"the second rollout has the id of the first: {ids}"
    yield from _ended(step(scene, 50), 0)
    yield from _ended(step(scene, 100), 0)
    yield from _whole(scene, 2)
    if scene.look().pulls:
        yield f"the revert is open still: {scene.look().pulls}"


def _cannot_be_switched(scene: Scene) -> Iterator[str]:
    """A gateway takes no reload before the step: the rollout stays where it is, and the step can be made later."""
    yield from _begun(scene)
    scene.tell("refuse_step", gateway=2, model="churn", percent=10)
    yield from _says(step(scene, 50), 1, "failed 50")
    scene.tell("accept_reload", gateway=2)
    yield from _at(scene, 10)
    yield from _ended(step(scene, 50), 0)
    yield from _at(scene, 50)


def _wrong_in_the_middle(scene: Scene) -> Iterator[str]:
    """The canary answers otherwise than it did when a step is proven: its digest is to blame, and it is gone."""
    yield from _begun(scene)
    target = scene.routes().route("churn").answering[1]
    scene.tell("answer_wrong", number=2, model=target.triton_model, version=target.version)
    yield from _says(step(scene, 50), 1, "put back 50")
    scene.look(ask=False)  # what it answered until then is the fault of this row
    yield from _whole(scene, 1)
    if scene.version("churn", 2).entry.digest not in scene.ledger.quarantined():
        yield "its digest is not in quarantine"
    yield from _ended(scene.deploy(), 1)  # held
    yield from _whole(scene, 1)


def _triton_restarts(scene: Scene) -> Iterator[str]:
    """A Triton comes up empty: the next deployment loads both versions, and changes no percent."""
    yield from _begun(scene)
    scene.tell("restart_triton", number=2)
    yield from _says(scene.deploy(), 0, "loaded churn 2 on triton-2 again")
    yield from _at(scene, 10, asked=False)
    yield from _ended(scene.run(*DRIFT), 0)
    scene.tell("restart_triton", number=1)
    yield from _ended(step(scene, 50), 0)
    yield from _at(scene, 50, asked=False)


def _retired(scene: Scene) -> Iterator[str]:
    """Main takes the model out of service: neither version answers."""
    yield from _begun(scene)
    scene.tell("ask_for", models=())
    scene.merge("churn", None)
    yield from _ended(scene.deploy(), 0)
    if scene.routes().route("churn").answering:
        yield f"the route is {scene.routes().route('churn')}"
    yield from _ended(scene.run(*DRIFT), 0)


def _slack_is_away(scene: Scene) -> Iterator[str]:
    """The step holds, its message waits, and its record says so until it is delivered."""
    yield from _begun(scene)
    scene.tell("slack_fails")
    yield from _says(step(scene, 50), 4, "rolling out 50")
    yield from _at(scene, 50)
    scene.tell("slack_works")
    yield from _ended(scene.deploy(), 0)
    newest = scene.deployments()[-1]
    if newest.outcome != "rolling out" or not all(criterion.holds for criterion in newest.criteria):
        yield f"the record tells {newest}"


def _bundle(scene: Scene) -> Iterator[str]:
    """All parts of a bundle go, and go back, together; a part that is the same in both has no canary."""
    yield from _bundle_begun(scene)
    yield from _ended(step(scene, 100, "tokens"), 0)
    table = scene.routes()
    lives = {model: route.live.version for model, route in table.models.items() if route.live}
    if table.canaries or lives != {"tokens": 2, "ranks": 1, "fraud": 2}:
        yield f"the routes are {table}"
    yield from _ended(scene.run(*DRIFT), 0)


def _bundle_rolled_back(scene: Scene) -> Iterator[str]:
    yield from _bundle_begun(scene)
    yield from _ended(scene.run("rollback", "tokens", "--env", "dev", "--now", "--reason", "worse"), 0)
    table = scene.routes()
    lives = {model: route.live.version for model, route in table.models.items() if route.live}
    if table.canaries or lives != {"tokens": 1, "ranks": 1, "fraud": 1}:
        yield f"the routes are {table}"
    yield from _ended(scene.deploy(), 1)  # what main asks for is held
    scene.merge_bundle(1, 1, 1)
    yield from _ended(scene.deploy(), 0)
    yield from _ended(scene.run(*DRIFT), 0)


def _bundle_begun(scene: Scene) -> Iterator[str]:
    scene.merge_bundle(1, 1, 1)
    yield from _ended(scene.deploy(), 0)
    scene.tell("ask_for", models=BUNDLE)
    scene.merge_bundle(2, 1, 2)
    yield from _says(scene.deploy(), 0, "fraud 2 answers 5 % of requests in dev, version 1 the others")
    canaries = scene.routes().canaries
    if {model: one.target.version for model, one in canaries.items()} != {"tokens": 2, "fraud": 2}:
        yield f"canaries are {canaries}"
    if len({(one.percent, one.key, one.salt) for one in canaries.values()}) != 1:
        yield f"the parts divide otherwise: {canaries}"
    for answer in sorted(scene.look().answers, key=str):
        if answer.status != 200 or not answer.whole:
            yield f"a user was told {answer}"
    yield from _ended(scene.deploy(), 0)
    if scene.routes().canaries != canaries:
        yield f"a deployment changed {canaries} to {scene.routes().canaries}"
    yield from _ended(scene.run(*DRIFT), 0)


# --- kills ----------------------------------------------------------------------------------------------------------


def _first_step(scene: Scene) -> None:
    served(scene, "churn", 1)
    scene.merge("churn", 2)


def _at_10(scene: Scene) -> None:
    _first_step(scene)
    expect(scene.deploy(), 0)


def _at_50(scene: Scene) -> None:
    _at_10(scene)
    expect(step(scene, 50), 0)


def _reverted_at_50(scene: Scene) -> None:
    _at_50(scene)
    scene.merge("churn", 1, evidence=False)


def _another_at_10(scene: Scene) -> None:
    _at_10(scene)
    scene.merge("churn", 5)


def _bundle_at_5(scene: Scene) -> None:
    scene.merge_bundle(1, 1, 1)
    expect(scene.deploy(), 0)
    scene.merge_bundle(2, 1, 2)
    expect(scene.deploy(), 0)


def _refuse_50(scene: Scene) -> None:
    scene.tell("refuse_step", gateway=2, model="churn", percent=50)


CHURN = {"churn": frozenset({1, 2})}
TO_50, TO_100 = (STEP, "churn", "50"), (STEP, "churn", "100")
KILLED = (
    Scenario("rollout, first step", _first_step, CHURN),
    Scenario("rollout, to 50 %", _at_10, CHURN, verb=TO_50),
    Scenario("rollout, to 100 %", _at_50, CHURN, verb=TO_100),
    Scenario("rollout, a step put back", _at_10, CHURN, verb=TO_50, faults=_refuse_50, codes=frozenset({1})),
    Scenario("rollout, rollback --now at 50 %", _at_50, CHURN, verb=ROLLBACK),
    Scenario("rollout, reverted at 50 %", _reverted_at_50, CHURN),
    Scenario("rollout, another at 10 %", _another_at_10, {"churn": frozenset({1, 2, 5})}),
    Scenario(
        "rollout, a bundle to 100 %",
        _bundle_at_5,
        {"tokens": frozenset({1, 2}), "ranks": frozenset({1}), "fraud": frozenset({1, 2})},
        verb=(STEP, "fraud", "100"),
    ),
)


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


def _at(scene: Scene, percent: int, *, canary: int = 2, asked: bool = True) -> Iterator[str]:
    """Look whether this canary of churn answers its share beside 1, on every gateway, and both are loaded everywhere.

    ``asked``: what users were told meanwhile counts, too.
    """
    route = scene.routes().route("churn")
    if route.live is None or route.canary is None:
        yield f"there is no canary: {route}"
        return
    target = route.canary.target
    expected = Canary(target, percent, "x-user-id", scene.version("churn", canary).entry.digest)
    if (route.live.version, target.version, route.canary) != (1, canary, expected):
        yield f"the route is {route}"
    yield from _served(scene, {1, canary} if asked else None, {route.live, target})
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


def _served(scene: Scene, versions: set[int] | None, targets: set[Target]) -> Iterator[str]:
    yield from told_meanwhile(scene) if versions is not None else ()
    look, table = scene.look(), scene.routes()
    for answer in sorted(look.answers, key=str):
        if versions is None:
            break
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


OVERTAKEN = (
    (Scenario("rollout, a step stopped by a rollback", _at_10, CHURN, verb=TO_50), ROLLBACK),
    (Scenario("rollout, a step overtaken by the same step", _at_10, CHURN, verb=TO_50), TO_50),
    (Scenario("rollout, a step overtaken by a deployment", _at_10, CHURN, verb=TO_50), DEPLOY),
)


ROWS = (
    Row("a canary goes through", _goes_through),
    Row("rolled back at 10 %", lambda scene: _rolled_back(scene, 10)),
    Row("rolled back at 50 %", lambda scene: _rolled_back(scene, 50)),
    Row("reverted on main at 10 %", lambda scene: _reverted(scene, 10)),
    Row("reverted on main at 50 %", lambda scene: _reverted(scene, 50)),
    Row("another version at 10 %", lambda scene: _overtaken(scene, 10)),
    Row("another version at 50 %", lambda scene: _overtaken(scene, 50)),
    Row("a gateway refuses a step", _step_is_refused),
    Row("a gateway cannot be switched", _cannot_be_switched),
    Row("a canary that begins to answer wrong", _wrong_in_the_middle),
    Row("a Triton restarts under a canary", _triton_restarts),
    Row("retired under a canary", _retired),
    Row("Slack is away at a step", _slack_is_away),
    Row("a bundle goes through", _bundle),
    Row("a bundle is rolled back", _bundle_rolled_back),
)
SAMPLED = ("a canary goes through", "rollout, to 50 %")
PART = Part("rollout", "canaries that go through, and everything that ends one; kills at every point of a step", run)
