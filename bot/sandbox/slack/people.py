"""People in the workspace: they type commands, press buttons, fill in modals, write messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.sandbox.slack.blocks import options_of, problems_of_message, problems_of_view
from bot.sandbox.slack.delivery import Answer
from bot.sandbox.slack.modals import STATE_OF, Modal, elements_of, initial_values
from bot.sandbox.slack.refusal import SlackError
from bot.sandbox.slack.shapes import message_shape
from bot.sandbox.slack.slack import ResponseAddress, Slack
from bot.sandbox.slack.workspace import (
    APP_ID,
    SLACKBOT,
    TEAM_DOMAIN,
    TEAM_ID,
    Channel,
    Ephemeral,
    Json,
    Message,
    User,
)

VERIFICATION_TOKEN = "sandbox-verification-token"  # noqa: S105 - a relic that Slack still sends; it proves nothing
TROUBLE = "We had some trouble connecting. Try again?"


class NoSuchThing(Exception):
    """A person can do only what is there to be done; says what is not there."""


@dataclass(frozen=True)
class Done:
    """The immediate result that a person sees. ``error`` is Slack's word for what went wrong."""

    error: str = ""
    trigger_id: str = ""
    errors: Mapping[str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON, for the program that acts for that person."""
        said = {"error": self.error, "trigger_id": self.trigger_id, "errors": self.errors}
        return {"ok": not self.error, **{name: value for name, value in said.items() if value}}


class Person:
    """One person, in front of the workspace. Raises NoSuchThing for what is not there."""

    def __init__(self, slack: Slack, user: User) -> None:
        self._slack, self._user = slack, user
        self._workspace = slack.workspace

    # --- what is seen ------------------------------------------------------------------------------------------

    def sees(self) -> dict[str, Any]:
        """Return what this person sees: channels with messages and what only they see, and open modals."""
        ephemerals = self._workspace.ephemerals(self._user)
        channels = self._workspace.to_json()["channels"]
        for channel in channels:
            channel["ephemerals"] = [_plain(shown) for shown in ephemerals if shown.channel == channel["id"]]
        modal = self._slack.modals.of(self._user.id)
        modals = [{**modal.shape(), "errors": dict(modal.errors), "notice": modal.notice}] if modal else []
        return {"user": {"id": self._user.id, "name": self._user.name}, "channels": channels, "modals": modals}

    # --- messages and commands ---------------------------------------------------------------------------------

    async def types(self, channel_name: str, text: str, *, thread_ts: str = "") -> Done:
        """Send what was typed: a slash command, or a message."""
        channel = self._channel(channel_name)
        if text.startswith("/"):
            if thread_ts:
                return self._told(channel, f"{text.split()[0]} is not supported in threads. Sorry!", "not_in_threads")
            return await self._command(channel, text)
        return await self._says(channel, text, thread_ts)

    async def _command(self, channel: Channel, text: str) -> Done:
        name, _, rest = text.partition(" ")
        if name not in self._slack.app.commands:
            said = (
                f"`{name}` is not a valid command. In Slack, all messages that start with the “/” character are "
                "interpreted as commands."
            )
            return self._told(channel, said, "invalid_command")
        address = ResponseAddress(channel, self._user, "commands", self._workspace.now())
        trigger = self._slack.triggers.give(self._user)
        fields = {
            "token": VERIFICATION_TOKEN,
            "team_id": TEAM_ID,
            "team_domain": TEAM_DOMAIN,
            "channel_id": channel.id,
            "channel_name": channel.name,
            "user_id": self._user.id,
            "user_name": self._user.name,
            "command": name,
            "text": rest.strip(),
            "api_app_id": APP_ID,
            "is_enterprise_install": "false",
            "response_url": self._slack.response_url(address),
            "trigger_id": trigger,
        }
        answer = await self._slack.courier.command(self._slack.app.command_url(name), fields)
        problem = answer.problem or self._show_answer(address, answer)
        if problem:
            return self._told(channel, f"{name} failed with the error “{problem}”", problem, trigger)
        return Done(trigger_id=trigger)

    def _show_answer(self, address: ResponseAddress, answer: Answer) -> str:
        """Show what came back with the acknowledgement; return Slack's word where it cannot be shown."""
        said = {"text": answer.body} if isinstance(answer.body, str) else answer.body
        if not said:
            return ""
        if not isinstance(said, dict):
            return "dispatch_failed"
        blocks = said.get("blocks") or []
        if not isinstance(blocks, list) or problems_of_message(blocks):
            return "invalid_blocks"
        if blocks or said.get("text"):
            in_channel = said.get("response_type") == "in_channel"
            self._slack.show(address, str(said.get("text") or ""), tuple(blocks), in_channel=in_channel)
        return ""

    async def _says(self, channel: Channel, text: str, thread_ts: str) -> Done:
        parent = self._workspace.message(channel, thread_ts) if thread_ts else None
        if thread_ts and parent is None:
            raise NoSuchThing(f"no message {thread_ts} in {channel.name}")
        self._workspace.post(
            channel, user=self._user, text=text, thread_ts=(parent.thread_ts or parent.ts) if parent else ""
        )
        return Done()

    # --- blocks in messages ------------------------------------------------------------------------------------

    async def acts(
        self, channel_name: str, ts: str, action_id: str, *, block_id: str = "", value: Any = None, values: Any = None
    ) -> Done:
        """Press a button of a message, or choose ``value`` in one of its menus."""
        channel = self._channel(channel_name)
        shown = self._shown(channel, ts)
        block, element = _find(shown.blocks, action_id, block_id)
        alone = isinstance(shown, Ephemeral)
        address = ResponseAddress(
            channel, self._user, "actions", self._workspace.now(), shown.thread_ts, source=ts, alone=alone
        )
        trigger = self._slack.triggers.give(self._user)
        state = initial_values(shown.blocks)
        _fill(shown.blocks, state, values or {})
        container: dict[str, Any] = {"type": "message", "message_ts": ts, "channel_id": channel.id}
        container |= {"is_ephemeral": alone, **({"thread_ts": shown.thread_ts} if shown.thread_ts else {})}
        payload = self._payload("block_actions", trigger) | {
            "container": container,
            "channel": {"id": channel.id, "name": channel.name},
            "state": {"values": state},
            "response_url": self._slack.response_url(address),
            "actions": [self._action(block, element, value)],
        }
        if isinstance(shown, Message):
            payload["message"] = message_shape(self._workspace, channel, shown, metadata=True)
        return await self._interact(payload, trigger)

    # --- modals ------------------------------------------------------------------------------------------------

    async def submits(self, view_id: str, values: Mapping[str, Mapping[str, Any]]) -> Done:
        """Fill in a modal (``values`` by block_id and action_id; the rest stays as it is) and submit it."""
        modal = self._modal(view_id)
        if not modal.content.get("submit"):
            raise NoSuchThing("this modal has nothing to submit")
        _fill(modal.blocks, modal.values, values)
        modal.errors, modal.notice = _left_out(modal), ""
        if modal.errors:
            return Done(error="required", errors=modal.errors)
        trigger = self._slack.triggers.give(self._user)
        payload = self._payload("view_submission", trigger) | {"view": modal.shape(), "response_urls": []}
        answer = await self._slack.courier.interaction(self._slack.app.interactivity_url, payload, accepts=True)
        if answer.problem:
            modal.notice = TROUBLE
            return Done(error=answer.problem, trigger_id=trigger)
        try:
            self._respond(modal, answer.body or {})
        except SlackError as error:
            modal.notice = TROUBLE
            return Done(error=error.word, trigger_id=trigger)
        return Done(trigger_id=trigger, errors=modal.errors or None)

    def _respond(self, modal: Modal, said: Any) -> None:
        """Do with the modal what the app answered to its submission."""
        action = said.get("response_action") if isinstance(said, dict) else "?"
        if action in (None, "clear"):
            self._slack.modals.close(modal)
        elif action == "errors" and isinstance(said.get("errors"), dict) and said["errors"]:
            inputs = {block["block_id"] for block in modal.blocks if block.get("type") == "input"}
            if not inputs >= set(said["errors"]):
                raise SlackError("invalid_errors")
            modal.errors = {str(block): str(text) for block, text in said["errors"].items()}
        elif action == "update":
            if problems := problems_of_view(said.get("view")):
                raise SlackError("invalid_arguments", messages=tuple(problems))
            self._slack.modals.update(modal, said["view"])
        else:
            raise SlackError("dispatch_failed")

    async def closes(self, view_id: str) -> Done:
        """Close a modal without submitting it."""
        self._slack.modals.close(self._modal(view_id))
        return Done()

    # --- what these share --------------------------------------------------------------------------------------

    async def _interact(self, payload: dict[str, Any], trigger: str) -> Done:
        app = self._slack.app
        if not app.socket_mode and not app.interactivity_url:
            return Done(error="interactivity_not_enabled")
        answer = await self._slack.courier.interaction(app.interactivity_url, payload, accepts=False)
        return Done(error=answer.problem, trigger_id=trigger)

    def _payload(self, kind: str, trigger: str) -> dict[str, Any]:
        name = self._user.name
        return {
            "type": kind,
            "user": {"id": self._user.id, "username": name, "name": name, "team_id": TEAM_ID},
            "api_app_id": APP_ID,
            "token": VERIFICATION_TOKEN,
            "trigger_id": trigger,
            "team": {"id": TEAM_ID, "domain": TEAM_DOMAIN},
            "enterprise": None,
            "is_enterprise_install": False,
        }

    def _action(self, block: Json, element: Json, value: Any) -> dict[str, Any]:
        action = {"action_id": element["action_id"], "block_id": block["block_id"], "type": element["type"]}
        if element["type"] == "button":
            action |= {
                name: element[name] for name in ("text", "value", "style", "url", "confirm") if name in element
            }
        else:
            action |= _state(element, value)
        return {**action, "action_ts": self._action_ts()}

    def _action_ts(self) -> str:
        return f"{self._workspace.now():.6f}"

    def _told(self, channel: Channel, text: str, error: str, trigger: str = "") -> Done:
        self._workspace.whisper(channel, to=self._user, of=SLACKBOT, text=text)
        return Done(error=error, trigger_id=trigger)

    def _channel(self, name: str) -> Channel:
        channel = self._workspace.channel(name)
        if channel is None:
            raise NoSuchThing(f"no channel {name!r}")
        return channel

    def _shown(self, channel: Channel, ts: str) -> Message | Ephemeral:
        alone = (shown for shown in self._workspace.ephemerals(self._user) if shown.ts == ts)
        found = self._workspace.message(channel, ts) or next(alone, None)
        if found is None:
            raise NoSuchThing(f"no message {ts} in {channel.name}")
        return found

    def _modal(self, view_id: str) -> Modal:
        modal = self._slack.modals.of(self._user.id)
        if modal is None or view_id not in ("", modal.id):
            raise NoSuchThing(f"no modal {view_id} is open")
        return modal


def _plain(shown: Ephemeral) -> dict[str, Any]:
    kept = {name: getattr(shown, name) for name in ("ts", "of", "text", "thread_ts")}
    return {**kept, "blocks": [dict(block) for block in shown.blocks]}


def _find(blocks: tuple[Json, ...], action_id: str, block_id: str) -> tuple[Json, Json]:
    for block in blocks:
        for element in elements_of(block):
            if element["action_id"] == action_id and block_id in ("", block["block_id"]):
                return block, element
    raise NoSuchThing(f"nothing here has the action_id {action_id!r}")


def _fill(
    blocks: tuple[Json, ...], state: dict[str, dict[str, Any]], values: Mapping[str, Mapping[str, Any]]
) -> None:
    """Put what a person filled in into the state, as Slack puts it."""
    for block_id, actions in values.items():
        for action_id, value in actions.items():
            block, element = _find(blocks, action_id, block_id)
            if element["type"] in STATE_OF:
                state.setdefault(block["block_id"], {})[action_id] = _state(element, value)


def _state(element: Json, value: Any) -> dict[str, Any]:
    name, _ = STATE_OF[element["type"]]
    chosen: Any = value or None
    if name == "selected_options":
        chosen = [_option(element, one) for one in value or []]
    elif name == "selected_option" and value:
        chosen = _option(element, value)
    return {"type": element["type"], name: chosen}


def _option(element: Json, value: Any) -> Any:
    for option in options_of(dict(element)):
        if option.get("value") == value:
            return option
    raise NoSuchThing(f"{element['action_id']} offers no {json.dumps(value)}")


def _left_out(modal: Modal) -> dict[str, str]:
    """Return the texts beside required inputs that are empty."""
    said: dict[str, str] = {}
    for block in modal.blocks:
        if block.get("type") != "input" or block.get("optional"):
            continue
        element = block["element"]
        name, _ = STATE_OF.get(element["type"], ("value", ""))
        if not modal.values.get(block["block_id"], {}).get(element["action_id"], {}).get(name):
            said[block["block_id"]] = "Please complete this required field."
    return said
