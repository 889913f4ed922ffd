"""Modals: what a person has open, and the triggers with which an app may open them."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.sandbox.slack.refusal import SlackError
from bot.sandbox.slack.workspace import APP_ID, BOT, TEAM_ID, Json, User, with_ids

TRIGGER_SECONDS = 3.0
MAX_STACK = 3


@dataclass
class _Trigger:
    user: str
    at: float
    in_modal: bool
    used: bool = False


class Triggers:
    """Each lets the app open or push one modal for one person, within 3 s."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._given: dict[str, _Trigger] = {}

    def give(self, user: User, *, in_modal: bool = False) -> str:
        """Return a new trigger of this person's."""
        trigger = f"{round(self._clock() * 1000)}.{secrets.randbelow(10**12):012d}.{secrets.token_hex(16)}"
        self._given[trigger] = _Trigger(user.id, self._clock(), in_modal)
        return trigger

    def exchange(self, trigger: str, *, push: bool = False) -> str:
        """Use a trigger up; return the id of the person. Raises SlackError in Slack's words."""
        given = self._given.get(trigger)
        if given is None:
            raise SlackError("invalid_trigger_id")
        if given.used:
            raise SlackError("exchanged_trigger_id")
        if self._clock() - given.at > TRIGGER_SECONDS:
            raise SlackError("expired_trigger_id")
        if push and not given.in_modal:
            raise SlackError("not_found")
        given.used = True
        return given.user


@dataclass
class Modal:
    """One view that somebody has open. ``values`` is its state, ``errors`` what is said beside its inputs."""

    id: str
    user: str
    content: Json
    hash: str
    root: str
    previous: str | None = None
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    notice: str = ""
    loaded: dict[tuple[str, str], list[Any]] = field(default_factory=dict)

    @property
    def blocks(self) -> tuple[Json, ...]:
        """What it is made of."""
        return tuple(self.content["blocks"])

    def shape(self) -> dict[str, Any]:
        """Return the view as Slack shows it to apps."""
        optional = {"private_metadata": "", "callback_id": "", "external_id": "", "submit": None, "close": None}
        flags = {"clear_on_close": False, "notify_on_close": False, "submit_disabled": False}
        return {
            **optional,
            **flags,
            **self.content,
            "id": self.id,
            "team_id": TEAM_ID,
            "state": {"values": copy.deepcopy(self.values)},
            "hash": self.hash,
            "root_view_id": self.root,
            "previous_view_id": self.previous,
            "app_id": APP_ID,
            "app_installed_team_id": TEAM_ID,
            "bot_id": BOT.bot_id,
        }


class Modals:
    """Everybody's open modals, one stack for each person."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._stacks: dict[str, list[Modal]] = {}

    def stack(self, user_id: str) -> tuple[Modal, ...]:
        """Return what this person has open, the one that is seen last."""
        return tuple(self._stacks.get(user_id, ()))

    def find(self, *, view_id: str = "", external_id: str = "") -> Modal | None:
        """Return the open modal with this id, or with this id of the app's own; None where there is none."""
        for modal in (modal for stack in self._stacks.values() for modal in stack):
            if (view_id and modal.id == view_id) or (external_id and modal.content.get("external_id") == external_id):
                return modal
        return None

    def open(self, user_id: str, view: Json) -> Modal:
        """Show the person a modal, in place of whatever is open."""
        self._check_external_id(view)
        modal = self._new(user_id, view, previous=None)
        self._stacks[user_id] = [modal]
        return modal

    def push(self, user_id: str, view: Json) -> Modal:
        """Show the person another one on top."""
        stack = self._stacks.get(user_id)
        if not stack:
            raise SlackError("not_found")
        if len(stack) >= MAX_STACK:
            raise SlackError("push_limit_reached")
        self._check_external_id(view)
        modal = self._new(user_id, view, previous=stack[-1])
        stack.append(modal)
        return modal

    def update(self, modal: Modal, view: Json) -> Modal:
        """Have an open modal show something else; what was filled into blocks that stay is kept, as in Slack."""
        self._check_external_id(view, but=modal)
        modal.content = _kept(view)
        modal.hash = self._hash()
        modal.errors, modal.notice = {}, ""
        initial = initial_values(modal.blocks)
        modal.values = {
            block: {action: modal.values.get(block, {}).get(action, value) for action, value in actions.items()}
            for block, actions in initial.items()
        }
        return modal

    def close(self, modal: Modal, *, all_of_them: bool = False) -> None:
        """Take a modal away, and what lies on it; the one below is seen again."""
        stack = self._stacks.get(modal.user, [])
        if modal in stack:
            del stack[0 if all_of_them else stack.index(modal) :]

    def _new(self, user_id: str, view: Json, *, previous: Modal | None) -> Modal:
        view_id = "V" + secrets.token_hex(5).upper()
        content = _kept(view)
        return Modal(
            id=view_id,
            user=user_id,
            content=content,
            hash=self._hash(),
            root=previous.root if previous else view_id,
            previous=previous.id if previous else None,
            values=initial_values(content["blocks"]),
        )

    def _check_external_id(self, view: Json, *, but: Modal | None = None) -> None:
        external_id = view.get("external_id")
        if external_id and self.find(external_id=external_id) not in (None, but):
            raise SlackError("duplicate_external_id")

    def _hash(self) -> str:
        return f"{int(self._clock())}.{secrets.token_hex(4)}"


def _kept(view: Json) -> dict[str, Any]:
    return {**view, "blocks": list(with_ids(tuple(view["blocks"])))}


def initial_values(blocks: tuple[Json, ...] | list[Json]) -> dict[str, dict[str, Any]]:
    """Return the state in which a person finds the blocks."""
    values: dict[str, dict[str, Any]] = {}
    for block in blocks:
        for element in elements_of(block):
            if (value := _initial(element)) is not None:
                values.setdefault(block["block_id"], {})[element["action_id"]] = value
    return values


def elements_of(block: Json) -> list[Any]:
    """Return the interactive elements of a block."""
    match block.get("type"):
        case "actions":
            return list(block.get("elements") or ())
        case "input":
            return [block["element"]]
        case "section":
            return [block["accessory"]] if (block.get("accessory") or {}).get("action_id") else []
        case _:
            return []


STATE_OF = {
    "plain_text_input": ("value", "initial_value"),
    "email_text_input": ("value", "initial_value"),
    "url_text_input": ("value", "initial_value"),
    "number_input": ("value", "initial_value"),
    "static_select": ("selected_option", "initial_option"),
    "external_select": ("selected_option", "initial_option"),
    "radio_buttons": ("selected_option", "initial_option"),
    "multi_static_select": ("selected_options", "initial_options"),
    "multi_external_select": ("selected_options", "initial_options"),
    "checkboxes": ("selected_options", "initial_options"),
    "users_select": ("selected_user", "initial_user"),
    "channels_select": ("selected_channel", "initial_channel"),
    "conversations_select": ("selected_conversation", "initial_conversation"),
    "datepicker": ("selected_date", "initial_date"),
    "timepicker": ("selected_time", "initial_time"),
}
"""What an element's state is called, and what it begins as."""


def _initial(element: Json) -> dict[str, Any] | None:
    names = STATE_OF.get(str(element.get("type")))
    if names is None:
        return None
    name, initial = names
    return {"type": element["type"], name: element.get(initial) or ([] if name == "selected_options" else None)}
