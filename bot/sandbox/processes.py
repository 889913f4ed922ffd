"""Processes of a sandbox: started, waited for, and stopped again, also by a later command that knows the directory.

Each has a record in ``DIR/pids`` (mode 600, since it holds the environment variables that a restart needs) and its
output in ``DIR/logs/<name>.log``. A record names the process by its id *and* by when it started, so that nothing is
ever signalled that merely got the same id later; one whose starter died before it could write the record is known by
its output. Every process leads a session of its own: Ctrl-C in the terminal does not reach it by itself, and whatever
it started is found by that session.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from bot.errors import OutsideError, Refused, Rejected, Unavailable
from bot.sandbox.project import CODE

HOST = "127.0.0.1"
POLL_SECONDS = 0.02
PROBE_TIMEOUT_SECONDS = 5.0
READY_DEADLINE_SECONDS = 90.0
STOP_DEADLINE_SECONDS = 10.0
LOG_LINES_SHOWN = 15
LOWEST_PORT = 15_000
OWN_VARIABLES = ("GITHUB_", "SLACK_", "MLFLOW_", "_MLFLOW_", "PROMOBOT_", "AWS_")
"""Variables that a person sets for their real platform begin like this; none of them may reach a sandbox."""


@dataclass(frozen=True)
class Part:
    """A process to run: its command, and the path that answers 200 on its HTTP port once it is ready.

    ``variables`` are added to the environment. ``any_answer`` counts every answer below 500 as ready. A part that
    ``ends_by_kill`` gets SIGKILL at once, because it ends slowly and gains nothing by it. It then ``leaves`` files
    outside the sandbox's directory, which are removed. ``more`` are arguments after those of the command.
    """

    name: str
    command: tuple[str, ...]
    port: int
    ready_path: str = "/"
    any_answer: bool = False
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    ends_by_kill: bool = False
    leaves: tuple[str, ...] = ()
    more: tuple[str, ...] = ()

    def with_variables(self, variables: Mapping[str, str]) -> Part:
        """Return the part with more, or other, environment variables."""
        return dataclasses.replace(self, variables={**self.variables, **variables})


@dataclass(frozen=True, eq=False)
class Process:
    """A part that was started: its process id, and when that process began (boot, clock ticks since)."""

    part: Part
    pid: int
    boot: str
    start_ticks: int


_RECORDED = TypeAdapter(Process)


class Ports:
    """Free TCP ports of 127.0.0.1 that no other sandbox takes at the same time.

    They lie outside the range that the system gives to outgoing connections, so that a port that was free stays free
    until its server is up. Against other sandboxes that start now, each is reserved by an abstract socket of its
    number, which the system forgets when this process ends.
    """

    def __init__(self) -> None:
        low, high = _outgoing_ports()
        self._candidates = [port for port in range(LOWEST_PORT, 65_536) if not low <= port <= high]
        self._reserved: list[socket.socket] = []

    def __enter__(self) -> Ports:
        return self

    def __exit__(self, *_: object) -> None:
        for reservation in self._reserved:
            reservation.close()

    def take(self) -> int:
        """Return a port that is free now and reserved until the end of the ``with`` block."""
        for port in random.sample(self._candidates, k=min(len(self._candidates), 500)):
            if self.reserve(port):
                return port
        raise Refused("no free port was found", next_step="stop what listens on so many ports")

    def reserve(self, port: int) -> bool:
        """Reserve this very port; return whether it was free."""
        reservation = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            reservation.bind(f"\0promobot-port-{port}")
        except OSError:
            reservation.close()
            return False
        self._reserved.append(reservation)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As servers do: connections that ended a moment ago do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                return False
        return True


class Processes:
    """The processes of one sandbox directory.

    After :meth:`close` nothing starts, so that stopping everything is final also while other threads are still
    starting parts.
    """

    def __init__(self, directory: Path) -> None:
        self._records = directory / "pids"
        self._logs = directory.resolve() / "logs"
        self._starting = threading.Lock()
        self._closed = False
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def close(self) -> None:
        """Start nothing from now on; waits for a start that is under way."""
        with self._starting:
            self._closed = True

    def start(self, part: Part) -> Process:
        """Start the part and return at once; its record is on disk before anybody waits for it."""
        with self._starting:
            if self._closed:
                raise OutsideError("not started: the sandbox is being stopped", system=part.name)
            self._records.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._logs.mkdir(exist_ok=True)
            with self.log(part.name).open("ab") as log:
                child = subprocess.Popen(
                    (*part.command, *part.more),
                    cwd=self._folder_for(part),
                    env={**inherited_variables(), **part.variables},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._children[child.pid] = child
            process = Process(part=part, pid=child.pid, boot=_boot(), start_ticks=_stat(child.pid).start_ticks)
            write_private(self._record(part.name), _RECORDED.dump_json(process, indent=1).decode() + "\n")
            return process

    def wait_until_ready(self, process: Process, *, deadline_seconds: float = READY_DEADLINE_SECONDS) -> None:
        """Return once the part answers.

        Raises Rejected when it ended first, Unavailable when it did not answer in time; both name the part and show
        the end of its log.
        """
        part, deadline = process.part, time.monotonic() + deadline_seconds
        while not answers(part):
            if self._closed:
                raise OutsideError("not waited for: the sandbox is being stopped", system=part.name)
            if not self._leads(process):
                code = self._children[process.pid].poll() if process.pid in self._children else None
                raise Rejected(
                    f"ended before it was ready{'' if code is None else f', with code {code}'}{self._log_end(part)}",
                    system=part.name,
                )
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"did not answer on port {part.port} within {deadline_seconds:.0f} s{self._log_end(part)}",
                    system=part.name,
                )
            time.sleep(POLL_SECONDS)

    def recorded(self) -> list[Process]:
        """Return every process that was started and not stopped, whether or not it still lives."""
        files = sorted(self._records.glob("*.json")) if self._records.is_dir() else []
        return [_RECORDED.validate_json(file.read_bytes()) for file in files]

    def living(self) -> list[Process]:
        """Return the processes that still live."""
        living = self._living([*self.recorded(), *self._unrecorded()])
        return [process for process, pids in living.items() if pids]

    def stop(self, processes: Iterable[Process] | None = None) -> list[str]:
        """Stop these processes (by default all) with what they started; return the names of those that lived.

        Their records go too. Safe to run twice.
        """
        stopping = [*self.recorded(), *self._unrecorded()] if processes is None else list(processes)
        lived = self.halt(stopping)
        for process in stopping:
            self._record(process.part.name).unlink(missing_ok=True)
        return lived

    def halt(self, stopping: Iterable[Process], *, deadline_seconds: float = STOP_DEADLINE_SECONDS) -> list[str]:
        """Stop these processes and keep their records, so that the same parts can be started again.

        All get SIGTERM at once; their children get it only if they were left behind. Processes that live after the
        deadline get SIGKILL.
        """
        stopping = list(stopping)
        lived = [process.part.name for process, pids in self._living(stopping).items() if pids]
        deadline = time.monotonic() + deadline_seconds
        asked: set[int] = set()
        killed = {process.pid for process in stopping if process.part.ends_by_kill}
        while pids := _first(self._living(stopping)):
            overdue = time.monotonic() > deadline
            if time.monotonic() > deadline + STOP_DEADLINE_SECONDS:
                raise OutsideError(f"processes {pids} do not end, not even by SIGKILL", system="sandbox")
            for pid in pids if overdue else pids - asked:
                with contextlib.suppress(ProcessLookupError):  # ended since we looked
                    os.kill(pid, signal.SIGKILL if overdue or pid in killed else signal.SIGTERM)
            asked |= pids
            time.sleep(POLL_SECONDS)
        for path in (path for process in stopping for path in process.part.leaves):
            Path(path).unlink(missing_ok=True)
        return lived

    def log(self, name: str) -> Path:
        """Return the file that a part writes its output to."""
        return self._logs / f"{name}.log"

    def _unrecorded(self) -> list[Process]:
        """Return those that were started by somebody who was killed before the record was written.

        What tells them is their output, which goes to our log from the moment on in which they have a session.
        """
        recorded = {process.pid for process in self.recorded()}
        found = []
        for stat in map(_stat_or_none, _process_ids()):
            if stat is None or stat.pid != stat.session or stat.pid in recorded:
                continue
            output = _output_of(stat.pid)
            if output is not None and output.parent == self._logs:
                part = Part(name=output.stem, command=(), port=0)
                found.append(Process(part=part, pid=stat.pid, boot=_boot(), start_ticks=stat.start_ticks))
        return found

    def _folder_for(self, part: Part) -> Path:
        """Where "python -m bot.…" runs the code that this is, whatever is installed; for others a folder of no code.

        Triton's Python looks for packages where it was started, and ours are not for it.
        """
        return CODE if part.command[:1] == (sys.executable,) else self._logs

    def _record(self, name: str) -> Path:
        return self._records / f"{name}.json"

    def _leads(self, process: Process) -> bool:
        """Return whether the process itself lives: this id, in this boot, begun at that time."""
        if child := self._children.get(process.pid):
            child.poll()  # a child that ended stays in the table until its parent asks
        stat = _stat_or_none(process.pid)
        return (
            stat is not None
            and not stat.has_ended
            and (process.boot, process.start_ticks) == (_boot(), stat.start_ticks)
        )

    def _living(self, processes: Iterable[Process]) -> dict[Process, list[int]]:
        """Return for each process the ids of itself, first, and of those it started, as far as they live."""
        sessions: dict[int, list[_Stat]] = {}
        for stat in map(_stat_or_none, _process_ids()):
            if stat is not None and not stat.has_ended:
                sessions.setdefault(stat.session, []).append(stat)
        return {process: self._living_of(process, sessions.get(process.pid, ())) for process in processes}

    def _living_of(self, process: Process, session: Iterable[_Stat]) -> list[int]:
        if self._leads(process):
            return [process.pid, *(stat.pid for stat in session if stat.pid != process.pid)]
        if process.boot != _boot() or _stat_or_none(process.pid) is not None:
            return []  # the id belongs to somebody else now, so nothing of ours is left in a session of that number
        return [stat.pid for stat in session if stat.start_ticks >= process.start_ticks]

    def _log_end(self, part: Part) -> str:
        log = self.log(part.name)
        lines = log.read_text(errors="replace").rstrip().splitlines()[-LOG_LINES_SHOWN:]
        return f"; the end of {log}:\n" + "\n".join(f"  {line}" for line in lines) if lines else f"; {log} is empty"


def answers(part: Part) -> bool:
    """Return whether the part answers as one that is ready does."""
    connection = http.client.HTTPConnection(HOST, part.port, timeout=PROBE_TIMEOUT_SECONDS)
    try:
        connection.request("GET", part.ready_path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return status < 500 if part.any_answer else status == 200


def port_of(address: str) -> int:
    """Return the port of a URL or of ``host:port``."""
    return int(address.rpartition(":")[2])


def inherited_variables() -> dict[str, str]:
    """Return the environment variables that a part gets from us: all but those meant for a real platform."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN_VARIABLES)}
    return {**kept, "NO_PROXY": f"{HOST},localhost", "no_proxy": f"{HOST},localhost"}


