"""Several Tritons that have the same versions loaded: asked in turn, around those that cannot answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from bot.domain.routes import Target
from bot.gateway.connection import GREETING_PATH, ExchangeFailed, Headers, Limits, NotSent, Reply, Request, Server

log = logging.getLogger("bot.gateway")

MAY_LACK_THE_VERSION = frozenset({400, 404, 503})
"""How a Triton answers for a version that it has not loaded, and for other things that are wrong, too."""
NOT_LOADED = b"Request for unknown model"
"""How Triton's words begin for a model or a version that it did not have ready, whatever the status."""


@dataclass(frozen=True)
class Readiness:
    """What one Triton says of one version: ``ready`` is None if it could not be asked, ``problem`` says why."""

    url: str
    ready: bool | None
    problem: str = ""


class Tritons:
    """The Tritons of one environment, by base URL; connections are opened when they are needed and kept."""

    def __init__(
        self, urls: Sequence[str], *, timeout_seconds: float, probe_timeout_seconds: float, limits: Limits
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._probe_timeout_seconds = probe_timeout_seconds
        self._servers = [Server(url, limits) for url in urls]
        self._turn = 0
        self._wrong = ""

    async def send(self, target: Target, request: Request) -> Reply:
        """Return the answer of the first Triton in turn that has ``target``.

        Another is asked only where the first surely did nothing with the request: there was no connection, or it
        refused and says that this version is not ready on it (a Triton that restarted has loaded nothing). One
        that did not know the version, and is ready by now, is asked a second time: it was loaded in between.
        Raise NotSent if none could be reached, TimedOut or BrokenOff as soon as one fails on the way.
        """
        refusal: Reply | None = None
        problems: list[str] = []
        for server in self._in_turn():
            try:
                reply = await server.send(request, timeout_seconds=self._timeout_seconds)
            except NotSent as error:
                problems.append(str(error))
                continue
            if reply.status not in MAY_LACK_THE_VERSION or len(self._servers) == 1:
                return reply
            # The words of an error are Triton's to change; its readiness is a contract.
            match (await self._readiness(server, target)).ready:
                case False:
                    refusal = refusal or reply
                case True if NOT_LOADED in reply.body:
                    return await server.send(request, timeout_seconds=self._timeout_seconds)
                case _:
                    return reply
        if refusal is not None:
            return refusal
        raise NotSent("no Triton can be reached: " + "; ".join(problems))

    async def readiness(self, target: Target) -> list[Readiness]:
        """Return what each Triton says of ``target``, in the order of the settings."""
        return list(await asyncio.gather(*(self._readiness(server, target) for server in self._servers)))

    async def any_live(self) -> bool:
        """Say whether at least one Triton is live. What is wrong with the others is logged as it changes."""
        problems = await asyncio.gather(*(self._liveness(server) for server in self._servers))
        wrong = "; ".join(problem for problem in problems if problem)
        if wrong != self._wrong:
            log.warning("not live: %s", wrong or "none, all are again")
            self._wrong = wrong
        return "" in problems

    def close(self) -> None:
        """Close the idle connections."""
        for server in self._servers:
            server.close()

    def _in_turn(self) -> Iterator[Server]:
        """Yield each server once, beginning with the next in turn; those that refused lately come last."""
        if len(self._servers) == 1:
            yield self._servers[0]
            return
        self._turn = (self._turn + 1) % len(self._servers)
        servers = self._servers[self._turn :] + self._servers[: self._turn]
        yield from sorted(servers, key=lambda server: server.paused)

    async def _readiness(self, server: Server, target: Target) -> Readiness:
        try:
            reply = await self._probe(server, request_to(target, b"GET", b"/ready"))
        except ExchangeFailed as error:
            return Readiness(server.url, None, str(error))
        return Readiness(server.url, reply.status == 200, reply.body.decode(errors="replace"))

    async def _liveness(self, server: Server) -> str:
        try:
            reply = await self._probe(server, Request(b"GET", GREETING_PATH))
        except ExchangeFailed as error:
            return str(error)
        return "" if reply.status == 200 else f"{server.url} answers {reply.status} to {GREETING_PATH.decode()}"

    async def _probe(self, server: Server, request: Request) -> Reply:
        return await server.send(request, timeout_seconds=self._probe_timeout_seconds)


def request_to(
    target: Target,
    method: bytes,
    what: bytes,
    headers: Headers = (),
    body: bytes | bytearray = b"",
    *,
    admit: Callable[[int], None] | None = None,
) -> Request:
    """Return a request that names the version: Triton answers one that does not with its highest number."""
    return Request(method, _path(target.triton_model, target.version) + what, headers, body, admit)


@lru_cache(maxsize=4096)
def _path(triton_model: str, version: int) -> bytes:
    return b"/v2/models/%b/versions/%d" % (quote(triton_model, safe="").encode(), version)
