"""Requests to a version, as far as one Triton counts them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Usage:
    """Requests since the version was loaded on one Triton, and the last of them; ``where`` names who was asked.

    The bot's own golden requests are among them.
    """

    requests: int
    last: datetime | None
    where: str


def usage_from(document: Mapping[str, Any], *, where: str) -> Usage:
    """Read Triton's model statistics; raise ValueError, KeyError or TypeError where they are none.

    ``inference_count`` counts inferences, ``last_inference`` is in milliseconds since 1970, 0 before the first.
    """
    stats = list(document["model_stats"])
    last = max((int(one["last_inference"]) for one in stats), default=0)
    return Usage(
        requests=sum(int(one["inference_count"]) for one in stats),
        last=datetime.fromtimestamp(last / 1000, UTC) if last else None,
        where=where,
    )
