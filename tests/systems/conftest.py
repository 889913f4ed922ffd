"""Real systems for the tests of the adapters, each started as late and as seldom as it can be."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.sandbox import environments, triton
from bot.sandbox.processes import Ports
from tests.disks import small_disk
from tests.sandbox.forge.conftest import Clone, Server, clone, first_commit, server, with_first_commit
from tests.servers import running
from tests.stand_ins.server import StandIn

__all__ = ["clone", "first_commit", "server", "small_disk"]


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, kept by a socket that does not either."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The sandbox's forge, which runs no workflows. One for a module: each test has branches of its own."""
    server = Server(tmp_path_factory.mktemp("forge"), None)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def person(forge: Server, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Somebody with a clone; main holds ``promotions/dev.yaml``, which nobody changes."""
    return with_first_commit(forge, tmp_path_factory.mktemp("person") / "clone", {})


@dataclass(frozen=True)
class RealTriton:
    """The sandbox's Triton: host and port of its gRPC, URL of its HTTP, and the repository that it serves from."""

    grpc: str
    url: str
    repository: Path


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealTriton]:
    """One Triton for all; each test has models of its own."""
    directory = tmp_path_factory.mktemp("triton")
    repository = directory / "model-repository"
    repository.mkdir()
    with Ports() as ports:
        part = triton.part(
            "triton",
            environment=environments.triton(progress=print),
            model_repository=repository,
            http_port=ports.take(),
            grpc_port=(grpc := ports.take()),
        )
        with running(directory, part):
            yield RealTriton(f"127.0.0.1:{grpc}", f"http://127.0.0.1:{part.port}", repository)


class Clock:
    """Time that passes only while somebody sleeps: ``pauses`` are for how long, in seconds."""

    def __init__(self) -> None:
        self._began = self._now = time.monotonic()
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._now += seconds

    @property
    def seconds(self) -> float:
        """For how long all slept together."""
        return self._now - self._began


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    return clock
