"""GitHub Apps: https://docs.github.com/rest/apps. And of GraphQL what REST does not have."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from bot.sandbox.forge.answers import Json, stamp
from bot.sandbox.forge.api.request import Anyone, Body, Paged, Repository, Server
from bot.sandbox.forge.errors import ApiError, not_found, unprocessable
from bot.sandbox.forge.forge import Forge
from bot.sandbox.forge.people import App, BadJwt, Person
from bot.sandbox.forge.store import now

router = APIRouter()
graphql = APIRouter()

ENQUEUE = (
    "mutation($input: EnqueuePullRequestInput!) "
    "{ enqueuePullRequest(input: $input) { mergeQueueEntry { position } } }"
)
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
    variables: dict[str, dict[str, str]] = Field(default_factory=dict)


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
def answer_graphql(request: Request, person: Anyone, asked: Query) -> Json:
    """Who asks (GET /user is closed to Apps and workflows), and "Merge when ready", which REST does not have."""
    query = re.sub(r"\s+", " ", asked.query).strip()
    if query in ("query { viewer { login } }", "{ viewer { login } }"):
        return {"data": {"viewer": {"login": person.login}}}
    if query == ENQUEUE:
        return _enqueue(request.app.state.repositories, asked.variables.get("input", {}), person)
    return {"errors": [{"message": f"The forge answers {{ viewer {{ login }} }} and {ENQUEUE} only."}]}


def _enqueue(repositories: Iterable[Forge], wanted: dict[str, str], person: Person) -> Json:
    if not person.may("contents"):
        return {"data": {"enqueuePullRequest": None}, "errors": [{"type": "FORBIDDEN", "message": "Forbidden"}]}
    node, expected = wanted.get("pullRequestId", ""), wanted.get("expectedHeadOid")
    try:
        for forge in repositories:
            if position := forge.enqueue(node, expected=expected, by=person):
                return {"data": {"enqueuePullRequest": {"mergeQueueEntry": {"position": position}}}}
    except ApiError as refused:
        error = {"type": "UNPROCESSABLE", "message": refused.message}
        return {"data": {"enqueuePullRequest": None}, "errors": [error]}
    message = f"Could not resolve to a node with the global id of '{node}'."
    return {"data": {"enqueuePullRequest": None}, "errors": [{"type": "NOT_FOUND", "message": message}]}
