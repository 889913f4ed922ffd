"""What several workers behind one address carry, against one.

An application that mounts the gateway, under ``uvicorn --workers`` with 1, 2 and 4 processes, in front of one real
Triton with a model that hardly computes: 64 numbers in and out, as JSON. All three run at the same time and are asked
in turn, by 16 connections which ask again at once. Workers, Triton and load generator share the machine's cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

from tests.benchmarks.asking import Load, ask
from tests.benchmarks.gateway import json_load
from tests.benchmarks.measuring import Bench, Benchmark, Figure
from tests.gateway.gateways import table, target, wait_for, write_routes
from tests.gateway.triton import publish_adder, running_triton
from tests.gateway.workers import START_SECONDS, gateway_workers

WORKERS = (1, 2, 4)


def _run(bench: Bench) -> Iterator[Figure]:
    seconds = 5.0 if not bench.quick else 0.3
    repository = bench.folder / "repository"
    publish_adder(repository / "adder", versions=(1,))
    with ExitStack() as running:
        triton = running.enter_context(running_triton(repository))
        triton.load("adder")
        loads: dict[str, Load] = {}
        for number in WORKERS:
            folder = bench.folder / f"workers-{number}"
            folder.mkdir()
            write_routes(folder / "routes.json", table(1, target(1)))
            there = running.enter_context(gateway_workers("uvicorn", folder, [triton.url], workers=number))
            wait_for(lambda there=there, n=number: len(there.routes()["workers"]) == n, seconds=START_SECONDS)
            loads[str(number)] = _full(json_load(urlsplit(there.url).port or 80), seconds)
        for load in loads.values():
            ask(_full(load, seconds / 5))  # connections are opened, code is warm
        heard = bench.alternate({name: lambda load=load: ask(load) for name, load in loads.items()})
        rates = {name: [one.rate for one in rounds] for name, rounds in heard.items()}
    yield Figure("throughput of one worker", rates["1"], unit="requests/s")
    for number in WORKERS[1:]:
        yield Figure(
            f"throughput of {number} workers", rates[str(number)], "one worker", rates["1"], unit="requests/s"
        )


def _full(load: Load, seconds: float) -> Load:
    return Load(load.port, load.path, load.body, 0.0, seconds, load.connections, load.headers)


BENCHMARK = Benchmark("workers", "what several workers behind one address carry", _run, slow=True)
