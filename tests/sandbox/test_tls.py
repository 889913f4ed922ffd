"""The server that speaks TLS in front of one that does not: a client that leaves is its own matter."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

from bot.sandbox.tls import Authority, behind_tls

SECONDS = 30.0


def test_a_client_that_leaves_without_a_word_disturbs_nobody(tmp_path: Path) -> None:
    """The server behind answers when the client is gone: Triton does, when a channel of gRPC is closed."""
    authority = Authority(tmp_path)
    trusting = ssl.create_default_context(cafile=str(authority.file))
    with socket.create_server(("127.0.0.1", 0)) as behind:
        behind.settimeout(SECONDS)

        def answer_whoever_left() -> None:
            left, _ = behind.accept()
            with left:
                left.settimeout(SECONDS)
                while left.recv(1024):
                    pass
                left.sendall(b"too late")
                assert left.recv(1024) == b""

        def answer() -> None:
            stays, _ = behind.accept()
            with stays:
                stays.settimeout(SECONDS)
                stays.sendall(stays.recv(1024).upper())

        with behind_tls(behind.getsockname()[1], authority.issue("localhost")) as port:
            for work, leaves in ((answer_whoever_left, True), (answer, False)):
                server = threading.Thread(target=work, daemon=True)
                server.start()
                with trusting.wrap_socket(
                    socket.create_connection(("127.0.0.1", port), SECONDS), server_hostname="localhost"
                ) as client:
                    client.sendall(b"hello")
                    if not leaves:
                        assert client.recv(1024) == b"HELLO"
                server.join(SECONDS)
                assert not server.is_alive()
