"""docs/reference/troubleshooting.md: each message that it explains is one of the bot's."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs/reference/troubleshooting.md"


@cache
def texts() -> tuple[str, ...]:
    """Every text in the bot's code; of one with values in it the parts between them."""
    found = []
    for file in (PROJECT / "bot").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return tuple(found)


def messages() -> list[str]:
    rows = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE)
    return [row.replace("\\|", "|") for row in rows]


def test_each_message_is_in_the_code() -> None:
    assert len(messages()) > 30
    assert [one for one in messages() if not any(one in text for text in texts())] == []


def test_no_message_stands_there_twice() -> None:
    assert sorted({one for one in messages() if messages().count(one) > 1}) == []


def test_a_message_that_nobody_says_would_be_seen() -> None:
    assert not any("nothing in the bot says so" in text for text in texts())
