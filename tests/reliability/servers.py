"""The servers of the scene, all in one process: forge, Slack, two Tritons, two gateways, and the way to MLflow.

Why one process: a starting state is put back by copying directories and by giving each server its memory of that
moment, which takes milliseconds where starting six processes takes seconds; and one counter sees every request that
the verb under test makes, in the order of their arrival, whoever they are for. The servers are real where the bot's
own code or a protocol is at stake: the gateways are :func:`bot.gateway.create_app`, forge and Slack those of the
sandbox, MLflow the real one behind a proxy that passes on every byte. Only Triton is a stand-in (see
``tests/stand_ins/triton.py``).

A user asks both gateways for every model all the while, over HTTP; what was answered is kept until it is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import signal
import socket
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import httpx
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.domain.routes import RouteTable
from bot.gateway import GatewaySettings, ShadowSettings, create_app
from bot.records.directory import RecordStore
from bot.sandbox.forge.app import application, open_forge
from bot.sandbox.forge.people import People, Person
from bot.sandbox.forge.store import Store
from bot.sandbox.slack import app as slack_app
from bot.sandbox.slack.installation import Installation
from bot.sandbox.slack.slack import Slack
from bot.sandbox.slack.workspace import Channel, Workspace
from tests.stand_ins import triton as stand_in
from tests.stand_ins.triton import StandInTriton
from tests.stores import begin_share

REPOSITORY = "acme/models"
CHANNEL = "C0RELEASES"
ENVIRONMENT = "dev"
TOKENS = {
    "GITHUB_TOKEN": "bot-token-of-the-scene",
    "SLACK_BOT_TOKEN": "xoxb-of-the-scene",
    "PROMOBOT_RELOAD_TOKEN": "reload-token-of-the-scene",
}
PARTS_OF_A_STATE = ("share", "records", "forge", "slack")
USER = b"x-a-user"
QUIET_SECONDS = 45.0
_NEVER_CHANGES = (
    "/api/2.0/mlflow/model-versions/get?",
    "/api/2.0/mlflow/runs/get?",
    "/api/2.0/mlflow-artifacts/artifacts/",
)


@dataclass(frozen=True)
class Ports:
    """Where the servers listen."""

    forge: int
    slack: int
    mlflow: int
    grpc: tuple[int, ...]
    http: tuple[int, ...]
    gateways: tuple[int, ...]
    staging: int
    """The gRPC of the Triton on which pull requests are checked."""
    address: str = "127.0.0.1"


@dataclass(frozen=True)
class Answer:
    """What a user was told by a gateway: ``whole`` is false where it is not what this version's bytes say."""

    gateway: int
    model: str
    status: int
    version: int | None
    whole: bool
    said: str = ""
    """The words of an answer that is none."""


@dataclass
class Look:
    """What the servers have in memory, at one moment."""

    tables: list[RouteTable]
    problems: list[str | None]
    """What each gateway says is wrong with it."""
    ready: list[dict[tuple[str, int], tuple[float, ...]]]
    """What each Triton has READY, and what it would answer to X = 0."""
    messages: list[tuple[str, str]]
    """Slack's: the record's id with how it ended, and the text."""
    pulls: list[tuple[str, str]]
    """The open ones: branch and title."""
    aliases: dict[tuple[str, str], int]
    answers: set[Answer]
    """What users were told since the last look."""
    asked: int
    requests: list[str] = field(default_factory=list)
    killed: bool = False
    whispers: list[str] = field(default_factory=list)
    """What Slack showed to one person only."""


REFUSED = b'{"error": "refused"}'


@dataclass(frozen=True)
class Fault:
    """A request that a server refuses, with this ``body``, while ``springs`` says so."""

    springs: Callable[[], bool] = lambda: True
    body: bytes = REFUSED


