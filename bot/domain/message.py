"""A message to people, as a value that can be kept in an outbox."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Message:
    """A message. ``key`` is unique for the event, so that nobody gets the same message twice.

    ``text`` is the plain-text fallback, ``blocks`` are Slack's Block Kit. ``since`` is the earliest time at which it
    can have been posted, in seconds since 1970: before a second post, the bot looks for it as far back as that.

    ``deployments`` are the records that it tells of, where one message tells of many.

    ``thread`` names what it is about: it goes into the thread of the message whose facts say the same under
    ``thread``, where there is one, and with ``broadcast`` into the channel, too. ``facts`` go along, unseen.
    """

    key: str
    text: str
    blocks: tuple[dict[str, Any], ...] = ()
    since: float = 0
    thread: str = ""
    broadcast: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    deployments: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Tells this wording from every other, so that what is posted already can be compared with it."""
        said = json.dumps([self.text, list(self.blocks), dict(self.facts)], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Return the text that the outbox keeps."""
        document = {"key": self.key, "text": self.text, "blocks": self.blocks, "since": self.since}
        document |= {"thread": self.thread, "broadcast": self.broadcast, "deployments": self.deployments}
        return json.dumps(document) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Message:
        """Read what the outbox kept."""
        document = json.loads(text)
        return cls(
            document["key"],
            document["text"],
            tuple(document["blocks"]),
            document.get("since", 0),  # messages of before were looked for as far back as Slack shows
            document.get("thread", ""),
            document.get("broadcast", False),
            deployments=tuple(document.get("deployments", ())),
        )
