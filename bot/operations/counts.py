"""The counts of all gateways, of users' requests and of copies for shadows: each gateway is asked once for both."""

from __future__ import annotations

from collections.abc import Mapping

from bot.concurrency import gather
from bot.errors import PromobotError
from bot.platform import Serving
from bot.systems.gateway import Gateway, Told

Counted = Mapping[str, Told | PromobotError]
"""The counts of each gateway, by its name, or why nobody knows them."""


def count(systems: Serving, *, limit: int) -> Counted:
    """Ask every gateway, ``limit`` of them at a time."""
    return {gateway.name: said for gateway, said in gather(systems.gateways, Gateway.counts, limit=limit)}
