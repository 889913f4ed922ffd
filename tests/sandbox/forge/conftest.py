"""A real forge on a free port, and a person with a clone of its repository."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import github
import httpx
import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.sandbox.actions.actions import Settings
from bot.sandbox.forge.app import application, open_forge
from bot.sandbox.forge.forge import Forge
from bot.sandbox.forge.people import People, Person
from tests.contract.contract import Exchange, Recorder, violations, webhook_violations

REPOSITORY = "acme/models"
PEOPLE = {
    "alex-token": Person(login="alex"),
    "bot-token": Person(login="promobot[bot]", type="Bot"),
    "owner-token": Person(login="olga", permission="admin"),
    "reader-token": Person(login="robin", permission="read"),
}


def wait_until(holds: Callable[[], object], *, timeout_seconds: float = 20.0) -> None:
    """Poll until ``holds`` is true; fail the test when it is not in time."""
    deadline = time.monotonic() + timeout_seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_seconds} s"
        time.sleep(0.02)


class Below:
    """Serves an application below a path, as a reverse proxy in front of an Enterprise Server may; 404 elsewhere."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app, self._prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if not scope["path"].startswith(f"{self._prefix}/"):
                await PlainTextResponse("Not found\n", status_code=404)(scope, receive, send)
                return
            raw: bytes = scope.get("raw_path") or scope["path"].encode()
            cut = {"path": scope["path"].removeprefix(self._prefix), "raw_path": raw[len(self._prefix.encode()) :]}
            scope = {**scope, **cut}
        await self._app(scope, receive, send)


class Server:
    """The forge served in a thread, and the ways in."""

    def __init__(self, folder: Path, settings: Settings | None, *, prefix: str = "") -> None:
        """``prefix`` is the path below which all of it is, as behind a reverse proxy."""
        # asyncio sends without delay only where the protocol is named.
        self._socket = socket.socket(proto=socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}{prefix}"
        self.folder = folder
        self.forge: Forge = open_forge(
            folder=folder, repository=REPOSITORY, server_url=self.url, people=People(PEOPLE), settings=settings
        )
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.forge.on_event = lambda event, payload: self.told.append((event, json.loads(json.dumps(payload))))
        self._recorder = Recorder(application(self.forge))
        served = Below(self._recorder, prefix) if prefix else self._recorder
        config = uvicorn.Config(served, log_level="warning", timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self._server.started)

    def stop(self) -> None:
        """Stop, and fail where anything was said that GitHub's description of its API does not have.

        What the forge refused may have been sent wrong on purpose; the bot's own requests are held to it anyway, in
        tests/contract.
        """
        self._server.should_exit = True
        self._thread.join()
        found = self.violations()
        assert not found, "\n".join(found)

    @property
    def exchanges(self) -> list[Exchange]:
        """Every request to the API so far with its answer."""
        return self._recorder.exchanges

    def violations(self) -> list[str]:
        """What was said that GitHub does not have."""
        found = {problem for one in self.exchanges for problem in violations(one, of_request=one.status < 400)}
        return sorted(found | {problem for told in self.told for problem in webhook_violations(*told)})

    @property
    def page(self) -> str:
        return f"{self.url}/{REPOSITORY}"

    def clone_url(self, person: str = "alex") -> str:
        return f"{self.url.replace('://', f'://x-access-token:{person}-token@')}/{REPOSITORY}.git"

    def api(self, person: str | None = "alex") -> httpx.Client:
        headers = {"Authorization": f"Bearer {person}-token"} if person else {}
        return httpx.Client(base_url=f"{self.url}/api/v3/repos/{REPOSITORY}", headers=headers, timeout=20)

    def as_pygithub(self, person: str = "alex") -> github.Github:
        """PyGithub, without the pauses that it makes out of courtesy to the real GitHub."""
        return github.Github(
            base_url=f"{self.url}/api/v3",
            auth=github.Auth.Token(f"{person}-token"),
            retry=0,
            seconds_between_requests=0,
            seconds_between_writes=0,
        )


class Clone:
    """A work tree of a person, with git as that person uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def git(self, *arguments: str, ok: bool = True) -> str:
        """What git said (both streams); ``ok=False``: it must have refused."""
        who = ["-c", "user.name=Alex", "-c", "user.email=alex@example.com"]
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
        done = subprocess.run(
            ["git", *who, *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) is ok, done.stdout
        return done.stdout.strip()

    def commit(self, message: str, files: dict[str, str]) -> str:
        """Write files, commit them, and return the commit."""
        for path, text in files.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def branch(self, name: str, files: dict[str, str], *, message: str = "A change") -> str:
        """Push a branch off main with one commit, and return the commit."""
        self.git("checkout", "--quiet", "-B", name, "main")
        commit = self.commit(message, files)
        self.git("push", "--quiet", "origin", name)
        self.git("checkout", "--quiet", "main")
        return commit


def clone_of(server: Server, folder: Path, *, person: str = "alex") -> Clone:
    subprocess.run(
        ["git", "clone", "--quiet", server.clone_url(person), str(folder)], check=True, capture_output=True
    )
    return Clone(folder)


def with_first_commit(server: Server, folder: Path, files: dict[str, str]) -> Clone:
    clone = clone_of(server, folder)
    clone.git("checkout", "--quiet", "-B", "main")
    clone.commit("First", {"promotions/dev.yaml": "environment: dev\nmodels: {}\n", **files})
    clone.git("push", "--quiet", "origin", "main")
    return clone


@pytest.fixture(scope="session")
def first_commit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forge's folder and a clone with one commit, made once: each test starts with a copy."""
    folder = tmp_path_factory.mktemp("first")
    server = Server(folder / "forge", None)
    server.start()
    with_first_commit(server, folder / "clone", {})
    server.stop()
    return folder


@pytest.fixture
def server(first_commit: Path, tmp_path: Path) -> Iterator[Server]:
    """A forge that runs no workflows."""
    shutil.copytree(first_commit / "forge", tmp_path / "forge")
    server = Server(tmp_path / "forge", None)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def clone(server: Server, first_commit: Path, tmp_path: Path) -> Clone:
    """A person's clone of its repository."""
    shutil.copytree(first_commit / "clone", tmp_path / "clone")
    clone = Clone(tmp_path / "clone")
    clone.git("remote", "set-url", "origin", server.clone_url())
    return clone


@pytest.fixture
def running_server(tmp_path: Path) -> Iterator[Server]:
    """A forge that runs workflows."""
    settings = Settings(
        path=(str(Path(sys.executable).parent),),
        env={"COLOUR": "green", "AWKWARD": "a 'b' \"c\" $d #e"},
        secrets={"SLACK_TOKEN": "xoxb-secret"},
        vars={"STAGE": "dev"},
        bot_token="bot-token",
    )
    server = Server(tmp_path / "forge", settings)
    server.start()
    yield server
    server.stop()
