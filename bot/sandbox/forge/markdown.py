"""The Markdown that comments and summaries use, as safe HTML: GitHub's, by markdown-it.

HTML comments, which bots hide their markers in, are not shown. Of other HTML only a few plain tags pass through.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup

_PASSES = re.compile(
    r"(</?(?:details|summary|br|sub|sup|kbd|b|i|em|strong|code|del|ins)(?:\s+open)?\s*/?>)", re.IGNORECASE
)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_MARKS = {"+": "added", "-": "removed", "@": "hunk"}


class _Renderer(RendererHTML):
    def html_block(self, tokens: Sequence[Token], at: int, *_: Any) -> str:
        parts = _PASSES.split(_COMMENT.sub("", tokens[at].content))
        return "".join(part if index % 2 else html.escape(part) for index, part in enumerate(parts))

    html_inline = html_block  # type: ignore[assignment]

    def fence(self, tokens: Sequence[Token], at: int, *_: Any) -> str:
        token = tokens[at]
        language, body = token.info.strip().partition(" ")[0], html.escape(token.content.rstrip("\n"))
        if language == "diff":
            lines = ((_MARKS.get(line[:1], ""), line) for line in body.split("\n"))
            body = "\n".join(f'<span class="{mark}">{line}</span>' for mark, line in lines)
        label = f'<span class="language">{html.escape(language)}</span>' if language else ""
        return f'<div class="fenced">{label}<pre><code>{body}</code></pre></div>\n'

    def image(self, tokens: Sequence[Token], at: int, *_: Any) -> str:
        """A picture is a link to it: nothing is fetched from elsewhere."""
        return f'<a href="{html.escape(str(tokens[at].attrs["src"]))}">{html.escape(tokens[at].content)}</a>'


_MARKDOWN = MarkdownIt("gfm-like2", {"breaks": True, "xhtmlOut": False}, renderer_cls=_Renderer)


def render(text: str) -> Markup:
    """The HTML of a Markdown text."""
    return Markup(_MARKDOWN.render(text))  # noqa: S704 - everything in it is escaped, see above
