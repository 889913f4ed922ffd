"""Shadows that are looked at after each copy: how often one is called promotable that is not, and how soon one is.

``python -m tests.simulations.shadows`` tries it, and takes a minute; ``--write`` keeps the figures and writes the
tables of docs/explanation/statistics.md. What `bot.domain.earned` says of a look is computed here for arrays of
looks; a test compares the two. The exit code is 1 where the level is missed by more than chance explains.
"""

from __future__ import annotations

import argparse
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import betaln

from bot.domain.gate import ShadowRule

Array = NDArray[Any]

PAGE = Path(__file__).resolve().parents[2] / "docs/explanation/statistics.md"
FIGURES = PAGE.parent / "statistics/shadows.json"
RULE = ShadowRule(max_flips=0.01, min_copies=1000, max_error_rate=0.01)
LEVEL = 1 - RULE.confidence
ALPHA = LEVEL / 2
"""Of each of the two questions: flips and errors."""
_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Shadow:
    """What is drawn: the share of rows that flip, in requests of ``rows``; ``together``: all rows of one do.

    ``again``: each request is asked so often one after the other, which the bounds do not allow for. ``share`` of the
    requests are copied.
    """

    flips: float = 0.0
    fails: float = 0.0
    rows: int = 1
    together: bool = False
    again: int = 1
    share: float = 1.0
    copies: int = 5000


NOT_GOOD_ENOUGH = {
    "1 % flip": Shadow(flips=0.01),
    "1 % flip, in batches of 20 rows": Shadow(flips=0.01, rows=20),
    "1 % flip, in batches of 20 rows that flip together": Shadow(flips=0.01, rows=20, together=True),
    "1 % fail": Shadow(fails=0.01),
    "1 % flip and 1 % fail": Shadow(flips=0.01, fails=0.01),
}
"""Exactly as bad as is not allowed any more: each call of promotable is wrong."""
DEPENDENT = {
    "1 % flip, and each request is asked 10 times in a row": Shadow(flips=0.01, again=10),
    "the same, and a tenth of the requests is copied": Shadow(flips=0.01, again=10, share=0.1),
}
"""What the bounds assume not to happen."""
GOOD = {
    "none flip": Shadow(),
    "0.1 % flip": Shadow(flips=0.001),
    "0.3 % flip": Shadow(flips=0.003, copies=20_000),
    "0.5 % flip": Shadow(flips=0.005, copies=40_000),
    "0.5 % flip, in batches of 20 rows": Shadow(flips=0.005, rows=20, copies=20_000),
}
BAD = {
    "2 % flip": Shadow(flips=0.02, copies=20_000),
    "5 % flip": Shadow(flips=0.05),
    "10 % fail": Shadow(fails=0.1),
}


