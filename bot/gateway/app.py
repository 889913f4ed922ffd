"""The reference application: a gateway and nothing else."""

from __future__ import annotations

import re

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from bot.gateway.core import Gateway
from bot.gateway.settings import GatewaySettings

_INFER = re.compile(r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer")


def create_app(settings: GatewaySettings) -> FastAPI:
    """Return an application with one gateway, made of ``settings``, at its root.

    It answers 404 and 405 in Triton's shape, and has no page of documentation.
    """
    return _Application(Gateway(settings))


class _Application(FastAPI):
    """The gateway's router. A request to infer takes a shorter way, past layers that have nothing to do for it."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(title="Promobot gateway", openapi_url=None, redirect_slashes=False)
        self._gateway = gateway
        self.include_router(gateway.router)
        self.add_exception_handler(HTTPException, _in_tritons_shape)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # An application that adds a middleware wants it to see every request.
        if scope["type"] == "http" and scope["method"] == "POST" and not self.user_middleware:
            found = _INFER.fullmatch(scope["path"])
            if found:
                scope["path_params"] = {name: value for name, value in found.groupdict().items() if value is not None}
                await self._gateway.infer(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


async def _in_tritons_shape(request: Request, error: Exception) -> JSONResponse:
    """Answer 404 and 405 as Triton does, so that its clients show the text."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    text = f"{request.method} {request.url.path}: this gateway has no such thing"
    return JSONResponse({"error": text}, status_code=status)
