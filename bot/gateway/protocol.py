"""HTTP/1.1 from clients: uvicorn's protocol, with a limit on what one client may send and how long it may take.

An ASGI application sees a request only when its head is whole, and never sees the socket. So these limits belong to
the server. The reference application runs with this protocol. For an application of your own, pass it to uvicorn:
``uvicorn app:app --http bot.gateway.protocol:GatewayProtocol``, or ``uvicorn.run(app, http=protocol_with(limits))``.

It also ignores ``Upgrade``, as RFC 9110 allows. ``curl --http2`` and Java's ``HttpClient`` send an ordinary request
that carries an offer of HTTP/2, and expect an ordinary answer. uvicorn ignores the offer too, but its parser then
takes the body for bytes of the other protocol.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any, ClassVar

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from bot.gateway.asgi import DEADLINE_EXTENSION, RETRY_AFTER_SECONDS
from bot.gateway.settings import CLIENT_LIMITS, ClientLimits

__all__ = ["GatewayProtocol", "protocol_with"]

log = logging.getLogger("bot.gateway")


HELD_BY_THE_SERVER: dict[str, dict[object, object]] = {DEADLINE_EXTENSION: {}}
"""Tells the router that it need not hold the deadline for a request itself."""


class GatewayProtocol(HttpToolsProtocol):
    """One connection of a client, within ``limits``. A refused request is answered in Triton's own shape."""

    limits: ClassVar[ClientLimits] = CLIENT_LIMITS

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._over = False
        self._refusal: tuple[int, str] | None = None
        self._header_count = 0  # of the head, without trailers
        self._unparsed_bytes = 0  # since the parser last had something for us
        self._head_is_whole = self._request_is_whole = False
        self._starts_over = False
        self._receiving: asyncio.TimerHandle | None = None
        self._received_since = 0.0
        self._sending: asyncio.TimerHandle | None = None

    # Called by the event loop.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            log.warning("refused a connection: there are %d already", self.limits.max_connections)
            self._refuse(503, "this gateway has as many connections as it takes")
            return
        # uvicorn closes a connection that is idle after a request; this one is idle before its first.
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self._no_longer_receiving()
        self._no_longer_sending()
        self._not_idle()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._not_idle()
        self._unparsed_bytes += len(data)
        self._request_is_whole = False
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            status, said = self._refusal or (400, f"not an HTTP request: {error}")
            self._refuse(status, said)
            return
        if self._over:
            return
        if self._unparsed_bytes > self.limits.max_head_bytes:
            self._refuse(431, f"a request has more than {self.limits.max_head_bytes} bytes besides its body")
        elif not self._request_is_whole and self._receiving is None:  # most requests come whole, and need no timer
            self._received_since = self.loop.time()
            self._receiving = self.loop.call_later(self.limits.head_seconds, self._late)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._sending is None:
            self._sending = self.loop.call_later(self.limits.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._no_longer_sending()

    # Called by the parser.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_is_whole = self._request_is_whole = self._starts_over = False

    def on_headers_complete(self) -> None:
        self._check_head()
        self._header_count = len(self.headers)
        self.scope["extensions"] = HELD_BY_THE_SERVER
        self._unparsed_bytes = 0
        self._head_is_whole = True
        if self.parser.should_upgrade() and not self._begins_websocket():
            self._starts_over = True
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._starts_over:
            return
        if len(self.headers) > self._header_count:
            self._check_head()  # with the trailers that came behind the body
            del self.headers[self._header_count :]  # nobody in front of us looked at them as headers
        self._unparsed_bytes = 0
        self._request_is_whole = True
        self._no_longer_receiving()
        super().on_message_complete()

    # Called by uvicorn.

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self.loop.call_later(self.limits.answer_seconds, self.transport.abort)

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():  # closing would wait for a client that does not read
            self.transport.abort()
        super().timeout_keep_alive_handler()

    # Our own.

    def _not_idle(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def _begins_websocket(self) -> bool:
        # A WebSocket begins with GET. Anything else that says "Upgrade: websocket" is an ordinary request. Of two
        # headers the last counts, as uvicorn reads them.
        if self.ws_protocol_class is None or self.parser.get_method() != b"GET":
            return False
        last = dict(self.headers)
        tokens = [token.strip().lower() for token in last.get(b"connection", b"").split(b",")]
        return last.get(b"upgrade", b"").lower() == b"websocket" and b"upgrade" in tokens

    def _feed(self, data: bytes) -> None:
        while True:  # a client may send a thousand such offers at once
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self._begins_websocket():
                    self.handle_websocket_upgrade()
                    self._over = True  # the socket is another protocol's now
                    self._no_longer_receiving()
                    return
                if self.parser.get_method() == b"CONNECT":
                    self._refuse(405, "CONNECT: this gateway has no such thing")
                    return
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        """Return the head that was just parsed as bytes, without what offers another protocol."""
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        for name, value in self.headers:
            if name in (b"upgrade", b"http2-settings"):
                continue
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() not in (b"upgrade", b"http2-settings"))
            lines.append(name + b": " + value)
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _check_head(self) -> None:
        """Refuse too many headers, or too many bytes of them. ``data_received`` refuses what is not even whole."""
        limits = self.limits
        if len(self.headers) > limits.max_headers:
            self._refusal = 431, f"a request has more than {limits.max_headers} headers"
            raise ValueError(self._refusal)
        # Most requests are smaller as they came, and need no sum.
        if self._unparsed_bytes > limits.max_head_bytes and self._size_of_head() > limits.max_head_bytes:
            self._refusal = 431, f"a request has more than {limits.max_head_bytes} bytes besides its body"
            raise ValueError(self._refusal)

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _late(self) -> None:
        """Refuse a request that is not whole in time, unless it is this side that keeps the client waiting."""
        limits, now = self.limits, self.loop.time()
        answering = self.cycle is not None and not self.cycle.response_complete and not self._head_is_whole
        if answering or self.flow.read_paused:
            self._receiving = self.loop.call_later(limits.head_seconds, self._late)
            return
        deadline = self._received_since + (limits.request_seconds if self._head_is_whole else limits.head_seconds)
        if now < deadline:
            self._receiving = self.loop.call_later(deadline - now, self._late)
            return
        self._receiving = None
        self._refuse(408, "the request did not arrive whole in time")

    def _refuse(self, status: int, said: str) -> None:
        """Answer where nobody could take the answer for that of another request, and close in any case."""
        self._over = True
        self._no_longer_receiving()
        if self._head_is_whole and not self._starts_over:  # then the newest cycle is this request's
            may_answer = not self.cycle.response_started and not self.pipeline
        else:
            may_answer = self.cycle is None or self.cycle.response_complete
        if may_answer:
            body = json.dumps({"error": said}).encode()
            lines = [b"content-type: application/json", b"content-length: %d" % len(body), b"connection: close"]
            if status == 503:
                lines.append(b"retry-after: %d" % RETRY_AFTER_SECONDS)
            self.transport.write(STATUS_LINE[status] + b"\r\n".join(lines) + b"\r\n\r\n" + body)
        if self.cycle is not None:
            self.cycle.disconnected = True  # what it would still send must not follow
            self.cycle.message_event.set()
        self.transport.close()
        self.loop.call_later(self.limits.answer_seconds, self.transport.abort)

    def _no_longer_receiving(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None

    def _no_longer_sending(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None


def protocol_with(limits: ClientLimits) -> type[GatewayProtocol]:
    """Return the protocol with ``limits`` in place of its own, for ``uvicorn.run(app, http=…)``."""

    class Limited(GatewayProtocol):
        pass

    Limited.limits = limits
    return Limited
