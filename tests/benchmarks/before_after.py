"""The rebuild in figures: two trees measured in turns in one run, and written into the page of performance.

    python -m tests.benchmarks.before_after --json docs/explanation/performance/rebuild.json

Both trees are unpacked from Git, each with an environment of its own, installed as the README says. Every round runs
each benchmark once in either tree, by that tree's own code, and the other tree begins each time. What ``status``
takes is measured on one platform, with both commands and what they are compared with in turns. ``--only
code,startup`` takes a part, and keeps the other rows of the file of ``--json``. ``--rounds`` says how often. A figure
has its floor beside it, from the same rounds: what the same machine takes for the least that the figure contains.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.company import Company
from tests.benchmarks.imports import AS_THE_BOT, IMPORTS, TO_LOOK
from tests.benchmarks.measuring import Bench
from tests.benchmarks.publish import CHECKING, HASHING, READING
from tests.benchmarks.rollback import AS_A_PROCESS
from tests.reliability.matrix import named
from tests.reliability.servers import TOKENS

BEGIN, END = "<!-- rebuild: begin, written by tests.benchmarks.before_after -->", "<!-- rebuild: end -->"
TREES = ("before", "after")
ARGPARSE = "python -c 'import argparse'"
SANDBOX = 0.6
"""What the sandbox may have at most of its lines before."""


@dataclass(frozen=True)
class Row:
    """One line of the table: a figure in both trees, by round; ``floor`` is what it contains at least, in its unit.

    Without a value in a tree, that tree does not have what is measured, or this machine cannot measure it.
    """

    what: str
    goal: str
    before: Sequence[float]
    after: Sequence[float]
    unit: str
    limit: float | None = None
    floor: Sequence[float] = ()
    floor_is: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the goal is; None where there is none, or nothing was measured."""
        return None if self.limit is None or not self.after else statistics.median(self.after) <= self.limit


@dataclass(frozen=True)
class Wanted:
    """A figure of a benchmark: its name, what it is compared with, and what the rebuild wants of it."""

    benchmark: str
    name: str
    against: str
    limit: float
    goal: str
    floor_is: str = ""


WANTED = (
    Wanted("deployment", "deploy, less bytes and load, as a new process", "", 700, "1.75 s → ≤ 0.7 s", IMPORTS),
    Wanted("rollback", "rollback --now, command to the last gateway", "", 0.4, "0.63 s → ≤ 0.4 s", AS_A_PROCESS),
    Wanted("publish", "READY, Triton and Smoke of", "one publish", 1.5, "≤ 1.5 × one publish", CHECKING),
    Wanted("publish", "publish what shares 95 % (xfs)", HASHING, 1.3, "≤ 1.3 × hashing alone", READING),
    Wanted("publish", "carry a digest on (xfs)", HASHING, 1.15, "≤ 1.15 × hashing alone", READING),
)
PARTS = ("code", "startup", *dict.fromkeys(wanted.benchmark for wanted in WANTED))


