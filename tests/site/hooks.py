"""A hook of MkDocs: what a page links outside of ``docs/`` is in the repository, and has no page on the site."""

from __future__ import annotations

import posixpath
import re
from typing import Any

_LINK = re.compile(r"(\]\(|src=\"|href=\")([^)\s\"#]+)(#[^)\s\"]*)?")
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|/|#")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Return the page with links to files of the repository as addresses there."""
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
