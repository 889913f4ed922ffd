"""What recording costs the users of a gateway.

Three gateways as processes of their own, in front of one real Triton: one that records nothing, one that records as
the options' defaults say, and one that records a hundred times as much. Each is asked the same, in turn, at a steady
rate. Turns are short, so that what else the machine does falls on all of them alike: 30 rounds tell 2 per cent. The
files go to a folder on this machine's disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from tests.benchmarks.asking import ask, percentile
from tests.benchmarks.gateway import RATE, binary_load, for_seconds, json_load, port_of
from tests.benchmarks.measuring import Bench, Benchmark, Figure
from tests.gateway.gateways import gateway_process, table, target, write_routes
from tests.gateway.triton import publish_adder, running_triton

OFF = "the same gateway that records nothing"


def _run(bench: Bench) -> Iterator[Figure]:
    seconds = 3.0 if not bench.quick else 0.3
    repository = bench.folder / "repository"
    publish_adder(repository / "adder", versions=(1,))
    write_routes(bench.folder / "routes.json", table(1, target(1)))
    folder = bench.folder / "recordings"
    folder.mkdir(exist_ok=True)
    to = ["--record-to", str(folder)]
    options = {
        "off": [],
        "as the defaults say": to,
        "every request": [*to, "--record-share", "1", "--record-per-second", "1000"],
    }
    with ExitStack() as running:
        triton = running.enter_context(running_triton(repository))
        triton.load("adder")
        ports = {
            name: port_of(
                running.enter_context(
                    gateway_process(bench.folder / "routes.json", [triton.url], arguments=arguments)
                ).url
            )
            for name, arguments in options.items()
        }
        for kind, load in (("JSON", json_load), ("binary", binary_load)):
            loads = {name: load(port) for name, port in ports.items()}
            for each in loads.values():
                ask(for_seconds(each, seconds / 5, rate=0.0))  # connections are opened, code is warm
            heard = bench.alternate(
                {name: lambda each=each: ask(for_seconds(each, seconds)) for name, each in loads.items()}
            )
            p50 = {name: [one.percentile(0.5) for one in rounds] for name, rounds in heard.items()}
            off = percentile(p50["off"], 0.5) * 1e3
            note = f"{off:.2f} ms without, at {RATE:g} requests a second"
            for name, goal in (("as the defaults say", 1.02), ("every request", None)):
                figure = f"p50 of a request, {kind}, recording {name}"
                yield Figure(figure, p50[name], OFF, p50["off"], goal=goal, note=note)


BENCHMARK = Benchmark("recording", "what recording costs the users of a gateway", _run)
