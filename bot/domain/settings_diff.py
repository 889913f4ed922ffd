"""What differs between two documents of settings, key by key, as people read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Difference:
    """One key whose value differs. ``before`` or ``after`` is None where the key has no value."""

    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class SettingsChange:
    """What becomes of one environment file. ``unreadable_before`` where the base branch's file has a mistake."""

    environment: str
    kind: Literal["added", "removed", "changed"]
    differences: tuple[Difference, ...] = ()
    unreadable_before: bool = False


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Return the keys whose values differ, in the order of the documents.

    An item of a list that has a ``name`` is compared with the item of the same name, wherever that stands. A part
    that only one document has is one difference, not one for each of its keys.
    """
    return list(_differing("", before, after))


def _differing(key: str, before: Any, after: Any) -> Iterator[Difference]:
    old, new = _parts(before), _parts(after)
    if old is None or new is None:
        if before != after:
            yield Difference(key, _shown(before), _shown(after))
        return
    listed = isinstance(before, list)
    for part in dict.fromkeys([*old, *new]):
        name = f"{key}[{part}]" if listed else f"{key}.{part}".lstrip(".")
        yield from _differing(name, old.get(part), new.get(part))


def _parts(value: Any) -> Mapping[str, Any] | None:
    """Return what a value is made of, by name; None for what is compared whole."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list) and value and all(isinstance(item, Mapping) and "name" in item for item in value):
        return {str(item["name"]): item for item in value}
    return None


def _shown(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_inner(item)}" for key, item in value.items() if item is not None) or "(nothing)"
    if isinstance(value, list):
        return ", ".join(_inner(item) for item in value) or "(nothing)"
    return value if isinstance(value, str) else json.dumps(value)


def _inner(value: Any) -> str:
    shown = _shown(value)
    return f"({shown})" if isinstance(value, Mapping) and value else str(shown)
