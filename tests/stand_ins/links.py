"""Links that fail as told: a proxy on 127.0.0.1 in front of a real server, for HTTP and for gRPC.

It passes everything through until it is given a :class:`Fault`. Requests are counted, so a fault can begin at any of
them, and end after some. Every HTTP request gets a connection of its own; a gRPC channel stays one connection, whose
HTTP/2 frames are followed just far enough to see where a request begins and where its answer is.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from bot.sandbox.processes import HOST, Ports

Kind = Literal["refused", "hangs", "hangs after the head", "done, then hangs", "reset", "truncated", "status", "slow"]
POLL_SECONDS = 0.02
GIVE_UP_SECONDS = 200.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM = 0, 1, 3
END_STREAM, END_HEADERS = 0x1, 0x4


@dataclass(frozen=True)
class Fault:
    """What happens to requests from number ``first`` on (1 is the next), to ``times`` of them or to all.

    Refused connections cannot be counted: where it is to pass, ``seconds`` says when.
    """

    kind: Kind
    status: int = 0
    retry_after: int | None = None
    first: int = 1
    times: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        name = f"{self.status}" if self.kind == "status" else self.kind
        name += f" (Retry-After {self.retry_after})" if self.retry_after is not None else ""
        name += f" from request {self.first}" if self.first > 1 else ""
        name += f", {self.times} times" if self.times is not None else ""
        return name + (f", for {self.seconds:g} s" if self.seconds is not None else "")


class Link:
    """One link; use it as a context manager. ``waited`` is how long each client waited for an answer that hung.

    ``outwaited`` counts the clients that still waited after GIVE_UP_SECONDS.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        with Ports() as ports:
            self.port = ports.take()
        self.address = f"{HOST}:{self.port}"
        self.requests = 0
        self.spoiled = 0
        self.waited: list[float] = []
        self.outwaited = 0
        self._fault: Fault | None = None
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._listening: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._timer: threading.Timer | None = None

    @property
    def url(self) -> str:
        """The address as a URL."""
        return f"http://{self.address}"

    def __enter__(self) -> Link:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.works()
        self._stop_listening()

    def fails(self, fault: Fault) -> None:
        """Begin to count, and to fail."""
        self.works()
        with self._lock:
            self.requests = self.spoiled = 0
            self.waited = []
            self._fault = fault
        if fault.kind == "refused" and fault.first == 1:
            self._refuse()

    def works(self) -> None:
        """Pass everything through again; whatever hung is cut."""
        with self._lock:
            self._fault = None
            if self._timer:
                self._timer.cancel()
            self.requests = 0
        self._cut()
        self._listen()

    def _listen(self) -> None:
        with self._lock:
            if self._listening is not None or self._ended.is_set():
                return
            listening = socket.socket()
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((HOST, self.port))
            listening.listen(64)
            self._listening = listening
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def _stop_listening(self) -> None:
        with self._lock:
            listening, self._listening = self._listening, None
        if listening is not None:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()

    def _refuse(self) -> None:
        self._stop_listening()
        self._cut()
        with self._lock:
            self.spoiled += 1
            if self._fault and self._fault.seconds is not None:
                self._timer = threading.Timer(self._fault.seconds, self._listen_again)
                self._timer.daemon = True
                self._timer.start()

    def _listen_again(self) -> None:
        self._fault = None
        self._listen()

    def _cut(self) -> None:
        with self._lock:
            open_, self._open = self._open, set()
        for connection in open_:
            _reset(connection)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(connection)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):
                self._serve(connection)
        finally:
            with self._lock:
                self._open.discard(connection)
            with contextlib.suppress(OSError):
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        raise NotImplementedError

    def _next_fault(self) -> Fault | None:
        """Count a request; return the fault that it meets."""
        with self._lock:
            self.requests += 1
            fault = self._fault
            if fault is None or self.requests < fault.first:
                return None
            if fault.times is not None and self.requests >= fault.first + fault.times:
                return None
            if fault.kind != "refused":
                self.spoiled += 1
            return fault

    def _wait_for_client(self, connection: socket.socket) -> None:
        """Say nothing until the client gives up; note how long it waited."""
        started = time.monotonic()
        while not self._ended.is_set():
            if time.monotonic() - started > GIVE_UP_SECONDS:
                self.outwaited += 1
                break
            with self._lock:
                if connection not in self._open:
                    return  # the fault is over
            try:
                readable, _, _ = select.select([connection], [], [], POLL_SECONDS)
                if readable and not connection.recv(65536):
                    break
            except (OSError, ValueError):
                break
        with self._lock:
            if connection in self._open:
                self.waited.append(time.monotonic() - started)


