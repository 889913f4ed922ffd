"""Rate limits and conditional requests, as GitHub's pages on using the REST API describe them."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.sandbox.forge.errors import DOCUMENTATION
from bot.sandbox.forge.people import People, Person

PER_HOUR = 5000
WINDOW_SECONDS = 3600
DOCUMENTED = f"{DOCUMENTATION}/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits"


class Secondary(BaseModel):
    """The next ``times`` requests of anybody hit a secondary limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    times: int = Field(default=1, ge=1)
    retry_after: int = Field(default=60, ge=0)
    status: Literal[403, 429] = 403


@dataclass
class _Window:
    """What one person used of the hour that began with the first request."""

    resets: float
    used: int = 0


@dataclass
class Limits:
    """Limits of requests for each person and hour; tests and sandboxes lower them, or hit the secondary limit."""

    per_hour: int = PER_HOUR
    _windows: dict[int, _Window] = field(default_factory=dict)
    _secondary: deque[Secondary] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hit_secondary(self, hit: Secondary) -> None:
        with self._lock:
            self._secondary.extend([hit] * hit.times)

    def forget(self) -> None:
        """Reset all limits."""
        with self._lock:
            self.per_hour = PER_HOUR
            self._windows.clear()
            self._secondary.clear()

    def next_secondary(self) -> Secondary | None:
        with self._lock:
            return self._secondary.popleft() if self._secondary else None

    def count(self, person: Person, number: int) -> None:
        with self._lock:
            self._window(person).used += number

    def is_used_up(self, person: Person) -> bool:
        with self._lock:
            return self._window(person).used >= self.per_hour

    def state(self, person: Person) -> dict[str, int]:
        """What GET /rate_limit and the headers say."""
        with self._lock:
            window = self._window(person)
            used = min(window.used, self.per_hour)
            reset = math.ceil(window.resets)
            return {"limit": self.per_hour, "used": used, "remaining": self.per_hour - used, "reset": reset}

    def _window(self, person: Person) -> _Window:
        window = self._windows.get(person.id)
        if window is None or window.resets <= time.time():
            window = self._windows[person.id] = _Window(time.time() + WINDOW_SECONDS)
        return window


class Limited:
    """Counts the API's requests, answers for the limits, and says 304 to who has the newest answer already."""

    def __init__(self, app: ASGIApp, *, limits: Limits, people: People, api: str) -> None:
        self._app, self._limits, self._people, self._api = app, limits, people, api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(f"{self._api}/"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        person = self._people.of(headers.get("authorization", ""))
        if person is not None and (hit := self._limits.next_secondary()) is not None:
            said = {"retry-after": str(hit.retry_after), **self._counted(person)}
            message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
            await _refusal(hit.status, message, said)(scope, receive, send)
        elif person is not None and self._limits.is_used_up(person) and not scope["path"].endswith("/rate_limit"):
            message = (
                f"API rate limit exceeded for {'installation' if person.type == 'Bot' else 'user'} ID {person.id}."
            )
            await _refusal(403, message, self._counted(person))(scope, receive, send)
        else:
            await self._answer(scope, receive, send, person, headers.get("if-none-match", ""))

    async def _answer(self, scope: Scope, receive: Receive, send: Send, person: Person | None, known: str) -> None:
        answered: list[Message] = []

        async def keep(message: Message) -> None:
            answered.append(message)

        await self._app(scope, receive, keep)
        start, body = answered[0], b"".join(message.get("body", b"") for message in answered[1:])
        extra: dict[str, str] = {}
        if scope["method"] == "GET" and start["status"] == 200:
            extra["etag"] = f'W/"{hashlib.sha256(body).hexdigest()}"'
        is_unchanged = bool(extra) and extra["etag"] in known
        if person is not None:
            is_free = is_unchanged or scope["path"].endswith("/rate_limit")
            self._limits.count(person, 0 if is_free else 1)
            extra |= self._counted(person)
        kept = [pair for pair in start["headers"] if not is_unchanged or not pair[0].startswith(b"content-")]
        await send(
            {**start, "status": 304 if is_unchanged else start["status"], "headers": [*kept, *_encoded(extra)]}
        )
        await send({"type": "http.response.body", "body": b"" if is_unchanged else body})

    def _counted(self, person: Person) -> dict[str, str]:
        state = self._limits.state(person)
        return {"x-ratelimit-resource": "core"} | {f"x-ratelimit-{name}": str(value) for name, value in state.items()}


def _refusal(status: int, message: str, headers: dict[str, str]) -> JSONResponse:
    said = {"message": message, "documentation_url": DOCUMENTED, "status": str(status)}
    return JSONResponse(said, status, headers)


def _encoded(headers: dict[str, str]) -> Iterable[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
