"""What counting, dividing and comparing cost the users of a gateway, against a gateway that did none of it.

That gateway is the one of the commit before any of these, unpacked from Git and run by the same Python, in front of
the same Triton and the same routes. Each is asked the same, in turn, at a steady rate; turns are short, so that what
else the machine does falls on all alike. Beside the time that a client waits stands the processor time of the
gateway's process for a request, which other work on the machine changes less.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bot.domain.routes import Canary, Route, RouteTable
from tests.benchmarks.asking import Load, percentile
from tests.benchmarks.gateway import RATE, binary_load, costs, json_load, port_of
from tests.benchmarks.measuring import Bench, Benchmark, Figure
from tests.gateway.gateways import gateway_process, target, write_routes
from tests.gateway.triton import publish_adder, running_triton

BEFORE = "d6e8b36763c5"
"""The last commit whose gateways count nothing, divide nothing and compare nothing."""
PROJECT = Path(__file__).parents[2]
LIVE = Route(live=target(1))
SHADOW = Route(live=target(1), shadow=target(2))
CANARY = Route(live=target(1), canary=Canary(target(2), 10, "", target(2).digest))
KINDS = {
    "counted": (LIVE, LIVE),
    "counted and divided, a canary at 10 %": (CANARY, LIVE),
    "counted, a shadow compared": (SHADOW, SHADOW),
}
"""What the gateway of today does, and which routes both have: of today, and before."""


def _run(bench: Bench) -> Iterator[Figure]:
    tree = bench.folder / "before"
    if not _unpacked(tree):
        bench.say(f"  not measured: this clone does not have the commit {BEFORE}")
        return
    repository = bench.folder / "repository"
    publish_adder(repository / "adder", versions=(1, 2))
    seconds = 8.0 if not bench.quick else 0.3
    with ExitStack() as running:
        triton = running.enter_context(running_triton(repository))
        triton.load("adder")
        for what, (today, before) in KINDS.items():
            with ExitStack() as pair:
                gateways = {}
                for name, route, code in (("today", today, None), ("before", before, tree)):
                    folder = bench.folder / f"{len(what)}-{name}"
                    folder.mkdir(exist_ok=True)
                    write_routes(folder / "routes.json", RouteTable("dev", 1, {"adder": route}))
                    gateways[name] = pair.enter_context(
                        gateway_process(folder / "routes.json", [triton.url], tree=code)
                    )
                for kind, load in (("JSON", json_load), ("binary", binary_load)):
                    loads = {name: load(port_of(gateway.url)) for name, gateway in gateways.items()}
                    pids = {name: gateway.process.pid for name, gateway in gateways.items()}
                    yield from _compared(bench, what, kind, loads, pids, seconds)


def _compared(
    bench: Bench, what: str, kind: str, loads: dict[str, Load], pids: dict[str, int], seconds: float
) -> Iterator[Figure]:
    found = costs(bench, loads, pids, seconds=seconds)
    today, before = found["today"], found["before"]
    against = f"the gateway of {BEFORE[:8]}"
    note = f"{percentile(before.waits, 0.5) * 1e3:.2f} ms before, at {RATE:g} requests a second"
    yield Figure(f"p50 of a request, {kind}, {what}", today.waits, against, before.waits, goal=1.05, note=note)
    note = f"{percentile(before.spent, 0.5) * 1e6:.0f} µs before"
    name = f"processor time of the gateway for a request, {kind}, {what}"
    yield Figure(name, today.spent, against, before.spent, goal=1.05, note=note)


def _unpacked(tree: Path) -> bool:
    """Put the code of the commit into ``tree``; False where this clone does not have it."""
    packed = subprocess.run(["git", "archive", BEFORE, "bot"], cwd=PROJECT, capture_output=True)
    if packed.returncode:
        return False
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(tree, filter="data")
    return True


BENCHMARK = Benchmark("traffic", "what counting, dividing and comparing cost the users of a gateway", _run)
