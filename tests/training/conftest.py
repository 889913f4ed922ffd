"""A real MLflow server and a real Triton, for the tests of the training side."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

START_SECONDS = 90
STOP_SECONDS = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], *, ready_url: str, environment: dict[str, str], log: Path) -> Iterator[None]:
    """Run ``command`` until the block ends; the block starts when ``ready_url`` answers 200."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=os.environ | environment, cwd=log.parent, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(ready_url):
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}:\n{log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"{command[0]} is not ready:\n{log.read_text()[-3000:]}"
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server with proxied artifacts, as training jobs know it."""
    directory = tmp_path_factory.mktemp("mlflow")
    uri = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{directory}/mlflow.db", "--artifacts-destination", str(directory)]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    os.environ.update(quiet)  # for the client in this process, too, before it is first imported
    server = quiet | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with running(command, ready_url=f"{uri}/health", environment=server, log=directory / "server.log"):
        yield uri


@dataclass(frozen=True)
class Triton:
    grpc: str
    repository: Path


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A Triton that has loaded nothing, run from the environment that PROMOBOT_TRITON_ENV names."""
    if not (environment := os.environ.get("PROMOBOT_TRITON_ENV")):
        pytest.skip("PROMOBOT_TRITON_ENV names no environment with a Triton in it")
    directory = tmp_path_factory.mktemp("triton")
    repository = directory / "repository"
    repository.mkdir()
    packages = Path(environment, "lib/python3.11/site-packages")
    home = packages / "pytriton/tritonserver"
    http, grpc, metrics = free_port(), free_port(), free_port()
    command = [
        str(home / "bin/tritonserver"),
        "--model-control-mode=explicit",
        f"--model-repository={repository}",
        f"--backend-directory={home / 'backends'}",
        *("--http-address=127.0.0.1", f"--http-port={http}"),
        *("--grpc-address=127.0.0.1", f"--grpc-port={grpc}"),
        f"--metrics-port={metrics}",
        "--metrics-address=127.0.0.1",
    ]
    surroundings = {
        "PATH": f"{environment}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(packages),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR")),
    }
    ready = f"http://127.0.0.1:{http}/v2/health/ready"
    with running(command, ready_url=ready, environment=surroundings, log=directory / "server.log"):
        yield Triton(grpc=f"127.0.0.1:{grpc}", repository=repository)
