"""The pages over HTTP: read-only, without a secret, and answered from memory whatever the platform does.

A page asks no system. It is made of what the loops read last, once for each state of that and each address that is
asked for, so many viewers cost what one does.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import json
import logging
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from bot.board import views
from bot.board.board import Board
from bot.board.known import in_turn
from bot.board.snapshot import Snapshot
from bot.board.views import Filter, ProblemPage, Row
from bot.concurrency import begin
from bot.domain.names import ENVIRONMENT_NAME, MODEL_NAME
from bot.errors import PromobotError, Refused
from bot.extras import needed
from bot.redaction import redact

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

log = logging.getLogger("bot.board")

EXTRA = "board"
HERE = Path(__file__).parent
PAGES_KEPT = 64
RECORDS_KEPT, RECORD_SECONDS, RECORDS_AT_ONCE = 256, 10.0, 4
LONGEST_QUERY, LONGEST_WHO = 2_000, 80
REFRESH_SECONDS = 2
CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = (
    ("content-security-policy", CSP),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
)
STATIC = {
    "board.css": "text/css; charset=utf-8",
    "board.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""Every file that is served as it is."""


@dataclass(frozen=True)
class Page:
    """A part of a page as it was made: the whole ``main`` of it, and what it is the same by."""

    body: str
    etag: str
    title: str
    status: int = 200


class Pages:
    """The pages of a board, made when somebody asks, once for each state of what is known."""

    def __init__(self, board: Board) -> None:
        with needed(EXTRA, by="promobot board"):
            from jinja2 import Environment, FileSystemLoader, StrictUndefined

        self._board = board
        # Whatever a file is called: every text is escaped.
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["clock"] = views.stamp
        self._made: OrderedDict[Hashable, Page] = OrderedDict()
        self._rows: dict[str, tuple[Snapshot, tuple[Row, ...]]] = {}
        self._making = threading.Lock()

    def board(self, chosen: Filter, page: int) -> Page:
        """Return the first page with this filter."""

        def make(found: list[Snapshot], rows: dict[str, tuple[Row, ...]]) -> tuple[str, Any, str, int]:
            shown = views.board_page(found, rows, chosen, page=page)
            return "_board.html", shown, f"{shown.said} Promobot", 200

        return self._page(("board", chosen, page), make)

    def model(self, environment: str, model: str) -> Page:
        """Return the page of one model, or one that says that there is none."""

        def make(found: list[Snapshot], rows: dict[str, tuple[Row, ...]]) -> tuple[str, Any, str, int]:
            one = next((one for one in found if one.environment == environment), None)
            shown = views.model_page(one, rows, model, beside=found) if one is not None else None
            if shown is None:
                return "_problem.html", _no_model(environment, model), "Not found", 404
            return "_model.html", shown, f"{model} in {environment}", 200

        return self._page(("model", environment, model), make)

    def problem(self, found: ProblemPage) -> Page:
        """Return a page that says what is wrong."""
        body = redact(self._templates.get_template("_problem.html").render(page=found))
        return Page(body, _etag(body), found.title, found.status)

    def whole(self, page: Page, *, who: str, href: str) -> str:
        """Return the whole document around a page, as this viewer gets it."""
        return self._templates.get_template("base.html").render(
            title=page.title, main=page.body, who=who, refresh_seconds=REFRESH_SECONDS, href=href
        )

    def _page(self, key: Hashable, make: Callable[..., tuple[str, Any, str, int]]) -> Page:
        with self._making:
            version = self._board.version()
            kept = self._made.get((key, version))
            if kept is not None:
                self._made.move_to_end((key, version))
                return kept
            found = self._board.snapshots()
            rows = {one.environment: self._rows_of(one) for one in found}
            template, shown, title, status = make(found, rows)
            body = redact(self._templates.get_template(template).render(page=shown))
            page = Page(body, _etag(body), title, status)
            if status == 200:
                self._made[key, version] = page
            while len(self._made) > PAGES_KEPT:
                self._made.popitem(last=False)
            return page

    def _rows_of(self, found: Snapshot) -> tuple[Row, ...]:
        kept = self._rows.get(found.environment)
        if kept is None or kept[0] is not found:
            kept = found, views.rows_of(found)
            self._rows[found.environment] = kept
        return kept[1]


