"""The Web API methods: what Slack takes, answers and refuses, in its documented shapes and its own words.

A method is a function of the workspace and the call's arguments; it returns the answer without ``ok``, or raises
:class:`SlackError`. A new method is one more function with :func:`method` above it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bot.sandbox.slack.arguments import MAX_LIMIT, Arguments
from bot.sandbox.slack.blocks import MAX_VIEW_BYTES, problems_of_message, problems_of_view
from bot.sandbox.slack.refusal import SlackError
from bot.sandbox.slack.shapes import channel_shape, message_shape
from bot.sandbox.slack.slack import Slack
from bot.sandbox.slack.workspace import (
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
MAX_METADATA = 8_000

Function = Callable[[Slack, Arguments], dict[str, Any]]


@dataclass(frozen=True)
class Method:
    """One method. ``scope`` is what the token must allow.

    ``token`` says which one it takes: the ``bot``'s or the ``app``'s own.
    """

    function: Function
    scope: str = ""
    token: str = "bot"  # noqa: S105


METHODS: dict[str, Method] = {}


def method(name: str, *, scope: str = "", token: str = "bot") -> Callable[[Function], Function]:  # noqa: S107
    """Make the function below answer calls of this name."""

    def register(function: Function) -> Function:
        METHODS[name] = Method(function, scope, token)
        return function

    return register


def call(slack: Slack, name: str, arguments: Arguments, *, token: str) -> dict[str, Any]:
    """Call a method with a token; return the answer without ``ok``. Raises SlackError."""
    found = METHODS.get(name)
    if found is None:
        raise SlackError("unknown_method", more={"req_method": name})
    _check_token(slack, token, found)
    return found.function(slack, arguments)


def _check_token(slack: Slack, token: str, called: Method) -> None:
    app = slack.app
    if not token:
        raise SlackError("not_authed")
    kinds = {app.bot_token: "bot", **({app.app_token: "app"} if app.app_token else {})}
    kind = kinds.get(token)
    if kind is None:
        raise SlackError("invalid_auth")
    if kind != called.token:
        raise SlackError("not_allowed_token_type")
    if called.scope:
        _need(slack, called.scope)


def _need(slack: Slack, scope: str) -> None:
    if scope not in slack.app.scopes:
        raise SlackError("missing_scope", more={"needed": scope, "provided": ",".join(slack.app.scopes)})


# --- the app itself ------------------------------------------------------------------------------------------------


@method("auth.test")
def auth_test(slack: Slack, _: Arguments) -> dict[str, Any]:
    """Say whose token this is."""
    bot = slack.workspace.bot
    return {
        "url": "https://sandbox.slack.com/",
        "team": TEAM_NAME,
        "user": bot.name,
        "team_id": TEAM_ID,
        "user_id": bot.id,
        "bot_id": bot.bot_id,
        "is_enterprise_install": False,
    }


@method("apps.connections.open", token="app")  # noqa: S106
def apps_connections_open(slack: Slack, _: Arguments) -> dict[str, Any]:
    """Return an address for one Socket Mode connection."""
    return {"url": slack.sockets.open()}


# --- messages ------------------------------------------------------------------------------------------------------


@method("chat.postMessage", scope="chat:write")
def chat_post_message(slack: Slack, arguments: Arguments) -> dict[str, Any]:
    """Post a message into a channel or a thread."""
    workspace = slack.workspace
    channel = _target(slack, arguments)
    thread_ts = _thread(workspace, channel, arguments)
    text, blocks = content(arguments)
    message = workspace.post(
        channel,
        user=workspace.bot,
        text=text,
        blocks=blocks,
        thread_ts=thread_ts,
        broadcast=bool(thread_ts) and arguments.flag("reply_broadcast"),
        metadata=_metadata(arguments),
    )
    shape = message_shape(workspace, channel, message, metadata=True)
    return {"channel": channel.id, "ts": message.ts, "message": shape}


@method("chat.postEphemeral", scope="chat:write")
def chat_post_ephemeral(slack: Slack, arguments: Arguments) -> dict[str, Any]:
    """Show one person of a channel something."""
    workspace = slack.workspace
    channel = _target(slack, arguments)
    person = workspace.person(arguments.text("user"))
    if person is None:
        raise SlackError("user_not_in_channel")
    thread_ts = _thread(workspace, channel, arguments)
    text, blocks = content(arguments)
    shown = workspace.whisper(channel, to=person, of=workspace.bot, text=text, blocks=blocks, thread_ts=thread_ts)
    return {"message_ts": shown.ts}


@method("chat.update", scope="chat:write")
def chat_update(slack: Slack, arguments: Arguments) -> dict[str, Any]:
    """Change a message of the bot's own: text without blocks drops the old blocks, metadata stays unless given."""
    workspace = slack.workspace
    channel = _joined(workspace, arguments)
    message = _message(workspace, channel, arguments.text("ts"))
    if message.user != workspace.bot.id:
        raise SlackError("cant_update_message")
    text, blocks = content(arguments)
    if "metadata" in arguments.values:
        message = replace(message, metadata=_metadata(arguments))
    edited = workspace.edit(channel, message, text=text, blocks=blocks)
    shape = message_shape(workspace, channel, edited, metadata=True)
    return {"channel": channel.id, "ts": edited.ts, "text": edited.text, "message": shape}


