"""A workspace: its people, channels and messages, in memory and, after each change, in one JSON file."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = Mapping[str, Any]

TEAM_ID = "T0SANDBOX"
TEAM_NAME = "Sandbox"
APP_ID = "A0PROMOBOT"
TIMESTAMP = re.compile(r"[0-9]{10}\.[0-9]{6}")


@dataclass(frozen=True)
class User:
    """Somebody in the workspace; ``bot_id`` is set for an app's user."""

    id: str
    name: str
    real_name: str
    bot_id: str = ""


@dataclass(frozen=True)
class Channel:
    """A public channel; ``has_bot`` says whether the bot was invited."""

    id: str
    name: str
    has_bot: bool = True


@dataclass(frozen=True)
class Reaction:
    """An emoji under a message, without colons, and who gave it."""

    name: str
    users: tuple[str, ...]


@dataclass(frozen=True)
class Message:
    """One message. ``ts`` names it within its channel; ``thread_ts`` is the ``ts`` of what it answers, or empty."""

    ts: str
    user: str
    text: str
    blocks: tuple[Json, ...] = ()
    thread_ts: str = ""
    broadcast: bool = False
    metadata: Json | None = None
    edited_ts: str = ""
    reactions: tuple[Reaction, ...] = ()


BOT = User(id="U0PROMOBOT", name="promobot", real_name="Promobot", bot_id="B0PROMOBOT")
USERS = (
    BOT,
    User(id="U0ALEX", name="alex", real_name="Alex"),
    User(id="U0SAM", name="sam", real_name="Sam"),
)
GENERAL = Channel(id="C0GENERAL", name="general", has_bot=False)


@dataclass
class _Contents:
    """Everything that changes: messages by channel, oldest first."""

    messages: dict[str, list[Message]] = field(default_factory=dict)


class Workspace:
    """Channels and their messages. ``clock`` gives seconds since 1970; timestamps rise even where it does not."""

    def __init__(
        self, directory: Path, *, channels: tuple[Channel, ...], clock: Callable[[], float] = time.time
    ) -> None:
        self.users = USERS
        self.bot = BOT
        self.channels = (GENERAL, *channels)
        self._file = directory / "messages.json"
        self._clock = clock
        self._lock = threading.Lock()
        directory.mkdir(parents=True, exist_ok=True)
        self._contents = _read(self._file) if self._file.exists() else _Contents()

    def channel(self, id_or_name: str) -> Channel | None:
        """Return the channel of this id or name (with or without #), or None."""
        wanted = id_or_name.removeprefix("#")
        return next((channel for channel in self.channels if wanted in (channel.id, channel.name)), None)

    def user(self, user_id: str) -> User:
        """Return the user; raise KeyError for an id that nobody has."""
        return {user.id: user for user in self.users}[user_id]

    def messages(self, channel: Channel) -> tuple[Message, ...]:
        """Return every message of the channel, replies included, oldest first."""
        return tuple(self._contents.messages.get(channel.id, ()))

    def message(self, channel: Channel, ts: str) -> Message | None:
        """Return the message with this timestamp, or None."""
        return next((message for message in self.messages(channel) if message.ts == ts), None)

    def replies(self, channel: Channel, parent: Message) -> tuple[Message, ...]:
        """Return what was answered in the message's thread, oldest first."""
        return tuple(message for message in self.messages(channel) if message.thread_ts == parent.ts)

    def post(
        self,
        channel: Channel,
        *,
        user: User,
        text: str,
        blocks: tuple[Json, ...] = (),
        thread_ts: str = "",
        broadcast: bool = False,
        metadata: Json | None = None,
    ) -> Message:
        """Add a message with a timestamp later than every other of the channel."""
        with self._lock:
            listed = self._contents.messages.setdefault(channel.id, [])
            message = Message(
                ts=self._next_timestamp(listed[-1].ts if listed else ""),
                user=user.id,
                text=text,
                blocks=blocks,
                thread_ts=thread_ts,
                broadcast=broadcast,
                metadata=metadata,
            )
            listed.append(message)
            self._save()
            return message

    def replace(self, channel: Channel, message: Message) -> Message:
        """Put ``message`` where the one of the same timestamp was; return it."""
        with self._lock:
            listed = self._contents.messages[channel.id]
            listed[[known.ts for known in listed].index(message.ts)] = message
            self._save()
            return message

    def edit(self, channel: Channel, message: Message, *, text: str, blocks: tuple[Json, ...]) -> Message:
        """Change what a message says, and mark it as edited."""
        edited_ts = self._next_timestamp(message.edited_ts or message.ts)
        return self.replace(channel, dataclasses.replace(message, text=text, blocks=blocks, edited_ts=edited_ts))

    def react(self, channel: Channel, message: Message, *, name: str, user: User) -> bool:
        """Add the user's reaction; return False where it was there already."""
        givers = {reaction.name: reaction.users for reaction in message.reactions}
        if user.id in givers.get(name, ()):
            return False
        givers[name] = (*givers.get(name, ()), user.id)
        reactions = tuple(Reaction(emoji, users) for emoji, users in givers.items())
        self.replace(channel, dataclasses.replace(message, reactions=reactions))
        return True

    def to_json(self) -> dict[str, Any]:
        """Return everything as people see it: channels with their messages, oldest first, replies under theirs."""
        return {
            "channels": [
                {
                    "id": channel.id,
                    "name": channel.name,
                    "messages": [
                        {
                            **dataclasses.asdict(message),
                            "user_name": self.user(message.user).name,
                            "replies": [dataclasses.asdict(reply) for reply in self.replies(channel, message)],
                        }
                        for message in self.messages(channel)
                        if not message.thread_ts
                    ],
                }
                for channel in self.channels
            ]
        }

    def _next_timestamp(self, last: str) -> str:
        now = round(self._clock() * 1_000_000)
        micros = max(now, microseconds(last) + 1) if last else now
        return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"

    def _save(self) -> None:
        document = {
            channel: [dataclasses.asdict(message) for message in messages]
            for channel, messages in self._contents.messages.items()
        }
        beside = self._file.with_suffix(".new")
        beside.write_text(json.dumps({"format": 1, "messages": document}, indent=1) + "\n")
        beside.replace(self._file)


def microseconds(ts: str) -> int:
    """Return a timestamp as whole microseconds since 1970; raise ValueError for what is none."""
    seconds, _, micros = ts.partition(".")
    return int(seconds) * 1_000_000 + int(micros.ljust(6, "0")[:6] or "0")


def _read(file: Path) -> _Contents:
    document = json.loads(file.read_text())
    return _Contents({channel: list(_messages(listed)) for channel, listed in document["messages"].items()})


def _messages(listed: list[dict[str, Any]]) -> Iterator[Message]:
    for entry in listed:
        reactions = tuple(Reaction(given["name"], tuple(given["users"])) for given in entry["reactions"])
        yield Message(**{**entry, "blocks": tuple(entry["blocks"]), "reactions": reactions})
