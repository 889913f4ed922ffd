"""``python -m tests.reliability``: run the matrix, print its table, end with what passed and what failed."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Sequence

from tests.reliability.matrix import Matrix, Part, Point, lane, named, parts
from tests.reliability.scene import Scene

SHOWN = 20
LONGEST = 800


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 if every point passed, 1 if one failed."""
    known = parts()
    options = _parser(known).parse_args(argv)
    chosen = [part for part in known if not options.only or part.name in options.only]
    with contextlib.ExitStack() as opened:
        running: list[Scene] = []

        def scene() -> Scene:
            if not running:
                running.append(opened.enter_context(Scene(more=1)))
            return running[0]

        matrix = Matrix(
            points=options.points,
            skip=options.skip,
            sample=options.sample,
            everything=options.everything,
            lane=options.lane,
            rows=options.rows,
            say=_say,
            open_scene=scene,
        )
        tried: list[tuple[Part, list[tuple[Point, float]]]] = []
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            for part in chosen:
                tried.append((part, []))
                _run(part, matrix, tried[-1][1])
        except KeyboardInterrupt:
            _say("interrupted: the table has what was tried until now")
    return _show(tried)


def _run(part: Part, matrix: Matrix, done: list[tuple[Point, float]]) -> None:
    _say(f"{part.name}: {part.says}")
    rows: dict[str, int] = {}
    started = time.monotonic()
    for point in part.run(matrix):
        ended = time.monotonic()
        done.append((point, ended - started))
        started = ended
        rows[point.row] = rows.get(point.row, 0) + 1
        if rows[point.row] == 1 or rows[point.row] % 25 == 0:
            _say(f"  {point.row}: {rows[point.row]}")
        for problem in point.problems:
            _say(f"  ✗ {point.row}, {point.name}: {_in_a_line(problem)}")


def _show(tried: Sequence[tuple[Part, list[tuple[Point, float]]]]) -> int:
    print(f"\n{'part':10} {'row':42} {'points':>7} {'passed':>7} {'failed':>7} {'s/point':>8}")
    print("─" * 86)
    passed = failed = 0
    for part, done in tried:
        rows: dict[str, list[tuple[Point, float]]] = {}
        for point, seconds in done:
            rows.setdefault(point.row, []).append((point, seconds))
        for row, points in rows.items():
            wrong = sum(bool(point.problems) for point, _ in points)
            failed, passed = failed + wrong, passed + len(points) - wrong
            each = sum(seconds for _, seconds in points) / len(points)
            print(f"{part.name:10} {row:42} {len(points):7} {len(points) - wrong:7} {wrong:7} {each:8.2f}")
        if not done:
            print(f"{part.name:10} {'nothing was tried':42} {0:7} {0:7} {1:7}")
            failed += 1
    if failed:
        print()
        shown = [point for _, done in tried for point, _ in done if point.problems]
        for point in shown[:SHOWN]:
            print(f"✗ {point.row}, {point.name}: {_in_a_line('; '.join(point.problems))}")
        if len(shown) > SHOWN:
            print(f"… and {len(shown) - SHOWN} more")
    print(f"\n{passed} passed, {failed} failed")
    return 1 if failed else 0


def _in_a_line(problem: str) -> str:
    return " ".join(problem.split())[:LONGEST]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser(known: Sequence[Part]) -> argparse.ArgumentParser:
    names = [part.name for part in known]
    listing = "\n".join(f"  {part.name:10} {part.says}" for part in known)
    parser = argparse.ArgumentParser(
        prog="python -m tests.reliability",
        description="What a deployment survives, shown point by point.",
        epilog=f"parts:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    parser.add_argument("--only", type=named(names), metavar="PART,…", help="these parts only")
    parser.add_argument(
        "--rows", default="", metavar="REGEX", help="only rows of the table whose name it finds itself in"
    )
    parser.add_argument("--points", type=int, metavar="N", help="at most N points of each row, evenly spread")
    parser.add_argument(
        "--skip",
        type=int,
        default=0,
        metavar="N",
        help="leave out the first N sequences, and first kills of pairs: go on after an interruption",
    )
    parser.add_argument("--sample", action="store_true", help="the few points that the default tests try")
    parser.add_argument("--everything", action="store_true", help="also what is sampled by default (takes hours)")
    parser.add_argument(
        "--lane",
        type=lane,
        default=(1, 1),
        metavar="K/N",
        help="the K-th of N shares of the crash points: N processes, with a TMPDIR each, try all of them",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
