"""A gateway mounted in an application that a server runs in several processes: ``uvicorn bot.sandbox.mounted:app``.

Each process imports this module, so what it needs is in variables of the environment, as in people's own services.
"""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import FastAPI

from bot.gateway import Gateway, GatewaySettings

app = FastAPI(title="An application with a gateway")
gateway = Gateway(
    GatewaySettings(
        routes_file=Path(os.environ["PROMOBOT_SANDBOX_ROUTES"]),
        tritons=tuple(os.environ["PROMOBOT_SANDBOX_TRITONS"].split()),
        name=os.environ["PROMOBOT_SANDBOX_NAME"],
        environment=os.environ["PROMOBOT_SANDBOX_ENVIRONMENT"],
        reload_token=os.environ["PROMOBOT_RELOAD_TOKEN"],
    )
)
app.include_router(gateway.router)
