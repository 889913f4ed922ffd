"""Several Tritons that have the same versions loaded: asked in turn, around those that cannot answer."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote

from bot.domain.routes import Target
from bot.domain.silence import TritonsOfGateway
from bot.gateway.connection import GREETING_PATH, ExchangeFailed, Headers, Limits, NotSent, Reply, Request, Server

log = logging.getLogger("bot.gateway")

MAY_LACK_THE_VERSION = frozenset({400, 404, 503})
"""How a Triton answers for a version that it has not loaded, and for other things that are wrong, too."""
NOT_LOADED = b"Request for unknown model"
"""How Triton's words begin for a model or a version that it did not have ready, whatever the status."""


@dataclass(frozen=True)
class Readiness:
    """What one Triton says of one version: ``ready`` is None if it could not be asked, ``problem`` says why.

    ``found``: DNS gave its address, so it may have come up just now, or be gone already.
    """

    url: str
    ready: bool | None
    problem: str = ""
    found: bool = False


def lacks_the_version(reply: Reply) -> bool:
    """Say whether Triton refused because it does not have the version, whatever status it gives that."""
    return reply.status in MAY_LACK_THE_VERSION and NOT_LOADED in reply.body


def in_the_way(said: Sequence[Readiness]) -> list[Readiness]:
    """Return the Tritons that do not have a version, and because of which it must not be routed to.

    That is each that was named by itself. One that DNS gave may have come up after the bot loaded the version
    everywhere: requests go around it until it has the version. So it counts only where no other has it either.
    """
    some_have_it = any(one.ready for one in said)
    return [one for one in said if one.ready is False and not (one.found and some_have_it)]


