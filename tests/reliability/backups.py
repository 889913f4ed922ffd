"""A backup of the share that was taken at any moment of a deployment, and is restored when that is long over.

The verb of a scenario is killed at a point, which leaves the share as a backup of that moment has it. Then it is
finished, and the share is put back to that moment. Records, forge, Slack and MLflow stay as they are, and gateways
and Tritons keep what they have. Then ``reconcile`` runs, and all must agree. A user asks all the while, and never
gets an answer that is not of one whole version.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.reliability import invariants
from tests.reliability.crash import killed_at, spots
from tests.reliability.matrix import Matrix, Part, Point
from tests.reliability.scenarios import SCENARIOS, Scenario
from tests.reliability.scene import ENVIRONMENT, Scene, calls
from tests.reliability.servers import empty

TRIED = ("deploy, update", "deploy, put back", "deploy, one of five put back", "deploy, outbox", "rollback --now")
SAMPLE = TRIED[:1]
RECONCILE = ("reconcile", "--env", ENVIRONMENT)


def run(matrix: Matrix) -> Iterator[Point]:
    """Back up at each point of each scenario."""
    scene = matrix.scene()
    for scenario in SCENARIOS:
        if scenario.name not in (SAMPLE if matrix.sample else TRIED) or not matrix.wants(scenario.name):
            continue
        log = scene.home / "backups.log"
        scenario.restore(scene)
        ended = scene.run(*scenario.verb, log=log)
        at_calls, at_requests = spots(scene, ended, calls(log), everywhere=matrix.everything)
        for spot in matrix.mine(matrix.some([*at_calls, *at_requests])):
            killed_at(scene, spot, scenario.verb, lambda scenario=scenario: scenario.restore(scene))  # type: ignore[misc]
            yield Point(scenario.name, spot.name, restored(scene, scenario, scene.home / "backup"))


def restored(scene: Scene, scenario: Scenario, backup: Path) -> list[str]:
    """Back up what is there, go on to the end, restore the share; return what does not hold then."""
    shutil.copytree(scene.share, backup, symlinks=True)
    try:
        scenario.mended(scene)
        problems = invariants.converges(scene, scenario.allowed)
        before, messages = scene.routes().generation, scene.look().messages
        ids = {record.id for record in scene.deployments()}
        blamed = set(scene.ledger.quarantined())
        empty(scene.share)
        shutil.copytree(backup, scene.share, symlinks=True, dirs_exist_ok=True)
        ended = scene.run(*RECONCILE)
        if ended.code not in (0, 1):
            problems.append(f"reconcile ended with {ended.code}: {ended.said}")
        problems += invariants.converges(scene, scenario.allowed)
        if scene.routes().generation < before:
            problems.append(f"the generation fell from {before} to {scene.routes().generation}")
        if lost := ids - {record.id for record in scene.deployments()}:
            problems.append(f"records are gone: {lost}")
        if more := set(scene.ledger.quarantined()) - blamed:
            problems.append(f"blamed for being in a backup: {more}")
        if again := [one for one in messages if scene.look().messages.count(one) > messages.count(one)]:
            problems.append(f"told again: {again}")
        return problems
    finally:
        empty(backup)


PART = Part("backups", "a share that was backed up at any moment of a deployment, restored when that is over", run)
