"""The table of situations: a sample by default, all with ``-m slow``; and the page that shows it.

The sample runs in a process of its own, as the command does: the scene forks, and a process with threads is not one
to fork.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.situations.page import PAGE, page
from tests.situations.rows import ROWS, Row
from tests.situations.trying import pattern, problems

SAMPLE = ("held-freeze", "gateways-down", "github-down-held", "killed-after")
"""Of four kinds one each: held, down, without GitHub, cut off; what is put back is in the demo, too."""
_MENDED = "dev: OK. churn 1 answers."


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m tests.situations``."""
    words = [sys.executable, "-m", "tests.situations", *arguments]
    return subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)


def test_a_sample_is_told_as_the_table_says() -> None:
    done = command(*(word for name in SAMPLE for word in ("--only", name)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f"\n{len(SAMPLE)} of {len(SAMPLE)} situations are told as the table says\n")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_situation_is_told_as_the_table_says() -> None:
    done = command()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f"\n{len(ROWS)} of {len(ROWS)} situations are told as the table says\n")


def test_there_are_thirty_rows_each_with_words_of_its_own() -> None:
    assert len(ROWS) >= 30 and len({row.name for row in ROWS}) == len({row.what for row in ROWS}) == len(ROWS)
    assert {row.name for row in ROWS} > {*SAMPLE}
    assert all(row.do and row.users and {"status", "drift", "history"} <= {*row.says} for row in ROWS)


def test_the_page_shows_the_table() -> None:
    text = PAGE.read_text()
    assert text == page(text), "python -m tests.situations --write"
    assert all(f"| {row.what} |" in text for row in ROWS)


def test_a_line_that_says_something_else_is_named(row: Row = ROWS[0]) -> None:
    right = {surface: line for surface, line in row.says.items() if line}
    assert problems(row, {"users": row.users, **right}) == []
    assert problems(row, {"users": "version 7", **right}) == [f"users: says 'version 7', and not {row.users!r}"]
    (problem,) = problems(row, {"users": row.users, **right, "status": _MENDED})
    assert problem == f"status: says {_MENDED!r}, and not {row.says['status']!r}"
    (problem,) = problems(row, {"users": row.users, **right, "Slack, deployment": "✅"})
    assert problem == "Slack, deployment: says '✅', and not 'nothing'"


@pytest.mark.parametrize(
    ("declared", "said", "fits"),
    [
        ("held until ‹time› (x)", "held until 2026-11-30 06:27 UTC (x)", True),
        ("held until ‹time› (x)", "held until tomorrow (x)", False),
        ("at `‹digest›`.", "at `67c5801c1560`.", True),
        ("at `‹digest›`.", "at `67c5801c1560`, not", False),
        ("Merge this: ‹url›", "Merge this: http://127.0.0.1:1/acme/models/pull/3", True),
    ],
)
def test_what_varies_is_named_and_nothing_else_may(declared: str, said: str, fits: bool) -> None:
    assert bool(pattern(declared).fullmatch(said)) is fits
    assert not re.search("[‹›]", said)
