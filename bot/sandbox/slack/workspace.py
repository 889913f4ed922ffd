"""A workspace: its people, channels and messages, in memory and, after each change, in one JSON file."""

from __future__ import annotations

import dataclasses
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

Json = Mapping[str, Any]

TEAM_ID = "T0SANDBOX"
TEAM_NAME = "Sandbox"
TEAM_DOMAIN = "sandbox"
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
class UserGroup:
    """A group of people that can be mentioned by its handle."""

    id: str
    handle: str
    name: str
    users: tuple[str, ...]


@dataclass(frozen=True)
class Channel:
    """A public channel; ``has_bot`` says whether the bot was invited, ``archived`` that nobody can post there."""

    id: str
    name: str
    has_bot: bool = True
    archived: bool = False


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


@dataclass(frozen=True)
class Ephemeral:
    """A message that one person sees, until the workspace restarts. ``of`` is who it comes from."""

    ts: str
    channel: str
    to: str
    of: str
    text: str
    blocks: tuple[Json, ...] = ()
    thread_ts: str = ""


class Kept(BaseModel):
    """The file of a workspace: the messages of each channel, by its id."""

    messages: dict[str, list[Message]] = {}


SLACKBOT = User(id="USLACKBOT", name="slackbot", real_name="Slackbot")
"""Slack itself, when it has something to say to somebody."""
BOT = User(id="U0PROMOBOT", name="promobot", real_name="Promobot", bot_id="B0PROMOBOT")
USERS = (
    BOT,
    User(id="U0ALEX", name="alex", real_name="Alex"),
    User(id="U0SAM", name="sam", real_name="Sam"),
    # In the workspace, but neither in a group nor on the forge.
    User(id="U0KIM", name="kim", real_name="Kim"),
)
PEOPLE = USERS[1:]
GROUPS = (
    UserGroup(id="S0MLTEAM", handle="ml-team", name="ML team", users=("U0ALEX", "U0SAM")),
    UserGroup(id="S0RELEASERS", handle="releasers", name="Release managers", users=("U0ALEX",)),
)
GENERAL = Channel(id="C0GENERAL", name="general", has_bot=False)


class Workspace:
    """Channels and their messages. ``clock`` gives seconds since 1970; timestamps rise even where it does not."""

    def __init__(
        self, directory: Path, *, channels: tuple[Channel, ...], clock: Callable[[], float] = time.time
    ) -> None:
        self.users = USERS
        self.bot = BOT
        self.groups = GROUPS
        self.channels = (GENERAL, *channels)
        self._ephemerals: list[Ephemeral] = []
        self._file = directory / "messages.json"
        self._clock = clock
        self._lock = threading.Lock()
        directory.mkdir(parents=True, exist_ok=True)
        self._contents = Kept.model_validate_json(self._file.read_bytes() if self._file.exists() else "{}").messages

    def channel(self, id_or_name: str) -> Channel | None:
        """Return the channel of this id or name (with or without #), or None."""
        wanted = id_or_name.removeprefix("#")
        return next((channel for channel in self.channels if wanted in (channel.id, channel.name)), None)

    def change(self, channel: Channel, *, has_bot: bool | None = None, archived: bool | None = None) -> Channel:
        """Invite or remove the bot, archive or unarchive the channel; return the changed channel."""
        changed = dataclasses.replace(
            channel,
            has_bot=channel.has_bot if has_bot is None else has_bot,
            archived=channel.archived if archived is None else archived,
        )
        self.channels = tuple(changed if known.id == channel.id else known for known in self.channels)
        return changed

    def user(self, user_id: str) -> User:
        """Return the user; raise KeyError for an id that nobody has."""
        return {user.id: user for user in (*self.users, SLACKBOT)}[user_id]

    def person(self, id_or_name: str) -> User | None:
        """Return the person of this id or name; None for an app and for nobody."""
        return next((user for user in PEOPLE if id_or_name in (user.id, user.name)), None)

    def messages(self, channel: Channel) -> tuple[Message, ...]:
        """Return every message of the channel, replies included, oldest first."""
        return tuple(self._contents.get(channel.id, ()))

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
            listed = self._contents.setdefault(channel.id, [])
            message = Message(
                ts=self._next_timestamp(listed[-1].ts if listed else ""),
                user=user.id,
                text=text,
                blocks=with_ids(blocks),
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
            listed = self._contents[channel.id]
            listed[[known.ts for known in listed].index(message.ts)] = message
            self._save()
            return message

    def edit(self, channel: Channel, message: Message, *, text: str, blocks: tuple[Json, ...]) -> Message:
        """Change what a message says, and mark it as edited."""
        edited_ts = self._next_timestamp(message.edited_ts or message.ts)
        return self.replace(
            channel, dataclasses.replace(message, text=text, blocks=with_ids(blocks), edited_ts=edited_ts)
        )

    def whisper(
        self,
        channel: Channel,
        *,
        to: User,
        of: User,
        text: str,
        blocks: tuple[Json, ...] = (),
        thread_ts: str = "",
    ) -> Ephemeral:
        """Show one person something in a channel."""
        with self._lock:
            last = self._ephemerals[-1].ts if self._ephemerals else ""
            shown = Ephemeral(
                ts=self._next_timestamp(last),
                channel=channel.id,
                to=to.id,
                of=of.id,
                text=text,
                blocks=with_ids(blocks),
                thread_ts=thread_ts,
            )
            self._ephemerals.append(shown)
            return shown

    def ephemerals(self, user: User) -> tuple[Ephemeral, ...]:
        """Return what only this person sees, oldest first."""
        return tuple(shown for shown in self._ephemerals if shown.to == user.id)

    def replace_ephemeral(self, ts: str, *, text: str, blocks: tuple[Json, ...]) -> bool:
        """Change what somebody alone sees; return False where it is gone."""
        with self._lock:
            for index, shown in enumerate(self._ephemerals):
                if shown.ts == ts:
                    self._ephemerals[index] = dataclasses.replace(shown, text=text, blocks=with_ids(blocks))
                    return True
            return False

    def now(self) -> float:
        """Return seconds since 1970 by the workspace's clock."""
        return self._clock()

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
        beside = self._file.with_suffix(".new")
        beside.write_text(Kept.model_construct(messages=self._contents).model_dump_json(indent=1))
        beside.replace(self._file)


def with_ids(blocks: tuple[Json, ...]) -> tuple[Json, ...]:
    """Return the blocks as Slack keeps them: each has a ``block_id``, each interactive element an ``action_id``."""
    return tuple(_with_ids(block) for block in blocks)


def _with_ids(block: Json) -> Json:
    kept = {**block, "block_id": block.get("block_id") or secrets.token_urlsafe(4)}
    if isinstance(block.get("elements"), list) and block.get("type") == "actions":
        kept["elements"] = [_with_action_id(element) for element in block["elements"]]
    for name in ("accessory", "element"):
        if isinstance(block.get(name), dict) and block[name].get("type") != "image":
            kept[name] = _with_action_id(block[name])
    return kept


def _with_action_id(element: Json) -> Json:
    return {**element, "action_id": element.get("action_id") or secrets.token_urlsafe(4)}


def microseconds(ts: str) -> int:
    """Return a timestamp as whole microseconds since 1970; raise ValueError for what is none."""
    seconds, _, micros = ts.partition(".")
    return int(seconds) * 1_000_000 + int(micros.ljust(6, "0")[:6] or "0")
