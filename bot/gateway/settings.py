"""What a gateway is told at its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

MEBIBYTE = 2**20


@dataclass(frozen=True)
class ShadowSettings:
    """The hard budget of the copies that go to shadows. What exceeds it is dropped and counted, never queued."""

    max_in_flight: int = 8
    timeout_seconds: float = 2.0
    connect_timeout_seconds: float = 0.5
    max_request_bytes: int = MEBIBYTE


@dataclass(frozen=True)
class GatewaySettings:
    """One gateway: where its routes lie, which Tritons it asks, and how long and how much it bears.

    ``tritons`` are base URLs (``http://host:port``), all of one environment: each has every version loaded.
    ``environment`` may stay empty: the first route table then fixes it.
    Without a ``reload_token`` every reload is refused.
    """

    routes_file: Path
    tritons: tuple[str, ...]
    name: str = "gateway"
    environment: str = ""
    reload_token: str = field(default="", repr=False)
    timeout_seconds: float = 30.0
    connect_timeout_seconds: float = 1.0
    refused_pause_seconds: float = 1.0
    max_connections: int = 512
    max_request_bytes: int = 256 * MEBIBYTE
    reload_timeout_seconds: float = 5.0
    shadow: ShadowSettings = ShadowSettings()

    def __post_init__(self) -> None:
        if not self.tritons:
            raise ValueError("a gateway needs the URL of at least one Triton")
