"""What a part of the matrix gives: named outcomes, their table, and a world of its own to run in."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from bot.sandbox import seed
from bot.sandbox.platform import PARTS, Sandbox, Shape
from tests.operations.world import World
from tests.reliability.matrix import SAMPLE_POINTS, Matrix


@dataclass(frozen=True)
class Outcome:
    """One thing that was tried: the row of the table it belongs to, which one, and what was wrong."""

    row: str
    name: str
    problems: Sequence[str] = ()
    notes: Sequence[str] = field(default=())
    seconds: float = 0.0


Item = TypeVar("Item")
LENIENT = {"accuracy": {"minimum": 0.5}}
"""A gate that lets every recipe follow every other: which is better is no question here."""

Run = Callable[[World, argparse.Namespace], Iterator[Outcome]]


@contextlib.contextmanager
def world_of_its_own(shape: Shape | None = None) -> Iterator[World]:
    """Start a sandbox, and stop it; nothing of the user's home is read or written but caches of environments."""
    with tempfile.TemporaryDirectory(prefix="promobot-reliability-") as folder:
        home = Path(folder)
        (home / "home").mkdir()
        user = Path.home()
        os.environ.setdefault("XDG_CACHE_HOME", str(user / ".cache"))
        pip = user / ".config/pip/pip.conf"
        if pip.is_file():
            os.environ.setdefault("PIP_CONFIG_FILE", str(pip))
        os.environ.update({"HOME": str(home / "home"), "ORT_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "true"})
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
        (home / "checkout").mkdir()
        try:
            sandbox = Sandbox.up(
                home / "sandbox", progress=_say, seed=seed.seed, parts=PARTS - {"actions", "slack-app"}, shape=shape
            )
            seed.clone(sandbox.endpoints, home / "clone")
            yield World(sandbox, clone=home / "clone", root=home / "checkout")
        finally:
            Sandbox.down(home / "sandbox")


def timed(row: str, name: str, attempt: Callable[[], tuple[Sequence[str], Sequence[str]]]) -> Outcome:
    """Run one attempt, which returns problems and notes; an assertion that fails in it is a problem, too."""
    started = time.monotonic()
    try:
        problems, notes = attempt()
    except AssertionError as error:
        problems, notes = [f"AssertionError: {' '.join(str(error).split())[:600]}"], []
    return Outcome(row, name, list(problems), list(notes), round(time.monotonic() - started, 2))


def in_a_process(module: str, *arguments: str) -> Iterator[Outcome]:
    """Run a part in a process of its own, for it starts threads and gRPC; yield its outcomes as they come."""
    command = [sys.executable, "-m", module, "--json", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield Outcome(**json.loads(line))
    if process.returncode not in (0, 1):
        yield Outcome(module.rpartition(".")[2], "the run itself", [f"ended with {process.returncode}"])


def limits(matrix: Matrix) -> list[str]:
    """Return the arguments that limit a part as the matrix is limited."""
    points = SAMPLE_POINTS if matrix.sample else matrix.points
    return ["--points", str(points)] if points is not None else []


def some(everything: Sequence[Item], points: int | None) -> list[Item]:
    """Return all, or so many of them, evenly spread."""
    if points is None or len(everything) <= points:
        return list(everything)
    return [everything[number * len(everything) // points] for number in range(points)]


def main(run: Run, parser: argparse.ArgumentParser, *, shape: Shape | None = None) -> int:
    """Run a part alone: print each outcome as it comes, then the table; return 1 if one failed."""
    parser.add_argument("--points", type=int, metavar="N", help="at most so many of each row, evenly spread")
    parser.add_argument("--json", action="store_true", help="one outcome as JSON on each line, and no table")
    options = parser.parse_args()
    # Whoever is told to end leaves no sandbox behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    found: list[Outcome] = []
    with world_of_its_own(shape) as world:
        for outcome in run(world, options):
            found.append(outcome)
            if options.json:
                print(json.dumps(asdict(outcome)), flush=True)
            else:
                sign = "✗" if outcome.problems else "✓"
                _say(f"{sign} {outcome.row} | {outcome.name} | {outcome.seconds:.1f} s")
                for line in outcome.problems:
                    _say(f"    {line}")
                for line in outcome.notes:
                    _say(f"    ({line})")
    failed = sum(bool(outcome.problems) for outcome in found)
    if not options.json:
        print(table(found))
        print(f"\n{len(found) - failed} passed, {failed} failed")
    return 1 if failed or not found else 0


def table(found: Sequence[Outcome]) -> str:
    """Return a line for each row: how many were tried, how many held, how many seconds one took."""
    rows: dict[str, list[Outcome]] = {}
    for outcome in found:
        rows.setdefault(outcome.row, []).append(outcome)
    width = max([len(row) for row in rows] + [3])
    lines = [f"{'row':{width}} {'tried':>6} {'passed':>7} {'failed':>7} {'s each':>7} {'longest':>8}"]
    for row, outcomes in rows.items():
        wrong = sum(bool(outcome.problems) for outcome in outcomes)
        seconds = [outcome.seconds for outcome in outcomes]
        each, longest = sum(seconds) / len(seconds), max(seconds)
        count = len(outcomes)
        lines.append(f"{row:{width}} {count:6} {count - wrong:7} {wrong:7} {each:7.1f} {longest:8.1f}")
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
