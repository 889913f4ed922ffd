"""Progress: one line for a person at a terminal, and nothing for anybody else."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from bot import output
from bot.operations.progress import progress, show_on
from bot.render import sizes

MEBIBYTE = 2**20


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    stream = Terminal()
    show_on(stream)
    yield stream
    show_on(None)


def copied(seconds: int) -> None:
    """Copy a mebibyte a second."""
    now = 0.0
    with progress(10 * MEBIBYTE, clock=lambda: now) as moved:
        for _ in range(seconds):
            now += 1
            moved(MEBIBYTE)


def test_bytes_rate_and_time_left_are_shown_and_the_line_goes_at_the_end(terminal: Terminal) -> None:
    copied(10)
    lines = terminal.getvalue().split("\r")
    assert lines[3] == "3.0 MiB of 10.0 MiB · 1.0 MiB/s · 7 s left\x1b[K"
    assert lines[10] == "10.0 MiB of 10.0 MiB · 1.0 MiB/s\x1b[K"
    assert lines[-1] == "\x1b[K"


def test_what_takes_less_than_a_second_shows_nothing(terminal: Terminal) -> None:
    with progress(MEBIBYTE, clock=lambda: 0.0) as moved:
        moved(MEBIBYTE)
    assert terminal.getvalue() == ""


def test_where_nobody_looks_nothing_is_written() -> None:
    stream = io.StringIO()
    show_on(stream)
    copied(10)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("seconds", "said"), [(0, "0 s"), (89, "89 s"), (120, "2 min"), (5400, "1.5 h")])
def test_how_long_is_said_as_roughly_as_it_is_known(seconds: float, said: str) -> None:
    assert sizes.duration(seconds) == said


def test_a_command_without_a_terminal_shows_none_also_after_one_that_had_a_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", terminal)
    for json, stdout in ((True, Terminal()), (False, io.StringIO())):
        monkeypatch.setattr("sys.stdout", Terminal())
        output.prepare(json=False)
        copied(10)
        assert terminal.getvalue(), "the command before had a terminal"
        terminal.truncate(0)
        monkeypatch.setattr("sys.stdout", stdout)
        output.prepare(json=json)
        copied(10)
        assert terminal.getvalue() == ""
