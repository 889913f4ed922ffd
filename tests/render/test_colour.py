"""Colour on a terminal, and nowhere else."""

from __future__ import annotations

import pytest

from bot.render.colour import coloured, is_wanted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("dev: OK. churn 1 answers.", "dev: \033[32mOK\033[0m. churn 1 answers."),
        ("dev: churn is DOWN: all", "dev: churn is \033[31mDOWN\033[0m: all"),
        ("✗  churn  2  1  silent", "\033[31m✗\033[0m  churn  2  1  \033[31msilent\033[0m"),
        ("held: churn 2", "\033[33mheld\033[0m: churn 2"),
        ("nothing of this", "nothing of this"),
        ("BOOK-DOWNER READYMADE", "BOOK-DOWNER READYMADE"),
    ],
)
def test_signs_and_words_of_state_have_a_colour(text: str, shown: str) -> None:
    assert coloured(text) == shown


@pytest.mark.parametrize(
    ("environment", "terminal", "wanted"),
    [
        ({"TERM": "xterm-256color"}, True, True),
        ({"TERM": "xterm-256color"}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({}, True, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
    ],
)
def test_only_where_somebody_can_see_it_and_wants_it(
    environment: dict[str, str], terminal: bool, wanted: bool
) -> None:
    assert is_wanted(environment, on_a_terminal=terminal) is wanted
