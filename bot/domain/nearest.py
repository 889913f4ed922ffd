"""For a wrong word the nearest right one."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def nearest(word: str, possible: Collection[str]) -> str:
    """Return the possible word that is most like ``word``; empty where none is like it."""
    found = difflib.get_close_matches(word.lower()[:100], list(possible), n=1, cutoff=0.6)
    return found[0] if found else ""


def nearest_number(number: int, possible: Collection[int]) -> int | None:
    """Return the possible number that is closest, of two the higher; None where there is none."""
    return min(possible, key=lambda one: (abs(one - number), -one), default=None)


def did_you_mean(word: str, possible: Collection[str]) -> str:
    """Return the question, with a space behind it; empty where nothing is like ``word``, or it is right."""
    found = nearest(word, possible)
    return f"Did you mean {found}? " if found and found != word else ""
