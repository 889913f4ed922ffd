"""Stores of the tests, marked as `promobot doctor --init` marks them."""

from __future__ import annotations

from pathlib import Path

from bot.settings import Share
from bot.share import ModelRepository


def begin_share(model_repository: Path, state: Path, *, staging: bool = False) -> ModelRepository:
    """Make a share that nobody used before; return it."""
    share = ModelRepository(Share(model_repository=str(model_repository), state=str(state)), staging=staging)
    share.begin()
    return share
