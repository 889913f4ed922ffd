"""How wide the reader's terminal is, and text that fits it: words stay whole, and so do commands to type."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar

COLUMNS: ContextVar[int | None] = ContextVar("columns", default=None)
"""Of the terminal on which somebody reads; None where nobody does, as in a file or in a job's log."""
_BETWEEN = " · "
_PIECE = re.compile(r"`[^`]*`\S*|promobot [a-z]+(?: (?:'[^']*'|[^\s;:,'`|]+))*(?=$|[\s;:,|])[;:,]?|\S+")
"""The pieces that a line break never splits: a command, with or without backticks, and any other word."""


def cells(text: str) -> int:
    """Return how many columns a text takes."""
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if character == "\ufe0f":
        return 1  # behind a sign of one column, which becomes an emoji of two
    if unicodedata.combining(character) or character in "\u200b\ufe0e":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def padded(text: str, width: int) -> str:
    """Return a text with spaces up to so many columns."""
    return text + " " * (width - cells(text))


def folded(text: str) -> str:
    """Return text with each line that is too long for the terminal broken between words.

    A command that fits a line stays on one, to be copied; one that does not is left to the terminal.
    """
    width = COLUMNS.get()
    if width is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in _folded(line, width))


def _folded(line: str, width: int) -> Iterator[str]:
    if cells(line) <= width:
        yield line
        return
    indent = line[: len(line) - len(line.lstrip())]
    yield from _flow(_PIECE.findall(line), " ", indent, indent + "  ", width)


def _flow(pieces: Iterable[str], between: str, first: str, rest: str, width: int) -> Iterator[str]:
    """Yield lines of these pieces, none broken."""
    line, is_empty = first, True
    for piece in pieces:
        longer = line + (piece if is_empty else between + piece)
        if not is_empty and cells(longer) > width:
            yield line
            longer = rest + piece
        line, is_empty = longer, False
    if not is_empty:
        yield line


def stacked(head: Sequence[str], rows: Iterable[Sequence[str]], width: int) -> str:
    """Return a table that is too wide for the terminal: a line that names each row, and below it what it has."""
    lines = []
    for row in rows:
        names = 2 if head[0] == "" and len(head) > 1 else 1
        lines.append(" ".join(cell for cell in row[:names] if cell))
        said = [
            f"{name}: {cell}" if name else cell for name, cell in zip(head[names:], row[names:], strict=True) if cell
        ]
        short = [item for item in said if cells(item) <= width - 4]
        lines += _flow(short, _BETWEEN, "    ", "    ", width)
        lines += [part for item in said if item not in short for part in _folded(f"    {item}", width)]
    return "\n".join(lines)
