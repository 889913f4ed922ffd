"""HTTP/1.1 to one Triton: connections that are kept, one exchange at a time on each.

Why not httpx or aiohttp: at 200 requests/s, with Triton on the same 2 cores, a gateway adds 0.6 ms at the median with
this, 1.0 ms with aiohttp and 2.7 ms with httpx. And it knows the one thing that decides whether a request may be sent
again: whether a connection existed at all. It stays small because the other end is always Triton: no TLS, redirects,
cookies or proxies, and every answer says its length.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from bot.domain.silence import Tries
from bot.gateway.budget import Full

log = logging.getLogger("bot.gateway")

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case, in the order in which they came."""

GREETING_PATH = b"/v2/health/live"


class ExchangeFailed(Exception):
    """No answer came. The message names the server, and is for logs only; ``for_clients`` names no address."""

    for_clients = "Triton did not answer"


class NotSent(ExchangeFailed):
    """The server never saw the request, so another may be asked."""

    for_clients = "no Triton can take this request now; nothing was done with it, so it may be sent again"


class TimedOut(ExchangeFailed):
    """The request was sent; no whole answer came in time."""

    for_clients = "Triton did not answer in time; it may have processed the request"


class BrokenOff(ExchangeFailed):
    """The request was sent; the connection ended, or what came is no HTTP, before the answer was whole."""

    for_clients = "Triton broke off before its answer was whole; it may have processed the request"


@dataclass(frozen=True, slots=True)
class Request:
    """A request to send; ``path`` is already percent-encoded, ``headers`` say nothing of host, length or connection.

    ``admit`` receives the size of each part of the answer's body, and may raise Full.
    """

    method: bytes
    path: bytes
    headers: Headers = ()
    body: bytes | bytearray = b""
    admit: Callable[[int], None] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, byte for byte (but for chunks, which are joined)."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """Timeouts and limits for one server. Times are in seconds.

    ``connect_seconds`` is the time to open a connection, ``greeting_seconds`` the time for the first answer on it.
    The gateway asks a server that failed last for ``pause_seconds``. ``max_in_flight`` limits the requests that the
    server has at one time. The gateway gives up a connection at the age of ``connection_seconds``: a Triton that is
    told to end serves its connections for 30 s more and then breaks them off, so it ends cleanly only if they are
    given up. ``max_head_bytes`` limits what an answer has besides its body.
    """

    connect_seconds: float = 1.0
    greeting_seconds: float = 3.0
    pause_seconds: float = 1.0
    connection_seconds: float = 10.0
    max_in_flight: int = 512
    max_head_bytes: int = 256 * 1024


class BaseUrl(NamedTuple):
    """Where a Triton is. ``host`` has no brackets; ``netloc`` is what the header ``Host`` says."""

    host: str
    port: int
    netloc: str


def base_url(url: str) -> BaseUrl:
    """Return the parts of a Triton's base URL; raise ValueError, which quotes ``url``, where it is not one."""
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError as error:  # brackets that do not match, or a port that is not a number
        raise ValueError(f"{url!r} is not a base URL of a Triton: {error}") from None
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
        raise ValueError(f"{url!r} is not a base URL of a Triton: http://HOST:PORT")
    return BaseUrl(parts.hostname, port, parts.netloc)


