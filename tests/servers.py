"""Real parts of the platform, each started at most once for all tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bot.sandbox import environments, mlflow, s3, seed, triton
from bot.sandbox.environments import Environment
from bot.sandbox.platform import PARTS, Sandbox
from bot.sandbox.processes import Part, Ports, Processes

if TYPE_CHECKING:
    from tests.operations.world import World


@pytest.fixture(scope="session")
def triton_environment() -> Environment:
    return environments.triton(progress=print)


class RunningTriton:
    """A Triton of the sandbox's own kind, and the repository that it serves from."""

    def __init__(self, *, grpc: str, repository: Path) -> None:
        self.grpc = grpc
        self.repository = repository


@pytest.fixture(scope="session")
def triton_server(
    triton_environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningTriton]:
    directory = tmp_path_factory.mktemp("triton")
    repository = directory / "model-repository"
    repository.mkdir()
    with Ports() as ports:
        grpc_port = ports.take()
        part = triton.part(
            "triton",
            environment=triton_environment,
            model_repository=repository,
            http_port=ports.take(),
            grpc_port=grpc_port,
        )
        with running(directory, part):
            yield RunningTriton(grpc=f"127.0.0.1:{grpc_port}", repository=repository)


UP: list[Sandbox] = []
"""The sandbox of this process, once a test has asked for it."""


@dataclass(frozen=True)
class RunningMLflow:
    """An MLflow server, and the folder in which its ``mlflow.db`` and its ``artifacts`` lie."""

    uri: str
    directory: Path


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMLflow]:
    """An MLflow server: the sandbox's where one is up, since a second one takes five seconds of a core to start.

    Each test has names of its own for models and experiments.
    """
    if UP:
        yield RunningMLflow(UP[0].endpoints.mlflow, UP[0].endpoints.directory / "mlflow")
        return
    directory = tmp_path_factory.mktemp("mlflow")
    with Ports() as ports:
        part = mlflow.part("mlflow", directory=directory / "data", port=ports.take())
        with running(directory, part):
            yield RunningMLflow(f"http://127.0.0.1:{part.port}", directory / "data")


@pytest.fixture(scope="session")
def mlflow_uri(mlflow_server: RunningMLflow) -> str:
    return mlflow_server.uri


@pytest.fixture(scope="session")
def object_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.ObjectStorage]:
    """Real object storage with an empty bucket; each test takes a prefix of its own."""
    with s3.running(tmp_path_factory.mktemp("s3")) as storage:
        yield storage


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One real sandbox; its forge runs no workflows, so the tests run the verbs themselves."""
    home = tmp_path_factory.mktemp("sandbox")
    running = Sandbox.up(home, progress=print, seed=seed.seed_promotions, parts=PARTS - {"actions", "slack-app"})
    UP.append(running)
    try:
        yield running
    finally:
        UP.clear()
        Sandbox.down(home)


@pytest.fixture(scope="session")
def clone(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person's clone of the repository; tests push from it."""
    return cloned(sandbox, tmp_path_factory.mktemp("clone") / "models")


def cloned(sandbox: Sandbox, directory: Path) -> Path:
    """Make a person's clone of the repository in ``directory``, and return that.

    It pushes over HTTP, as a person does. It reads the forge's own folder: a test does so several times, and each
    over HTTP is ten processes.
    """
    seed.clone(sandbox.endpoints, directory)
    folder = sandbox.endpoints.directory / "forge/repositories" / f"{sandbox.endpoints.repository}.git"

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=directory, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("remote", "set-url", "--push", "origin", git("remote", "get-url", "origin"))
    git("remote", "set-url", "origin", str(folder))
    git("config", "maintenance.auto", "false")
    (directory / ".git/objects/info/alternates").write_text(f"{folder / 'objects'}\n")
    return directory


@pytest.fixture
def world(sandbox: Sandbox, clone: Path, tmp_path: Path) -> Iterator[World]:
    """The platform with nothing desired, nothing served and no fault; put back so when the test is over."""
    from tests.operations.world import World  # slow to import, and few need it

    root = tmp_path / "checkout"
    root.mkdir()
    running = World(sandbox, clone=clone, root=root)
    try:
        yield running
    finally:
        running.put_back()


class running:  # noqa: N801 - reads as a verb where it is used
    """Run one part for the length of a ``with`` block."""

    def __init__(self, directory: Path, part: Part) -> None:
        self.processes = Processes(directory)
        self.part = part

    def __enter__(self) -> Processes:
        try:
            self.processes.wait_until_ready(self.processes.start(self.part))
        except BaseException:
            self.processes.stop()
            raise
        return self.processes

    def __exit__(self, *_: object) -> None:
        self.processes.stop()


def lives(pid: int) -> bool:
    """Return whether a process of this id runs; one that ended and was not asked for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for our environments; uv keeps its own, so that nothing is downloaded again."""
    uv = Path(sys.executable).with_name("uv")
    kept = subprocess.run([uv, "cache", "dir"], check=True, capture_output=True, text=True).stdout.strip()
    monkeypatch.setenv("UV_CACHE_DIR", os.environ.get("UV_CACHE_DIR", kept))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"
