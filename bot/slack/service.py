"""The Slack app as a service: under HTTP, mounted in an application, or in Socket Mode."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bot import environment_files
from bot.credentials import Credentials
from bot.errors import InvalidInput
from bot.platform import Platform
from bot.settings import Environment
from bot.slack import app as bolt
from bot.slack.doing import Doing
from bot.slack.guard import PATH, Guard
from bot.slack.inbox import Asked, Inbox
from bot.slack.people import People
from bot.slack.worker import DRIFT_SECONDS, FOLLOW_SECONDS, Worker

log = logging.getLogger("bot.slack")
STATE = "slack"
"""Of the record store: the folder in which the inbox is, unless another is named."""


class SlackService:
    """Serves the environments of one checkout. Replicas that share ``state`` run side by side.

    ``router`` is for a FastAPI application, ``asgi`` for any other; with the latter call ``start`` and ``stop``.
    """

    def __init__(
        self,
        root: Path,
        *,
        environments: tuple[str, ...] = (),
        state: Path | None = None,
        follow_seconds: float = FOLLOW_SECONDS,
        drift_seconds: float = DRIFT_SECONDS,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """``variables`` hold the secrets that the settings name; by default those of this process, now and later."""
        variables = os.environ if variables is None else variables
        open_platform = partial(Platform, variables=variables)
        self._root, self._credentials = root, Credentials(variables)
        self._names = environments or tuple(environment_files.environments(root))
        listed = self.settings()
        self._first = _one_app(listed)
        self.inbox = _inbox_at(state, listed) if state else _inbox_beside_the_records(listed)
        self.inbox.begin()
        doing = Doing(root, self._names, self.inbox, People(), open_platform)
        self.worker = Worker(
            self.inbox,
            doing,
            self.settings,
            open_platform,
            follow_seconds=follow_seconds,
            drift_seconds=drift_seconds,
        )

    def settings(self) -> list[Environment]:
        """Return the environments' settings as they are in the checkout now.

        A file with a mistake must not silence the other environments: it is left out, and so is one whose ``slack``
        cannot be read. Raises InvalidInput where nothing is left.
        """
        found, broken = environment_files.load_all_for_the_way_back(self._root, self._names)
        usable = [settings for settings in found if settings.can_use("slack")]
        mistakes = [*broken, *(mistake for settings in found for mistake in settings.mistakes)]
        for mistake in mistakes:
            log.error("%s", mistake)
        if mistakes and not usable:
            raise mistakes[0]
        return usable

    def start(self) -> None:
        """Begin to work on what is in the inbox."""
        self.worker.start()

    def stop(self) -> None:
        """Stop when what is under way is done."""
        self.worker.stop()

    # --- HTTP --------------------------------------------------------------------------------------------------

    @property
    def asgi(self) -> Any:
        """An ASGI application that takes what Slack sends, wherever it is mounted."""
        variable = self._first.slack.signing_secret_env
        secret = self._credentials.secret(variable, purpose="the signing secret of the Slack app")
        return Guard(bolt_endpoint(self._bolt(secret)), secret=secret)

    @property
    def router(self) -> Any:
        """A FastAPI router: POST /slack/events, and the worker while the application runs."""
        from fastapi import APIRouter

        router = APIRouter(lifespan=self.lifespan)
        router.add_route(PATH, _Endpoint(self.asgi))  # type: ignore[arg-type]
        return router

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """Work as long as the application runs. Part of ``router`` already."""
        from starlette.concurrency import run_in_threadpool

        self.start()
        try:
            yield
        finally:
            await run_in_threadpool(self.stop)

    def serve(self, *, host: str, port: int) -> bool:
        """Serve HTTP until SIGTERM or SIGINT; return whether it ever started."""
        import uvicorn
        from fastapi import FastAPI

        app = FastAPI(title="Promobot's Slack app", docs_url=None, redoc_url=None, openapi_url=None)
        app.include_router(self.router)
        app.add_api_route("/health", lambda: {"status": "up"}, methods=["GET"])
        config = uvicorn.Config(
            app, host=host, port=port, ws="none", log_config=None, access_log=False, server_header=False
        )
        server = uvicorn.Server(config)
        # When it has stopped, uvicorn sends itself again the signal that told it to.
        with contextlib.suppress(KeyboardInterrupt):
            server.run()
        return server.started

    # --- Socket Mode -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def socket(self) -> Iterator[None]:
        """Be connected by Socket Mode, and work, until the block ends."""
        from slack_bolt.adapter.socket_mode import SocketModeHandler

        from bot.systems.slack import Client

        slack = self._first.slack
        token = self._credentials.secret(slack.app_token_env, purpose="the app-level token for Socket Mode")
        client = Client(base_url=slack.api_url + "/")
        handler = SocketModeHandler(self._bolt(""), app_token=token, web_client=client)
        # The library's own default is the first proxy of the environment, also for hosts in NO_PROXY.
        handler.client.proxy = client.proxy
        handler.connect()  # type: ignore[no-untyped-call]
        self.start()
        try:
            yield
        finally:
            handler.close()  # type: ignore[no-untyped-call]
            self.stop()

    def serve_socket(self) -> None:
        """Be connected by Socket Mode until SIGTERM or SIGINT."""
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        with self.socket():
            log.info("connected to Slack")
            ended.wait()

    def _bolt(self, secret: str) -> Any:
        token = self._credentials.secret(self._first.slack.token_env, purpose="Slack's bot token")

        def put(asked: Asked) -> None:
            if self.inbox.put(asked):
                self.worker.wake()

        return bolt.create(put, token=token, signing_secret=secret)


def bolt_endpoint(app: Any) -> Any:
    """Return an ASGI application that has Bolt answer. What Bolt cannot read, though Slack signed it, is 400."""
    from slack_bolt.adapter.starlette.handler import to_bolt_request, to_starlette_response
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        body = await request.body()
        response: Response
        try:
            # Bolt waits for its listener; the loop must not.
            answer = await run_in_threadpool(app.dispatch, to_bolt_request(request, body))
            response = to_starlette_response(answer)
        except Exception:
            log.exception("Bolt could not read what Slack signed")
            response = PlainTextResponse("cannot be read", 400)
        await response(scope, receive, send)

    return handle


class _Endpoint:
    """An ASGI application as a route takes it: an instance, not a function."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