class Server:
    """One Triton at ``http://host:port`` and the connections that are open to it.

    A new connection is greeted with a harmless request before it carries a real one: a Triton that is ending accepts
    connections and drops them, and a request sent into one might or might not have been processed.
    """

    def __init__(self, url: str, limits: Limits, *, known_as: str = "") -> None:
        """``known_as`` is the base URL whose name goes into the header ``Host``; without it, that of ``url``."""
        self._host, self._port, netloc = base_url(url)
        self.url = url.rstrip("/")
        self.tries = Tries()
        self._host_header = (base_url(known_as).netloc if known_as else netloc).encode()
        self._limits = limits
        self._in_flight = 0
        self._busy = False
        self._idle: list[_Connection] = []
        self._left = False
        self._failing = False
        self._paused_until = float("-inf")

    @property
    def paused(self) -> bool:
        """Whether others should be asked first: it could not be reached lately, or is being tried just now."""
        return asyncio.get_running_loop().time() < self._paused_until

    async def send(self, request: Request, *, timeout_seconds: float) -> Reply:
        """Return the answer. Raise NotSent, TimedOut or BrokenOff. Cancelling closes the connection."""
        if self._in_flight >= self._limits.max_in_flight:
            problem = f"{self.url} has {self._limits.max_in_flight} requests of this gateway already"
            if not self._busy:
                log.warning("refusing what is more: %s", problem)
            self._busy = True
            raise NotSent(problem)
        self._busy = False
        self._in_flight += 1
        try:
            connection = self._take_idle() or await self._connect()
            reply = await self._exchange(connection, request, timeout_seconds=timeout_seconds)
        finally:
            self._in_flight -= 1
        self.tries.answered = time.time()
        if self._left:
            connection.abort()
        else:
            self._idle.append(connection)
        return reply

    def leave(self) -> None:
        """Keep no connection from now on: close the idle ones, and each other one after its answer."""
        self._left = True
        self.close()

    def close(self) -> None:
        """Close the idle connections; those under way are closed by cancelling what waits for them."""
        while self._idle:
            self._idle.pop().abort()

    def _take_idle(self) -> _Connection | None:
        while self._idle:  # the last used first, so that a quiet gateway keeps few
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        limits = self._limits
        if self._failing:  # while this one tries, the others go round
            self._paused_until = loop.time() + limits.connect_seconds + limits.greeting_seconds
        try:
            async with asyncio.timeout(limits.connect_seconds):
                _, connection = await loop.create_connection(self._new_connection, self._host, self._port)
            await self._exchange(connection, Request(b"GET", GREETING_PATH), timeout_seconds=limits.greeting_seconds)
        except TimeoutError:
            problem = f"{self.url}: no connection within {limits.connect_seconds:g} s"
        except OSError as error:
            problem = f"{self.url}: {error.strerror or error}"
        except ExchangeFailed as error:
            problem = str(error)
        else:
            self._failing, self._paused_until = False, float("-inf")
            self.tries.answered = time.time()
            loop.call_later(limits.connection_seconds, connection.retire)
            return connection
        self.tries.failed(time.time())
        if not self._failing:
            log.warning("asking others first from now on: %s", problem)
        self._failing, self._paused_until = True, loop.time() + limits.pause_seconds
        self.close()  # or what is left of a Triton that is ending would wait for them
        raise NotSent(problem)

    async def _exchange(self, connection: _Connection, request: Request, *, timeout_seconds: float) -> Reply:
        try:
            return await connection.exchange(
                self._encode(request), request.body, timeout_seconds=timeout_seconds, admit=request.admit
            )
        except (asyncio.CancelledError, Full):
            connection.abort()
            raise
        except TimeoutError:
            connection.abort()
            raise TimedOut(f"{self.url} did not answer within {timeout_seconds:g} s") from None
        except ConnectionError as error:
            connection.abort()
            raise BrokenOff(f"{self.url} broke off before its answer was whole: {error}") from error

    def _new_connection(self) -> _Connection:
        return _Connection(self._limits.max_head_bytes)

    def _encode(self, request: Request) -> bytes:
        lines = [request.method + b" " + request.path + b" HTTP/1.1", b"host: " + self._host_header]
        lines += [name + b": " + value for name, value in request.headers]
        if request.body or request.method == b"POST":
            lines.append(b"content-length: %d" % len(request.body))
        return b"\r\n".join(lines) + b"\r\n\r\n"


class _Connection(asyncio.Protocol):
    """One TCP connection, and the exchange that is under way on it, if any."""

    def __init__(self, max_head_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._max_head_bytes = max_head_bytes
        self._unparsed_bytes = 0  # since the parser last had a part of a body, or the end of a head or an answer
        self._admit: Callable[[int], None] | None = None
        self._answer: asyncio.Future[Reply] | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._keep = True

    @property
    def usable(self) -> bool:
        return self._keep and self._transport is not None and not self._transport.is_closing()

    async def exchange(
        self,
        head: bytes,
        body: bytes | bytearray,
        *,
        timeout_seconds: float,
        admit: Callable[[int], None] | None = None,
    ) -> Reply:
        """Send, and return the answer. Raise TimeoutError, ConnectionError or Full; the connection is then spent."""
        if self._transport is None or self._answer is not None:
            raise RuntimeError("a connection carries one exchange at a time")
        answer: asyncio.Future[Reply] = self._loop.create_future()
        self._answer, self._admit = answer, admit
        timer = self._loop.call_later(timeout_seconds, self._fail, TimeoutError())
        try:
            self._transport.writelines((head, body) if body else (head,))
            return await answer
        finally:
            timer.cancel()
            self._answer = self._admit = None
            if not self._keep:
                self.abort()

    def retire(self) -> None:
        """Carry no further exchange: close now, or after the one that is under way."""
        self._keep = False
        if self._answer is None:
            self.abort()

    def abort(self) -> None:
        """Close at once."""
        self._keep = False
        if self._transport is not None:
            self._transport.abort()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._unparsed_bytes += len(data)
        try:
            # The last byte by itself: an answer that is whole before it has something left over behind it.
            view = memoryview(data)
            self._feed(view[:-1])
            self._feed(view[-1:])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ConnectionError(f"not HTTP: {error}"))
            self.abort()
        if self._unparsed_bytes > self._max_head_bytes:
            self._fail(ConnectionError(f"more than {self._max_head_bytes} bytes besides the answer's body"))
            self.abort()

    def _feed(self, data: memoryview) -> None:
        if not data:
            return
        if self._answer is None or self._answer.done():
            # Nobody asked for these bytes: never let them become the next request's answer.
            self.abort()
            return
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._keep = False
        self._fail(ConnectionError(str(exc) if exc else "connection closed"))

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self._answer is None or self._answer.done():
            self._keep = False  # one answer too many: what follows could be taken for the next request's
        self._headers, self._body = [], []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        if self._admit is not None:
            try:
                self._admit(len(body))
            except Full as full:
                self._fail(full)
                self.abort()
                return
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._unparsed_bytes = 0
        status = self._parser.get_status_code()
        if status < 200:  # "100 Continue" and the like announce the answer, they are not it
            return
        self._keep = self._keep and self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Reply(status, self._headers, b"".join(self._body)))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
