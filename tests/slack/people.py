"""People in Slack: they type commands and press buttons as Slack sends it, and read what they are told."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import itertools
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from bot.environment_files import environments, load
from bot.platform import Platform
from bot.settings import Environment
from bot.slack.follow import follow
from bot.slack.inbox import Inbox
from tests.operations.world import HTTP, World, wait_until

SECRET = "signing-secret-4711-canary"
CHANNEL = "C0RELEASES"
ALEX, SAM, KIM = "U0ALEX", "U0SAM", "U0KIM"
"""Alex may propose and roll back, Sam may approve, too; Kim may only look."""
MAY = {"read": [KIM], "propose": [ALEX, SAM], "approve": [ALEX, SAM], "roll_back": [ALEX, SAM]}
LOGINS = {ALEX: "alex", SAM: "sam", KIM: "kim"}
"""Who they are on GitHub."""
NAMES = {ALEX: "alex", SAM: "sam", KIM: "kim"}
_numbers = itertools.count(int(time.time() * 1000))


class Ears:
    """Where Slack's answers to one person go: an address for each command."""

    def __init__(self) -> None:
        self.heard: dict[str, list[dict[str, Any]]] = {}
        ears = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                ears.heard.setdefault(self.path, []).append(json.loads(body))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Sent:
    """A command or a button, as it was sent, and what came back at once."""

    path: str
    body: bytes
    status: int
    said: str
    ears: Ears = field(repr=False)

    @property
    def told(self) -> list[str]:
        """What whoever asked was told since."""
        return [message["text"] for message in self.ears.heard.get(self.path, [])]

    def answer(self, *, seconds: float = 60) -> str:
        """Wait for the answer; there must be one and no more."""
        wait_until(lambda: self.told, seconds=seconds)
        (only,) = self.told
        return only


def signed(body: bytes, *, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    """Return Slack's headers for a body."""
    stamp = str(int(time.time() if at is None else at))
    digest = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={digest}",
    }


class Office:
    """The people, one Slack app (or several replicas of it), and the platform behind."""

    def __init__(self, world: World, ears: Ears, *urls: str, inbox: Path) -> None:
        self.world, self.ears, self.urls = world, ears, urls
        self._inbox = Inbox(inbox)

    def comes_to_rest(self) -> None:
        """Wait until nothing that was asked is left to do, then bring every promotion's message up to date once more.

        What a second copy of something asked for, or a second message, would be there after that.
        """
        wait_until(lambda: not self._inbox.pending())
        for name in environments(self.world.root):
            wait_until(partial(self._followed, load(self.world.root, name)))

    def _followed(self, settings: Environment) -> bool:
        with self._inbox.claim(f"follow-{settings.environment}") as mine:
            if mine:
                with Platform(settings) as platform:
                    follow(platform, say=lambda _: None)
        return mine

    def types(self, user: str, line: str, *, replica: int = 0, channel: str = CHANNEL) -> Sent:
        """Type a slash command."""
        command, _, text = line.partition(" ")
        number = next(_numbers)
        form = {
            "token": "legacy",
            "team_id": "T0SANDBOX",
            "channel_id": channel,
            "channel_name": "ml-releases",
            "user_id": user,
            "user_name": NAMES.get(user, "somebody"),
            "command": command,
            "text": text,
            "api_app_id": "A0PROMOBOT",
            "response_url": f"{self.ears.url}/{number}",
            "trigger_id": f"{number}.738474920.8088930838d88f008e0",
        }
        return self.send(urlencode(form).encode(), f"/{number}", replica=replica)

    def presses(self, user: str, action: str, message: Mapping[str, Any], *, replica: int = 0) -> Sent:
        """Press the button of this action under a message."""
        buttons = [
            element
            for block in message["blocks"]
            for element in block.get("elements", [])
            if element.get("action_id") == action
        ]
        assert len(buttons) == 1, f"{len(buttons)} buttons {action}"
        return self.sends_button(user, action, buttons[0].get("value", ""), message["ts"], replica=replica)

    def sends_button(self, user: str, action: str, value: str, ts: str = "1", *, replica: int = 0) -> Sent:
        """Send what Slack sends when a button is pressed."""
        number = next(_numbers)
        payload = {
            "type": "block_actions",
            "team": {"id": "T0SANDBOX", "domain": "sandbox"},
            "user": {"id": user, "username": NAMES.get(user, "somebody"), "team_id": "T0SANDBOX"},
            "api_app_id": "A0PROMOBOT",
            "container": {"type": "message", "message_ts": ts, "channel_id": CHANNEL},
            "trigger_id": f"{number}.738474920.8088930838d88f008e0",
            "channel": {"id": CHANNEL, "name": "ml-releases"},
            "response_url": f"{self.ears.url}/{number}",
            "actions": [
                {"type": "button", "action_id": action, "block_id": "b", "value": value, "action_ts": str(number)}
            ],
        }
        return self.send(urlencode({"payload": json.dumps(payload)}).encode(), f"/{number}", replica=replica)

    def sends_form(self, user: str, name: str, values: Mapping[str, Mapping[str, Any]], *, channel: str) -> Sent:
        """Send what Slack sends when a form is submitted."""
        number = next(_numbers)
        payload = {
            "type": "view_submission",
            "team": {"id": "T0SANDBOX"},
            "user": {"id": user, "username": NAMES.get(user, "somebody")},
            "trigger_id": f"{number}.738474920.8088930838d88f008e0",
            "view": {
                "id": f"V{number}",
                "type": "modal",
                "callback_id": name,
                "private_metadata": json.dumps({"channel": channel}),
                "state": {"values": {key: {key: value} for key, value in values.items()}},
            },
        }
        return self.send(urlencode({"payload": json.dumps(payload)}).encode(), f"/{number}")

    def send(self, body: bytes, path: str, *, replica: int = 0) -> Sent:
        answer = HTTP.post(f"{self.urls[replica]}/slack/events", content=body, headers=signed(body))
        return Sent(path, body, answer.status_code, answer.text, self.ears)

    # --- what is to be seen ------------------------------------------------------------------------------------

    def channel(self) -> list[dict[str, Any]]:
        """Return what the channel holds, oldest first, replies under what they answer."""
        answer = httpx.get(f"{self.world.endpoints.slack}/messages.json").json()
        return next(one["messages"] for one in answer["channels"] if one["id"] == CHANNEL)

    def promotions(self, model: str) -> list[dict[str, Any]]:
        """Return the messages of a model's promotions."""
        return [
            message
            for message in self.channel()
            if _facts(message).get("model") == model and "number" in _facts(message)
        ]

    def promotion(self, number: int) -> dict[str, Any]:
        """Wait for a pull request's message, of which there must be one."""
        wait_until(lambda: self._of(number))
        (only,) = self._of(number)
        return only

    def stands(self, number: int, words: str, *, seconds: float = 60) -> dict[str, Any]:
        """Wait until a pull request's message says this."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: any(words in message["text"] for message in self._of(number)), seconds=seconds)
        message = self.promotion(number)
        assert words in message["text"], message["text"]
        return message

    def _of(self, number: int) -> list[dict[str, Any]]:
        return [message for message in self.channel() if _facts(message).get("number") == str(number)]


def _facts(message: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (message.get("metadata") or {}).get("event_payload", {})
    return found


@contextlib.contextmanager
def ears() -> Iterator[Ears]:
    listening = Ears()
    try:
        yield listening
    finally:
        listening.close()
