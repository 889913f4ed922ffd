"""The HTTP side: the Web API under ``/api/``, the page at ``/``, and what tests and stories need beside them."""

from __future__ import annotations

import hmac
import json
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from bot.sandbox.slack import page
from bot.sandbox.slack.faults import Fault, Faults
from bot.sandbox.slack.web_api import METHODS, WITHOUT_TOKEN, Arguments, SlackError
from bot.sandbox.slack.workspace import Workspace


def create_app(workspace: Workspace, *, token: str) -> Starlette:
    """Return the application; ``token`` is the bot token that it takes."""
    faults = Faults()

    async def call(request: Request) -> Response:
        name = request.path_params["method"]
        fault = faults.take(name)
        if fault is not None and not fault.after:
            return _spoiled(fault)
        answer = await _answer(workspace, name, request, token=token)
        return answer if fault is None else _spoiled(fault)

    async def show(_: Request) -> Response:
        return HTMLResponse(page.render(workspace))

    async def messages(_: Request) -> Response:
        return JSONResponse(workspace.to_json())

    async def change_faults(request: Request) -> Response:
        if request.method == "DELETE":
            faults.clear()
        elif request.method == "POST":
            try:
                faults.add(Fault.model_validate_json(await request.body()))
            except ValidationError as error:
                return JSONResponse({"error": str(error)}, status_code=422)
        return JSONResponse({"faults": faults.to_json()})

    return Starlette(
        routes=[
            Route("/api/{method}", call, methods=["GET", "POST"]),
            Route("/", show),
            Route("/messages.json", messages),
            Route("/faults", change_faults, methods=["GET", "POST", "DELETE"]),
        ]
    )


async def _answer(workspace: Workspace, name: str, request: Request, *, token: str) -> Response:
    try:
        arguments = await _arguments(request)
        method = METHODS.get(name)
        if method is None:
            raise SlackError("unknown_method")
        if name not in WITHOUT_TOKEN:
            _check_token(request, arguments, token=token)
        return JSONResponse({"ok": True, **method(workspace, arguments)})
    except SlackError as error:
        refusal: dict[str, Any] = {"ok": False, "error": error.word}
        if error.messages:
            refusal |= {"errors": list(error.messages), "response_metadata": {"messages": list(error.messages)}}
        return JSONResponse(refusal)


async def _arguments(request: Request) -> Arguments:
    """Return the call's arguments: from the query, and from a form or a JSON object in the body."""
    values: dict[str, Any] = dict(request.query_params)
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if request.method == "POST" and kind == "application/json":
        try:
            body = json.loads(await request.body() or b"{}")
        except ValueError:
            raise SlackError("invalid_json") from None
        if not isinstance(body, dict):
            raise SlackError("json_not_object")
        values |= body
    elif request.method == "POST" and kind == "application/x-www-form-urlencoded":
        values |= dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
    elif request.method == "POST" and await request.body():
        raise SlackError("invalid_post_type")
    return Arguments(values)


def _check_token(request: Request, arguments: Arguments, *, token: str) -> None:
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    given = bearer.strip() if scheme.lower() == "bearer" else arguments.text("token")
    if not given:
        raise SlackError("not_authed")
    if not hmac.compare_digest(given.encode(), token.encode()):
        raise SlackError("invalid_auth")


def _spoiled(fault: Fault) -> Response:
    word = "ratelimited" if fault.status == 429 else "internal_error"
    headers = {"Retry-After": str(fault.retry_after)} if fault.status == 429 else {}
    return JSONResponse({"ok": False, "error": word}, status_code=fault.status, headers=headers)