class Tritons:
    """The Tritons of one environment, by base URL; connections are opened when they are needed and kept.

    Some are named one by one, others are found by a name (``become``), and come and go. One that was found gets no
    request for a version that it is known to lack, as long as there is another.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        timeout_seconds: float,
        probe_timeout_seconds: float,
        limits: Limits,
        unreachable: Callable[[], None] = lambda: None,
    ) -> None:
        """``unreachable`` is called whenever one does not answer."""
        self._timeout_seconds = timeout_seconds
        self._probe_timeout_seconds = probe_timeout_seconds
        self._limits = limits
        self._unreachable = unreachable
        self._named = [Server(url, limits) for url in urls]
        self._found: dict[str, dict[str, Server]] = {}
        self._lack: dict[Server, set[Target]] = {}
        self._servers = self._named
        self._turn = 0
        self._wrong = ""

    @property
    def counts(self) -> dict[str, int]:
        """The count of Tritons, and of those that are not known to have every routed version."""
        return {"known": len(self._servers), "lacking": len(self._lack)}

    @property
    def silence(self) -> TritonsOfGateway:
        """The count of Tritons that do not answer, since when, and when one answered last."""
        now = time.time()
        since = [at for server in self._servers if (at := server.tries.silent_since(now)) is not None]
        answered = max((server.tries.answered for server in self._servers), default=-math.inf)
        return TritonsOfGateway(
            known=len(self._servers),
            silent=len(since),
            since=datetime.fromtimestamp(max(since), UTC) if since else None,
            answered=datetime.fromtimestamp(answered, UTC) if math.isfinite(answered) else None,
        )

    def become(self, name: str, urls: Sequence[str], *, lacking: Collection[Target] = ()) -> None:
        """Let these, and no others, stand for ``name``. ``lacking``: what one that is new is not known to have.

        One that is not among them gets no further request. It may finish the requests that it has, and then its
        connections are closed.
        """
        before = self._found.get(name, {})
        after = {url: before.get(url) or Server(url, self._limits, known_as=name) for url in urls}
        self._found[name] = after
        # In one assignment: a request that is being sent keeps the list that it began with.
        self._servers = [*self._named, *(server for found in self._found.values() for server in found.values())]
        for url, server in after.items():
            if url not in before:
                log.info("%s: %s is there", name, url)
                if lacking:
                    self._lack[server] = set(lacking)
        for url, server in before.items():
            if url not in after:
                log.info("%s: %s is gone", name, url)
                self._lack.pop(server, None)
                server.leave()

    def keep_to(self, targets: Collection[Target]) -> None:
        """Forget who lacks what is not among ``targets``."""
        for server, lacks in list(self._lack.items()):
            lacks.intersection_update(targets)
            if not lacks:
                del self._lack[server]

    async def ask_those_that_lack(self) -> None:
        """Ask each Triton for what it lacks; from then on it is asked for every version that it has ready."""
        await asyncio.gather(*(self._all_of(server, list(lacks)) for server, lacks in list(self._lack.items())))

    async def send(self, target: Target, request: Request) -> Reply:
        """Return the answer of the first Triton in turn that has ``target``.

        Another is asked only where the first surely did nothing with the request: there was no connection, or it
        refused and says that this version is not ready on it (a Triton that restarted has loaded nothing). One
        that did not know the version, and is ready now, is asked a second time: it was loaded in between.
        Raise NotSent if none could be reached, TimedOut or BrokenOff as soon as one fails on the way.
        """
        refusal: Reply | None = None
        problems: list[str] = []
        for server in self._in_turn(target):
            try:
                reply = await server.send(request, timeout_seconds=self._timeout_seconds)
            except NotSent as error:
                self._unreachable()
                problems.append(str(error))
                continue
            except ExchangeFailed:
                self._unreachable()
                raise
            if reply.status not in MAY_LACK_THE_VERSION or len(self._servers) == 1:
                return reply
            # The words of an error are Triton's to change; its readiness is a contract.
            (said,) = await self._all_of(server, [target])
            match said.ready:
                case False:
                    refusal = refusal or reply
                case True if lacks_the_version(reply):
                    return await server.send(request, timeout_seconds=self._timeout_seconds)
                case _:
                    return reply
        if refusal is not None:
            return refusal
        raise NotSent("no Triton can be reached: " + ("; ".join(problems) or "none is known"))

    async def readiness(self, targets: Collection[Target]) -> dict[Target, list[Readiness]]:
        """Return what each Triton says of each of ``targets``, in the order of the settings.

        One that cannot be asked about one is not asked about the rest: a switch of many models must not wait for each
        of them where an address is gone.
        """
        listed = list(targets)
        said = await asyncio.gather(*(self._all_of(server, listed) for server in self._servers))
        return {target: [one[number] for one in said] for number, target in enumerate(listed)}

    async def any_live(self) -> bool:
        """Say whether at least one Triton is live. Faults of the others are logged as they change."""
        problems = await asyncio.gather(*(self._liveness(server) for server in self._servers))
        wrong = "; ".join(problem for problem in problems if problem)
        if wrong:
            self._unreachable()
        if wrong != self._wrong:
            log.warning("not live: %s", wrong or "none, all are again")
            self._wrong = wrong
        return "" in problems

    def close(self) -> None:
        """Close the idle connections."""
        for server in self._servers:
            server.close()

    def _in_turn(self, target: Target) -> Iterator[Server]:
        """Yield each server once, beginning with the next in turn; those that refused lately come last.

        Behind them come those that are known to lack ``target``.
        """
        known = self._servers
        if len(known) < 2:
            yield from known
            return
        self._turn = (self._turn + 1) % len(known)
        servers = known[self._turn :] + known[: self._turn]
        if not self._lack:
            yield from sorted(servers, key=lambda server: server.paused)
            return
        yield from sorted(servers, key=lambda server: (target in self._lack.get(server, ()), server.paused))

    async def _all_of(self, server: Server, targets: Sequence[Target]) -> list[Readiness]:
        said: list[Readiness] = []
        for target in targets:
            away = bool(said) and said[-1].ready is None
            said.append(said[-1] if away else await self._readiness(server, target))
            self._note(server, target, said[-1])
        return said

    async def _readiness(self, server: Server, target: Target) -> Readiness:
        found = server not in self._named
        try:
            reply = await self._probe(server, request_to(target, b"GET", b"/ready"))
        except ExchangeFailed as error:
            return Readiness(server.url, None, str(error), found=found)
        return Readiness(server.url, reply.status == 200, reply.body.decode(errors="replace"), found=found)

    def _note(self, server: Server, target: Target, said: Readiness) -> None:
        """Keep in mind what one that was found is known to have, and what it is not known to have."""
        if not said.found or server not in self._servers:
            return
        lacks = self._lack.setdefault(server, set())
        if said.ready:
            lacks.discard(target)
        else:
            lacks.add(target)
        if not lacks:
            del self._lack[server]

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
