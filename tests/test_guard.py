"""The guard of ``conftest.py`` guards."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from _pytest.outcomes import Failed


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("example.com", 80), ("0.0.0.0", 80)])  # noqa: S104
def test_no_test_talks_to_another_machine(address: tuple[str, int]) -> None:
    with pytest.raises(Failed, match=address[0]), socket.create_connection(address, timeout=0.1):
        pass
    with socket.socket() as plain, pytest.raises(Failed, match=address[0]):
        plain.connect_ex(address)


def test_a_client_that_translates_errors_cannot_swallow_it() -> None:
    with pytest.raises(Failed):
        httpx.get("http://192.0.2.1/", timeout=0.1)


def test_a_name_that_never_exists_is_not_asked_for() -> None:
    with pytest.raises(httpx.ConnectError):
        httpx.get("http://nowhere.invalid/")


def test_this_machine_is_allowed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=5):
        pass


def test_home_is_an_empty_folder_for_processes_too() -> None:
    there = subprocess.run(
        [sys.executable, "-c", "import pathlib; print(pathlib.Path.home())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert there == str(Path.home()) == os.environ["HOME"]
    assert not (Path.home() / ".gitconfig").exists()
    assert not os.environ["XDG_CACHE_HOME"].startswith(there)
