"""JSON that others wrote: whatever is wrong with it is a ValueError."""

from __future__ import annotations

import json
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


def read(text: str | bytes) -> Any:
    """Parse one JSON document; raise ValueError for everything that is none, also for nesting without end."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except json.JSONDecodeError as error:
        said = next((ours for theirs, ours in _IN_WORDS.items() if error.msg.startswith(theirs)), "it cannot be read")
        raise ValueError(f"{said}, at line {error.lineno}, column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not text in UTF-8, at byte {error.start}") from error
