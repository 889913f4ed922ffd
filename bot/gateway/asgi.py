"""Reading a request and sending an answer, as plain ASGI."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

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
"""How long an answer may take before the gateway looks whether its client is still there."""

STATUS_OF: dict[type[ExchangeFailed], int] = {NotSent: 503, BrokenOff: 502, TimedOut: 504}


class Refusal(Exception):
    """Ends the handling of a request with an error in Triton's own shape."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


def passed_on(headers: Headers, *, renamed: bool) -> Headers:
    """Return the request headers that Triton gets. No compressed answer is asked for if it must be rewritten."""
    dropped = NOT_PASSED_ON | {b"accept-encoding"} if renamed else NOT_PASSED_ON
    for name, value in headers:
        if name == b"connection" and value.lower() not in (b"keep-alive", b"close"):
            dropped = dropped | {token.strip().lower() for token in value.split(b",")}
    return [(name, value) for name, value in headers if name not in dropped]


async def read_body(headers: Headers, receive: Receive, *, max_bytes: int) -> bytes:
    """Return the whole body. Raise Refusal if it is too large, ClientGone if it ends too early."""
    too_large = Refusal(413, f"the request is larger than {max_bytes} bytes")
    if any(name == b"content-length" and int(value) > max_bytes for name, value in headers):
        raise too_large
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            raise too_large
        if not message.get("more_body", False):
            return b"".join(chunks) if len(chunks) > 1 else chunk


async def unless_gone(receive: Receive, sending: Coroutine[Any, Any, Reply]) -> Reply:
    """Return the reply; give up the exchange and raise ClientGone soon after the client disconnects.

    Watching takes a task, which costs as much as a third of all else: so only who waits long is watched.
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


async def send_reply(reply: Reply, send: Send) -> None:
    """Send a reply of Triton as it is, but for what is between it and the gateway."""
    headers = [(name, value) for name, value in reply.headers if name not in NOT_PASSED_ON]
    headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def answer_error(error: Refusal | ExchangeFailed, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what went wrong, in Triton's own shape."""
    if isinstance(error, BrokenOff | TimedOut):  # NotSent is logged once, when it begins
        log.warning("%s: %s", scope["path"], error)
    status = error.status if isinstance(error, Refusal) else STATUS_OF[type(error)]
    await error_answer(status, str(error))(scope, receive, send)


def error_answer(status: int, error: str) -> JSONResponse:
    """Return an error in Triton's own shape."""
    return JSONResponse({"error": error}, status_code=status)