class Records:
    """Records as they are. Each is read once: none ever changes."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(RECORDS_AT_ONCE)

    def is_listed(self, environment: str, key: str) -> bool:
        """Whether the board shows such a record: the store's own listing has it, in a folder that is shown."""
        of = self._board.of(environment)
        return of is not None and key in (of.listing.known.value or ())

    def read(self, environment: str, key: str) -> bytes | None:
        """Return a listed record as JSON without secrets; None where it is gone. Raises PromobotError."""
        with self._lock:
            if (kept := self._kept.get((environment, key))) is not None:
                return kept
        of = self._board.of(environment)
        if of is None:
            return None
        with in_turn(self._turns, system="record store", within_seconds=RECORD_SECONDS):
            text = of.platform.records.get(key)
        if text is None:
            return None
        body = redact(text).encode()
        with self._lock:
            self._kept[environment, key] = body
            while len(self._kept) > RECORDS_KEPT:
                self._kept.popitem(last=False)
        return body


def application(board: Board, *, who_header: str = "", hosts: Collection[str] = ()) -> Any:
    """Return the board as an ASGI application.

    ``who_header`` names the header in which a proxy says who looks; without it nobody is named. ``hosts`` are the
    names under which people reach it; addresses of machines and ``localhost`` are reached anyway. Another name is
    refused: a page of somebody else could have it point here, and read the board in a viewer's browser.
    """
    with needed(EXTRA, by="promobot board"):
        from starlette.applications import Starlette
        from starlette.routing import Route

    pages = _Endpoints(Pages(board), Records(board), who_header.lower())
    routes = [
        Route("/", pages.board),
        Route("/healthz", pages.healthz),
        Route("/static/{name}", pages.static),
        Route("/{environment}/records/{path:path}", pages.record),
        Route("/{environment}/{model}", pages.model),
    ]
    app = Starlette(routes=routes, exception_handlers={404: pages.not_found, 500: pages.broken})
    app.router.redirect_slashes = False
    return _Guard(app, hosts=frozenset(host.lower() for host in hosts))


class _Endpoints:
    """What each address answers."""

    def __init__(self, pages: Pages, records: Records, who_header: str) -> None:
        self._pages, self._records, self._who_header = pages, records, who_header
        self._static = {name: (HERE / "static" / name).read_bytes() for name in STATIC}

    async def board(self, request: Request) -> Response:
        """The first page."""
        asked = dict(parse_qsl(request.url.query[:LONGEST_QUERY], max_num_fields=20))
        environment = asked.get("env", "")
        number = asked.get("page", "1")
        chosen = Filter(
            environment=environment if ENVIRONMENT_NAME.fullmatch(environment) else "",
            q=asked.get("q", "").strip()[:63],
            trouble=asked.get("show") == "trouble",
        )
        page = int(number) if number.isascii() and number.isdecimal() and len(number) < 7 else 1
        return await self._answer(request, partial(self._pages.board, chosen, page))

    async def model(self, request: Request) -> Response:
        """The page of one model."""
        environment, model = request.path_params["environment"], request.path_params["model"]
        if not ENVIRONMENT_NAME.fullmatch(environment) or not MODEL_NAME.fullmatch(model):
            return await self.not_found(request, None)
        return await self._answer(request, partial(self._pages.model, environment, model))

    async def record(self, request: Request) -> Response:
        """One record as it is."""
        environment, key = request.path_params["environment"], request.path_params["path"]
        if not ENVIRONMENT_NAME.fullmatch(environment) or not self._records.is_listed(environment, key):
            return await self.not_found(request, None)
        reading = begin(partial(self._records.read, environment, key), name="board: a record")
        try:
            # Shielded: the thread goes on when nobody waits for it, and its answer is kept.
            body = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(reading)), RECORD_SECONDS)
        except TimeoutError:
            return await self._problem(request, 504, "The record store does not answer in time.")
        except PromobotError as error:
            return await self._problem(request, 502, str(error))
        if body is None:
            return await self.not_found(request, None)
        return _cached(request, body, f'"{hashlib.sha256(body).hexdigest()[:32]}"', "application/json; charset=utf-8")

    async def static(self, request: Request) -> Response:
        """A file of the page."""
        name = request.path_params["name"]
        if name not in STATIC:
            return await self.not_found(request, None)
        body = self._static[name]
        return _cached(request, body, f'"{hashlib.sha256(body).hexdigest()[:32]}"', STATIC[name])

    async def healthz(self, _: Request) -> Response:
        """Say that the process answers; the pages say what it knows."""
        from starlette.responses import Response

        return Response(json.dumps({"status": "up"}), media_type="application/json")

    async def not_found(self, request: Request, _: object) -> Response:
        """There is nothing at this address."""
        return await self._problem(request, 404, "There is no such page.")

    async def broken(self, request: Request, error: Exception) -> Response:
        """A page that could not be made; its cause is in the log."""
        log.error("a page could not be made", exc_info=error)
        return await self._problem(request, 500, "This page could not be made. The log of the board says why.")

    async def _problem(self, request: Request, status: int, said: str) -> Response:
        from starlette.responses import HTMLResponse

        page = self._pages.problem(ProblemPage(status, _TITLES[status], said))
        return HTMLResponse(self._pages.whole(page, who=self._who(request), href="/"), status_code=status)

    async def _answer(self, request: Request, make: Callable[[], Page]) -> Response:
        from starlette.concurrency import run_in_threadpool

        # Another thread makes it, so those who get a page that is made already do not wait for it.
        page = await run_in_threadpool(make)
        is_part = "part" in request.query_params
        who = "" if is_part else self._who(request)
        etag = f'W/"{page.etag}"' if not who else f'W/"{page.etag}-{_etag(who)[:8]}"'
        if page.status == 200 and _has(request, etag):
            return _not_modified(etag)
        body = page.body if is_part else self._pages.whole(page, who=who, href=_href(request))
        return _cached(request, body.encode(), etag, "text/html; charset=utf-8", status=page.status)

    def _who(self, request: Request) -> str:
        """Return who looks, as the proxy in front says; only where a header was named for that."""
        said = request.headers.get(self._who_header, "") if self._who_header else ""
        return redact("".join(one for one in said if one.isprintable())[:LONGEST_WHO])


