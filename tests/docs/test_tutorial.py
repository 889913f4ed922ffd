"""The tutorial as a reader follows it: its blocks in one shell, in their order, and each says what the page shows."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs/tutorials/first-release.md"
_BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLACE = "/tmp/first-release"
NEXT = "≡≡≡ next block"
SECONDS = 480


def blocks() -> list[tuple[str, str]]:
    return _BLOCK.findall(PAGE.read_text())


def pattern(line: str) -> str:
    """A line as it is shown: another port is as good, and columns may be wider."""
    line = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", line.strip())
    return r"\s+".join(map(re.escape, line.split())).replace("PORT", r"\d+")


def test_each_output_follows_a_command() -> None:
    kinds = [kind for kind, _ in blocks()]
    assert kinds[0] == "sh" and ("text", "text") not in set(itertools.pairwise(kinds))
    assert kinds.count("sh") > 8 and kinds.count("text") > 5


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 60)
def test_a_reader_gets_through_it(tmp_path: Path) -> None:
    here = str(tmp_path / "first-release")
    (install, *commands), shown = [text for kind, text in blocks() if kind == "sh"], blocks()
    assert install.startswith("python3 -m venv .venv"), "this machine has that already"
    up = install.splitlines()[-1]
    script = "\n".join(f"echo '{NEXT}'\n{text}" for text in (up, *commands)).replace(PLACE, here)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    try:
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    finally:
        subprocess.run(
            ["promobot", "sandbox", "down", "--dir", here], env=environment, capture_output=True, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.split(NEXT)[1:]
    wanted, number = list[tuple[int, str]](), -1
    for kind, text in shown:
        if kind == "sh":
            number += 1
            continue
        wanted += [(number, line) for line in text.splitlines()]
    missing = [line for number, line in wanted if not re.search(pattern(line), said[number])]
    assert missing == [], done.stdout