@method("chat.getPermalink")
def chat_get_permalink(slack: Slack, arguments: Arguments) -> dict[str, Any]:
    """Return the message's address."""
    channel = _channel(slack.workspace, arguments)
    message = _message(slack.workspace, channel, arguments.text("message_ts"))
    return {"channel": channel.id, "permalink": slack.permalink(channel, message)}


# --- channels ------------------------------------------------------------------------------------------------------


@method("conversations.info", scope="channels:read")
def conversations_info(slack: Slack, arguments: Arguments) -> dict[str, Any]:
    """Describe one channel."""
    return {"channel": channel_shape(slack.workspace, _channel(slack.workspace, arguments))}


@method("conversations.history", scope="channels:history")
def conversations_history(slack: Slack, arguments: Arguments) -> dict[str, Any]:
    """Return the channel's messages, newest first, without the replies in threads."""
    workspace = slack.workspace
    channel = _joined(workspace, arguments)
    messages = [message for message in workspace.messages(channel) if not message.thread_ts or message.broadcast]
    wanted = [message for message in reversed(messages) if _in_range(message, arguments)]
    return _page(workspace, channel, wanted, arguments, default_limit=100)


@method("conversations.replies", scope="channels:history")
def conversations_replies(slack: Slack, arguments: Arguments) -> dict[str, Any]:
    """Return a thread, oldest first: the message that began it, then the replies."""
    workspace = slack.workspace
    channel = _joined(workspace, arguments)
    message = workspace.message(channel, _timestamp(arguments.text("ts"), otherwise="thread_not_found"))
    parent = workspace.message(channel, message.thread_ts) if message and message.thread_ts else message
    if parent is None:
        raise SlackError("thread_not_found")
    replies = [reply for reply in workspace.replies(channel, parent) if _in_range(reply, arguments)]
    return _page(workspace, channel, [parent, *replies], arguments, default_limit=MAX_LIMIT)


# --- people --------------------------------------------------------------------------------------------------------


@method("usergroups.users.list", scope="usergroups:read")
def usergroups_users_list(slack: Slack, arguments: Arguments) -> dict[str, Any]:
    """Say who is in a user group."""
    wanted = arguments.text("usergroup")
    group = next((group for group in slack.workspace.groups if group.id == wanted), None)
    if group is None:
        raise SlackError("no_such_subteam")
    return {"users": list(group.users)}


# --- modals --------------------------------------------------------------------------------------------------------


@method("views.open")
def views_open(slack: Slack, arguments: Arguments) -> dict[str, Any]:
    """Open a modal for the person who pulled the trigger."""
    view = _view(arguments)
    user = slack.triggers.exchange(arguments.text("trigger_id"))
    return {"view": slack.modals.open(user, view).shape()}


@method("views.update")
def views_update(slack: Slack, arguments: Arguments) -> dict[str, Any]:
    """Change a modal that is open."""
    view, modal = _view(arguments), slack.modals.find(arguments.text("view_id"))
    if modal is None:
        raise SlackError("not_found")
    if arguments.text("hash") not in ("", modal.hash):
        raise SlackError("hash_conflict")
    return {"view": slack.modals.update(modal, view).shape()}


