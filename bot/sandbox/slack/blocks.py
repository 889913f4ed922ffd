"""Block Kit as Slack takes it: slack_sdk's own models, and the documented limits that those leave out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block
from slack_sdk.models.views import View

MAX_IN_MESSAGE = 50
MAX_IN_VIEW = 100
MAX_VIEW_BYTES = 250_000
MAX_CHARTS = 2
CHART = "data_visualization"
NOT_IN_VIEWS = frozenset({"table", "markdown", "task_card", "plan", CHART})
_TEXT_LIMITS = {
    ("header", "text"): 150,
    ("section", "text"): 3000,
    ("section", "fields"): 2000,
    ("context", "elements"): 2000,
    ("button", "text"): 75,
    ("confirm", "title"): 100,
    ("confirm", "text"): 300,
    ("confirm", "confirm"): 30,
    ("confirm", "deny"): 30,
    ("option", "text"): 75,
    ("option", "description"): 75,
    ("input", "label"): 2000,
    ("input", "hint"): 2000,
    ("select", "placeholder"): 150,
    ("view", "title"): 24,
    ("view", "submit"): 24,
    ("view", "close"): 24,
}
_STRING_LIMITS = {"action_id": 255, "block_id": 255, "url": 3000, "image_url": 3000, "alt_text": 2000}


def problems_of_message(blocks: list[Any], *, without: frozenset[str] = frozenset()) -> list[str]:
    """Return what Slack would say about a message's blocks; nothing where it takes them.

    ``without`` names types of block that this workspace does not take: new ones come to all of them by and by.
    """
    problems = [
        f"[ERROR] unsupported type: {block['type']} [json-pointer:/blocks/{index}/type]"
        for index, block in enumerate(blocks)
        if isinstance(block, dict) and block.get("type") in without
    ]
    if len(blocks) > MAX_IN_MESSAGE:
        problems.append(f"[ERROR] no more than {MAX_IN_MESSAGE} items allowed [json-pointer:/blocks]")
    tables = [block for block in blocks if isinstance(block, dict) and block.get("type") == "table"]
    if len(tables) > 1:
        problems.append("[ERROR] only one table is allowed in a message [json-pointer:/blocks]")
    charts = [block for block in blocks if isinstance(block, dict) and block.get("type") == CHART]
    if len(charts) > MAX_CHARTS:
        problems.append(f"[ERROR] no more than {MAX_CHARTS} charts are allowed in a message [json-pointer:/blocks]")
    return problems + list(_of_blocks(blocks, "/blocks"))


def problems_of_view(view: Any) -> list[str]:
    """Return what Slack would say about a view; nothing where it takes it."""
    if not isinstance(view, dict):
        return ["[ERROR] must be an object [json-pointer:/view]"]
    if view.get("type") != "modal":
        return [f"[ERROR] unsupported type: {view.get('type')} [json-pointer:/view/type]"]
    blocks = view.get("blocks")
    if not isinstance(blocks, list) or not blocks:
        return ["[ERROR] missing required field: blocks [json-pointer:/view/blocks]"]
    problems = []
    if not isinstance(view.get("title"), dict):
        problems.append("[ERROR] missing required field: title [json-pointer:/view/title]")
    if len(blocks) > MAX_IN_VIEW:
        problems.append(f"[ERROR] no more than {MAX_IN_VIEW} items allowed [json-pointer:/view/blocks]")
    for name in ("title", "submit", "close"):
        text = view.get(name)
        if text is not None:
            problems += _of_text(text, ("view", name), f"/view/{name}", plain=True)
    kinds = [block.get("type") for block in blocks if isinstance(block, dict)]
    if "input" in kinds and not view.get("submit"):
        problems.append("[ERROR] submit is required when an input block is within blocks [json-pointer:/view/submit]")
    for index, kind in enumerate(kinds):
        if kind in NOT_IN_VIEWS:
            problems.append(f"[ERROR] unsupported type: {kind} [json-pointer:/view/blocks/{index}/type]")
    problems += _of_blocks(blocks, "/view/blocks")
    if not problems:
        problems += _said_by_sdk(lambda: View(**view).to_dict(), "/view")
    return problems


def _of_blocks(blocks: list[Any], where: str) -> Iterator[str]:
    ids = Counter(block.get("block_id") for block in blocks if isinstance(block, dict) and block.get("block_id"))
    for name, times in ids.items():
        if times > 1:
            yield f'[ERROR] `block_id` "{name}" already exists [json-pointer:{where}]'
    for index, block in enumerate(blocks):
        here = f"{where}/{index}"
        problems = list(_of_block(block, here))
        yield from problems
        if not problems and block["type"] in _MODELLED:
            yield from _said_by_sdk(lambda block=block: Block.parse(block).to_dict(), here)  # type: ignore[union-attr]


def _said_by_sdk(build: Any, where: str) -> list[str]:
    try:
        build()
    except (SlackObjectFormationError, TypeError, AttributeError) as error:
        return [f"[ERROR] {error} [json-pointer:{where}]"]
    return []


def _of_block(block: Any, where: str) -> Iterator[str]:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str) or kind not in _KNOWN:
        yield f"[ERROR] unsupported type: {kind} [json-pointer:{where}/type]"
        return
    yield from _of_strings(block, where)
    text, fields, elements = block.get("text"), block.get("fields"), block.get("elements")
    if kind in ("header", "section") and not text and not (kind == "section" and fields):
        yield f"[ERROR] missing required field: text [json-pointer:{where}/text]"
    if kind in ("header", "section") and text:
        yield from _of_text(text, (kind, "text"), f"{where}/text", plain=kind == "header")
    if kind == "section" and fields:
        yield from _several(fields, 10, f"{where}/fields")
        for index, field in enumerate(fields):
            yield from _of_text(field, ("section", "fields"), f"{where}/fields/{index}")
    if kind in ("actions", "context"):
        yield from _several(elements, 25 if kind == "actions" else 10, f"{where}/elements")
    if kind == "context":
        for index, element in enumerate(elements or ()):
            if isinstance(element, dict) and element.get("type") != "image":
                yield from _of_text(element, ("context", "elements"), f"{where}/elements/{index}")
    if kind == "actions":
        yield from _of_elements(elements or [], f"{where}/elements")
    if kind == "section" and isinstance(block.get("accessory"), dict):
        yield from _of_element(block["accessory"], f"{where}/accessory")
    if kind == "input":
        yield from _of_input(block, where)
    if kind == "table":
        yield from _of_table(block, where)
    if kind == CHART:
        yield from _of_chart(block, where)


def _of_input(block: dict[str, Any], where: str) -> Iterator[str]:
    if not isinstance(block.get("element"), dict):
        yield f"[ERROR] missing required field: element [json-pointer:{where}/element]"
    else:
        yield from _of_element(block["element"], f"{where}/element")
    for name in ("label", "hint"):
        if name == "label" or block.get(name):
            yield from _of_text(block.get(name), ("input", name), f"{where}/{name}", plain=True)


def _of_table(block: dict[str, Any], where: str) -> Iterator[str]:
    rows = block.get("rows")
    yield from _several(rows, 100, f"{where}/rows")
    for index, row in enumerate(rows if isinstance(rows, list) else ()):
        here = f"{where}/rows/{index}"
        yield from _several(row, 20, here)
        for column, cell in enumerate(row if isinstance(row, list) else ()):
            if not isinstance(cell, dict) or cell.get("type") not in ("raw_text", "raw_number", "rich_text"):
                yield f"[ERROR] unsupported type [json-pointer:{here}/{column}]"
            elif cell["type"] == "raw_text" and not cell.get("text"):
                yield f"[ERROR] must be more than 0 characters [json-pointer:{here}/{column}/text]"
    if len(block.get("column_settings") or ()) > 20:
        yield f"[ERROR] no more than 20 items allowed [json-pointer:{where}/column_settings]"


def _of_chart(block: dict[str, Any], where: str) -> Iterator[str]:
    yield from _of_label(block.get("title"), 50, f"{where}/title")
    chart, here = block.get("chart"), f"{where}/chart"
    kind = chart.get("type") if isinstance(chart, dict) else None
    if not isinstance(chart, dict) or kind not in ("pie", "bar", "area", "line"):
        yield f"[ERROR] unsupported type: {kind} [json-pointer:{here}/type]"
        return
    if kind == "pie":
        yield from _of_points(chart.get("segments"), 6, f"{here}/segments", positive=True)
        return
    axis = chart.get("axis_config")
    categories = axis.get("categories") if isinstance(axis, dict) else None
    yield from _several(categories, 20, f"{here}/axis_config/categories")
    for index, name in enumerate(categories if isinstance(categories, list) else ()):
        yield from _of_label(name, 20, f"{here}/axis_config/categories/{index}")
    for name in ("x_label", "y_label"):
        if isinstance(axis, dict) and name in axis:
            yield from _of_label(axis[name], 50, f"{here}/axis_config/{name}")
    series = chart.get("series")
    yield from _several(series, 6, f"{here}/series")
    listed = [one for one in series if isinstance(one, dict)] if isinstance(series, list) else []
    for name, times in Counter(str(one.get("name")) for one in listed).items():
        if times > 1:
            yield f'[ERROR] `name` "{name}" already exists [json-pointer:{here}/series]'
    for index, one in enumerate(listed):
        there = f"{here}/series/{index}"
        yield from _of_label(one.get("name"), 20, f"{there}/name")
        yield from _of_points(one.get("data"), 20, f"{there}/data")
        data = one.get("data") if isinstance(one.get("data"), list) else []
        labels = [point.get("label") for point in data or () if isinstance(point, dict)]
        if isinstance(categories, list) and Counter(map(str, labels)) != Counter(map(str, categories)):
            yield f"[ERROR] each category needs exactly one data point [json-pointer:{there}/data]"


def _of_points(points: Any, most: int, where: str, *, positive: bool = False) -> Iterator[str]:
    yield from _several(points, most, where)
    for index, point in enumerate(points if isinstance(points, list) else ()):
        if not isinstance(point, dict):
            yield f"[ERROR] must be an object [json-pointer:{where}/{index}]"
            continue
        yield from _of_label(point.get("label"), 20, f"{where}/{index}/label")
        value = point.get("value")
        number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        if not math.isfinite(number) or (positive and number <= 0):
            yield f"[ERROR] must be a number [json-pointer:{where}/{index}/value]"


def _of_label(text: Any, most: int, where: str) -> Iterator[str]:
    if not isinstance(text, str) or not 1 <= len(text) <= most:
        yield f"[ERROR] must be between 1 and {most} characters [json-pointer:{where}]"


def _of_elements(elements: Any, where: str) -> Iterator[str]:
    listed = [element for element in elements if isinstance(element, dict)]
    for name, times in Counter(element.get("action_id") for element in listed).items():
        if name and times > 1:
            yield f'[ERROR] `action_id` "{name}" already exists [json-pointer:{where}]'
    for index, element in enumerate(elements):
        yield from _of_element(element, f"{where}/{index}")


def _of_element(element: Any, where: str) -> Iterator[str]:
    kind = element.get("type") if isinstance(element, dict) else None
    if not isinstance(kind, str):
        yield f"[ERROR] missing required field: type [json-pointer:{where}/type]"
        return
    yield from _of_strings(element, where)
    if kind == "button":
        yield from _of_text(element.get("text"), ("button", "text"), f"{where}/text", plain=True)
        if len(str(element.get("value", ""))) > 2000:
            yield f"[ERROR] must be less than 2001 characters [json-pointer:{where}/value]"
        if element.get("style") not in (None, "primary", "danger"):
            yield f"[ERROR] value must be primary or danger [json-pointer:{where}/style]"
    if element.get("placeholder"):
        yield from _of_text(element["placeholder"], ("select", "placeholder"), f"{where}/placeholder", plain=True)
    if kind in ("static_select", "multi_static_select", "radio_buttons", "checkboxes", "overflow"):
        groups = element.get("option_groups")
        if not groups:
            most = {"radio_buttons": 10, "checkboxes": 10, "overflow": 5}.get(kind, 100)
            yield from _several(element.get("options"), most, f"{where}/options")
        for index, option in enumerate(options_of(element)):
            yield from _of_option(option, f"{where}/options/{index}", check=kind in ("radio_buttons", "checkboxes"))
    confirm = element.get("confirm")
    if confirm is not None:
        for name in ("title", "text", "confirm", "deny"):
            if name != "text" and not (isinstance(confirm, dict) and confirm.get(name)):
                continue  # slack_sdk's models say what is missing
            yield from _of_text(confirm.get(name), ("confirm", name), f"{where}/confirm/{name}", plain=name != "text")


def _of_option(option: Any, where: str, *, check: bool) -> Iterator[str]:
    if not isinstance(option, dict):
        yield f"[ERROR] must be an object [json-pointer:{where}]"
        return
    yield from _of_text(option.get("text"), ("option", "text"), f"{where}/text", plain=not check)
    if not 1 <= len(str(option.get("value", ""))) <= 150:
        yield f"[ERROR] must be between 1 and 150 characters [json-pointer:{where}/value]"


def options_of(element: dict[str, Any]) -> list[Any]:
    """Return the options of a menu, those in groups included."""
    grouped = [option for group in element.get("option_groups") or () for option in group.get("options") or ()]
    return [*(element.get("options") or ()), *grouped]


def _of_text(text: Any, place: tuple[str, str], where: str, *, plain: bool = False) -> Iterator[str]:
    if not isinstance(text, dict) or not isinstance(text.get("text"), str):
        yield f"[ERROR] missing required field: text [json-pointer:{where}]"
        return
    allowed = ("plain_text",) if plain else ("plain_text", "mrkdwn")
    if text.get("type") not in allowed:
        yield f"[ERROR] unsupported type: {text.get('type')} [json-pointer:{where}/type]"
    if not text["text"]:
        yield f"[ERROR] must be more than 0 characters [json-pointer:{where}/text]"
    limit = _TEXT_LIMITS[place]
    if len(text["text"]) > limit:
        yield f"[ERROR] must be less than {limit + 1} characters [json-pointer:{where}/text]"


def _of_strings(part: dict[str, Any], where: str) -> Iterator[str]:
    for name, limit in _STRING_LIMITS.items():
        if len(str(part.get(name) or "")) > limit:
            yield f"[ERROR] must be less than {limit + 1} characters [json-pointer:{where}/{name}]"


def _several(items: Any, most: int, where: str) -> Iterator[str]:
    if not isinstance(items, list) or not items:
        yield f"[ERROR] missing required field: {where.rpartition('/')[2]} [json-pointer:{where}]"
    elif len(items) > most:
        yield f"[ERROR] no more than {most} items allowed [json-pointer:{where}]"


def _known() -> frozenset[str]:
    """Return the types of block that slack_sdk has a model for."""
    kinds, left = set(), [Block]
    while left:
        for model in left.pop().__subclasses__():
            left.append(model)
            kinds.add(str(getattr(model, "type", "")))
    return frozenset(kinds - {""})


_MODELLED = _known()
_KNOWN = _MODELLED | {CHART}