def _one_app(listed: list[Environment]) -> Environment:
    """Return the first environment; raise InvalidInput where another one belongs to another Slack app."""
    if not listed:
        raise InvalidInput("there is no environment to serve", key="--env")
    first = listed[0]
    for other in listed[1:]:
        for name in ("api_url", "token_env", "signing_secret_env", "app_token_env"):
            if getattr(other.slack, name) != getattr(first.slack, name):
                raise InvalidInput(
                    f"{other.environment} has another slack.{name} than {first.environment}",
                    key="--env",
                    next_step="Run one service for each Slack app, and name its environments with --env.",
                )
    return first


def _inbox_at(state: Path, listed: list[Environment]) -> Inbox:
    """Return the inbox in this directory; where that is in a record store, the record store has the marker."""
    stores = {Path(settings.records) for settings in listed if isinstance(settings.records, str)}
    return Inbox(state, below=next((store for store in stores if state.is_relative_to(store)), None))


def _inbox_beside_the_records(listed: list[Environment]) -> Inbox:
    stores = {settings.records for settings in listed if isinstance(settings.records, str)}
    if len(stores) != 1 or any(settings.records_bucket for settings in listed):
        why = "records are in a bucket, which has no locks" if len(stores) <= 1 else "there are several record stores"
        raise InvalidInput(
            f"the inbox has no place of its own: {why}",
            key="--state",
            next_step="Say where the inbox is with --state DIR; all replicas share it.",
        )
    records = Path(stores.pop())
    return Inbox(records / STATE, below=records)
