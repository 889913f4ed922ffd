"""The first line of ``promobot doctor``."""

from __future__ import annotations

from collections.abc import Sequence


def verdict(environment: str, failing: Sequence[str], untried: Sequence[str], count: int) -> str:
    """Return the first line: whether a deployment would go through, and what is in its way."""
    if failing:
        return f"✗ {environment}: fix this before you deploy: {', '.join(failing)}"
    if untried:
        return f"– {environment}: nothing fails, and not everything could be tried: {', '.join(untried)}"
    return f"✓ {environment}: all {count} systems take what a deployment does"
