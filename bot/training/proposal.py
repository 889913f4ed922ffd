"""Propose a registered version: the same verb as ``promobot propose``."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any


def propose(*, model: str, version: int, environment: str, root: Path = Path()) -> Any:
    """Open or update the pull request that lets ``environment`` serve this version of ``model``.

    ``root`` is a clone of the repository that holds ``promotions/`` and ``manifests/``. Returns what the verb
    returns: the outcome of the gate and the pull request.
    """
    # By name, when called: training code that only registers needs neither Git nor GitHub.
    settings = import_module("bot.settings").load(root, environment)
    return import_module("bot.verbs.propose").propose(settings, model=model, version=version)
