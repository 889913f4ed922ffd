"""What dividing requests costs a gateway and its users.

Gateways as processes of their own, in front of one real Triton that has both versions. One serves the live version
alone, as a gateway does without a canary; one gives half of the requests to a canary by a header, and one by chance.
Each is asked the same, with the same headers, in turn, at a steady rate. The processor's time is the gateway's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

from bot.domain.routes import Canary, Route, RouteTable
from tests.benchmarks.asking import percentile
from tests.benchmarks.gateway import binary_load, costs, json_load, port_of
from tests.benchmarks.measuring import Bench, Benchmark, Figure
from tests.gateway.gateways import gateway_process, target, write_routes
from tests.gateway.triton import publish_adder, running_triton

OFF = "the same gateway that divides nothing"
GOAL = 1.05
KEY, USER = "x-user-id", "a-user-with-a-name-of-usual-length"
SALT = "sha256:" + "1" * 64


def _run(bench: Bench) -> Iterator[Figure]:
    seconds = 8.0 if not bench.quick else 0.3
    repository = bench.folder / "repository"
    publish_adder(repository / "adder", versions=(1, 2))
    routes = {
        "live alone": Route(target(1)),
        "by a header": Route(target(1), canary=Canary(target(2), 50, KEY, SALT)),
        "by chance": Route(target(1), canary=Canary(target(2), 50, "x-nobody-sends-this", SALT)),
    }
    with ExitStack() as running:
        triton = running.enter_context(running_triton(repository))
        triton.load("adder")
        gateways = {}
        for name, route in routes.items():
            folder = bench.folder / name.replace(" ", "-")
            folder.mkdir()
            write_routes(folder / "routes.json", RouteTable("dev", 1, {"adder": route}))
            gateways[name] = running.enter_context(gateway_process(folder / "routes.json", [triton.url]))
        for kind, load in (("JSON", json_load), ("binary", binary_load)):
            loads = {name: load(port_of(gateway.url)) for name, gateway in gateways.items()}
            loads = {name: replace(one, headers=f"{one.headers}{KEY}: {USER}\r\n") for name, one in loads.items()}
            found = costs(bench, loads, {name: one.process.pid for name, one in gateways.items()}, seconds=seconds)
            alone = found.pop("live alone")
            for name, cost in found.items():
                note = f"{percentile(alone.waits, 0.5) * 1e3:.2f} ms without"
                yield Figure(f"p50 of a request, {kind}, {name}", cost.waits, OFF, alone.waits, goal=GOAL, note=note)
                note = f"{percentile(alone.spent, 0.5) * 1e6:.0f} µs without"
                said = f"processor time for a request, {kind}, {name}"
                yield Figure(said, cost.spent, OFF, alone.spent, goal=GOAL, note=note)


BENCHMARK = Benchmark("canary", "what dividing requests costs a gateway and its users", _run)
