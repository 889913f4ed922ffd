"""Object stores that do less than AWS S3: a server in front of the sandbox's store that refuses what they refuse.

    python -m bot.sandbox.s3_like no-trailers --port 9001 --store http://127.0.0.1:9000

Each refuses what people reported of real stores, in those stores' words, and hands on everything else.
"""

from __future__ import annotations

import argparse
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from xml.sax.saxutils import escape

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

HOST = "127.0.0.1"
_METHODS = ["GET", "PUT", "HEAD", "POST", "DELETE"]
_OF_ONE_CONNECTION = {"connection", "transfer-encoding", "keep-alive", "expect"}


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


def application(kind: str, store: str) -> Starlette:
    """Return a store of this kind, in front of ``store``. Raises KeyError for a kind that is not in :data:`KINDS`."""
    refuses, behind = KINDS[kind], httpx.AsyncClient(timeout=60, trust_env=False)

    async def serve(request: Request) -> Response:
        if refusal := refuses(request.method, request.headers):
            return Response(refusal.body(), refusal.status, media_type="application/xml")
        # The Host is signed, so it stays what the client said; and so is the path, as it is written.
        path = b"?".join(filter(None, (request.scope["raw_path"], request.scope["query_string"])))
        answer = await behind.send(
            behind.build_request(
                request.method,
                httpx.URL(store).copy_with(raw_path=path),
                headers=[pair for pair in request.headers.items() if pair[0] not in _OF_ONE_CONNECTION],
                content=await request.body(),
            )
        )
        return Response(
            answer.content,
            answer.status_code,
            {name: value for name, value in answer.headers.items() if name not in (*_OF_ONE_CONNECTION, "date")},
        )

    return Starlette(routes=[Route("/{path:path}", serve, methods=_METHODS)])


@contextmanager
def like(kind: str, store: str) -> Iterator[str]:
    """Serve a store of this kind on a free port, in front of ``store``; yields its address."""
    listening = socket.create_server((HOST, 0))
    server = uvicorn.Server(uvicorn.Config(application(kind, store), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://{HOST}:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def main(arguments: list[str] | None = None) -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m bot.sandbox.s3_like", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kind", choices=sorted(KINDS), help="what it refuses")
    parser.add_argument("--port", type=int, required=True, help="port of 127.0.0.1 to listen on")
    parser.add_argument("--store", required=True, metavar="URL", help="the store behind it")
    given = parser.parse_args(arguments)
    uvicorn.run(application(given.kind, given.store), host=HOST, port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
