"""The lab and a few of what it tries: two at once, which do not meet and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.nfs.lab import PROJECT

COMMANDS = (("--only", "share", "--rows", "of two deployers"), ("--only", "reader", "--rows", "in place"))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_labs_side_by_side_leave_nothing_behind(tmp_path: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.nfs", *arguments],
            cwd=PROJECT,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments in COMMANDS
    ]
    ended = [(*one.communicate(), one.returncode) for one in running]
    if all(code == 2 for _, _, code in ended):
        pytest.skip(ended[0][1].strip())
    for out, said, code in ended:
        assert code == 0, out + said
        assert out.endswith("1 passed, 0 failed\n")
    assert list(tmp_path.iterdir()) == []
    left = [*Path("/proc").glob("[0-9]*/cmdline"), *Path("/sys/block").glob("loop*/loop/backing_file")]
    assert [path for path in left if str(tmp_path).encode() in _read(path)] == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
