"""Where repositories are found: by name, by a former name, by number.

As GitHub does with a repository that was renamed or transferred: a former name answers 301 to what reads and 307 to
what writes, in the API with the address by the repository's number, for Git and the pages with the new name.
https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api#follow-redirects
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.sandbox.forge.errors import DOCUMENTATION
from bot.sandbox.forge.forge import Forge

_IN_API = re.compile(r"(?P<before>/api/v3)/repos/(?P<name>[^/]+/[^/]+)(?P<rest>(?:/.*)?)")
_BY_NUMBER = re.compile(r"(?P<before>/api/v3)/repositories/(?P<number>\d+)(?P<rest>(?:/.*)?)")
_OUTSIDE = re.compile(r"/(?P<name>[^/]+/[^/]+?)(?P<rest>(?:\.git)?(?:/.*)?)")


class Repositories:
    """The repositories of one server. Names count whatever their case."""

    def __init__(self, *repositories: Forge) -> None:
        self._repositories = repositories

    def __iter__(self) -> Iterator[Forge]:
        return iter(self._repositories)

    def named(self, name: str) -> Forge | None:
        """The repository that has this name now."""
        return next((one for one in self if one.repository.lower() == name.lower()), None)

    def formerly(self, name: str) -> Forge | None:
        """The repository that had this name, unless another has it now."""
        if self.named(name) is not None:
            return None
        return next((one for one in self if name.lower() in map(str.lower, one.store.settings.former_names)), None)

    def numbered(self, number: int) -> Forge | None:
        """The repository with this number, which no rename changes."""
        return next((one for one in self if one.number == number), None)


class Redirects:
    """Answers for former names, and lets the address by number be the one by name."""

    def __init__(self, app: ASGIApp, repositories: Repositories) -> None:
        self._app, self._repositories = app, repositories

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if by_number := _BY_NUMBER.fullmatch(path):
            if forge := self._repositories.numbered(int(by_number["number"])):
                path = f"{by_number['before']}/repos/{forge.repository}{by_number['rest']}"
                scope = {**scope, "path": path, "raw_path": path.encode()}
            await self._app(scope, receive, send)
            return
        in_api = _IN_API.fullmatch(path)
        asked = in_api or (None if path.startswith("/api/") else _OUTSIDE.fullmatch(path))
        forge = self._repositories.formerly(asked["name"]) if asked else None
        if asked is None or forge is None:
            await self._app(scope, receive, send)
            return
        await Request(scope, receive).body()  # or the client would find its connection closed while it sends
        query = scope["query_string"].decode()
        rest = asked["rest"] + (f"?{query}" if query else "")
        status = 301 if scope["method"] in ("GET", "HEAD") else 307
        if in_api:
            location = f"{forge.answers.api}/repositories/{forge.number}{rest}"
            words = "Moved Permanently" if status == 301 else "Temporary Redirect"
            said = {"message": words, "url": location, "documentation_url": DOCUMENTATION}
            await JSONResponse(said, status, {"Location": location})(scope, receive, send)
            return
        location = f"{forge.answers.page}{rest}"
        await PlainTextResponse("", status, {"Location": location})(scope, receive, send)
