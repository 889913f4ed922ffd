"""Block Kit as Slack takes it: its documented limits (``blockkit.json``), and what a schema does not say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

MAX_VIEW_BYTES = 250_000
CHART = "data_visualization"
_KIT = json.loads(Path(__file__).with_name("blockkit.json").read_text())
_MESSAGE, _VIEW = (
    Draft202012Validator({**_KIT, "$ref": f"#/$defs/{kind}"}, format_checker=None) for kind in ("message", "view")
)


def problems_of_message(blocks: list[Any], *, without: frozenset[str] = frozenset()) -> list[str]:
    """Return what Slack would say about a message's blocks; nothing where it takes them.

    ``without`` names types of block that this workspace does not take: new ones come to all of them by and by.
    """
    kinds = [block.get("type") if isinstance(block, dict) else None for block in blocks]
    problems = [
        _said(f"unsupported type: {kind}", f"/blocks/{index}/type")
        for index, kind in enumerate(kinds)
        if kind in without
    ]
    if kinds.count("table") > 1:
        problems.append(_said("only one table is allowed in a message", "/blocks"))
    if kinds.count(CHART) > 2:
        problems.append(_said("no more than 2 charts are allowed in a message", "/blocks"))
    problems += map(_of_schema, _MESSAGE.iter_errors({"blocks": blocks}))
    return problems or list(_between(blocks, "/blocks"))


def problems_of_view(view: Any) -> list[str]:
    """Return what Slack would say about a view; nothing where it takes it."""
    problems = list(map(_of_schema, _VIEW.iter_errors({"view": view})))
    return problems or list(_between(view["blocks"], "/view/blocks"))


def options_of(element: dict[str, Any]) -> list[Any]:
    """Return the options of a menu, those in groups included."""
    grouped = [option for group in element.get("option_groups") or () for option in group.get("options") or ()]
    return [*(element.get("options") or ()), *grouped]


def _said(what: str, where: str) -> str:
    return f"[ERROR] {what} [json-pointer:{where}]"


def _of_schema(error: ValidationError) -> str:
    path = [str(part) for part in error.absolute_path]
    if error.validator == "required":
        needed: Any = error.validator_value
        there: Any = error.instance
        lacking = next(name for name in needed if name not in there)
        return _said(f"missing required field: {lacking}", "/" + "/".join([*path, lacking]))
    if path[-1:] == ["type"]:
        return _said(f"unsupported type: {error.instance}", "/" + "/".join(path))
    return _said(error.message[:200], "/" + "/".join(path))


def _between(blocks: list[dict[str, Any]], where: str) -> Iterator[str]:
    """Yield what breaks rules between blocks: ids that must differ, and the points of charts."""
    yield from _twice("block_id", blocks, where)
    for index, block in enumerate(blocks):
        if block["type"] == "actions":
            yield from _twice("action_id", block["elements"], f"{where}/{index}/elements")
        if block["type"] == CHART:
            here, chart = f"{where}/{index}/chart", block["chart"]
            yield from _twice("name", chart["series"], f"{here}/series")
            for number, one in enumerate(chart["series"]):
                labels = Counter(point["label"] for point in one["data"])
                if labels != Counter(chart["axis_config"]["categories"]):
                    yield _said("each category needs exactly one data point", f"{here}/series/{number}/data")


def _twice(name: str, listed: Iterable[dict[str, Any]], where: str) -> Iterator[str]:
    for value, times in Counter(one.get(name) for one in listed).items():
        if value and times > 1:
            yield _said(f'`{name}` "{value}" already exists', where)
