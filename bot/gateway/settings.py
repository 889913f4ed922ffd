"""The settings of a gateway, given at its start."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path

from bot import redaction
from bot.domain.recorded_field import field as field_of
from bot.domain.secret_text import cleaned
from bot.gateway.connection import Limits, base_url

MEBIBYTE = 2**20

LIMITS = Limits()
BUCKET = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[A-Za-z0-9_.=/-]+))?")
SHADOW_LIMITS = Limits(connect_seconds=0.5, greeting_seconds=1.0, max_in_flight=8)


@dataclass(frozen=True)
class ClientLimits:
    """Limits for clients: how much one may send, and how long it may take. Times are in seconds.

    ``max_connections`` limits the connections of all clients together, ``max_headers`` the headers of one request.
    ``max_head_bytes`` limits the request line and the headers together. ``head_seconds`` is the time for a request's
    head and ``request_seconds`` for the whole request, each from its first byte. ``answer_seconds`` is the time in
    which a client must read a waiting answer. Raises ValueError for a limit that is not more than 0. Only the server
    that owns the socket can enforce them: see `bot.gateway.protocol`. The router itself enforces ``request_seconds``
    for bodies, under any server.
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
    """The hard budget of the copies that go to shadows. The gateway drops and counts the rest; it never queues.

    ``timeout_seconds`` is the time for one copy and its answer. The gateway copies no request whose body is larger
    than ``max_request_bytes``. ``max_bytes_in_flight`` limits all copies under way together with their answers, in
    bytes. ``limits`` apply to the connections to each Triton; shadows have connections of their own.

    A shadow's answer is compared with the live one unless either is larger than ``max_compared_bytes``. Comparing
    takes at most ``compare_share`` of the processor time that the process uses; it leaves out copies to hold that.
    With 0 nothing is compared. Raises ValueError for another share than from 0 to 1.
    """

    timeout_seconds: float = 2.0
    max_request_bytes: int = MEBIBYTE
    max_bytes_in_flight: int = 16 * MEBIBYTE
    limits: Limits = SHADOW_LIMITS
    max_compared_bytes: int = 64 * 1024
    compare_share: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.compare_share <= 1:
            raise ValueError(f"compare_share must be from 0 to 1, not {self.compare_share:g}")


SHADOW_SETTINGS = ShadowSettings()


@dataclass(frozen=True)
class RecordingSettings:
    """A sample of live requests: how many, where they go, and what is left out of them.

    ``to`` is a folder that is there, or ``s3://bucket/prefix``; the bucket is reached as every AWS SDK finds out.
    ``share`` of the requests is recorded, at most ``per_second`` by one process. ``drop`` names fields whose values
    are not kept: ``customer`` for a whole input, ``X[3]`` for a column. Days older than ``keep_days`` are removed.
    No request above ``max_request_bytes`` is recorded, and at most ``max_bytes_waiting`` wait to be written, which
    happens every ``every_seconds``. Raises ValueError for a value that cannot be right.
    """

    to: str
    share: float = 0.01
    per_second: float = 10.0
    drop: tuple[str, ...] = ()
    keep_days: int = 14
    max_request_bytes: int = MEBIBYTE
    max_bytes_waiting: int = 16 * MEBIBYTE
    every_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"the share of requests to record must be more than 0 and at most 1, not {self.share:g}")
        for name in ("per_second", "keep_days", "max_request_bytes", "max_bytes_waiting", "every_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} of the recording must be more than 0")
        if not self.to.startswith("/") and not BUCKET.fullmatch(self.to):
            raise ValueError(f"recordings go to an absolute path or to s3://bucket/prefix, not to {self.to!r:.80}")
        for text in self.drop:
            field_of(text)


@dataclass(frozen=True)
class GatewaySettings:
    """One gateway: where its routes lie, which Tritons it asks, its timeouts and limits. Times are in seconds.

    ``routes_file`` is ``routes.json`` on the share; the bot writes it. ``environment`` may stay empty: then the first
    route table fixes it. ``name`` is the gateway's name in ``GET /routes``.

    ``tritons`` are base URLs (``http://host:port``) of one environment, and each of them has every version loaded.
    The base URLs in ``tritons_every_address`` stand for every address that DNS gives for their host. The gateway asks
    DNS at the start, every ``resolve_seconds``, and as soon as a Triton does not answer.

    ``timeout_seconds`` is the time for one answer. ``probe_timeout_seconds`` is the time for a Triton to report its
    health and its versions. ``reload_timeout_seconds`` is the time for the file system to show the generation that a
    reload expects. Each process looks for newer routes every ``follow_seconds``; with 0, only at a reload.

    A request with a body above ``max_request_bytes`` gets 413. ``max_bytes_in_flight`` limits the bodies of all
    requests and all answers that the process holds at one time. ``clients`` limits the clients, ``limits`` the
    connections to each Triton, ``shadow`` the copies for shadows. ``recording`` keeps a sample of the requests; None
    keeps nothing. With ``single_process`` the gateway looks for no other process at its address.

    The gateway refuses every reload without a ``reload_token``; white space around the token does not count. Raises
    ValueError for a value that cannot be right; the message never quotes the token.
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
    recording: RecordingSettings | None = None

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
