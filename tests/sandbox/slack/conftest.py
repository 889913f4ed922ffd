"""A workspace that runs, an app under slack_bolt that it talks to, and people who use it."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from slack_bolt import App
from slack_bolt.adapter.starlette import SlackRequestHandler
from slack_sdk import WebClient
from slack_sdk.web import SlackResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.sandbox.processes import Part, Ports, Processes
from tests.sandbox.slack.shapes import check_answer, check_request
from tests.servers import running

TOKEN = "xoxb-test"
APP_TOKEN = "xapp-1-A0PROMOBOT-test"
SECRET = "signing-secret-of-the-tests"
CHANNEL = "C0RELEASES"
DEADLINE_SECONDS = 20.0
MANIFEST: dict[str, Any] = {
    "display_information": {"name": "Promobot"},
    "features": {
        "bot_user": {"display_name": "promobot"},
        "slash_commands": [
            {"command": "/promote", "description": "Promote a version", "usage_hint": "MODEL VERSION ENV"},
            {"command": "/who", "description": "Who is that"},
        ],
    },
    "oauth_config": {"scopes": {"bot": ["chat:write", "commands", "channels:history"]}},
    "settings": {
        "interactivity": {"is_enabled": True},
        "socket_mode_enabled": False,
    },
}


def until(condition: Callable[[], Any]) -> Any:
    """Return what the condition returns once that is true."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.05)
    return found


class Client(WebClient):
    """slack_sdk's client; every answer is held to Slack's documentation."""

    def api_call(self, api_method: str, **given: Any) -> SlackResponse:
        answer = super().api_call(api_method, **given)
        check_answer(api_method, answer.data)
        return answer


class Slack:
    """A running workspace, and clients of it."""

    def __init__(self, processes: Processes, part: Part) -> None:
        self.processes, self.part = processes, part
        self.url = f"http://127.0.0.1:{part.port}"
        self.client = self.client_with(TOKEN)

    def client_with(self, token: str | None) -> WebClient:
        return Client(token=token, base_url=f"{self.url}/api/", retry_handlers=[])

    def fault(self, **fault: Any) -> None:
        httpx.post(f"{self.url}/faults", json=fault).raise_for_status()

    def install(self, *, request_url: str = "", socket_mode: bool = False, scopes: list[str] | None = None) -> None:
        manifest = json.loads(json.dumps(MANIFEST))
        manifest["settings"]["socket_mode_enabled"] = socket_mode
        if scopes is not None:
            manifest["oauth_config"]["scopes"]["bot"] = scopes
        app = {"manifest": manifest, "signing_secret": SECRET, "app_token": APP_TOKEN, "request_url": request_url}
        answer = httpx.post(f"{self.url}/app", json=app)
        assert answer.status_code == 200, answer.text

    def does(self, who: str, deed: str, **said: Any) -> dict[str, Any]:
        """Have somebody do something; return what they see of it at once."""
        answer = httpx.post(f"{self.url}/people/{who}/{deed}", json=said, timeout=30)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def types(self, who: str, text: str, *, channel: str = CHANNEL, **more: Any) -> dict[str, Any]:
        return self.does(who, "types", channel=channel, text=text, **more)

    def sees(self, who: str) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.url}/people/{who}/sees.json").json()
        return found

    def alone(self, who: str, channel: str = CHANNEL) -> list[dict[str, Any]]:
        """Return what only this person sees in a channel."""
        seen = {one["id"]: one for one in self.sees(who)["channels"]}
        found: list[dict[str, Any]] = seen[channel]["ephemerals"]
        return found

    def deliveries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(f"{self.url}/deliveries.json").json()["deliveries"]
        return found


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slack]:
    directory = tmp_path_factory.mktemp("slack")
    with Ports() as ports:
        port = ports.take()
        command = (sys.executable, "-m", "bot.sandbox.slack", "--port", str(port), "--token", TOKEN)
        options = ("--dir", str(directory / "data"))
        part = Part(name="slack", command=(*command, *options), port=port)
        with running(directory, part) as processes:
            yield Slack(processes, part)


@pytest.fixture
def slack(workspace: Slack) -> Iterator[Slack]:
    yield workspace
    httpx.delete(f"{workspace.url}/faults").raise_for_status()


class Served:
    """A slack_bolt App behind HTTP, and every request that reached it, each held to Slack's documentation."""

    def __init__(self, app: App, port: int) -> None:
        self.app, self.url = app, f"http://127.0.0.1:{port}/slack/events"
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.undocumented: list[str] = []
        handler = SlackRequestHandler(app)

        async def endpoint(request: Request) -> Response:
            self.requests.append((dict(request.headers), await request.body()))
            try:
                check_request(request.headers["content-type"], await request.body())
            except AssertionError as error:
                self.undocumented.append(str(error))
            return await handler.handle(request)

        application = Starlette(routes=[Route("/slack/events", endpoint, methods=["POST"])])
        config = uvicorn.Config(application, host="127.0.0.1", port=port, ws="none", log_level="warning")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> Served:
        self.thread.start()
        until(lambda: self.server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(DEADLINE_SECONDS)


def bolt(slack: Slack) -> App:
    """An app of Bolt's, whose Web API is the workspace's."""
    return App(client=slack.client_with(TOKEN), signing_secret=SECRET, process_before_response=False)


@pytest.fixture
def served(slack: Slack) -> Iterator[Served]:
    """An app over HTTP that is installed in the workspace."""
    with Ports() as ports, Served(bolt(slack), ports.take()) as running_app:
        slack.install(request_url=running_app.url)
        yield running_app
        assert running_app.undocumented == []
