"""What a command costs before it does anything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from tests.benchmarks.measuring import Bench, Benchmark, Figure


def _run(bench: Bench) -> Iterator[Figure]:
    def help_() -> None:
        subprocess.run([sys.executable, "-m", "bot", "--help"], check=True, stdout=subprocess.DEVNULL)

    def floor() -> None:
        subprocess.run([sys.executable, "-c", "import argparse"], check=True)

    ours, peer = bench.compare(help_, floor)
    yield Figure("promobot --help", ours, "python -c 'import argparse'", peer, goal=6)


BENCHMARK = Benchmark("startup", "what a command costs before it does anything", _run)
