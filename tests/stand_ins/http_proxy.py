"""What ``HTTPS_PROXY`` names: a proxy that notes where it was asked to go, and goes there."""

from __future__ import annotations

import contextlib
import socket
import threading

PHONES_HOME = b".events.data.microsoft.com"
"""Where ONNX Runtime sends telemetry from, in the process of these tests; the bot does not import it."""


class Proxy:
    """A proxy that notes where it was asked to go, and goes there."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._opened: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        for one in self._opened:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                taken, _ = self._listening.accept()
            except OSError:
                return
            self._opened.append(taken)
            threading.Thread(target=self._serve, args=(taken,), daemon=True).start()

    def _serve(self, taken: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = taken.recv(2**16)
            if not piece:
                return
            head += piece
        method, where, _ = head.split(b" ", 2)
        if PHONES_HOME in where:
            taken.close()
            return
        self.asked.append(where.decode())
        if method != b"CONNECT":
            taken.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            taken.close()
            return
        host, _, port = where.decode().rpartition(":")
        behind = socket.create_connection((host, int(port)))
        self._opened.append(behind)
        taken.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        threading.Thread(target=hand_on, args=(behind, taken), daemon=True).start()
        hand_on(taken, behind)


def hand_on(source: socket.socket, target: socket.socket) -> None:
    """Send whatever comes from ``source`` to ``target`` until one of them is closed."""
    with contextlib.suppress(OSError):
        while chunk := source.recv(2**16):
            target.sendall(chunk)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
