"""What tests of documents share."""

from __future__ import annotations

import pytest

from bot.render.width import COLUMNS


@pytest.fixture(autouse=True)
def no_terminal() -> None:
    """Render for no terminal: a command that another test ran in this process may have set a width."""
    COLUMNS.set(None)
