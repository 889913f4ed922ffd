"""Slack's markup; whatever comes from outside is escaped, so that it stays text."""

from __future__ import annotations

import re

MAX_CHARACTERS = 2500
"""A section takes 3,000."""


def escape(text: str, *, limit: int = MAX_CHARACTERS) -> str:
    """Return foreign text as literal text: no link, no mention, no channel, no markup of its own."""
    # Slack's three control characters; without them nothing becomes a link, a mention or a channel.
    plain = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
    escaped = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if len(escaped) <= limit:
        return escaped
    return re.sub(r"&[a-z]*$", "", escaped[:limit]) + "…"


def code(text: str, *, limit: int = 200) -> str:
    """Return foreign text as inline code."""
    shown = " ".join(escape(text, limit=limit).replace("`", "'").split())
    return f"`{shown}`" if shown else "–"


def link(address: str, text: str) -> str:
    """Return a link; the address is one that the bot was given by a system of its own."""
    safe = address.replace("&", "&amp;").replace("<", "%3C").replace(">", "%3E").replace("|", "%7C")
    return f"<{safe}|{escape(text).replace('|', '¦')}>"


def user(slack_id: str) -> str:
    """Return a mention of one person; text that is not a user id stays text and mentions nobody."""
    return f"<@{slack_id}>" if re.fullmatch(r"[UW][A-Z0-9]{2,}", slack_id) else escape(slack_id)
