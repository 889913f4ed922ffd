"""How Slack reaches the app: signed requests to its URL, or envelopes over its WebSocket connections."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import httpx
from slack_sdk.signature import SignatureVerifier

from bot.sandbox.slack.installation import Installation
from bot.sandbox.slack.sockets import NotAcknowledged, NotConnected, Sockets

ACKNOWLEDGE_SECONDS = 3.0
KEPT = 1000
"""So many deliveries are remembered."""


@dataclass(frozen=True)
class Answer:
    """The app's answer. ``problem`` is Slack's word for what went wrong."""

    problem: str = ""
    status: int = 0
    body: Any = None


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
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._app, self._sockets, self._clock = app, sockets, clock
        self._deliveries: list[Delivery] = []
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

    async def resend(self, number: int, *, times: int, headers: Mapping[str, str]) -> list[int]:
        """Send the very bytes of an earlier request again, all at once; return the statuses (0: no answer)."""
        sent = next((delivery for delivery in self._deliveries if delivery.number == number), None)
        if sent is None or not sent.headers:
            raise KeyError(number)
        answers = [self._post(sent.kind, sent.to, sent.body, {**sent.headers, **headers}) for _ in range(times)]
        return [answer.status for answer in await asyncio.gather(*answers)]

    def to_json(self) -> list[dict[str, Any]]:
        """Return what was delivered, oldest first."""
        return [asdict(delivery) for delivery in self._deliveries]

    async def _over_http(self, kind: str, url: str, body: str) -> Answer:
        timestamp = str(int(self._clock()))
        signed = SignatureVerifier(self._app().signing_secret).generate_signature(timestamp=timestamp, body=body)
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
            "X-Slack-Request-Timestamp": timestamp,
            "X-Slack-Signature": str(signed),
        }
        return await self._post(kind, url, body, headers)

    async def _post(self, kind: str, url: str, body: str, headers: Mapping[str, str]) -> Answer:
        async def send(_: Delivery) -> Answer:
            async with (
                asyncio.timeout(ACKNOWLEDGE_SECONDS),
                httpx.AsyncClient(trust_env=False, timeout=ACKNOWLEDGE_SECONDS + 1) as client,
            ):
                return _answer_of(await client.post(url, content=body.encode(), headers=dict(headers)))

        return await self._delivered(self._begin(kind, url, body, headers), send)

    async def _over_socket(self, kind: str, payload: dict[str, Any], *, accepts: bool) -> Answer:
        async def send(delivery: Delivery) -> Answer:
            envelope = {"type": kind, "payload": payload, "accepts_response_payload": accepts}
            said, delivery.to = await self._sockets.send(envelope, seconds=ACKNOWLEDGE_SECONDS)
            return Answer(body=said if accepts else None, status=200)

        return await self._delivered(self._begin(kind, "", json.dumps(payload), {}), send)

    async def _delivered(self, delivery: Delivery, send: Callable[[Delivery], Awaitable[Answer]]) -> Answer:
        begun, answer = time.monotonic(), Answer(problem="dispatch_failed")
        try:
            answer = await send(delivery)
        except (TimeoutError, NotAcknowledged):
            answer = Answer(problem="operation_timeout")
        except (httpx.HTTPError, NotConnected):
            answer = Answer(problem="dispatch_failed")
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


def _answer_of(response: httpx.Response) -> Answer:
    answer = Answer(status=response.status_code)
    if not response.is_success:
        kind = "http_client_error" if response.is_client_error else "dispatch_failed"
        return replace(answer, problem=kind)
    text = response.text.strip()
    if response.headers.get("content-type", "").partition(";")[0].strip() == "application/json":
        try:
            return replace(answer, body=json.loads(text) if text else None)
        except ValueError:
            return replace(answer, problem="dispatch_failed")
    return replace(answer, body=text or None)
