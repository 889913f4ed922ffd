"""Slack's own markup, mrkdwn, and its emoji as HTML."""

from __future__ import annotations

import html
import re

from bot.sandbox.forge.html import Html, tag, together
from bot.sandbox.slack.workspace import GROUPS, USERS

EMOJI = {
    "white_check_mark": "✅",
    "heavy_check_mark": "✔️",
    "x": "❌",
    "warning": "⚠️",
    "rocket": "🚀",
    "rewind": "⏪",
    "leftwards_arrow_with_hook": "↩️",
    "arrows_counterclockwise": "🔄",
    "hourglass_flowing_sand": "⏳",
    "ghost": "👻",
    "no_entry": "⛔",
    "rotating_light": "🚨",
    "large_green_circle": "🟢",
    "red_circle": "🔴",
    "large_yellow_circle": "🟡",
    "white_circle": "⚪",
    "eyes": "👀",
    "tada": "🎉",
    "package": "📦",
    "lock": "🔒",
    "clock3": "🕒",
    "link": "🔗",
    "busts_in_silhouette": "👥",
    "bar_chart": "📊",
    "+1": "👍",
}
NAMES = {
    **{f"@{user.id}": f"@{user.name}" for user in USERS},
    **{f"!subteam^{group.id}": f"@{group.handle}" for group in GROUPS},
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


def mrkdwn(text: str) -> Html:
    """Return Slack's markup as HTML; everything that is none is escaped."""
    parts: list[Html] = []
    end = 0
    for match in _MRKDWN.finditer(text):
        parts.append(lines(text[end : match.start()]))
        parts.append(_markup(match))
        end = match.end()
    return together(parts, lines(text[end:]))


def plain(text: str) -> Html:
    """Return plain text as HTML: it knows emoji only."""
    escaped = html.escape(html.unescape(text))
    return Html(re.sub(r":([a-z0-9_+-]+):", lambda match: emoji(match[1]), escaped).replace("\n", "<br>"))


def lines(text: str) -> Html:
    """Escape for HTML; Slack's own escapes of &, < and > are undone first."""
    return Html(html.escape(html.unescape(text)).replace("\n", "<br>"))


def emoji(name: str) -> str:
    """Return the character, or the name between colons where we have none."""
    return EMOJI.get(name) or f":{html.escape(name)}:"


def link(target: str, label: str | None) -> Html:
    """Return a link; what is no address of the web or a mailbox is only shown."""
    if target.startswith(("http://", "https://", "mailto:")):
        return tag("a", lines(label or target), href=html.unescape(target), target="_blank", rel="noopener")
    name = NAMES.get(target.partition("|")[0])
    if name is not None:
        return tag("span", name, class_="mention")
    if target.startswith("!date^"):
        return lines(label or "")
    shown = label or target.lstrip("@#!")
    return tag("span", "#" if target.startswith("#") else "", lines(shown), class_="mention")


def _markup(match: re.Match[str]) -> Html:
    groups = match.groupdict()
    if groups["pre"] is not None:
        return tag("pre", Html(html.escape(html.unescape(groups["pre"].strip("\n")))))
    if groups["code"] is not None:
        return tag("code", lines(groups["code"]))
    if groups["target"] is not None:
        return link(groups["target"], groups["label"])
    if groups["quote"] is not None:
        quoted = [re.sub(r"^(?:>|&gt;) ?", "", line) for line in groups["quote"].rstrip("\n").split("\n")]
        return tag("blockquote", mrkdwn("\n".join(quoted)))
    if groups["emoji"] is not None:
        return Html(emoji(groups["emoji"]))
    name, content = next(
        (name, groups[kind])
        for kind, name in (("bold", "strong"), ("italic", "em"), ("strike", "del"))
        if groups[kind] is not None
    )
    return tag(name, mrkdwn(content))
