"""The workspace as a person sees it: one page that keeps itself fresh, and on which one acts as that person."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bot.sandbox.slack.markup import mrkdwn, plain
from bot.sandbox.slack.modals import Modal
from bot.sandbox.slack.slack import Slack
from bot.sandbox.slack.workspace import PEOPLE, TEAM_NAME, Ephemeral, Json, Message, User, microseconds
from bot.sandbox.templates import pages

SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
Shown = Message | Ephemeral


@dataclass(frozen=True)
class View:
    """A look by a user at a channel, by id (empty: the first with the bot in it), and at a thread, by timestamp."""

    user: User
    channel: str = ""
    thread: str = ""

    def address(self, **changed: str) -> str:
        """Return the address of the page with something changed."""
        named = {"as": self.user.name, "channel": self.channel, "thread": self.thread, **changed}
        return "/?" + urlencode({name: value for name, value in named.items() if value})


@dataclass(frozen=True)
class Place:
    """Where blocks are drawn. ``facts`` are ``data-`` attributes, with which page.js says where something acted."""

    facts: Mapping[str, str]
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=lambda: defaultdict(str))

    def state(self, block: Json, element: Json) -> dict[str, Any]:
        """What somebody chose or typed: ``value``, and the values of ``chosen`` options."""
        state = self.values.get(str(block.get("block_id")), {}).get(str(element.get("action_id")), {})
        options = [*(state.get("selected_options") or ()), state.get("selected_option")]
        return {"value": state.get("value"), "chosen": {option["value"] for option in options if option}}


class Page:
    """What one person sees; the template asks for it."""

    def __init__(self, slack: Slack, view: View) -> None:
        self.workspace = workspace = slack.workspace
        self.channels = sorted(workspace.channels, key=lambda channel: not channel.has_bot)
        self.channel = next((one for one in self.channels if one.id == view.channel), self.channels[0])
        self.thread = workspace.message(self.channel, view.thread) if view.thread else None
        self.view = View(view.user, self.channel.id, self.thread.ts if self.thread else "")
        self.modal = slack.modals.of(view.user.id)
        self.commands = [
            {"command": command.command, "hint": command.usage_hint, "description": command.description}
            for command in slack.app.commands.values()
        ]

    def days(self) -> list[tuple[str, list[Shown]]]:
        """The messages of each day, those that are answers only where they were sent to all."""
        messages = self.workspace.messages(self.channel)
        listed = [message for message in messages if not message.thread_ts or message.broadcast]
        in_order = _in_order([*listed, *self._alone("")])
        by_day = groupby(in_order, key=lambda one: f"{when(one.ts):%A, %-d %B %Y}")
        return [(day, list(of_day)) for day, of_day in by_day]

    def in_thread(self) -> list[Shown]:
        """The replies in the thread of this view."""
        return _in_order([*self.replies(self.thread), *self._alone(self.thread.ts)]) if self.thread else []

    def replies(self, message: Message) -> tuple[Message, ...]:
        return self.workspace.replies(self.channel, message)

    def parent(self, message: Message) -> Message | None:
        return self.workspace.message(self.channel, message.thread_ts)

    def place(self, facts: Mapping[str, str], modal: Modal | None = None) -> Place:
        return Place(facts, modal.values, defaultdict(str, modal.errors)) if modal else Place(facts)

    def _alone(self, thread_ts: str) -> list[Ephemeral]:
        seen = self.workspace.ephemerals(self.view.user)
        return [one for one in seen if one.channel == self.channel.id and one.thread_ts == thread_ts]


def render(slack: Slack, view: View) -> str:
    """Return the page as HTML."""
    return TEMPLATES.get_template("page.html").render(page=Page(slack, view), team=TEAM_NAME, people=PEOPLE)


def when(ts: str) -> datetime:
    """Return the time of a message."""
    return datetime.fromtimestamp(microseconds(ts) / 1_000_000, tz=UTC)


def bars(chart: Json) -> dict[str, Any]:
    """Return the bars of a chart, group by group from a common zero and in percent, and the marks beside them."""
    series = chart["series"]
    values = [{point["label"]: float(point["value"]) for point in one["data"]} for one in series]
    every = [value for one in values for value in one.values()]
    top, bottom = max(*every, 0.0), min(*every, 0.0)
    scale, width = 100 / ((top - bottom) or 1.0), 72 / len(series)
    return {
        "marks": [f"{mark:.3g}" for mark in (top, (top + bottom) / 2, bottom)],
        "groups": {
            name: [
                {
                    "kind": kind,
                    "says": f"{name}, {series[kind]['name']}: {one[name]:g}",
                    "x": f"{14 + kind * width:.1f}%",
                    "y": f"{(top - max(one[name], 0.0)) * scale:.1f}%",
                    "width": f"{width * 0.9:.1f}%",
                    "height": f"{abs(one[name]) * scale:.1f}%",
                }
                for kind, one in enumerate(values)
            ]
            for name in chart["axis_config"]["categories"]
        },
    }


def _in_order(shown: Iterable[Shown]) -> list[Shown]:
    return sorted(shown, key=lambda one: microseconds(one.ts))


TEMPLATES = pages(
    Path(__file__).with_name("templates"),
    filters={"mrkdwn": mrkdwn, "plain": plain, "when": when, "bars": bars, "json": json.dumps},
    strict=False,
)
