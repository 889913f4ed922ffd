"""What a gateway is told at its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bot.gateway.connection import Limits

MEBIBYTE = 2**20

LIMITS = Limits()
SHADOW_LIMITS = Limits(connect_seconds=0.5, greeting_seconds=1.0, max_in_flight=8)


@dataclass(frozen=True)
class ShadowSettings:
    """The hard budget of the copies that go to shadows. What exceeds it is dropped and counted, never queued."""

    timeout_seconds: float = 2.0
    max_request_bytes: int = MEBIBYTE
    limits: Limits = SHADOW_LIMITS


SHADOW_SETTINGS = ShadowSettings()


@dataclass(frozen=True)
class GatewaySettings:
    """One gateway: where its routes lie, which Tritons it asks, and how long and how much it bears.

    ``tritons`` are base URLs (``http://host:port``), all of one environment: each has every version loaded.
    ``timeout_seconds`` is for one answer, ``probe_timeout_seconds`` for what a Triton says of its health and its
    versions, ``reload_timeout_seconds`` for the file system to show the generation that a reload expects.
    ``environment`` may stay empty: the first route table then fixes it.
    Without a ``reload_token`` every reload is refused.
    """

    routes_file: Path
    tritons: tuple[str, ...]
    name: str = "gateway"
    environment: str = ""
    reload_token: str = field(default="", repr=False)
    timeout_seconds: float = 30.0
    probe_timeout_seconds: float = 3.0
    reload_timeout_seconds: float = 5.0
    max_request_bytes: int = 256 * MEBIBYTE
    limits: Limits = LIMITS
    shadow: ShadowSettings = SHADOW_SETTINGS

    def __post_init__(self) -> None:
        if not self.tritons:
            raise ValueError("a gateway needs the URL of at least one Triton")
