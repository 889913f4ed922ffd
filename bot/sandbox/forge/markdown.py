"""The Markdown that comments and summaries use, as safe HTML. Everything is escaped first; nothing passes through.

Headings, paragraphs, lists (nested, with check boxes), tables, quotes, fenced blocks, rules, ``<details>``,
bold, italics, strikethrough, code, links. HTML comments, which bots hide their markers in, are not shown.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

from bot.sandbox.forge.html import Html

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})\s*([\w+-]*)")
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
_RULE = re.compile(r"^\s*([-*_])(?:\s*\1){2,}\s*$")
_ITEM = re.compile(r"^(\s*)([-*+]|\d+[.)])\s+(.*)$")
_TABLE_LINE = re.compile(r"^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$")
_DETAILS = re.compile(r"^\s*<(/?)(details|summary)(\s+open)?>(.*)$", re.IGNORECASE)


def render(text: str) -> Html:
    """The HTML of a Markdown text."""
    fenced, kept = _keep_fences(text.replace("\r\n", "\n"))
    return Html(_blocks(_COMMENT.sub("", fenced).split("\n"), kept))


def _keep_fences(text: str) -> tuple[str, list[str]]:
    """Take fenced blocks out first, so that nothing in them is read as Markdown; a mark stays in their place."""
    kept: list[str] = []
    lines: list[str] = []
    source = iter(text.replace("\0", "").split("\n"))
    for line in source:
        fence = _FENCE.match(line)
        if not fence:
            lines.append(line)
            continue
        inside = []
        for inner in source:
            if inner.strip().startswith(fence[2]) and not inner.strip().strip(fence[2][0]):
                break
            inside.append(inner.removeprefix(fence[1]))
        label = f'<span class="language">{html.escape(fence[3])}</span>' if fence[3] else ""
        body = _diff_lines(inside) if fence[3] == "diff" else html.escape("\n".join(inside))
        kept.append(f'<div class="fenced">{label}<pre><code>{body}</code></pre></div>')
        lines.append(f"{fence[1]}\0{len(kept) - 1}")
    return "\n".join(lines), kept


def _diff_lines(lines: list[str]) -> str:
    marks = {"+": "added", "-": "removed", "@": "hunk"}
    return "\n".join(f'<span class="{marks.get(line[:1], "")}">{html.escape(line)}</span>' for line in lines)


def _blocks(lines: list[str], kept: list[str]) -> str:
    out: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif line.strip().startswith("\0"):
            out.append(kept[int(line.strip()[1:])])
            at += 1
        elif details := _DETAILS.match(line):
            out.append(_details(details, kept))
            at += 1
        elif heading := _HEADING.match(line):
            level = len(heading[1])
            out.append(f"<h{level}>{_inline(heading[2])}</h{level}>")
            at += 1
        elif _RULE.match(line):
            out.append("<hr>")
            at += 1
        elif "|" in line and at + 1 < len(lines) and _TABLE_LINE.match(lines[at + 1]) and "-" in lines[at + 1]:
            end = _while(lines, at + 2, lambda text: "|" in text)
            out.append(_table(lines[at], lines[at + 1], lines[at + 2 : end]))
            at = end
        elif line.lstrip().startswith(">"):
            end = _while(lines, at, lambda text: text.lstrip().startswith(">"))
            out.append(_quote([re.sub(r"^\s*> ?", "", text) for text in lines[at:end]], kept))
            at = end
        elif _ITEM.match(line):
            end = _end_of_list(lines, at)
            out.append(_list(lines[at:end], kept))
            at = end
        else:
            end = max(at + 1, _while(lines, at, lambda text: bool(text.strip()) and not _starts_block(text)))
            # In comments GitHub keeps line breaks.
            out.append(f"<p>{'<br>'.join(_inline(text.strip()) for text in lines[at:end])}</p>")
            at = end
    return "\n".join(out)


def _while(lines: list[str], start: int, holds: Callable[[str], bool]) -> int:
    """The index of the first line from ``start`` on for which it does not hold."""
    return next((at for at in range(start, len(lines)) if not holds(lines[at])), len(lines))


def _starts_block(line: str) -> bool:
    return bool(
        _HEADING.match(line)
        or _ITEM.match(line)
        or _DETAILS.match(line)
        or _RULE.match(line)
        or line.lstrip().startswith((">", "\0", "|"))
    )


def _details(match: re.Match[str], kept: list[str]) -> str:
    closing, tag, is_open, rest = match.groups()
    tag = tag.lower()
    if tag == "summary":
        return f"<summary>{_inline(re.sub(r'</summary>.*$', '', rest, flags=re.IGNORECASE))}</summary>"
    return ("</details>" if closing else f"<details{' open' if is_open else ''}>") + (
        _blocks([rest], kept) if rest else ""
    )


_ALERT = re.compile(r"^\[!(NOTE|TIP|IMPORTANT|WARNING|CAUTION)\]\s*$")


def _quote(lines: list[str], kept: list[str]) -> str:
    alert = _ALERT.match(lines[0])
    if not alert:
        return f"<blockquote>{_blocks(lines, kept)}</blockquote>"
    kind = alert[1].lower()
    return f'<blockquote class="alert {kind}"><strong>{kind.title()}</strong>{_blocks(lines[1:], kept)}</blockquote>'


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]


def _table(head: str, line: str, rows: list[str]) -> str:
    sides = [
        "center" if c.startswith(":") and c.endswith(":") else "right" if c.endswith(":") else ""
        for c in _cells(line)
    ]

    def row(cells: list[str], tag: str) -> str:
        filled = [*cells, *[""] * len(sides)][: len(sides)]
        styles = [f' style="text-align:{side}"' if side else "" for side in sides]
        columns = (f"<{tag}{style}>{_inline(cell)}</{tag}>" for cell, style in zip(filled, styles, strict=True))
        return f"<tr>{''.join(columns)}</tr>"

    body = "".join(row(_cells(text), "td") for text in rows)
    return f"<table><thead>{row(_cells(head), 'th')}</thead><tbody>{body}</tbody></table>"


def _end_of_list(lines: list[str], start: int) -> int:
    """Where a list ends: at the first line that is neither an item, nor indented, nor blank before one of these."""
    at = start
    while at < len(lines):
        line = lines[at]
        following = next((text for text in lines[at + 1 :] if text.strip()), "")
        if not line.strip() and not (_ITEM.match(following) or following.startswith(("  ", "\t"))):
            break
        if line.strip() and at > start and not _ITEM.match(line) and not line.startswith((" ", "\t")):
            break
        at += 1
    return at


def _list(lines: list[str], kept: list[str]) -> str:
    first = _ITEM.match(lines[0])
    if first is None:
        return ""
    indent = len(first[1])
    items: list[list[str]] = []
    for line in lines:
        match = _ITEM.match(line)
        if match and len(match[1]) <= indent:
            items.append([match[3]])
        else:
            items[-1].append(line)
    tag = "ol" if first[2][0].isdigit() else "ul"
    return f"<{tag}>{''.join(_item(item, kept) for item in items)}</{tag}>"


def _item(lines: list[str], kept: list[str]) -> str:
    text = lines[0]
    box = ""
    if task := re.match(r"^\[([ xX])\]\s+(.*)$", text):
        box = f'<input type="checkbox" disabled{"" if task[1] == " " else " checked"}> '
        text = task[2]
    inside = [line for line in lines[1:] if line.strip()]
    margin = min((len(line) - len(line.lstrip()) for line in inside), default=0)
    below = _blocks([line[margin:] for line in lines[1:]], kept) if inside else ""
    return f"<li>{box}{_inline(text)}{below}</li>"


_LINK = re.compile(r"!?\[([^\]]*)\]\(\s*(?:&lt;)?([^\s)]+?)(?:&gt;)?(?:\s+&quot;.*?&quot;)?\s*\)")
_SAFE_TARGET = re.compile(r"https?://|mailto:|[/.#]|[\w-]+(?:[/.#?]|$)")
_BARE = re.compile(r"(?<![\"'=>\w/])(https?://[^\s<]+?)(?=[.,;:!?)]*(?:\s|$|&lt;|<))")
_TAGS = re.compile(r"&lt;(/?)(br|sub|sup|kbd|b|i|em|strong|code|del|ins)\s*/?&gt;", re.IGNORECASE)
_EMOJI = {"white_check_mark": "✅", "x": "❌", "warning": "⚠️", "rocket": "🚀", "hourglass": "⌛", "rewind": "⏪"}


def _inline(text: str) -> str:
    """One line: code spans are taken out first, so that nothing in them is read as Markdown."""
    codes: list[str] = []

    def keep(match: re.Match[str]) -> str:
        codes.append(f"<code>{html.escape(match[2].strip())}</code>")
        return f"\1{len(codes) - 1}\2"

    text = re.sub(r"(`+)(.+?)(?<!`)\1(?!`)", keep, text.replace("\1", "").replace("\2", ""))
    text = html.escape(re.sub(r"\\([\\`*_{}\[\]()#+.!|~>-])", lambda m: f"\3{ord(m[1])}\4", text))
    text = _LINK.sub(_link, text)
    text = _BARE.sub(r'<a href="\1">\1</a>', text)
    text = re.sub(r"\*\*(?=\S)(.+?)(?<=\S)\*\*", r"<strong>\1</strong>", text)
    text = re.sub(r"(?<!\w)__(?=\S)(.+?)(?<=\S)__(?!\w)", r"<strong>\1</strong>", text)
    text = re.sub(r"\*(?=[^\s*])(.+?)(?<=[^\s*])\*", r"<em>\1</em>", text)
    text = re.sub(r"(?<!\w)_(?=[^\s_])(.+?)(?<=[^\s_])_(?!\w)", r"<em>\1</em>", text)
    text = re.sub(r"~~(.+?)~~", r"<del>\1</del>", text)
    text = re.sub(r":(\w+):", lambda m: _EMOJI.get(m[1], m[0]), text)
    text = _TAGS.sub(lambda m: f"<{m[1]}{m[2].lower()}>", text)
    text = re.sub("\3(\\d+)\4", lambda m: html.escape(chr(int(m[1]))), text)
    return re.sub("\1(\\d+)\2", lambda m: codes[int(m[1])], text)


def _link(match: re.Match[str]) -> str:
    """A link, or for a picture a link to it; only the label for an address that a click would run."""
    label, target = match.groups()
    return f'<a href="{target}">{label or target}</a>' if _SAFE_TARGET.match(target) else f"{label} ({target})"
