"""Where the project's own files are: in a clone all around this package, else packed into its distribution."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from bot.errors import Refused

CODE = Path(__file__).resolve().parents[2]
"""The folder with the package ``bot``: a clone, or ``site-packages``."""
IS_CLONE = (CODE / "pyproject.toml").is_file()
FILES = CODE if IS_CLONE else Path(__file__).resolve().with_name("content")
"""The folder with workflow files, manifests and locks, by their paths in a clone."""


def program(name: str) -> Path:
    """A program of the sandbox's packages: beside this Python, else on PATH. Raises Refused where it is missing."""
    found = Path(sys.executable).with_name(name)
    found = found if found.is_file() else Path(shutil.which(name) or "")
    if not found.is_file():
        raise Refused(f"{name} is missing", next_step="install the sandbox's packages: pip install promobot-sandbox")
    return found
