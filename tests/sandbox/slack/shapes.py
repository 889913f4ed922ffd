"""What Slack documents of its answers and of the requests that it sends, as JSON Schemas.

Written down from the pages of docs.slack.dev/reference (methods, interaction payloads, events) and from the examples
there. A key that is not in them, a wrong type and a missing key are errors: our Slack must not invent anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from jsonschema import Draft202012Validator

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "integer"}
TS: Schema = {"type": "string", "pattern": r"^[0-9]{10}\.[0-9]{6}$"}
ANY: Schema = {}


def ident(letters: str) -> Schema:
    return {"type": "string", "pattern": f"^[{letters}][A-Z0-9]{{2,}}$"}


def one(required: Mapping[str, Schema], **optional: Schema) -> Schema:
    """An object with these keys and no others."""
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": sorted(required),
        "additionalProperties": False,
    }


def many(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


USER, CHANNEL, TEAM = ident("UW"), ident("CDG"), ident("T")
CURSOR = one({"next_cursor": TEXT})
BLOCK: Schema = {"type": "object", "required": ["type", "block_id"]}
METADATA = one({"event_type": TEXT, "event_payload": {"type": "object"}})
MESSAGE = one(
    {"type": {"const": "message"}, "user": USER, "text": TEXT, "ts": TS, "team": TEAM},
    subtype={"enum": ["thread_broadcast"]},
    bot_id=ident("B"),
    app_id=ident("A"),
    bot_profile=one({"id": ident("B"), "app_id": ident("A"), "name": TEXT, "team_id": TEAM}),
    blocks=many(BLOCK),
    edited=one({"user": USER, "ts": TS}),
    metadata=METADATA,
    thread_ts=TS,
    parent_user_id=USER,
    reply_count=NUMBER,
    reply_users=many(USER),
    reply_users_count=NUMBER,
    latest_reply=TS,
)
PUBLIC = one(
    {
        **dict.fromkeys(("id", "creator", "context_team_id"), TEXT),
        **dict.fromkeys(("name", "name_normalized"), TEXT),
        **dict.fromkeys(("is_channel", "is_group", "is_im", "is_mpim", "is_private", "is_archived"), FLAG),
        **dict.fromkeys(("is_general", "is_member", "is_shared"), FLAG),
        "num_members": NUMBER,
    }
)
PLAIN = one({"type": {"const": "plain_text"}, "text": TEXT}, emoji=FLAG)
VALUES: Schema = {"type": "object", "additionalProperties": {"type": "object"}}
MODAL = one(
    {
        "id": ident("V"),
        "team_id": TEAM,
        "type": {"const": "modal"},
        "title": PLAIN,
        "submit": maybe(PLAIN),
        "close": maybe(PLAIN),
        "blocks": many(BLOCK),
        **dict.fromkeys(("private_metadata", "callback_id", "external_id", "hash"), TEXT),
        "state": one({"values": VALUES}),
        **dict.fromkeys(("clear_on_close", "notify_on_close"), FLAG),
        "root_view_id": ident("V"),
        "previous_view_id": maybe(ident("V")),
        "app_id": ident("A"),
        "app_installed_team_id": TEAM,
        "bot_id": ident("B"),
    },
    submit_disabled=FLAG,
)
OK: dict[str, Schema] = {"ok": {"const": True}}
VIEW_ANSWER = one({**OK, "view": MODAL})
LISTED = one({**OK, "messages": many(MESSAGE), "has_more": FLAG}, response_metadata=CURSOR)

ANSWERS: dict[str, Schema] = {
    "auth.test": one(
        {
            **OK,
            **dict.fromkeys(("url", "team", "user"), TEXT),
            "team_id": TEAM,
            "user_id": USER,
            "bot_id": ident("B"),
            "is_enterprise_install": FLAG,
        }
    ),
    "apps.connections.open": one({**OK, "url": {"type": "string", "pattern": "^wss?://"}}),
    "chat.postMessage": one({**OK, "channel": CHANNEL, "ts": TS, "message": MESSAGE}),
    "chat.postEphemeral": one({**OK, "message_ts": TS}),
    "chat.update": one({**OK, "channel": CHANNEL, "ts": TS, "text": TEXT, "message": MESSAGE}),
    "chat.getPermalink": one({**OK, "channel": CHANNEL, "permalink": TEXT}),
    "conversations.info": one({**OK, "channel": PUBLIC}),
    "conversations.history": LISTED,
    "conversations.replies": LISTED,
    "usergroups.users.list": one({**OK, "users": many(USER)}),
    "views.open": VIEW_ANSWER,
    "views.update": VIEW_ANSWER,
}

COMMAND = one(
    {
        "token": TEXT,
        "team_id": TEAM,
        "team_domain": TEXT,
        "channel_id": CHANNEL,
        "channel_name": TEXT,
        "user_id": USER,
        "user_name": TEXT,
        "command": {"type": "string", "pattern": "^/"},
        "text": TEXT,
        "api_app_id": ident("A"),
        "is_enterprise_install": {"enum": ["true", "false"]},
        "response_url": {"type": "string", "pattern": "^https?://"},
        "trigger_id": {"type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9a-f]+$"},
    }
)
WHO: dict[str, Schema] = {
    "user": one({"id": USER, "username": TEXT, "name": TEXT, "team_id": TEAM}),
    "api_app_id": ident("A"),
    "token": TEXT,
    "team": one({"id": TEAM, "domain": TEXT}),
    "enterprise": maybe({"type": "object"}),
    "is_enterprise_install": FLAG,
}
IN_MESSAGE = one(
    {"type": {"const": "message"}, "message_ts": TS, "channel_id": CHANNEL, "is_ephemeral": FLAG}, thread_ts=TS
)
IN_VIEW = one({"type": {"const": "view"}, "view_id": ident("V")})
NAMED = one({"id": CHANNEL, "name": TEXT})
ACTION: Schema = {"type": "object", "required": ["action_id", "block_id", "type", "action_ts"]}
TRIGGER = COMMAND["properties"]["trigger_id"]


def _kind(name: str, required: Mapping[str, Schema], **optional: Schema) -> Schema:
    return one({"type": {"const": name}, **WHO, **required}, **optional)


PAYLOADS: dict[str, Schema] = {
    "block_actions": {
        "anyOf": [
            _kind(
                "block_actions",
                {
                    "trigger_id": TRIGGER,
                    "container": IN_MESSAGE,
                    "channel": NAMED,
                    "state": one({"values": VALUES}),
                    "response_url": TEXT,
                    "actions": many(ACTION),
                },
                message=MESSAGE,
            ),
            _kind(
                "block_actions",
                {"trigger_id": TRIGGER, "container": IN_VIEW, "view": MODAL, "actions": many(ACTION)},
            ),
        ]
    },
    "view_submission": _kind("view_submission", {"trigger_id": TRIGGER, "view": MODAL, "response_urls": many(ANY)}),
}


def check_answer(method: str, answer: Any) -> None:
    """Hold an answer of the Web API to its documentation."""
    if answer["ok"]:
        _check(ANSWERS[method], answer, method)
    else:
        assert isinstance(answer["error"], str) and answer["error"], answer


def check_request(content_type: str, body: bytes) -> None:
    """Hold what Slack sends over HTTP to its documentation."""
    if content_type == "application/json":
        check_payload(json.loads(body))
    else:
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))
        if set(fields) == {"payload"}:
            check_payload(json.loads(fields["payload"]))
        else:
            _check(COMMAND, fields, "slash command")


def check_payload(payload: Any) -> None:
    """Hold a payload to its documentation, however it came."""
    if "command" in payload:
        _check(COMMAND, payload, "slash command")
    else:
        _check(PAYLOADS[payload["type"]], payload, payload["type"])


def _check(schema: Schema, value: Any, what: str) -> None:
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(value)]
    assert not errors, f"{what} is not as Slack documents it: {errors}\n{json.dumps(value, indent=1)}"
