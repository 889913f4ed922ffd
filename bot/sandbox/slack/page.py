"""The workspace as a person sees it: one page, no assets from elsewhere, which refreshes itself."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bot.sandbox.slack.slack import Slack
from bot.sandbox.slack.workspace import TEAM_NAME, Channel, Json, Message, User, Workspace, microseconds

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
    "eyes": "👀",
    "tada": "🎉",
    "package": "📦",
    "lock": "🔒",
    "+1": "👍",
}

_MRKDWN = re.compile(
    r"```(?P<pre>.+?)```"
    r"|`(?P<code>[^`\n]+)`"
    r"|<(?P<target>[^<>|\n]+)(?:\|(?P<label>[^<>\n]+))?>"
    r"|:(?P<emoji>[a-z0-9_+-]+):"
    r"|(?<!\w)\*(?P<bold>[^*\n]+)\*(?!\w)"
    r"|(?<!\w)_(?P<italic>[^_\n]+)_(?!\w)"
    r"|(?<!\w)~(?P<strike>[^~\n]+)~(?!\w)",
    re.DOTALL,
)

_STYLE = """
* { box-sizing: border-box } body { margin: 0; font: 15px/1.45 system-ui, sans-serif; color: #1d1c1d; display: flex }
nav { background: #3f0e40; color: #cfc3cf; width: 220px; min-height: 100vh; padding: 16px; position: sticky; top: 0;
  height: 100vh } nav h1 { font-size: 18px; color: #fff; margin: 0 0 16px } nav a { color: inherit; display: block;
  text-decoration: none; padding: 3px 0 } main { flex: 1; min-width: 0; padding: 0 24px 48px; max-width: 900px }
h2 { border-bottom: 1px solid #ddd; padding: 14px 0 10px; font-size: 18px; position: sticky; top: 0;
  background: #fff; margin: 0 } article { display: flex; gap: 10px; padding: 10px 0 }
.avatar { flex: none; width: 36px; height: 36px; border-radius: 6px; background: #1264a3; color: #fff;
  display: grid; place-items: center; font-weight: 700; text-transform: uppercase } .body { flex: 1; min-width: 0 }
.who { font-weight: 700 } .app { background: #ddd; border-radius: 3px; font-size: 11px; padding: 0 4px; color: #555 }
time, .edited, .context, .none { color: #616061; font-size: 12.5px } .thread { border-left: 3px solid #ddd;
  padding-left: 12px; margin-top: 6px } .header { font-size: 18px; font-weight: 800; margin: 4px 0 }
.section { margin: 4px 0 } .fields { display: grid; grid-template-columns: 1fr 1fr; gap: 4px 16px; margin: 4px 0 }
.actions { display: flex; flex-wrap: wrap; gap: 8px; margin: 6px 0 } .button { border: 1px solid #bbb;
  border-radius: 4px; padding: 4px 12px; font-weight: 700; font-size: 13.5px; color: inherit; text-decoration: none }
.button.primary { background: #007a5a; border-color: #007a5a; color: #fff } .button.danger { background: #e01e5a;
  border-color: #e01e5a; color: #fff } hr { border: 0; border-top: 1px solid #ddd } code { background: #f4f4f4;
  border: 1px solid #e2e2e2; border-radius: 3px; color: #c01343; padding: 0 3px; font-size: 12.5px }
pre { background: #f8f8f8; border: 1px solid #ddd; border-radius: 4px; padding: 8px; margin: 4px 0;
  white-space: pre-wrap } a { color: #1264a3 } .reaction { background: #eef; border-radius: 12px; padding: 1px 8px;
  font-size: 12.5px; margin-right: 4px } .image { border: 1px dashed #bbb; padding: 6px 10px; color: #616061 }
"""

_REFRESH = """
setInterval(async () => {
  const text = await (await fetch(location.pathname)).text();
  const fresh = new DOMParser().parseFromString(text, 'text/html').querySelector('main');
  const shown = document.querySelector('main');
  if (fresh && fresh.innerHTML !== shown.innerHTML) shown.replaceWith(fresh);
}, 2000);
"""


ASSETS: dict[str, str] = {}
SECURITY_POLICY = "default-src 'self' 'unsafe-inline'"


@dataclass(frozen=True)
class View:
    """What is looked at, and by whom."""

    user: User
    channel: str = ""
    thread: str = ""


def asset(name: str) -> str:
    raise KeyError(name)


def render(slack: Slack, view: View) -> str:
    """Return the page as HTML."""
    workspace = slack.workspace
    channels = [channel for channel in workspace.channels if channel.has_bot]
    links = "".join(f'<a href="#{_text(channel.id)}"># {_text(channel.name)}</a>' for channel in channels)
    shown = "".join(_channel(workspace, channel) for channel in channels)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(TEAM_NAME)} Slack</title>'
        f'<noscript><meta http-equiv="refresh" content="3"></noscript><style>{_STYLE}</style></head>'
        f"<body><nav><h1>{_text(TEAM_NAME)}</h1>{links}</nav><main>{shown}</main>"
        f"<script>{_REFRESH}</script></body></html>"
    )


def mrkdwn(text: str) -> str:
    """Return Slack's markup as HTML; everything that is none is escaped."""
    parts, end = [], 0
    for match in _MRKDWN.finditer(text):
        parts.append(_text(text[end : match.start()]))
        parts.append(_markup(match))
        end = match.end()
    parts.append(_text(text[end:]))
    return "".join(parts).replace("\n", "<br>")


def _channel(workspace: Workspace, channel: Channel) -> str:
    messages = [message for message in workspace.messages(channel) if not message.thread_ts]
    shown = "".join(_message(workspace, channel, message) for message in messages)
    return f'<section id="{_text(channel.id)}"><h2># {_text(channel.name)}</h2>{shown or _none()}</section>'


def _none() -> str:
    return '<p class="none">No messages yet.</p>'


def _message(workspace: Workspace, channel: Channel, message: Message) -> str:
    user = workspace.user(message.user)
    at = datetime.fromtimestamp(microseconds(message.ts) / 1_000_000, tz=UTC)
    badge = ' <span class="app">APP</span>' if user.bot_id else ""
    edited = ' <span class="edited">(edited)</span>' if message.edited_ts else ""
    # As in Slack: where there are blocks, the text is only what notifications show.
    body = "".join(map(_block, message.blocks)) or f'<div class="section">{mrkdwn(message.text)}</div>'
    reactions = "".join(
        f'<span class="reaction">{_emoji(given.name)} {len(given.users)}</span>' for given in message.reactions
    )
    replies = "".join(_message(workspace, channel, reply) for reply in workspace.replies(channel, message))
    thread = f'<div class="thread">{replies}</div>' if replies else ""
    return (
        f'<article id="p{_text(message.ts)}"><div class="avatar">{_text(user.name[:1])}</div><div class="body">'
        f'<span class="who">{_text(user.real_name)}</span>{badge} <time>{at:%Y-%m-%d %H:%M:%S} UTC</time>{edited}'
        f"{body}{reactions}{thread}</div></article>"
    )


def _block(block: Json) -> str:
    kind = str(block.get("type", ""))
    return _BLOCKS.get(kind, _unknown)(block)


def _unknown(block: Json) -> str:
    return f'<div class="image">[{_text(str(block.get("type")))}]</div>'


def _header(block: Json) -> str:
    return f'<div class="header">{_composed(block.get("text"))}</div>'


def _section(block: Json) -> str:
    text = f'<div class="section">{_composed(block["text"])}</div>' if block.get("text") else ""
    fields = "".join(f"<div>{_composed(field)}</div>" for field in block.get("fields") or ())
    accessory = _element(block["accessory"]) if block.get("accessory") else ""
    return text + (f'<div class="fields">{fields}</div>' if fields else "") + accessory


def _context(block: Json) -> str:
    return f'<div class="context">{" ".join(_element(element) for element in block.get("elements") or ())}</div>'


def _actions(block: Json) -> str:
    return f'<div class="actions">{"".join(_element(element) for element in block.get("elements") or ())}</div>'


def _image(block: Json) -> str:
    return f'<div class="image">🖼 {_text(str(block.get("alt_text", "")))}</div>'


_BLOCKS: Mapping[str, Callable[[Json], str]] = {
    "header": _header,
    "section": _section,
    "context": _context,
    "divider": lambda _: "<hr>",
    "actions": _actions,
    "image": _image,
}


def _element(element: Json) -> str:
    match element.get("type"):
        case "button":
            style = _text(str(element.get("style", "")))
            label = _composed(element.get("text"))
            url = str(element.get("url", ""))
            if url.startswith(("http://", "https://")):
                return f'<a class="button {style}" href="{_text(url)}">{label}</a>'
            return f'<span class="button {style}">{label}</span>'
        case "image":
            return f'<span class="image">🖼 {_text(str(element.get("alt_text", "")))}</span>'
        case "mrkdwn" | "plain_text":
            return _composed(element)
        case other:
            return f'<span class="button">[{_text(str(other))}]</span>'


def _composed(text: Any) -> str:
    """Return a text object as HTML; plain text knows emoji only."""
    if not isinstance(text, dict):
        return ""
    content = str(text.get("text", ""))
    if text.get("type") == "mrkdwn":
        return mrkdwn(content)
    return re.sub(r":([a-z0-9_+-]+):", lambda match: _emoji(match[1]), _text(content)).replace("\n", "<br>")


def _markup(match: re.Match[str]) -> str:
    groups = match.groupdict()
    if groups["pre"] is not None:
        return f"<pre>{_text(groups['pre'].strip())}</pre>"
    if groups["code"] is not None:
        return f"<code>{_text(groups['code'])}</code>"
    if groups["target"] is not None:
        return _link(groups["target"], groups["label"])
    if groups["emoji"] is not None:
        return _emoji(groups["emoji"])
    tag, content = next(
        (tag, groups[name])
        for name, tag in (("bold", "strong"), ("italic", "em"), ("strike", "del"))
        if groups[name] is not None
    )
    return f"<{tag}>{mrkdwn(content)}</{tag}>"


def _link(target: str, label: str | None) -> str:
    if target.startswith(("http://", "https://", "mailto:")):
        return f'<a href="{_text(target)}">{_text(label or target)}</a>'
    return f"<strong>{_text(label or target.lstrip('@#!'))}</strong>"


def _emoji(name: str) -> str:
    return EMOJI.get(name) or f":{_text(name)}:"


def _text(text: str) -> str:
    """Escape for HTML; Slack's own escapes of &, < and > are undone first."""
    return html.escape(html.unescape(text))
