"""Block Kit as HTML, as Slack draws it in messages and modals. What acts carries ``data-`` attributes for page.js."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.sandbox.forge.html import Child, Html, tag, together
from bot.sandbox.slack.blocks import CHART, options_of
from bot.sandbox.slack.markup import emoji, lines, link, mrkdwn, plain
from bot.sandbox.slack.workspace import PEOPLE, Json

_STYLES = {"bold": "strong", "italic": "em", "strike": "del", "code": "code"}


@dataclass(frozen=True)
class Place:
    """Where blocks are drawn. ``facts`` are the ``data-`` attributes with which page.js says where something acted.

    ``files`` is the address under which our own files are; pictures from elsewhere are not fetched.
    """

    files: str
    facts: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)


def draw(blocks: tuple[Json, ...], place: Place) -> Html:
    """Return the blocks, one below the other."""
    return together(_BLOCKS.get(str(block.get("type")), _unknown)(block, place) for block in blocks)


def _unknown(block: Json, _: Place) -> Html:
    return tag("div", f"[{block.get('type')}]", class_="picture")


def _header(block: Json, _: Place) -> Html:
    return tag("div", _text(block.get("text")), class_="header", role="heading", aria_level="3")


def _section(block: Json, place: Place) -> Html:
    text = tag("div", _text(block["text"]), class_="text") if block.get("text") else None
    fields = [tag("div", _text(one)) for one in block.get("fields") or ()]
    accessory = block.get("accessory")
    return tag(
        "div",
        tag("div", text, tag("div", fields, class_="fields") if fields else None, class_="grow"),
        tag("div", _element(accessory, block, place), class_="accessory") if accessory else None,
        class_="section",
    )


def _context(block: Json, place: Place) -> Html:
    return tag("div", [tag("span", _part(one, place)) for one in block.get("elements") or ()], class_="context")


def _part(element: Json, place: Place) -> Html:
    return _picture(element, place) if element.get("type") == "image" else _text(element)


def _actions(block: Json, place: Place) -> Html:
    return tag("div", [_element(one, block, place) for one in block.get("elements") or ()], class_="actions")


def _image(block: Json, place: Place) -> Html:
    title = tag("div", _text(block["title"]), class_="context") if block.get("title") else None
    return tag("div", title, _picture(block, place), class_="image")


def _picture(image: Json, place: Place) -> Html:
    alt, file = str(image.get("alt_text", "")), image.get("slack_file") or {}
    url = f"{place.files}/{file['id']}" if file.get("id") else str(file.get("url") or image.get("image_url") or "")
    if url.startswith(f"{place.files}/"):
        return tag("img", src=url.removeprefix(place.files.removesuffix("/files")), alt=alt)
    return tag("span", f"🖼 {alt}", class_="picture")


def _divider(_: Json, __: Place) -> Html:
    return tag("hr")


def _markdown(block: Json, _: Place) -> Html:
    return tag("div", lines(str(block.get("text", ""))), class_="text")


def _table(block: Json, place: Place) -> Html:
    settings = block.get("column_settings") or []
    aligned = [
        f"{(one or {}).get('align') or ''}{' wrapped' if (one or {}).get('is_wrapped') else ''}".strip()
        for one in settings
    ]

    def row(cells: list[Json], name: str) -> Html:
        where = [*aligned, *[""] * len(cells)]
        return tag("tr", [tag(name, _cell(cell, place), class_=where[column]) for column, cell in enumerate(cells)])

    rows = block.get("rows") or [[]]
    head, body = tag("thead", row(rows[0], "th")), tag("tbody", [row(one, "td") for one in rows[1:]])
    return tag("div", tag("table", head, body), class_="table")


def _chart(block: Json, _: Place) -> Html:
    """Draw bars, group by group from a common zero; of the other kinds only the title is said."""
    chart, title = block["chart"], str(block["title"])
    if chart["type"] != "bar":
        return tag("div", f"📊 {title}", class_="picture")
    series, names = chart["series"], chart["axis_config"]["categories"]
    values = [{point["label"]: float(point["value"]) for point in one["data"]} for one in series]
    every = [value for one in values for value in one.values()]
    top, bottom = max(*every, 0.0), min(*every, 0.0)
    height, group = 140.0, 480.0 / len(names)
    scale = height / ((top - bottom) or 1.0)
    width = group * 0.72 / len(series)
    drawn: list[Child] = []
    for mark in (top, (top + bottom) / 2, bottom):
        y = f"{8 + (top - mark) * scale:.1f}"
        drawn.append(tag("line", x1="52", x2="540", y1=y, y2=y, class_="grid"))
        drawn.append(tag("text", f"{mark:.3g}", x="46", y=y, dy="4", class_="mark"))
    for number, name in enumerate(names):
        left = 56 + number * group
        for kind, one in enumerate(values):
            value = one[name]
            bar = tag("title", f"{name}, {series[kind]['name']}: {value:g}")
            size = {
                "x": f"{left + group * 0.14 + kind * width:.1f}",
                "y": f"{8 + (top - max(value, 0.0)) * scale:.1f}",
                "width": f"{width * 0.9:.1f}",
                "height": f"{abs(value) * scale:.1f}",
            }
            drawn.append(tag("rect", bar, class_=f"bar{kind}", **size))
        label = f"{left + group / 2:.1f}"
        drawn.append(tag("text", name, x=label, y=f"{height + 26:.0f}", class_="label"))
    legend = [
        tag("span", tag("i", class_=f"bar{kind}"), str(one["name"]), class_="legend")
        for kind, one in enumerate(series)
    ]
    picture = tag("svg", drawn, viewBox=f"0 0 544 {height + 36:.0f}", role="img", aria_label=title)
    return tag("div", tag("strong", title), picture, tag("div", legend), class_="chart")


def _cell(cell: Json, place: Place) -> Html:
    if cell.get("type") == "rich_text":
        return _rich_text(cell, place)
    return lines(str(cell.get("text", cell.get("value", ""))))


def _rich_text(block: Json, place: Place) -> Html:
    return together(_rich(element, place) for element in block.get("elements") or ())


def _rich(element: Json, place: Place) -> Html:
    inside = element.get("elements") or ()
    match element.get("type"):
        case "rich_text_list":
            name = "ol" if element.get("style") == "ordered" else "ul"
            return tag(name, [tag("li", _rich(one, place)) for one in inside])
        case "rich_text_preformatted":
            return tag("pre", [_run(one) for one in inside])
        case "rich_text_quote":
            return tag("blockquote", [_run(one) for one in inside])
        case _:
            return tag("div", [_run(one) for one in inside], class_="text")


def _run(element: Json) -> Html:
    match element.get("type"):
        case "link":
            found = link(str(element.get("url")), element.get("text"))
        case "emoji":
            found = Html(emoji(str(element.get("name"))))
        case "user":
            found = link(f"@{element.get('user_id')}", None)
        case "usergroup":
            found = link(f"!subteam^{element.get('usergroup_id')}", None)
        case _:
            found = lines(str(element.get("text", "")))
    for style, name in _STYLES.items():
        if (element.get("style") or {}).get(style):
            found = tag(name, found)
    return found


# --- what acts -----------------------------------------------------------------------------------------------------


def _input(block: Json, place: Place) -> Html:
    error = place.errors.get(block["block_id"])
    optional = tag("span", " (optional)", class_="hint") if block.get("optional") else None
    return tag(
        "div",
        tag("div", _text(block.get("label")), optional, class_="label"),
        _element(block["element"], block, place, filled_in=not block.get("dispatch_action")),
        tag("div", error, class_="error", role="alert") if error else None,
        tag("div", _text(block["hint"]), class_="hint") if block.get("hint") else None,
        class_="input wrong" if error else "input",
    )


_BLOCKS: Mapping[str, Callable[[Json, Place], Html]] = {
    "header": _header,
    "section": _section,
    "context": _context,
    "divider": _divider,
    "actions": _actions,
    "image": _image,
    "markdown": _markdown,
    "table": _table,
    CHART: _chart,
    "rich_text": _rich_text,
    "input": _input,
}


def _element(element: Json, block: Json, place: Place, *, filled_in: bool = False) -> Html:
    """Return an interactive element; with ``filled_in`` it is sent with its modal, not at once."""
    kind = str(element.get("type"))
    if kind == "image":
        return _picture(element, place)
    if kind == "button":
        return _button(element, block, place)
    state = place.values.get(str(block.get("block_id")), {}).get(str(element.get("action_id")), {})
    facts: dict[str, str] = {} if filled_in else {"data_act": "choose", **place.facts, **_confirm(element)}
    facts |= {"data_block": str(block.get("block_id")), "data_action": str(element.get("action_id"))}
    facts |= {"data_kind": kind, "data_input": "yes"}
    if kind in _TYPED:
        return _typed(element, kind, state, facts)
    if kind in ("checkboxes", "radio_buttons", "multi_static_select"):
        return _boxes(element, kind, state, facts)
    return _select(element, kind, state, facts, place)


def _confirm(element: Json) -> dict[str, str]:
    confirm = element.get("confirm")
    return {"data_confirm": json.dumps(confirm)} if confirm else {}


def _button(element: Json, block: Json, place: Place) -> Html:
    url = str(element.get("url") or "")
    facts = {
        "data_act": "press",
        "data_block": str(block.get("block_id")),
        "data_action": str(element.get("action_id")),
        "class_": f"button {element.get('style') or ''}".strip(),
        **place.facts,
        **_confirm(element),
    }
    if url.startswith(("http://", "https://")):
        return tag("a", _text(element.get("text")), href=url, target="_blank", rel="noopener", **facts)
    return tag("button", _text(element.get("text")), type="button", **facts)


_TYPED = {
    "plain_text_input": "text",
    "email_text_input": "email",
    "url_text_input": "url",
    "number_input": "number",
    "datepicker": "date",
    "timepicker": "time",
}


def _typed(element: Json, kind: str, state: Json, facts: dict[str, str]) -> Html:
    value = next((str(state[name]) for name in ("value", "selected_date", "selected_time") if state.get(name)), "")
    placeholder = str((element.get("placeholder") or {}).get("text", ""))
    longest = str(element.get("max_length") or "")
    more: dict[str, str | bool] = {"autofocus": bool(element.get("focus_on_load")), **facts}
    if element.get("multiline"):
        return tag("textarea", value, rows="4", placeholder=placeholder, maxlength=longest, **more)
    return tag("input", type=_TYPED[kind], value=value, placeholder=placeholder, maxlength=longest, **more)


def _chosen(state: Json) -> set[str]:
    options = [*(state.get("selected_options") or ()), state.get("selected_option")]
    names = (state.get(name) for name in ("selected_user", "selected_channel", "selected_conversation"))
    return {str(option["value"]) for option in options if option} | {str(name) for name in names if name}


def _boxes(element: Json, kind: str, state: Json, facts: dict[str, str]) -> Html:
    chosen = _chosen(state)
    shape = "radio" if kind == "radio_buttons" else "checkbox"
    name = f"{facts['data_block']}/{facts['data_action']}"

    def box(option: Json) -> Html:
        value = str(option["value"])
        described = tag("div", _text(option["description"]), class_="hint") if option.get("description") else None
        given: dict[str, str | bool] = {"type": shape, "name": name, "value": value, "checked": value in chosen}
        return tag("label", tag("input", **given), tag("span", _text(option.get("text")), described))

    return tag("div", [box(option) for option in options_of(dict(element))], class_="boxes", **facts)


def _select(element: Json, kind: str, state: Json, facts: dict[str, str], place: Place) -> Html:
    chosen = _chosen(state)
    placeholder = str((element.get("placeholder") or {}).get("text", "")) or "Choose…"

    def option(value: str, text: Child) -> Html:
        return tag("option", text, value=value, selected=value in chosen)

    def offered(options: Any) -> list[Html]:
        return [option(str(one["value"]), _text(one.get("text"))) for one in options or ()]

    groups = [
        tag("optgroup", offered(group.get("options")), label=str((group.get("label") or {}).get("text", "")))
        for group in element.get("option_groups") or ()
    ]
    listed: list[Html] = groups or offered(element.get("options"))
    if kind == "users_select":
        listed = [option(person.id, person.real_name) for person in PEOPLE]
    elif kind in ("channels_select", "conversations_select"):
        listed = [option(channel, f"# {name}") for channel, name in place.channels.items()]
    empty = Html(f'<option value="">{tag("span", placeholder)[6:-7]}</option>')
    if kind == "overflow":
        empty = Html('<option value="">⋯</option>')
    if "external" in kind:
        loaded = [*(state.get("selected_options") or ()), *filter(None, [state.get("selected_option")])]
        typed = tag("input", type="search", placeholder=placeholder, class_="ask")
        return tag("div", typed, tag("select", empty, offered(loaded), **facts), class_="external")
    return tag("select", empty, listed, **facts)


def _text(text: Any) -> Html:
    """Return a text object."""
    if not isinstance(text, dict):
        return Html("")
    content = str(text.get("text", ""))
    return mrkdwn(content) if text.get("type") == "mrkdwn" else plain(content)
