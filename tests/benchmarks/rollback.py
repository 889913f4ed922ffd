"""How long users wait for the earlier version after a rollback with ``--now``, and how much of that is the bot's.

On a whole platform of its own: two Tritons that still have the earlier version loaded, two gateways that users ask
100 times a second each, and the command as a person types it, in a process of its own; and again in a process that
has run before, as `/rollback … now` does in the service for Slack. Both are compared with the least that puts users
back and proves it (:mod:`tests.benchmarks.least_rollback`): from a process that runs already and holds all that it
needs, and as a new process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from bot.domain.routes import Target
from bot.sandbox.platform import BOT, OWNER, Shape
from tests.benchmarks.asking import Asking, Heard, Load
from tests.benchmarks.least_rollback import Goal, Least
from tests.benchmarks.measuring import Bench, Benchmark, Figure
from tests.operations.world import Registered, World
from tests.reliability.outcomes import LENIENT, world_of_its_own
from tests.reliability.users import question

RATE = 100.0
AS_A_PROCESS = "the least that goes back, as a new process: libraries, Git's fetch of main, and the floor"
FLOOR = "routes written, gateways reloaded, all asked once, by a process that runs already"


@dataclass
class _Wait:
    """Seconds from the beginning: until the last gateway answered with the earlier version, and until the end."""

    last_gateway: float
    end: float
    requests: int = 0
    failures: int = 0


def _run(bench: Bench) -> Iterator[Figure]:
    servers = 1 if bench.quick else 2
    with world_of_its_own(Shape(tritons={"dev": servers}, gateways={"dev": servers})) as world:
        model = world.model(metrics=LENIENT)
        earlier, later = world.served(world.register(model)), world.served(world.register(model, "better"))

        def command() -> None:
            words = ("rollback", model, "--env", "dev", "--now", "--root", str(world.root))
            variables = {**os.environ, **world.endpoints.variables(login=BOT)}
            done = subprocess.run(
                [sys.executable, "-m", "bot", *words], env=variables, capture_output=True, text=True
            )
            if done.returncode != 0:
                raise RuntimeError(f"rollback ended with {done.returncode}: {done.stderr}")

        def timed(work: Callable[[], None]) -> _Wait:
            waited = _watched(world, model, work, earlier=earlier, later=later)
            _forward(world, model, later)
            return waited

        def inside() -> None:
            done = world.bot("rollback", model, "--env", "dev", "--now")
            if done.code != 0:
                raise RuntimeError(f"rollback ended with {done}")

        with ExitStack() as opened:
            goal = _goal(world, model, earlier)
            floor = opened.enter_context(closing(Least(goal)))
            works = {"command": command, "inside": inside, "floor": floor.run, "process": lambda: _least(goal)}
            found = bench.alternate({name: lambda work=work: timed(work) for name, work in works.items()})
    ours = found["command"]
    seconds, warm, bare = ([one.last_gateway for one in found[name]] for name in ("command", "inside", "floor"))
    note = (
        f"{servers} gateways, {servers} Tritons; the command itself ends after {_middle([o.end for o in ours]):.2f} s"
    )
    yield Figure("rollback --now, command to the last gateway", seconds, goal=0.4, note=note)
    yield Figure("rollback --now, against the floor", seconds, FLOOR, bare)
    note = f"the floor takes {_middle(bare) * 1e3:.0f} ms; Python's start, imports and Git's fetch are the bot's"
    # A new process has a goal for all that users wait; its own part is a figure to look at.
    for name, took, goal in (("as a new process", seconds, None), ("in a process that runs, as in Slack", warm, 250)):
        own = [(one - other) * 1e3 for one, other in zip(took, bare, strict=True)]
        yield Figure(f"rollback --now, the bot's own part, {name}", own, goal=goal, unit="ms", note=note)
    alone = [one.last_gateway for one in found["process"]]
    yield Figure("rollback --now, command to the last gateway", seconds, AS_A_PROCESS, alone)
    failed = [float(one.failures) for one in ours]
    asked = sum(one.requests for one in ours)
    yield Figure("rollback --now, requests that failed", failed, goal=0, unit="requests", note=f"of {asked}")


def _watched(world: World, model: str, work: Callable[[], None], *, earlier: Registered, later: Registered) -> _Wait:
    """Have users ask every gateway while ``work`` goes back."""
    began, end, heard = _asked(world, model, work)
    for each in heard:
        if set(each.versions) != {earlier.version, later.version}:
            raise RuntimeError(f"a gateway answered with {set(each.versions)}")
    failures = sum(len(each.failures) for each in heard)
    first = [_first(each, earlier.version) - began for each in heard]
    return _Wait(max(first), end, sum(len(each.waits) for each in heard), failures)


def _least(goal: Goal) -> None:
    subprocess.run([sys.executable, "-m", "tests.benchmarks.least_rollback", json.dumps(asdict(goal))], check=True)


def _asked(world: World, model: str, work: Callable[[], None]) -> tuple[float, float, list[Heard]]:
    """Have users ask every gateway while something runs; return when it began, how long it took, what they heard."""
    path = f"/v2/models/{model}/infer"
    with ExitStack() as running:
        users = [
            running.enter_context(Asking(Load(_port(one.url), path, question(), RATE, connections=4)))
            for one in world.endpoints.gateway["dev"]
        ]
        time.sleep(0.2)
        began = time.monotonic()
        work()
        end = time.monotonic() - began
        time.sleep(0.1)
        return began, end, [each.heard(stop=True) for each in users]


def _first(heard: Heard, version: int) -> float:
    """Return when the first answer of this version was there."""
    answers = zip(heard.meant, heard.waits, heard.versions, strict=True)
    return min(at + wait for at, wait, said in answers if said == version)


def _forward(world: World, model: str, later: Registered) -> None:
    """Bring the later version into service again: main asks for it all along."""
    if world.quarantined(model):
        lifted = world.promobot("quarantine", "lift", later.digest, "--env", "dev", "--reason", "again")
        assert lifted.code == 0, lifted
    said = world.bot("deploy", "--env", "dev")
    assert (said.code, world.version(model)) == (0, later.version), said


def _goal(world: World, model: str, earlier: Registered) -> Goal:
    ends = world.endpoints
    return Goal(
        state=str(ends.state("dev")),
        model=model,
        target=Target(model, earlier.version, earlier.digest).to_json(),
        token=ends.secrets.reload,
        question=question().decode(),
        gateways=[_port(one.url) for one in ends.gateway["dev"]],
        tritons=[one.grpc for one in ends.triton["dev"]],
        git=ends.clone_url.replace("://", f"://x-access-token:{ends.secrets.people[OWNER]}@", 1),
        desired="promotions/dev.yaml",
    )


def _port(url: str) -> int:
    return urlsplit(url).port or 80


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


BENCHMARK = Benchmark("rollback", "how long users wait for the earlier version after rollback --now", _run, slow=True)
