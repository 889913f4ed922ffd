"""Applications of a person's own under the servers that start several workers, as processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bot.sandbox.processes import Ports
from tests.gateway.gateways import TOKEN, GatewayProcess, wait_until_live

START_SECONDS = 120.0
"""Each worker imports the application, on a machine that has other things to do."""

MASTERS = ("uvicorn", "gunicorn")

APPLICATION = """
import os
from pathlib import Path

from fastapi import FastAPI

from bot.gateway import Gateway, GatewaySettings

gateway = Gateway(
    GatewaySettings(
        routes_file=Path({routes!r}),
        tritons={tritons!r},
        name={name!r},
        reload_token=os.environ.get("PROMOBOT_RELOAD_TOKEN", ""),
        follow_seconds={follow_seconds!r},
    )
)
app = FastAPI()
app.include_router(gateway.router)
"""
WORKER = """
from uvicorn.workers import UvicornWorker


class Worker(UvicornWorker):
    CONFIG_KWARGS = {"http": "bot.gateway.protocol:GatewayProtocol", "loop": "uvloop"}
"""


def command(master: str, port: int, workers: int) -> list[str]:
    """Return how people start this server with so many workers; it is patient with one that stands still."""
    if master == "uvicorn":
        options = ["--http", "bot.gateway.protocol:GatewayProtocol", "--no-access-log"]
        options += ["--timeout-worker-healthcheck", "600"]
        return ["-m", "uvicorn", "app:app", "--port", str(port), "--workers", str(workers), *options]
    options = ["--worker-class", "worker.Worker", "--timeout", "600", "--no-control-socket"]
    return ["-m", "gunicorn", "app:app", "--bind", f"127.0.0.1:{port}", "--workers", str(workers), *options]


@contextmanager
def gateway_workers(
    master: str,
    folder: Path,
    tritons: Sequence[str],
    *,
    workers: int,
    follow_seconds: float = 2.0,
    routes_file: Path | None = None,
    token: str = TOKEN,
    temporary: Path | None = None,
    application: str = APPLICATION,
) -> Iterator[GatewayProcess]:
    """Run the application under this server until the block ends."""
    routes = routes_file or folder / "routes.json"
    with Ports() as ports:
        port = ports.take()
    of_application = {"routes": str(routes), "tritons": tuple(tritons), "name": f"gateway-{port}"}
    (folder / "app.py").write_text(application.format(**of_application, follow_seconds=follow_seconds))
    (folder / "worker.py").write_text(WORKER)
    log_file = folder / f"{master}.log"
    more = {"TMPDIR": str(temporary)} if temporary else {}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command(master, port, workers)],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **more, "PROMOBOT_RELOAD_TOKEN": token},
        )
    gateway = GatewayProcess(f"http://127.0.0.1:{port}", routes, process, log_file)
    try:
        wait_until_live(gateway.url, process, log_file, seconds=START_SECONDS)
        yield gateway
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
