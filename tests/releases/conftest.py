"""A repository of its own with the project as it is in this work tree, committed and tagged."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.releases.changelog import PROJECT

TAG = "v7.8.9"


def git(folder: Path, *arguments: str) -> str:
    """Run Git as somebody, without what the person of this machine has set."""
    who = ("-c", "user.name=Alex", "-c", "user.email=alex@example.com", "-c", "init.defaultBranch=main")
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def lay_out(folder: Path) -> Path:
    """Copy what is the project's, as it is here, also where it is not committed yet."""
    listed = git(PROJECT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
    for name in listed.split("\0"):
        source = PROJECT / name
        if name and source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
    return folder


@pytest.fixture(scope="session")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project in a repository whose only commit has the tag `TAG`."""
    folder = lay_out(tmp_path_factory.mktemp("tagged") / "project")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "All of it")
    git(folder, "tag", TAG)
    return folder
