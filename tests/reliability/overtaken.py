"""A deployer that stands still past its turn, and wakes when another one has long finished.

It is stopped (SIGSTOP) at each of its requests, before or after it is answered, and at each of its mutating system
calls on the share and the record store. Meanwhile another one does its work: a rollback, which overtakes, or a second
deployment, which had enough of waiting. Then the first goes on. The one call that it was stopped in still happens,
late; that must change nothing that anybody uses, and nothing else may follow: Triton, the gateways, the routes, the
versions, the records and Slack stay as the other one left them, and the late one says that its turn is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bot.domain.record import DeploymentRecord
from bot.domain.routes import RouteTable
from tests.reliability import invariants
from tests.reliability.crash import Spot, spots
from tests.reliability.matrix import Matrix, Part, Point
from tests.reliability.scenarios import DEPLOY, ROLLBACK, Scenario, served
from tests.reliability.scene import Ended, Paused, Scene, calls

STRIDE = 2


@dataclass(frozen=True)
class Seen:
    """What anybody uses, as the other deployer left it."""

    routes: RouteTable
    tables: list[RouteTable]
    ready: list[dict[tuple[str, int], tuple[float, ...]]]
    messages: list[tuple[str, str]]
    records: list[DeploymentRecord]

    @classmethod
    def now(cls, scene: Scene, *, quiet: bool = True) -> Seen:
        look = scene.look(quiet=quiet)
        return cls(scene.routes(), look.tables, look.ready, look.messages, scene.deployments())

    def changed(self, later: Seen) -> list[str]:
        """Return what is not as it was."""
        return [
            f"after it woke, {name} changed from {getattr(self, name)} to {getattr(later, name)}"
            for name in ("routes", "tables", "ready", "messages", "records")
            if getattr(self, name) != getattr(later, name)
        ]


def _another_model(scene: Scene) -> None:
    served(scene, "churn", 1)
    served(scene, "churn", 2)
    scene.merge("wine", 1)


def _same_model(scene: Scene) -> None:
    served(scene, "churn", 1)
    scene.merge("churn", 2)


CHURN = frozenset({1, 2})
ROWS = (
    (Scenario("overtaken by a rollback", _another_model, {"churn": CHURN, "wine": frozenset({None, 1})}), ROLLBACK),
    (Scenario("overtaken by a deployment", _another_model, {"churn": CHURN, "wine": frozenset({None, 1})}), DEPLOY),
    (Scenario("stopped by a rollback", _same_model, {"churn": CHURN}), ROLLBACK),
)


def run(matrix: Matrix) -> Iterator[Point]:
    """Yield a point for each place where it stands still."""
    yield from standing_still(matrix, ROWS[: 1 if matrix.sample else None])


def standing_still(matrix: Matrix, rows: Iterable[tuple[Scenario, tuple[str, ...]]]) -> Iterator[Point]:
    """Have the verb of each scenario stand still at each of its places, while the other one works."""
    scene = matrix.scene()
    for scenario, other in rows:
        if not matrix.wants(scenario.name):
            continue
        log = scene.home / "overtaken.log"
        scenario.restore(scene)
        ended = scene.run(*scenario.verb, log=log)
        at_calls, at_requests = spots(scene, ended, calls(log), everywhere=False)
        for spot in matrix.some([*at_calls, *at_requests], stride=STRIDE):
            if not spot.opened:
                yield Point(scenario.name, f"standing still at {spot.name}", one(scene, scenario, other, spot))


def one(scene: Scene, scenario: Scenario, other: tuple[str, ...], spot: Spot) -> list[str]:
    """Stop it there, let the other work, wake it, and return what does not hold."""
    scenario.restore(scene)
    turns = _turns(scene)
    stopped = scene.paused(*scenario.verb, stop=spot.kill)
    if not isinstance(stopped, Paused):
        return _of_exit(stopped, {0})
    had_its_turn = _turns(scene) > turns
    worked = scene.run(*other)
    before = Seen.now(scene, quiet=False)
    problems = [f"the other one: {said}" for said in _of_exit(worked, {0})]
    late = stopped.wake()
    problems += [f"the late one: {said}" for said in _of_exit(late, {0, 1})]
    if had_its_turn:
        if late.code == 1 and "is over" not in late.said and "by a later" not in late.said:
            problems.append(f"the late one does not say that its turn is over: {late.said}")
        problems += before.changed(Seen.now(scene))
    problems += invariants.always(scene, scene.look(), scenario.allowed)
    return [*problems, *invariants.converges(scene, scenario.allowed)]


def _turns(scene: Scene) -> int:
    return max((int(path.name) for path in (scene.state / "turns").iterdir()), default=0)


def _of_exit(ended: Ended, codes: set[int]) -> list[str]:
    return [] if ended.code in codes else [f"it ended with {ended.code}: {ended.said}"]


PART = Part("overtaken", "a deployer that stands still past its turn wakes up late, and touches nothing", run)
