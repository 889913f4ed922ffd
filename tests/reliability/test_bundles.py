"""All rows of ``python -m tests.reliability --only bundles``; a few of them run with every ``pytest``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def rows(named: str) -> None:
    command = [sys.executable, "-m", "tests.reliability", "--only", "bundles", "--rows", named]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith(" passed, 0 failed")


def test_a_bundle_is_a_shadow_as_a_whole_and_is_repaired_as_a_whole() -> None:
    rows("shadow lane|a damaged")


def test_what_was_taken_apart() -> None:
    rows("taken apart, (an ensemble|a Python model|and what asks)")


def test_taken_apart_and_a_part_is_damaged() -> None:
    rows("taken apart, and a part")
