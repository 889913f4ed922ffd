"""A few points of the matrix that is ``python -m tests.reliability``, in a process of its own as there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLED = ("bake", "bundles", "crash", "errors", "in place", "lost", "overtaken", "rollout", "sequences")


@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_sample_of_what_needs_only_the_scene() -> None:
    command = [sys.executable, "-m", "tests.reliability", "--sample", "--only", ",".join(SAMPLED)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, last = done.stdout.strip().splitlines()
    assert last.endswith(" passed, 0 failed") and int(last.split()[0]) > len(SAMPLED)
    assert [part for part in SAMPLED if f"\n{part} " not in done.stdout] == []
