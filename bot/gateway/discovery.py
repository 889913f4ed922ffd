"""Which Tritons there are: every address that DNS gives for a name, asked again and again, beside the requests.

Three rules. No request waits for DNS: each question runs in a thread of its own, one for each name at a time. Absence
is not a wish: an answer that fails or is empty changes nothing. And the pace is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from bot.gateway.connection import base_url

log = logging.getLogger("bot.gateway")

HASTE_SECONDS = 1.0
"""The least between two questions for one name, also where an address stops answering."""

Resolve = Callable[[str], Sequence[str]]


def addresses_of(host: str) -> list[str]:
    """Return every address that the system's resolver gives for ``host``, each once, sorted; raise OSError.

    It blocks. IPv6 addresses have no brackets.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a part of the name that is empty or too long
        raise OSError(f"{host!r} is not a valid name: {error}") from None
    unique = {str(where[0]) for _, _, _, _, where in found}
    return sorted(unique, key=lambda address: (ipaddress.ip_address(address.partition("%")[0]).version, address))


class Found(Protocol):
    """Is told all the addresses of a name, as base URLs, whenever DNS gave some."""

    def __call__(self, name: str, urls: Sequence[str], *, first: bool) -> None: ...


class Discovery:
    """Asks DNS for the addresses of each name: a base URL whose host is the name, ``http://HOST:PORT``."""

    def __init__(
        self, names: Sequence[str], *, every_seconds: float, found: Found, then: Callable[[], Awaitable[None]]
    ) -> None:
        """``then`` is awaited after each question, however it was answered."""
        self._names = tuple(dict.fromkeys(names))
        self._every_seconds = every_seconds
        self._found, self._then = found, then
        self._haste: dict[str, asyncio.Event] = {}
        self._watching: list[asyncio.Task[None]] = []
        self._said: dict[str, str] = {}
        self._known: set[str] = set()

    async def begin(self, *, timeout_seconds: float) -> None:
        """Begin to ask. Return when each name was asked once, or after ``timeout_seconds``."""
        asked = []
        for name in self._names:
            self._haste[name] = asyncio.Event()
            asked.append(first := asyncio.Event())
            self._watching.append(asyncio.create_task(self._watch(name, first)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                for first in asked:
                    await first.wait()

    def ask_soon(self) -> None:
        """Ask before it is time, because an address does not answer. A second call in between costs nothing."""
        for event in self._haste.values():
            event.set()

    async def end(self) -> None:
        """Ask no more. Does not wait for a question that hangs."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)

    async def _watch(self, name: str, asked: asyncio.Event) -> None:
        least = min(HASTE_SECONDS, self._every_seconds)
        while True:
            try:
                await self._ask(name)
                asked.set()
                await self._then()
            except Exception:  # a gateway that no longer asks would keep to Tritons that are gone
                log.exception("could not look for the Tritons of %s", name)
            await asyncio.sleep(least)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_seconds - least):
                    await self._haste[name].wait()
            self._haste[name].clear()

    async def _ask(self, name: str) -> None:
        host, port, _ = base_url(name)
        try:
            addresses = await _in_a_thread(addresses_of, host)
            problem = "" if addresses else "it has no address"
        except OSError as error:
            addresses, problem = [], str(error)
        if problem and problem != self._said.get(name):  # else at each question
            log.warning("DNS (%s): %s; the Tritons that are known stay", host, problem)
        elif not problem and self._said.get(name):
            log.info("DNS (%s): it answers again", host)
        self._said[name] = problem
        if problem:
            return
        first = name not in self._known
        self._known.add(name)
        self._found(name, [f"http://{_in_url(address)}:{port}" for address in addresses], first=first)


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


async def _in_a_thread(resolve: Resolve, host: str) -> Sequence[str]:
    """Return ``resolve(host)``, run in a thread that nobody waits for at the end of the process: it may hang."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Sequence[str]] = loop.create_future()

    def give(addresses: Sequence[str], error: Exception | None) -> None:
        if answer.done():  # who asked was cancelled
            return
        if error is None:
            answer.set_result(addresses)
        else:
            answer.set_exception(error)

    def work() -> None:
        addresses: Sequence[str] = ()
        failed: Exception | None = None
        try:
            addresses = resolve(host)
        except Exception as error:  # noqa: BLE001  whatever it is, it is raised where it was asked
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(give, addresses, failed)

    threading.Thread(target=work, name="promobot-dns", daemon=True).start()
    return await answer
