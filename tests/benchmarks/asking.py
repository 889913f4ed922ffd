"""A load generator: HTTP/1.1 over plain sockets, in a process of its own, and slim.

An *open* load asks at a steady rate, whatever the answers do, and counts each wait from the moment in which the
request was *meant* to be sent: a server that stands still for a second is seen by all who would have asked in that
second, not only by whoever was the first ("coordinated omission"). A *closed* one (``rate`` 0) asks again on each
connection as soon as it is answered, which tells throughput and nothing about waits.

It waits by ``select``, whose timeouts are precise to tens of microseconds; those of epoll and libuv are milliseconds.
What it costs in itself is measured against :func:`nothing`, a server that does nothing, and how well it kept to its
plan comes with every result (``late``).
"""

from __future__ import annotations

import gc
import json
import re
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any

STARTED = "asking"
GIVEN_UP_SECONDS = 20.0
_VERSION = re.compile(rb'"model_version":"(\d+)"')
_ANSWER = b'{"model_name":"nothing","model_version":"1","outputs":[]}'


@dataclass(frozen=True)
class Load:
    """What to ask: ``rate`` requests a second in all, on each connection in turn, for ``seconds`` or till stopped."""

    port: int
    path: str
    body: bytes
    rate: float = 200.0
    seconds: float = 60.0
    connections: int = 16
    headers: str = "Content-Type: application/json\r\n"


@dataclass
class Heard:
    """What was answered, in the order of the answers.

    ``meant`` is when each request should have been sent, on the clock of ``time.monotonic`` (all processes of a
    machine share it); ``waits`` are seconds from there. ``late`` is how much later requests left whose connection was
    free: the generator's own doing.
    """

    meant: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.waits) / self.seconds

    def percentile(self, share: float) -> float:
        """Return the wait that this share of the requests (0 to 1) did not exceed."""
        return percentile(self.waits, share)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of them (0 to 1) does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Asking:
    """A load that runs in a process of its own until its time is over, or ``heard`` ends it."""

    def __init__(self, load: Load) -> None:
        self._process = _module("ask", {**asdict(load), "body": load.body.hex()})

    def __enter__(self) -> Asking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        _end(self._process)

    def heard(self, *, stop: bool = False) -> Heard:
        """Wait until it is over, or stop it now; return what it heard."""
        out, _ = self._process.communicate("stop\n" if stop else None)
        if self._process.returncode != 0:
            raise RuntimeError("the load generator failed")
        return Heard(**json.loads(out))


def ask(load: Load) -> Heard:
    """Run a load to its end; raise RuntimeError where a request failed."""
    with Asking(load) as asking:
        heard = asking.heard()
    if heard.failures:
        raise RuntimeError(f"{len(heard.failures)} requests failed, first: {heard.failures[0]}")
    return heard


@contextmanager
def nothing() -> Iterator[int]:
    """Run a server that answers everything at once with the same few bytes; yield its port."""
    process = _module("nothing", {})
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        _end(process)


