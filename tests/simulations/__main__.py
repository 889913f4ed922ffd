"""``python -m tests.simulations``: try what is said of differences on versions whose true difference is known.

``--part differences`` tries the verdicts before the switch and ``--part bakes`` those after it; each takes some
minutes on one core. ``--write`` keeps figures and writes the tables of docs/explanation/statistics.md, ``--runs``
tries less often, ``--only`` only what is named so. The exit code is 1 where a level is missed by more than chance
explains.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from tests.simulations import page, textbook
from tests.simulations.bakes import HEALTHY, WORSE, breaches, level
from tests.simulations.populations import POPULATIONS, population
from tests.simulations.trials import blamed_claims, blamed_slices, foretold, is_quick, rows_to_tell, verdicts

SIZES = (50, 200, 1000, 5000)
SLICE_SIZES = (50, 200)
IN_SLICES = (
    "accuracy",
    "accuracy, few rows differ",
    "log loss",
    "MAE, heavy tails (t of 3)",
    "NDCG@10",
    "ROC AUC",
    "F1",
)
CLAIMS = (
    "accuracy",
    "accuracy near 1",
    "F1, 5 % positive",
    "ROC AUC, few rows differ",
    "Brier, few rows differ",
    "MAE, skewed (log-normal)",
)
"""Where an honest claim is held to samples, and the tolerance is 0."""
POINT = {"accuracy": 0.01, "F1": 0.01, "ROC AUC": 0.01, "NDCG@10": 0.01}
LEVEL = 0.05
LIMITS = {("MAE, rare disasters", "false_holds")}
"""What no method can hold: most small samples show not one of the rows that are wrong."""
QUICK = 10
"""Where many samples are drawn at once, there are so many times as many."""
BAKES = 5
"""So many times as many bakes: their level is smaller."""


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, print what was found, and say whether every level holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulations", description=__doc__)
    parser.add_argument("--runs", type=int, default=2000, help="how often each row is tried; default 2000")
    parser.add_argument("--only", default="", help="only what has this in its name")
    parser.add_argument("--part", choices=("differences", "bakes"), help="only the one part; default both")
    parser.add_argument(
        "--write",
        action="store_true",
        help="keep the figures, with --only beside the others, and write the tables of the page",
    )
    given = parser.parse_args(argv)
    bad = []
    for part, simulate, judge in (("differences", _differences, too_often), ("bakes", _bakes, too_often_broken_off)):
        if given.part not in (None, part):
            continue
        began = time.monotonic()
        found = simulate(given.runs, given.only)
        if given.write:
            page.write(part, page.together(page.read(part), found) if given.only else found)
        bad += judge(found)
        print(f"{part}: {time.monotonic() - began:.0f} s", flush=True)
    print(*bad, f"{len(bad)} levels missed", sep="\n")
    return 1 if bad else 0


def _differences(runs: int, only: str) -> dict[str, Any]:
    names = [name for name in POPULATIONS if only in name]
    found: dict[str, Any] = {"runs": runs, "verdicts": {}, "slices": {}, "claims": {}, "power": {}, "foretold": {}}
    for name in names:
        of = population(name)
        by_size = found["verdicts"][name] = {}
        times = runs * QUICK if is_quick(of) else runs
        for size in SIZES if of.groups is None else SIZES[:-1]:
            worse, equal = verdicts(of, "worse", size, times), verdicts(of, "equal", size, times)
            by_size[size] = {"runs": times, "false_holds": worse.holds, "false_misses": equal.misses}
            print(f"{name}, {size} rows: {worse.holds:.4f} false holds, {equal.misses:.4f} false misses", flush=True)
    for name in (one for one in IN_SLICES if one in names):
        of = population(name)
        found["slices"][name] = {
            size: blamed_slices(of, size, runs) for size in SLICE_SIZES if is_quick(of) or size == SLICE_SIZES[-1]
        }
        print(f"{name}, 50 equal slices: {found['slices'][name]}", flush=True)
    for name in (one for one in CLAIMS if one in names):
        found["claims"][name] = {size: blamed_claims(population(name), size, runs) for size in SIZES}
        print(f"{name}, honest claims: {found['claims'][name]}", flush=True)
    few = max(runs // 10, 50)
    for name in (one for one in POINT if one in names):
        found["power"][name] = _power(name, few)
        found["foretold"][name] = _foretold(name, few)
        print(f"{name}: {found['power'][name]}, {found['foretold'][name]}", flush=True)
    found["textbook"] = {}
    for size in SIZES:
        for method, share in textbook.false_holds(size, 50 * runs).items():
            found["textbook"].setdefault(method, {})[size] = share
    return found


def _bakes(runs: int, only: str) -> dict[str, Any]:
    found: dict[str, Any] = {"runs": runs * BAKES, "healthy": {}, "worse": {}}
    for name, of in HEALTHY.items():
        if only in name:
            broken_off = int((breaches(of, runs * BAKES) > 0).sum())
            found["healthy"][name] = {"requests": of.requests, "level": level(of), "broken_off": broken_off}
            print(f"{name}: {broken_off} of {runs * BAKES} broken off", flush=True)
    few = max(runs // 4, 50)
    for name, of in WORSE.items():
        if only in name:
            after = breaches(of, few, soon=True)
            after = np.sort(np.where(after, after, of.requests + 1))
            middle, most = (int(np.quantile(after, share, method="higher")) for share in (0.5, 0.9))
            found["worse"][name] = {"runs": few, "most": of.requests, "median": middle, "nine_of_ten": most}
            print(f"{name}: seen after {middle}, nine of ten after {most} requests", flush=True)
    return found


def too_often_broken_off(found: dict[str, Any]) -> list[str]:
    """Return which healthy bakes are broken off more often than the level, as `too_often` counts."""
    return [
        f"{name}: {of['broken_off']} of {found['runs']} bakes broken off"
        for name, of in found["healthy"].items()
        if of["broken_off"] > stats.binom.ppf(0.9999, found["runs"], of["level"])
    ]


def _power(name: str, runs: int) -> dict[str, Any]:
    """Return how many rows tell that a version is a point worse than is allowed, and that an equal one is not."""
    of, allowed = population(name), POINT[name]
    return {
        "allowed": allowed,
        "misses": rows_to_tell(of, "worse", of.allowed("worse") - allowed, "misses", runs),
        "holds": rows_to_tell(of, "equal", of.allowed("equal") + allowed, "holds", runs),
    }


def _foretold(name: str, runs: int) -> dict[str, Any]:
    found = foretold(population(name), 500, population(name).allowed("equal") + POINT[name], runs)
    low, middle, high = found.quartiles
    return {"rows": found.rows, "low": low, "middle": middle, "high": high, "holds": found.holds}


def too_often(found: dict[str, Any]) -> list[str]:
    """Return what is wrong more often than the level, by more than chance explains once in ten thousand."""

    def is_too_often(share: float, runs: int) -> bool:
        return share * runs > stats.binom.ppf(0.9999, runs, LEVEL)

    said = []
    for name, by_size in found["verdicts"].items():
        for size, of in by_size.items():
            for what in ("false_holds", "false_misses"):
                if is_too_often(of[what], of["runs"]) and (name, what) not in LIMITS:
                    said.append(f"{name}, {size} rows: {what} {of[what]:.4f}")
    for what in ("slices", "claims"):
        said += [
            f"{name}, {what} of {size}: {share:.4f}"
            for name, shares in found[what].items()
            for size, share in shares.items()
            if is_too_often(share, found["runs"])
        ]
    return said


if __name__ == "__main__":
    sys.exit(main())
