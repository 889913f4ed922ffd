"""Messages and channels as Slack shows them to apps."""

from __future__ import annotations

from typing import Any

from bot.sandbox.slack.workspace import APP_ID, TEAM_ID, Channel, Message, Workspace


def message_shape(workspace: Workspace, channel: Channel, message: Message, *, metadata: bool) -> dict[str, Any]:
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
        shape["blocks"] = [dict(block) for block in message.blocks]
    if message.edited_ts:
        shape["edited"] = {"user": user.id, "ts": message.edited_ts}
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
            "latest_reply": replies[-1].ts,
            "reply_users": users,
            "reply_users_count": len(users),
        }
    return shape


def channel_shape(workspace: Workspace, channel: Channel) -> dict[str, Any]:
    """Return a channel, or a direct conversation, as Slack shows it."""
    return {
        "id": channel.id,
        "name": channel.name,
        "name_normalized": channel.name,
        "is_channel": True,
        **dict.fromkeys(("is_group", "is_im", "is_mpim", "is_private", "is_shared"), False),
        "is_archived": channel.archived,
        "is_general": channel.name == "general",
        "is_member": channel.has_bot,
        "creator": workspace.users[1].id,
        "context_team_id": TEAM_ID,
        "num_members": len(workspace.users) - (not channel.has_bot),
    }
