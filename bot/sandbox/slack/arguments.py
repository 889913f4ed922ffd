"""The arguments of a call of the Web API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.sandbox.slack.refusal import SlackError

MAX_LIMIT = 999


@dataclass(frozen=True)
class Arguments:
    """The arguments of a call. From a form or a query all are text, and nested values are JSON in it."""

    values: Mapping[str, Any]
    without: frozenset[str] = frozenset()
    """Types of block that this workspace does not take."""

    def text(self, name: str) -> str:
        """Return the argument as text; empty where it is missing."""
        value = self.values.get(name)
        return "" if value is None else str(value)

    def flag(self, name: str) -> bool:
        """Return whether the argument is true in one of the ways in which Slack takes that."""
        return self.text(name).lower() in ("true", "1")

    def nested(self, name: str, *, otherwise: str) -> Any:
        """Return a list or object; raise SlackError ``otherwise`` for text that is no JSON."""
        value = self.values.get(name)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value) if value else None
        except ValueError:
            raise SlackError(otherwise) from None

    def limit(self, default: int) -> int:
        """Return how many entries a page may have."""
        value = self.text("limit")
        if not value:
            return default
        if not value.isdecimal() or not 1 <= int(value) <= MAX_LIMIT:
            raise SlackError("invalid_limit")
        return int(value)