def drawn(of: Shadow, runs: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw each copy: the share of its rows that flip, and whether it fails."""
    asked = np.cumsum(rng.geometric(of.share, (runs, of.copies)), axis=1) - 1
    request = asked // of.again  # requests that are the same have one answer
    size = runs, int(request.max()) + 1
    rows = 1 if of.together else of.rows
    flips = rng.binomial(rows, of.flips, size) / rows
    fails = rng.random(size) < of.fails
    return np.take_along_axis(flips, request, axis=1), np.take_along_axis(fails, request, axis=1)


def looks(flips: Array, fails: Array) -> tuple[Array, Array]:
    """Say after each copy of each run whether it is called promotable, and whether it is called not."""
    answered = np.cumsum(~fails, axis=1)
    hits = np.cumsum(np.where(fails, 0.0, flips), axis=1)
    failed = np.cumsum(fails, axis=1)
    of = np.arange(1, flips.shape[1] + 1)
    few = answered < RULE.min_copies
    flips_low, flips_high = _sure(hits, answered, RULE.max_flips)
    fails_low, fails_high = _sure(failed, of, RULE.max_error_rate)
    return flips_low & fails_low & ~few, flips_high | fails_high


def _sure(hits: Array, of: Array, limit: float) -> tuple[Array, Array]:
    """Say where the rate is surely below the limit, and where it is surely above."""
    misses = of - hits
    likely = hits * np.log(limit) + misses * np.log(1 - limit)
    refuted = betaln(hits + 0.5, misses + 0.5) - betaln(0.5, 0.5) - likely >= -np.log(ALPHA)
    return refuted & (hits < limit * of), refuted & (hits > limit * of)


def ended(of: Shadow, runs: int) -> tuple[Array, Array]:
    """Return after how many copies each run is called promotable first, and not; 0 where it never is."""
    rng = np.random.default_rng(zlib.crc32(repr(of).encode()))
    found = [_first(looks(*drawn(of, some, rng))) for some in _parts(of, runs)]
    promotable, bad = zip(*found, strict=True)
    return np.concatenate(promotable), np.concatenate(bad)


def _first(said: tuple[Array, Array]) -> tuple[Array, Array]:
    promotable, bad = (np.where(one.any(axis=1), one.argmax(axis=1) + 1, 0) for one in said)
    return promotable, bad


def _parts(of: Shadow, runs: int) -> Iterator[int]:
    most = max(1, _AT_ONCE // of.copies)
    for begin in range(0, runs, most):
        yield min(most, runs - begin)


def simulate(runs: int) -> dict[str, Any]:
    """Return how often each is called what it is not, and how soon what it is."""
    found: dict[str, Any] = {"runs": runs, "wrong": {}, "dependent": {}, "good": {}, "bad": {}}
    for part, shadows in (("wrong", NOT_GOOD_ENOUGH), ("dependent", DEPENDENT)):
        for name, of in shadows.items():
            promotable, bad = ended(of, runs)
            found[part][name] = {"promotable": int((promotable > 0).sum()), "not": int((bad > 0).sum())}
            print(f"{name}: {found[part][name]}", flush=True)
    few = max(runs // 10, 50)
    for part, number, shadows in (("good", 0, GOOD), ("bad", 1, BAD)):
        for name, of in shadows.items():
            after = ended(of, few)[number]
            after = np.sort(np.where(after, after, of.copies + 1))
            middle, most = (int(np.quantile(after, share, method="higher")) for share in (0.5, 0.9))
            found[part][name] = {"runs": few, "most": of.copies, "median": middle, "nine_of_ten": most}
            print(f"{name}: {found[part][name]}", flush=True)
    return found


def too_often(found: Mapping[str, Any]) -> list[str]:
    """Return what is called promotable, or not, more often than the level, by more than chance explains.

    *Not* is judged only where a rate is exactly at its limit, so that it is wrong to call it above.
    """
    most = stats.binom.ppf(0.9999, found["runs"], LEVEL)
    return [
        f"{name}: {what} {count} of {found['runs']}"
        for name, counts in found["wrong"].items()
        for what, count in counts.items()
        if count > most
    ]


def tables(found: Mapping[str, Any]) -> dict[str, list[Sequence[str]]]:
    """Return the rows of each table of the page, by its head."""

    def copies(of: Mapping[str, Any], which: str) -> str:
        return f"{of[which]:,}" if of[which] <= of["most"] else f"more than {of['most']:,}"

    wrong = {**found["wrong"], **found["dependent"]}
    return {
        f"| a shadow that is just too bad | called promotable, of {found['runs']:,} | called *not* |": [
            (name, f"{of['promotable']:,}", f"{of['not']:,}") for name, of in wrong.items()
        ],
        "| a shadow | verdict | half of the runs | nine of ten |": [
            (name, verdict, copies(of, "median"), copies(of, "nine_of_ten"))
            for part, verdict in (("good", "promotable"), ("bad", "not"))
            for name, of in found[part].items()
        ],
    }


def page(text: str, found: Mapping[str, Any]) -> str:
    """Return the page with these tables in place of those that it has."""
    for head, rows in tables(found).items():
        lines = [head, "|" + "---|" * (head.count("|") - 1), *(f"| {' | '.join(row)} |" for row in rows)]
        begin = re.escape("|".join(head.split("|")[:2]) + "|")  # the first cell tells one table from the others
        text, count = re.subn(rf"(?m)^{begin}[^\n]*\n(?:\|[^\n]*\n)+", "\n".join(lines) + "\n", text)
        if count != 1:
            raise ValueError(f"{PAGE.name} has {count} tables that begin with {head!r}")
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, print what was found, and say whether the level holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulations.shadows", description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="how often each row is tried; default 10,000")
    parser.add_argument("--write", action="store_true", help="keep the figures and write the tables of the page")
    given = parser.parse_args(argv)
    found = simulate(given.runs)
    if given.write:
        FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    bad = too_often(found)
    print(*bad, f"{len(bad)} levels missed", sep="\n")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
