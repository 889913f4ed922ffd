"""A private certificate authority, and a server that speaks TLS in front of one that does not.

    python -m bot.sandbox.tls --certificate FILE --health 9000 9001:8001 9002:8002/h2

speaks TLS on 127.0.0.1:9001 for what answers on port 8001, and so on, with ``/h2`` for a server of gRPC. Port 9000
answers in plain HTTP while it runs.
"""

from __future__ import annotations

import argparse
import http.server
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import trustme

HERE = ("localhost", "127.0.0.1")


class Authority:
    """Issues certificates that nobody trusts who was not told to. ``file`` holds its own certificate."""

    def __init__(self, directory: Path, name: str = "an authority of a test") -> None:
        self._directory, self._issuer = directory, trustme.CA(organization_name=name)
        self.file = directory / "ca.pem"
        self._issuer.cert_pem.write_to_path(str(self.file))

    def issue(self, *names: str, client: bool = False) -> Path:
        """Return a file with a key and a certificate for these names."""
        path = self._directory / f"{names[0]}{'-client' if client else ''}.pem"
        issued = self._issuer.issue_cert(*(() if client else names), common_name=names[0])
        issued.private_key_and_cert_chain_pem.write_to_path(str(path))
        return path


@contextmanager
def behind_tls(
    port: int, certificate: Path, *, alpn: Sequence[str] = (), clients_of: Path | None = None, on: int = 0
) -> Iterator[int]:
    """Speak TLS on a free port of 127.0.0.1, or ``on`` this one, and hand the bytes on to ``port``; yields the port.

    ``alpn`` is what it offers, as ``h2`` for gRPC. With ``clients_of`` it takes clients with a certificate of that
    authority only.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if clients_of is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients_of)
    listener = socket.create_server(("127.0.0.1", on))
    opened: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                taken, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=connect, args=(taken,), daemon=True).start()

    def connect(taken: socket.socket) -> None:
        try:
            secured = context.wrap_socket(taken, server_side=True)
            behind = socket.create_connection(("127.0.0.1", port))
        except OSError:
            taken.close()
            return
        opened.extend((secured, behind))
        threading.Thread(target=hand_on, args=(secured, behind), daemon=True).start()
        hand_on(behind, secured)

    listening = threading.Thread(target=serve, daemon=True)
    listening.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        listening.join()
        for one in opened:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def hand_on(source: socket.socket, target: socket.socket) -> None:
    """Send whatever comes from ``source`` to ``target`` until one of them is closed."""
    with suppress(OSError):
        while chunk := source.recv(2**16):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def main(arguments: list[str] | None = None) -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m bot.sandbox.tls", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--certificate", type=Path, required=True, help="file with a certificate and its key as PEM")
    parser.add_argument("--health", type=int, required=True, metavar="PORT", help="answers 200 in plain HTTP")
    parser.add_argument(
        "pairs", nargs="+", metavar="PORT:PORT[/h2]", help="where to speak TLS, and what answers behind it"
    )
    given = parser.parse_args(arguments)

    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing; it is asked again and again."""

    with ExitStack() as stack:
        for pair in given.pairs:
            ports, _, protocol = pair.partition("/")
            on, _, port = ports.partition(":")
            alpn = (protocol,) if protocol else ()
            stack.enter_context(behind_tls(int(port), given.certificate, alpn=alpn, on=int(on)))
        http.server.ThreadingHTTPServer(("127.0.0.1", given.health), Health).serve_forever()


if __name__ == "__main__":
    main()
