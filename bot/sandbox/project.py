"""Where the project's own files are: in a clone all around this package, else packed into its distribution."""

from __future__ import annotations

from pathlib import Path

CODE = Path(__file__).resolve().parents[2]
"""The folder with the package ``bot``: a clone, or ``site-packages``."""
IS_CLONE = (CODE / "pyproject.toml").is_file()
FILES = CODE if IS_CLONE else Path(__file__).resolve().with_name("content")
"""The folder with workflow files, manifests and locks, by their paths in a clone."""
