"""What Slack says when it does not do something."""

from __future__ import annotations

from typing import Any


class SlackError(Exception):
    """``ok: false`` with this word; ``messages`` are Slack's explanations in ``response_metadata``.

    ``more`` is what the answer has beside them.
    """

    def __init__(self, word: str, *, messages: tuple[str, ...] = (), more: dict[str, Any] | None = None) -> None:
        super().__init__(word)
        self.word = word
        self.messages = messages
        self.more = more or {}

    def to_json(self) -> dict[str, Any]:
        """Return the answer."""
        answer: dict[str, Any] = {"ok": False, "error": self.word, **self.more}
        if self.messages:
            answer |= {"errors": list(self.messages), "response_metadata": {"messages": list(self.messages)}}
        return answer
