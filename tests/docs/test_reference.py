"""docs/reference/api.md is what the source says of the public surface."""

from __future__ import annotations

from tests import surface


def test_the_page_is_what_the_source_says() -> None:
    assert surface.PAGE.read_text() == surface.page(), "write it again: python -m tests.surface"
