"""The Web API methods: arguments as Slack takes them, answers in Slack's documented shapes, its words for errors.

A method is a function of the workspace and its arguments; it returns the answer without ``ok``, or raises
:class:`SlackError`. A new method is one more function with :func:`method` above it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bot.sandbox.slack.workspace import (
    APP_ID,
    TEAM_ID,
    TEAM_NAME,
    TIMESTAMP,
    Channel,
    Json,
    Message,
    Workspace,
    microseconds,
)

MAX_TEXT = 40_000
MAX_BLOCKS = 50
MAX_LIMIT = 999
BLOCK_TEXT_LIMITS = {"header": 150, "section": 3000}
BLOCK_TYPES = frozenset(
    {
        "actions",
        "context",
        "divider",
        "header",
        "image",
        "input",
        "markdown",
        "rich_text",
        "section",
        "table",
        "video",
    }
)
WITHOUT_TOKEN = frozenset({"api.test"})


class SlackError(Exception):
    """``ok: false`` with this word; ``messages`` are Slack's explanations in ``response_metadata``."""

    def __init__(self, word: str, *, messages: tuple[str, ...] = ()) -> None:
        super().__init__(word)
        self.word = word
        self.messages = messages


@dataclass(frozen=True)
class Arguments:
    """The arguments of a call. From a form or a query all are text, and nested values are JSON in it."""

    values: Mapping[str, Any]

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


Method = Callable[[Workspace, Arguments], dict[str, Any]]
METHODS: dict[str, Method] = {}


def method(name: str) -> Callable[[Method], Method]:
    """Make the function below answer calls of this name."""

    def register(function: Method) -> Method:
        METHODS[name] = function
        return function

    return register


@method("api.test")
def api_test(_: Workspace, arguments: Arguments) -> dict[str, Any]:
    """Answer with the arguments, or with the error that they ask for."""
    if error := arguments.text("error"):
        raise SlackError(error)
    return {"args": {name: value for name, value in arguments.values.items() if name != "token"}}


@method("auth.test")
def auth_test(workspace: Workspace, _: Arguments) -> dict[str, Any]:
    """Say whose token this is."""
    return {
        "url": "https://sandbox.slack.com/",
        "team": TEAM_NAME,
        "user": workspace.bot.name,
        "team_id": TEAM_ID,
        "user_id": workspace.bot.id,
        "bot_id": workspace.bot.bot_id,
        "is_enterprise_install": False,
    }


@method("chat.postMessage")
def chat_post_message(workspace: Workspace, arguments: Arguments) -> dict[str, Any]:
    """Post a message, also into a thread."""
    channel = _joined(workspace, arguments)
    thread_ts = arguments.text("thread_ts")
    if thread_ts:
        parent = workspace.message(channel, _timestamp(thread_ts, otherwise="invalid_thread_ts"))
        if parent is None:
            raise SlackError("thread_not_found")
        thread_ts = parent.thread_ts or parent.ts
    text, blocks = _content(arguments)
    message = workspace.post(
        channel,
        user=workspace.bot,
        text=text,
        blocks=blocks,
        thread_ts=thread_ts,
        broadcast=bool(thread_ts) and arguments.flag("reply_broadcast"),
        metadata=_metadata(arguments),
    )
    return {"channel": channel.id, "ts": message.ts, "message": _shape(workspace, channel, message, metadata=True)}


@method("chat.update")
def chat_update(workspace: Workspace, arguments: Arguments) -> dict[str, Any]:
    """Change a message of the bot's own: text without blocks drops the old blocks, metadata stays unless given."""
    channel = _joined(workspace, arguments)
    message = _message(workspace, channel, arguments.text("ts"))
    if message.user != workspace.bot.id:
        raise SlackError("cant_update_message")
    text, blocks = _content(arguments)
    if "metadata" in arguments.values:
        message = replace(message, metadata=_metadata(arguments))
    edited = workspace.edit(channel, message, text=text, blocks=blocks)
    return {
        "channel": channel.id,
        "ts": edited.ts,
        "text": edited.text,
        "message": _shape(workspace, channel, edited, metadata=True),
    }


@method("chat.getPermalink")
def chat_get_permalink(workspace: Workspace, arguments: Arguments) -> dict[str, Any]:
    """Return the message's address."""
    channel = _channel(workspace, arguments)
    message = _message(workspace, channel, arguments.text("message_ts"))
    return {
        "channel": channel.id,
        "permalink": f"https://sandbox.slack.com/archives/{channel.id}/p{message.ts.replace('.', '')}",
    }


