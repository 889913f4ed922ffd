"""Messages, channels, people and groups as Slack shows them to apps."""

from __future__ import annotations

from typing import Any

from bot.sandbox.slack.workspace import APP_ID, TEAM_ID, Channel, Message, User, UserGroup, Workspace


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
    if message.files:
        shape |= {"files": [dict(file) for file in message.files], "upload": True}
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


def channel_shape(workspace: Workspace, channel: Channel) -> dict[str, Any]:
    """Return a channel, or a direct conversation, as Slack shows it."""
    if channel.person:
        direct: dict[str, Any] = {"id": channel.id, "is_im": True, "is_archived": False, "user": channel.person}
        return {**direct, "is_org_shared": False, "context_team_id": TEAM_ID, "is_user_deleted": False}
    return {
        "id": channel.id,
        "name": channel.name,
        "name_normalized": channel.name,
        "is_channel": True,
        "is_group": False,
        "is_im": False,
        "is_mpim": False,
        "is_private": False,
        "is_archived": channel.archived,
        "is_general": channel.name == "general",
        "is_member": channel.has_bot,
        "is_shared": False,
        "creator": workspace.users[1].id,
        "context_team_id": TEAM_ID,
        "num_members": len(workspace.users) if channel.has_bot else len(workspace.users) - 1,
    }


def user_shape(user: User, *, email: bool) -> dict[str, Any]:
    """Return a person or an app as Slack shows them; the address only to apps that may see it."""
    names = {"real_name": user.real_name, "real_name_normalized": user.real_name}
    shown = {"display_name": user.name, "display_name_normalized": user.name, "team": TEAM_ID}
    first, _, last = user.real_name.partition(" ")
    profile: dict[str, Any] = {**names, **shown, "first_name": first, "last_name": last, "status_text": ""}
    if email and user.email:
        profile["email"] = user.email
    if user.bot_id:
        profile |= {"bot_id": user.bot_id, "api_app_id": APP_ID}
    return {
        "id": user.id,
        "team_id": TEAM_ID,
        "name": user.name,
        "deleted": False,
        "real_name": user.real_name,
        "tz": "Etc/UTC",
        "tz_label": "Coordinated Universal Time",
        "tz_offset": 0,
        "profile": profile,
        "is_admin": user.name == "alex",
        "is_owner": user.name == "alex",
        "is_primary_owner": user.name == "alex",
        "is_restricted": False,
        "is_ultra_restricted": False,
        "is_bot": bool(user.bot_id),
        "is_app_user": False,
        "updated": 1_700_000_000,
        "is_email_confirmed": not user.bot_id,
    }


def group_shape(group: UserGroup, *, users: bool, creator: User) -> dict[str, Any]:
    """Return a user group as Slack shows it."""
    shape: dict[str, Any] = {
        "id": group.id,
        "team_id": TEAM_ID,
        "is_usergroup": True,
        "is_subteam": True,
        "name": group.name,
        "description": "",
        "handle": group.handle,
        "is_external": False,
        "date_create": 1_700_000_000,
        "date_update": 1_700_000_000,
        "date_delete": 0,
        "auto_type": None,
        "auto_provision": False,
        "enterprise_subteam_id": "",
        "created_by": creator.id,
        "updated_by": creator.id,
        "deleted_by": None,
        "prefs": {"channels": [], "groups": []},
        "user_count": len(group.users),
    }
    if users:
        shape["users"] = list(group.users)
    return shape
