"""JSON that others wrote: whatever is wrong with it is a ValueError."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

_IN_WORDS = {
    "Expecting value": "a value is missing",
    "Expecting property name": "a key in double quotes is missing",
    "Expecting ',' delimiter": "a comma is missing",
    "Expecting ':' delimiter": "a colon is missing",
    "Illegal trailing comma": "there is a comma behind the last entry",
    "Extra data": "there is text behind the end",
    "Unterminated string": "a text is not closed",
    "Invalid control character": "a text holds a control character",
    "Invalid \\": "a backslash means nothing here",
}
"""What Python's reader says, by how it begins."""


def read(text: str | bytes, *, unique_keys: bool = False) -> Any:
    """Parse one JSON document; raise ValueError for everything that is none, also for nesting without end.

    With ``unique_keys`` an object may not have a key twice: of the two a reader of the text sees either.
    """
    try:
        return json.loads(text, object_pairs_hook=_with_each_key_once if unique_keys else None)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except json.JSONDecodeError as error:
        said = next((ours for theirs, ours in _IN_WORDS.items() if error.msg.startswith(theirs)), "it cannot be read")
        raise ValueError(f"{said}, at line {error.lineno}, column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not text in UTF-8, at byte {error.start}") from error


def _with_each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r:.80} stands twice")
    return found


_SPACE = re.compile(r"[ \t\n\r]*")


def line_of(text: str | bytes, path: Sequence[str | int]) -> int:
    """Return the line, from 1, of the key or item at ``path`` of a valid document, or of the nearest thing around."""
    whole = text if isinstance(text, str) else text.decode()
    at = _skip(whole, 0)
    line = whole.count("\n", 0, at) + 1
    for step in path:
        found = _entry_at(whole, at, step)
        if found is None:
            break
        stands, at = found
        line = whole.count("\n", 0, stands) + 1
    return line


def _entry_at(text: str, at: int, step: str | int) -> tuple[int, int] | None:
    """Return where an entry of the object or list at ``at`` begins, and where its value does; None without one."""
    decoder, opening = json.JSONDecoder(), text[at]
    if opening not in "{[" or (opening == "{") != isinstance(step, str):
        return None
    at, number = _skip(text, at + 1), 0
    while text[at] not in "}]":
        stands = at
        key: str | int = number
        if opening == "{":
            key, at = decoder.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)  # behind the colon
        if key == step:
            return stands, at
        _, at = decoder.raw_decode(text, at)
        at, number = _skip(text, at), number + 1
        at = _skip(text, at + 1) if text[at] == "," else at
    return None


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
