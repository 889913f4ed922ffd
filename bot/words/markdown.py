"""Markdown as GitHub shows it; whatever comes from outside is escaped, so that it stays text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~@&-])")


def escape(text: str, *, limit: int = 500) -> str:
    """Return foreign text as literal text of one line: no markup, no mention, no link."""
    flat = " ".join(text.split())
    flat = flat if len(flat) <= limit else flat[: limit - 1] + "…"
    # A zero-width space keeps `@somebody` and `#12` from becoming a mention or a link.
    return _SPECIAL.sub(r"\\\1", flat).replace("\\@", "@\u200b").replace("\\#", "#\u200b")


def code(text: str) -> str:
    """Return foreign text as inline code."""
    return "`" + " ".join(text.split()).replace("`", "'") + "`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are Markdown already."""
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(' --- ' for _ in head)}|"]
    lines += [f"| {' | '.join(cell.replace(chr(10), ' ') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def details(summary: str, body: str) -> str:
    """Return a section that is folded until somebody opens it."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def fenced(text: str, language: str = "") -> str:
    """Return a fenced block that no line of ``text`` can end."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def bar_chart(title: str, labels: Sequence[str], series: Sequence[Sequence[float]]) -> str:
    """Return a Mermaid bar chart; the same numbers belong into a table beside it."""
    names = ", ".join('"' + re.sub(r"[^A-Za-z0-9_. -]", " ", label)[:30] + '"' for label in labels)
    lines = ["xychart-beta", f'    title "{re.sub(r"[^A-Za-z0-9_.,:() -]", " ", title)}"', f"    x-axis [{names}]"]
    lines += [f"    bar [{', '.join(f'{value:.6g}' for value in values)}]" for values in series]
    return fenced("\n".join(lines), "mermaid")


def tick(passed: bool) -> str:
    """Return the sign for passed or failed."""
    return "✅" if passed else "❌"
