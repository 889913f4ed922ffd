"""What a deployment of one small model costs besides its bytes and Triton's load.

Git, registry, GitHub, Slack, gateways and records are asked as always; four Tritons are stand-ins whose load takes a
fixed time, which is subtracted, and the package is a few hundred bytes. Once in a process that has run before, once
as the command that a runner starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count

from bot import environment_files
from bot.operations.deploy import deploy
from bot.platform import Platform
from tests.benchmarks.company import LOAD_SECONDS, TRITONS, Company
from tests.benchmarks.imports import IMPORTS, TO_DEPLOY, importing
from tests.benchmarks.measuring import Bench, Benchmark, Figure
from tests.reliability.servers import TOKENS


def _run(bench: Bench) -> Iterator[Figure]:
    with Company(bench.folder, 1) as company:
        versions = count(1)

        def merge() -> None:
            company.merge(company.register(next(versions)))

        def inside() -> None:
            with Platform(environment_files.load(company.root, "dev"), {**os.environ, **TOKENS}) as platform:
                done = deploy(platform, say=lambda _: None)
            if done.exit_code:
                raise RuntimeError(f"the deployment ended with {done}")

        def command() -> None:
            company.promobot("deploy", "--env", "dev")

        merge()
        company.start()
        inside()  # the first of an environment does more, and imports
        note = f"{TRITONS} Tritons; a load of {LOAD_SECONDS * 1e3:.0f} ms is subtracted"
        what = "deploy, less bytes and load"
        own = [seconds - LOAD_SECONDS for seconds in bench.time(inside, before=merge)]
        yield Figure(f"{what}, in a process that runs", [s * 1e3 for s in own], goal=300, unit="ms", note=note)
        took, imports = bench.compare(command, importing(*TO_DEPLOY), before=merge)
        own = [seconds - LOAD_SECONDS for seconds in took]
        yield Figure(f"{what}, as a new process", [s * 1e3 for s in own], goal=700, unit="ms", note=note)
        yield Figure(f"{what}, as a new process", own, IMPORTS, imports)


BENCHMARK = Benchmark("deployment", "what one deployment costs besides bytes and loads", _run)