def _module(what: str, told: dict[str, Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.benchmarks.asking", what]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(told) + "\n")
    process.stdin.flush()
    if process.stdout.readline() != f"{STARTED}\n":
        _end(process)
        raise RuntimeError("the load generator did not start")
    return process


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate()


class _Line:
    """A user's connection: what waits to be asked on it, and what is under way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.waiting: deque[float] = deque()
        self.meant: float | None = None
        self.open()

    def open(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self._port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._got, self._whole = b"", 0

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, request: bytes) -> None:
        """Ask what waits longest."""
        self.meant, self._got, self._whole = self.waiting.popleft(), b"", 0
        self.socket.sendall(request)

    def read(self) -> bytes:
        """Return the answer once it is whole; nothing until then. Raise OSError where it ends before."""
        more = self.socket.recv(1 << 18)
        if not more:
            raise ConnectionError("the connection was closed")
        self._got += more
        if not self._whole:
            end = self._got.find(b"\r\n\r\n")
            if end < 0:
                return b""
            head = self._got[:end].lower()
            length = head[head.index(b"content-length:") + 15 :].split(b"\r", 1)[0]
            self._whole = end + 4 + int(length)
        return self._got if len(self._got) >= self._whole else b""


def _run(load: Load) -> Heard:
    head = f"POST {load.path} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\nContent-Length: {len(load.body)}\r\n"
    request = f"{head}{load.headers}\r\n".encode() + load.body
    lines = [_Line(load.port) for _ in range(load.connections)]
    heard, busy, asked, stop, told = Heard(), set[_Line](), 0, False, [sys.stdin]
    gc.disable()  # a collection stands still for milliseconds, and nothing here makes cycles
    print(STARTED, flush=True)
    began = time.monotonic()
    while True:
        now = time.monotonic()
        over = stop or now - began >= load.seconds
        if over and (not busy or now - began > load.seconds + GIVEN_UP_SECONDS):
            break
        if load.rate:
            while not over and (meant := began + asked / load.rate) <= now:
                line = lines[asked % len(lines)]
                line.waiting.append(meant)
                asked += 1
                if line.meant is None:
                    heard.late.append(time.monotonic() - meant)
                    _send(line, request, busy)
        elif not over:
            for line in lines:
                if line.meant is None:
                    line.waiting.append(time.monotonic())
                    _send(line, request, busy)
        pause = max(0.0, began + asked / load.rate - time.monotonic()) if load.rate and not over else 0.1
        ready, _, _ = select.select([*told, *busy], [], [], min(pause, 0.1))
        for line in ready:
            if line is sys.stdin:
                stop, told = bool(sys.stdin.readline()), []  # its end only says that nobody will stop it
                continue
            _hear(line, heard, busy)
            if line.waiting and line.meant is None and not over:
                _send(line, request, busy)
    heard.failures += ["no answer" for _ in busy]
    heard.seconds = time.monotonic() - began
    return heard


def _send(line: _Line, request: bytes, busy: set[_Line]) -> None:
    busy.add(line)
    line.send(request)


def _hear(line: _Line, heard: Heard, busy: set[_Line]) -> None:
    try:
        answer = line.read()
    except OSError as error:
        heard.failures.append(str(error))
        line.open()
    else:
        if not answer:
            return
        version = _VERSION.search(answer)
        if answer[9:12] == b"200" and version:
            assert line.meant is not None
            heard.meant.append(line.meant)
            heard.waits.append(time.monotonic() - line.meant)
            heard.versions.append(int(version[1]))
        else:
            heard.failures.append(answer[:300].decode(errors="replace"))
    line.meant = None
    busy.remove(line)


def _answer_nothing() -> None:
    """Serve; one thread, the same way of waiting as the generator."""
    listening = socket.create_server(("127.0.0.1", 0))
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(_ANSWER), _ANSWER)
    waiting, got = select.epoll(), dict[int, tuple[socket.socket, int]]()
    waiting.register(listening, select.EPOLLIN)
    print(f"{STARTED}\n{listening.getsockname()[1]}", flush=True)
    while True:
        for number, _ in waiting.poll():
            if number == listening.fileno():
                connection, _ = listening.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waiting.register(connection, select.EPOLLIN)
                got[connection.fileno()] = connection, 0
                continue
            connection, missing = got[number]
            more = connection.recv(1 << 18)
            if not more:
                waiting.unregister(connection)
                connection.close()
                continue
            if not missing:
                end = more.index(b"\r\n\r\n") + 4
                length = re.search(rb"(?i)content-length: *(\d+)", more[:end])
                missing = end + (int(length[1]) if length else 0)
            missing -= len(more)
            got[number] = connection, missing
            if missing <= 0:
                connection.sendall(answer)


if __name__ == "__main__":
    told = json.loads(sys.stdin.readline())
    if sys.argv[1] == "nothing":
        _answer_nothing()
    print(json.dumps(asdict(_run(Load(**{**told, "body": bytes.fromhex(told["body"])})))))
