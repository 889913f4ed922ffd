"""One real sandbox for all tests of the verbs; its forge runs no workflows, so the tests run the verbs themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.sandbox import seed
from bot.sandbox.platform import PARTS, Sandbox
from tests.verbs.world import World


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    home = tmp_path_factory.mktemp("sandbox")
    running = Sandbox.up(home, progress=print, seed=seed.seed, parts=PARTS - {"actions"})
    try:
        yield running
    finally:
        Sandbox.down(home)


@pytest.fixture(scope="session")
def clone(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person's clone of the repository; tests push from it."""
    directory = tmp_path_factory.mktemp("clone") / "models"
    seed.clone(sandbox.endpoints, directory)
    return directory


@pytest.fixture
def world(sandbox: Sandbox, clone: Path, tmp_path: Path) -> Iterator[World]:
    """The platform with nothing desired, nothing served and no fault; put back so when the test is over."""
    root = tmp_path / "checkout"
    root.mkdir()
    running = World(sandbox, clone=clone, root=root)
    try:
        yield running
    finally:
        running.tidy()
