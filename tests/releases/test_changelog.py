"""What a release says of itself, read from the changelog."""

from __future__ import annotations

import re
from datetime import date

import pytest

from tests.releases.__main__ import main
from tests.releases.changelog import PAGE, PROJECT, entries, notes

TEXT = """\
# Changelog

## 1.3.0 – unreleased

### In short

- **Faster.** See [the page](how-to/rollout.md#steps) and [elsewhere](https://example.com/a).
- [The README](../README.md) and [below](#added).

### Added

- A long story.

## 1.2.3 – 2026-12-05

### Fixed

- Something.
"""
URL = "https://github.example.com/acme/promobot"


def test_each_version_has_its_day_and_its_short_text() -> None:
    newest, last = entries(TEXT)
    assert (newest.version, newest.day, last.version, last.day) == ("1.3.0", None, "1.2.3", date(2026, 12, 5))
    assert newest.in_short.startswith("- **Faster.**") and "long story" not in newest.in_short
    assert last.in_short == ""


def test_links_lead_to_the_pages_of_that_release() -> None:
    said = notes(next(entries(TEXT)), repository_url=URL, ref="v1.3.0")
    assert f"[the page]({URL}/blob/v1.3.0/docs/how-to/rollout.md#steps)" in said
    assert f"[The README]({URL}/blob/v1.3.0/README.md)" in said
    assert "[elsewhere](https://example.com/a)" in said
    assert said.endswith(f"[Everything that changed]({URL}/blob/v1.3.0/docs/changelog.md)\n")


@pytest.mark.parametrize("heading", ["## 1.3 – unreleased", "## 1.3.0", "## Unreleased", "## 1.3.0 – soon"])
def test_a_heading_that_is_written_otherwise_is_named(heading: str) -> None:
    with pytest.raises(ValueError, match=re.escape(heading)):
        list(entries(TEXT.replace("## 1.3.0 – unreleased", heading)))


def test_the_command_prints_the_notes_of_the_coming_release(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["notes", "--repository-url", URL, "--ref", "v1"]) == 0
    said = capsys.readouterr().out
    pages = re.findall(rf"{URL}/blob/v1/([^)#]+)", said)
    assert [page for page in pages if not (PROJECT / page).is_file()] == []
    assert f"{URL}/blob/v1/{PAGE}" in said
    assert main(["notes", "--version", "9.9.9", "--repository-url", URL, "--ref", "v1"]) == 1
    assert capsys.readouterr().err == f"::error::{PAGE} has no 9.9.9\n"


def test_people_can_read_it() -> None:
    """Everything has its line further down; what comes first is short, and one thought an entry."""
    for entry in entries((PROJECT / PAGE).read_text()):
        lines = [line for line in entry.in_short.splitlines() if line.startswith("- ")]
        assert 1 <= len(lines) <= 25, entry.version
        assert [line for line in lines if len(re.sub(r"\]\([^)]*\)", "]", line)) > 300] == []
