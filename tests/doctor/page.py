"""docs/reference/will-it-work.md: its tables are the rows that are tried, and the worlds of the sandbox."""

from __future__ import annotations

import re
from pathlib import Path

from bot.sandbox.worlds import WORLDS
from tests.doctor.rows import NOTHING, ROWS

PAGE = Path(__file__).parents[2] / "docs/reference/will-it-work.md"


def page(text: str) -> str:
    """Return the page's text with its two tables, each below its head, as they are now."""
    rows = [(row.what, f"`{row.system}`", f"`{row.doctor}`", _said(row.deployment)) for row in ROWS]
    seen = [(f"`{name}`", world.says, f"`{world.see}`") for name, world in WORLDS.items()]
    return _with_table(_with_table(text, "| what is wrong |", rows), "| name |", seen)


def _said(deployment: str) -> str:
    return "nothing: it goes through" if deployment == NOTHING else f"`{deployment}`"


def _with_table(text: str, head: str, rows: list[tuple[str, ...]]) -> str:
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return re.sub(
        rf"({re.escape(head)}[^\n]*\n\|[-|]+\|\n)(?:\|[^\n]*\n)*", lambda found: found[1] + table, text, count=1
    )
