"""SIGKILL at every mutating system call and at every outgoing request, then recovery, then the invariants.

**System calls.** A first run is logged by strace; each of its calls that changes the share or the record store is a
point. A run of its own is killed when it enters that call, so the world is what all calls before it made of it.
(Calls on the verb's own temporary files are points too with ``--everything``; nobody else reads those.)

**Requests.** The servers of the scene kill the verb when its k-th request arrives: before it is handled, and, as a
point of its own, after it is handled and before it is answered. Requests to two Tritons at once arrive in either
order.

After the kill the invariants of any moment must hold; then deploy runs again until it says that it is done, and all
must agree. A user asks all the while.

**Pairs.** The same, and the recovery is killed as well, at each of its own points, and recovered from again. Recovery
sees nothing of a first kill but the state that it left, so of first kills that left the same one is tried. The
product is large all the same: by default every 16th first and every 12th second point are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.reliability import invariants
from tests.reliability.matrix import Matrix, Part, Point
from tests.reliability.scenarios import DEPLOY, SCENARIOS, Scenario
from tests.reliability.scene import OPENING, Call, Ended, Kill, Scene, calls

FIRST_STRIDE, SECOND_STRIDE = 16, 12
TRIES = 8
PAIRS = "deploy, update: pairs"


@dataclass(frozen=True)
class Spot:
    """A place to kill at. ``opened``: for an open, the how-manieth it is of those that create; its number varies."""

    kill: Kill
    name: str
    opened: int = 0


def spots(
    scene: Scene, ended: Ended, log_calls: Sequence[Call], *, everywhere: bool
) -> tuple[list[Spot], list[Spot]]:
    """Return where the run that was logged can be killed: at system calls, and at requests."""
    mutating = [call for call in log_calls if call.mutates]
    at_calls, opened = [], 0
    for call in mutating:
        opened += call.name in OPENING
        if everywhere or call.is_on(scene.share, scene.records):
            kill = Kill(inject=f"{call.name} at {call.number}")
            at_calls.append(Spot(kill, f"{kill} {call.shape}", opened if call.name in OPENING else 0))
    requests = scene.look(ask=False).requests
    at_requests = [
        Spot(kill, f"{kill}: {request}")
        for number, request in enumerate(requests, 1)
        for after in (False, True)
        for kill in [Kill(request=number, after=after)]
    ]
    return at_calls, at_requests


def killed_at(
    scene: Scene, spot: Spot, verb: Sequence[str], restore: Callable[[], object], *, changes: Path | None = None
) -> Ended:
    """Run the verb and kill it at the spot; ``restore`` puts the start in place, again where the kill missed.

    ``changes`` has strace write down, in full, what was changed before.
    """
    kill, log = spot.kill, changes or scene.home / "kill.log"
    for _ in range(TRIES):
        restore()
        ended = scene.run(*verb, kill=kill, log=log if spot.opened or changes else None, data=changes is not None)
        if not spot.opened:
            if ended.killed:
                return ended
            continue
        # How often directories are opened to be read differs from run to run: see which open it was, and move on.
        seen = [call for call in calls(log) if call.name in OPENING]
        creating = sum(call.mutates for call in seen)
        if ended.killed and seen[-1].mutates and creating == spot.opened:
            return ended
        name, _, number = kill.inject.partition(" at ")
        kill = Kill(inject=f"{name} at {int(number) + (1 if creating < spot.opened else -1)}")
    return ended


def run(matrix: Matrix) -> Iterator[Point]:
    """Try every scenario, then the pairs."""
    scene = matrix.scene()
    yield from kills(matrix, [scenario for scenario in SCENARIOS if not matrix.sample or scenario.name in SAMPLE])
    if not matrix.sample and matrix.wants(PAIRS):
        yield from pairs(matrix, scene, next(s for s in SCENARIOS if PAIRS.startswith(s.name)))


def kills(matrix: Matrix, scenarios: Sequence[Scenario]) -> Iterator[Point]:
    """Kill the verb of each scenario at each of its points, and recover."""
    scene = matrix.scene()
    for scenario in scenarios:
        rows = f"{scenario.name}: calls", f"{scenario.name}: requests"
        if not any(map(matrix.wants, rows)):
            continue
        log = scene.home / "crash.log"
        scenario.restore(scene)
        ended = scene.run(*scenario.verb, log=log)
        if ended.code not in scenario.codes:
            yield Point(rows[0], "no kill", [f"ended with {ended.code}: {ended.said}"])
            continue
        at_calls, at_requests = spots(scene, ended, calls(log), everywhere=matrix.everything)
        scenario.mended(scene)
        problems = invariants.converges(scene, scenario.allowed)
        yield Point(rows[0], "no kill", problems)
        for row, found in zip(rows, (at_calls, at_requests), strict=True):
            for spot in matrix.mine(matrix.some(found)) if matrix.wants(row) else ():
                yield Point(row, spot.name, one(scene, scenario, spot))


def one(scene: Scene, scenario: Scenario, spot: Spot) -> list[str]:
    """Kill there, recover, and return what does not hold."""
    ended = killed_at(scene, spot, scenario.verb, lambda: scenario.restore(scene))
    return [*_missed(ended, spot), *after_a_kill(scene, scenario)]


def after_a_kill(scene: Scene, scenario: Scenario) -> list[str]:
    """Return what does not hold now, and once deploy was run again."""
    problems = invariants.always(scene, scene.look(), scenario.allowed)
    scenario.mended(scene)
    return [*problems, *invariants.converges(scene, scenario.allowed)]


def _missed(ended: Ended, spot: Spot) -> list[str]:
    return [] if ended.killed else [f"the kill missed {spot.name}: ended with {ended.code}"]


def pairs(matrix: Matrix, scene: Scene, scenario: Scenario) -> Iterator[Point]:
    """Kill the deployment, and kill its recovery."""
    row, log = PAIRS, scene.home / "pairs.log"
    scenario.restore(scene)
    ended = scene.run(*scenario.verb, log=log)
    at_calls, at_requests = spots(scene, ended, calls(log), everywhere=False)
    tried, seen = 0, set[str]()
    firsts = matrix.some([*at_calls, *at_requests], stride=FIRST_STRIDE)
    for number, first in enumerate(firsts):
        killed_at(scene, first, scenario.verb, lambda: scenario.restore(scene))
        state = scene.save("pair")
        is_new = state not in seen
        seen.add(state)
        if not is_new or number < matrix.skip or not matrix.is_mine(number):
            scene.forget("pair")
            continue

        def restore() -> None:
            scene.restore("pair", models=tuple(scenario.allowed))
            scenario.faults(scene)

        restore()
        recovered = scene.run(*DEPLOY, log=log)
        again_at_calls, again_at_requests = spots(scene, recovered, calls(log), everywhere=False)
        for second in matrix.some([*again_at_calls, *again_at_requests], stride=SECOND_STRIDE):
            if matrix.points is not None and tried >= matrix.points:
                break
            tried += 1
            ended = killed_at(scene, second, DEPLOY, restore)
            problems = [*_missed(ended, second), *after_a_kill(scene, scenario)]
            yield Point(row, f"{first.name}, then {second.name}", problems)
        scene.forget("pair")
    matrix.say(f"  {row}: {len(firsts)} first kills leave {len(seen)} states of the world")


SAMPLE = ("deploy, update", "deploy, one of five put back")
PART = Part(
    "crash", "SIGKILL at every mutating system call and every outgoing request, and once more in recovery", run
)
