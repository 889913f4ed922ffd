"""Hooks of MkDocs: a link out of ``docs/`` leads to the repository, and a reader's browser asks no other host."""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # MkDocs reads this file alone

from tests.docs.translations import is_translation, sections

_LINK = re.compile(r"(\]\(|src=\"|href=\")([^)\s\"#]+)(#[^)\s\"]*)?")
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|/|#")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Return the page with links to files of the repository as addresses there."""
    if is_translation(Path(page.file.src_uri)):
        markdown = _with_anchors_of_the_source(markdown, Path(config["docs_dir"], page.file.src_uri))
    folder = posixpath.dirname(page.file.src_uri)
    repository = f"{config['repo_url'].rstrip('/')}/blob/main"

    def there(found: re.Match[str]) -> str:
        before, path, anchor = found[1], found[2], found[3] or ""
        if _ELSEWHERE.match(path):
            return found[0]
        target = posixpath.normpath(posixpath.join("docs", folder, path))
        outside = not target.startswith("docs/") or "." not in posixpath.basename(target)
        return f"{before}{repository}/{target}{anchor}" if outside else found[0]

    return _LINK.sub(there, markdown)


def on_post_page(output: str, **_: Any) -> str:
    """Return the page without what has the theme ask GitHub, in each reader's browser, for stars and releases."""
    return output.replace(' data-md-component="source"', "")


def on_post_template(output: str, **_: Any) -> str:
    """Return a page that is made of no text, as that of an unknown address is, in the same way."""
    return on_post_page(output)


def _with_anchors_of_the_source(markdown: str, page: Path) -> str:
    """Give each heading of a translation its English anchor, too: pages that are not translated link to that."""
    english = [one.anchor for one in sections(page.with_name(page.name.split(".")[0] + ".md").read_text())]
    translated = sections(markdown)
    anchored = zip(english, translated, strict=True)
    # Behind the heading: a page whose first line is not its heading would be named after its file.
    return "\n".join(f'{one.heading}\n\n<a id="{anchor}"></a>\n\n{one.text}\n' for anchor, one in anchored)
