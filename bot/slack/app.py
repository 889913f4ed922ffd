"""Bolt's listeners: write what was asked into the inbox, and acknowledge. Nothing here asks anybody outside."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from slack_bolt import Ack, App, BoltResponse
from slack_bolt.authorization import AuthorizeResult

from bot.errors import PromobotError
from bot.render import slack as words
from bot.slack import forms
from bot.slack.blocks import OPEN
from bot.slack.commands import NAMES, Wrong
from bot.slack.inbox import Asked, id_of

log = logging.getLogger("bot.slack")


def create(put: Callable[[Asked], object], *, token: str, signing_secret: str) -> App:
    """Return the Bolt application. ``put`` keeps what was asked, and raises where it cannot.

    Bolt gets the bot's identity here; else it would ask Slack for it before the first acknowledgement.
    """

    def authorize(enterprise_id: str | None, team_id: str | None, user_id: str | None) -> AuthorizeResult:
        return AuthorizeResult(enterprise_id=enterprise_id, team_id=team_id, user_id=user_id, bot_token=token)

    app = App(
        name="promobot",
        signing_secret=signing_secret or "none: Socket Mode",
        authorize=authorize,
        request_verification_enabled=bool(signing_secret),
        ignoring_self_events_enabled=False,
        attaching_conversation_kwargs_enabled=False,
    )

    def take(asked: Asked, ack: Ack, *, said: str = "") -> None:
        try:
            put(asked)
        except PromobotError as error:
            log.error("%s %s could not be taken: %s", asked.kind, asked.name, error)
            ack(words.NOT_TAKEN if asked.kind == "command" else "")
        else:
            ack(said)

    def command(ack: Ack, body: dict[str, Any]) -> None:
        name = _plain(body.get("command")).lstrip("/")
        take(_command(name, body), ack, said=words.TAKEN if name != "promotions" and body.get("text") else "")

    def button(ack: Ack, body: dict[str, Any], action: dict[str, Any]) -> None:
        take(_button(body, action), ack)

    def form(ack: Ack, body: dict[str, Any]) -> None:
        asked = _form(body)
        wrong = forms.command_of(asked.name, asked.values)
        if isinstance(wrong, Wrong):
            ack(response_action="errors", errors={"version": wrong.said})
        else:
            take(asked, ack)

    @app.error
    def cannot_be_read(error: Exception) -> BoltResponse:
        # Bolt's own answer is 500, which says that something is wrong with us.
        log.error("Slack signed what cannot be read: %s: %s", type(error).__name__, error)
        return BoltResponse(status=400, body="cannot be read")

    for name in NAMES:
        app.command(f"/{name}")(command)
    for name in ("promote", "rollback"):
        app.view(name)(form)
    app.action(OPEN)(lambda ack: ack())  # a link: the browser has gone there already
    app.action(re.compile(r"promobot_.*"))(button)
    return app


def _command(name: str, body: Mapping[str, Any]) -> Asked:
    return Asked(
        id=id_of("command", _plain(body.get("trigger_id")), body),
        kind="command",
        name=name,
        text=_plain(body.get("text")),
        user=_plain(body.get("user_id")),
        user_name=_plain(body.get("user_name")),
        channel=_plain(body.get("channel_id")),
        response_url=_plain(body.get("response_url")),
        trigger=_plain(body.get("trigger_id")),
        at=datetime.now(UTC),
    )


def _button(body: Mapping[str, Any], action: Mapping[str, Any]) -> Asked:
    return Asked(
        id=id_of("button", _plain(body.get("trigger_id")), body),
        kind="button",
        name=_plain(action.get("action_id")),
        text=_plain(action.get("value")),
        user=_plain(_of(body, "user").get("id")),
        user_name=_name_of(body),
        channel=_plain(_of(body, "channel").get("id")),
        response_url=_plain(body.get("response_url")),
        trigger=_plain(body.get("trigger_id")),
        at=datetime.now(UTC),
    )


def _form(body: Mapping[str, Any]) -> Asked:
    view = _of(body, "view")
    same = {"view": view.get("id"), "hash": view.get("hash"), "user": _of(body, "user").get("id")}
    return Asked(
        id=id_of("form", _plain(body.get("trigger_id")), {**same, "state": view.get("state")}),
        kind="form",
        name=_plain(view.get("callback_id")),
        user=_plain(_of(body, "user").get("id")),
        user_name=_name_of(body),
        channel=forms.channel_of(view),
        values=forms.values_of(view),
        at=datetime.now(UTC),
    )


def _of(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def _name_of(body: Mapping[str, Any]) -> str:
    user = _of(body, "user")
    return _plain(user.get("username") or user.get("name"))


def _plain(value: object) -> str:
    return value if isinstance(value, str) else ""
