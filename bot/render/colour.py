"""Colour on a terminal: wrong is red, incomplete yellow, well green. The words alone say it, too."""

from __future__ import annotations

import re
from collections.abc import Mapping

_RED, _YELLOW, _GREEN, _PLAIN = "\033[31m", "\033[33m", "\033[32m", "\033[0m"
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b(?:DOWN|silent|absent)\b|(?<![^\s])[✗❌]"), _RED),
    (re.compile(r"\b(?:degraded|held)\b|(?<![^\s])(?:⚠️|↩️|✋)"), _YELLOW),
    (re.compile(r"\b(?:OK|READY)\b|(?<![^\s])[✓✅]"), _GREEN),
)


def coloured(text: str) -> str:
    """Return the text with its signs and words of state in colour."""
    for pattern, colour in _RULES:
        text = pattern.sub(lambda found, colour=colour: f"{colour}{found.group()}{_PLAIN}", text)  # type: ignore[misc]
    return text


def is_wanted(environment: Mapping[str, str], *, on_a_terminal: bool) -> bool:
    """Whether to colour: on a terminal that knows colours, unless NO_COLOR is set (https://no-color.org)."""
    return on_a_terminal and not environment.get("NO_COLOR") and environment.get("TERM", "dumb") != "dumb"
