"""A real NFS on one machine: a server in user space, and two machines with the kernel's own NFS client.

The server is NFS-Ganesha. A client is User-Mode-Linux, a kernel that runs as a process, for the kernel of this
machine may have no NFS client and containers may not mount. All of it lives in namespaces of its own (network,
mounts, processes), so two labs do not meet, and when the process that opened it ends, however it ends, the kernel
takes everything away: processes, interfaces, mounts, loop devices.

The clients see the files of this machine, so they run the same Python and the same code, and are root on them. What
they mount, they see only themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.nfs import guest

PROJECT = Path(__file__).parents[2]
SERVER = "10.99.0.1"
ADDRESSES = {"a": "10.99.0.2", "b": "10.99.0.3"}
LEASE_SECONDS = 10
BOOT_SECONDS = 60.0
CALL_SECONDS = 300.0
SMALL_MEGABYTES = 64
MEMORY = "1G"


class Failed(Exception):
    """What a function raised on a client."""


class Running:
    """A function that runs on a client."""

    def __init__(self, client: Client, connection: socket.socket) -> None:
        self._client, self._connection = client, connection
        self._lines = connection.makefile("rb")
        self.pid: int = self._line(BOOT_SECONDS)["pid"]
        self.said = ""

    def _line(self, seconds: float) -> dict[str, Any]:
        self._connection.settimeout(seconds)
        line = self._lines.readline()
        if not line:
            raise ConnectionError(f"the process on client {self._client.name} is gone")
        found: dict[str, Any] = json.loads(line)
        return found

    def result(self, seconds: float = CALL_SECONDS) -> Any:
        """Wait until it ends; return what it returned. Raises Failed with what it raised, TimeoutError."""
        try:
            ended = self._line(seconds)
        finally:
            self.close()
        self.said = ended["said"]
        if "raised" in ended:
            raise Failed(f"{ended['raised']}\n{ended['traceback']}\n{self.said}")
        return ended["value"]

    def tell(self) -> None:
        """Tell it to go on, or to stop: it knows what it waits for."""
        self._connection.sendall(b"told\n")

    def stop(self) -> Any:
        """Tell it to stop; return what it returned."""
        self.tell()
        return self.result()

    def signal(self, number: int, *, group: bool = True) -> None:
        """Send it, and what it started, a signal."""
        self._client.ask(signal=number, pid=self.pid, group=group)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        self._lines.close()
        self._connection.close()


class Client:
    """One of the machines."""

    def __init__(self, name: str, home: Path, tools: Path) -> None:
        self.name, self.address = name, ADDRESSES[name]
        self._home, self._tools = home, tools
        self._tap = f"nfs{name}"
        self._known = ["os"]
        self._process: subprocess.Popen[bytes] | None = None

    def boot(self, *, wait: bool = True) -> None:
        """Start the machine."""
        (self._home / "uml").mkdir(exist_ok=True)
        with (self._home / f"{self.name}.console").open("wb") as console:
            self._process = subprocess.Popen(
                [
                    str(self._tools / "usr/bin/linux.uml"),
                    *(f"mem={MEMORY}", "rootfstype=hostfs", "rootflags=/", "rw", "quiet"),
                    *(f"init={sys.executable}", f"umid={self.name}", f"uml_dir={self._home}/uml"),
                    *("con=null", "con0=null,fd:1", "ssl=null"),
                    f"vec0:transport=tap,ifname={self._tap},depth=128,gro=1",
                    *(f"PYTHONPATH={PROJECT}", "PYTHONDONTWRITEBYTECODE=1"),
                    *("--", guest.__file__, self.name, self.address, str(self._tools)),
                ],
                env={"PATH": os.environ["PATH"], "TMPDIR": "/dev/shm"},  # where its memory lies
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        if wait:
            self.wait()
            self.know()

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            with contextlib.suppress(OSError):
                self.ask(know=["os"])
                return
            if time.monotonic() > deadline or (self._process and self._process.poll() is not None):
                raise RuntimeError(f"client {self.name} does not boot:\n{self.console()}")
            time.sleep(0.1)

    def wait_for(self, port: int) -> None:
        """Wait until somebody listens there."""
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            try:
                socket.create_connection((self.address, port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def console(self) -> str:
        return (self._home / f"{self.name}.console").read_text(errors="replace")[-2000:]

    def crash(self) -> None:
        """End the machine at once; the server hears nothing of it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def cut_off(self) -> None:
        """Take it off the network."""
        _run("ip", "link", "set", self._tap, "nomaster")

    def join(self) -> None:
        """Put it on the network again."""
        _run("ip", "link", "set", self._tap, "master", "br0")

    def know(self, *modules: str) -> None:
        """Import these once, and after each boot; what is called later has them."""
        self._known += modules
        self.ask(know=self._known)

    def ask(self, **request: Any) -> Any:
        with socket.create_connection((self.address, guest.PORT), 5) as connection:
            connection.settimeout(CALL_SECONDS)
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                return json.loads(lines.readline())["value"]

    def start(
        self, function: Callable[..., Any], *, environment: Mapping[str, str] = {}, **arguments: Any
    ) -> Running:
        """Start a function in a process of its own."""
        connection = socket.create_connection((self.address, guest.PORT), 5)
        call = f"{function.__module__}:{function.__name__}"
        request = {"call": call, "arguments": arguments, "environment": dict(environment)}
        connection.sendall(json.dumps(request).encode() + b"\n")
        return Running(self, connection)

    def call(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """Call a function and return what it returns. Raises Failed with what it raised."""
        return self.start(function, **arguments).result()

    def mount(self, export: str, at: Path, options: str = "") -> None:
        """Mount an export of the server; ``options`` are added to the version and to what the lab needs."""
        at.mkdir(parents=True, exist_ok=True)
        needed = f"addr={SERVER},clientaddr={self.address}"
        chosen = ",".join(part for part in ("vers=4.2", options, needed) if part)
        self.call(run, command=["mount", "-i", "-t", "nfs4", "-o", chosen, f"{SERVER}:{export}", str(at)])

    def unmount(self, at: Path) -> None:
        self.call(run, command=["umount", str(at)])


class Server:
    """NFS-Ganesha, with two exports: ``/share``, and ``/small`` of 64 MB."""

    def __init__(self, home: Path, tools: Path) -> None:
        self._home, self._tools = home, tools
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        text = Path(__file__).with_name("ganesha.conf").read_text()
        for name, value in {"address": SERVER, "home": self._home, "lease": LEASE_SECONDS}.items():
            text = text.replace(f"@{name}@", str(value))
        (self._home / "ganesha.conf").write_text(text)
        for name in ("recovery", "export", "small"):
            (self._home / name).mkdir(exist_ok=True)
        log = self._home / "ganesha.log"
        # It looks for its plugins and libraries in /usr, and there they are for it alone.
        script = 'mount -t overlay -o "ro,lowerdir=$1/usr:/usr" overlay /usr && shift && exec "$@"'
        program = [
            "ganesha.nfsd",
            "-F",
            "-f",
            self._home / "ganesha.conf",
            "-L",
            log,
            "-p",
            self._home / "ganesha.pid",
        ]
        with (self._home / "ganesha.out").open("ab") as out:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", script, "sh", self._tools, *program],
                env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": "/usr/lib/ganesha"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection((SERVER, 2049), 1):
                return
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"the server does not start: {log.read_text()[-2000:] if log.exists() else ''}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Lab:
    """The server and clients ``a`` and ``b``. Must run in namespaces of its own: see ``__main__.py``."""

    def __init__(self, home: Path, tools: Path) -> None:
        self.home = home
        self.export, self.small = home / "export", home / "small"
        self.server = Server(home, tools)
        self.a, self.b = Client("a", home, tools), Client("b", home, tools)

    def __enter__(self) -> Lab:
        self.home.mkdir(exist_ok=True)
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "br0", "type", "bridge")
        _run("ip", "address", "add", f"{SERVER}/24", "dev", "br0")
        _run("ip", "link", "set", "br0", "up")
        for name in ADDRESSES:
            _run("ip", "tuntap", "add", "dev", f"nfs{name}", "mode", "tap", "vnet_hdr")
            _run("ip", "link", "set", f"nfs{name}", "master", "br0", "up")
        image = self.home / "small.img"
        with image.open("wb") as file:
            file.truncate(SMALL_MEGABYTES * 2**20)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
        self.small.mkdir()
        _run("mount", "-o", "loop", str(image), str(self.small))
        try:
            self.server.start()
            for client in (self.a, self.b):
                client.boot(wait=False)
            for client in (self.a, self.b):
                client.wait()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for client in (self.a, self.b):
            client.crash()
        self.server.kill()
        _run("umount", str(self.small))
        shutil.rmtree(self.home / "recovery", ignore_errors=True)


def run(command: Sequence[str]) -> str:
    """Run a command where this is called; return what it printed. Raises RuntimeError where it fails."""
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ended.stderr.strip()}")
    return ended.stdout


def _run(*command: str) -> None:
    run(command)
