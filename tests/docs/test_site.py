"""The site: its generated pages are current, and it is built without a warning and loads nothing from elsewhere."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from bot.sandbox.more_acts import MORE
from bot.sandbox.story import ACTS
from tests.site import hooks, reference
from tests.site.__main__ import build

PROJECT = Path(__file__).parents[2]
CONFIG = {"repo_url": "https://github.example/acme/promobot/"}


@pytest.mark.parametrize("path", reference.pages())
def test_a_generated_page_is_what_the_code_says(path: str) -> None:
    assert (PROJECT / path).read_text() == reference.pages()[path], "write it again: python -m tests.site --pages"


def test_the_recorded_demo_has_the_acts_that_the_demo_has() -> None:
    text = (PROJECT / "docs/tutorials/demo.md").read_text()
    titles = [title for title, _ in (*ACTS, *MORE)]
    assert re.findall(r"^Act (\d+): (.+)$", text, re.MULTILINE) == [(str(i), t) for i, t in enumerate(titles, 1)]
    assert re.findall(r"^✓ Act \d+: (.+) \(\d+ s\)$", text, re.MULTILINE) == titles, "each ended as it must"


@pytest.mark.parametrize(
    ("page", "link", "becomes"),
    [
        ("how-to/slack.md", "[x](../../README.md#the-verbs)", "[x]({}/README.md#the-verbs)"),
        ("how-to/slack.md", "[x](../explanation/security.md)", "[x](../explanation/security.md)"),
        ("how-to/slack.md", "![x](../board/board.png)", "![x](../board/board.png)"),
        ("index.md", "[x](../tests/)", "[x]({}/tests)"),
        ("index.md", "[x](https://dora.dev) [y](#words)", "[x](https://dora.dev) [y](#words)"),
    ],
)
def test_a_link_that_leaves_the_pages_leads_to_the_repository(page: str, link: str, becomes: str) -> None:
    at = SimpleNamespace(file=SimpleNamespace(src_uri=page))
    there = "https://github.example/acme/promobot/blob/main"
    assert hooks.on_page_markdown(link, page=at, config=CONFIG) == becomes.format(there)


def test_a_translation_has_the_anchors_of_its_source(tmp_path: Path) -> None:
    (tmp_path / "way.md").write_text("# Way back\n\nGo.\n\n## Who may\n\nYou.\n")
    (tmp_path / "way.ko.md").write_text(korean := "# 되돌리기\n\n실행합니다.\n\n## 권한\n\n여러분.\n")
    at = SimpleNamespace(file=SimpleNamespace(src_uri="way.ko.md"))
    written = hooks.on_page_markdown(korean, page=at, config={**CONFIG, "docs_dir": str(tmp_path)})
    assert written.startswith('# 되돌리기\n\n<a id="way-back"></a>\n')
    assert '## 권한\n\n<a id="who-may"></a>\n' in written


def test_diagrams_are_drawn_by_the_file_that_the_decision_names() -> None:
    text = (PROJECT / "docs/site/mermaid.tiny.js").read_bytes()
    assert hashlib.sha256(text).hexdigest() == "7a644017d37f93c8359790884e6b67fb1f747c78eb20475952404bd87190a3f8"
    assert "11.17.2" in (PROJECT / "docs/decisions/0079-the-site.md").read_text()


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    assert build(tmp_path / "site") == (0, "")
    loaded = re.compile(
        r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//|<link[^>]+stylesheet[^>]+href=\"(?:https?:)?//"
    )
    pages = [*(tmp_path / "site").rglob("*.html")]
    asks = [str(page) for page in pages if 'data-md-component="source"' in page.read_text()]
    assert asks == [], "the theme would ask api.github.com in each reader's browser"
    assert len(pages) > 100 and [str(page) for page in pages if loaded.search(page.read_text())] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("[x](missing.md)", "a link 'missing.md'"),
        ("[x](#nowhere)", "a link '#nowhere'"),
        ("[x](other.md#nowhere)", "does not contain an anchor '#nowhere'"),
        ("![x](missing.png)", "a link 'missing.png'"),
        ("fine", "  - other.md"),
    ],
)
def test_what_leads_nowhere_ends_the_build(page: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(f"# Home\n\n{page}\n")
    (tmp_path / "docs/other.md").write_text("# Other\n")
    nav = "[index.md]" if page == "fine" else "[index.md, other.md]"
    configuration = tmp_path / "mkdocs.yml"
    configuration.write_text(f"INHERIT: {PROJECT / 'mkdocs.yml'}\nnav: {nav}\nhooks: []\nextra_javascript: []\n")
    code, complaints = build(tmp_path / "site", configuration=configuration)
    assert code == 1
    assert complaint in complaints
