"""The HTTP side: the Web API under ``/api/``, the page at ``/``, and what tests and stories need beside them.

POST /people/{user}/types       {"channel", "text", "thread_ts"?}: a slash command, or a message
POST /people/{user}/acts        {"channel", "ts", "action_id", "block_id"?, "value"?}: press, choose
POST /people/{user}/submits     {"view_id"?, "values": {block_id: {action_id: value}}}
POST /people/{user}/closes      {"view_id"?}
GET  /people/{user}/sees.json   channels with messages, what only this person sees, open modals
GET, POST /app                  the app that is installed (see installation.py)
GET  /deliveries.json           what was sent to the app; POST /deliveries/{number} sends the same bytes again
GET, POST /socket               the app's WebSocket connections; {"disconnect": reason} ends them
POST /channels/{channel}        {"has_bot"?, "archived"?}: the bot is invited or removed, the channel archived or not
GET, POST, DELETE /faults       answers that go wrong on purpose (see faults.py)
GET  /messages.json             every channel with its messages
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from bot.sandbox.slack import page
from bot.sandbox.slack.arguments import Arguments
from bot.sandbox.slack.faults import Fault
from bot.sandbox.slack.installation import Installation
from bot.sandbox.slack.people import Done, NoSuchThing, Person
from bot.sandbox.slack.refusal import SlackError
from bot.sandbox.slack.slack import Slack
from bot.sandbox.slack.web_api import METHODS, blocks_of, call

REASONS = ("refresh_requested", "warning", "link_disabled", "drop")


def create_app(slack: Slack) -> Starlette:
    """Return the application of one workspace."""
    return Starlette(
        routes=[*_slacks_own(slack), *_for_people(slack), *_for_tests(slack)], lifespan=_while_it_runs(slack)
    )


def _while_it_runs(slack: Slack) -> Any:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await slack.start()
        try:
            yield
        finally:
            await slack.stop()

    return lifespan


# --- what Slack has ------------------------------------------------------------------------------------------------


def _slacks_own(slack: Slack) -> list[Route]:
    async def web_api(request: Request) -> Response:
        name = request.path_params["method"]
        fault = slack.faults.take(name)
        if fault is not None and not fault.after:
            return _spoiled(fault)
        answer = await _answer(slack, name, request)
        return answer if fault is None else _spoiled(fault)

    async def response_url(request: Request) -> Response:
        fault = slack.faults.take("response_url")
        if fault is not None and not fault.after:
            return _spoiled(fault)
        name = request.url.path.removeprefix("/")
        try:
            said = await _object(request)
            slack.respond(name, said, check=lambda given: blocks_of(Arguments(given, slack.without_blocks)))
        except SlackError as error:
            gone = error.word in ("used_url", "expired_url", "invalid_url")
            return JSONResponse(error.to_json(), status_code=404 if gone else 400)
        if fault is not None:
            return _spoiled(fault)
        return PlainTextResponse("ok") if name.startswith("commands/") else JSONResponse({"ok": True})

    return [
        Route("/api/{method}", web_api, methods=["GET", "POST"]),
        *(Route(f"/{kind}/{{rest:path}}", response_url, methods=["POST"]) for kind in ("commands", "actions")),
    ]


async def _answer(slack: Slack, name: str, request: Request) -> Response:
    headers = {"X-OAuth-Scopes": ",".join(slack.app.scopes)}
    if name in METHODS and METHODS[name].scope:
        headers["X-Accepted-OAuth-Scopes"] = METHODS[name].scope
    try:
        arguments = replace(await _arguments(request), without=slack.without_blocks)
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        token = bearer.strip() if scheme.lower() == "bearer" else arguments.text("token")
        return JSONResponse({"ok": True, **call(slack, name, arguments, token=token)}, headers=headers)
    except SlackError as error:
        return JSONResponse(error.to_json(), headers=headers)


async def _arguments(request: Request) -> Arguments:
    """Return the call's arguments: from the query, and from a form or a JSON object in the body."""
    values: dict[str, Any] = dict(request.query_params)
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if request.method == "POST" and kind == "application/json":
        values |= await _object(request)
    elif request.method == "POST" and kind == "application/x-www-form-urlencoded":
        values |= dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
    elif request.method == "POST" and await request.body():
        raise SlackError("invalid_post_type")
    return Arguments(values)


