"""What must hold: while a verb is dead or at work, and once it was run again.

Each function returns what does not hold, a sentence each. What it is compared with comes from the test: the bytes of
every version as they were made, what main says, and which versions users may be answered with.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from bot.domain.bundled import bundle_in
from bot.domain.desired import SECTIONS, Change
from bot.domain.journal import Journal
from bot.domain.marker import MARKER_FILE
from bot.domain.plan import aimed_at, asked_for, serves, targets
from bot.domain.record import DeploymentRecord, known_entries, run_of, verified_entries
from bot.domain.release import Lane, Slot
from bot.domain.retirement import spent_by
from bot.domain.routes import RouteTable
from bot.domain.scope import revert_branch
from bot.errors import PromobotError
from bot.systems.triton.config import versions_of
from tests.reliability.scene import BUNDLE, Ended, Scene
from tests.reliability.servers import ENVIRONMENT, Look

Allowed = Mapping[str, frozenset[int | None]]
"""By model, the versions that users may get an answer from; None where it may not be in service yet."""

RUNS = 4
CODES = {0, 1, 4}


def always(scene: Scene, look: Look, allowed: Allowed) -> list[str]:
    """Return what is wrong at any moment, also right after a kill."""
    problems = [
        f"a user was told {answer}"
        for answer in sorted(look.answers, key=str)
        if not _is_fine(answer.status, answer.version, answer.whole, allowed.get(answer.model, frozenset()))
    ]
    problems += published(scene)
    problems += _of_routes(scene, look, allowed)
    problems += _of_bundles(scene, look)
    problems += _of_journal(scene)
    problems += twice_told(look)
    try:
        scene.deployments()
    except (PromobotError, ValueError) as error:
        problems.append(f"a record is torn: {error}")
    return problems


def _is_fine(status: int, version: int | None, whole: bool, allowed: frozenset[int | None]) -> bool:
    if status == 200:
        return whole and version in allowed
    return status == 404 and None in allowed


def published(scene: Scene) -> list[str]:
    """Return what lies in Triton's root and is no whole version, or does not belong there."""
    problems = []
    for folder in sorted(path for path in scene.repository.iterdir() if path.name != MARKER_FILE):
        model = folder.name.partition(".")[0].removesuffix("-shadow")
        for path in sorted(folder.iterdir()):
            if path.name == "config.pbtxt":
                try:
                    versions_of(path.read_text())
                except ValueError as error:
                    problems.append(f"{path} is torn: {error}")
                continue
            version = scene.versions.get((model, int(path.name) if path.name.isdecimal() else 0))
            if version is None:
                problems.append(f"{path} does not belong into Triton's root")
            elif _files(path) != version.files:
                problems.append(f"{path} is not whole: it holds {sorted(_files(path))}")
    return problems


def _files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if not p.is_dir()}


def _of_routes(scene: Scene, look: Look, allowed: Allowed) -> list[str]:
    try:
        written = scene.routes()
    except ValueError as error:
        return [f"routes.json is torn: {error}"]
    problems = []
    for name, table in [("routes.json", written), *((f"gateway {n}", t) for n, t in enumerate(look.tables, 1))]:
        if table.generation > written.generation:
            problems.append(f"{name} is at generation {table.generation}, routes.json at {written.generation}")
        for model, target in [(model, target) for model, route in table.models.items() for target in route.answering]:
            if target.version not in allowed.get(model, frozenset()):
                problems.append(f"{name} routes {model} to {target.version}")
            elif target.digest != scene.version(model, target.version).entry.digest:
                problems.append(f"{name} routes {model} {target.version} to a foreign digest")
            elif not any(scene.ledger.evidence_of(Slot.of("dev", model, "models"), target.digest)):
                problems.append(f"{name} routes {model} to {target.version}, for which there is no evidence")
    return problems


RELEASES = ((1, 1, 1), (2, 1, 2))
"""The versions of a bundle's parts that were released together."""


def _of_bundles(scene: Scene, look: Look) -> list[str]:
    """Return which routes have parts of two releases of a bundle."""
    problems = []
    for name, table in [
        ("routes.json", scene.routes()),
        *((f"gateway {n}", t) for n, t in enumerate(look.tables, 1)),
    ]:
        lives = [table.route(model).live for model in BUNDLE]
        aims = [aimed_at(table.route(model), Lane.LIVE) for model in BUNDLE]
        for served in (lives, aims):
            versions = tuple(target.version for target in served if target)
            if versions and versions not in RELEASES:
                problems.append(f"{name} routes a bundle to {versions}, which were never released together")
    return problems


def _of_journal(scene: Scene) -> list[str]:
    try:
        text = scene.model_repository.journal.read()
        if text is not None:
            Journal.model_validate_json(text)
    except ValueError as error:
        return [f"the journal is torn: {error}"]
    return []


def twice_told(look: Look) -> list[str]:
    """Return what people were told more than once."""
    counted = Counter(key for key, _ in look.messages)
    return [f"{number} messages about {key}" for key, number in counted.items() if number > 1]


def converges(scene: Scene, allowed: Allowed, *, first: Ended | None = None) -> list[str]:
    """Run deploy until it says that it is done, and return what does not hold then.

    Once is enough after most crashes; a run that finishes somebody else's failed deployment says so (exit code 1),
    and the next one must be done, or say what is held and why.
    """
    said: list[str] = []
    for _ in range(RUNS):
        ended = scene.deploy()
        look = scene.look()
        problems = [f"deploy ended with {ended.code}: {ended.said}"] if ended.code not in CODES else []
        problems += always(scene, look, allowed)
        if problems:
            return problems
        problems = done(scene, look, ended)
        if not problems:
            return []
        said.append(f"exit code {ended.code}: {ended.said.strip().splitlines()[-1] if ended.said.strip() else ''}")
    return [*problems, f"after {RUNS} runs, which said: {' | '.join(said)}"]


