"""docs/explanation/statistics.md: its tables are what was simulated, kept as numbers in the folder beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.simulations.populations import POPULATIONS

FOLDER = Path(__file__).resolve().parents[2] / "docs/explanation"
PAGE = FOLDER / "statistics.md"
FIGURES = {
    part: FOLDER / "statistics" / f"{name}.json"
    for part, name in (("differences", "simulations"), ("bakes", "bakes"))
}

Found = Mapping[str, Any]


def read(part: str = "differences") -> dict[str, Any]:
    """Return what was simulated last."""
    found: dict[str, Any] = json.loads(FIGURES[part].read_text(encoding="utf-8"))
    return found


def together(kept: Found, found: Found) -> dict[str, Any]:
    """Return the figures that are kept with those that were simulated anew, in the order of the populations."""
    anew: dict[str, Any] = json.loads(json.dumps(found))
    assert kept["runs"] == anew["runs"], "figures of other runs do not compare"
    both = dict(kept)
    for part, of in anew.items():
        if isinstance(of, dict):
            every = {**kept.get(part, {}), **of}
            both[part] = {name: every[name] for name in dict.fromkeys([*POPULATIONS, *every]) if name in every}
    return both


def write(part: str, found: Found) -> None:
    """Keep the figures, and write the page's tables."""
    FIGURES[part].parent.mkdir(exist_ok=True)
    FIGURES[part].write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")


def page(text: str, found: Found) -> str:
    """Return the page with each table, below its head, as these figures have it."""
    for head, rows in tables(found).items():
        table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
        pattern = re.compile(rf"(\| {re.escape(head)} \|[^\n]*\n\|[-|]+\|\n)(?:\|[^\n]*\n)*")
        assert pattern.search(text), f"the page has no table {head!r}"
        text = pattern.sub(lambda there, below=table: there[1] + below, text, count=1)  # type: ignore[misc]
    return text


def tables(found: Found) -> dict[str, list[tuple[str, ...]]]:
    """Return the rows of each table by the first words of its head."""
    if "healthy" in found:
        return {
            "a healthy bake": [
                (name, f"{of['requests']:,}", f"{of['level'] * found['runs']:.0f}", f"{of['broken_off']:,}")
                for name, of in found["healthy"].items()
            ],
            "what begins": [
                (
                    name,
                    *(
                        f"{at:,}" if at <= of["most"] else f"more than {of['most']:,}"
                        for at in (of["median"], of["nine_of_ten"])
                    ),
                )
                for name, of in found["worse"].items()
            ],
        }
    return {
        "metric and data": [
            (
                name,
                *_filled(
                    [f"{_percent(of['false_holds'])}, {_percent(of['false_misses'])}" for of in by_size.values()], 4
                ),
            )
            for name, by_size in found["verdicts"].items()
        ],
        "50 equal slices": [
            (name, *reversed(_filled([_percent(share) for share in reversed(list(by_size.values()))], 2)))
            for name, by_size in found["slices"].items()
        ],
        "an honest claim": [
            (name, *(_percent(share) for share in by_size.values())) for name, by_size in found["claims"].items()
        ],
        "what is to be seen": [
            (name, f"{of['allowed']:.3g}", f"{of['misses']:,}", f"{of['holds']:,}")
            for name, of in found["power"].items()
        ],
        "what is asked": [
            (name, f"{of['rows']:,}", f"{of['middle']:,}", f"{of['low']:,} to {of['high']:,}", _percent(of["holds"]))
            for name, of in found["foretold"].items()
        ],
        "method": [
            (name, *(_percent(share) for share in by_size.values())) for name, by_size in found["textbook"].items()
        ],
    }


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _filled(cells: list[str], width: int) -> list[str]:
    return [*cells, *["–"] * (width - len(cells))]
