"""Reading a request and sending an answer, as plain ASGI."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from bot.gateway.budget import Full, Held
from bot.gateway.connection import BrokenOff, ExchangeFailed, Headers, NotSent, Reply, TimedOut

log = logging.getLogger("bot.gateway")

NOT_PASSED_ON = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        *(b"host", b"content-length", b"expect"),  # ours to say to Triton
        *(b"authorization", b"cookie", b"proxy-authorization"),  # meant for the application around the gateway
    }
)
"""Request headers that end here. In the answer only those that speak of the connection do."""

UNWATCHED_SECONDS = 0.05
"""Seconds of an answer after which the gateway looks whether its client is still there."""

WATCHED_BYTES = 64 * 1024
"""An answer that is larger counts as in flight until its client has read all but a buffer of it."""

RETRY_AFTER_SECONDS = 1

WORKER_HEADER = b"promobot-worker"
"""Says which process answers: several may listen at one address."""
GENERATION_HEADER = b"promobot-generation"
"""Says which generation of the routes the answer follows."""
DIGEST_HEADER = b"promobot-digest"
"""Says which bytes were asked."""

DEADLINE_EXTENSION = "promobot.request_deadline"
"""In an ASGI scope: the server ends requests that do not arrive in time. A timer of our own costs more."""

STATUS_OF: dict[type[ExchangeFailed], int] = {NotSent: 503, BrokenOff: 502, TimedOut: 504}
FULL = "this gateway holds as many bytes of requests and answers as it may; ask again"

_TRACEBACK = re.compile(rb'(?:\\n)+At:\\n(?:[^"\\]|\\.)*')
"""Where a Python backend was, inside a JSON string: paths and lines of Triton's own machine."""


class Refusal(Exception):
    """Ends the handling of a request with an error in Triton's own shape. ``close`` ends the connection, too."""

    def __init__(self, status: int, error: str, *, close: bool = False) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.close = close


class ClientGone(Exception):
    """Nobody waits for the answer."""


def passed_on(headers: Headers, *, renamed: bool) -> Headers:
    """Return the request headers that Triton gets. No compressed answer is asked for if it must be rewritten."""
    dropped = NOT_PASSED_ON | {b"accept-encoding"} if renamed else NOT_PASSED_ON
    for name, value in headers:
        if name == b"connection" and value.lower() not in (b"keep-alive", b"close"):
            dropped = dropped | {token.strip().lower() for token in value.split(b",")}
    return [(name, value) for name, value in headers if name not in dropped]


async def read_body(
    scope: Scope, receive: Receive, *, max_bytes: int, held: Held, seconds: float
) -> bytes | bytearray:
    """Return the whole body, which ``held`` then holds.

    Raise Refusal if it is too large, late or not all there, Full if the budget has no room for it, ClientGone if the
    client leaves.
    """
    headers: Headers = scope["headers"]
    said = next((int(value) for name, value in headers if name == b"content-length" and value.isdigit()), None)
    if said is not None:
        if said > max_bytes:
            raise _too_large(max_bytes)
        held.expect(said)
    try:
        if DEADLINE_EXTENSION in scope.get("extensions", ()):
            body = await _whole_body(receive, max_bytes=max_bytes, held=held)
        else:
            async with asyncio.timeout(seconds):
                body = await _whole_body(receive, max_bytes=max_bytes, held=held)
    except TimeoutError:
        raise Refusal(408, "the request did not arrive whole in time", close=True) from None
    if said is not None and len(body) != said:
        lost = f"{len(body)} of {said} bytes of the body arrived"
        if any(name == b"upgrade" for name, _ in headers):
            lost += (
                "; the server of this application drops bodies of requests with Upgrade, see docs/how-to/gateway.md"
            )
        raise Refusal(400, lost, close=True)
    return body


async def _whole_body(receive: Receive, *, max_bytes: int, held: Held) -> bytes | bytearray:
    whole: bytes | bytearray = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        if len(whole) + len(chunk) > max_bytes:
            raise _too_large(max_bytes)
        held.take(len(chunk))
        if not whole:
            whole = chunk
        elif chunk:
            if isinstance(whole, bytes):
                whole = bytearray(whole)
            whole += chunk  # grows in place: joining the chunks at the end would take the memory twice
        if not message.get("more_body", False):
            return whole


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(413, f"the request is larger than {max_bytes} bytes")


async def unless_gone(receive: Receive, sending: Coroutine[Any, Any, Reply]) -> Reply:
    """Return the reply; give up the exchange and raise ClientGone soon after the client disconnects.

    Watching takes a task, which costs as much as a third of all else. So it starts only when an answer takes long.
    """
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a request is handled by a task")
    watching: asyncio.Future[Any] | None = None
    gone = over = False

    def left(seen: asyncio.Future[Any]) -> None:
        nonlocal gone
        if not over and not seen.cancelled():
            gone = True
            task.cancel()

    def watch() -> None:
        nonlocal watching
        # After the body, the only message left is the disconnect.
        watching = asyncio.ensure_future(receive())
        watching.add_done_callback(left)

    timer = asyncio.get_running_loop().call_later(UNWATCHED_SECONDS, watch)
    try:
        return await sending
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        raise ClientGone from None
    finally:
        over = True
        timer.cancel()
        if watching is not None:
            watching.cancel()


async def send_reply(reply: Reply, send: Send, *, ours: Headers) -> None:
    """Send a reply of Triton as it is, but for what is between it and the gateway; ``ours`` are headers to add.

    Return when all but a buffer of it is on its way.
    """
    if reply.status >= 400:
        reply = _without_traceback(reply)
    headers = [(name, value) for name, value in reply.headers if name not in NOT_PASSED_ON]
    headers += (b"content-length", b"%d" % len(reply.body)), *ours
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if len(reply.body) <= WATCHED_BYTES:
        await send({"type": "http.response.body", "body": reply.body})
        return
    await send({"type": "http.response.body", "body": reply.body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})  # waits for the client to read, as a server does


def _without_traceback(reply: Reply) -> Reply:
    body = _TRACEBACK.sub(b"", reply.body)
    if len(body) != len(reply.body):
        log.warning("Triton answers %d: %s", reply.status, reply.body.decode(errors="replace"))
    return replace(reply, body=body)


async def answer_error(
    error: Refusal | ExchangeFailed | Full, scope: Scope, receive: Receive, send: Send, *, ours: Headers
) -> None:
    """Answer with what went wrong, in Triton's own shape, with ``ours`` as headers. Addresses stand in the log."""
    if isinstance(error, BrokenOff | TimedOut):  # NotSent is logged once, when it begins
        log.warning("%s: %s", scope["path"], error)
    if isinstance(error, Full):
        answer = error_answer(503, FULL)
    elif isinstance(error, Refusal):
        answer = error_answer(error.status, error.error)
        if error.close:
            answer.headers["connection"] = "close"
    else:
        answer = error_answer(STATUS_OF[type(error)], error.for_clients)
    answer.raw_headers.extend(ours)
    await answer(scope, receive, send)


def error_answer(status: int, error: str, *, models: Sequence[str] = ()) -> JSONResponse:
    """Return an error in Triton's own shape; what may be gone soon says when to ask again.

    ``models`` names those that it is about, where only some are.
    """
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else None
    about = {"models": list(models)} if models else {}
    return JSONResponse({"error": error, **about}, status_code=status, headers=headers)
