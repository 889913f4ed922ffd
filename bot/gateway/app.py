"""The reference application: a gateway and nothing else."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from bot.gateway.core import Gateway
from bot.gateway.settings import GatewaySettings


def create_app(settings: GatewaySettings) -> FastAPI:
    """Return an application with one gateway at its root."""
    app = FastAPI(title="Promobot gateway", openapi_url=None, redirect_slashes=False)
    app.include_router(Gateway(settings).router)
    app.add_exception_handler(HTTPException, _in_tritons_shape)
    return app


async def _in_tritons_shape(request: Request, error: Exception) -> JSONResponse:
    """Answer 404 and 405 as Triton does, so that its clients show the text."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    text = f"{request.method} {request.url.path}: this gateway has no such thing"
    return JSONResponse({"error": text}, status_code=status)
