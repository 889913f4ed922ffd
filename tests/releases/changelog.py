"""``docs/changelog.md`` by versions: what each brings, in short, and whether it is out."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

PAGE = "docs/changelog.md"
PROJECT = Path(__file__).resolve().parents[2]
IN_SHORT = "In short"
"""The section that people read first, and that a release says of itself. Below it everything has its line."""

_HEADING = re.compile(r"^## (\d+\.\d+\.\d+) – (unreleased|\d{4}-\d{2}-\d{2})$", re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)\s]+)\)")


@dataclass(frozen=True)
class Entry:
    """One version of the changelog."""

    version: str
    day: date | None
    """When it came out; None before that."""
    in_short: str
    """The section `IN_SHORT` without its heading."""


def entries(text: str) -> Iterator[Entry]:
    """Yield the versions, the newest first. Raises ValueError at a heading without a day or *unreleased*."""
    found = list(_HEADING.finditer(text))
    headings = re.findall(r"^## .*$", text, re.MULTILINE)
    if wrong := [line for line in headings if not _HEADING.fullmatch(line)]:
        raise ValueError(f"{PAGE}: “{wrong[0]}” is not “## 1.2.3 – 2026-12-31” or “## 1.2.3 – unreleased”")
    for one, after in zip(found, [*found[1:], None], strict=True):
        body = text[one.end() : after.start() if after else len(text)]
        short = re.search(rf"^### {IN_SHORT}\n+(.*?)(?=^###? |\Z)", body, re.MULTILINE | re.DOTALL)
        day = None if one[2] == "unreleased" else date.fromisoformat(one[2])
        yield Entry(one[1], day, short[1].strip() if short else "")


def notes(entry: Entry, *, repository_url: str, ref: str) -> str:
    """Return what a release says of itself: the entry in short, with links that lead to the pages at ``ref``."""

    def absolute(link: re.Match[str]) -> str:
        path, hash_, anchor = link[1].partition("#")
        page = posixpath.normpath(posixpath.join(posixpath.dirname(PAGE), path))
        return f"]({repository_url}/blob/{ref}/{page}{hash_}{anchor})"

    whole = f"[Everything that changed]({repository_url}/blob/{ref}/{PAGE})"
    return f"{_LINK.sub(absolute, entry.in_short)}\n\n{whole}\n"
