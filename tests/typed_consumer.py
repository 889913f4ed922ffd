"""What an application and a training job write, as mypy's strict mode sees it: only public names, all typed.

`.ci/run` checks it with the rest; tests/test_extras.py also against the wheel, where only ``py.typed`` says so.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI

from bot.errors import PromobotError, Unavailable
from bot.gateway import ClientLimits, Gateway, GatewaySettings, Limits, RouteTable, ShadowSettings, Target, create_app
from bot.gateway.protocol import GatewayProtocol, protocol_with


def serve(routes: Path) -> FastAPI:
    """Mount a gateway."""
    settings = GatewaySettings(
        routes_file=routes,
        tritons=("http://triton-0:8000",),
        clients=ClientLimits(max_connections=10),
        limits=Limits(connect_seconds=0.5),
        shadow=ShadowSettings(timeout_seconds=1.0),
    )
    gateway = Gateway(settings)
    app = FastAPI()
    app.include_router(gateway.router)
    live: Target | None = gateway.target("churn")
    table: RouteTable = gateway.table
    version: int = live.version if live else table.generation
    protocol: type[GatewayProtocol] = protocol_with(settings.clients)
    return app if version and protocol else create_app(settings)


def explain(error: PromobotError) -> tuple[str, str, str, float | None]:
    """Say what happened, how things are, what to do, and when to come back."""
    later: float | None = error.retry_after_seconds if isinstance(error, Unavailable) else None
    return error.message, error.state, error.next_step, later
