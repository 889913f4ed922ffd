"""Time that moves for every process at once: a library that each loads first, and one file that says how far.

This process runs itself anew with the library, and everything that it starts inherits it. ``moved.c`` says what moves
and what stays.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

SOURCE = Path(__file__).with_name("moved.c")
_BY = "MOVED_BY"


class NotHere(RuntimeError):
    """There is no C compiler."""


def run_anew(module: str, arguments: list[str]) -> None:
    """Run a module again in this process, with time that moves; return at once where it moves already."""
    if os.environ.get(_BY):
        return
    compiler = shutil.which("cc")
    if compiler is None:
        raise NotHere("a C compiler is needed, as `cc`; on Debian: apt-get install gcc")
    folder = Path(tempfile.mkdtemp(prefix="promobot-month-"))
    library, by = folder / "moved.so", folder / "by"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True)
    by.write_bytes(struct.pack("q", 0))
    moved = {"LD_PRELOAD": str(library), _BY: str(by)}
    command = [sys.executable, "-m", module, *arguments]
    os.execve(sys.executable, command, {**os.environ, **moved})  # noqa: S606 - this very program


def variables() -> Mapping[str, str]:
    """Return the variables with which a process lives in that time, for one that does not inherit them."""
    return {name: os.environ[name] for name in ("LD_PRELOAD", _BY)}


def now() -> datetime:
    """Return the time that all of them see."""
    return datetime.now(UTC)


def jump_to(moment: datetime) -> None:
    """Move everybody to a moment; raise ValueError where it is past, because time does not run back."""
    more = -((now() - moment) // timedelta(seconds=1))
    if more < 0:
        raise ValueError(f"{moment} is past: it is {now()}")
    with Path(os.environ[_BY]).open("r+b") as file, mmap.mmap(file.fileno(), 8) as ahead:
        # One word, so nobody sees half of it.
        ahead[:] = struct.pack("q", struct.unpack("q", ahead)[0] + more)


def remove() -> None:
    """Remove the library and the file, at the end."""
    shutil.rmtree(Path(os.environ[_BY]).parent, ignore_errors=True)