@contextlib.contextmanager
def locked(path: Path, *, while_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock file exclusively; the system gives it back if this process dies.

    ``while_waiting`` is called again and again while another holds it, and may raise.
    """
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                while_waiting()
                time.sleep(POLL_SECONDS)
        yield


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody but its owner can read, in one step: readers see all of it or the one before."""
    beside = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    beside.replace(path)


def run_at_once(calls: Sequence[Callable[[], None]], *, on_failure: Callable[[], None]) -> None:
    """Run every call in a thread of its own and wait for all; the first failure runs ``on_failure`` and is raised.

    Ctrl-C counts as a failure. Later failures follow from stopping the others and are not raised.
    """
    with ThreadPoolExecutor(max_workers=max(1, len(calls))) as pool:
        try:
            for ended in as_completed([pool.submit(call) for call in calls]):
                ended.result()
        except BaseException:
            on_failure()
            raise


def _first(living: Mapping[Process, list[int]]) -> set[int]:
    """Return who is to be asked to end: each process that lives, else whatever it left behind."""
    return {pid for process, pids in living.items() for pid in (pids[:1] if process.pid in pids else pids)}


@dataclass(frozen=True)
class _Stat:
    """What ``/proc/<pid>/stat`` says of a process."""

    pid: int
    state: str
    session: int
    start_ticks: int
    threads: int

    @property
    def has_ended(self) -> bool:
        """Whether all of it has: its first thread may be gone while others still hold its files and ports."""
        return self.state in "ZX" and self.threads <= 1


def _stat(pid: int) -> _Stat:
    text = Path(f"/proc/{pid}/stat").read_text()
    fields = text[text.rindex(")") + 2 :].split()  # the name before may hold spaces and parentheses
    session, threads, ticks = (int(fields[number]) for number in (3, 17, 19))
    return _Stat(pid=pid, state=fields[0], session=session, start_ticks=ticks, threads=threads)


def _stat_or_none(pid: int) -> _Stat | None:
    try:
        return _stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None


def _output_of(pid: int) -> Path | None:
    """Return the file that a process has as its standard output, as far as we may see it."""
    try:
        return Path(f"/proc/{pid}/fd/1").readlink()
    except OSError:  # ended since we looked, or somebody else's
        return None


def _process_ids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _outgoing_ports() -> tuple[int, int]:
    low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return int(low), int(high)
