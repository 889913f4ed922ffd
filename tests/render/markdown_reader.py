"""Reads Markdown as GitHub does, as far as tests need: what is code, what is markup, what is text."""

from __future__ import annotations

import re

HOSTILE = (
    "@everyone <script>alert(1)</script> [x](javascript:alert(1)) | ``` --> <!-- promobot:checks --> </details> "
    "<details> #12 GH-12 https://evil.example www.evil.example ![i](https://evil.example/i.png) $x$ **b** _i_ ~~s~~ "
    "\\| &lt; \x1b[31m \u202e \u2028 \x00"
    "\n| a | b |\n|---|---|\n# heading\n```\n~~~\n- item\n1. item\n> quote\n<img src=x onerror=alert(1)>\n---\n"
)

_ALLOWED_TAGS = {"<details>", "</details>", "<summary>", "</summary>", "<sub>", "</sub>"}
_PUNCTUATION = r"[!-/:-@\[-`{-~]"


def outside_fences(markdown: str) -> str:
    """Return the text without fenced blocks; every block must end."""
    lines: list[str] = []
    fence = ""
    for line in markdown.split("\n"):
        marks = re.match(r"`{3,}", line)
        if fence:
            if line == fence:
                fence = ""
        elif marks:
            fence = marks[0]
        else:
            lines.append(line)
    assert not fence, "a fenced block never ends"
    return "\n".join(lines)


def markup(markdown: str) -> str:
    """Return the text outside of code, with every escaped character replaced by a dot: what may still be markup."""
    text = outside_fences(markdown)
    out: list[str] = []
    at = 0
    while at < len(text):
        if text[at] == "\\" and re.match(_PUNCTUATION, text[at + 1 : at + 2]):
            out.append("·")
            at += 2
        elif text[at] == "`":
            end = text.find("`", at + 1)
            assert end > 0, "inline code never ends"
            assert "\n" not in text[at:end], "inline code goes over lines"
            out.append("code")
            at = end + 1
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


def assert_only_our_markup(markdown: str, *, comments: int = 0, links: tuple[str, ...] = ()) -> None:
    """Whatever came from outside is text: no tag, link, mention, table cell or control character of its own."""
    text = markup(markdown)
    assert all(c.isprintable() or c in "\n\u200b" for c in outside_fences(markdown))
    assert outside_fences(markdown).count("<!--") == comments
    plain = re.sub(r"<!-- [a-z:]+ -->", "", text)
    assert set(re.findall(r"<[^>\n]*>?", plain)) <= _ALLOWED_TAGS
    for tag in ("details", "summary", "sub"):
        assert plain.count(f"<{tag}>") == plain.count(f"</{tag}>")
    assert set(re.findall(r"\]\(([^)]*)\)", text)) <= set(links)
    assert "![" not in text
    without_links = re.sub(r"\]\([^)]*\)", "", text)
    assert not re.search(r"@\w|#\d|://|\bwww\.|\bGH-\d|\$", without_links)
    assert text.count("**") % 2 == 0
    for heading in re.findall(r"^#+ .*$", text, re.MULTILINE):
        assert re.match(
            r"#{2,3} (What|Gate|Signature and configuration|Way back|[✅❌]|[a-z0-9]|READY|Triton|Smoke)", heading
        )
    columns = 0
    for line in outside_fences(markdown).split("\n"):
        if not line.startswith("|"):
            columns = 0
            continue
        cells = len(re.findall(r"(?<!\\)\|", line))
        assert columns in (0, cells), f"a row of another width: {line}"
        columns = cells


def shown(escaped: str) -> str:
    """Return what a reader sees of escaped text."""
    return re.sub(rf"\\({_PUNCTUATION})", r"\1", escaped).replace("\u200b", "")
