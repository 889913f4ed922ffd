"""How long users wait for the earlier version after a rollback with ``--now``, and how much of that is the bot's.

On a whole platform of its own: two Tritons that still have the earlier version loaded, two gateways that users ask
100 times a second each, and the command as a person types it, in a process of its own; and again in a process that
has run before, as `/rollback … now` does in the service for Slack. The floor does the least that puts users back and
proves it, from a process that runs already and holds all that it needs: routes written and synced, both gateways
reloaded, one request to each gateway and to each Triton. It reads no Git and no record, takes no turn, hashes nothing
and leaves no trace.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bot.domain.routes import Route, RouteTable, Target, generation_file
from bot.sandbox.platform import BOT, Shape
from tests.benchmarks.asking import Asking, Heard, Load
from tests.benchmarks.imports import IMPORTS, TO_SWITCH, importing
from tests.benchmarks.measuring import Bench, Benchmark, Figure
from tests.operations.world import Registered, World
from tests.reliability.outcomes import LENIENT, world_of_its_own
from tests.reliability.users import question

RATE = 100.0
WHILE_ASKED = f"{IMPORTS}, beside the same users"
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
            floor = _Floor(world, model, earlier, opened)
            works = {"command": command, "inside": inside, "floor": floor.run}
            measured = {name: lambda work=work: timed(work) for name, work in works.items()}
            imports = importing(*TO_SWITCH)
            found = bench.alternate({**measured, "imports": lambda: _beside_users(world, model, imports)})
    ours = found["command"]
    seconds, warm, bare = ([one.last_gateway for one in found[name]] for name in works)
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
    yield Figure(
        "rollback --now, command to the last gateway", seconds, WHILE_ASKED, [one.end for one in found["imports"]]
    )
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


def _beside_users(world: World, model: str, work: Callable[[], None]) -> _Wait:
    """Run what changes nothing while users ask as they do beside a rollback: they need the same processors."""
    _, end, heard = _asked(world, model, work)
    return _Wait(end, end, sum(len(each.waits) for each in heard), sum(len(each.failures) for each in heard))


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


class _Floor:
    """The least that goes back; everything is imported and every channel is open before it begins."""

    def __init__(self, world: World, model: str, earlier: Registered, opened: ExitStack) -> None:
        self._state, self._model = world.endpoints.state("dev"), model
        self._token = world.endpoints.secrets.reload
        self._gateways = [_port(one.url) for one in world.endpoints.gateway["dev"]]
        self._target = Target(model, earlier.version, earlier.digest)
        channels = [opened.enter_context(grpc.insecure_channel(one.grpc)) for one in world.endpoints.triton["dev"]]
        for channel in channels:
            grpc.channel_ready_future(channel).result(timeout=10)
        self._tritons = [service_pb2_grpc.GRPCInferenceServiceStub(channel) for channel in channels]

    def run(self) -> None:
        file = self._state / "routes.json"
        there = RouteTable.from_json(file.read_text())
        table = there.following({**there.models, self._model: Route(self._target)})
        for path in (self._state / "routes" / generation_file(table.generation), file):
            _replace(path, table.to_json())
        for port in self._gateways:
            reload = json.dumps({"generation": table.generation}).encode()
            _post(port, "/reload", reload, {"Authorization": f"Bearer {self._token}"})
        for port in self._gateways:
            said = _post(port, f"/v2/models/{self._model}/infer", question(), {})
            if int(json.loads(said)["model_version"]) != self._target.version:
                raise RuntimeError(f"another version answered: {said!r}")
        for stub in self._tritons:
            stub.ModelInfer(self._request(), timeout=10)

    def _request(self) -> service_pb2.ModelInferRequest:
        (given,) = json.loads(question())["inputs"]
        request = service_pb2.ModelInferRequest(
            model_name=self._target.triton_model, model_version=str(self._target.version)
        )
        tensor = request.inputs.add(name=given["name"], datatype=given["datatype"], shape=given["shape"])
        tensor.contents.fp32_contents.extend(given["data"])
        return request


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.new")
    with beside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _post(port: int, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        said = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path}: HTTP {answer.status} {said!r}")
    return said


def _port(url: str) -> int:
    return urlsplit(url).port or 80


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


BENCHMARK = Benchmark("rollback", "how long users wait for the earlier version after rollback --now", _run, slow=True)