@method("conversations.list")
def conversations_list(workspace: Workspace, arguments: Arguments) -> dict[str, Any]:
    """List the channels."""
    limit, start = arguments.limit(100), _cursor(arguments, "channel")
    listed = workspace.channels[start : start + limit]
    following = start + limit
    return {
        "channels": [_channel_shape(workspace, channel) for channel in listed],
        "response_metadata": {
            "next_cursor": _encode("channel", following) if following < len(workspace.channels) else ""
        },
    }


@method("conversations.info")
def conversations_info(workspace: Workspace, arguments: Arguments) -> dict[str, Any]:
    """Describe one channel."""
    return {"channel": _channel_shape(workspace, _channel(workspace, arguments))}


@method("conversations.history")
def conversations_history(workspace: Workspace, arguments: Arguments) -> dict[str, Any]:
    """Return the channel's messages, newest first, without the replies in threads."""
    channel = _joined(workspace, arguments)
    messages = [message for message in workspace.messages(channel) if not message.thread_ts or message.broadcast]
    wanted = [message for message in reversed(messages) if _in_range(message, arguments)]
    return _page(workspace, channel, wanted, arguments, default_limit=100)


@method("conversations.replies")
def conversations_replies(workspace: Workspace, arguments: Arguments) -> dict[str, Any]:
    """Return a thread, oldest first: the message that began it, then the replies."""
    channel = _joined(workspace, arguments)
    message = workspace.message(channel, _timestamp(arguments.text("ts"), otherwise="thread_not_found"))
    parent = workspace.message(channel, message.thread_ts) if message and message.thread_ts else message
    if parent is None:
        raise SlackError("thread_not_found")
    replies = [reply for reply in workspace.replies(channel, parent) if _in_range(reply, arguments)]
    return _page(workspace, channel, [parent, *replies], arguments, default_limit=MAX_LIMIT)


@method("reactions.add")
def reactions_add(workspace: Workspace, arguments: Arguments) -> dict[str, Any]:
    """Put an emoji under a message."""
    channel = _joined(workspace, arguments)
    message = _message(workspace, channel, _timestamp(arguments.text("timestamp"), otherwise="bad_timestamp"))
    name = arguments.text("name").strip(":")
    if not name:
        raise SlackError("invalid_name")
    if not workspace.react(channel, message, name=name, user=workspace.bot):
        raise SlackError("already_reacted")
    return {}


def _channel(workspace: Workspace, arguments: Arguments) -> Channel:
    channel = workspace.channel(arguments.text("channel"))
    if channel is None:
        raise SlackError("channel_not_found")
    return channel


def _joined(workspace: Workspace, arguments: Arguments) -> Channel:
    channel = _channel(workspace, arguments)
    if not channel.has_bot:
        raise SlackError("not_in_channel")
    return channel


def _message(workspace: Workspace, channel: Channel, ts: str) -> Message:
    message = workspace.message(channel, ts)
    if message is None:
        raise SlackError("message_not_found")
    return message


def _content(arguments: Arguments) -> tuple[str, tuple[Json, ...]]:
    """Return text and blocks; raise SlackError in Slack's words for what it would refuse."""
    text = arguments.text("text")
    blocks = arguments.nested("blocks", otherwise="invalid_blocks_format")
    if not text and not blocks:
        raise SlackError("no_text")
    if len(text) > MAX_TEXT:
        raise SlackError("msg_too_long")
    if blocks is not None and not isinstance(blocks, list):
        raise SlackError("invalid_blocks_format")
    if problems := tuple(_problems(blocks or [])):
        raise SlackError("invalid_blocks", messages=problems)
    return text, tuple(blocks or ())


def _problems(blocks: list[Any]) -> list[str]:
    """Return what Slack would say about blocks that it refuses."""
    problems = (
        [f"[ERROR] no more than {MAX_BLOCKS} items allowed [json-pointer:/blocks]"]
        if len(blocks) > MAX_BLOCKS
        else []
    )
    for index, block in enumerate(blocks):
        where = f"[json-pointer:/blocks/{index}"
        kind = block.get("type") if isinstance(block, dict) else None
        if kind not in BLOCK_TYPES:
            problems.append(f"[ERROR] unsupported type: {kind} {where}/type]")
            continue
        text, limit = block.get("text"), BLOCK_TEXT_LIMITS.get(kind)
        length = len(text.get("text", "")) if isinstance(text, dict) else 0
        if limit and length > limit:
            problems.append(f"[ERROR] must be less than {limit + 1} characters {where}/text/text]")
        if kind in ("header", "section") and not length and not (kind == "section" and block.get("fields")):
            problems.append(f"[ERROR] missing required field: text {where}/text]")
        if kind in ("actions", "context") and not block.get("elements"):
            problems.append(f"[ERROR] missing required field: elements {where}/elements]")
        if len(block.get("fields") or ()) > 10:
            problems.append(f"[ERROR] no more than 10 items allowed {where}/fields]")
    return problems


