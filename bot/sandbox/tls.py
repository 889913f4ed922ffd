"""A private certificate authority, and a server that speaks TLS in front of one that does not.

    python -m bot.sandbox.tls --certificate FILE --health 9000 9001:8001 9002:8002/h2

speaks TLS on 127.0.0.1:9001 for what answers on port 8001, and so on, with ``/h2`` for a server of gRPC. Port 9000
answers in plain HTTP while it runs.
"""

from __future__ import annotations

import argparse
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import trustme
import uvicorn
from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    connect_tcp,
    create_task_group,
    create_tcp_listener,
)
from anyio.abc import ByteStream, SocketAttribute
from anyio.from_thread import start_blocking_portal
from anyio.streams.tls import TLSListener
from starlette.responses import PlainTextResponse

HOST = "127.0.0.1"
HERE = ("localhost", HOST)


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
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(_speaking_tls(port, context, on)) as listens,
    ):
        yield listens


@asynccontextmanager
async def _speaking_tls(port: int, context: ssl.SSLContext, on: int) -> AsyncIterator[int]:
    async def connect(client: ByteStream) -> None:
        with suppress(OSError):  # nothing listens there
            async with client, await connect_tcp(HOST, port) as behind, create_task_group() as both:
                both.start_soon(_ask, client, behind)
                await _hand_on(behind, client)
                both.cancel_scope.cancel()

    plain = await create_tcp_listener(local_host=HOST, local_port=on)
    async with TLSListener(plain, context, standard_compatible=False) as listener, create_task_group() as serving:
        serving.start_soon(listener.serve, connect)
        yield plain.listeners[0].extra(SocketAttribute.local_port)  # noqa: S610 - not the one of Django
        serving.cancel_scope.cancel()


async def _ask(client: ByteStream, behind: ByteStream) -> None:
    await _hand_on(client, behind)
    with suppress(BrokenResourceError, ClosedResourceError):
        await behind.send_eof()  # it may still answer


async def _hand_on(source: ByteStream, target: ByteStream) -> None:
    """Send whatever comes from ``source`` to ``target`` until one of them is closed."""
    # EndOfStream: OpenSSL finds while it sends that the other side is gone.
    with suppress(BrokenResourceError, ClosedResourceError, EndOfStream):
        async for chunk in source:
            await target.send(chunk)


def main(arguments: list[str] | None = None) -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m bot.sandbox.tls", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--certificate", type=Path, required=True, help="file with a certificate and its key as PEM")
    parser.add_argument("--health", type=int, required=True, metavar="PORT", help="answers 200 in plain HTTP")
    parser.add_argument(
        "pairs", nargs="+", metavar="PORT:PORT[/h2]", help="where to speak TLS, and what answers behind it"
    )
    given = parser.parse_args(arguments)

    with ExitStack() as stack:
        for pair in given.pairs:
            ports, _, protocol = pair.partition("/")
            on, _, port = ports.partition(":")
            alpn = (protocol,) if protocol else ()
            stack.enter_context(behind_tls(int(port), given.certificate, alpn=alpn, on=int(on)))
        uvicorn.run(PlainTextResponse("up"), host=HOST, port=given.health, log_level="warning")


if __name__ == "__main__":
    main()