class Trap:
    """Counts the requests of the verb under test, and kills it at one of them."""

    def __init__(self) -> None:
        self.disarm()
        self.in_flight: list[str] = []
        self.faults: dict[str, Fault] = {}

    def disarm(self) -> None:
        self.requests: list[str] = []
        self.pid, self.at, self.after, self.killed = 0, 0, False, False
        self.signal, self.named = signal.SIGKILL, ""

    def arm(self, pid: int, at: int, *, after: bool, stop: bool = False, named: str = "") -> None:
        """Kill or stop ``pid`` at request number ``at`` (from 1): before it is handled, or before it is answered.

        With ``named``, at the first request of this name instead, as ``gateway-1 POST /reload``.
        """
        self.disarm()
        self.pid, self.at, self.after, self.named = pid, at, after, named
        self.signal = signal.SIGSTOP if stop else signal.SIGKILL

    def arrives(self, name: str) -> int:
        """Count a request; return its number."""
        self.requests.append(name)
        if self.named and name == self.named:
            self.at, self.named = len(self.requests), ""
        return len(self.requests)

    def springs(self, number: int, *, after: bool) -> bool:
        """Kill the verb if this is the moment; say whether it was."""
        if self.killed or not self.pid or number != self.at or after != self.after:
            return False
        self.killed = True
        os.kill(self.pid, self.signal)
        return self.signal == signal.SIGKILL

    async def around_grpc(self, name: str, handle: Callable[[], Awaitable[Any]]) -> Any:
        """As ``stand_in.Around``."""
        what = f"Triton {name}"
        number = self.arrives(what)
        self.in_flight.append(what)
        try:
            if self.springs(number, after=False):
                raise ConnectionError("whoever asked is dead")
            try:
                return await handle()
            finally:
                self.springs(number, after=True)
        finally:
            self.in_flight.remove(what)


class Counted:
    """An ASGI application behind the trap; ``app`` may be replaced. Requests of users go past it."""

    def __init__(self, name: str, app: ASGIApp, trap: Trap | None) -> None:
        self.name, self.app, self._trap = name, app, trap

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        trap = self._trap
        if trap is None or any(name == USER for name, _ in scope["headers"]):
            await self.app(scope, receive, send)
            return
        what = f"{self.name} {scope['method']} {scope['path']}"
        number = trap.arrives(what)

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                trap.springs(number, after=True)
            await send(message)

        trap.in_flight.append(what)
        try:
            fault = trap.faults.get(f"{self.name} {scope['method']} {scope['path']}")
            if trap.springs(number, after=False):
                await _refuse(send, 500)
            elif fault is not None and fault.springs():
                await receive()
                await _refuse(answered, 409, fault.body)
            else:
                await self.app(scope, receive, answered)
        finally:
            trap.in_flight.remove(what)


