"""The settings of a gateway, given at its start."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from bot import redaction
from bot.domain.secret_text import cleaned
from bot.gateway.connection import Limits, base_url

MEBIBYTE = 2**20

LIMITS = Limits()
SHADOW_LIMITS = Limits(connect_seconds=0.5, greeting_seconds=1.0, max_in_flight=8)


@dataclass(frozen=True)
class ClientLimits:
    """Limits for one client: how much it may send, and how long it may take.

    ``max_connections`` is for all clients together, ``max_headers`` for one request. ``max_head_bytes`` is for the
    request line and the headers together. ``head_seconds`` is for a request's head, ``request_seconds`` for the whole
    request, each from its first byte. ``answer_seconds`` is for a client to read an answer that is waiting for it.
    Raises ValueError for a limit that is not more than 0. Only the server that owns the socket can hold them: see
    `bot.gateway.protocol`. The router itself holds ``request_seconds`` for bodies, under any server.
    """

    max_connections: int = 1000
    max_headers: int = 100
    max_head_bytes: int = 64 * 1024
    head_seconds: float = 10.0
    request_seconds: float = 60.0
    answer_seconds: float = 60.0

    def __post_init__(self) -> None:
        for limit in fields(self):
            if not getattr(self, limit.name) > 0:
                raise ValueError(f"{limit.name} must be more than 0")


CLIENT_LIMITS = ClientLimits()


@dataclass(frozen=True)
class ShadowSettings:
    """The hard budget of the copies that go to shadows. What exceeds it is dropped and counted, never queued.

    ``timeout_seconds`` is for one copy and its answer. A request with a body above ``max_request_bytes`` is not
    copied. ``limits`` are those of the connections to each Triton, which shadows have of their own.
    ``max_bytes_in_flight`` is for all copies that are under way and what their shadows answer.
    """

    timeout_seconds: float = 2.0
    max_request_bytes: int = MEBIBYTE
    max_bytes_in_flight: int = 16 * MEBIBYTE
    limits: Limits = SHADOW_LIMITS


SHADOW_SETTINGS = ShadowSettings()


@dataclass(frozen=True)
class GatewaySettings:
    """One gateway: where its routes lie, which Tritons it asks, its timeouts and limits.

    ``routes_file`` is ``routes.json`` on the share, which the bot writes. ``name`` is what ``GET /routes`` calls this
    gateway. ``tritons`` are base URLs (``http://host:port``), all of one environment: each has every version loaded.
    For each of ``tritons_every_address``, base URLs, too, every address that DNS gives for the host is a Triton. DNS
    is asked at the start, every ``resolve_seconds``, and as soon as a Triton does not answer.
    ``timeout_seconds`` is for one answer, ``probe_timeout_seconds`` for what a Triton says of its health and its
    versions, ``reload_timeout_seconds`` for the file system to show the generation that a reload expects.
    A request with a body above ``max_request_bytes`` gets 413.
    ``max_bytes_in_flight`` is for the bodies of all requests and of all answers that the process holds at one time.
    ``clients`` is how much clients may cost, ``limits`` how much each Triton may, ``shadow`` the budget of shadows.
    ``environment`` may stay empty: the first route table then fixes it.
    ``follow_seconds`` is how often each process looks by itself whether there are newer routes; 0: only at a reload.
    ``single_process`` says that no other process answers at this address, so none is looked for.
    Without a ``reload_token`` every reload is refused. White space around it does not count; ValueError, without the
    token, says what is wrong with one that cannot be right. It is raised for every other value that cannot be, too.
    """

    routes_file: Path
    tritons: tuple[str, ...] = ()
    name: str = "gateway"
    environment: str = ""
    reload_token: str = field(default="", repr=False)
    timeout_seconds: float = 30.0
    probe_timeout_seconds: float = 3.0
    reload_timeout_seconds: float = 5.0
    follow_seconds: float = 2.0
    tritons_every_address: tuple[str, ...] = ()
    resolve_seconds: float = 5.0
    single_process: bool = False
    max_request_bytes: int = 256 * MEBIBYTE
    max_bytes_in_flight: int = 512 * MEBIBYTE
    clients: ClientLimits = CLIENT_LIMITS
    limits: Limits = LIMITS
    shadow: ShadowSettings = SHADOW_SETTINGS

    def __post_init__(self) -> None:
        if not self.tritons and not self.tritons_every_address:
            raise ValueError("a gateway needs the URL of at least one Triton")
        for url in self.tritons_every_address:
            base_url(url)
        if not self.resolve_seconds > 0:
            raise ValueError("resolve_seconds must be more than 0")
        if not self.follow_seconds >= 0:
            raise ValueError("follow_seconds must be 0 or more")
        if not 0 < self.max_request_bytes <= self.max_bytes_in_flight:
            raise ValueError(
                f"max_request_bytes ({self.max_request_bytes}) must be more than 0 and at most max_bytes_in_flight"
                f" ({self.max_bytes_in_flight}): a larger request would never fit"
            )
        if self.reload_token:
            try:
                token = cleaned(self.reload_token)
            except ValueError as error:
                raise ValueError(f"the reload token {error}") from None
            object.__setattr__(self, "reload_token", redaction.keep(token))
