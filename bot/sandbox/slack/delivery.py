"""How Slack reaches the app: signed requests to its URL, or envelopes over its WebSocket connections."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import httpx

from bot.sandbox.slack.installation import Installation
from bot.sandbox.slack.sockets import NotAcknowledged, NotConnected, Sockets

ACKNOWLEDGE_SECONDS = 3.0
RETRY_AFTER_SECONDS = (0.0, 60.0, 300.0)
"""When an event that was not acknowledged is sent again: nearly at once, after a minute, after five."""
KEPT = 1000
"""So many deliveries are remembered."""


@dataclass(frozen=True)
class Answer:
    """What the app said. ``problem`` is Slack's word for what went wrong, ``reason`` its word in a retry."""

    problem: str = ""
    reason: str = ""
    status: int = 0
    body: Any = None
    no_retry: bool = False


@dataclass
class Delivery:
    """One request to the app, as it went out, and what came back."""

    number: int
    kind: str
    to: str
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)
    at: float = 0.0
    seconds: float = 0.0
    status: int = 0
    problem: str = ""


class Courier:
    """Takes requests to the app and brings back its answers; remembers what it did."""

    def __init__(
        self,
        app: Callable[[], Installation],
        sockets: Sockets,
        *,
        retry_after_seconds: tuple[float, ...] = RETRY_AFTER_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._app, self._sockets, self._clock = app, sockets, clock
        self._retry_after_seconds = retry_after_seconds
        self._deliveries: list[Delivery] = []
        self._retries: set[asyncio.Task[None]] = set()
        self._number = 0

    async def command(self, url: str, fields: Mapping[str, str]) -> Answer:
        """Send a slash command."""
        if self._app().socket_mode:
            return await self._over_socket("slash_commands", dict(fields), accepts=True)
        return await self._over_http("slash_commands", url, urlencode(fields))

    async def interaction(self, url: str, payload: Mapping[str, Any], *, accepts: bool) -> Answer:
        """Send what somebody pressed or filled in; ``accepts`` says whether the answer may hold something."""
        if self._app().socket_mode:
            return await self._over_socket("interactive", dict(payload), accepts=accepts)
        return await self._over_http("interactive", url, urlencode({"payload": json.dumps(payload)}))

    async def event(self, url: str, payload: Mapping[str, Any]) -> None:
        """Send an event, and again when it is not acknowledged; return after the first try."""
        answer = await self._event(url, payload, retry=0, reason="")
        if answer.problem and not answer.no_retry:
            task = asyncio.create_task(self._try_again(url, payload, answer))
            self._retries.add(task)
            task.add_done_callback(self._retries.discard)

    async def resend(self, number: int, *, times: int, headers: Mapping[str, str]) -> list[int]:
        """Send the very bytes of an earlier request again, all at once; return the statuses (0: no answer)."""
        sent = next((delivery for delivery in self._deliveries if delivery.number == number), None)
        if sent is None or not sent.headers:
            raise KeyError(number)
        answers = [self._post(sent.kind, sent.to, sent.body, {**sent.headers, **headers}) for _ in range(times)]
        return [answer.status for answer in await asyncio.gather(*answers)]

    async def close(self) -> None:
        """Try nothing again any more."""
        for task in self._retries:
            task.cancel()
        await asyncio.gather(*self._retries, return_exceptions=True)

    def to_json(self) -> list[dict[str, Any]]:
        """Return what was delivered, oldest first."""
        return [asdict(delivery) for delivery in self._deliveries]

    @property
    def last(self) -> int:
        """Number of the newest delivery; 0 where there was none."""
        return self._number

    async def _try_again(self, url: str, payload: Mapping[str, Any], answer: Answer) -> None:
        for retry, pause in enumerate(self._retry_after_seconds, start=1):
            await asyncio.sleep(pause)
            answer = await self._event(url, payload, retry=retry, reason=answer.reason)
            if not answer.problem or answer.no_retry:
                return

    async def _event(self, url: str, payload: Mapping[str, Any], *, retry: int, reason: str) -> Answer:
        if self._app().socket_mode:
            more = {"retry_attempt": retry, "retry_reason": reason}
            return await self._over_socket("events_api", dict(payload), accepts=False, more=more)
        headers = {"X-Slack-Retry-Num": str(retry), "X-Slack-Retry-Reason": reason} if retry else {}
        return await self._over_http("events_api", url, json.dumps(payload), more=headers)

    async def _over_http(self, kind: str, url: str, body: str, *, more: Mapping[str, str] | None = None) -> Answer:
        timestamp = str(int(self._clock()))
        form = kind != "events_api"
        headers = {
            "Content-Type": "application/x-www-form-urlencoded" if form else "application/json",
            "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
            "X-Slack-Request-Timestamp": timestamp,
            "X-Slack-Signature": signature(self._app().signing_secret, timestamp, body),
            **(more or {}),
        }
        return await self._post(kind, url, body, headers)

    async def _post(self, kind: str, url: str, body: str, headers: Mapping[str, str]) -> Answer:
        delivery = self._begin(kind, url, body, headers)
        begun = time.monotonic()
        answer = Answer(problem="dispatch_failed", reason="unknown_error")
        try:
            async with (
                asyncio.timeout(ACKNOWLEDGE_SECONDS),
                httpx.AsyncClient(trust_env=False, timeout=ACKNOWLEDGE_SECONDS + 1) as client,
            ):
                response = await client.post(url, content=body.encode(), headers=dict(headers))
            answer = _answer_of(response)
        except TimeoutError:
            answer = Answer(problem="operation_timeout", reason="http_timeout")
        except httpx.HTTPError:
            answer = Answer(problem="dispatch_failed", reason="connection_failed")
        finally:
            delivery.seconds = time.monotonic() - begun
            delivery.status, delivery.problem = answer.status, answer.problem
        return answer

    async def _over_socket(
        self, kind: str, payload: dict[str, Any], *, accepts: bool, more: Mapping[str, Any] | None = None
    ) -> Answer:
        delivery = self._begin(kind, "", json.dumps(payload), {})
        begun = time.monotonic()
        answer = Answer(problem="dispatch_failed", reason="unknown_error")
        try:
            said, delivery.to = await self._sockets.send(
                {"type": kind, "payload": payload, "accepts_response_payload": accepts, **(more or {})},
                seconds=ACKNOWLEDGE_SECONDS,
            )
            answer = Answer(body=said if accepts else None, status=200)
        except NotConnected:
            answer = Answer(problem="dispatch_failed", reason="connection_failed")
        except NotAcknowledged:
            answer = Answer(problem="operation_timeout", reason="timeout")
        finally:
            delivery.seconds = time.monotonic() - begun
            delivery.status, delivery.problem = answer.status, answer.problem
        return answer

    def _begin(self, kind: str, to: str, body: str, headers: Mapping[str, str]) -> Delivery:
        self._number += 1
        delivery = Delivery(self._number, kind, to, body, dict(headers), at=self._clock())
        self._deliveries.append(delivery)
        del self._deliveries[:-KEPT]
        return delivery


def signature(secret: str, timestamp: str, body: str) -> str:
    """Return ``X-Slack-Signature`` of a request."""
    signed = f"v0:{timestamp}:{body}".encode()
    return "v0=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def _answer_of(response: httpx.Response) -> Answer:
    answer = Answer(status=response.status_code, no_retry=response.headers.get("x-slack-no-retry") == "1")
    if 400 <= response.status_code < 500:
        return replace(answer, problem="http_client_error", reason="http_error")
    if not response.is_success:
        return replace(answer, problem="dispatch_failed", reason="http_error")
    text = response.text.strip()
    if response.headers.get("content-type", "").partition(";")[0].strip() == "application/json":
        try:
            return replace(answer, body=json.loads(text) if text else None)
        except ValueError:
            return replace(answer, problem="dispatch_failed", reason="http_error")
    return replace(answer, body=text or None)
