"""Markdown as GitHub shows it; whatever comes from outside is escaped, so that it stays text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MAX_CHARACTERS = 65_536
"""The longest comment or pull request that GitHub takes."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~@&$-])")
_LINKED = re.compile(r"(?i)(?<=[@#])|(?<=:)(?=//)|(?<=\bwww)(?=\.)|(?<=\bgh)(?=\\-[0-9])|(?<=^[0-9])(?=[0-9]*\.\s)")
_LINKED_IN_HTML = re.compile(r"(?i)(?<=[@#])|(?<=:)(?=//)|(?<=\bwww)(?=\.)|(?<=\bgh)(?=-[0-9])")
_SUMMARY_CHARACTERS = 500
_NOTE_ROOM = 110
"""For the note about what is missing."""


def escape(text: str, *, limit: int = 500) -> str:
    """Return foreign text as literal text of one line: no markup, no mention, no link."""
    escaped = _SPECIAL.sub(r"\\\1", _flat(text, limit)).replace("\\@", "@").replace("\\#", "#")
    # GitHub looks for mentions, issues and addresses in what Markdown made; a zero-width space is in the way.
    return _LINKED.sub("\u200b", escaped)


def escape_with_code(text: str, *, limit: int = 500) -> str:
    """Return the text as it reads, with what stands between backticks as code."""
    parts = text[:limit].split("`")
    if len(parts) % 2 == 0:  # one without its other
        return escape(text, limit=limit)
    return "".join(
        code(part) if number % 2 else _spaced(part, escape(part, limit=limit)) for number, part in enumerate(parts)
    )


def _spaced(part: str, escaped: str) -> str:
    """Keep a word from running into the code beside it: escaping takes the space at both ends."""
    if not escaped:
        return " " if part else ""
    return " " * part[:1].isspace() + escaped + " " * part[-1:].isspace()


def code(text: str, *, limit: int = 200) -> str:
    """Return foreign text as inline code."""
    # No backslash counts in code: a character that would end it, or a table's cell, becomes one that looks alike.
    shown = _flat(text, limit).replace("`", "'").replace("|", "¦").replace("<!--", "<\u200b!--")
    return f"`{shown}`" if shown else "–"


def _flat(text: str, limit: int) -> str:
    flat = " ".join(text.split())
    flat = flat if len(flat) <= limit else flat[: limit - 1] + "…"
    # Control characters and those that turn the direction of writing could make one text look like another.
    return "".join(c if c.isprintable() else "\ufffd" for c in flat)


def fit(parts: Sequence[str], *, limit: int = MAX_CHARACTERS) -> str:
    """Return the parts as paragraphs, at most ``limit`` characters.

    Where they are longer, each has a budget: an equal share of the room, and what shorter ones leave of theirs. So
    short parts, as a verdict is, stay whole, and a long one is cut and says how much of it is missing.
    """
    there = [part for part in parts if part]
    text = "\n\n".join(there) + "\n"
    if len(text) <= limit:
        return text
    room, budgets = limit - 2 * len(there), {}
    for left, (place, part) in zip(
        range(len(there), 0, -1), sorted(enumerate(there), key=lambda item: len(item[1])), strict=True
    ):
        budgets[place] = min(len(part), max(0, room // left))
        room -= budgets[place]
    return "\n\n".join(kept for i, part in enumerate(there) if (kept := cut(part, budgets[i]))) + "\n"


def cut(text: str, limit: int) -> str:
    """Return the first lines of ``text`` within ``limit``, with what they opened closed, and how much is missing."""
    if len(text) <= limit:
        return text
    lines, kept, used = text.split("\n"), [], 0
    fence, folded = "", 0
    closed = ""
    for line in lines:
        opened = re.match(r"(`{3,})", line)
        if opened and (not fence or line == fence):
            fence = "" if fence else opened[1]
        elif not fence:
            folded += line.startswith("<details><summary>") - (line == "</details>")
        after = f"\n{fence}" * bool(fence) + "\n\n</details>" * folded
        if used + len(line) + 1 + len(after) + _NOTE_ROOM > limit:
            break
        kept.append(line)
        used += len(line) + 1
        closed = after
    missing, characters = len(lines) - len(kept), len(text) - used
    note = (
        f"<sub>… left out here, for GitHub takes no longer text: {missing:,} lines, {characters:,} characters.</sub>"
    )
    return "\n".join(kept) + closed + "\n\n" * bool(kept) + note if len(note) <= limit else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are Markdown already."""
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(' --- ' for _ in head)}|"]
    lines += [f"| {' | '.join(cell.replace(chr(10), ' ') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def details(summary: str, body: str) -> str:
    """Return a section that is folded until somebody opens it; ``summary`` is plain text, and ``body`` Markdown.

    GitHub reads the line of the summary as HTML: a backslash there would be shown.
    """
    plain = _flat(summary, _SUMMARY_CHARACTERS).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = _LINKED_IN_HTML.sub("\u200b", plain)
    return f"<details><summary>{shown}</summary>\n\n{body}\n\n</details>"


def fenced(text: str, language: str = "", *, limit: int = 10_000) -> str:
    """Return a fenced block that no line of ``text`` can end; at most ``limit`` characters of it."""
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def tick(passed: bool) -> str:
    """Return the sign for passed or failed."""
    return "✅" if passed else "❌"
