"""GitHub Apps: https://docs.github.com/rest/apps. And of GraphQL what REST does not have."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import AliasPath, Field

from bot.sandbox.forge.answers import Json, stamp
from bot.sandbox.forge.api.request import Anyone, Body, Found, Server
from bot.sandbox.forge.errors import ApiError, not_found, unprocessable
from bot.sandbox.forge.forge import Forge
from bot.sandbox.forge.people import App, BadJwt, Person
from bot.sandbox.forge.store import AutoMerge, MergeMethod, now

router = APIRouter()
graphql = APIRouter()

ENQUEUE = (
    "mutation($input: EnqueuePullRequestInput!) "
    "{ enqueuePullRequest(input: $input) { mergeQueueEntry { position } } }"
)
COMMIT = "mutation($input: CreateCommitOnBranchInput!) { createCommitOnBranch(input: $input) { commit { oid } } }"
AUTO_MERGE = (
    "mutation($input: EnablePullRequestAutoMergeInput!) "
    "{ enablePullRequestAutoMerge(input: $input) { pullRequest { number } } }"
)
NO_AUTO_MERGE = (
    "mutation($input: DisablePullRequestAutoMergeInput!) "
    "{ disablePullRequestAutoMerge(input: $input) { pullRequest { number } } }"
)
METHODS: dict[str, MergeMethod] = {"MERGE": "merge", "SQUASH": "squash", "REBASE": "rebase"}
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


class _Addition(Body):
    path: str
    contents: str = ""


class _Deletion(Body):
    path: str


class CommitOnBranch(Body):
    """The input of createCommitOnBranch; ``expectedHeadOid`` must be given, contents are base64 with padding."""

    repository: str = Field(validation_alias=AliasPath("branch", "repositoryNameWithOwner"))
    branch: str = Field(validation_alias=AliasPath("branch", "branchName"))
    headline: str = Field(min_length=1, validation_alias=AliasPath("message", "headline"))
    body: str = Field("", validation_alias=AliasPath("message", "body"))
    additions: tuple[_Addition, ...] = Field((), validation_alias=AliasPath("fileChanges", "additions"))
    deletions: tuple[_Deletion, ...] = Field((), validation_alias=AliasPath("fileChanges", "deletions"))
    expected: str = Field(pattern="^[0-9a-f]{40}$", validation_alias="expectedHeadOid")

    def files(self) -> dict[str, bytes | None]:
        """The written files by path, None for deleted ones. Raises ValueError as GitHub's validation does."""
        found: dict[str, bytes | None] = {}
        changes: list[_Addition | _Deletion] = [*self.additions, *self.deletions]
        for change in changes:
            parts = change.path.split("/")
            if change.path in found or not all(parts) or {".", "..", ".git"} & set(parts):
                raise ValueError(f"path {change.path} is not unique, or not valid")
            contents = base64.b64decode(change.contents, validate=True) if isinstance(change, _Addition) else None
            found[change.path] = contents
        return found


class WantedAutoMerge(Body):
    """The input of enablePullRequestAutoMerge, and of disablePullRequestAutoMerge, which has the first field only."""

    node: str = Field(validation_alias="pullRequestId")
    expected: str | None = Field(None, validation_alias="expectedHeadOid")
    method: Literal["MERGE", "SQUASH", "REBASE"] = Field("MERGE", validation_alias="mergeMethod")
    title: str = Field("", validation_alias="commitHeadline")
    message: str = Field("", validation_alias="commitBody")


class Query(Body):
    query: str
    variables: dict[str, dict[str, Any]] = Field(default_factory=dict)


@router.get("/repos/{owner}/{name}/installation")
def get_repository_installation(repository: Found, app: Asking) -> Json:
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
    """Answer who the caller is (GET /user is closed to Apps), and what REST does not have.

    That is merge queues, signed commits and auto-merge.
    """
    query = re.sub(r"\s+", " ", asked.query).strip()
    if query in ("query { viewer { login } }", "{ viewer { login } }"):
        return {"data": {"viewer": {"login": person.login}}}
    if query == ENQUEUE:
        return _enqueue(request.app.state.repositories, asked.variables.get("input", {}), person)
    if query == COMMIT:
        return _commit(request.app.state.repositories, asked.variables.get("input", {}), person)
    if query in (AUTO_MERGE, NO_AUTO_MERGE):
        return _auto_merge(request.app.state.repositories, query, asked.variables.get("input", {}), person)
    known = ", ".join((ENQUEUE, AUTO_MERGE, NO_AUTO_MERGE, COMMIT))
    return {"errors": [{"message": f"The forge answers {{ viewer {{ login }} }}, {known} only."}]}


def _auto_merge(repositories: Iterable[Forge], query: str, given: dict[str, Any], person: Person) -> Json:
    """Switch auto-merge of a pull request on or off."""
    name = "enablePullRequestAutoMerge" if query == AUTO_MERGE else "disablePullRequestAutoMerge"

    def refused(kind: str, message: str) -> Json:
        return {"data": {name: None}, "errors": [{"type": kind, "path": [name], "message": message}]}

    try:
        wanted = WantedAutoMerge.model_validate(given)
    except ValueError as wrong:
        return {"errors": [{"message": f"Variable $input of type {name}Input! was provided invalid value ({wrong})"}]}
    if not (person.may("contents") and person.may("pull_requests")):
        return refused("FORBIDDEN", "Resource not accessible by integration")
    how = AutoMerge(
        by=person.login,
        starts_workflows=person.starts_workflows,
        method=METHODS[wanted.method],
        title=wanted.title,
        message=wanted.message,
    )
    try:
        for forge in repositories:
            number = forge.set_auto_merge(wanted.node, how if query == AUTO_MERGE else None, expected=wanted.expected)
            if number is not None:
                return {"data": {name: {"pullRequest": {"number": number}}}}
    except ApiError as error:
        return refused("UNPROCESSABLE", error.message)
    return refused("NOT_FOUND", f"Could not resolve to a node with the global id of '{wanted.node}'.")


def _commit(repositories: Iterable[Forge], given: dict[str, Any], person: Person) -> Json:
    """Append a signed commit to a branch, as the owner of the token; see GraphQL's createCommitOnBranch."""
    try:
        wanted = CommitOnBranch.model_validate(given)
        files = wanted.files()
    except ValueError as wrong:
        message = f"Variable $input of type CreateCommitOnBranchInput! was provided invalid value ({wrong})"
        return {"errors": [{"message": message, "extensions": {"value": None, "problems": []}}]}
    name = wanted.repository.lower()
    forge = next((one for one in repositories if one.repository.lower() == name), None)
    try:
        if forge is None:
            raise ApiError(404, f"Could not resolve to a Repository with the name '{name}'.")
        if not person.may("contents"):
            raise ApiError(403, "Resource not accessible by integration")
        oid = forge.commit_on_branch(
            wanted.branch.removeprefix("refs/heads/"),
            expected=wanted.expected,
            message="\n\n".join(part for part in (wanted.headline, wanted.body) if part),
            files=files,
            by=person,
        )
    except ApiError as refused:
        kind = {403: "FORBIDDEN", 404: "NOT_FOUND", 409: "STALE_DATA"}.get(refused.status, "UNPROCESSABLE")
        error = {"type": kind, "path": ["createCommitOnBranch"], "message": refused.message}
        return {"data": {"createCommitOnBranch": None}, "errors": [error]}
    return {"data": {"createCommitOnBranch": {"commit": {"oid": oid}}}}


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
