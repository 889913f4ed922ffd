"""Object stores that do less than AWS S3: a server in front of the sandbox's store that refuses what they refuse.

    python -m bot.sandbox.s3_like no-trailers --port 9001 --store http://127.0.0.1:9000

What each refuses, and in which words, is what people reported of real stores; what it does not refuse it hands on.
"""

from __future__ import annotations

import argparse
import http.client
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

HOST = "127.0.0.1"
_OF_ONE_CONNECTION = {"connection", "transfer-encoding", "keep-alive"}


@dataclass(frozen=True)
class Refusal:
    """An error as S3 gives it. ``header`` is the one that the store does not know."""

    status: int
    code: str
    message: str
    header: str = ""

    def body(self) -> bytes:
        named = f"<Header>{escape(self.header)}</Header>" if self.header else ""
        said = f"<Code>{escape(self.code)}</Code><Message>{escape(self.message)}</Message>{named}"
        return f'<?xml version="1.0" encoding="UTF-8"?><Error>{said}</Error>'.encode()


Headers = Mapping[str, str]


def _no_trailers(_method: str, headers: Headers) -> Refusal | None:
    """OCI, Infomaniak and others: they take a checksum in a header, and none behind the body."""
    if "aws-chunked" in headers.get("content-encoding", "") or "x-amz-trailer" in headers:
        said = "Transferring payloads in multiple chunks using aws-chunked is not supported."
        return Refusal(501, "NotImplemented", said, "x-amz-trailer")
    return None


def _virtual_hosts_only(_method: str, headers: Headers) -> Refusal | None:
    """Alibaba Cloud OSS: the bucket is in the host's name, never in the path."""
    if "." in headers.get("host", "").removeprefix(HOST).partition(":")[0]:
        return None
    return Refusal(403, "SecondLevelDomainForbidden", "Please use virtual hosted style to access.")


def _no_conditions(method: str, headers: Headers) -> Refusal | None:
    """Alibaba Cloud OSS: a write with a condition is not implemented."""
    if method == "PUT" and "if-none-match" in headers:
        said = "A header you provided implies functionality that is not implemented."
        return Refusal(501, "NotImplemented", said, "If-None-Match")
    return None


KINDS: Mapping[str, Callable[[str, Headers], Refusal | None]] = {
    "no-trailers": _no_trailers,
    "virtual-hosts-only": _virtual_hosts_only,
    "no-conditions": _no_conditions,
}


def _handler(store: str, refuses: Callable[[str, Headers], Refusal | None]) -> type[BaseHTTPRequestHandler]:
    behind = urlsplit(store).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            refusal = refuses(self.command, {name.lower(): value for name, value in self.headers.items()})
            if refusal is not None:
                self._answer(refusal.status, {"Content-Type": "application/xml"}, refusal.body())
                return
            connection = http.client.HTTPConnection(behind, timeout=60)
            try:
                # The Host is signed, so it stays what the client said.
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in (*_OF_ONE_CONNECTION, "expect"):
                        connection.putheader(name, value)
                connection.endheaders(body)
                answer = connection.getresponse()
                self._answer(answer.status, dict(answer.getheaders()), answer.read())
            finally:
                connection.close()

        def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in (*_OF_ONE_CONNECTION, "date", "server") and not (
                    name.lower() == "content-length" and self.command != "HEAD"
                ):
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _serve  # noqa: N815 - as http.server calls them

        def log_message(self, *_: object) -> None:
            """Say nothing; the store has its own log."""

    return Handler


@contextmanager
def like(kind: str, store: str) -> Iterator[str]:
    """Serve a store of this kind on a free port, in front of ``store``; yields its address.

    Raises KeyError for a kind that is not in :data:`KINDS`.
    """
    server = ThreadingHTTPServer((HOST, 0), _handler(store, KINDS[kind]))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def main(arguments: list[str] | None = None) -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m bot.sandbox.s3_like", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kind", choices=sorted(KINDS), help="what it refuses")
    parser.add_argument("--port", type=int, required=True, help="port of 127.0.0.1 to listen on")
    parser.add_argument("--store", required=True, metavar="URL", help="the store behind it")
    given = parser.parse_args(arguments)
    ThreadingHTTPServer((HOST, given.port), _handler(given.store, KINDS[given.kind])).serve_forever()


if __name__ == "__main__":
    main()
