"""What a deployment of one small model costs besides its bytes and Triton's load.

Git, registry, GitHub, Slack, gateways and records are asked as always; four Tritons are stand-ins whose load takes a
fixed time, which is subtracted, and the package is a few hundred bytes. Once in a process that has run before, once
as the command that a runner starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from unittest import mock

from bot import settings
from bot.verbs.deploy import deploy
from tests.benchmarks.company import LOAD_SECONDS, TRITONS, Company
from tests.benchmarks.measuring import Bench, Benchmark, Figure
from tests.reliability.servers import TOKENS


def _run(bench: Bench) -> Iterator[Figure]:
    with Company(bench.folder, 1) as company:
        versions = count(1)

        def merge() -> None:
            company.merge(company.register(next(versions)))

        def inside() -> None:
            with mock.patch.dict(os.environ, TOKENS):
                done = deploy(settings.load(company.root, "dev"), say=lambda _: None)
            if done.exit_code:
                raise RuntimeError(f"the deployment ended with {done}")

        def command() -> None:
            company.promobot("deploy", "--env", "dev")

        merge()
        company.start()
        inside()  # the first of an environment does more, and imports
        note = f"{TRITONS} Tritons; a load of {LOAD_SECONDS * 1e3:.0f} ms is subtracted"
        works: dict[str, Callable[[], None]] = {"in a process that runs": inside, "as a new process": command}
        for how, work in works.items():
            own = [(seconds - LOAD_SECONDS) * 1e3 for seconds in bench.time(work, before=merge)]
            yield Figure(f"deploy, less bytes and load, {how}", own, goal=300, unit="ms", note=note)


BENCHMARK = Benchmark("deployment", "what one deployment costs besides bytes and loads", _run)
