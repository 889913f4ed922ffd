"""A company of many small models, for benchmarks: its servers in one process of their own, everything else in files.

Forge, Slack and gateways are the sandbox's and the bot's own; Triton is the stand-in of ``tests/stand_ins``, whose
loads take a fixed time, side by side, as the real one's were seen to be; MLflow is a stand-in that answers the three
questions that a deployment asks, for ten thousand versions registered in the real one would take a quarter of an
hour. What its answers take in a real MLflow is measured apart: docs/explanation/scale.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bot import environment_files, settings
from bot.domain.desired import Change, Entry, path_of
from bot.domain.package import CONFIG_FILE, PACKAGE_FILE, SMOKE_FILE, Package, PackageFile
from bot.domain.routes import Route as Routed
from bot.domain.routes import RouteTable, Target
from bot.domain.smoke import SmokeCase, SmokeCases, Tensor
from bot.gateway import GatewaySettings, create_app
from bot.records.directory import RecordStore
from bot.sandbox.forge.app import application, open_forge
from bot.sandbox.forge.people import People, Person
from bot.sandbox.processes import Ports
from bot.sandbox.slack import app as slack_app
from bot.sandbox.slack.installation import Installation
from bot.sandbox.slack.slack import Slack
from bot.sandbox.slack.workspace import Channel, Workspace
from tests.reliability.servers import CHANNEL, REPOSITORY, TOKENS, _server, _socket
from tests.stand_ins import triton as stand_in
from tests.stand_ins.merged import commit, green_evidence
from tests.stand_ins.triton import StandInTriton
from tests.stores import begin_share

TRITONS, GATEWAYS = 4, 2
LOAD_SECONDS = 0.05
REFUSED = "refused-over-http"
_START_SECONDS = 30.0


@dataclass(frozen=True)
class Version:
    """A registered version, and where its package lies."""

    model: str
    entry: Entry
    folder: Path
    smoke: SmokeCases
    offsets: tuple[float, ...]


class Company:
    """Enter it to start the servers. ``environments`` have Tritons, gateways and a share of their own each."""

    def __init__(self, home: Path, models: int, *, environments: Sequence[str] = ("dev",)) -> None:
        self.home, self.environments = home, tuple(environments)
        self.names = [f"model-{number:05d}" for number in range(models)]
        self.root = home / "root"
        self._merged: dict[str, dict[str, Version]] = {}
        self._bare = home / "forge/repositories" / f"{REPOSITORY}.git"

    def __enter__(self) -> Company:
        self._closing = contextlib.ExitStack()
        free = self._closing.enter_context(Ports())
        self._ports: dict[str, Any] = {name: free.take() for name in ("forge", "slack", "mlflow")}
        for environment in self.environments:
            self._ports[environment] = {
                "grpc": [free.take() for _ in range(TRITONS)],
                "http": [free.take() for _ in range(TRITONS)],
                "gateways": [free.take() for _ in range(GATEWAYS)],
            }
        for environment in self.environments:
            begin_share(self.share(environment) / "model-repo", self.share(environment) / "state")
        begin_share(self.home / "staging", self.home / "staging-state", staging=True)
        RecordStore(self.home / "records").begin()
        (self.home / "ports.json").write_text(json.dumps(self._ports))
        self._write_settings()
        self._servers: subprocess.Popen[bytes] | None = None
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._closing.close()
        for folder, _, _ in os.walk(self.home):
            Path(folder).chmod(0o755)  # what is published is read-only

    def start(self) -> None:
        """Start the servers, with what the files say by now."""
        command = [sys.executable, "-m", "tests.benchmarks.company", str(self.home)]
        self._servers = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
        assert self._servers.stdout is not None
        if self._servers.stdout.readline().strip() != b"ready":
            raise RuntimeError("the servers did not start")

    def stop(self) -> None:
        """Stop them."""
        if self._servers is not None:
            self._servers.terminate()
            self._servers.wait(_START_SECONDS)
            for pipe in (self._servers.stdin, self._servers.stdout):
                if pipe is not None:
                    pipe.close()
            self._servers = None

    def asked(self) -> Counter[str]:
        """Return what the servers were asked since the last look: ``Triton RepositoryIndex`` as often as it was."""
        assert self._servers is not None and self._servers.stdin and self._servers.stdout
        self._servers.stdin.write(b"asked\n")
        self._servers.stdin.flush()
        return Counter(json.loads(self._servers.stdout.readline()))

    def refuse_over_http(self, *models: str) -> None:
        """Have Tritons refuse these models to whoever asks over HTTP, as gateways do; over gRPC they answer."""
        (self.home / REFUSED).write_text(" ".join(models))

    def pulls(self) -> list[dict[str, Any]]:
        """Return the open pull requests."""
        url = f"http://127.0.0.1:{self._ports['forge']}/api/v3/repos/{REPOSITORY}/pulls?state=open&per_page=100"
        answer = httpx.get(url, headers={"Authorization": f"Bearer {TOKENS['GITHUB_TOKEN']}"}, trust_env=False)
        found: list[dict[str, Any]] = answer.raise_for_status().json()
        return found

    def told(self) -> list[tuple[str, str]]:
        """Return what the channel holds, oldest first: each text, and all that its blocks say."""
        answer = httpx.get(f"http://127.0.0.1:{self._ports['slack']}/messages.json", trust_env=False).json()
        messages = [message for channel in answer["channels"] for message in channel["messages"]]
        return [(message["text"], json.dumps(message["blocks"], ensure_ascii=False)) for message in messages]

    def share(self, environment: str) -> Path:
        """Return the environment's part of the share."""
        return self.home / "share" / environment

    # --- what people did ---------------------------------------------------------------------------------------

    def register(self, number: int, *, broken: str = "") -> dict[str, Version]:
        """Register version ``number`` of every model, of which ``broken`` does not load; return them by model."""
        home = self.home / "registered"
        return {name: _registered(home, name, number, loads=name != broken) for name in self.names}

    def merge(self, versions: Mapping[str, Version], environment: str = "dev", *, evidence: bool = True) -> None:
        """Have main desire these, with the evidence that green checks leave."""
        text = desired_text(environment, {name: one.entry for name, one in versions.items()})
        commit(self._bare, path_of(environment), text)
        rules, champions = environment_files.load(self.root, environment), self._merged.get(environment, {})
        for model, version in versions.items() if evidence else ():
            champion = champions[model].entry if model in champions else None
            self._evidence(Change(environment, "models", model, champion, version.entry), version.smoke, rules)
        self._merged[environment] = dict(versions)

    def serve(self, versions: Mapping[str, Version], environment: str) -> None:
        """Have the environment serve these, as if they had been deployed; before the servers start."""
        routes = {
            name: Routed(live=Target(name, one.entry.version, one.entry.digest)) for name, one in versions.items()
        }
        state = self.share(environment) / "state"
        state.mkdir(exist_ok=True)
        (state / "routes.json").write_text(RouteTable(environment, 1, routes).to_json())

    def promobot(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``promobot``; fail where it does."""
        said = subprocess.run(
            [sys.executable, "-m", "bot", *arguments, "--root", str(self.root)],
            env={**os.environ, **TOKENS, "TMPDIR": str(self.home)},
            capture_output=True,
            text=True,
        )
        if said.returncode:
            raise RuntimeError(f"promobot {' '.join(arguments)} ended with {said.returncode}: {said.stderr[-2000:]}")
        return said

    # --- inside ------------------------------------------------------------------------------------------------

    def _evidence(self, change: Change, smoke: SmokeCases, rules: settings.Environment) -> None:
        evidence = green_evidence(change, smoke, rules)
        folder = self.home / "records/evidence" / change.environment / change.model
        folder /= evidence.digest.removeprefix("sha256:")
        folder.mkdir(parents=True)
        (folder / f"{evidence.name}.json").write_text(evidence.model_dump_json())

    def _write_settings(self) -> None:
        for environment in self.environments:
            ports, share = self._ports[environment], self.share(environment)
            document = {
                "environment": environment,
                "github": {
                    "repository": REPOSITORY,
                    "server_url": f"http://127.0.0.1:{self._ports['forge']}",
                    "api_url": f"http://127.0.0.1:{self._ports['forge']}/api/v3",
                },
                "mlflow": {"uri": f"http://127.0.0.1:{self._ports['mlflow']}"},
                "staging": {
                    "triton": {"name": "triton-staging", "grpc": f"127.0.0.1:{ports['grpc'][0]}"},
                    "share": {
                        "model_repository": str(self.home / "staging"),
                        "state": str(self.home / "staging-state"),
                    },
                },
                "share": {"model_repository": str(share / "model-repo"), "state": str(share / "state")},
                "tritons": [
                    {"name": f"triton-{number}", "grpc": f"127.0.0.1:{port}"}
                    for number, port in enumerate(ports["grpc"], 1)
                ],
                "gateways": [
                    {"name": f"gateway-{number}", "url": f"http://127.0.0.1:{port}"}
                    for number, port in enumerate(ports["gateways"], 1)
                ],
                "records": str(self.home / "records"),
                "slack": {"channel": CHANNEL, "api_url": f"http://127.0.0.1:{self._ports['slack']}/api"},
                "gates": {name: {"metrics": {"accuracy": {"minimum": 0.5}}} for name in self.names},
                "deadlines": {"request_seconds": 10, "load_seconds": 60, "reload_seconds": 30},
            }
            path = self.root / f"manifests/environments/{environment}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                yaml.dump(document, sort_keys=False, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))
            )


def desired_text(environment: str, entries: Mapping[str, Entry]) -> str:
    """Return ``promotions/<env>.yaml`` with these models, as the bot writes it."""
    lines = [f"environment: {environment}", "models:"]
    for name, entry in entries.items():
        lines += [
            f"  {name}:",
            f"    version: {entry.version}",
            f"    digest: {entry.digest}",
            f"    run: {entry.run}",
            "",
        ]
    return "\n".join(lines)


def _registered(home: Path, model: str, number: int, *, loads: bool = True) -> Version:
    noise = hashlib.sha256(f"{model} {number}".encode()).digest()
    files = {stand_in.MODEL_FILE: stand_in.model_file(noise * 40, loads=loads)}
    expected = tuple(0.25 + offset for offset in stand_in.offsets(files))
    case = SmokeCase("one", (Tensor("X", "FP32", (1, 1), (0.25,)),), (Tensor("Y", "FP64", (1, 4), expected),))
    smoke = SmokeCases((case,))
    contents = {**files, CONFIG_FILE: stand_in.CONFIG.encode(), SMOKE_FILE: smoke.to_json().encode()}
    package = Package.of(
        PackageFile(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in contents.items()
    )
    folder = home / model / str(number)
    folder.mkdir(parents=True)
    for path, content in {**contents, PACKAGE_FILE: package.to_json().encode()}.items():
        (folder / path).write_bytes(content)
    entry = Entry(version=number, digest=package.digest, run=f"{model}-run-{number}")
    return Version(model, entry, folder, smoke, stand_in.offsets(files))


# --- the servers' process -----------------------------------------------------------------------------------------


def _mlflow(registered: Path) -> Starlette:
    """Return the part of MLflow's REST API that a deployment asks; every version that has a folder is registered."""

    async def version(request: Request) -> JSONResponse:
        name, number = request.query_params["name"], request.query_params["version"]
        folder = registered / name / number
        if not folder.is_dir():
            return JSONResponse({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such version"}, 404)
        found = {"name": name, "version": number, "creation_timestamp": 1, "last_updated_timestamp": 1}
        found |= {"status": "READY", "run_id": f"{name}-run-{number}", "source": folder.as_uri()}
        return JSONResponse({"model_version": found})

    async def run(request: Request) -> JSONResponse:
        info = {"run_id": request.query_params["run_id"], "experiment_id": "0", "status": "FINISHED", "start_time": 1}
        info |= {"lifecycle_stage": "active", "artifact_uri": registered.as_uri(), "user_id": "alex"}
        data = {"metrics": [{"key": "accuracy", "value": 0.9, "timestamp": 1, "step": 0}]}
        return JSONResponse({"run": {"info": info, "data": data}})

    async def alias(_: Request) -> JSONResponse:
        return JSONResponse({})

    api = "/api/2.0/mlflow"
    return Starlette(
        routes=[
            Route(f"{api}/model-versions/get", version),
            Route(f"{api}/runs/get", run),
            Route(f"{api}/registered-models/alias", alias, methods=["POST", "DELETE"]),
        ]
    )


async def _serve(home: Path) -> None:
    ports, asked = json.loads((home / "ports.json").read_text()), Counter[str]()
    people = People({TOKENS["GITHUB_TOKEN"]: Person(login="promobot[bot]", type="Bot")})
    url = f"http://127.0.0.1:{ports['forge']}"
    forge = open_forge(folder=home / "forge", repository=REPOSITORY, server_url=url, people=people, settings=None)
    workspace = Workspace(home / "slack", channels=(Channel(CHANNEL, "ml-releases"),))
    slack = Slack(
        workspace, Installation.of_token(TOKENS["SLACK_BOT_TOKEN"]), url=f"http://127.0.0.1:{ports['slack']}"
    )
    apps: list[tuple[int, Any]] = [
        (ports["forge"], _counted("GitHub", application(forge), asked)),
        (ports["slack"], _counted("Slack", slack_app.create_app(slack), asked)),
        (ports["mlflow"], _counted("MLflow", _mlflow(home / "registered"), asked)),
    ]

    async def around(name: str, handle: Callable[[], Awaitable[Any]]) -> Any:
        asked[f"Triton {name}"] += 1
        if name == "RepositoryModelLoad":
            await asyncio.sleep(LOAD_SECONDS)
        return await handle()

    grpc_servers = []
    for environment, own in ports.items():
        if not isinstance(own, dict):
            continue
        share = home / "share" / environment
        for grpc_port, http_port in zip(own["grpc"], own["http"], strict=True):
            triton = StandInTriton(share / "model-repo")
            triton.restart(_loaded_by_routes(share / "state/routes.json"))
            grpc_servers.append(stand_in.grpc_server(triton, port=grpc_port, around=around))
            apps.append((http_port, stand_in.http_app(triton, refuses=partial(_is_refused, home))))
        for number, port in enumerate(own["gateways"], 1):
            app = create_app(
                GatewaySettings(
                    routes_file=share / "state/routes.json",
                    tritons=tuple(f"http://127.0.0.1:{http}" for http in own["http"]),
                    name=f"gateway-{number}",
                    reload_token=TOKENS["PROMOBOT_RELOAD_TOKEN"],
                    reload_timeout_seconds=30.0,
                    single_process=True,
                    follow_seconds=0,  # what is counted does not depend on the time
                )
            )
            apps.append((port, _counted("gateway", app, asked)))
    for server in grpc_servers:
        await server.start()
    servers = [_server(app) for _, app in apps]
    tasks = [
        asyncio.create_task(server.serve(sockets=[_socket(port, "127.0.0.1")]))
        for server, (port, _) in zip(servers, apps, strict=True)
    ]
    async with contextlib.AsyncExitStack() as running:
        for _, app in apps:
            inner = getattr(app, "inner", app)
            if hasattr(inner, "router"):
                await running.enter_async_context(inner.router.lifespan_context(inner))
        while not all(server.started for server in servers):
            await asyncio.sleep(0.01)
        print("ready", flush=True)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while await reader.readline():
            print(json.dumps(asked), flush=True)
            asked.clear()
    for task in tasks:
        task.cancel()


def _is_refused(home: Path, model: str) -> bool:
    file = home / REFUSED
    return file.exists() and model in file.read_text().split()


def _loaded_by_routes(file: Path) -> stand_in.State | None:
    if not file.exists():
        return None
    table = RouteTable.from_json(file.read_text())
    loaded = {
        (route.live.triton_model, route.live.version): stand_in.Loaded((0.0,) * 4, 0, b"")
        for route in table.models.values()
        if route.live
    }
    return stand_in.State(loaded, {})


class _counted:  # noqa: N801 - an application, made like one
    def __init__(self, name: str, inner: Any, asked: Counter[str]) -> None:
        self.name, self.inner, self.asked = name, inner, asked

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            path = scope["path"] if self.name != "GitHub" else scope["path"].partition("?")[0]
            self.asked[f"{self.name} {scope['method']} {_shape(path)}"] += 1
        await self.inner(scope, receive, send)


def _shape(path: str) -> str:
    return "/".join("*" if any(c.isdigit() for c in part) and part != "v2" else part for part in path.split("/"))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(Path(sys.argv[1])))