async def _object(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError:
        raise SlackError("invalid_json") from None
    if not isinstance(body, dict):
        raise SlackError("json_not_object")
    return body


def _spoiled(fault: Fault) -> Response:
    word = "ratelimited" if fault.status == 429 else "internal_error"
    headers = {"Retry-After": str(fault.retry_after)} if fault.status == 429 else {}
    return JSONResponse({"ok": False, "error": word}, status_code=fault.status, headers=headers)


# --- what people do ------------------------------------------------------------------------------------------------


async def _do(person: Person, deed: str, said: dict[str, Any]) -> Done:
    """Do something as a person; raise KeyError for a missing argument, NoSuchThing for an unknown deed."""
    view_id, block_id, value = said.get("view_id") or "", said.get("block_id") or "", said.get("value")
    match deed:
        case "types":
            return await person.types(said["channel"], said["text"], thread_ts=said.get("thread_ts") or "")
        case "acts":
            where = said["channel"], said["ts"], said["action_id"]
            return await person.acts(*where, block_id=block_id, value=value, values=said.get("values"))
        case "submits":
            return await person.submits(view_id, said.get("values") or {})
        case "closes":
            return await person.closes(view_id)
    raise NoSuchThing(f"people do not {deed}")


def _not_done(word: str, said: str, *, status: int = 422) -> Response:
    return JSONResponse({"ok": False, "error": word, "said": said}, status_code=status)


def _for_people(slack: Slack) -> list[Route | Mount]:
    def somebody(request: Request) -> Person:
        user = slack.workspace.person(request.path_params["user"])
        if user is None:
            raise NoSuchThing(f"nobody is called {request.path_params['user']!r}")
        return Person(slack, user)

    async def do(request: Request) -> Response:
        try:
            done = await _do(somebody(request), request.path_params["deed"], await _object(request))
        except KeyError as missing:
            return _not_done("incomplete", f"{missing} is missing")
        except (NoSuchThing, SlackError) as error:
            return _not_done("not_there", str(error))
        return JSONResponse(done.to_json())

    async def sees(request: Request) -> Response:
        try:
            return JSONResponse(somebody(request).sees())
        except NoSuchThing as error:
            return _not_done("not_there", str(error), status=404)

    async def show(request: Request) -> Response:
        query = request.query_params
        user = slack.workspace.person(query.get("as", "")) or slack.workspace.users[1]
        view = page.View(user, query.get("channel", ""), query.get("thread", ""))
        headers = {"Content-Security-Policy": page.SECURITY_POLICY, "Cache-Control": "no-store"}
        return HTMLResponse(page.render(slack, view), headers=headers)

    async def archive(request: Request) -> Response:
        channel, name = request.path_params["channel"], request.path_params["name"]
        ts = f"{name[1:-6]}.{name[-6:]}"
        found = slack.workspace.channel(channel)
        message = slack.workspace.message(found, ts) if found else None
        if found is None or message is None:
            return PlainTextResponse("no such message", status_code=404)
        thread, mark = message.thread_ts or ts, "t" if message.thread_ts else "p"
        return RedirectResponse(f"/?channel={found.id}&thread={thread}#{mark}{ts}", status_code=303)

    async def no_icon(_: Request) -> Response:
        return Response(status_code=204)

    return [
        Route("/", show),
        Route("/favicon.ico", no_icon),
        Mount("/assets", StaticFiles(directory=Path(__file__).with_name("assets"))),
        Route("/archives/{channel}/{name}", archive),
        Route("/people/{user}/sees.json", sees),
        Route("/people/{user}/{deed}", do, methods=["POST"]),
    ]


# --- what tests and stories need -----------------------------------------------------------------------------------


def _for_tests(slack: Slack) -> list[Route]:
    async def messages(_: Request) -> Response:
        return JSONResponse(slack.workspace.to_json())

    async def faults(request: Request) -> Response:
        if request.method == "DELETE":
            slack.faults.clear()
        elif request.method == "POST":
            try:
                slack.faults.add(Fault.model_validate_json(await request.body()))
            except ValidationError as error:
                return JSONResponse({"error": str(error)}, status_code=422)
        return JSONResponse({"faults": slack.faults.to_json()})

    async def installed(request: Request) -> Response:
        if request.method == "POST":
            try:
                given = {"bot_token": slack.app.bot_token, **await _object(request)}
                slack.app = Installation.model_validate(given)
            except (ValidationError, SlackError, ValueError) as error:
                return JSONResponse({"error": str(error)}, status_code=422)
            if not slack.app.socket_mode:
                await slack.sockets.disconnect("link_disabled")
        manifest = slack.app.manifest
        return JSONResponse({"manifest": manifest, "request_url": slack.app.request_url})

    async def change(request: Request) -> Response:
        channel, said = slack.workspace.channel(request.path_params["channel"]), await _object(request)
        if channel is None:
            return JSONResponse({"error": "no such channel"}, status_code=404)
        if not said.keys() <= {"has_bot", "archived"} or not all(isinstance(value, bool) for value in said.values()):
            return JSONResponse({"error": "has_bot and archived are true or false"}, status_code=422)
        return JSONResponse(asdict(slack.workspace.change(channel, **said)))

    async def socket(request: Request) -> Response:
        ended = 0
        if request.method == "POST":
            said = await _object(request)
            if said.get("disconnect") not in REASONS:
                return JSONResponse({"error": f"disconnect is one of {', '.join(REASONS)}"}, status_code=422)
            ended = await slack.sockets.disconnect(said["disconnect"], name=said.get("connection") or "")
        return JSONResponse({"connections": slack.sockets.to_json(), "ended": ended})

    async def deliveries(_: Request) -> Response:
        return JSONResponse({"deliveries": slack.courier.to_json()})

    async def resend(request: Request) -> Response:
        said = await _object(request)
        try:
            statuses = await slack.courier.resend(
                request.path_params["number"], times=int(said.get("times", 1)), headers=said.get("headers") or {}
            )
        except KeyError:
            return JSONResponse({"error": "no such delivery over HTTP"}, status_code=404)
        return JSONResponse({"statuses": statuses})

    return [
        Route("/messages.json", messages),
        Route("/faults", faults, methods=["GET", "POST", "DELETE"]),
        Route("/app", installed, methods=["GET", "POST"]),
        Route("/channels/{channel}", change, methods=["POST"]),
        Route("/socket", socket, methods=["GET", "POST"]),
        Route("/deliveries.json", deliveries),
        Route("/deliveries/{number:int}", resend, methods=["POST"]),
    ]
