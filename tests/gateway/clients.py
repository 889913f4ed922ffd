"""Clients that speak HTTP byte by byte, and so can break it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from tests.gateway.gateways import infer_body

SECONDS = 30.0
INFER = "/v2/models/adder/infer"
BODY = json.dumps(infer_body(1.0)).encode()


@dataclass(frozen=True)
class Heard:
    """An answer, and whether the server closed the connection behind it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


class Client:
    """One connection. Nothing is sent but what is said."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self._socket.sendall(part)

    def hear(self) -> Heard:
        """Return the next answer."""
        with HTTPResponse(self._socket) as response:
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Heard(response.status, headers, response.read())

    def is_closed(self) -> bool:
        """Wait until the server closes the connection; False if it says more first, or nothing."""
        try:
            return self._socket.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    def rest(self) -> bytes:
        """Return the bytes that come until the server closes the connection."""
        return b"".join(iter(lambda: self._socket.recv(4096), b""))

    def close(self) -> None:
        self._socket.close()


@contextmanager
def client_of(url: str) -> Iterator[Client]:
    client = Client(url)
    try:
        yield client
    finally:
        client.close()


def head(*headers: str, path: str = INFER, method: str = "POST", length: int | None = len(BODY)) -> bytes:
    """Return a request's head; without ``length`` it has no Content-Length."""
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway", *headers]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


def answer_of(url: str, *parts: bytes) -> Heard:
    """Send the parts over a connection of their own and return the answer."""
    with client_of(url) as client:
        client.send(*parts)
        return client.hear()


def bodies(state: dict[str, Any]) -> int:
    """Return how many bytes of bodies a gateway says that it holds."""
    return int(state["bodies"]["held_bytes"])
