"""GitHub Apps: https://docs.github.com/rest/apps. And of GraphQL the one question that every token may ask."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from bot.sandbox.forge.answers import Json, stamp
from bot.sandbox.forge.api.request import Anyone, Body, Paged, Repository, Server
from bot.sandbox.forge.errors import ApiError, not_found, unprocessable
from bot.sandbox.forge.people import App, BadJwt
from bot.sandbox.forge.store import now

router = APIRouter()
graphql = APIRouter()

TOKEN_LASTS = timedelta(hours=1)


def _app(server: Server, request: Request) -> App:
    """The App whose JSON web token asks. Raises 401 in GitHub's words."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or token.count(".") != 2:
        raise ApiError(401, "A JSON web token could not be decoded")
    try:
        return server.people.app_of(token.strip())
    except BadJwt as bad:
        raise ApiError(401, str(bad)) from bad


Asking = Annotated[App, Depends(_app)]


class WantedToken(Body):
    repositories: tuple[str, ...] | None = None
    repository_ids: tuple[int, ...] | None = None
    permissions: dict[str, str] | None = None


class Query(Body):
    query: str


@router.get("/app")
def get_app(server: Server, app: Asking) -> Json:
    return server.answers.app(app.id, app.slug, permissions=app.permissions)


@router.get("/app/installations")
def list_installations(server: Server, app: Asking, pages: Paged) -> list[Json]:
    return pages.of([app], server.answers.installation)


@router.get("/app/installations/{number}")
def get_installation(server: Server, app: Asking, number: int) -> Json:
    if number != app.installation:
        raise not_found()
    return server.answers.installation(app)


@router.get("/repos/{owner}/{name}/installation")
def get_repository_installation(repository: Repository, app: Asking) -> Json:
    return repository.answers.installation(app)


@router.post("/app/installations/{number}/access_tokens", status_code=201)
def create_token(server: Server, app: Asking, number: int, wanted: WantedToken | None = None) -> Json:
    if number != app.installation:
        raise not_found()
    asked = (wanted.permissions if wanted else None) or {}  # none named: all that it was given
    if any(app.permissions.get(name) not in (level, "write", "admin") for name, level in asked.items()):
        raise unprocessable("The permissions requested are not granted to this installation.")
    given = asked or dict(app.permissions)
    expires = now() + TOKEN_LASTS
    return {
        "token": server.people.installation_token(app, given, expires=expires),
        "expires_at": stamp(expires),
        "permissions": given,
        "repository_selection": "selected",
    }


@graphql.post("/api/graphql")
def answer_graphql(person: Anyone, asked: Query) -> Json:
    """Who asks. GET /user is closed to Apps and workflows; this is not."""
    if re.sub(r"\s+", " ", asked.query).strip() in ("query { viewer { login } }", "{ viewer { login } }"):
        return {"data": {"viewer": {"login": person.login}}}
    return {"errors": [{"message": "The forge answers { viewer { login } } only."}]}
