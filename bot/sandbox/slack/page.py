"""The workspace as a person sees it: one page that keeps itself fresh, and on which one acts as that person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from urllib.parse import urlencode

from bot.sandbox.forge.html import Html, tag, together
from bot.sandbox.slack.kit import Place, draw
from bot.sandbox.slack.markup import emoji, lines, mrkdwn
from bot.sandbox.slack.modals import Modal
from bot.sandbox.slack.slack import Slack
from bot.sandbox.slack.workspace import (
    PEOPLE,
    TEAM_NAME,
    Channel,
    Ephemeral,
    Json,
    Message,
    User,
    microseconds,
)

ASSETS = {"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}
SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class View:
    """What is looked at, and by whom: a channel by id (none: the first with the bot in it), a thread by timestamp."""

    user: User
    channel: str = ""
    thread: str = ""

    def address(self, **changed: str) -> str:
        """Return the address of the page with something changed."""
        named = {"as": self.user.name, "channel": self.channel, "thread": self.thread, **changed}
        return "/?" + urlencode({name: value for name, value in named.items() if value})


def asset(name: str) -> bytes:
    """Return the script or the style of the page."""
    return (Path(__file__).parent / name).read_bytes()


def render(slack: Slack, view: View) -> str:
    """Return the page as HTML."""
    return _Page(slack, view).html()


class _Page:
    def __init__(self, slack: Slack, view: View) -> None:
        workspace = slack.workspace
        direct = workspace.direct_with(view.user.id)
        self._slack, self._workspace = slack, workspace
        self._channels = [channel for channel in workspace.channels if channel.has_bot]
        self._channels += [channel for channel in workspace.channels if not channel.has_bot]
        self._direct = direct if direct is not None and workspace.messages(direct) else None
        seen = [*self._channels, *([direct] if direct else [])]
        self._channel = next((one for one in seen if one.id == view.channel), self._channels[0])
        self._thread = workspace.message(self._channel, view.thread) if view.thread else None
        self._user = view.user
        self._view = View(view.user, self._channel.id, self._thread.ts if self._thread else "")

    def html(self) -> str:
        shown = f"{'' if self._channel.person else '#'}{self._name(self._channel)}"
        head = tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("title", f"{shown} · {TEAM_NAME} · Slack"),
            tag("link", rel="stylesheet", href="/assets/page.css"),
            tag("script", src="/assets/page.js", defer=True),
        )
        facts = {"data_user": self._user.name, "data_channel": self._channel.id}
        body = tag(
            "body",
            self._rail(),
            tag(
                "main",
                tag(
                    "header", tag("h2", tag("span", "" if self._channel.person else "# "), self._name(self._channel))
                ),
                tag("div", self._messages(), id="messages", class_="messages", data_live=True),
                self._composer("composer", f"Message {shown}, or type / for a command"),
            ),
            self._beside(),
            tag("div", self._modal(), id="modal", data_live=True),
            tag("div", id="toast", role="status"),
            class_="threaded" if self._thread else "",
            **facts,
        )
        return "<!doctype html>" + tag("html", head, body, lang="en")

    # --- around the messages -----------------------------------------------------------------------------------

    def _rail(self) -> Html:
        links = [self._link(channel, "# ") for channel in self._channels]
        if self._direct is not None:
            links.append(self._link(self._direct, ""))
        people = [
            tag("option", person.real_name, value=person.name, selected=person == self._user) for person in PEOPLE
        ]
        return tag(
            "nav",
            tag("h1", TEAM_NAME),
            tag("div", links, id="channels", class_="channels", data_live=True),
            tag("label", tag("span", "You are"), tag("select", people, id="as"), class_="you"),
        )

    def _link(self, channel: Channel, mark: str) -> Html:
        here = "here" if channel == self._channel else ""
        address = self._view.address(channel=channel.id, thread="")
        return tag("a", tag("span", mark), self._name(channel), href=address, class_=here)

    def _name(self, channel: Channel) -> str:
        return self._workspace.bot.real_name if channel.person else channel.name

    def _composer(self, name: str, placeholder: str, *, thread_ts: str = "") -> Html:
        commands = [
            {"command": command.command, "hint": command.usage_hint, "description": command.description}
            for command in self._slack.app.commands.values()
        ]
        return tag(
            "form",
            tag("div", class_="suggestions", hidden=True),
            tag("input", name="text", placeholder=placeholder, aria_label=placeholder, autocomplete="off"),
            tag("button", "➤", aria_label="Send", class_="send"),
            id=name,
            class_="composer",
            data_thread=thread_ts,
            data_commands="" if thread_ts else json.dumps(commands),
        )

    def _beside(self) -> Html | None:
        if self._thread is None:
            return None
        replies = self._workspace.replies(self._channel, self._thread)
        alone = self._alone(self._thread.ts)
        count = tag("div", _replies(len(replies)), class_="day") if replies else None
        shown: list[Html] = [self._message(self._thread, in_thread=True), count or tag("hr")]
        shown += [self._either(one, in_thread=True) for one in _in_order([*replies, *alone])]
        return tag(
            "aside",
            tag(
                "header",
                tag("h2", "Thread"),
                tag("a", "✕", href=self._view.address(thread=""), class_="close", aria_label="Close the thread"),
            ),
            tag("div", shown, id="thread", class_="messages", data_live=True),
            self._composer("reply", "Reply…", thread_ts=self._thread.ts),
        )

    # --- messages ----------------------------------------------------------------------------------------------

    def _messages(self) -> Html:
        listed = [
            message
            for message in self._workspace.messages(self._channel)
            if not message.thread_ts or message.broadcast
        ]
        shown = _in_order([*listed, *self._alone("")])
        if not shown:
            return tag("p", "No messages yet.", class_="none")
        days = groupby(shown, key=lambda one: f"{_when(one.ts):%A, %-d %B %Y}")
        return together(
            [tag("div", tag("span", day), class_="day"), [self._either(one) for one in of_day]]
            for day, of_day in days
        )

    def _alone(self, thread_ts: str) -> list[Ephemeral]:
        seen = self._workspace.ephemerals(self._user)
        return [one for one in seen if one.channel == self._channel.id and one.thread_ts == thread_ts]

    def _either(self, shown: Message | Ephemeral, *, in_thread: bool = False) -> Html:
        if isinstance(shown, Message):
            return self._message(shown, in_thread=in_thread)
        notice = tag("div", "👁 Only visible to you", class_="notice")
        body = [self._content(shown.text, shown.blocks, shown.ts)]
        return self._article(shown.of, shown.ts, notice, body, name=f"e{shown.ts}", kind="ephemeral")

    def _message(self, message: Message, *, in_thread: bool = False) -> Html:
        workspace, notice = self._workspace, None
        if message.broadcast and not in_thread:
            parent = workspace.message(self._channel, message.thread_ts)
            said = lines(_first_line(parent.text)) if parent else "a thread"
            link = tag("a", said, href=self._view.address(thread=message.thread_ts))
            notice = tag("div", "replied to a thread: ", link, class_="notice")
        body: list[Html] = [self._content(message.text, message.blocks, message.ts, edited=bool(message.edited_ts))]
        body += [self._file(file) for file in message.files]
        reactions = [
            tag("span", Html(emoji(given.name)), f" {len(given.users)}", class_="reaction")
            for given in message.reactions
        ]
        body += [tag("div", reactions, class_="reactions")] if reactions else []
        replies = workspace.replies(self._channel, message)
        if replies and not in_thread:
            last = tag("span", f"last at {_when(replies[-1].ts):%H:%M:%S}", class_="hint")
            faces = [self._face(name) for name in dict.fromkeys(reply.user for reply in replies)]
            address = self._view.address(thread=message.ts)
            body.append(tag("a", faces, tag("strong", _replies(len(replies))), last, href=address, class_="replies"))
        elif not in_thread:
            reply = tag("a", "Reply", href=self._view.address(thread=message.thread_ts or message.ts), class_="reply")
            body.append(reply)
        return self._article(message.user, message.ts, notice, body, name=f"{'t' if in_thread else 'p'}{message.ts}")

    def _article(self, of: str, ts: str, notice: Html | None, body: list[Html], *, name: str, kind: str = "") -> Html:
        user, at = self._workspace.user(of), _when(ts)
        badge = tag("span", "APP", class_="app") if user.bot_id or user.id == "USLACKBOT" else None
        time = tag("time", f"{at:%H:%M}", datetime=at.isoformat(), title=f"{at:%Y-%m-%d %H:%M:%S} UTC")
        return tag(
            "article",
            self._face(user.id),
            tag(
                "div",
                notice,
                tag("div", tag("span", user.real_name, class_="who"), badge, time, class_="line"),
                body,
                class_="body",
            ),
            id=name,
            class_=kind,
        )

    def _face(self, user_id: str) -> Html:
        user = self._workspace.user(user_id)
        shown = "🤖" if user.bot_id else "💬" if user.id == "USLACKBOT" else user.real_name[:1]
        return tag("span", shown, class_=f"face {user.name}", title=user.real_name)

    def _content(self, text: str, blocks: tuple[Json, ...], ts: str, *, edited: bool = False) -> Html:
        # As in Slack: where there are blocks, the text is only what notifications show.
        facts = {"data_channel": self._channel.id, "data_ts": ts}
        drawn = draw(blocks, self._place(facts)) if blocks else tag("div", mrkdwn(text), class_="text")
        return together(drawn, tag("span", "(edited)", class_="edited") if edited else None)

    def _place(self, facts: Mapping[str, str]) -> Place:
        channels = {channel.id: channel.name for channel in self._channels}
        return Place(files=f"{self._slack.url}/files", facts=facts, channels=channels)

    def _file(self, file: Json) -> Html:
        name = tag("div", str(file["title"]), class_="context")
        address = f"/files/{file['id']}"
        if str(file["mimetype"]).startswith("image/"):
            return tag("div", name, tag("img", src=address, alt=str(file["title"])), class_="image")
        return tag("div", tag("a", f"📄 {file['name']}", href=address), class_="image")

    # --- modals ------------------------------------------------------------------------------------------------

    def _modal(self) -> Html | None:
        stack = self._slack.modals.stack(self._user.id)
        if not stack:
            return None
        modal = stack[-1]
        key = json.dumps([modal.id, modal.hash, dict(modal.errors), modal.notice])
        return tag(
            "div",
            tag("form", self._modal_parts(modal, below=len(stack) > 1), role="dialog", aria_modal="true"),
            class_="veil",
            data_key=key,
            data_view=modal.id,
        )

    def _modal_parts(self, modal: Modal, *, below: bool) -> Html:
        place = self._place({"data_view": modal.id})
        place = Place(place.files, place.facts, modal.values, modal.errors, place.channels)
        submit, close = modal.content.get("submit"), modal.content.get("close") or {"text": "Cancel"}
        return together(
            tag(
                "header",
                tag("h2", str(modal.content["title"]["text"])),
                tag(
                    "button",
                    "←" if below else "✕",
                    type="button",
                    data_close="one",
                    class_="close",
                    aria_label="Close",
                ),
            ),
            tag(
                "div",
                tag("div", modal.notice, class_="trouble", role="alert") if modal.notice else None,
                draw(modal.blocks, place),
                class_="inside",
            ),
            tag(
                "footer",
                tag("button", str(close["text"]), type="button", class_="button", data_close="one"),
                tag("button", str(submit["text"]), class_="button primary") if submit else None,
            ),
        )


def _in_order(shown: list[Message | Ephemeral]) -> list[Message | Ephemeral]:
    return sorted(shown, key=lambda one: microseconds(one.ts))


def _when(ts: str) -> datetime:
    return datetime.fromtimestamp(microseconds(ts) / 1_000_000, tz=UTC)


def _replies(count: int) -> str:
    return f"{count} {'reply' if count == 1 else 'replies'}"


def _first_line(text: str) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= 80 else line[:79] + "…"