_TITLES = {
    404: "Not found",
    500: "Something is wrong with the board",
    502: "The record cannot be read",
    504: "The record cannot be read now",
}


class _Guard:
    """Refuses whatever is not a plain read under a known name, and adds the headers that every answer has."""

    def __init__(self, app: Any, *, hosts: frozenset[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message.get("headers", ())}
                added = [(n.encode(), v.encode()) for n, v in HEADERS if n.encode() not in given]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        if scope["method"] not in ("GET", "HEAD"):
            await _refuse(guarded, 405, "the board is only read: GET and HEAD", ("allow", "GET, HEAD"))
        elif scope["path"] != "/healthz" and not _is_known(_host(scope), self._hosts):
            await _refuse(guarded, 421, "the board does not go by this name; promobot board --host-name says one")
        else:
            await self._app(scope, receive, guarded)


def _host(scope: Any) -> str:
    found = [value for name, value in scope["headers"] if name == b"host"]
    return found[0].decode("latin-1").lower() if len(found) == 1 else ""


def _is_known(host: str, hosts: frozenset[str]) -> bool:
    """Whether a host is an address, which no DNS can point elsewhere, or one of the given names."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name == "localhost" or name in hosts:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _refuse(send: Any, status: int, said: str, *headers: tuple[str, str]) -> None:
    body = f"{said}\n".encode()
    given = [("content-type", "text/plain; charset=utf-8"), ("content-length", str(len(body))), *headers]
    listed = [(name.encode(), value.encode()) for name, value in given]
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": body})


def _cached(request: Request, body: bytes, etag: str, kind: str, *, status: int = 200) -> Response:
    from starlette.responses import Response

    if status == 200 and _has(request, etag):
        return _not_modified(etag)
    headers = {"etag": etag, "cache-control": "private, no-cache", "content-type": kind}
    return Response(body, status_code=status, headers=headers)


def _has(request: Request, etag: str) -> bool:
    asked = request.headers.get("if-none-match", "")
    return etag.removeprefix("W/") in (one.strip().removeprefix("W/") for one in asked[:1_000].split(","))


def _not_modified(etag: str) -> Response:
    from starlette.responses import Response

    return Response(status_code=304, headers={"etag": etag, "cache-control": "private, no-cache"})


def _href(request: Request) -> str:
    query = request.url.query[:LONGEST_QUERY]
    return request.url.path + (f"?{query}" if query else "")


def _etag(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:32]


def _no_model(environment: str, model: str) -> ProblemPage:
    return ProblemPage(404, "Not found", f"Neither routes, main nor records know a model {model} in {environment}.")


@contextlib.contextmanager
def running(board: Board) -> Iterator[None]:
    """Start a board; stop it when the block ends."""
    board.start()
    try:
        yield
    finally:
        board.stop()


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; raise Refused where nothing can. uvicorn would end the process."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # asyncio sends without delay only where the protocol is named.
        made = socket.socket(family, kind, socket.IPPROTO_TCP)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(128)
    except OSError as error:
        raise Refused(
            f"the board cannot be served at {host}:{port}: {error.strerror or error}",
            state="Nothing was read.",
            next_step="Name another --port, or --host.",
        ) from error
    return made


def serve(board: Board, *, host: str, port: int, who_header: str = "", hosts: Collection[str] = ()) -> bool:
    """Serve the board until SIGTERM or SIGINT; return whether it ever started."""
    with needed(EXTRA, by="promobot board"):
        import uvicorn

    listening = _listening(host, port)
    app = application(board, who_header=who_header, hosts=hosts)
    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    with running(board), contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    return server.started
