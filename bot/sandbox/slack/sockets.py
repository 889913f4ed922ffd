"""Socket Mode: the app's WebSocket connections, envelopes to any one of them, acknowledgements, disconnects."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from aiohttp import WSMsgType, web

from bot.sandbox.slack.workspace import APP_ID

MAX_CONNECTIONS = 10
CONNECTION_SECONDS = 3600
"""Slack announces this lifetime. A connection of the sandbox lives until `/socket` ends it."""
TICKET_SECONDS = 30.0


class NotConnected(Exception):
    """The app has no connection."""


class NotAcknowledged(Exception):
    """The app did not acknowledge in time."""


@dataclass(eq=False)
class _Connection:
    name: str
    socket: web.WebSocketResponse
    transport: asyncio.Transport | None
    warned: bool = False
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    acknowledged: int = 0


class Sockets:
    """The connections of one app, on a port of their own: Slack's have a host of their own as well."""

    def __init__(self, host: str, *, enabled: Callable[[], bool], clock: Callable[[], float]) -> None:
        self._host, self._enabled, self._clock = host, enabled, clock
        self._connections: list[_Connection] = []
        self._tickets: dict[str, float] = {}
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._turn = itertools.count()
        self._names = itertools.count(1)
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def start(self) -> None:
        """Listen on a free port."""
        application = web.Application()
        application.router.add_get("/link/", self._serve)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, 0)
        await site.start()
        self._port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close every connection, and the port."""
        for connection in list(self._connections):
            await connection.socket.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def open(self) -> str:
        """Return a WebSocket URL that is good for one connection."""
        ticket = secrets.token_hex(16)
        self._tickets[ticket] = self._clock() + TICKET_SECONDS
        return f"ws://{self._host}:{self._port}/link/?ticket={ticket}&app_id={APP_ID}"

    async def send(self, envelope: dict[str, Any], *, seconds: float) -> tuple[Any, str]:
        """Send to one connection; return what the acknowledgement holds, and the connection's name.

        When that connection ends first, the same goes to another one in a new envelope.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            connection = self._next()
            acknowledged = await self._send(connection, envelope, deadline)
            if acknowledged is not None:
                return acknowledged.get("payload"), connection.name

    async def disconnect(self, reason: str, *, name: str = "") -> int:
        """Tell connections (all, or the one of this name) to go, and close them; return how many there were.

        ``warning`` only announces it; ``drop`` ends them without a word, as a broken line does.
        """
        meant = [connection for connection in self._connections if name in ("", connection.name)]
        for connection in meant:
            if reason == "drop":
                if connection.transport is not None:
                    connection.transport.abort()
                connection.closed.set()
                continue
            connection.warned = True
            await self._say(connection, {"type": "disconnect", "reason": reason, "debug_info": _host(connection)})
            if reason != "warning":
                await connection.socket.close()
        return len(meant)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the open connections."""
        return [
            {"name": connection.name, "warned": connection.warned, "acknowledged": connection.acknowledged}
            for connection in self._connections
        ]

    def _next(self) -> _Connection:
        living = [connection for connection in self._connections if not connection.closed.is_set()]
        chosen = [connection for connection in living if not connection.warned] or living
        if not chosen:
            raise NotConnected
        return chosen[next(self._turn) % len(chosen)]

    async def _send(
        self, connection: _Connection, envelope: dict[str, Any], deadline: float
    ) -> dict[str, Any] | None:
        """Return the acknowledgement; None where the connection ended. Raises NotAcknowledged."""
        envelope_id = str(uuid4())
        acknowledged: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[envelope_id] = acknowledged
        closed = asyncio.create_task(connection.closed.wait())
        try:
            await self._say(connection, {"envelope_id": envelope_id, **envelope})
            left = deadline - asyncio.get_running_loop().time()
            await asyncio.wait((acknowledged, closed), timeout=max(0, left), return_when=asyncio.FIRST_COMPLETED)
            if acknowledged.done():
                connection.acknowledged += 1
                return acknowledged.result()
            if closed.done():
                return None
            raise NotAcknowledged
        finally:
            closed.cancel()
            del self._waiting[envelope_id]

    async def _say(self, connection: _Connection, message: dict[str, Any]) -> None:
        try:
            await connection.socket.send_str(json.dumps(message))
        except (ConnectionError, RuntimeError):
            connection.closed.set()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        expires = self._tickets.pop(request.query.get("ticket", ""), 0.0)
        if expires < self._clock():
            return web.json_response({"ok": False, "error": "invalid_ticket"}, status=403)
        socket = web.WebSocketResponse(heartbeat=30.0)
        await socket.prepare(request)
        connection = _Connection(f"applink-{next(self._names)}", socket, request.transport)
        refused = "link_disabled" if not self._enabled() else ""
        if len(self._connections) >= MAX_CONNECTIONS:
            refused = "too_many_websockets"
        if refused:
            await self._say(connection, {"type": "disconnect", "reason": refused, "debug_info": _host(connection)})
            await socket.close()
            return socket
        self._connections.append(connection)
        try:
            await self._say(connection, self._hello(connection))
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._heard(message.data)
        finally:
            connection.closed.set()
            self._connections.remove(connection)
        return socket

    def _hello(self, connection: _Connection) -> dict[str, Any]:
        return {
            "type": "hello",
            "num_connections": len(self._connections),
            "connection_info": {"app_id": APP_ID},
            "debug_info": {
                **_host(connection),
                "build_number": 1,
                "approximate_connection_time": CONNECTION_SECONDS,
            },
        }

    def _heard(self, text: str) -> None:
        with contextlib.suppress(ValueError):
            said = json.loads(text)
            waiting = self._waiting.get(said.get("envelope_id", "")) if isinstance(said, dict) else None
            if waiting is not None and not waiting.done():
                waiting.set_result(said)


def _host(connection: _Connection) -> dict[str, Any]:
    return {"host": connection.name}
