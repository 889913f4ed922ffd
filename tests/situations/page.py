"""docs/how-to/operations.md: its table of situations is made of the rows that are tried."""

from __future__ import annotations

import re
from pathlib import Path

from tests.situations.rows import ROWS, SERVED, Row

PAGE = Path(__file__).parents[2] / "docs/how-to/operations.md"
HEARD_FIRST = ("command", "job summary", "revert", "Slack, promotion", "drift")
"""Where people hear of a situation, the surest first; what they read before it came about tells nothing of it."""
HEAD = "| situation | users get | you read first | `promobot status` says | then |"


def page(text: str) -> str:
    """Return the page's text with the table of situations as the rows are now."""
    table = "".join(f"| {' | '.join(cells(row))} |\n" for row in ROWS)
    return re.sub(rf"({re.escape(HEAD)}\n\|[-|]+\|\n)(?:\|[^\n]*\n)*", lambda found: found[1] + table, text, count=1)


def cells(row: Row) -> tuple[str, ...]:
    """Return a row of the table."""
    known = {*SERVED.values(), row.says["status"], ""}
    heard = next((line for surface in HEARD_FIRST if (line := row.says.get(surface, "")) not in known), "")
    return row.what, row.users, _said(heard), _said(row.says["status"]), row.do


def _said(line: str) -> str:
    line = line.replace("‹clock›", "03:02 UTC").replace("‹", "").replace("›", "").replace("|", "\\|")
    mark = "``" if "`" in line else "`"
    return f"{mark}{line}{mark}" if line else "–"
