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
    """Return the reply; give up the exchange and raise ClientGone as soon as the client disconnects."""
    reply = asyncio.ensure_future(sending)
    gone = asyncio.ensure_future(receive())  # after the body, the only message left is the disconnect
    gone.add_done_callback(lambda _: reply.cancel())
    try:
        return await reply
    except asyncio.CancelledError:
        if gone.done() and not gone.cancelled():
            raise ClientGone from None
        raise
    finally:
        gone.cancel()


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
