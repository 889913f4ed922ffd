"""What holds for every test: no network beyond this machine, nothing of the user's home, what is long on demand."""

from __future__ import annotations

import gc
import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from bot.sandbox import environments
from tests.outputs import every_output_is_described
from tests.servers import (
    clone,
    mlflow_server,
    mlflow_uri,
    object_storage,
    own_cache,
    sandbox,
    triton_environment,
    triton_server,
    world,
)
from tests.stand_ins.tls import authority, certificate

# Fixtures that several folders use.
__all__ = [
    "authority",
    "certificate",
    "clone",
    "every_output_is_described",
    "mlflow_server",
    "mlflow_uri",
    "object_storage",
    "own_cache",
    "sandbox",
    "triton_environment",
    "triton_server",
    "world",
]

# MLflow reads them when it is first imported, and would tell its makers of each test.
os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})
# Libraries that compute would each begin as many threads as there are cores, which wait for one another by counting.
# With three processes beside one another half of what a training takes went into that.
os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
if sys.dont_write_bytecode:
    # Images of containers often say so. Then each of the hundreds of processes that the tests start compiles all that
    # it imports again: MLflow's server alone 15 seconds instead of 5. It goes where a sandbox's parts keep theirs.
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(environments.cache_directory() / "bytecode")
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": sys.pycache_prefix}
# Cores are shared with servers under test: a slow example is no wrong one. No example decides by luck.
settings.register_profile("promobot", deadline=None, derandomize=True, database=None)
settings.load_profile("promobot")


# Whatever is imported and collected stays until the end: half of the time of collecting went into looking for garbage
# there. pytest_collection_finish puts it aside.
gc.disable()

LONGEST = (
    "operations",
    "slack",
    "workflows",
    "sandbox",
    "reliability",
    "situations",
    "doctor",
    "training",
    "systems",
)
"""They begin, so that no worker is left with the longest file at the end."""
SHORTEST = ("domain", "render")
"""Files of milliseconds come last: they fill up the workers until all end together."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is ``slow``, ``extended`` or ``long``, unless there is a ``-m``; put the longest files first."""
    turn = {folder: number for number, folder in enumerate((*LONGEST, "", *SHORTEST))}
    items.sort(key=lambda item: turn.get(item.nodeid.split("/")[1], turn[""]))
    if not config.getoption("-m"):
        later = [
            item for item in items if any(item.get_closest_marker(name) for name in ("slow", "extended", "long"))
        ]
        config.hook.pytest_deselected(items=later)
        items[:] = [item for item in items if item not in later]


def pytest_collection_finish() -> None:
    """Look for garbage again, among what the tests make; rarely, because most of it frees itself."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty home for this process and all that it starts. Caches stay: environments of sandboxes lie there."""
    user = Path.home()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME") or str(user / ".cache"))
        for settings_of_pip in (user / ".config/pip/pip.conf", user / ".pip/pip.conf"):
            if settings_of_pip.is_file() and "PIP_CONFIG_FILE" not in os.environ:
                patch.setenv("PIP_CONFIG_FILE", str(settings_of_pip))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        # onnxruntime's telemetry goes past the guard below, and leaves files in the user's caches.
        patch.setenv("ORT_DISABLE_TELEMETRY", "1")
        # Where Actions runs these tests, what they try is no part of that job's summary.
        for variable in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
            patch.delenv(variable, raising=False)
        for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
            patch.delenv(variable, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _this_machine_only() -> Iterator[None]:
    """Let no test of this process connect to, or ask for the address of, another machine."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _refuse_foreign(self.family, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        _refuse_foreign(self.family, address)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if str(name).endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        _refuse_foreign(socket.AF_INET, (name,))
        return getaddrinfo(host, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield


def _refuse_foreign(family: int, address: Any) -> None:
    if family not in (socket.AF_INET, socket.AF_INET6) or _is_here(address[0]):
        return
    # No Exception: what a system could not do is translated and tried again, this must end the test.
    pytest.fail(f"this test would talk to {address[0]}; only 127.0.0.1 and ::1 are allowed", pytrace=True)


def _is_here(host: str | None) -> bool:
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False
