"""Slack's own markup, mrkdwn, and its emoji as HTML."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

from markupsafe import Markup, escape

from bot.sandbox.slack.workspace import GROUPS, USERS

EMOJI: dict[str, str] = json.loads(Path(__file__).with_name("emoji.json").read_text(encoding="utf-8"))
NAMES = {
    **{f"@{user.id}": f"@{user.name}" for user in USERS},
    **{f"!subteam^{group.id}": f"@{group.handle}" for group in GROUPS},
}

_TAGS = {
    "pre": "pre",
    "code": "code",
    "quote": "blockquote",
    "bold": "strong",
    "italic": "em",
    "strike": "del",
}
_MRKDWN = re.compile(
    r"```(?P<pre>.+?)```"
    r"|`(?P<code>[^`\n]+)`"
    r"|<(?P<target>[^<>|\n]+)(?:\|(?P<label>[^<>\n]+))?>"
    r"|(?P<quote>(?:^(?:>|&gt;)[^\n]*(?:\n|\Z))+)"
    r"|:(?P<emoji>[a-z0-9_+-]+):"
    r"|(?<!\w)\*(?P<bold>[^*\n]+)\*(?!\w)"
    r"|(?<!\w)_(?P<italic>[^_\n]+)_(?!\w)"
    r"|(?<!\w)~(?P<strike>[^~\n]+)~(?!\w)",
    re.DOTALL | re.MULTILINE,
)


def mrkdwn(text: str) -> Markup:
    """Return Slack's markup as HTML; everything that is none is escaped."""
    parts: list[Markup] = []
    end = 0
    for match in _MRKDWN.finditer(text):
        parts += [lines(text[end : match.start()]), _markup(match)]
        end = match.end()
    return Markup("").join([*parts, lines(text[end:])])


def plain(text: str) -> Markup:
    """Return plain text as HTML: it knows emoji only."""
    shown = re.sub(r":([a-z0-9_+-]+):", lambda match: emoji(match[1]), html.unescape(text))
    return escape(shown).replace("\n", Markup("<br>"))


def lines(text: str) -> Markup:
    """Escape for HTML; Slack's own escapes of &, < and > are undone first."""
    return escape(html.unescape(text)).replace("\n", Markup("<br>"))


def emoji(name: str) -> str:
    """Return the character, or the name between colons where we have none."""
    return EMOJI.get(name) or f":{name}:"


def _link(target: str, label: str | None) -> Markup:
    """Return a link for addresses of the web and mailboxes, and plain text for anything else."""
    if target.startswith(("http://", "https://", "mailto:")):
        link = Markup('<a href="{}" target="_blank" rel="noopener">{}</a>')
        return link.format(html.unescape(target), lines(label or target))
    if target.startswith("!date^"):
        return lines(label or "")
    name = NAMES.get(target.partition("|")[0]) or lines(label or target.lstrip("@#!"))
    return Markup('<span class="mention">{}{}</span>').format("#" if target.startswith("#") else "", name)


def _markup(match: re.Match[str]) -> Markup:
    found = {name: text for name, text in match.groupdict().items() if text is not None}
    if "target" in found:
        return _link(found["target"], found.get("label"))
    ((kind, text),) = found.items()
    match kind:
        case "pre":
            inside = escape(html.unescape(text.strip("\n")))
        case "code":
            inside = lines(text)
        case "quote":
            quoted = [re.sub(r"^(?:>|&gt;) ?", "", line) for line in text.rstrip("\n").split("\n")]
            inside = mrkdwn("\n".join(quoted))
        case "emoji":
            return escape(emoji(text))
        case _:
            inside = mrkdwn(text)
    return Markup("<{0}>{1}</{0}>").format(_TAGS[kind], inside)
