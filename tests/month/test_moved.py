"""The time of day moves for every process that is started so, and nothing else does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_PROGRAM = """
import subprocess, threading, time
from datetime import timedelta
from tests.month import moved
moved.run_anew("moving", [])
was, monotonic = moved.now(), time.monotonic()
moved.jump_to(was + timedelta(days=30))
there = float(subprocess.check_output(["date", "+%s"]))
time.sleep(0.05)
threading.Event().wait(0.05)
print((moved.now() - was).days, round((there - was.timestamp()) / 86400), time.monotonic() - monotonic < 3600)
try:
    moved.jump_to(was)
except ValueError:
    print("never back")
moved.remove()
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_all_processes_jump_together_and_pauses_stay(tmp_path: Path) -> None:
    (tmp_path / "moving.py").write_text(_PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "moving"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "30 30 True\nnever back\n"), done.stderr