class HttpLink(Link):
    """In front of an HTTP server."""

    def __init__(self, url: str) -> None:
        super().__init__(url.partition("://")[2].partition("/")[0])

    def _serve(self, connection: socket.socket) -> None:
        asked = _read_request(connection)
        if asked is None:
            return
        fault = self._next_fault()
        if fault is None:
            connection.sendall(self._answer(asked))
            connection.shutdown(socket.SHUT_WR)
            return
        match fault.kind:
            case "refused":
                self._refuse()
            case "hangs":
                self._wait_for_client(connection)
            case "status":
                connection.sendall(_status(fault))
                connection.shutdown(socket.SHUT_WR)
            case "slow":
                time.sleep(0.3)
                connection.sendall(self._answer(asked))
                connection.shutdown(socket.SHUT_WR)
            case "done, then hangs":
                self._answer(asked)
                self._wait_for_client(connection)
            case "hangs after the head":
                head, _, _ = self._answer(asked).partition(b"\r\n\r\n")
                connection.sendall(head + b"\r\n\r\n")
                self._wait_for_client(connection)
            case "reset" | "truncated":
                answer = self._answer(asked)
                head, _, body = answer.partition(b"\r\n\r\n")
                connection.sendall(answer[: len(head) + 4 + len(body) // 2] if body else head[: len(head) // 2])
                if fault.kind == "reset":
                    _reset(connection)
                else:
                    connection.shutdown(socket.SHUT_WR)

    def _answer(self, asked: bytes) -> bytes:
        received = bytearray()
        with socket.create_connection(self._target, timeout=GIVE_UP_SECONDS) as server:
            server.sendall(asked)
            while piece := server.recv(65536):
                received += piece
        return bytes(received)


class GrpcLink(Link):
    """In front of a gRPC server."""

    def _serve(self, connection: socket.socket) -> None:
        with socket.create_connection(self._target, timeout=GIVE_UP_SECONDS) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(server)
            try:
                _Channel(self, connection, server).run()
            finally:
                with self._lock:
                    self._open.discard(server)

    def next_fault(self) -> Fault | None:
        """Count a request; return the fault that it meets."""
        return self._next_fault()

    def refuse(self) -> None:
        """Refuse connections from now on."""
        self._refuse()

    def waited_for(self, connection: socket.socket, seconds: float) -> None:
        """Note how long a client waited for an answer that hung, unless the fault is over."""
        with self._lock:
            if connection in self._open:
                self.waited.append(seconds)


class _Channel:
    """One gRPC connection: two directions, one fault at a time, by stream.

    Once a request hangs nothing passes any more, as on a connection that something in between has forgotten.
    """

    def __init__(self, link: GrpcLink, client: socket.socket, server: socket.socket) -> None:
        self.link, self.client, self.server = link, client, server
        self.faults: dict[int, Fault] = {}
        self.hung: dict[int, float] = {}

    def run(self) -> None:
        back = threading.Thread(target=self._guarded, args=(self._back,), daemon=True)
        back.start()
        self._guarded(self._forth)
        self._shut_down()
        back.join()

    def _guarded(self, direction: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            direction()
        if not self.hung:
            self._shut_down()

    def _shut_down(self) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _forth(self) -> None:
        read = _reader(self.client)
        self.server.sendall(read(len(PREFACE)))
        for kind, _, stream, frame in _frames(read):
            if kind == RST_STREAM:
                self._gave_up(stream)
            if kind == HEADERS and not self.hung:
                fault = self.link.next_fault()
                if fault is not None:
                    self.faults[stream] = fault
                    if not self._passes(fault, stream):
                        return
            if not self.hung:
                self.server.sendall(frame)
        for stream in list(self.hung):
            self._gave_up(stream)

    def _gave_up(self, stream: int) -> None:
        if stream in self.faults and self.hung.get(stream):
            self.link.waited_for(self.client, time.monotonic() - self.hung[stream])
            self.hung[stream] = 0.0

    def _passes(self, fault: Fault, stream: int) -> bool:
        match fault.kind:
            case "refused":
                self.link.refuse()
                return False
            case "hangs":
                self.hung[stream] = time.monotonic()
            case "status":
                self.client.sendall(_http2_status(stream, fault.status))
                time.sleep(0.1)
                return False
            case "slow":
                time.sleep(0.3)
        return True

    def _back(self) -> None:
        read = _reader(self.server)
        for kind, flags, stream, frame in _frames(read):
            if self.hung:
                continue
            fault = self.faults.get(stream)
            spoils = fault is not None and fault.kind in ("reset", "truncated", "hangs after the head")
            if fault is not None and spoils and (kind == DATA or flags & END_STREAM):
                if fault.kind == "reset":
                    self.client.sendall(frame[: 9 + (len(frame) - 9) // 2])
                    _reset(self.client)
                    return
                if fault.kind == "truncated":
                    part = frame[9 : 9 + (len(frame) - 9) // 2] if kind == DATA else b""
                    self.client.sendall(_frame(DATA, END_STREAM, stream, part))
                    time.sleep(0.1)
                    return
                self.hung[stream] = time.monotonic()
                continue
            self.client.sendall(frame)


def _frames(read: Callable[[int], bytes]) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield HTTP/2 frames: type, flags, stream, and all of its bytes."""
    while head := read(9):
        length = int.from_bytes(head[:3], "big")
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF
        yield kind, flags, stream, head + (read(length) if length else b"")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _http2_status(stream: int, status: int) -> bytes:
    # HPACK: a literal that is not indexed, whose name is entry 8 of the static table, ":status".
    payload = b"\x08\x03" + str(status).encode()
    return _frame(HEADERS, END_STREAM | END_HEADERS, stream, payload)


def _reader(connection: socket.socket) -> Callable[[int], bytes]:
    buffer = bytearray()

    def read(length: int) -> bytes:
        while len(buffer) < length:
            piece = connection.recv(65536)
            if not piece:
                return b""
            buffer.extend(piece)
        found = bytes(buffer[:length])
        del buffer[:length]
        return found

    return read


def _read_request(connection: socket.socket) -> bytes | None:
    """Read one HTTP request; return it as it is sent on, with ``Connection: close``."""
    connection.settimeout(GIVE_UP_SECONDS)
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            return None
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    if headers.get(b"expect", b"").lower() == b"100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        while not body.endswith(b"0\r\n\r\n"):
            body += connection.recv(65536)
    while len(body) < int(headers.get(b"content-length", b"0")):
        piece = connection.recv(65536)
        if not piece:
            return None
        body += piece
    dropped = (b"connection", b"expect", b"keep-alive")
    kept = [line for line in lines if line.partition(b":")[0].strip().lower() not in dropped]
    return b"\r\n".join([first, *kept, b"Connection: close"]) + b"\r\n\r\n" + body


def _status(fault: Fault) -> bytes:
    body = b"<html>the proxy is sorry</html>"
    after = f"Retry-After: {fault.retry_after}\r\n" if fault.retry_after is not None else ""
    head = (
        f"HTTP/1.1 {fault.status} Sorry\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n{after}"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        # Who reads from it in another thread would keep it open.
        connection.shutdown(socket.SHUT_RD)
    with contextlib.suppress(OSError):
        connection.close()
