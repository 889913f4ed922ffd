"""What a gateway adds to a request, and what one of them can carry.

A gateway as a process of its own, in front of a real Triton, with a model that hardly computes: 64 numbers in and
out, as JSON and as Triton's binary tensors. The same requests go to the gateway and to Triton itself, in turn, at a
steady rate over 16 connections; the throughput is that of 16 connections which ask again at once. Gateway, Triton and
load generator share the machine's cores.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from tests.benchmarks.asking import Heard, Load, ask, nothing, percentile
from tests.benchmarks.measuring import Bench, Benchmark, Figure
from tests.gateway.gateways import gateway_process, table, target, write_routes
from tests.gateway.triton import publish_adder, running_triton

RATE, CONNECTIONS = 200.0, 16
VALUES = 64
"""How many FP32 a request holds."""
SHARES = (0.5, 0.9, 0.95, 0.99, 0.999)
TRITON = "Triton asked directly"
PATH = "/v2/models/adder/infer"


def json_load(port: int) -> Load:
    """Return a load whose tensors are JSON."""
    data = ",".join(f"{number / 8:g}" for number in range(VALUES))
    given = f'{{"inputs":[{{"name":"X","datatype":"FP32","shape":[{VALUES}],"data":[{data}]}}]}}'
    return Load(port, PATH, given.encode(), RATE, connections=CONNECTIONS)


def binary_load(port: int) -> Load:
    """Return a load whose tensors, in both directions, follow the JSON as Triton's binary extension says."""
    tensors = struct.pack(f"<{VALUES}f", *(number / 8 for number in range(VALUES)))
    given = (
        f'{{"inputs":[{{"name":"X","datatype":"FP32","shape":[{VALUES}],'
        f'"parameters":{{"binary_data_size":{len(tensors)}}}}}],'
        '"outputs":[{"name":"Y","parameters":{"binary_data":true}}]}'
    ).encode()
    headers = f"Inference-Header-Content-Length: {len(given)}\r\nContent-Type: application/octet-stream\r\n"
    return Load(port, PATH, given + tensors, RATE, connections=CONNECTIONS, headers=headers)


def _run(bench: Bench) -> Iterator[Figure]:
    seconds = 5.0 if not bench.quick else 0.3
    repository = bench.folder / "repository"
    publish_adder(repository / "adder", versions=(1,))
    write_routes(bench.folder / "routes.json", table(1, target(1)))
    with ExitStack() as running:
        idle = running.enter_context(nothing())
        triton = running.enter_context(running_triton(repository))
        triton.load("adder")
        gateway = running.enter_context(gateway_process(bench.folder / "routes.json", [triton.url]))
        ports = {"gateway": port_of(gateway.url), "Triton": port_of(triton.url)}
        for kind, load in (("JSON", json_load), ("binary", binary_load)):
            loads = {name: load(port) for name, port in ports.items()}
            for each in loads.values():
                ask(for_seconds(each, seconds / 5, rate=0.0))  # connections are opened, code is warm
            heard = bench.alternate(
                {name: lambda each=each: ask(for_seconds(each, seconds)) for name, each in loads.items()}
            )
            spread = {"share": SHARES, **{name: _spread(rounds) for name, rounds in heard.items()}}
            for share, goal in ((0.5, 1.0), (0.99, None)):
                through, asked = ([h.percentile(share) * 1e3 for h in heard[name]] for name in ports)
                added = [ours - peer for ours, peer in zip(through, asked, strict=True)]
                name = f"added at {RATE:g} requests a second, {kind}, p{share * 100:g}"
                note = f"Triton itself: {_median(asked):.2f} ms"
                yield Figure(name, added, TRITON, goal=goal, unit="ms", note=note, more=spread)
            used: list[float] = []

            def carried(each: Load = loads["gateway"], used: list[float] = used) -> Heard:
                before = cpu_seconds(gateway.process.pid)
                carries = ask(for_seconds(each, seconds, rate=0.0))
                used.append((cpu_seconds(gateway.process.pid) - before) / len(carries.waits) * 1e6)
                return carries

            asked_directly = for_seconds(loads["Triton"], seconds, rate=0.0)
            full = bench.alternate({"gateway": carried, "Triton": lambda load=asked_directly: ask(load)})
            rates = {name: [one.rate for one in rounds] for name, rounds in full.items()}
            note = f"{_median(rates['gateway']):.0f} requests a second of {_median(rates['Triton']):.0f}"
            name = f"throughput of one gateway, {kind}"
            yield Figure(name, rates["gateway"], TRITON, rates["Triton"], unit="requests/s", note=note)
            yield Figure(f"processor time of the gateway for a request, {kind}", used, unit="µs")
        floor = [ask(for_seconds(json_load(idle), seconds)) for _ in range(bench.rounds)]
        late = f"requests left p99 {percentile([one for h in floor for one in h.late], 0.99) * 1e3:.2f} ms late"
        waits = [heard.percentile(0.5) * 1e3 for heard in floor]
        yield Figure("the load generator itself, p50", waits, unit="ms", note=f"{late}; a server that does nothing")
        most = [ask(for_seconds(json_load(idle), seconds, rate=0.0)).rate for _ in range(bench.rounds)]
        yield Figure("the load generator itself, throughput", most, unit="requests/s")


