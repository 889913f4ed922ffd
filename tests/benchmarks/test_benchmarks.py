"""Each benchmark runs; what it measures is looked at by people, and by no test."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.measuring import Bench, Benchmark, Figure, benchmarks

QUICK = [pytest.param(benchmark, id=benchmark.name) for benchmark in benchmarks() if not benchmark.slow]
SLOW = [benchmark for benchmark in benchmarks() if benchmark.slow]


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", QUICK)
def test_each_benchmark_runs_small_and_once(benchmark: Benchmark, tmp_path: Path) -> None:
    figures = list(benchmark.run(Bench(tmp_path, rounds=1, quick=True, say=lambda _: None)))

    assert figures
    assert all(math.isfinite(figure.value) for figure in figures)
    assert any(figure.value > 0 for figure in figures)


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", SLOW, ids=lambda benchmark: benchmark.name)
def test_each_benchmark_with_a_platform_of_its_own_runs_small_and_once(benchmark: Benchmark, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--only", benchmark.name, "--json", str(file)]
    subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True)

    assert json.loads(file.read_text())["figures"]


def test_an_alternation_begins_with_another_each_round(tmp_path: Path) -> None:
    order: list[str] = []
    works = {name: lambda name=name: order.append(name) for name in "abc"}  # type: ignore[misc]

    Bench(tmp_path, rounds=3).alternate(works)

    assert "".join(order) == "abcbcacab"


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    figure = Figure("copying", ours=[1.0, 4.0, 30.0], peer=[1.0, 2.0, 10.0], against="cp", goal=2.0)

    assert (figure.value, figure.value_unit, figure.reached) == (2.0, "×", True)


def test_without_a_peer_our_own_median_counts() -> None:
    figure = Figure("waiting", ours=[1.0, 9.0, 2.0], goal=1.5)

    assert (figure.value, figure.value_unit, figure.reached) == (2.0, "s", False)


def test_who_goes_first_changes_with_every_round(tmp_path: Path) -> None:
    order: list[str] = []
    bench = Bench(tmp_path, rounds=3)

    ours, peer = bench.compare(lambda: order.append("ours"), lambda: order.append("peer"))

    assert order == ["peer", "ours", "ours", "peer", "peer", "ours"]
    assert (len(ours), len(peer)) == (3, 3)
