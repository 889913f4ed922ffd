"""Propose a registered version: the same verb as ``promobot propose``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.operations.propose import Proposal

log = logging.getLogger("bot.training")


def propose(
    *, model: str, version: int, environment: str, root: Path = Path(), say: Callable[[str], None] = log.info
) -> Proposal:
    """Open or update the pull request that lets ``environment`` serve ``version`` of ``model``.

    ``root`` is a clone of the repository that holds ``promotions/`` and ``manifests/``. ``say`` receives lines of
    progress (default: this module's log). Returns the outcome of the gate and the pull request.

    Raises InvalidInput for a file with a mistake and Refused if a rule forbids the proposal. Raises Unavailable or
    Rejected if MLflow, Git or GitHub fails: see `bot.errors`.
    """
    # Imported when called: training code that only registers needs neither Git nor GitHub.
    from bot import environment_files
    from bot.operations.propose import propose as run
    from bot.platform import Platform

    with Platform(environment_files.load(root, environment)) as platform:
        return run(platform, model=model, version=version, say=say)