def _view(arguments: Arguments) -> Json:
    view: Any = arguments.nested("view", otherwise="invalid_arguments")
    if len(json.dumps(view)) > MAX_VIEW_BYTES:
        raise SlackError("view_too_large")
    if problems := tuple(problems_of_view(view)):
        raise SlackError("invalid_arguments", messages=problems)
    found: Json = view
    return found


# --- what these share ----------------------------------------------------------------------------------------------


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


def _open(channel: Channel) -> Channel:
    """Return a channel in which something may be said."""
    if channel.archived:
        raise SlackError("is_archived")
    return channel


def _target(slack: Slack, arguments: Arguments) -> Channel:
    """Return where to write: for who may, any public channel."""
    channel = _channel(slack.workspace, arguments)
    if not channel.has_bot and "chat:write.public" not in slack.app.scopes:
        raise SlackError("not_in_channel")
    return _open(channel)


def _thread(workspace: Workspace, channel: Channel, arguments: Arguments) -> str:
    """Return the timestamp of the message that began the thread; empty where none is named."""
    thread_ts = arguments.text("thread_ts")
    if not thread_ts:
        return ""
    parent = workspace.message(channel, _timestamp(thread_ts, otherwise="invalid_thread_ts"))
    if parent is None:
        raise SlackError("thread_not_found")
    return parent.thread_ts or parent.ts


def _message(workspace: Workspace, channel: Channel, ts: str) -> Message:
    message = workspace.message(channel, ts)
    if message is None:
        raise SlackError("message_not_found")
    return message


def content(arguments: Arguments) -> tuple[str, tuple[Json, ...]]:
    """Return text and blocks; raise SlackError in Slack's words for what it would refuse."""
    text = arguments.text("text")
    blocks = blocks_of(arguments)
    if not text and not blocks:
        raise SlackError("no_text")
    if len(text) > MAX_TEXT:
        raise SlackError("msg_too_long")
    return text, blocks


def blocks_of(arguments: Arguments) -> tuple[Json, ...]:
    """Return the blocks of a message; raise SlackError for those that Slack refuses."""
    blocks = arguments.nested("blocks", otherwise="invalid_blocks_format")
    if blocks is not None and not isinstance(blocks, list):
        raise SlackError("invalid_blocks_format")
    if problems := tuple(problems_of_message(blocks or [], without=arguments.without)):
        raise SlackError("invalid_blocks", messages=problems)
    return tuple(blocks or ())


def _metadata(arguments: Arguments) -> Json | None:
    metadata = arguments.nested("metadata", otherwise="invalid_metadata_format")
    if not metadata:
        return None
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("event_type"), str):
        raise SlackError("invalid_metadata_format")
    if not isinstance(metadata.get("event_payload"), dict):
        raise SlackError("invalid_metadata_schema")
    if len(json.dumps(metadata)) > MAX_METADATA:
        raise SlackError("metadata_too_large")
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
    limit, after = arguments.limit(default_limit), _cursor(arguments)
    timestamps = [microseconds(message.ts) for message in messages]
    if after and after not in timestamps:
        raise SlackError("invalid_cursor")
    start = timestamps.index(after) if after else 0
    page, left = messages[start : start + limit], messages[start + limit :]
    metadata = arguments.flag("include_all_metadata")
    answer: dict[str, Any] = {
        "messages": [message_shape(workspace, channel, message, metadata=metadata) for message in page],
        "has_more": bool(left),
    }
    if left:
        cursor = base64.b64encode(f"next_ts:{microseconds(left[0].ts)}".encode()).decode()
        answer["response_metadata"] = {"next_cursor": cursor}
    return answer


def _cursor(arguments: Arguments) -> int:
    """Return the number in the cursor; 0 where there is none."""
    text = arguments.text("cursor")
    if not text:
        return 0
    try:
        said, _, number = base64.b64decode(text, validate=True).decode().partition(":")
        if said == "next_ts":
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise SlackError("invalid_cursor")