async def _refuse(send: Send, status: int, body: bytes = REFUSED) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Servers:
    """All of them, and the commands of the process that runs the matrix."""

    def __init__(self, home: Path, ports: Ports, mlflow: str, database: Path) -> None:
        self.home, self.live, self.ports = home, home / "live", ports
        self._mlflow, self._database = mlflow, database
        self.trap = Trap()
        self.tritons = [StandInTriton(self.repository) for _ in ports.grpc]
        self._staging = StandInTriton(home / "staging")
        self._listening: dict[str, tuple[int, ASGIApp]] = {}
        self._running: dict[str, tuple[uvicorn.Server, asyncio.Task[None]]] = {}
        self._grpc: dict[str, grpc.aio.Server] = {}
        self._states: dict[str, tuple[list[stand_in.State], list[tuple[Any, ...]]]] = {}
        self.known: dict[tuple[str, int], tuple[float, ...]] = {}
        self.asked_for: tuple[str, ...] = ()
        self._answers: set[Answer] = set()
        self._asked, self._epoch = 0, 0
        self._gateways = [Counted(f"gateway-{n}", _nothing, self.trap) for n, _ in enumerate(ports.gateways, 1)]
        self._slack = Counted("Slack", _nothing, self.trap)
        self._ended: list[contextlib.AsyncExitStack] = []

    @property
    def repository(self) -> Path:
        return self.live / "share/model-repo" / ENVIRONMENT

    @property
    def state(self) -> Path:
        return self.live / "share/promobot" / ENVIRONMENT

    def _begin_stores(self) -> None:
        begin_share(self.repository, self.state)
        RecordStore(self.live / "records").begin()

    async def run(self, control: Connection) -> None:
        """Serve until the other end of ``control`` says quit, or is gone."""
        for name in (*PARTS_OF_A_STATE, "tmp"):
            (self.live / name).mkdir(parents=True, exist_ok=True)
        self._begin_stores()
        people = People(
            {
                TOKENS["GITHUB_TOKEN"]: Person(login="promobot[bot]", type="Bot"),
                "alex-token": Person(login="alex"),
            }
        )
        url = f"http://{self.ports.address}:{self.ports.forge}"
        folder = self.live / "forge"
        self._forge = open_forge(folder=folder, repository=REPOSITORY, server_url=url, people=people, settings=None)
        client = httpx.AsyncClient(base_url=self._mlflow, timeout=60, trust_env=False)
        self._listening = {
            "forge": (self.ports.forge, Counted("forge", application(self._forge), self.trap)),
            "Slack": (self.ports.slack, self._slack),
            "MLflow": (self.ports.mlflow, Counted("MLflow", _Proxy(client), self.trap)),
            **{
                f"triton-{n}": (port, stand_in.http_app(triton))
                for n, (port, triton) in enumerate(zip(self.ports.http, self.tritons, strict=True), 1)
            },
            **{
                f"gateway-{n}": (port, gateway)
                for n, (port, gateway) in enumerate(zip(self.ports.gateways, self._gateways, strict=True), 1)
            },
        }
        await self._fresh()
        await self._begin()
        users = [asyncio.create_task(self._ask_for_ever(gateway)) for gateway, _ in enumerate(self.ports.gateways)]
        await self._obey(control)
        for task in users:
            task.cancel()
        await self._end(*self._running, *self._grpc)

    async def _begin(self) -> None:
        """Have every server listen that does not."""
        tritons = [(f"triton-{n}", port) for n, port in enumerate(self.ports.grpc, 1)]
        tritons.append(("triton-staging", self.ports.staging))
        for (name, port), triton in zip(tritons, [*self.tritons, self._staging], strict=True):
            if name not in self._grpc:
                self._grpc[name] = stand_in.grpc_server(
                    triton, port=port, around=self.trap.around_grpc, address=self.ports.address
                )
                await self._grpc[name].start()
        for name, (port, app) in self._listening.items():
            if name not in self._running:
                server = _server(app)
                sockets = [_socket(port, self.ports.address)]
                self._running[name] = (server, asyncio.create_task(server.serve(sockets=sockets)))
        while not all(server.started for server, _ in self._running.values()):
            if failed := [task for _, task in self._running.values() if task.done()]:
                await failed[0]  # a port that somebody else took after all
                raise OSError("a server ended before it had started")
            await asyncio.sleep(0.01)

    async def _end(self, *names: str) -> None:
        """Have these servers end; whoever asks one of them then is refused the connection."""
        ending = [self._running.pop(name) for name in {*names} & {*self._running}]
        for server, _ in ending:
            server.should_exit = True
        for name in {*names} & {*self._grpc}:
            await self._grpc.pop(name).stop(None)
        if ending:
            await asyncio.wait([task for _, task in ending], timeout=5)

    async def _obey(self, control: Connection) -> None:
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()
        loop.add_reader(control.fileno(), arrived.set)
        control.send("ready")
        while True:
            await arrived.wait()
            arrived.clear()
            while control.poll():
                try:
                    command, arguments = control.recv()
                except EOFError:
                    return
                if command == "quit":
                    control.send(None)
                    return
                try:
                    control.send(await getattr(self, f"do_{command}")(**arguments))
                except Exception as error:  # noqa: BLE001 - whoever asked is told
                    control.send(RuntimeError(f"{command}: {type(error).__name__}: {error}"))

    # --- commands ----------------------------------------------------------------------------------------------

    async def do_know(self, versions: dict[tuple[str, int], tuple[float, ...]]) -> None:
        """Learn what the versions answer, and which models users ask for from now on."""
        self.known.update(versions)

    async def do_ask_for(self, models: tuple[str, ...]) -> None:
        self.asked_for = models

    async def do_save(self, name: str) -> str:
        """Keep the state of everything under a name; return its :func:`fingerprint`."""
        await self._quiet()
        target = self.home / "states" / name
        for part in PARTS_OF_A_STATE:
            shutil.copytree(self.live / part, target / part, symlinks=True)
        tritons, aliases = self._states[name] = ([triton.save() for triton in self.tritons], self._aliases())
        loaded = [{key: (one.offsets, one.config) for key, one in triton.loaded.items()} for triton in tritons]
        return fingerprint(target, repr((loaded, [triton.said for triton in tritons], aliases)))

    async def do_restore(self, name: str, models: tuple[str, ...]) -> None:
        """Put everything back as it was saved; ``models`` are what users ask for then."""
        self.trap.disarm()
        self.trap.faults.clear()
        await self._begin()
        await self._quiet()
        source = self.home / "states" / name
        for part in (*PARTS_OF_A_STATE, "tmp"):
            empty(self.live / part)
        for part in PARTS_OF_A_STATE:
            shutil.copytree(source / part, self.live / part, symlinks=True)
        (self.live / "tmp").mkdir()
        tritons, aliases = self._states[name]
        for triton, state in zip(self.tritons, tritons, strict=True):
            triton.restart(state)
            triton.memory = None
        self._staging.restart()
        with sqlite3.connect(self._database, timeout=30) as database:
            database.execute("DELETE FROM registered_model_aliases")
            if aliases:
                marks = ",".join("?" * len(aliases[0]))
                database.executemany(f"INSERT INTO registered_model_aliases VALUES ({marks})", aliases)  # noqa: S608
        database.close()
        await self._fresh()
        self.asked_for = models
        self._answers, self._asked, self._epoch = set(), 0, self._epoch + 1

    async def do_stop(self, names: tuple[str, ...]) -> None:
        """End servers (forge, Slack, MLflow, triton-1, gateway-2, …) until the next restore or ``start``."""
        await self._end(*names)

    async def do_start(self) -> None:
        """Start again what was stopped, with the memory that it had."""
        await self._begin()

    async def do_fail_from(self, model: str, version: int, number: float) -> None:
        """From now on a version cannot take numbers as large as this, on no Triton."""
        for triton in self.tritons:
            triton.fails_from[model, version] = number

    async def do_ask_as_users(self, model: str, times: int, large: int) -> None:
        """Ask each gateway so often, each time as another user, and ``large`` times of them with the number 1000."""
        for port in self.ports.gateways:
            line = _Line(port, self.ports.address)
            for number in range(times):
                value = 1000 if number * large // times != (number + 1) * large // times else 0.25
                body = b'{"inputs":[{"name":"X","datatype":"FP32","shape":[1,1],"data":[%s]}]}' % str(value).encode()
                await line.ask("POST", f"/v2/models/{model}/infer", body, user=str(number))

    async def do_restart_triton(self, number: int) -> None:
        """Start a Triton anew: it has loaded nothing."""
        self.tritons[number - 1].restart()

    async def do_answer_wrong(self, number: int, model: str, version: int) -> None:
        """Have a version answer another number on one Triton."""
        self.tritons[number - 1].answer_wrong(model, version)

    async def do_restart_gateways(self) -> None:
        """Start them anew; whoever asks one that is down or starting is told so, which counts for nothing."""
        asked_for, self.asked_for = self.asked_for, ()
        self._epoch += 1
        await self._fresh()
        self.asked_for = asked_for

    async def do_arm(self, pid: int, at: int, after: bool, stop: bool = False, named: str = "") -> None:
        self.trap.arm(pid, at, after=after, stop=stop, named=named)

    async def do_disarm(self) -> None:
        self.trap.disarm()

    async def do_refuse_reload(self, gateway: int, model: str, version: int, not_ready: bool = False) -> None:
        """Have one gateway refuse each reload while this version answers, all or some, by the routes in force.

        With ``not_ready`` it names the model, as one does that sees a Triton without the version.
        """

        def refuses() -> bool:
            newest = max((self.state / "routes").iterdir())
            answering = RouteTable.from_json(newest.read_text()).route(model).answering
            return version in [target.version for target in answering]

        body = json.dumps({"error": "not ready", "models": [model]}).encode() if not_ready else REFUSED
        self.trap.faults[f"gateway-{gateway} POST /reload"] = Fault(refuses, body)

    async def do_no_room_for_two(self, models: tuple[str, ...]) -> None:
        for triton in self.tritons:
            triton.no_room_for_two = frozenset(models)

    async def do_memory(self, used: int, total: int) -> None:
        """From now on the metrics of every Triton say so of its machine, in bytes."""
        for triton in self.tritons:
            triton.memory = used, total

    async def do_refuse_step(self, gateway: int, model: str, percent: int) -> None:
        """Have one gateway refuse each reload while a canary answers this percent, by the routes in force."""

        def refuses() -> bool:
            newest = max((self.state / "routes").iterdir())
            canary = RouteTable.from_json(newest.read_text()).route(model).canary
            return canary is not None and canary.percent == percent

        self.trap.faults[f"gateway-{gateway} POST /reload"] = Fault(refuses)

    async def do_refuse_answer(self, gateway: int, model: str) -> None:
        """Have one gateway refuse the bot's requests for a model; users are answered."""
        self.trap.faults[f"gateway-{gateway} POST /v2/models/{model}/infer"] = Fault()

    async def do_accept_reload(self, gateway: int) -> None:
        self.trap.faults.pop(f"gateway-{gateway} POST /reload", None)

    async def do_slack_fails(self) -> None:
        """Have Slack take no message, until the next restore or ``slack_works``."""
        self.trap.faults["Slack POST /api/chat.postMessage"] = Fault()

    async def do_slack_works(self) -> None:
        self.trap.faults.pop("Slack POST /api/chat.postMessage", None)

    async def do_look(self, ask: bool, quiet: bool = True) -> Look:
        """Return what is in memory; ``ask`` has each user ask once more first.

        ``quiet`` waits until no request is under way; one whose client stands still never ends.
        """
        if quiet:
            await self._quiet()
        if ask:
            for gateway, _ in enumerate(self.ports.gateways):
                with contextlib.closing(_Line(self.ports.gateways[gateway], self.ports.address)) as line:
                    await self._ask_once(gateway, line)
        tables, problems = [], []
        for port in self.ports.gateways:
            with contextlib.closing(_Line(port, self.ports.address)) as line:
                _, content = await line.ask("GET", "/routes")
            document = json.loads(content or '{"environment": null, "problem": "it does not answer"}')
            problems.append(document["problem"])
            tables.append(RouteTable("") if document["environment"] is None else RouteTable.from_json(content))
        channel = self._workspace.channel(CHANNEL)
        assert channel is not None
        answers, self._answers = self._answers, set()
        asked, self._asked = self._asked, 0
        return Look(
            tables=tables,
            problems=problems,
            ready=[
                {
                    (name, int(version)): _said_of_zero(triton, name, int(version))
                    for name, version, state, _ in triton.index()
                    if state == "READY"
                }
                for triton in self.tritons
            ],
            messages=[
                (str((message.metadata or {}).get("event_payload", {}).get("key", "")), message.text)
                for message in self._workspace.messages(channel)
            ],
            pulls=[(pull.head, pull.title) for pull in self._forge.store.pulls() if pull.state == "open"],
            aliases={(row[1], row[0]): int(row[2]) for row in self._aliases(named=True)},
            answers=answers,
            asked=asked,
            requests=list(self.trap.requests),
            killed=self.trap.killed,
            whispers=[shown.text for user in self._workspace.users for shown in self._workspace.ephemerals(user)],
        )

    # --- inside ------------------------------------------------------------------------------------------------

    async def _quiet(self) -> None:
        """Wait until no request of a verb, or of what it left behind, is under way."""
        deadline = asyncio.get_running_loop().time() + QUIET_SECONDS
        while self.trap.in_flight:
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(f"{', '.join(self.trap.in_flight)}: still at work after {QUIET_SECONDS:g} s")
            await asyncio.sleep(0.002)

    async def _fresh(self) -> None:
        """Start the gateways anew, and have forge and Slack remember what their files say."""
        for stack in self._ended:
            await stack.aclose()
        self._ended = []
        tritons = tuple(f"http://{self.ports.address}:{port}" for port in self.ports.http)
        for number, gateway in enumerate(self._gateways, 1):
            app = create_app(
                GatewaySettings(
                    routes_file=self.state / "routes.json",
                    tritons=tritons,
                    name=f"gateway-{number}",
                    reload_token=TOKENS["PROMOBOT_RELOAD_TOKEN"],
                    reload_timeout_seconds=2.0,
                    single_process=True,
                    shadow=ShadowSettings(compare_share=1),  # a matrix waits for answers to be compared
                    follow_seconds=0,  # which request is the n-th does not depend on the time
                )
            )
            stack = contextlib.AsyncExitStack()
            await stack.enter_async_context(app.router.lifespan_context(app))
            self._ended.append(stack)
            gateway.app = app
        self._forge.store = Store(self.live / "forge/forge.json")
        self._forge.limits.forget()  # an hour of a matrix asks more than GitHub lets one person ask
        self._workspace = Workspace(self.live / "slack", channels=(Channel(CHANNEL, "ml-releases"),))
        installation = Installation.of_token(TOKENS["SLACK_BOT_TOKEN"])
        url = f"http://{self.ports.address}:{self.ports.slack}"
        self._slack.app = slack_app.create_app(Slack(self._workspace, installation, url=url))

    def _aliases(self, *, named: bool = False) -> list[tuple[Any, ...]]:
        columns = "alias, name, version" if named else "*"
        with contextlib.closing(sqlite3.connect(self._database, timeout=30)) as database:
            return database.execute(f"SELECT {columns} FROM registered_model_aliases").fetchall()  # noqa: S608

    async def _ask_for_ever(self, gateway: int) -> None:
        line = _Line(self.ports.gateways[gateway], self.ports.address)
        while True:
            await self._ask_once(gateway, line)
            await asyncio.sleep(0.02)

    async def _ask_once(self, gateway: int, line: _Line) -> None:
        body = b'{"inputs":[{"name":"X","datatype":"FP32","shape":[1,1],"data":[0.5]}]}'
        epoch = self._epoch
        for model in self.asked_for:
            status, content = await line.ask("POST", f"/v2/models/{model}/infer", body)
            version, whole = None, status != 200
            if status == 200:
                document = json.loads(content)
                version = int(document["model_version"])
                expected = self.known.get((model, version))
                whole = expected is not None and document["outputs"][0]["data"] == [0.5 + n for n in expected]
            if epoch != self._epoch:  # the world was another one when this was asked
                return
            self._asked += 1
            said = "" if status in (200, 404) else content.decode(errors="replace")
            self._answers.add(Answer(gateway + 1, model, status, version, whole, said))


