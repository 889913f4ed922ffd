"""A message to people, as a value that can be kept in an outbox."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Message:
    """What is said. ``key`` is unique for what happened, so that nobody is told the same thing twice.

    ``text`` is the plain-text fallback, ``blocks`` are Slack's Block Kit. ``since`` is when it can have been said at
    the earliest, in seconds since 1970: as far back as it is looked for before it is said again.
    """

    key: str
    text: str
    blocks: tuple[dict[str, Any], ...] = ()
    since: float = 0

    def to_json(self) -> str:
        """Return the text that the outbox keeps."""
        return json.dumps({"key": self.key, "text": self.text, "blocks": self.blocks, "since": self.since}) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Message:
        """Read what the outbox kept."""
        document = json.loads(text)
        return cls(document["key"], document["text"], tuple(document["blocks"]), document["since"])
