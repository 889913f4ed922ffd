"""The router that a FastAPI application mounts, so that Promobot can switch which version of a model answers.

    from bot.gateway import Gateway, GatewaySettings

    gateway = Gateway(GatewaySettings(routes_file=Path("/share/promobot/prod/routes.json"), tritons=("http://triton:8000",)))
    app.include_router(gateway.router)          # brings its own start and stop along
    gateway.target("churn")                     # the version that answers now, or None

``python -m bot.gateway`` runs the same router as an application of its own; ``--help`` lists its options. The names
in ``__all__`` here and in `bot.gateway.protocol` are public; docs/reference/api.md lists them.
"""

from bot import extras

with extras.needed("gateway", by="bot.gateway"):
    from bot.domain.release import Lane, Slot
    from bot.domain.routes import Canary, Route, RouteTable, Target
    from bot.gateway.app import create_app
    from bot.gateway.connection import Limits
    from bot.gateway.core import Gateway
    from bot.gateway.settings import ClientLimits, GatewaySettings, RecordingSettings, ShadowSettings

__all__ = [
    "Canary",
    "ClientLimits",
    "Gateway",
    "GatewaySettings",
    "Lane",
    "Limits",
    "RecordingSettings",
    "Route",
    "RouteTable",
    "ShadowSettings",
    "Slot",
    "Target",
    "create_app",
]
