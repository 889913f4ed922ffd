"""The repository of a new sandbox."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.sandbox.forge.git import open_repository
from bot.sandbox.platform import Endpoints, Shape
from bot.sandbox.processes import Ports
from bot.sandbox.seed import seed, seed_promotions


@pytest.mark.parametrize("make", [seed, seed_promotions])
def test_everybody_fetches_from_one_pack(make: Callable[[Endpoints], None], tmp_path: Path) -> None:
    """Hundreds of commands fetch it, and Git looks for deltas anew each time among objects that lie apart."""
    with Ports() as ports:
        endpoints = Endpoints.new(tmp_path, shape=Shape(), ports=ports)
    folder = tmp_path / f"forge/repositories/{endpoints.repository}.git"
    open_repository(folder)
    make(endpoints)

    def said(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout

    counted = dict(line.split(": ") for line in said("count-objects", "-v").splitlines())
    reachable = said("rev-list", "--objects", "--all").splitlines()
    assert (counted["packs"], counted["in-pack"]) == ("1", str(len(reachable)))
    listed = said("ls-tree", "-r", "--name-only", "main").split()
    settings = {
        f"{folder}/{name}.yaml" for folder in ("promotions", "manifests/environments") for name in ("dev", "prod")
    }
    assert settings | {".github/CODEOWNERS", ".github/workflows/checks.yml", "README.md"} <= set(listed)
    assert ("bot/cli.py" in listed, "requirements.lock" in listed) == ((make is seed,) * 2)
