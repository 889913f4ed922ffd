"""In front of Bolt: only what Slack has signed, just now, gets through. Everything else is 401, and nothing is 500.

Bolt checks signatures, too, but answers 500 to some malformed headers (1.30). That a request comes twice is seen by
the inbox, which remembers each longer than a signature lasts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from urllib.parse import parse_qs

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATH = "/slack/events"
"""Where Slack sends commands, buttons and forms; the app's manifest says the same."""
LIFETIME_SECONDS = 300
"""Largest difference between the time of a request and ours."""
MAX_BODY_BYTES = 2**20
_SIGNATURE = re.compile(rb"v0=[0-9a-f]{64}")
_TIMESTAMP = re.compile(rb"[0-9]{1,12}")


class Guard:
    """An ASGI application that passes on what is signed with ``secret``."""

    def __init__(self, app: ASGIApp, *, secret: str, clock: Callable[[], float] = time.time) -> None:
        if not secret:
            raise ValueError("an empty signing secret lets everybody in")
        self._app, self._secret, self._clock = app, secret.encode(), clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 to what Slack did not sign, 400 to what Slack signed and Bolt could not read."""
        body = await self._signed_body(scope, receive)
        if body is None:
            await PlainTextResponse("not signed by Slack", 401)(scope, receive, send)
        elif not _can_be_read(body):
            await PlainTextResponse("cannot be read", 400)(scope, receive, send)
        else:
            await self._app(scope, _again(body), send)

    async def _signed_body(self, scope: Scope, receive: Receive) -> bytes | None:
        if scope["method"] != "POST":
            return None
        timestamp = _only(scope, b"x-slack-request-timestamp", _TIMESTAMP)
        signature = _only(scope, b"x-slack-signature", _SIGNATURE)
        if timestamp is None or signature is None:
            return None
        if abs(self._clock() - int(timestamp)) > LIFETIME_SECONDS:
            return None
        body = await _read(receive)
        if body is None:
            return None
        expected = hmac.new(self._secret, b"v0:" + timestamp + b":" + body, hashlib.sha256).hexdigest()
        return body if hmac.compare_digest(b"v0=" + expected.encode(), signature) else None


def _only(scope: Scope, name: bytes, pattern: re.Pattern[bytes]) -> bytes | None:
    """Return the one header of this name, if it is of this form."""
    found: list[bytes] = [value for key, value in scope["headers"] if key.lower() == name]
    return found[0] if len(found) == 1 and pattern.fullmatch(found[0]) else None


async def _read(receive: Receive) -> bytes | None:
    """Return the whole body; None if it is too long or the sender disconnects."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body"):
            return bytes(body)


def _can_be_read(body: bytes) -> bool:
    try:
        text = body.decode()
        if text.lstrip().startswith("{"):
            return isinstance(json.loads(text), dict)
        form = parse_qs(text, keep_blank_values=True, max_num_fields=100)
        return all(isinstance(json.loads(payload), dict) for payload in form.get("payload", []))
    except (ValueError, RecursionError):
        return False


def _again(body: bytes) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive
