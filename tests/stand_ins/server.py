"""A server that misbehaves on demand, for what no real system can be brought to do: one answer per connection."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic  # not as time.monotonic, which tests replace
from types import TracebackType
from typing import Any

SECONDS = 10.0
SILENT_SECONDS = 60.0
"""A client that waits for so long has no deadline: those of the tests are of a second or two."""


@dataclass(frozen=True)
class Seen:
    """A request that arrived; header names are in small letters."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[[Seen], bytes | None]
"""What to send before the connection is closed; None sends nothing and hangs."""


def answer(
    status: int, body: object = b"", *, headers: dict[str, str] | None = None, length: int | None = None
) -> bytes:
    """Return an HTTP answer; what is no bytes becomes JSON. A ``length`` beyond the body is a broken-off download."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "text/plain" if isinstance(body, bytes) else "application/json"
    lines = {
        "Content-Type": kind,
        "Content-Length": str(len(content) if length is None else length),
        "Connection": "close",
        **(headers or {}),
    }
    head = f"HTTP/1.1 {status} Any\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{head}\r\n".encode() + content


def hang(_: Seen) -> None:
    return None


@dataclass
class StandIn:
    """Set ``behaviour`` at any time; ``seen`` are the requests so far.

    ``outwaited`` counts the clients that were still waiting when it gave up being silent.
    """

    behaviour: Behaviour = hang
    seen: list[Seen] = field(default_factory=list)
    outwaited: int = 0

    def __enter__(self) -> StandIn:
        self._ended = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._ended.set()
        # Closing alone would leave accept() waiting.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(SECONDS)

    def answers(self, status: int, body: object = b"", **more: Any) -> None:
        """Answer everything like this."""
        sent = answer(status, body, **more)
        self.behaviour = lambda _: sent

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(SECONDS)
            try:
                seen = _read(connection)
            except OSError:
                return
            if seen is None:  # nothing that is HTTP: gRPC, or a client that only connected
                self._say_nothing(connection)
                return
            self.seen.append(seen)
            sent = self.behaviour(seen)
            if sent is None:
                self._say_nothing(connection)
                return
            try:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
            except OSError:  # the client has gone
                return

    def _say_nothing(self, connection: socket.socket) -> None:
        """Wait until the client leaves or the test is over."""
        until = monotonic() + SILENT_SECONDS
        while not self._ended.is_set():
            readable, _, _ = select.select([connection], [], [], 0.05)
            try:
                if readable and not connection.recv(65536):
                    return
            except OSError:
                return
            if monotonic() > until:
                self.outwaited += 1
                return


def _read(connection: socket.socket) -> Seen | None:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece or (received + piece).startswith(b"PRI * HTTP/2"):
            return None
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if "100-continue" in headers.get("expect", ""):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    return Seen(method, path, headers, body)