def for_seconds(load: Load, seconds: float, *, rate: float = RATE) -> Load:
    """Return the same load for so long."""
    return Load(load.port, load.path, load.body, rate, seconds, load.connections, load.headers)


def _spread(rounds: Sequence[Heard]) -> list[float]:
    """Return the percentiles of all rounds together, in milliseconds, as ``SHARES`` names them."""
    waits = [wait for heard in rounds for wait in heard.waits]
    return [percentile(waits, share) * 1e3 for share in SHARES]


def _median(values: Sequence[float]) -> float:
    return percentile(values, 0.5)


def port_of(url: str) -> int:
    """Return the port of an address."""
    return urlsplit(url).port or 80


def cpu_seconds(process: int) -> float:
    """Return how long the threads of a process ran: in nanoseconds, where ticks would say 4 % of a short turn."""
    threads = Path(f"/proc/{process}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


@dataclass(frozen=True)
class Cost:
    """What a request took, by round: the median of the waits, and the gateway's own processor time, in seconds."""

    waits: list[float]
    spent: list[float]


TURNS = 16
"""Turns of each gateway in a round. What else a machine does lasts for seconds, so short turns share it."""


def costs(
    bench: Bench, loads: Mapping[str, Load], processes: Mapping[str, int], *, seconds: float
) -> dict[str, Cost]:
    """Ask each gateway at a steady rate for so long in a round, in turns; return what a request took, by its name.

    Of a round it is the median of the turns. ``processes`` has the id of each gateway's process. They are asked
    before, so that connections are open and the code is warm.
    """
    for load in loads.values():
        ask(for_seconds(load, seconds / 5, rate=0.0))
    turns = TURNS if not bench.quick else 1

    def asked(name: str) -> tuple[float, float]:
        before = cpu_seconds(processes[name])
        heard = ask(for_seconds(loads[name], seconds / turns))
        return heard.percentile(0.5), (cpu_seconds(processes[name]) - before) / max(len(heard.waits), 1)

    costs = {name: Cost([], []) for name in loads}
    every = bench.alternate({name: partial(asked, name) for name in loads}, turns=turns)
    for name, found in every.items():
        for of_round in (found[first : first + turns] for first in range(0, len(found), turns)):
            costs[name].waits.append(median(wait for wait, _ in of_round))
            costs[name].spent.append(median(spent for _, spent in of_round))
    return costs


BENCHMARK = Benchmark("gateway", "what a gateway adds to a request, and what one carries", _run)
