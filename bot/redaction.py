"""Secrets are blanked out of everything that people or other systems read, by their value.

:func:`keep` is told each secret when it is read (``bot/settings.py``) or received (an App's token). From then on
:func:`redact` blanks it, also percent-encoded, escaped for JSON, HTML or Markdown, and in base64, where it may be a
part of what was encoded, as in ``user:token``. What libraries find in the environment by themselves is blanked, too,
where the variable's name says that it is a secret.
"""

from __future__ import annotations

import base64
import html
import logging
import os
import re
import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

SHORTEST = 8
LONGEST_WORD = 12
"""A value shorter than the first, or a plain word up to the second (``minioadmin``), is not blanked: it would take
names and ordinary words with it. `promobot doctor` says so."""
BLANK = "***"

_BY_ITS_LOOK = re.compile(
    r"\b(?:gh[a-z]_|github_pat_)[A-Za-z0-9_.-]{16,}"
    r"|\bx(?:ox[a-z]|app)-[A-Za-z0-9-]{8,}"
    # A signed token, as an App shows GitHub.
    r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}"
    # Whoever has this address may speak for the bot, for half an hour.
    r"|(?<=//hooks\.slack\.com/)[^\s\"'<>]+"
)
_ARMOUR = re.compile(r"-----[A-Z ]+-----")
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=")
_kept: set[str] = set()
_lock = threading.Lock()


def keep(value: str) -> str:
    """Return the secret; from now on :func:`redact` blanks it."""
    with _lock:
        _kept.add(value)
    return value


def redact(text: str) -> str:
    """Blank out every secret that was kept or is in the environment; and tokens of GitHub and Slack by their look."""
    with _lock:
        values = sorted(_kept.union(_named_as_secrets()))
    spans = sorted(span for value in values for span in _found(value, text))
    if spans:
        pieces, at = [], 0
        for start, end in spans:
            if start >= at:
                pieces += [text[at:start], BLANK]
            at = max(at, end)
        text = "".join([*pieces, text[at:]])
    return _BY_ITS_LOOK.sub(BLANK, text)


def excerpt(text: str, limit: int) -> str:
    """Return the beginning of a foreign text, redacted: half a secret would not be known any more after the cut."""
    return redact(text)[:limit]


def redact_all(value: Any) -> Any:
    """Return the same lists and mappings with every text in them redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {name: redact_all(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(inner) for inner in value]
    return value


def is_too_plain(value: str) -> bool:
    """Whether the value could be an ordinary word, so that it is not blanked."""
    return len(value) < SHORTEST or (len(value) <= LONGEST_WORD and value.isalpha() and value.islower())


class Formatter(logging.Formatter):
    """For logs: without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _named_as_secrets() -> Iterator[str]:
    for name, value in os.environ.items():
        if name.endswith(("TOKEN", "SECRET", "PASSWORD", "KEY")):
            yield value


def _found(value: str, text: str) -> Iterator[tuple[int, int]]:
    """Yield where the secret stands in the text, from and to."""
    plain, encoded = _patterns(value)
    for pattern in plain:
        for match in pattern.finditer(text):
            yield match.span()
    for pattern in encoded:
        for match in pattern.finditer(text):
            start, end = match.span()
            # What was encoded with it goes, too: the characters at its ends hold a part of it.
            while start and text[start - 1] in _BASE64:
                start -= 1
            while end < len(text) and text[end] in _BASE64:
                end += 1
            yield start, end


@lru_cache(maxsize=256)
def _patterns(value: str) -> tuple[tuple[re.Pattern[str], ...], tuple[re.Pattern[str], ...]]:
    """Return what finds the secret as it is, and what finds it in base64."""
    value = value.strip()
    # A private key has many lines, each of which may stand alone.
    parts = {value, *(part.strip() for part in re.split(r"[\r\n]+|\\n", value))}
    plain = [_spelt(part) for part in parts if not is_too_plain(part) and not _ARMOUR.fullmatch(part)]
    encoded = [] if is_too_plain(value) else [_spelt(core) for core in _in_base64(value)]
    return tuple(map(re.compile, sorted(plain))), tuple(map(re.compile, encoded))


def _in_base64(value: str) -> Iterator[str]:
    """Yield what stands in base64 of anything that contains the value: it depends on where the value begins."""
    content = value.encode()
    for before in range(3):
        text = base64.b64encode(b"\0" * before + content).decode()
        # The first and the last characters depend on the neighbours, too.
        yield text[-(-before * 8 // 6) : (before + len(content)) * 8 // 6]


def _spelt(text: str) -> str:
    """Return a pattern for the text in every way in which libraries write its characters."""
    return "".join(c if c.isascii() and c.isalnum() else _any_of(_spellings(c)) for c in text)


def _spellings(character: str) -> Iterator[str]:
    # Markdown, JSON and Python put backslashes before it, and who quotes twice puts more. Our Markdown puts a
    # zero-width space behind what would become a mention or a link.
    yield r"\\*" + re.escape(character) + "\u200b*"
    yield "".join(f"%(?:25)*(?i:{byte:02x})" for byte in character.encode())
    yield rf"\\+u(?i:{ord(character):04x})"
    yield "".join(rf"\\+x{byte:02x}" for byte in character.encode())
    escaped = html.escape(character)
    if escaped != character:
        yield re.escape(escaped)
        yield rf"&#0*(?:{ord(character)}|(?i:x{ord(character):x}));"
    if character == " ":
        yield r"\+"
    if character in "+/":
        yield "-" if character == "+" else "_"
    if character == "\n":
        yield r"\\+n"
    if character == "\r":
        yield r"\\+r"


def _any_of(spellings: Iterable[str]) -> str:
    return f"(?:{'|'.join(filter(None, spellings))})"
