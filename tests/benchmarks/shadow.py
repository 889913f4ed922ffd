"""What comparing a shadow costs a gateway and its users.

Gateways as processes of their own, in front of one real Triton, whose shadow is a version that answers the same or
one that answers otherwise in every number. One compares nothing, as gateways did before they compared. Each is asked
the same, in turn, at a steady rate. The processor's time is the gateway's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from tests.benchmarks.asking import percentile
from tests.benchmarks.gateway import RATE, binary_load, costs, json_load, port_of
from tests.benchmarks.measuring import Bench, Benchmark, Figure
from tests.gateway.gateways import gateway_process, table, target, write_routes
from tests.gateway.triton import publish_adder, running_triton

OFF = "the same gateway that compares nothing"
GOAL = 1.05


def _run(bench: Bench) -> Iterator[Figure]:
    seconds = 4.0 if not bench.quick else 0.3
    repository = bench.folder / "repository"
    publish_adder(repository / "adder", versions=(1, 2))
    publish_adder(repository / "adder-shadow", versions=(1, 2))
    shadows = {"compares nothing": 1, "equal answers": 1, "every number another": 2}
    with ExitStack() as running:
        triton = running.enter_context(running_triton(repository))
        triton.load("adder")
        triton.load("adder-shadow")
        gateways = {}
        for name, version in shadows.items():
            folder = bench.folder / name.replace(" ", "-")
            folder.mkdir()
            write_routes(folder / "routes.json", table(1, target(1), shadow=target(version, "adder-shadow")))
            options = ["--shadow-compare-share", "0" if name == "compares nothing" else "0.01"]
            gateways[name] = running.enter_context(
                gateway_process(folder / "routes.json", [triton.url], arguments=options)
            )
        for kind, load in (("JSON", json_load), ("binary", binary_load)):
            loads = {name: load(port_of(gateway.url)) for name, gateway in gateways.items()}
            found = costs(bench, loads, {name: one.process.pid for name, one in gateways.items()}, seconds=seconds)
            quiet = found.pop("compares nothing")
            at = f"at {RATE:g} requests a second, {kind}"
            for name, cost in found.items():
                note = f"{percentile(quiet.waits, 0.5) * 1e3:.2f} ms without"
                yield Figure(f"p50 of a request {at}, {name}", cost.waits, OFF, quiet.waits, goal=GOAL, note=note)
                note = f"{percentile(quiet.spent, 0.5) * 1e6:.0f} µs without"
                said = f"processor time for a request and its copy {at}, {name}"
                yield Figure(said, cost.spent, OFF, quiet.spent, goal=GOAL, note=note)
        for name in list(gateways)[1:]:
            pair = gateways[name].routes()["shadows"]["adder"]["compared"]
            share = pair["copies"] / sum(pair["live_cells"])
            yield Figure(f"compared share of all copies, {name}", [share], unit="of 1")


BENCHMARK = Benchmark("shadow", "what comparing a shadow costs a gateway and its users", _run)
