"""Many models at once: one deployment that changes all of them, and what status takes.

Tritons are stand-ins that speak its gRPC and take a fixed time for a load (``company.py`` says why); everything else
that a deployment does is done: every byte copied, hashed and synced, every index read, every golden request sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.company import LOAD_SECONDS, TRITONS, Company
from tests.benchmarks.measuring import Bench, Benchmark, Figure

FLUX = 255.0
"""Seconds that Flux's own benchmark gives for 1,000 Kustomizations: 4 min 15 s, a constant from its documentation."""
DEPLOYED = STATUS = 1_000
ENVIRONMENTS = ("dev", "stage", "prod")


def _run(bench: Bench) -> Iterator[Figure]:
    few = bench.size(DEPLOYED, 4)
    deployed = deployments(bench, few, bench.folder / "few")
    how = f"{TRITONS} Tritons, {LOAD_SECONDS * 1000:.0f} ms a load"
    yield Figure(f"deploy that changes {few:,} models", deployed, goal=60, note=how)
    published = [FLUX] * len(deployed)
    yield Figure(f"the same, against {DEPLOYED:,} of Flux", deployed, "4 min 15 s, as published", published)
    yield from _status(bench)


def deployments(bench: Bench, models: int, home: Path) -> list[float]:
    """Return the seconds of deployments that change all of so many models, one a round."""
    with Company(home, models) as company:
        company.merge(company.register(1))
        company.start()
        if bench.quick:
            return bench.time(lambda: company.promobot("deploy", "--env", "dev"))
        company.promobot("deploy", "--env", "dev")
        versions = iter(range(2, bench.rounds + 2))
        return bench.time(
            lambda: company.promobot("deploy", "--env", "dev"),
            before=lambda: company.merge(company.register(next(versions))),
        )


def _status(bench: Bench) -> Iterator[Figure]:
    models = bench.size(STATUS, 4)
    with Company(bench.folder / "status", models, environments=ENVIRONMENTS) as company:
        versions = company.register(1)
        for environment in ENVIRONMENTS:
            company.merge(versions, environment, evidence=False)
            company.serve(versions, environment)
        company.start()
        seconds = bench.time(lambda: company.promobot("status"))
    what = f"status of {models:,} models × {len(ENVIRONMENTS)} environments × {TRITONS} Tritons"
    yield Figure(what, seconds, goal=2)


BENCHMARK = Benchmark("fleet", "many models at once", _run)
