"""How long users of the old version wait while a slow one is loaded and switched to: over gRPC, and over HTTP.

On a real Triton, with a model whose start sleeps. Users ask at a steady rate the whole time: some Triton itself, on
twice as many connections as it has threads for HTTP, others a gateway, which keeps few connections to Triton. A load
is sent once by the bot's own adapter, over gRPC, and once as `curl -X POST …/load` would; then the routes are written
and the gateway is reloaded, as a deployment does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from bot.domain.routes import Route, RouteTable
from bot.settings import GatewayEndpoint, Triton
from bot.systems.gateway import Gateway
from bot.systems.triton.server import TritonServer
from tests.benchmarks.asking import Asking, Heard, Load
from tests.benchmarks.measuring import Bench, Benchmark, Figure
from tests.controls import control, switching
from tests.gateway.gateways import TOKEN, gateway_process, http_client, target, write_routes
from tests.gateway.triton import running_triton

RATE, CONNECTIONS = 160.0, 16
BODY = b'{"inputs":[{"name":"X","datatype":"FP32","shape":[1],"data":[1.5]}]}'
MODEL = """\
import time

import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.version = numpy.float32(args["model_version"])
        if args["model_version"] != "1":
            time.sleep({seconds})

    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("Y", pb_utils.get_input_tensor_by_name(request, "X").as_numpy() + self.version)]
            )
            for request in requests
        ]
"""
CONFIG = """\
backend: "python"
version_policy {{ specific {{ versions: [{versions}] }} }}
input [{{name: "X" data_type: TYPE_FP32 dims: [-1]}}]
output [{{name: "Y" data_type: TYPE_FP32 dims: [-1]}}]
"""


class _Slow:
    """A model each of whose versions but the first takes ``seconds`` to load, and what loads it."""

    def __init__(self, folder: Path, *, seconds: float) -> None:
        self._folder, self._seconds, self.version = folder, seconds, 0

    def publish(self) -> None:
        """Put the next version beside the last one, which stays warm."""
        self.version += 1
        there = self._folder / str(self.version)
        there.mkdir(parents=True)
        (there / "model.py").write_text(MODEL.replace("{seconds}", str(self._seconds)))
        versions = ", ".join(str(number) for number in (self.version - 1, self.version) if number)
        staged = self._folder.with_name("config.pbtxt.new")
        staged.write_text(CONFIG.format(versions=versions))
        staged.replace(self._folder / "config.pbtxt")


def _run(bench: Bench) -> Iterator[Figure]:
    seconds = 2.0 if not bench.quick else 0.5
    repository = bench.folder / "repository"
    slow = _Slow(repository / "slow", seconds=seconds)
    slow.publish()
    routes = bench.folder / "routes.json"
    write_routes(routes, _routes(1))
    with ExitStack() as running:
        triton = running.enter_context(running_triton(repository))
        served = running.enter_context(gateway_process(routes, [triton.url]))
        server = TritonServer(Triton(name="triton", grpc=triton.grpc), request_seconds=10)
        running.callback(server.close)
        gateway = Gateway(GatewayEndpoint(name="gateway", url=served.url), token=TOKEN, request_seconds=10)
        running.callback(gateway.close)
        triton.load("slow")

        def over_grpc() -> None:
            control(server).load("slow", timeout_seconds=60)

        def over_http() -> None:
            http_client.post(f"{triton.url}/v2/repository/models/slow/load", timeout=60).raise_for_status()

        def during(load: Callable[[], None]) -> dict[str, Heard]:
            """Have users ask the gateway, and others Triton itself, while the next version is loaded and switched."""
            before = slow.version
            direct = _load(triton.url, f"/v2/models/slow/versions/{before}/infer")
            through = _load(served.url, "/v2/models/slow/infer")
            with Asking(direct) as some, Asking(through) as others:
                time.sleep(0.3)
                slow.publish()
                began = time.monotonic()
                load()
                loaded = time.monotonic()
                if missing := server.wait_ready([("slow", slow.version)], timeout_seconds=60):
                    raise RuntimeError(f"not loaded: {missing}")
                write_routes(routes, _routes(slow.version))
                switching(gateway).reload(slow.version, timeout_seconds=10)
                time.sleep(0.3)
                heard = {"direct": some.heard(stop=True), "through": others.heard(stop=True)}
            if loaded - began < seconds:
                raise RuntimeError(f"the load took {loaded - began:.2f} s only")
            if set(heard["through"].versions) != {before, slow.version}:
                raise RuntimeError(f"the gateway answered with {set(heard['through'].versions)}")
            return heard

        def nobody() -> float:
            with Asking(_load(triton.url, f"/v2/models/slow/versions/{slow.version}/infer")) as some:
                time.sleep(seconds)
                return max(some.heard(stop=True).waits) * 1e3

        quiet = [nobody() for _ in range(bench.rounds)]
        heard = bench.alternate({"gRPC": lambda: during(over_grpc), "HTTP": lambda: during(over_http)})
    longest = {
        (name, users): [max(one[users].waits) * 1e3 for one in rounds]
        for name, rounds in heard.items()
        for users in ("direct", "through")
    }
    curves = {}
    for kind, rounds in heard.items():
        name = {"gRPC": "over gRPC, as Promobot loads", "HTTP": "over HTTP"}[kind]
        one = rounds[-1]["direct"]
        curves[f"{name}: at, s"] = [round(at - one.meant[0], 4) for at in one.meant]
        curves[f"{name}: wait, ms"] = [round(wait * 1e3, 3) for wait in one.waits]
    against = "the same load over HTTP control"
    note = (
        f"{CONNECTIONS} connections to Triton, a load of {seconds:g} s; each wait counted from when it should begin"
    )
    grpc, http = longest["gRPC", "direct"], longest["HTTP", "direct"]
    yield Figure(
        "longest wait for the old version", grpc, against, http, goal=0.05, unit="ms", note=note, more=curves
    )
    yield Figure("longest wait for the old version, in itself", grpc, goal=50, unit="ms", note=note)
    grpc, http = longest["gRPC", "through"], longest["HTTP", "through"]
    note = f"{CONNECTIONS} connections to a gateway, which keeps few to Triton; loaded, and switched by a reload"
    yield Figure("longest wait through a gateway", grpc, goal=50, unit="ms", note=note)
    failed = [float(sum(len(one.failures) for one in users.values())) for users in heard["gRPC"]]
    asked = sum(len(one.waits) for users in heard["gRPC"] for one in users.values())
    yield Figure(
        "longest wait while nothing is loaded", quiet, unit="ms", note="what this machine does to users anyway"
    )
    yield Figure("requests that failed", failed, goal=0, unit="requests", note=f"of {asked} in all rounds")


def _load(url: str, path: str) -> Load:
    return Load(urlsplit(url).port or 80, path, BODY, RATE, connections=CONNECTIONS)


def _routes(version: int) -> RouteTable:
    return RouteTable("dev", version, {"slow": Route(target(version, "slow"))})


BENCHMARK = Benchmark("load_stall", "how long users wait while a slow version is loaded and switched to", _run)
