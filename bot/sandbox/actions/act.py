"""Starting act for one run, and ending it with everything that it started."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.sandbox.project import program

TRACKING_VARIABLE = "FORGE_TRACKING_ID"
"""Marks every process of a run, to find those that are left behind. (GitHub's runner does the same with
RUNNER_TRACKING_ID, which act empties.)"""

RUNNERS = ("ubuntu-latest", "self-hosted", "promobot-checks", "promobot-deploy")
"""The labels that jobs ask for; all of them are this machine. act takes the first label of a job that it knows."""

GRACE_SECONDS = 5.0

_SHELL = """#!{bash}
{bash} "$@"
status=$?
if [ $status != 0 ] && [ -t 1 ] && read -r parent 2> /dev/null < "/proc/$PPID/comm" && [ "$parent" = act ]; then
  printf '%{drained_bytes}s'
fi
exit $status
"""
_DRAINED_BYTES = 2**16
"""Several times what the kernel keeps of a terminal's output."""


@dataclass(frozen=True)
class Invocation:
    """The arguments of act for one run. ``folder`` is the run's own: sources in, workspaces below ``folder/work``."""

    folder: Path
    home: Path
    event: str
    workflow_path: str
    actor: str
    path: tuple[str, ...]
    """Put before PATH, so that ``python`` is the runner environment's."""
    environment: Mapping[str, str]
    secrets: Mapping[str, str]
    variables: Mapping[str, str]
    actions: Mapping[str, Path]
    """For each ``owner/name@ref`` that the workflows use, the folder that stands in for it."""
    tracking_id: str


def write_files(invocation: Invocation) -> None:
    """Write what act reads besides the event: JSON is YAML, which act reads without any quoting rules."""
    for name, content in (
        ("environment.yml", invocation.environment),
        ("secrets.yml", invocation.secrets),
        ("variables.yml", invocation.variables),
    ):
        file = invocation.folder / name
        file.touch(mode=0o600)
        file.write_text(json.dumps(dict(content)))


def write_shell(folder: Path, path: str) -> None:
    """Write the ``bash`` that a run's steps find first: it makes act read the last of what a failing step wrote.

    act gives steps a terminal. When a command fails, act closes the terminal at once, and what it has not read by
    then is lost. So a command that failed writes more than a terminal holds: when that is done, act has read all
    that came before. It ends no line, so no log shows it. Where a step runs bash itself, nothing is added.
    """
    bash = shutil.which("bash", path=path)
    if bash is None:
        return
    file = folder / "bash"
    folder.mkdir()
    file.write_text(_SHELL.format(bash=bash, drained_bytes=_DRAINED_BYTES))
    file.chmod(0o755)


def command(invocation: Invocation) -> list[str]:
    """The command line; secrets are in a file, not on it."""
    folder = invocation.folder
    stand_ins = [
        flag for action, at in invocation.actions.items() for flag in ("--local-repository", f"{action}={at}")
    ]
    return [
        str(program("act")),
        invocation.event,
        *("--directory", str(folder / "source")),
        *("--workflows", invocation.workflow_path),
        *("--eventpath", str(folder / "event.json")),
        *("--env-file", str(folder / "environment.yml")),
        *("--secret-file", str(folder / "secrets.yml")),
        *("--var-file", str(folder / "variables.yml")),
        *("--input-file", os.devnull),
        *("--action-cache-path", str(folder / "work")),
        *("--actor", invocation.actor),
        *(flag for label in RUNNERS for flag in ("--platform", f"{label}=-self-hosted")),
        *("--concurrent-jobs", "16"),
        "--json",
        "--rm",
        "--no-cache-server",
        # Also a plain `actions/checkout` goes through the stand-in, so a job has what it checked out, no more.
        "--no-skip-checkout",
        *("--container-daemon-socket", "-"),
        *stand_ins,
    ]


def start(invocation: Invocation) -> subprocess.Popen[str]:
    """Start act in a process group of its own, with an environment that holds nothing of the person's."""
    path = os.pathsep.join([*invocation.path, os.environ.get("PATH", os.defpath)])
    shell = invocation.folder / "shell"
    write_shell(shell, path)
    environment = {
        "PATH": os.pathsep.join([str(shell), path]),
        "HOME": str(invocation.home),
        "XDG_CACHE_HOME": str(invocation.home / ".cache"),
        "XDG_CONFIG_HOME": str(invocation.home / ".config"),
        "LANG": "C.UTF-8",
        # act gives steps a terminal, which GitHub does not: nothing may wait for a key or page its output.
        "TERM": "dumb",
        "PAGER": "cat",
        "GIT_PAGER": "cat",
        "GIT_TERMINAL_PROMPT": "0",
        TRACKING_VARIABLE: invocation.tracking_id,
    }
    write_files(invocation)
    return subprocess.Popen(
        command(invocation),
        cwd=invocation.folder / "source",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )


def end(process: subprocess.Popen[str], tracking_id: str) -> None:
    """End act and everything that it started: asked first, killed after `GRACE_SECONDS`."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    end_leftovers(tracking_id)


def end_leftovers(tracking_id: str) -> None:
    """Kill what a run left behind. act starts each step in a session of its own, so its group does not have them."""
    deadline = time.monotonic() + GRACE_SECONDS
    while (left := list(_processes_of(tracking_id))) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def end_job(tracking_id: str, job_key: str) -> None:
    """Kill the processes that the steps of one job started; act then sees the step fail and runs the other jobs."""
    for pid in _processes_of(tracking_id, f"GITHUB_JOB={job_key}"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _processes_of(tracking_id: str, *more: str) -> Iterator[int]:
    """The living processes whose environment carries the id, and what more is asked for.

    Linux; elsewhere there is no /proc to look in.
    """
    marks = {f"{TRACKING_VARIABLE}={tracking_id}".encode(), *(text.encode() for text in more)}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # A zombie's environment reads as empty, so it is not counted.
            if marks <= set((folder / "environ").read_bytes().split(b"\0")):
                yield int(folder.name)
