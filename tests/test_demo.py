"""The product's main job, as a newcomer runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bot.sandbox.more_acts import MORE


@pytest.mark.long
@pytest.mark.timeout(540)
def test_the_story_ends_as_it_must_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bot", "demo", "--json"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout)
    assert [act["passed"] for act in told["acts"]] == [True] * 9
    assert all(act["seen"] and f"Act {act['number']}: {act['title']}" in done.stderr for act in told["acts"])
    outcomes = [(record["environment"], record["model"], record["outcome"]) for record in told["records"]]
    assert outcomes == [
        ("dev", "churn", "succeeded"),
        ("dev", "churn", "succeeded"),
        ("dev", "churn", "succeeded"),
        ("dev", "churn", "put back"),
        ("prod", "churn", "succeeded"),
        ("dev", "churn", "succeeded"),
    ]
    for record in told["records"]:
        held = {criterion["name"] for criterion in record["criteria"] if criterion["holds"]}
        missing = {"fastapi_reloaded"} if record["outcome"] == "put back" else set()
        assert len(held) == 6 - len(missing) and not held & missing
    assert _processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_what_happens_after_the_switch_is_told_with_all(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bot", "demo", "--all", "--json"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout)
    assert [act["passed"] for act in told["acts"]] == [True] * (9 + len(MORE))
    assert [act["title"] for act in told["acts"][9:]] == [title for title, _ in MORE]
    assert _processes_of(tmp_path) == []


def _processes_of(home: Path) -> list[str]:
    """Return the command lines of processes that still work in the sandbox's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(home) in words and int(process.name) != os.getpid():
            found.append(words)
    return found
