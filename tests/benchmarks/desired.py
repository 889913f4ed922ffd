"""Desired state of ten thousand models: what it takes to read it strictly, and to plan."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator

import yaml

from bot.domain import desired
from bot.domain.desired import Entry
from bot.domain.plan import Live, plan
from bot.domain.routes import Route, RouteTable, Target
from tests.benchmarks.company import desired_text
from tests.benchmarks.measuring import Bench, Benchmark, Figure

ENTRIES, FEW = 10_000, 200


def _run(bench: Bench) -> Iterator[Figure]:
    many = bench.size(ENTRIES, FEW)
    entries = {f"model-{number:05d}": _entry(number) for number in range(many)}
    text = desired_text("dev", entries)
    # Every tenth model is to change, and one of four Tritons has lost everything.
    routes = {
        name: Route(live=Target(name, entry.version + (number % 10 == 0), entry.digest))
        for number, (name, entry) in enumerate(entries.items())
    }
    loaded = frozenset((route.live.triton_model, route.live.version) for route in routes.values() if route.live)
    tritons = {"triton-1": loaded, "triton-2": loaded, "triton-3": loaded, "triton-4": frozenset[tuple[str, int]]()}
    live = Live(RouteTable("dev", 1, routes), tritons, {}, {})
    known = {(name, entry.version, entry.digest): entry for name, entry in entries.items()}

    def ours() -> None:
        todo = plan(desired.parse(text, file="promotions/dev.yaml", environment="dev"), live, known=known)
        assert len(todo.changes) == len(range(0, many, 10)) and len(todo.load["triton-4"]) == many

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    peer: Callable[[], object] = lambda: yaml.load(text, Loader=loader)  # noqa: E731, S506 - it is the safe one
    mine, theirs = bench.compare(ours, peer, before=gc.collect)
    yield Figure(f"validate and plan {many:,} entries", mine, f"PyYAML's {loader.__name__}", theirs, goal=2)


def _entry(number: int) -> Entry:
    noise = hashlib.sha256(str(number).encode()).hexdigest()
    return Entry(version=1 + number % 9, digest=f"sha256:{noise}", run=noise[:32])


BENCHMARK = Benchmark("desired", "read and plan the desired state of many models", _run)