def _said_of_zero(triton: StandInTriton, name: str, version: int) -> tuple[float, ...]:
    """Return what a version answers to X = 0; nothing where it answers with an error."""
    try:
        return tuple(triton.infer(name, version, [0.0]))
    except stand_in.NotAnswered:
        return ()


class _Line:
    """A user's connection to a gateway, opened when it is needed."""

    def __init__(self, port: int, address: str) -> None:
        self._port, self._address = port, address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"", *, user: str = "") -> tuple[int, bytes]:
        """Return status and body; 0 where the connection ended without an answer."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._address, self._port)
            reader, writer = self._streams
            lines = (f"{method} {path} HTTP/1.1", "Host: g", f"{USER.decode()}: 1", f"Content-Length: {len(body)}")
            known = (f"x-user-id: {user}",) if user else ()
            writer.write("".join(f"{line}\r\n" for line in (*lines, *known, "")).encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = next(int(v.partition(":")[2]) for v in answer.lower().split("\r\n") if v.startswith("content-l"))
            return int(answer.split(" ", 2)[1]), await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return 0, b""

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class _Proxy:
    """Passes every request on to MLflow, and the answer back, byte for byte.

    What never changes (a version, its run, its artifacts) is asked once and repeated: it is half of a run otherwise.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._repeated: dict[str, tuple[int, list[tuple[bytes, bytes]], bytes]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        path = scope["raw_path"].decode() + (f"?{scope['query_string'].decode()}" if scope["query_string"] else "")
        told = self._repeated.get(path + body.decode("latin-1"))
        if told is None:
            told = await self._ask(scope, path, body)
            if scope["method"] == "GET" and path.startswith(_NEVER_CHANGES):
                self._repeated[path + body.decode("latin-1")] = told
        status, headers, content = told
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _ask(self, scope: Scope, path: str, body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        headers = [(name, value) for name, value in scope["headers"] if name not in (b"host", b"connection")]
        answer = await self._client.request(scope["method"], path, headers=headers, content=body)
        kept = [
            (n.lower(), v) for n, v in answer.headers.raw if n.lower() in (b"content-type", b"content-disposition")
        ]
        return answer.status_code, [*kept, (b"content-length", b"%d" % len(answer.content))], answer.content


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await _refuse(send, 503)


_VARIES = re.compile(
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?|\d{8}T\d{6}(\.\d+)?Z"
    rb'|\b\d{10}\.\d{6}\b|"seconds": ?[\d.e-]+|\b(?=[0-9]*[a-f])[0-9a-f]{8,32}\b'
)
"""Times, how long a step took, and random names: what differs between two runs that did the same."""


def fingerprint(folder: Path, memory: str) -> str:
    """Return one text for all states that differ in nothing but times and random names."""
    found = hashlib.sha256(memory.encode())
    for path in sorted(folder.rglob("*"), key=lambda path: _VARIES.sub(b"*", bytes(path))):
        status = path.lstat()
        found.update(b"\0" + _VARIES.sub(b"*", bytes(path.relative_to(folder))) + b"%o" % status.st_mode)
        if path.is_symlink():
            found.update(bytes(path.readlink()))
        elif path.is_file():
            found.update(hashlib.sha256(_VARIES.sub(b"*", path.read_bytes())).digest())
    return found.hexdigest()


def empty(folder: Path) -> None:
    """Remove a tree, whatever modes it has."""
    for path, _, _ in os.walk(folder):
        Path(path).chmod(0o755)
    shutil.rmtree(folder, ignore_errors=not folder.exists())


def _socket(port: int, address: str) -> socket.socket:
    # asyncio sends without delay only where the protocol is named.
    listening = socket.socket(proto=socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((address, port))
    return listening


def _server(app: ASGIApp) -> uvicorn.Server:
    config = uvicorn.Config(
        app, lifespan="off", ws="none", http="httptools", access_log=False, log_config=None, server_header=False
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined,method-assign]
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    return server


def serve(home: Path, ports: Ports, mlflow: str, database: Path, control: Connection) -> None:
    """Run the servers in this process until told to quit."""
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    os.environ["GRPC_VERBOSITY"] = "NONE"
    assert threading.active_count() == 1
    asyncio.run(Servers(home, ports, mlflow, database).run(control))


def variables(mapping: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a verb: the tokens, and nothing of a real platform."""
    return {**mapping, **TOKENS}