def _metadata(arguments: Arguments) -> Json | None:
    metadata = arguments.nested("metadata", otherwise="invalid_metadata_format")
    if not metadata:
        return None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("event_type"), str):
        raise SlackError("invalid_metadata_format")
    if not isinstance(metadata.get("event_payload"), dict):
        raise SlackError("invalid_metadata_schema")
    return metadata


def _timestamp(text: str, *, otherwise: str) -> str:
    if not TIMESTAMP.fullmatch(text):
        raise SlackError(otherwise)
    return text


def _in_range(message: Message, arguments: Arguments) -> bool:
    at = microseconds(message.ts)
    inclusive = arguments.flag("inclusive")
    for name, word in (("oldest", "invalid_ts_oldest"), ("latest", "invalid_ts_latest")):
        text = arguments.text(name)
        if not text or text == "now":
            continue
        try:
            bound = microseconds(text)
        except ValueError:
            raise SlackError(word) from None
        outside = at < bound if name == "oldest" else at > bound
        if outside or (at == bound and not inclusive):
            return False
    return True


def _page(
    workspace: Workspace, channel: Channel, messages: list[Message], arguments: Arguments, *, default_limit: int
) -> dict[str, Any]:
    limit, after = arguments.limit(default_limit), _cursor(arguments, "next_ts")
    timestamps = [microseconds(message.ts) for message in messages]
    if after and after not in timestamps:
        raise SlackError("invalid_cursor")
    start = timestamps.index(after) if after else 0
    page, left = messages[start : start + limit], messages[start + limit :]
    metadata = arguments.flag("include_all_metadata")
    answer: dict[str, Any] = {
        "messages": [_shape(workspace, channel, message, metadata=metadata) for message in page],
        "has_more": bool(left),
    }
    if left:
        answer["response_metadata"] = {"next_cursor": _encode("next_ts", microseconds(left[0].ts))}
    return answer


def _cursor(arguments: Arguments, kind: str) -> int:
    """Return the number in the cursor; 0 where there is none."""
    text = arguments.text("cursor")
    if not text:
        return 0
    try:
        said, _, number = base64.b64decode(text, validate=True).decode().partition(":")
        if said == kind:
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise SlackError("invalid_cursor")


def _encode(kind: str, number: int) -> str:
    return base64.b64encode(f"{kind}:{number}".encode()).decode()


def _shape(workspace: Workspace, channel: Channel, message: Message, *, metadata: bool) -> dict[str, Any]:
    """Return the message as Slack shows it to apps."""
    user = workspace.user(message.user)
    shape: dict[str, Any] = {
        "type": "message",
        "user": user.id,
        "text": message.text,
        "ts": message.ts,
        "team": TEAM_ID,
    }
    if user.bot_id:
        shape |= {"bot_id": user.bot_id, "app_id": APP_ID}
        shape["bot_profile"] = {"id": user.bot_id, "app_id": APP_ID, "name": user.name, "team_id": TEAM_ID}
    if message.blocks:
        shape["blocks"] = [{"block_id": f"b{index}", **block} for index, block in enumerate(message.blocks, start=1)]
    if message.edited_ts:
        shape["edited"] = {"user": user.id, "ts": message.edited_ts}
    if message.reactions:
        shape["reactions"] = [
            {"name": reaction.name, "users": list(reaction.users), "count": len(reaction.users)}
            for reaction in message.reactions
        ]
    if metadata and message.metadata is not None:
        shape["metadata"] = dict(message.metadata)
    if message.thread_ts:
        parent = workspace.message(channel, message.thread_ts)
        shape |= {"thread_ts": message.thread_ts, "parent_user_id": parent.user if parent else ""}
        if message.broadcast:
            shape["subtype"] = "thread_broadcast"
    elif replies := workspace.replies(channel, message):
        users = list(dict.fromkeys(reply.user for reply in replies))
        shape |= {
            "thread_ts": message.ts,
            "reply_count": len(replies),
            "reply_users": users,
            "reply_users_count": len(users),
            "latest_reply": replies[-1].ts,
        }
    return shape


def _channel_shape(workspace: Workspace, channel: Channel) -> dict[str, Any]:
    return {
        "id": channel.id,
        "name": channel.name,
        "name_normalized": channel.name,
        "is_channel": True,
        "is_group": False,
        "is_im": False,
        "is_mpim": False,
        "is_private": False,
        "is_archived": False,
        "is_general": channel.name == "general",
        "is_member": channel.has_bot,
        "is_shared": False,
        "creator": workspace.users[1].id,
        "context_team_id": TEAM_ID,
        "num_members": len(workspace.users) if channel.has_bot else len(workspace.users) - 1,
    }
