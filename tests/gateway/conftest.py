"""What the gateway's tests stand on: real gateways as processes, a real Triton, and stand-ins for its faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bot.domain.routes import RouteTable
from bot.gateway import GatewaySettings
from tests.gateway.gateways import (
    TOKEN,
    GatewayProcess,
    RunningGateway,
    gateway_process,
    running_gateway,
    write_routes,
)
from tests.gateway.triton import RunningTriton, publish_adder, running_triton
from tests.stand_ins.failing_triton import StandIn

StartGateway = Callable[..., RunningGateway]
StartProcess = Callable[..., GatewayProcess]


@pytest.fixture(scope="session")
def triton_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    """A Triton with versions 1 to 3 of ``adder``, and version 2 of ``adder.1a2b3c4d``; version N adds N."""
    repository = tmp_path_factory.mktemp("model-repository")
    publish_adder(repository / "adder", versions=(1, 2, 3))
    publish_adder(repository / "adder.1a2b3c4d", versions=(2,))
    with running_triton(repository) as triton:
        triton.load("adder")
        triton.load("adder.1a2b3c4d")
        yield triton


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[StartGateway]:
    """Start gateways that read ``tmp_path / "routes.json"``, written first if ``routes`` are given."""
    with ExitStack() as running:

        def start(*tritons: str, routes: RouteTable | str | None = None, **settings: Any) -> RunningGateway:
            if routes is not None:
                write_routes(tmp_path / "routes.json", routes)
            # Alone, and only told: what several workers do, and what a gateway does by itself, has tests of its own.
            chosen = {"single_process": True, "follow_seconds": 0, "reload_timeout_seconds": 0.3, **settings}
            chosen.setdefault("reload_token", TOKEN)
            return running.enter_context(
                running_gateway(GatewaySettings(routes_file=tmp_path / "routes.json", tritons=tritons, **chosen))
            )

        yield start


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[StartProcess]:
    """The same, each as ``python -m bot.gateway``, which takes a second."""
    with ExitStack() as running:

        def start(*tritons: str, routes: RouteTable | None = None, arguments: Sequence[str] = ()) -> GatewayProcess:
            if routes is not None:
                write_routes(tmp_path / "routes.json", routes)
            return running.enter_context(gateway_process(tmp_path / "routes.json", tritons, arguments=arguments))

        yield start


@pytest.fixture
def start_stand_in() -> Iterator[Callable[[], StandIn]]:
    """Start stand-ins for Triton; they end with the test."""
    with ExitStack() as running:
        yield lambda: running.enter_context(StandIn())
