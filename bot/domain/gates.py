"""Which gate holds for a model: the one of its name, else the pattern that fits best, else ``default``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TypeVar

from bot.domain.names import DEFAULT_GATE

Rules = TypeVar("Rules")


def key_for(model: str, keys: Iterable[str]) -> str | None:
    """Return the key of ``gates`` that holds for a model; None where none does.

    Its own name comes first, then the pattern with the most characters beside ``*``, then ``default``. Of two
    patterns with as many, the first in the alphabet counts: the order of the file never decides.
    """
    keys = set(keys)
    if model in keys:
        return model
    fitting = [key for key in keys if is_pattern(key) and _expression(key).fullmatch(model)]
    if fitting:
        return min(fitting, key=lambda key: (key.count("*") - len(key), key))
    return DEFAULT_GATE if DEFAULT_GATE in keys else None


def rules_for(model: str, gates: Mapping[str, Rules]) -> Rules | None:
    """Return the rules that hold for a model; None where none do."""
    key = key_for(model, gates)
    return None if key is None else gates[key]


def models_in(keys: Iterable[str]) -> frozenset[str]:
    """Return the models that have a gate by their own name."""
    return frozenset(key for key in keys if key != DEFAULT_GATE and not is_pattern(key))


def is_pattern(key: str) -> bool:
    """Whether a key of ``gates`` stands for every model whose name fits it."""
    return "*" in key


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    # What stands between two stars is taken where it comes first, for good: if each star were tried at every length,
    # a pattern of a few of them would keep a process busy for hours.
    first, *between = map(re.escape, pattern.split("*"))
    last = f".*{between.pop()}" if between else ""
    return re.compile(first + "".join(f"(?>.*?{part})" for part in between) + last)