@dataclass(frozen=True)
class Tree:
    """A state of the repository with its environment."""

    name: str
    folder: Path

    @property
    def python(self) -> str:
        """The Python of its environment."""
        return str(self.folder / ".venv/bin/python")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; return 0 if every goal that could be measured was reached, else 1."""
    options = _parser().parse_args(argv)
    # An installation has its modules compiled; here the first command compiles them for those that are measured.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    wanted = options.only or set(PARTS)
    with tempfile.TemporaryDirectory(prefix="promobot-rebuild-", dir=options.dir) as folder:
        home = Path(folder)
        trees = [_tree(name, home, revision) for name, revision in zip(TREES, (options.before, "HEAD"), strict=True)]
        rows: list[Row] = []
        if "startup" in wanted:
            rows += _startup(trees, Bench(home, options.rounds))
        for benchmark in (part for part in PARTS[2:] if part in wanted):
            rows += _of_a_benchmark(benchmark, trees, home, options.rounds)
        if "code" in wanted:
            rows += _of_the_code(trees)
        run = {
            "before": _revision(options.before),
            "after": _revision("HEAD"),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "rounds": options.rounds,
            "cores": os.cpu_count(),
            "rows": [asdict(row) | {"reached": row.reached} for row in rows],
        }
    if options.json and options.json.exists():
        run = with_rows_of(json.loads(options.json.read_text()), run)
    print(block(run))
    if options.json:
        options.json.write_text(json.dumps(run, indent=1) + "\n")
    if options.page:
        options.page.write_text(with_block(options.page.read_text(), block(run)))
    return 1 if any(row.reached is False for row in rows) else 0


# --- the trees ----------------------------------------------------------------------------------------------------


def _tree(name: str, home: Path, revision: str) -> Tree:
    """Unpack a revision and install it, as the README says."""
    tree = Tree(name, home / name)
    tree.folder.mkdir()
    archive = subprocess.run(["git", "archive", revision], check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "x", "-C", str(tree.folder)], check=True, input=archive)
    _say(f"{name}: installing {revision}")
    # git describe of the benchmarks needs a repository.
    _run(tree, "git", "init", "--quiet")
    _run(tree, sys.executable, "-m", "venv", ".venv")
    _run(tree, ".venv/bin/pip", "install", "--quiet", "--require-hashes", "--requirement", "requirements-uv.lock")
    locked = ("--constraint", "requirements.lock", "--build-constraint", "requirements.lock")
    _run(tree, ".venv/bin/uv", "pip", "install", "--quiet", "--python", tree.python, *locked, "--editable", ".[test]")
    return tree


def _run(tree: Tree, *command: str) -> None:
    subprocess.run(command, cwd=tree.folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _revision(name: str) -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", name], check=True, capture_output=True, text=True
    ).stdout.strip()


# --- startup: one platform, both commands -------------------------------------------------------------------------


def _startup(trees: Sequence[Tree], bench: Bench) -> list[Row]:
    """Measure ``status`` of an empty environment: by the clock and by processor time."""
    floor = "; ".join([AS_THE_BOT, f"import {', '.join(TO_LOOK)}"])
    after = trees[-1]
    with Company(bench.folder / "company", 1) as company:
        company.merge({})
        company.start()
        commands = {
            ARGPARSE: (after, ["-c", "import argparse"]),
            IMPORTS: (after, ["-c", floor]),
            **{tree.name: (tree, ["-m", "bot", "status", "--root", str(company.root)]) for tree in trees},
        }
        works = {name: partial(_taken, tree, arguments) for name, (tree, arguments) in commands.items()}
        for work in works.values():
            work()  # compiles what is imported
        found = bench.alternate(works)
    rows = []
    for kind, at in (("", 0), (", processor time", 1)):
        base = [one[at] for one in found[ARGPARSE]]
        per = {name: _ratios([one[at] for one in found[name]], base) for name in commands}
        what = f"status of an empty environment{kind}"
        rows.append(
            Row(what, "39 × → ≤ 12 ×", per["before"], per["after"], f"× {ARGPARSE}", 12, per[IMPORTS], IMPORTS)
        )
    return rows


def _taken(tree: Tree, arguments: Sequence[str]) -> tuple[float, float]:
    """Return how long a command takes, and the processor time of it and what it started."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    variables = {**os.environ, **TOKENS}
    command = [tree.python, *arguments]
    subprocess.run(command, cwd=tree.folder, env=variables, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, used


def _ratios(ours: Sequence[float], base: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ours, base, strict=True)]


# --- benchmarks of either tree ------------------------------------------------------------------------------------


def _of_a_benchmark(benchmark: str, trees: Sequence[Tree], home: Path, rounds: int) -> list[Row]:
    """Run a benchmark of both trees in turns, a round at a time; return the rows that the rebuild wants of it."""
    works: dict[str, Callable[[], list[Mapping[str, Any]]]] = {
        tree.name: partial(_figures, tree, benchmark, home) for tree in trees
    }
    found = Bench(home, rounds).alternate(works)
    rows = []
    for wanted in (one for one in WANTED if one.benchmark == benchmark):
        values: dict[str, list[float]] = {}
        floors: list[float] = []
        unit, what = "", wanted.name
        for name, runs in found.items():
            figures = [figure for run in runs if (figure := _wanted(run, wanted.name, wanted.against))]
            values[name] = [float(figure["value"]) for figure in figures]
            for figure in figures:
                unit, what = str(figure["value_unit"]), str(figure["name"])
            if name == "after" and wanted.floor_is:
                least = [_seconds(run, wanted.name, wanted.floor_is) for run in runs]
                if wanted.against:
                    base = [_seconds(run, wanted.name, wanted.against) for run in runs]
                    floors = _ratios(least, base)
                else:
                    floors = [seconds * (1e3 if unit == "ms" else 1.0) for seconds in least]
        against = f" {wanted.against}" if wanted.against else ""
        rows.append(
            Row(
                what,
                wanted.goal,
                values["before"],
                values["after"],
                f"{unit}{against}",
                wanted.limit,
                floors,
                wanted.floor_is,
            )
        )
    return rows


def _figures(tree: Tree, benchmark: str, home: Path) -> list[Mapping[str, Any]]:
    file = home / f"{tree.name}.json"
    file.unlink(missing_ok=True)
    command = [tree.python, "-m", "tests.benchmarks", "--only", benchmark, "--rounds", "1", "--json", str(file)]
    done = subprocess.run([*command, "--dir", str(home)], cwd=tree.folder, capture_output=True, text=True)
    if not file.exists():  # a goal that is missed is no failure
        raise RuntimeError(f"{benchmark} of {tree.name} ended with {done.returncode}: {done.stderr[-2000:]}")
    figures: list[Mapping[str, Any]] = json.loads(file.read_text())["figures"]
    _say(f"{tree.name}: {benchmark} measured")
    return figures