def done(scene: Scene, look: Look, ended: Ended) -> list[str]:
    """Return in what Git, the model repository, Tritons, gateways, records, Slack and MLflow do not agree."""
    table, records = scene.routes(), scene.deployments()
    problems, excused = _of_main(scene, look, table, records)
    if not problems and ended.code != (1 if excused else 0):
        problems.append(f"all is done, and the exit code is {ended.code}")
    for n, (there, problem) in enumerate(zip(look.tables, look.problems, strict=True), 1):
        if table.generation and (problem or (there.generation, there.models) != (table.generation, table.models)):
            problems.append(f"gateway {n} serves {there.generation}, not {table.generation} {problem or ''}")
    for target in targets(table):
        version = scene.version(target.triton_model.partition(".")[0].removesuffix("-shadow"), target.version)
        folder = scene.repository / target.triton_model
        if not (folder / str(target.version)).is_dir() or (folder / str(target.version)).stat().st_mode & 0o222:
            problems.append(f"{folder / str(target.version)} is not there, or may be written to")
        if target.version not in versions_of((folder / "config.pbtxt").read_text()):
            problems.append(f"{folder}/config.pbtxt does not name {target.version}")
        for n, ready in enumerate(look.ready, 1):
            if ready.get((target.triton_model, target.version)) != version.adds:
                problems.append(f"Triton {n} has {target.triton_model} {target.version} not READY, or answers wrong")
    for model, route in table.models.items():
        live = route.live
        if live and live.digest not in [
            entry.digest for _, entry in verified_entries(records, Slot.of("dev", model, "models"))
        ]:
            problems.append(f"{model} {live.version} is served, and no record says that it was verified")
        if live and look.aliases.get((model, ENVIRONMENT)) != live.version:
            problems.append(f"the alias {ENVIRONMENT} of {model} is at {look.aliases.get((model, ENVIRONMENT))}")
        if live and not any(a.model == model and a.version == live.version for a in look.answers):
            problems.append(f"nobody was answered by {model} {live.version}")
        if route.canary is not None:
            steps = [r for r in records if r.model == model and r.outcome == "rolling out" and r.rollout]
            told = steps[-1] if steps else None
            if told is None or not serves(route.canary.target, told.after):
                problems.append(f"{model} {route.canary.target.version} is a canary, and no record says so")
            elif told.rollout and told.rollout.percent != route.canary.percent:
                problems.append(
                    f"{model} is at {route.canary.percent} %, and {told.id} says {told.rollout.percent} %"
                )
    problems += _of_telling(scene, look, records)
    if scene.model_repository.journal.read() is not None:
        problems.append("the journal is still open")
    return problems


def _of_main(
    scene: Scene, look: Look, table: RouteTable, records: list[DeploymentRecord]
) -> tuple[list[str], list[str]]:
    """Return how what is served differs from main without a good reason, and the models that differ with one."""
    wanted, problems, excused = scene.desired, [], []
    serving = asked_for(table, known_entries(records))
    quarantined = scene.ledger.quarantined()
    bundle = bundle_in(wanted.models, BUNDLE[-1], BUNDLE)
    reverts = {branch for branch, _ in look.pulls}
    for section in SECTIONS:
        for model in {*wanted.section(section), *serving.section(section)}:
            asked, there = wanted.section(section).get(model), serving.section(section).get(model)
            if (asked and asked.digest) == (there and there.digest):
                continue
            of_bundle = bundle.digest if (section, model in BUNDLE) == ("models", True) else ""
            newest = next((r for r in reversed(records) if (r.model, r.section) == (model, section)), None)
            # Where no digest is to blame each run tries again, and Git is asked to follow meanwhile.
            tried = newest is not None and newest.outcome == "put back" and newest.after == asked
            is_held = asked is not None and bool({asked.digest, of_bundle} & quarantined.keys())
            # A retired model that a person brought back stays until main says so, too.
            leaves = Change(ENVIRONMENT, section, model, there, None, wanted.why_retired(section, model))
            came_back = asked is None and bool(leaves.retired) and spent_by(records, leaves) is not None
            waits = (asked is not None and (is_held or tried)) or came_back
            slot = Slot.of(ENVIRONMENT, BUNDLE[-1], section) if model in BUNDLE else leaves.slot
            if waits and revert_branch(slot) in reverts:
                excused.append(model)
            else:
                problems.append(
                    f"main asks for {model} {asked and asked.version}, {there and there.version} is served"
                )
    return problems, excused


def _of_telling(scene: Scene, look: Look, records: list[DeploymentRecord]) -> list[str]:
    told = {key.partition("/")[0] for key, _ in look.messages}
    # Of a bundle one message tells, whose key is the run's.
    happened = {run_of(record.id, ENVIRONMENT) if record.bundle else record.id for record in records}
    problems = [f"nobody was told of {key}" for key in sorted(happened - told)]
    problems += [f"{key} was told, and there is no record of it" for key in sorted(told - happened)]
    if waiting := sorted(path.name for path in (scene.state / "outbox").glob("*.json")):
        problems.append(f"in the outbox: {', '.join(waiting)}")
    return problems


def describe(look: Look) -> str:
    """Return what the servers have in memory, for whoever looks into a failure."""
    return json.dumps({"messages": look.messages, "pulls": look.pulls}, ensure_ascii=False)
