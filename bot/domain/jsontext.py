"""JSON that others wrote: whatever is wrong with it is a ValueError."""

from __future__ import annotations

import json
from typing import Any


def read(text: str | bytes) -> Any:
    """Parse one JSON document; raise ValueError for everything that is none, also for nesting without end."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
