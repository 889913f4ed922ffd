"""Bakes: what ``watch`` does of a version that fails, and of one that does well, with kills and company.

Users ask all the while, and are answered by one of the two versions. Beside them others ask with numbers that the new
version cannot take, so that a share of its requests fails. In other rows it answers well, and otherwise than the
version before. After a kill ``watch`` looks again, and what was due is done, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.reliability import invariants
from tests.reliability.crash import killed_at, spots
from tests.reliability.matrix import Matrix, Part, Point
from tests.reliability.rollout import step
from tests.reliability.scenarios import expect, served
from tests.reliability.scene import Ended, Kill, Paused, Scene, calls

WATCH = ("watch", "--env", "dev", "--once")
ALLOWED = {"churn": frozenset({1, 2})}
LARGE = 1000.0
LOOKS = 8
"""Three steps, each with a look that waits for requests, and one that finishes what was cut off."""


@dataclass(frozen=True)
class Bake:
    """A starting state, what users ask then, how ``watch`` ends, and which version they have when all is over."""

    name: str
    steps: tuple[int, ...]
    fails: bool
    percent: int
    code: int
    ends_at: int
    """Percent of the requests that the new version gets in the end."""
    compares: bool = False
    """Whether gateways compare what it decides with what the version before decides, which is always another."""
    flips: bool = False
    """Whether the rules take that for a breach."""

    @property
    def is_bad(self) -> bool:
        """Whether it is put back."""
        return self.fails or self.flips

    @property
    def rules(self) -> dict[str, Any]:
        """What the settings say."""
        minutes = 30 if self.is_bad else 1e-6
        # Times of a stand-in on a busy machine say nothing.
        bake = {"minutes": minutes, "min_requests": 20, "max_error_rate": 0.01, "max_p95_worse": 1000}
        if self.compares or self.flips:
            bake |= {"max_flips": 0.02 if self.flips else 0.9999}
        return {"churn": {"steps": list(self.steps), "key": "x-user-id", "bake": bake}}

    def prepare(self, scene: Scene) -> None:
        """Bring churn 2 as far as it is at the start; where all users have it, that is done anew each time."""
        served(scene, "churn", 1)
        scene.merge("churn", 2)
        if self.steps[0] < 100:
            expect(scene.deploy(), 0)
            if self.percent != self.steps[0]:
                expect(step(scene, self.percent), 0)

    def restore(self, scene: Scene) -> None:
        """Put the start in place, and have users ask: what gateways counted is in their memory only."""
        scene.seed = 0
        if not scene.has(self.name):
            scene.restore("empty", models=("churn",))
            self.prepare(scene)
            scene.save(self.name)
        scene.restore(self.name, models=("churn",))
        if self.steps[0] == 100:
            scene.tell("ask_as_users", model="churn", times=150, large=0)
            expect(scene.deploy(), 0)
        if self.fails:
            scene.tell("fail_from", model="churn", version=2, number=LARGE)
        scene.tell("ask_as_users", model="churn", times=200, large=100 if self.fails else 0)


BAKES = (
    Bake("bake, all users have it", (100,), fails=True, percent=100, code=1, ends_at=0),
    Bake("bake, a canary at 50 %", (50, 100), fails=True, percent=50, code=1, ends_at=0),
    Bake("bake, the next step is due", (10, 50, 100), fails=False, percent=10, code=0, ends_at=100),
    Bake("bake, it does well", (100,), fails=False, percent=100, code=0, ends_at=100),
    Bake("bake, all users get other decisions", (100,), fails=False, percent=100, code=1, ends_at=0, flips=True),
    Bake("bake, a canary decides otherwise", (50, 100), fails=False, percent=50, code=1, ends_at=0, flips=True),
    Bake("bake, decisions may be others", (50, 100), fails=False, percent=50, code=0, ends_at=100, compares=True),
)
SAMPLED = ("bake, a canary at 50 %", "two watches at once")


def run(matrix: Matrix) -> Iterator[Point]:
    """Try each row, then kill ``watch`` at each of its points, and stop one there while another looks."""
    scene = matrix.scene()
    for row in ROWS:
        if matrix.wants(row.name) and (not matrix.sample or row.name in SAMPLED):
            yield from row.act(matrix, scene)
    for bake in BAKES:
        if not matrix.sample or bake.name in SAMPLED:
            yield from _kills(matrix, scene, bake)


def _kills(matrix: Matrix, scene: Scene, bake: Bake) -> Iterator[Point]:
    rows = f"{bake.name}: calls", f"{bake.name}: requests"
    if not any(map(matrix.wants, rows)):
        return
    with scene.settings_with(rollout=bake.rules):
        log = scene.home / "bake.log"
        bake.restore(scene)
        ended = scene.run(*WATCH, log=log)
        if ended.code != bake.code:
            yield Point(rows[0], "no kill", [f"ended with {ended.code}: {ended.said}"])
            return
        at_calls, at_requests = spots(scene, ended, calls(log), everywhere=matrix.everything)
        yield Point(rows[0], "no kill", list(_after_a_kill(scene, bake)))
        for row, found in zip(rows, (at_calls, at_requests), strict=True):
            for spot in matrix.mine(matrix.some(found)) if matrix.wants(row) else ():
                ended = killed_at(scene, spot, WATCH, lambda: bake.restore(scene))
                missed = [] if ended.killed else [f"the kill missed {spot.name}: ended with {ended.code}"]
                yield Point(row, spot.name, [*missed, *_after_a_kill(scene, bake)])


def _after_a_kill(scene: Scene, bake: Bake) -> Iterator[str]:
    """Look again until nothing is due, as a watch does that is started anew."""
    yield from invariants.always(scene, scene.look(), ALLOWED)
    for _ in range(LOOKS):
        if _is_there(scene, bake):
            break
        scene.tell("ask_as_users", model="churn", times=40, large=0)
        ended = scene.run(*WATCH)
        if ended.code not in (0, 1):
            yield f"watch ended with {ended.code}: {ended.said}"
    yield from _over(scene, bake)


def _is_there(scene: Scene, bake: Bake) -> bool:
    route = scene.routes().route("churn")
    percent = route.canary.percent if route.canary else 100 if route.live and route.live.version == 2 else 0
    done = bake.ends_at != 100 or any("baked" in one for one in _notes(scene))
    return percent == bake.ends_at and done


def _over(scene: Scene, bake: Bake) -> Iterator[str]:
    """Look whether what was due was done, once, and everybody agrees."""
    if not _is_there(scene, bake):
        yield f"the route is {scene.routes().route('churn')}, notes are {_notes(scene)}"
    yield from invariants.converges(scene, ALLOWED)
    if not _is_there(scene, bake):
        yield f"after deploy the route is {scene.routes().route('churn')}"
    ways_back = [record for record in scene.deployments() if record.way_back and record.is_well]
    if len(ways_back) != (1 if bake.is_bad else 0):
        yield f"there are {len(ways_back)} records of a way back"
    for record in ways_back:
        if ("of decisions of 2 are others" if bake.flips else "requests to 2 failed") not in record.reason:
            yield f"{record.id} says why: {record.reason!r}"
    steps = [r.rollout.percent for r in scene.deployments() if r.rollout and r.model == "churn" and r.before]
    if len(set(steps)) != len(steps):
        yield f"a step was made twice: {steps}"
    expected = "breach" if bake.is_bad else "baked" if bake.ends_at == 100 else f"step-{bake.percent:03d}"
    if expected not in {name for one in _notes(scene) for name in one}:
        yield f"there is no note of {expected}: {_notes(scene)}"


def _notes(scene: Scene) -> list[set[str]]:
    ids = {record.rollout.id if record.rollout else record.id for record in scene.deployments()}
    return [set(scene.ledger.rollout_notes(one)) for one in sorted(ids)]


# --- company, and what is away --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """Something that happens besides; ``act`` yields points."""

    name: str
    act: Callable[[Matrix, Scene], Iterator[Point]]


def _two_at_once(matrix: Matrix, scene: Scene) -> Iterator[Point]:
    """One watch stands still at each of its requests while another looks; then it wakes up."""
    name = "two watches at once"
    for bake in BAKES if not matrix.sample else BAKES[1:2]:
        with scene.settings_with(rollout=bake.rules):
            bake.restore(scene)
            scene.run(*WATCH)
            requests = len(scene.look(ask=False).requests)
            numbers = [(number, after) for number in range(1, requests + 1) for after in (False, True)]
            for number, after in matrix.mine(matrix.some(numbers)):
                bake.restore(scene)
                spot = Kill(request=number, after=after)
                first = scene.paused(*WATCH, stop=spot)
                second = scene.run(*WATCH)
                ended = first.wake() if isinstance(first, Paused) else first
                problems = [f"{one.said}" for one in (second, ended) if one.code not in (0, 1)]
                yield Point(name, f"{bake.name}, {spot}", [*problems, *_after_a_kill(scene, bake)])


def _github_is_away(_: Matrix, scene: Scene) -> Iterator[Point]:
    """A breach is put back all the same; the revert follows when GitHub answers."""
    for bake in BAKES[:2]:
        with scene.settings_with(rollout=bake.rules):
            bake.restore(scene)
            scene.tell("stop", names=("forge",))
            ended = scene.run(*WATCH)
            problems = list(_ended(ended, 1))
            if not _is_there(scene, bake):
                problems.append(f"users are not back: {scene.routes().route('churn')}")
            scene.tell("start")
            yield Point("GitHub is away", bake.name, [*problems, *_over(scene, bake)])


def _step_without_github(_: Matrix, scene: Scene) -> Iterator[Point]:
    """A step waits for GitHub, and is made when it answers."""
    bake = BAKES[2]
    with scene.settings_with(rollout=bake.rules):
        bake.restore(scene)
        scene.tell("stop", names=("forge",))
        problems = list(_ended(scene.run(*WATCH), 1))
        scene.tell("start")
        yield Point("a step waits for GitHub", bake.name, [*problems, *_after_a_kill(scene, bake)])


def _slack_is_away(_: Matrix, scene: Scene) -> Iterator[Point]:
    bake = BAKES[0]
    with scene.settings_with(rollout=bake.rules):
        bake.restore(scene)
        scene.tell("slack_fails")
        problems = list(_ended(scene.run(*WATCH), 1))
        scene.tell("slack_works")
        yield Point("Slack is away", bake.name, [*problems, *_over(scene, bake)])


def _ended(ended: Ended, code: int) -> Iterator[str]:
    if ended.code != code:
        yield f"it ended with {ended.code} instead of {code}: {ended.said}"


ROWS = (
    Row("two watches at once", _two_at_once),
    Row("GitHub is away", _github_is_away),
    Row("a step waits for GitHub", _step_without_github),
    Row("Slack is away", _slack_is_away),
)
PART = Part(
    "bake", "watch puts back what fails and goes on with what does well, killed anywhere, and two at once", run
)
