"""Lost writes: the power goes, and the disk forgets what was not synced (``disk.py`` says what it may forget).

The verb is killed at each of its changes to the share and the record store, as in ``crash.py``, and its calls are
written down up to there. From them, the tree that a disk may be left with is made and put in the place of the real
one, several times: once with everything lost that was not synced, then with random parts of it lost (seeded by the
point's number, so that a failure can be run again). Every second time the gateways have restarted as well. Then the
invariants must hold, and a recovery must converge. So a version directory is whole or absent, and routes, journal and
records are the old or the new, never torn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.reliability.crash import Spot, after_a_kill, killed_at, spots
from tests.reliability.disk import Disk
from tests.reliability.matrix import Matrix, Part, Point
from tests.reliability.scenarios import SCENARIOS, Scenario
from tests.reliability.scene import Scene, calls

ROWS = ("deploy, first", "deploy, update", "deploy, put back", "rollback --now", "cleanup")
RANDOM = 2


def run(matrix: Matrix) -> Iterator[Point]:
    """Try each prefix of each scenario."""
    scene = matrix.scene()
    for scenario in SCENARIOS:
        if scenario.name not in (ROWS[1:2] if matrix.sample else ROWS) or not matrix.wants(scenario.name):
            continue
        log = scene.home / "lost.log"
        scenario.restore(scene)
        ended = scene.run(*scenario.verb, log=log)
        at_calls, _ = spots(scene, ended, calls(log), everywhere=False)
        tries = [(number, spot, seed) for number, spot in enumerate(at_calls) for seed in range(RANDOM + 1)]
        for number, spot, seed in matrix.some(tries):
            disk = _left_dead(scene, scenario, spot)
            if disk is None:
                yield Point(scenario.name, spot.name, ["the kill missed"])
                continue
            lost = len(disk.unsynced)
            luck = random.Random(f"{scenario.name} {number} {seed}")  # noqa: S311
            if seed:
                disk.cut(lambda _, luck=luck: luck.random() < 0.5)  # type: ignore[misc]
            else:
                disk.cut(lambda _: False)
            if seed % 2:
                scene.tell("restart_gateways")
            name = f"{spot.name}, {'all' if not seed else f'part {seed}'} of {lost} lost"
            yield Point(scenario.name, name, after_a_kill(scene, scenario))


def _left_dead(scene: Scene, scenario: Scenario, spot: Spot) -> Disk | None:
    """Kill the verb there; return the disk with all that it did."""
    log, disks = scene.home / "changes.log", []

    def restore() -> None:
        scenario.restore(scene)
        disks.append(Disk([scene.share, scene.records]))

    ended = killed_at(scene, spot, scenario.verb, restore, changes=log)
    if not ended.killed:
        return None
    disks[-1].record(log)
    if wrong := disks[-1].misses():
        raise RuntimeError(f"the log does not lead to the tree that is there: {'; '.join(wrong)}")
    return disks[-1]


PART = Part("lost", "a power cut at every change, after which the disk forgets what was not synced", run)
