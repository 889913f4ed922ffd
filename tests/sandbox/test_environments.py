"""Environments are made once, whole, and by one process at a time."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bot.errors import Refused, Unavailable
from bot.sandbox import environments
from bot.sandbox.project import FILES


@pytest.mark.slow
def test_two_sandboxes_at_once_make_one_environment_that_works(own_cache: Path) -> None:
    said: list[str] = []
    with ThreadPoolExecutor() as pool:
        first, second = [pool.submit(environments.triton, progress=said.append) for _ in range(2)]
    environment = first.result()

    assert second.result() == environment
    assert len(said) == 1 and "once" in said[0]
    assert environment.directory.is_relative_to(own_cache / "promobot")
    versions = subprocess.run(
        [environment.bin / "python", "-c", "import numpy, onnxruntime; print(numpy.__version__)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert versions.stdout.strip() == "1.26.4"

    # What an interrupted build left behind has no marker, and is never used.
    (environment.directory / environments.MARKER).unlink()
    (environment.bin / "python").unlink()
    again = environments.triton(progress=said.append)
    assert again == environment and len(said) == 2
    assert (environment.bin / "python").exists()


def test_a_build_that_fails_leaves_nothing_and_says_why(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(own_cache / "empty"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    with pytest.raises(Unavailable, match="not found in the cache") as failure:
        environments.triton(progress=print)
    assert "package index" in failure.value.next_step
    assert not [path for path in (own_cache / "promobot").iterdir() if path.is_dir()]


def test_where_triton_has_no_build_for_this_python_another_one_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    oldest, newest = environments.TRITON_PYTHONS
    if oldest <= sys.version_info[:2] <= newest:
        assert environments.triton_python() == environments.Interpreter.ours()
    assert environments.libpython(environments.Interpreter.ours()).is_file()
    monkeypatch.setattr(environments, "TRITON_PYTHONS", ((3, 1), (3, 1)))
    with pytest.raises(Refused, match=r"needs a Python between 3\.1 and 3\.1 beside this one") as failure:
        environments.triton_python()
    assert "Python 3.1" in failure.value.next_step
    # Whatever this machine has: what is found is of the version that was asked for, and is not ours.
    monkeypatch.setattr(environments, "TRITON_PYTHONS", ((3, 8), (3, 10)))
    with contextlib.suppress(Refused):
        found = environments.triton_python()
        assert found.version in ("3.8", "3.9", "3.10") and found != environments.Interpreter.ours()


@pytest.mark.slow
def test_a_runner_has_the_bot_but_no_training_framework(own_cache: Path) -> None:
    runner = environments.runner(progress=print)
    assert runner.directory == environments.runner_directory()
    found = subprocess.run(
        [
            runner.bin / "python",
            "-c",
            "import importlib.util as i, json; import git, github, slack_sdk, tritonclient.grpc;"
            "print(*[name for name in ('mlflow', 'onnx', 'flask', 'slack_bolt') if i.find_spec(name)])",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout.split() == []
    installed = subprocess.run(
        [runner.bin / "uv", "pip", "install", "-r", FILES / "pyproject.toml", "--extra", "evaluation"],
        env={
            "VIRTUAL_ENV": str(runner.directory),
            "UV_OFFLINE": "1",
            "PATH": str(runner.bin),
            "HOME": str(own_cache),
        },
        check=True,
        capture_output=True,
        text=True,
    )
    assert "Installed" not in installed.stderr
