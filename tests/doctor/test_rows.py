"""The table of misconfigurations: a sample by default, all with ``-m slow``; and the page that shows it."""

from __future__ import annotations

import os
import shutil

import pytest

from bot.errors import InvalidInput
from bot.sandbox import worlds
from tests.doctor.page import PAGE, page
from tests.doctor.rows import ROWS, Row
from tests.doctor.trying import tried
from tests.operations.world import World

SAMPLE = {
    "slack-archived",
    "records-not-mounted",
    "gateway-of-another",
}
"""Of three systems one each; the others' are tried with -m slow."""


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=() if row.name in SAMPLE else pytest.mark.slow) for row in ROWS],
    ids=lambda row: row.name,
)
def test_the_doctor_names_it_and_the_first_deployment_says_what_the_table_says(world: World, row: Row) -> None:
    if row.by_root and os.geteuid() != 0:
        pytest.skip("only root mounts, and gives files away")
    if row.name == "share-refuses-chmod" and shutil.which("bindfs") is None:
        pytest.skip("bindfs is not there: apt-get install bindfs")
    assert tried(row, world).problems == ()


def test_there_are_forty_rows_each_with_a_name_and_words_of_its_own() -> None:
    assert len(ROWS) >= 40 and len({row.name for row in ROWS}) == len(ROWS)
    assert len({row.what for row in ROWS}) == len(ROWS)
    assert all(row.doctor and row.deployment for row in ROWS), "an empty text is in everything that is said"
    assert {row.name for row in ROWS} > SAMPLE


def test_the_page_shows_the_table() -> None:
    text = PAGE.read_text()
    assert text == page(text), "python -m tests.doctor --write"
    assert all(f"| {row.what} |" in text for row in ROWS)


def test_a_world_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(InvalidInput, match="no world is called 'slack-archive'") as failure:
        worlds.likeness("slack-archive")
    assert failure.value.next_step.startswith("Did you mean slack-archived? There are:")
    assert all(name in failure.value.next_step for name in worlds.WORLDS)
