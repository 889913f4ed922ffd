"""Runs code in a process of its own whose system calls fail, kill it, or are written down, on demand."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import cloudpickle
import pytest

from bot.domain.marker import MARKER_FILE
from bot.errors import PromobotError

SECONDS = 60.0

# Never a fork of this process: gRPC does not support one while it has threads.
clean = multiprocessing.get_context("forkserver")
clean.set_forkserver_preload(["tests.share.test_share", "tests.records.test_records"])


@dataclass(frozen=True)
class Ended:
    """How it ended: ``killed`` by a signal, or with the ``error`` of ours that it raised, and what that says."""

    killed: bool
    error: type[PromobotError] | None = None
    said: str = ""


def traced(work: Callable[[], object], *, inject: str, path: Path | None = None) -> Ended:
    """Run ``work`` with strace's ``inject`` expression, for system calls on ``path`` only where one is given."""
    call = inject.partition(":")[0]
    where = ["-P", str(path)] if path else []
    return _strace(work, "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={inject}", *where)


def synced(work: Callable[[], object], log: Path) -> list[str]:
    """Run ``work``; return its renames, links and syncs in order: ``sync PATH`` and ``move FROM TO``."""
    ended = _strace(work, "-y", "-o", str(log), "-s", "4096", "-e", "trace=rename,link,fsync")
    assert ended == Ended(killed=False)
    steps = []
    for line in log.read_text().splitlines():
        if found := re.match(r"fsync\(\d+<(.*)>\) += 0", line):
            steps.append(f"sync {found[1]}")
        elif found := re.match(r'(?:rename|link)\("(.*)", "(.*)"\) += 0', line):
            steps.append(f"move {found[1]} {found[2]}")
    return steps


def looked_blindly(work: Callable[[], object], log: Path, *, below: Path) -> list[str]:
    """Run ``work``; return what it looked at by name without having opened the folder before: on NFS it may be old.

    What lies directly in ``below`` counts, ``below`` itself does not.
    """
    calls = "openat,stat,lstat,newfstatat,statx,readlink,access"
    ended = _strace(work, "-y", "-o", str(log), "-s", "4096", "-e", f"trace={calls}")
    assert ended == Ended(killed=False)
    opened: set[Path] = set()
    absent: set[Path] = set()
    blind = []
    for line in log.read_text().splitlines():
        found = re.search(r'"(/[^"]*)"', line)
        if found is None or not (path := Path(found[1])).is_relative_to(below):
            continue
        if "O_DIRECTORY" in line:
            (absent if "ENOENT" in line else opened).add(path)
        if path.name == MARKER_FILE:
            continue  # it never goes, and where it is not seen the product asks again, after opening its folder
        if path != below and path.parent not in opened and not absent & set(path.parents):
            blind.append(str(path.relative_to(below)))
    return blind


def _strace(work: Callable[[], object], *options: str) -> Ended:
    """Run ``work`` under strace.

    The process is forked from a clean one, so it starts at once and with everything imported. It stops itself before
    the work, and a stopped process that strace attaches to runs no further before strace lets it: nothing of the work
    is missed, however late that is. Errors of ours come back; any other ends the test.
    """
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    received, send = clean.Pipe(duplex=False)
    child = clean.Process(target=_run, args=(cloudpickle.dumps(work), send))
    child.start()
    assert child.pid is not None
    tracer = None
    try:
        # Attached while it still imports, its own start would count as calls of the work.
        _wait_until(lambda: "State:\tT" in _status_of(child.pid), "it does not start")
        command = ["strace", "-qq", *options, "-p", str(child.pid)]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        attached = tracer

        def is_traced() -> bool:
            if attached.poll() is not None:
                pytest.skip(f"strace cannot attach here: {attached.stderr.read() if attached.stderr else ''}")
            return "TracerPid:\t0\n" not in _status_of(child.pid)

        _wait_until(is_traced, "strace does not attach")
        os.kill(child.pid, signal.SIGCONT)
        child.join(SECONDS)
        assert child.exitcode is not None, "it hangs"
        error, said = received.recv() if received.poll() else (None, "")
    finally:
        if child.exitcode is None:
            child.kill()
            child.join()
        if tracer is not None:
            tracer.wait(SECONDS)
            if tracer.stderr:
                tracer.stderr.close()
    assert error is None or issubclass(error, PromobotError), f"{error.__name__}: {said}"
    return Ended(killed=child.exitcode < 0, error=error, said=said)


def _status_of(pid: int | None) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def _wait_until(is_so: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.002)


def _run(work: bytes, send: Connection) -> None:
    todo: Callable[[], object] = cloudpickle.loads(work)
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        todo()
    except PromobotError as error:
        send.send((type(error), str(error)))
    except BaseException as error:
        send.send((type(error), str(error)))
        raise
    else:
        send.send((None, ""))
