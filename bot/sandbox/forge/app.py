"""The forge as one web application: Git, the REST API and the pages."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.sandbox.actions.actions import Actions, Settings
from bot.sandbox.forge import pages, smart_http
from bot.sandbox.forge.addresses import Redirects, Repositories
from bot.sandbox.forge.api import actions, apps, checks, issues, pulls, repository, rulesets
from bot.sandbox.forge.errors import ApiError, not_found
from bot.sandbox.forge.forge import Forge
from bot.sandbox.forge.git import open_repository
from bot.sandbox.forge.limits import Limited, Secondary
from bot.sandbox.forge.people import People
from bot.sandbox.forge.store import Store

API = "/api/v3"


def open_forge(
    *,
    folder: Path,
    repository: str,
    server_url: str,
    people: People,
    settings: Settings | None,
    is_main: bool = True,
) -> Forge:
    """A repository of the forge that lives in ``folder`` and keeps the state of earlier starts.

    All repositories lie side by side, so that a workflow of one can call those of another. Other files of the main
    one lie in ``folder`` itself, those of the others in a folder of their own.
    """
    folder = folder.resolve()
    repositories = folder / "repositories"
    git = open_repository(repositories / f"{repository}.git")
    own = folder if is_main else folder / "others" / repository
    own.mkdir(parents=True, exist_ok=True)
    store = Store(own / "forge.json")
    runner = Actions(
        folder=own / "actions",
        git=git,
        repositories=repositories,
        people=people,
        settings=settings,
        server_url=server_url,
        repository=store.settings.name or repository,
    )
    return Forge(
        repository=store.settings.name or repository,
        number=1 if is_main else 2 + zlib.crc32(repository.encode()) % 10**8,
        server_url=server_url,
        git=git,
        store=store,
        people=people,
        actions=runner,
    )


def application(forge: Forge, *others: Forge) -> FastAPI:
    """The web application of these repositories. Its shutdown ends the workflow runs under way.

    People and rate limits are those of the first, whose page is the front page.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for one in (forge, *others):
            await run_in_threadpool(one.actions.stop)

    app = FastAPI(title="Forge", lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    app.state.forge = forge
    app.state.repositories = repositories = Repositories(forge, *others)
    app.add_middleware(JsonWhateverItSays)
    app.add_middleware(Redirects, repositories=repositories)
    app.add_middleware(Limited, limits=forge.limits, people=forge.people, api=API)
    api = APIRouter(prefix=API)
    for router in routers():
        api.include_router(router)
    app.include_router(api)
    app.include_router(apps.graphql)
    app.include_router(for_tests)
    app.include_router(smart_http.router)
    app.include_router(pages.router)
    app.add_exception_handler(ApiError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_body)
    app.add_exception_handler(HTTPException, _refuse_path)
    return app


def routers() -> tuple[APIRouter, ...]:
    """The REST API. Order matters where a reference may hold slashes: ``/commits/{ref}/status`` before it alone."""
    first = (apps.router, checks.router, pulls.router, issues.router, actions.router)
    return (*first, rulesets.router, rulesets.of_branch, repository.router)


for_tests = APIRouter()


@for_tests.post("/faults", status_code=204)
def hit_a_limit(request: Request, hit: Secondary) -> Response:
    """Let the next requests to the API hit GitHub's secondary limit."""
    request.app.state.forge.limits.hit_secondary(hit)
    return Response(status_code=204)


@for_tests.delete("/faults", status_code=204)
def forget_limits(request: Request) -> Response:
    request.app.state.forge.limits.forget()
    return Response(status_code=204)


class Struck(BaseModel):
    """A time has come, in the words of a schedule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cron: str


@for_tests.post("/clock")
def strike(request: Request, struck: Struck) -> list[int]:
    """Start the workflows of this schedule, in each repository; answer with the ids of their runs."""
    return [run.id for one in request.app.state.repositories for run in one.strike(struck.cron)]


class JsonWhateverItSays:
    """GitHub reads every API request's body as JSON, also what curl calls a form."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith((API, "/api/graphql", "/faults", "/clock")):
            headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
            scope = {**scope, "headers": [*headers, (b"content-type", b"application/json")]}
        await self._app(scope, receive, send)


def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - registered for this type only
    if not request.url.path.startswith("/api/"):
        return PlainTextResponse(f"{error.status}: {error.message}\n", status_code=error.status)
    return JSONResponse(error.body(), status_code=error.status)


def _refuse_body(request: Request, error: Exception) -> Response:
    """What GitHub says about a request that is missing a field or has the wrong type in it."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type only
    problems = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        return _refuse(request, ApiError(400, "Problems parsing JSON"))
    if any(problem["loc"][0] == "path" for problem in problems):
        return _refuse(request, not_found())
    errors = [
        {
            "resource": request.url.path.rstrip("/").rsplit("/", 1)[-1],
            "field": str(problem["loc"][-1]),
            "code": "missing_field" if problem["type"] == "missing" else "invalid",
        }
        for problem in problems
    ]
    return _refuse(request, ApiError(422, "Validation Failed", errors=errors))


def _refuse_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type only
    return _refuse(
        request, not_found() if error.status_code in (404, 405) else ApiError(error.status_code, error.detail)
    )
