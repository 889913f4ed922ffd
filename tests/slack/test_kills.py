"""A moment at which the Slack process dies; all of them: ``python -m tests.slack.kills``.

By default it dies during `/rollback … now`, which changes most: share, Tritons, gateways, GitHub. One moment of each
other command is slow.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slack.kills import CASES


@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(["/rollback now"], id="one"),
        pytest.param([case.name for case in CASES], id="all", marks=pytest.mark.slow),
    ],
)
def test_a_sample_of_the_moments_at_which_it_dies(cases: list[str]) -> None:
    only = [word for name in cases for word in ("--only", name)]
    command = [sys.executable, "-m", "tests.slack.kills", "--points", "1", *only]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, last = done.stdout.strip().splitlines()
    assert last.endswith(" passed, 0 failed") and int(last.split()[0]) == len(cases)
