"""What a command costs before it does anything, and what looking at an environment with nothing in it does.

Modules are compiled, as an installation has them; what is compared with is a Python that imports ``argparse``, and
one that imports the libraries which the command uses, and does nothing with them.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from tests.benchmarks.company import Company
from tests.benchmarks.imports import IMPORTS, TO_LOOK, importing
from tests.benchmarks.measuring import Bench, Benchmark, Figure

FLOOR = "python -c 'import argparse'"


def _run(bench: Bench) -> Iterator[Figure]:
    def help_() -> None:
        subprocess.run([sys.executable, "-m", "bot", "--help"], check=True, stdout=subprocess.DEVNULL)

    def floor() -> None:
        subprocess.run([sys.executable, "-c", "import argparse"], check=True)

    ours, peer = bench.compare(help_, floor)
    yield Figure("promobot --help", ours, FLOOR, peer, goal=6)
    with Company(bench.folder, 1) as company:
        company.merge({})
        company.start()
        works = {"status": lambda: company.promobot("status"), "floor": floor, "imports": importing(*TO_LOOK)}
        ours, peer, imports = bench.in_turns(works).values()
    what = "promobot status, of an empty environment"
    yield Figure(what, ours, FLOOR, peer, goal=12)
    yield Figure(what, ours, IMPORTS, imports)


BENCHMARK = Benchmark("startup", "what a command costs before it does anything", _run)
