"""The driver of Chromium: a page that makes way for another one is not the end of a wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: chromium)")


def test_a_page_that_leaves_while_it_is_asked_is_asked_again(tmp_path: Path) -> None:
    first, second = tmp_path / "first.html", tmp_path / "second.html"
    first.write_text("<title>first</title><body>first</body>")
    second.write_text("<title>second</title><body>second</body>")
    leave = f"new Promise(() => location.replace({second.as_uri()!r}))"
    with Browser(tmp_path / "browser") as browser:
        browser.open(first.as_uri())
        assert browser.wait(f"document.title === 'second' || {leave}")
        assert browser.run("document.body.innerText") == "second"
        assert browser.errors == []
