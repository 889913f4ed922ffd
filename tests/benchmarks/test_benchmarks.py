"""Each benchmark runs; what it measures is looked at by people, and by no test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.measuring import Bench, Benchmark, Figure, benchmarks


@pytest.mark.parametrize("benchmark", benchmarks(), ids=lambda benchmark: benchmark.name)
def test_each_benchmark_runs_small_and_once(benchmark: Benchmark, tmp_path: Path) -> None:
    figures = list(benchmark.run(Bench(tmp_path, rounds=1, quick=True, say=lambda _: None)))

    assert figures
    assert all(figure.value > 0 for figure in figures)


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