def _seconds(figures: Sequence[Mapping[str, Any]], name: str, against: str) -> float:
    """Return how long took what the figure is compared with."""
    figure = _wanted(figures, name, against)
    if figure is None:
        raise RuntimeError(f"{name} was not compared with {against}")
    return float(statistics.median(figure["peer"]))


def _wanted(figures: Sequence[Mapping[str, Any]], name: str, against: str) -> Mapping[str, Any] | None:
    """Return the figure whose name begins so, and that is compared with this; None where the tree has none."""

    def compared(figure: Mapping[str, Any]) -> bool:
        return str(figure["against"]).startswith(against) if against else not figure["against"]

    return next((one for one in figures if str(one["name"]).startswith(name) and compared(one)), None)


# --- the code itself ----------------------------------------------------------------------------------------------


def _of_the_code(trees: Sequence[Tree]) -> list[Row]:
    shapes = {tree.name: shape(tree.folder) for tree in trees}
    before, after = (lines_of(tree.folder / "bot/sandbox") for tree in trees)
    sandbox = Row("the sandbox", "≤ 60 % of before", [before], [after], "lines of Python", SANDBOX * before)
    return [sandbox] + [
        Row(what, "better", [shapes["before"][what]], [shapes["after"][what]], unit, shapes["before"][what])
        for what, unit in (
            ("longest function", "lines"),
            ("longest parameter list", "parameters"),
            ("most-imported module", "% of all modules"),
        )
    ]


def lines_of(folder: Path) -> float:
    """Return how many lines the Python files of a folder have."""
    return float(sum(len(path.read_text().splitlines()) for path in folder.rglob("*.py")))


def shape(root: Path) -> dict[str, float]:
    """Return what the source of ``bot`` is like, without the sandbox."""
    folder = root / "bot"
    files = [path for path in sorted(folder.rglob("*.py")) if "sandbox" not in path.relative_to(folder).parts]
    names = {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in files}
    lines, parameters, imported = 0, 0, Counter[str]()
    for name, path in names.items():
        found: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = max(lines, (node.end_lineno or node.lineno) - node.lineno + 1)
                listed = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                parameters = max(parameters, sum(one.arg not in ("self", "cls") for one in listed))
            elif isinstance(node, ast.ImportFrom) and node.module:
                whole = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
                found |= {module if module in names else node.module for module in whole.values()}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
        imported.update((found & names.keys()) - {name})
    most = imported.most_common(1)[0][1]
    return {
        "longest function": float(lines),
        "longest parameter list": float(parameters),
        "most-imported module": 100 * most / len(names),
    }


# --- the page -----------------------------------------------------------------------------------------------------


def with_block(page: str, text: str) -> str:
    """Return the page with ``text`` between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no {BEGIN!r} … {END!r}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def with_rows_of(earlier: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``run`` with the rows of an earlier one that it did not measure, each with the commit that it is of."""
    measured = {row["what"] for row in run["rows"]}
    kept = [{"of": earlier["after"], **row} for row in earlier["rows"] if row["what"] not in measured]
    return {**run, "rows": [*run["rows"], *kept]}


def block(run: Mapping[str, Any]) -> str:
    """Return the table of a run."""
    lines = ["|  | what | goal | before | after | better by | floor in the same rounds |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for row in run["rows"]:
        sign = {True: "✅", False: "❌", None: ""}[row["reached"]]
        before, after = (_median(row[tree]) for tree in TREES)
        by = f"{100 * (1 - after / before):.0f} %" if before and after else "–"
        floor = _median(row["floor"])
        least = f"{_number(floor)}: {row['floor_is']}" if floor is not None else ""
        cells = (
            sign,
            f"{row['what']}, {row['unit']}{_of(row)}",
            row["goal"],
            _number(before),
            f"**{_number(after)}**",
            by,
            least,
        )
        lines.append("| " + " | ".join(cells) + " |")
    rounds = "one round" if run["rounds"] == 1 else f"medians of {run['rounds']} rounds"
    lines += [
        "",
        f"Before is `{run['before']}`, after is `{run['after']}`; {run['at'][:10]}, {run['cores']} cores, {rounds}.",
    ]
    return "\n".join(lines) + "\n"


def _of(row: Mapping[str, Any]) -> str:
    """Say of which commit a row is that the last run did not measure."""
    return f" (at `{row['of']}`)" if "of" in row else ""


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _number(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.before_after", description=__doc__)
    parser.add_argument("--before", default="91bc043", metavar="COMMIT", help="what HEAD is compared with")
    parser.add_argument("--only", type=named(PARTS), help=f"parts, with commas between: {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round to this file")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write the table into this page, between its markers"
    )
    parser.add_argument("--dir", metavar="DIR", help="where both trees are installed and bytes are copied")
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
