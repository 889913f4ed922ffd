"""A stand-in for Triton that fails on demand: plain HTTP/1.1 over asyncio, in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

SECONDS = 10.0


@dataclass(frozen=True)
class Seen:
    """A request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[[Seen], bytes | None]
"""What to send back: bytes as they are; None hangs; empty bytes close the connection."""


def http(status: int, body: bytes, headers: str = "") -> bytes:
    return b"HTTP/1.1 %d Any\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), headers.encode(), body)


def answer_well(seen: Seen) -> bytes:
    """Answer as Triton does for ``adder``, with the version of the path."""
    if seen.path.endswith("/infer"):
        _, _, _, model, _, version, _ = seen.path.split("/")
        document = {"model_name": model, "model_version": version, "outputs": []}
        return http(200, json.dumps(document).encode(), "Content-Type: application/json\r\n")
    return http(200, b"")


def for_infer(behaviour: Behaviour) -> Behaviour:
    """Behave so to infer, and well to everything else."""
    return lambda seen: behaviour(seen) if seen.path.endswith("/infer") else answer_well(seen)


def hang(_: Seen) -> None:
    return None


def break_off(_: Seen) -> bytes:
    return b""


def as_if_restarted(seen: Seen) -> bytes:
    """Answer as a Triton that has loaded nothing."""
    if seen.path.endswith("/ready"):
        return http(400, b'{"error":"Model version not ready"}')
    return http(404, b'{"error":"Request for unknown model: \'adder\' is not found"}')


@dataclass
class StandIn:
    """Set ``behaviour`` at any time; ``seen`` are the requests so far, ``open`` the connections now.

    It listens at ``host``, and where ``port`` is 0 at a free port.
    """

    behaviour: Behaviour = answer_well
    seen: list[Seen] = field(default_factory=list)
    open: int = 0
    url: str = ""
    host: str = "127.0.0.1"
    port: int = 0

    def __enter__(self) -> StandIn:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.listen(self.port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    @property
    def infers(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.path.endswith("/infer")]

    def listen(self, port: int) -> None:
        self._server = self._run(asyncio.start_server(self._accept, self.host, port))
        self.url = "http://{}:{}".format(*self._server.sockets[0].getsockname())

    def refuse(self) -> None:
        """Close every connection and accept no more."""
        self._run(self._close())

    def say(self, unasked: bytes) -> None:
        """Send bytes on every open connection."""
        self._run(self._say(unasked))

    def _run(self, what):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(SECONDS)

    async def _say(self, unasked: bytes) -> None:
        for writer in self._writers:
            writer.write(unasked)

    async def _close(self) -> None:
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        # A transport that was aborted closes at the loop's next turn: before the loop is stopped for good.
        await self._server.wait_closed()
        await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self._writers.add(writer)
        self.open += 1
        try:
            while (seen := await _read(reader)) is not None:
                self.seen.append(seen)
                answer = self.behaviour(seen)
                if answer is None:
                    await reader.read()  # until the other side gives up
                    return
                if not answer:
                    return
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            self.open -= 1
            self._connections.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name: value for name, _, value in (line.partition(": ") for line in lines)}
    return Seen(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
