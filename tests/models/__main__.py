"""``python -m tests.models``: bring models of every framework into service, and compare the answers of users.

Each goes through registration, checks, merge, deployment and a gateway, on the real Triton of a sandbox. Its answers,
in JSON and in the binary form, are compared with those of its framework. ``--only REGEX`` chooses by family and name,
``--json`` prints one row on each line. A model whose framework is not installed is shown as that, and is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

os.environ.update(
    {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "DO_NOT_TRACK": "true",
        "ORT_DISABLE_TELEMETRY": "1",
    }
)

from bot.render.terminal import grid
from bot.sandbox import seed
from bot.sandbox.platform import PARTS, Sandbox
from tests.models.cases import CASES
from tests.models.trying import Tried, try_all
from tests.operations.world import World
from tests.servers import cloned

HEAD = (
    *("", "family", "model", "shapes", "datatypes"),
    *("package", "checks", "deployed", "JSON", "binary", "largest difference"),
)


def main() -> int:
    """Return 0 where every model whose framework is installed was served, and answered as its framework."""
    parser = argparse.ArgumentParser(prog="python -m tests.models", description=__doc__)
    parser.add_argument("--only", default="", metavar="REGEX", help="models whose family and name it matches")
    parser.add_argument("--json", action="store_true", help="one row as JSON on each line")
    given = parser.parse_args()
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        os.environ.pop(name, None)
    chosen = [case for case in CASES if re.search(given.only, f"{case.family}: {case.name}", re.IGNORECASE)]
    if not chosen:
        parser.error(f"no model matches {given.only!r}")
    found: list[Tried] = []
    with tempfile.TemporaryDirectory(prefix="promobot-models-") as folder, _world(Path(folder)) as world:
        for tried in try_all(world, chosen, Path(folder, "packages")):
            found.append(tried)
            line = json.dumps({**asdict(tried), "holds": tried.holds}) if given.json else _line(tried)
            print(line, file=sys.stdout if given.json else sys.stderr, flush=True)
    if not given.json:
        print(report(found))
    return 0 if all(tried.holds or tried.not_installed for tried in found) else 1


def report(found: Sequence[Tried]) -> str:
    """Return the table, what failed, what is not installed and how to have it."""
    counted = [tried for tried in found if not tried.not_installed]
    held = sum(tried.holds for tried in counted)
    lines = [grid(HEAD, map(_cells, found))]
    lines += [f"✗ {tried.family}, {tried.name}: {tried.problem}" for tried in counted if not tried.holds]
    for install in dict.fromkeys(tried.install for tried in found if tried.not_installed):
        absent = [tried for tried in found if tried.install == install]
        names = ", ".join(sorted({name for tried in absent for name in tried.not_installed}))
        lines.append(f"– {len(absent)} models were not tried: {names} is not installed here. → {install}")
    lines.append(f"{held} of {len(counted)} models are served, and answer as their frameworks")
    return "\n".join(lines)


def _cells(tried: Tried) -> tuple[str, ...]:
    if tried.not_installed:
        return ("–", tried.family, tried.name, "", "", "not installed", *[""] * 5)
    largest = "" if tried.largest is None else f"{tried.largest:.1e}" if tried.largest else "0"
    steps = (tried.package, tried.checks, tried.deployed, tried.json, tried.binary)
    mark = "✓" if tried.holds else "✗"
    return (mark, tried.family, tried.name, tried.shapes, tried.datatypes, *map(_step, steps), largest)


def _step(said: str) -> str:
    return "✓" if said == "ok" else said


def _line(tried: Tried) -> str:
    mark = "–" if tried.not_installed else "✓" if tried.holds else "✗"
    said = "not installed" if tried.not_installed else tried.problem
    return f"{mark} {tried.family}, {tried.name}" + (f": {said}" if said else "")


@contextlib.contextmanager
def _world(folder: Path) -> Iterator[World]:
    home = folder / "sandbox"
    parts = PARTS - {"actions", "slack-app"}
    try:
        sandbox = Sandbox.up(home, progress=lambda line: print(line, file=sys.stderr), seed=seed.seed, parts=parts)
        root = folder / "checkout"
        root.mkdir()
        world = World(sandbox, clone=cloned(sandbox, folder / "clone"), root=root)
        yield world
    finally:
        Sandbox.down(home)


if __name__ == "__main__":
    sys.exit(main())
