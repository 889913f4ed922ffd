"""Propose a registered version: the same verb as ``promobot propose``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.verbs.propose import Proposal

LOG = logging.getLogger("promobot")


def propose(*, model: str, version: int, environment: str, root: Path = Path()) -> Proposal:
    """Open or update the pull request that lets ``environment`` serve this version of ``model``.

    ``root`` is a clone of the repository that holds ``promotions/`` and ``manifests/``; the environment's file says
    which variables hold the tokens. Returns what was done, with the outcome of the gate and the pull request.

    Raises:
        PromobotError: a file is wrong, the version is not READY in time or not whole, or a system does not answer.
    """
    # When called: training code that only registers needs neither Git nor GitHub.
    from bot import settings
    from bot.verbs import propose as verb

    return verb.propose(settings.load(root, environment), model=model, version=version, say=LOG.info)
