"""``python -m tests.benchmarks``: measure, print a table, end with how many goals were reached and missed."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.measuring import ROUNDS, Bench, Figure, benchmarks
from tests.reliability.matrix import named


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 if every goal was reached, 1 if one was missed."""
    known = benchmarks()
    # An installation has its modules compiled; here the first command compiles them for those that are measured.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    options = _parser([benchmark.name for benchmark in known]).parse_args(argv)
    tried: list[tuple[str, Figure]] = []
    for benchmark in known:
        if options.only and benchmark.name not in options.only:
            continue
        _say(f"{benchmark.name}: {benchmark.says}")
        with tempfile.TemporaryDirectory(prefix="promobot-benchmark-", dir=options.dir) as folder:
            bench = Bench(Path(folder), 1 if options.quick else options.rounds, options.quick, _say)
            for figure in benchmark.run(bench):
                tried.append((benchmark.name, figure))
                _say(f"  {_line(figure)}")
    if options.json:
        about = {benchmark.name: benchmark.about for benchmark in known}
        Path(options.json).write_text(json.dumps(_document(tried, options.quick, about), indent=2) + "\n")
    return _show(tried)


def _document(tried: Sequence[tuple[str, Figure]], quick: bool, about: Mapping[str, str]) -> dict[str, object]:
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return {
        "commit": commit.stdout.strip(),
        "version": version("promobot"),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()},
        "quick": quick,
        "about": about,
        "figures": [{"benchmark": name, **figure.to_dict()} for name, figure in tried],
    }


def _show(tried: Sequence[tuple[str, Figure]]) -> int:
    width = max([len(figure.name) for _, figure in tried], default=10)
    print(f"\n{'benchmark':10} {'what':{width}} {'measured':>12} {'goal':>10}   against")
    print("─" * (width + 60))
    for name, figure in tried:
        goal = "" if figure.goal is None else f"≤ {figure.goal:g} {figure.value_unit}"
        mark = {True: "✓", False: "✗", None: " "}[figure.reached]
        measured = f"{figure.value:.3g} {figure.value_unit}"
        print(f"{name:10} {figure.name:{width}} {measured:>12} {goal:>10} {mark} {figure.against}")
    reached = sum(figure.reached is True for _, figure in tried)
    missed = sum(figure.reached is False for _, figure in tried)
    print(f"\n{reached} passed, {missed} failed")
    return 1 if missed or not tried else 0


def _line(figure: Figure) -> str:
    ours = " ".join(f"{value:.3g}" for value in figure.ours)
    peer = " ".join(f"{value:.3g}" for value in figure.peer)
    return f"{figure.name}: {figure.value:.3g} {figure.value_unit}  [{ours} {figure.unit}" + (
        f" | {figure.against}: {peer}]" if peer else "]"
    )


def _parser(known: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", type=named(known), help=f"names, with commas between: {', '.join(known)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"how often each is measured ({ROUNDS})")
    parser.add_argument("--json", metavar="FILE", help="write every round to this file")
    parser.add_argument("--dir", metavar="DIR", help="where to write what is copied; its file system is measured")
    parser.add_argument("--quick", action="store_true", help="small and one round: shows only that it runs")
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
