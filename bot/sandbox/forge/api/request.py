"""What every call has in common: who asks, for which repository, which page of a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from bot.sandbox.forge.errors import ApiError, not_found
from bot.sandbox.forge.forge import Forge
from bot.sandbox.forge.people import Person

Item = TypeVar("Item")


class Body(BaseModel):
    """A request's JSON; keys that the forge has no use for are let through, as GitHub does."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def _forge(request: Request) -> Forge:
    forge = request.app.state.forge
    assert isinstance(forge, Forge)  # noqa: S101 - set where the application is made
    return forge


def _asker(request: Request) -> Person:
    """The person of the request's token. Raises 401 in GitHub's words."""
    authorization = request.headers.get("authorization", "")
    if not authorization:
        raise ApiError(401, "Must authenticate to access this API.")
    person = _forge(request).people.of(authorization)
    if person is None:
        raise ApiError(401, "Bad credentials")
    return person


def _repository(owner: str, name: str, request: Request) -> Forge:
    forge: Forge | None = request.app.state.repositories.named(f"{owner}/{name}")
    if forge is None:
        raise not_found()
    return forge


Anyone = Annotated[Person, Depends(_asker)]


def refused(person: Person) -> ApiError:
    """403 for who may not, in GitHub's words."""
    kind = "integration" if person.type == "Bot" else "personal access token"
    return ApiError(403, f"Resource not accessible by {kind}")


def _writer(person: Anyone, request: Request) -> Person:
    if not any(person.may(permission) for permission in _guards(request)):
        raise refused(person)
    return person


def _guards(request: Request) -> tuple[str, ...]:
    """The permissions of which one is needed to write here."""
    part = request.url.path.split("/repos/", 1)[-1].split("/")[2:]
    if part[:1] == ["pulls"]:
        return ("contents",) if part[2:] == ["merge"] else ("pull_requests",)
    return {
        "issues": ("issues", "pull_requests"),
        "actions": ("actions",),
        "check-runs": ("checks",),
        "branches": ("administration",),
    }.get(part[0] if part else "", ("contents",))


def _administrator(person: Anyone) -> Person:
    if person.permissions is None and person.permission != "admin":
        raise not_found()  # for people without the right, it does not exist
    if not person.may("administration"):
        raise refused(person)
    return person


Administrator = Annotated[Person, Depends(_administrator)]
Writer = Annotated[Person, Depends(_writer)]
Server = Annotated[Forge, Depends(_forge)]
Found = Annotated[Forge, Depends(_repository)]
"""The repository that the address names."""


class Pages:
    """Cuts a list into pages and says in the Link header where the others are."""

    def __init__(
        self,
        request: Request,
        response: Response,
        per_page: Annotated[int, Query(ge=1)] = 30,
        page: Annotated[int, Query(ge=1)] = 1,
    ) -> None:
        self._request, self._response = request, response
        self._size, self._page = min(per_page, 100), page

    def of(self, items: Sequence[Item], answer: Callable[[Item], Any]) -> list[Any]:
        """The answers of this page's items only."""
        last = max(1, -(-len(items) // self._size))
        links = []
        if self._page > 1:
            links += [("prev", min(self._page - 1, last)), ("first", 1)]
        if self._page < last:
            links += [("next", self._page + 1), ("last", last)]
        if links:
            self._response.headers["Link"] = ", ".join(f'<{self._url(page)}>; rel="{name}"' for name, page in links)
        start = (self._page - 1) * self._size
        return [answer(item) for item in items[start : start + self._size]]

    def _url(self, page: int) -> str:
        forge = _forge(self._request)
        query = {**self._request.query_params, "page": str(page)}
        return f"{forge.server_url}{self._request.url.path}?{urlencode(query)}"


Paged = Annotated[Pages, Depends()]


def found(thing: Item | None) -> Item:
    """The thing itself. Raises 404 if it does not exist."""
    if thing is None:
        raise not_found()
    return thing


def commit_of(forge: Forge, ref: str) -> str:
    """The commit that ``ref`` names. Raises 422 as GitHub does for a commit that is not there."""
    sha = forge.git.resolve(ref.removeprefix("heads/").removeprefix("tags/"))
    if sha is None:
        raise ApiError(422, f"No commit found for SHA: {ref}")
    return sha
