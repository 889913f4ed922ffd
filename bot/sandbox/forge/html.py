"""HTML as values: what is plain text is escaped where it is put in, so no page can forget to."""

from __future__ import annotations

import html
from collections.abc import Iterable


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | Html | None | Iterable["Child"]
"""What can be put into an element: text (is escaped), HTML, nothing, or several of these."""

VOID = {"meta", "hr", "br", "img", "input", "link"}


def tag(name: str, /, *children: Child, **attributes: str | bool) -> Html:
    """One element. A trailing ``_`` of an attribute's name falls away (``class_``), another ``_`` becomes ``-``;
    an attribute that is "" or False is left out, one that is True has no value."""
    written = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    return Html(f"<{name}{written}>" if name in VOID else f"<{name}{written}>{together(*children)}</{name}>")


def together(*children: Child) -> Html:
    """Several things one after the other."""
    return Html("".join(_text(child) for child in children))


def _text(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, str):
        return html.escape(child)
    return together(*child)


def _attribute(name: str, value: str | bool) -> str:
    if value is True:
        return f" {name}"
    return f' {name}="{html.escape(value)}"' if value else ""
