"""Modals: what a person has open, and the triggers with which an app may open one."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.sandbox.slack.refusal import SlackError
from bot.sandbox.slack.workspace import APP_ID, BOT, TEAM_ID, Json, User, with_ids

TRIGGER_SECONDS = 3.0

STATE_OF = {
    "plain_text_input": ("value", "initial_value"),
    "number_input": ("value", "initial_value"),
    "static_select": ("selected_option", "initial_option"),
    "checkboxes": ("selected_options", "initial_options"),
}
"""For each type of element: the field of its state, and the field of its first value."""


class Triggers:
    """Each lets the app open one modal for one person, within 3 s."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._given: dict[str, tuple[str, float]] = {}
        self._used: set[str] = set()

    def give(self, user: User) -> str:
        """Return a new trigger of this person's."""
        trigger = f"{round(self._clock() * 1000)}.{secrets.randbelow(10**12):012d}.{secrets.token_hex(16)}"
        self._given[trigger] = user.id, self._clock()
        return trigger

    def exchange(self, trigger: str) -> str:
        """Use a trigger up; return the id of the person. Raises SlackError in Slack's words."""
        if trigger not in self._given:
            raise SlackError("invalid_trigger_id")
        user, at = self._given[trigger]
        if trigger in self._used:
            raise SlackError("exchanged_trigger_id")
        if self._clock() - at > TRIGGER_SECONDS:
            raise SlackError("expired_trigger_id")
        self._used.add(trigger)
        return user


@dataclass
class Modal:
    """The view that somebody has open. ``values`` is its state, ``errors`` has the texts beside its inputs."""

    id: str
    user: str
    content: Json
    hash: str
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    notice: str = ""

    @property
    def blocks(self) -> tuple[Json, ...]:
        """The blocks of the view."""
        return tuple(self.content["blocks"])

    def shape(self) -> dict[str, Any]:
        """Return the view as Slack shows it to apps."""
        return {
            "private_metadata": "",
            "callback_id": "",
            "external_id": "",
            "submit": None,
            "close": None,
            **dict.fromkeys(("clear_on_close", "notify_on_close", "submit_disabled"), False),
            **self.content,
            "id": self.id,
            "team_id": TEAM_ID,
            "hash": self.hash,
            "root_view_id": self.id,
            "previous_view_id": None,
            "state": {"values": copy.deepcopy(self.values)},
            "app_id": APP_ID,
            "app_installed_team_id": TEAM_ID,
            "bot_id": BOT.bot_id,
        }


class Modals:
    """The modal that each person has open."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._open: dict[str, Modal] = {}

    def of(self, user_id: str) -> Modal | None:
        """Return what this person has open."""
        return self._open.get(user_id)

    def find(self, view_id: str) -> Modal | None:
        """Return the open modal with this id."""
        return next((modal for modal in self._open.values() if modal.id == view_id), None)

    def open(self, user_id: str, view: Json) -> Modal:
        """Show the person a modal, in place of whatever is open."""
        content = _kept(view)
        identifier, values = "V" + secrets.token_hex(5).upper(), initial_values(content["blocks"])
        self._open[user_id] = Modal(identifier, user_id, content, self._hash(), values)
        return self._open[user_id]

    def update(self, modal: Modal, view: Json) -> Modal:
        """Show another view in an open modal; blocks that stay keep their input, as in Slack."""
        modal.content, modal.hash = _kept(view), self._hash()
        modal.errors, modal.notice = {}, ""
        modal.values = {
            block: {action: modal.values.get(block, {}).get(action, value) for action, value in actions.items()}
            for block, actions in initial_values(modal.blocks).items()
        }
        return modal

    def close(self, modal: Modal) -> None:
        """Take a modal away."""
        self._open.pop(modal.user, None)

    def _hash(self) -> str:
        return f"{int(self._clock())}.{secrets.token_hex(4)}"


def _kept(view: Json) -> dict[str, Any]:
    return {**view, "blocks": list(with_ids(tuple(view["blocks"])))}


def initial_values(blocks: tuple[Json, ...] | list[Json]) -> dict[str, dict[str, Any]]:
    """Return the state in which a person finds the blocks."""
    values: dict[str, dict[str, Any]] = {}
    for block in blocks:
        for element in elements_of(block):
            if element["type"] in STATE_OF:
                name, initial = STATE_OF[element["type"]]
                found = element.get(initial) or ([] if name == "selected_options" else None)
                state = {"type": element["type"], name: found}
                values.setdefault(block["block_id"], {})[element["action_id"]] = state
    return values


def elements_of(block: Json) -> list[Any]:
    """Return the interactive elements of a block."""
    match block.get("type"):
        case "actions":
            return list(block["elements"])
        case "input":
            return [block["element"]]
        case "section":
            return [block["accessory"]] if (block.get("accessory") or {}).get("action_id") else []
        case _:
            return []
