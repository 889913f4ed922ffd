"""Real gateways on free ports, in a thread or as the process that users run, and the routes that they read."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from bot.domain.routes import Route, RouteTable, Target
from bot.gateway import GatewaySettings, create_app
from bot.gateway.protocol import protocol_with
from bot.sandbox.processes import Ports

TOKEN = "the-reload-token"
START_SECONDS = 120.0

# A client reads the machine's certificates when it is made, which takes longer than most tests: so one for all. It
# keeps no connection: each request meets the gateway, and the version that it serves, anew.
http_client = httpx.Client(timeout=20.0, limits=httpx.Limits(max_keepalive_connections=0))


def target(version: int, triton_model: str = "adder") -> Target:
    return Target(triton_model=triton_model, version=version, digest=f"sha256:{version:064x}")


def table(
    generation: int, live: Target | None, shadow: Target | None = None, *, environment: str = "dev"
) -> RouteTable:
    """Return a table with one model, ``adder``."""
    return RouteTable(environment, generation, {"adder": Route(live=live, shadow=shadow)})


@dataclass
class RunningGateway:
    """What a client knows of a gateway, and the file that it reads."""

    url: str
    routes_file: Path

    @property
    def host_and_port(self) -> str:
        """What tritonclient wants."""
        return self.url.removeprefix("http://")

    def write(self, text: RouteTable | str) -> None:
        """Replace ``routes.json`` as the bot does: beside it first, then renamed."""
        write_routes(self.routes_file, text)

    def reload(self, generation: int, *, token: str = TOKEN) -> httpx.Response:
        return http_client.post(
            f"{self.url}/reload",
            json={"generation": generation},
            headers={"Authorization": f"Bearer {token}"},
            timeout=20,
        )

    def routes(self) -> Any:
        return http_client.get(f"{self.url}/routes").json()

    def infer(self, *values: float, model: str = "adder", timeout: float = 20) -> httpx.Response:
        return http_client.post(f"{self.url}/v2/models/{model}/infer", json=infer_body(*values), timeout=timeout)


@dataclass
class GatewayProcess(RunningGateway):
    """A gateway that runs as a process of its own."""

    process: subprocess.Popen[bytes]
    log_file: Path


def infer_body(*values: float) -> dict[str, Any]:
    return {"inputs": [{"name": "X", "datatype": "FP32", "shape": [len(values)], "data": list(values)}]}


def write_routes(routes_file: Path, text: RouteTable | str) -> None:
    staged = routes_file.with_suffix(".new")
    staged.write_text(text.to_json() if isinstance(text, RouteTable) else text)
    staged.replace(routes_file)


@contextmanager
def running_application(
    app: FastAPI, *, lifespan: str = "on", http: str | type[asyncio.Protocol] = "httptools"
) -> Iterator[str]:
    """Serve ``app`` from a thread until the block ends; yield its URL."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(
                app, loop="uvloop", http=http, ws="none", lifespan=lifespan, access_log=False, log_config=None
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_for(lambda: server.started or not thread.is_alive(), seconds=START_SECONDS)
            assert server.started
            yield "http://{}:{}".format(*listening.getsockname())
        finally:
            server.should_exit = True
            thread.join(START_SECONDS)
        assert not thread.is_alive()


@contextmanager
def running_gateway(settings: GatewaySettings) -> Iterator[RunningGateway]:
    """Run the reference application from a thread until the block ends."""
    with running_application(create_app(settings), http=protocol_with(settings.clients)) as url:
        yield RunningGateway(url, settings.routes_file)


_AS_USER = """
import encodings.idna, os, sys
import httptools, uvicorn.lifespan.on, uvicorn.loops.uvloop, uvloop
from bot.gateway import __main__ as gateway
user = int(sys.argv.pop(1))
os.setgroups([])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
sys.exit(gateway.main())
"""


@contextmanager
def gateway_process(
    routes_file: Path,
    tritons: Sequence[str],
    *,
    arguments: Sequence[str] = (),
    user: int | None = None,
    tree: Path | None = None,
) -> Iterator[GatewayProcess]:
    """Run ``python -m bot.gateway`` until the block ends; as ``user``, who is in no group of ours, if given.

    ``tree`` is where the code of another state of the repository lies; by default it is this one's.

    That user may not be allowed to start our Python, so the process becomes that user when it has read its own code.
    """
    with Ports() as ports:
        port = ports.take()
    log_file = routes_file.with_name(f"gateway-{port}.log")
    routes_file = routes_file.absolute()
    code = ["-m", "bot.gateway"] if user is None else ["-c", _AS_USER, str(user)]
    command = [sys.executable, *code, "--routes", str(routes_file), "--port", str(port)]
    command += ["--follow-seconds", "0"]  # these tests say when it reloads
    command += [part for triton in tritons for part in ("--triton", triton)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--name", f"gateway-{port}", *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PROMOBOT_RELOAD_TOKEN": TOKEN},
            cwd=tree,
        )
    gateway = GatewayProcess(f"http://127.0.0.1:{port}", routes_file, process, log_file)
    try:
        wait_until_live(gateway.url, process, log_file)
        yield gateway
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def wait_until_live(
    url: str, process: subprocess.Popen[bytes], log_file: Path, *, seconds: float = START_SECONDS
) -> None:
    def live() -> bool:
        assert process.poll() is None, log_file.read_text(errors="replace")[-3000:]
        try:
            return http_client.get(f"{url}/v2/health/live", timeout=1).status_code == 200
        except httpx.TransportError:
            return False

    wait_for(live, seconds=seconds)


def wait_for(condition: Callable[[], object], *, seconds: float = 60.0) -> None:
    """Return as soon as ``condition`` holds; fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.01)
