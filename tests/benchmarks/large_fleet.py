"""One deployment that changes ten thousand models, beside one that changes a thousand; as ``fleet``, but once each.

With all that must be registered and served before, it takes twenty minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.benchmarks.fleet import DEPLOYED, deployments
from tests.benchmarks.measuring import Bench, Benchmark, Figure

TIMES = 10


def _run(bench: Bench) -> Iterator[Figure]:
    once, few = replace(bench, rounds=1), bench.size(DEPLOYED, 2)
    peer = deployments(once, few, bench.folder / "few")
    many = deployments(once, TIMES * few, bench.folder / "many")
    yield Figure(f"deploy that changes {TIMES * few:,} models", many, f"{few:,} models", peer, goal=12)


BENCHMARK = Benchmark("large_fleet", "ten times as many models at once", _run, slow=True)
