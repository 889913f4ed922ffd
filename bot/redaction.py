"""Secrets are blanked out of everything that people or other systems read, by their value.

:func:`keep` receives each secret when it is read (``bot/settings.py``) or received (an App's token). From then on
:func:`redact` blanks it, also percent-encoded, escaped for JSON, HTML or Markdown, and in base64, where it may be a
part of what was encoded, as in ``user:token``. It also blanks base64 and hexadecimal digits that are broken into
lines, or that encode each other up to three deep. What libraries find in the environment by themselves is blanked,
too, where the variable's name says that it is a secret.
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
    # Anyone who has this address may speak for the bot, for half an hour.
    r"|(?<=//hooks\.slack\.com/)[^\s\"'<>]+"
)
_ARMOUR = re.compile(r"-----[A-Z ]+-----")
_BREAK = r"(?:\\{1,4}[rn]|[\r\n]){1,4}[ \t]{0,16}"
_RUN = re.compile(rf"[A-Za-z0-9+/_-]{{11,}}+(?:{_BREAK}[A-Za-z0-9+/_-]++)*+")
"""Text that may be base64 of the shortest secret or more, in one line or several."""
_DIGITS = re.compile(rf"[0-9A-Fa-f]{{{2 * SHORTEST},}}+")
_PAIRS = re.compile(
    r"(?:(?<![0-9A-Za-z])|(?<=\\x))[0-9A-Fa-f]{2}"
    rf"(?:(?:[ :,-]|\\{{1,4}}x)[0-9A-Fa-f]{{2}}(?![0-9A-Za-z])){{{SHORTEST - 1},}}+"
)
"""Text that may be bytes as hexadecimal digits, with something between each two."""
_BREAKS, _BETWEEN = re.compile(_BREAK), re.compile(r"[^0-9A-Fa-f]+")
_STANDARD = str.maketrans("-_", "+/")
_DEPTH = 3
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
    spans = sorted([*(span for value in values for span in _found(value, text)), *_encoded(values, text)])
    if spans:
        pieces, at = [], 0
        for start, end in spans:
            if start >= at:
                pieces += [text[at:start], BLANK]
            at = max(at, end)
        text = "".join([*pieces, text[at:]])
    return _BY_ITS_LOOK.sub(BLANK, text)


def excerpt(text: str, limit: int) -> str:
    """Return the beginning of a foreign text, redacted: half a secret would not be recognised after the cut."""
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
            # Text that was encoded with it goes, too: the characters at its ends hold a part of it.
            while start and text[start - 1] in _BASE64:
                start -= 1
            while end < len(text) and text[end] in _BASE64:
                end += 1
            yield start, end


@lru_cache(maxsize=256)
def _patterns(value: str) -> tuple[tuple[re.Pattern[str], ...], tuple[re.Pattern[str], ...]]:
    """Return what finds the secret as it is, and what finds it in base64."""
    plain, value = map(_spelt, _parts(value)), value.strip()
    encoded = [] if is_too_plain(value) else [_spelt(core) for core in _in_base64(value)]
    return tuple(map(re.compile, sorted(plain))), tuple(map(re.compile, encoded))


@lru_cache(maxsize=256)
def _parts(value: str) -> tuple[str, ...]:
    """Return what must not be read of a secret: a private key has many lines, each of which may stand alone."""
    value = value.strip()
    parts = {value, *(part.strip() for part in re.split(r"[\r\n]+|\\n", value))}
    return tuple(sorted(part for part in parts if not is_too_plain(part) and not _ARMOUR.fullmatch(part)))


def _encoded(values: Iterable[str], text: str) -> list[tuple[int, int]]:
    """Return where base64 or hexadecimal digits stand, from and to, that hold a secret once they are decoded."""
    secrets = [part.encode() for value in values for part in _parts(value)]
    if not secrets or not _hold(text, secrets, _DEPTH):
        return []
    runs = (run for pattern in (_RUN, _PAIRS) for run in pattern.finditer(text))
    return [run.span() for run in runs if _hold(run[0], secrets, _DEPTH)]


def _hold(text: str, secrets: list[bytes], depth: int) -> bool:
    return any(
        any(secret in content for secret in secrets)
        or (depth > 1 and _hold(content.decode("latin-1"), secrets, depth - 1))
        for content in _decoded(text)
    )


def _decoded(text: str) -> Iterator[bytes]:
    """Yield all that the runs in a text may stand for, those that begin at the same offset together.

    A word before the encoded part may belong to its run, so the part may begin at any character.
    """
    runs = [_BREAKS.sub("", run).translate(_STANDARD) for run in _RUN.findall(text)]
    for start in range(4) if runs else ():
        # Between two runs are zeros, so that nothing is found that stands partly in each.
        yield base64.b64decode("".join(run[start:] + "A" * (8 - (len(run) - start) % 4) for run in runs))
    digits = [part for run in runs for part in _DIGITS.findall(run)]
    digits += [_BETWEEN.sub("", pairs) for pairs in _PAIRS.findall(text)]
    for start in (0, 1) if digits else ():
        yield bytes.fromhex("".join(part[start:] + "0" * (2 + (len(part) - start) % 2) for part in digits))


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
