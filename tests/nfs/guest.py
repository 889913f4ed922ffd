"""PID 1 of a client: makes the machine ready, then runs what the host asks for, each in a process forked from here.

A request is one line of JSON on a connection of its own: ``call`` names a function as ``module:name``, and its
arguments; ``signal`` sends one to a process; ``know`` imports modules, so that what is forked later has them. Answers
are lines of JSON, too: the process's id, then what it returned, raised and printed. A function that has an argument
``told`` is given something to ask: what the host said meanwhile.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

PORT = 7000


class Told:
    """What the host says to a function that runs: anything at all means that it should end."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def to_stop(self) -> bool:
        return bool(select.select([self._connection], [], [], 0)[0])


def main(name: str, address: str, tools: str) -> None:
    """Run for ever."""
    _make_ready(name, address, Path(tools))
    os.environ.update(
        PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LANG="C.UTF-8", HOME="/run"
    )
    os.environ["TMPDIR"] = tempfile.tempdir = "/run"
    with socket.create_server((address, PORT)) as listening:
        while True:
            if not select.select([listening], [], [], 1)[0]:
                _reap()
                continue
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as lines:
                _obey(connection, json.loads(lines.readline()), listening)
            _reap()


def _make_ready(name: str, address: str, tools: Path) -> None:
    def run(*command: str) -> None:
        subprocess.run(command, check=True)

    run("mount", "-t", "proc", "proc", "/proc")
    run("mount", "-t", "sysfs", "sys", "/sys")
    run("mount", "-t", "tmpfs", "-o", "mode=1777", "run", "/run")
    Path("/dev/shm").mkdir(exist_ok=True)  # its own, not the host's
    run("mount", "-t", "tmpfs", "shm", "/dev/shm")
    run("hostname", name)
    run(str(tools / "modprobe"), "-d", str(tools), "nfsv4")
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{address}/24", "dev", "vec0")
    run("ip", "link", "set", "vec0", "up")


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _obey(connection: socket.socket, request: dict[str, Any], listening: socket.socket) -> None:
    if modules := request.get("know"):
        for module in modules:
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
        _say(connection, value=None)
    elif number := request.get("signal"):
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if request["group"] else os.kill)(request["pid"], number)
        _say(connection, value=None)
    elif not (child := os.fork()):
        listening.close()
        _be_it(connection, request)
    else:
        _say(connection, pid=child)


def _be_it(connection: socket.socket, request: dict[str, Any]) -> None:
    """Run the function in the forked process; never returns."""
    try:
        os.setsid()
        os.environ.update(request["environment"])
        with tempfile.TemporaryFile() as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            try:
                module, _, name = request["call"].partition(":")
                function = getattr(importlib.import_module(module), name)
                arguments = request["arguments"]
                if "told" in inspect.signature(function).parameters:
                    arguments["told"] = Told(connection)
                ended = {"value": function(**arguments)}
            except BaseException as error:  # noqa: BLE001 - the host is told
                ended = {"raised": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
            sys.stdout.flush()
            sys.stderr.flush()
            out.seek(0)
            _say(connection, **ended, said=out.read().decode(errors="replace"))
    finally:
        os._exit(0)


def _say(connection: socket.socket, **words: Any) -> None:
    connection.sendall(json.dumps(words).encode() + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:4])
