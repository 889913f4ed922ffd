"""What fits a terminal: stacked tables, and lines that are broken between words and never within a command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bot.render import terminal
from bot.render.width import COLUMNS, cells, folded

HEAD = ["", "model", "desired", "live", "triton-dev-1", "gateway-dev-1", "open"]
ROW = ["✗", "churn", "2", "1", "READY", "1", "#11 Revert churn 2 in dev: back to 1"]


@pytest.fixture
def narrow() -> Iterator[None]:
    before = COLUMNS.set(60)
    yield
    COLUMNS.reset(before)


def test_where_nobody_reads_on_a_terminal_nothing_is_changed() -> None:
    long = "word " * 100
    assert folded(long) == long and max(map(len, terminal.grid(["a"], [[long]]).split("\n"))) >= 499


@pytest.mark.usefixtures("narrow")
def test_a_table_that_is_too_wide_is_stacked_and_one_that_fits_is_not() -> None:
    assert terminal.grid(HEAD, [ROW, [*ROW[:6], ""]]).split("\n") == [
        "✗ churn",
        "    desired: 2 · live: 1 · triton-dev-1: READY",
        "    gateway-dev-1: 1",
        "    open: #11 Revert churn 2 in dev: back to 1",
        "✗ churn",
        "    desired: 2 · live: 1 · triton-dev-1: READY",
        "    gateway-dev-1: 1",
    ]
    assert terminal.grid(HEAD[:4], [ROW[:4]]).split("\n")[2] == "✗  churn  2        1"


@pytest.mark.usefixtures("narrow")
def test_a_cell_that_is_longer_than_the_line_is_folded_below_the_others() -> None:
    lines = terminal.grid(["model", "reason", "by"], [["churn", "it answers wrong, and " * 4, "alex"]]).split("\n")
    assert lines[:2] == ["churn", "    by: alex"]
    assert lines[2].startswith("    reason: it answers wrong, and") and all(cells(line) <= 60 for line in lines)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    "command",
    [
        "promobot rollback churn --env dev --to 1 --now",
        "`promobot quarantine lift 8e348b5 --env d --reason '…'`",
        "promobot retire churn --env dev --reason 'by churn-eu'",
    ],
)
def test_a_command_stays_on_one_line(command: str) -> None:
    said = f"  ✗ churn is in quarantine here since yesterday: merge the revert, or: {command}; then deploy again"
    lines = folded(said).split("\n")
    assert sum(command in line for line in lines) == 1
    assert all(cells(line) <= 60 for line in lines)
    assert " ".join(" ".join(lines).split()) == " ".join(said.split()), "no word is broken, and none is lost"


@pytest.mark.usefixtures("narrow")
def test_what_no_line_is_long_enough_for_is_left_to_the_terminal() -> None:
    url = "https://github.example/" + "a" * 70
    assert folded(f"Merge this: {url}").split("\n") == ["Merge this:", f"  {url}"]


def test_signs_that_take_two_columns_are_counted_so() -> None:
    assert [cells(text) for text in ("churn", "✓", "✅", "↩️", "é", "e\u0301")] == [5, 1, 2, 2, 1, 1]
