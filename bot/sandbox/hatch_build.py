"""How the distribution ``promobot-sandbox`` is built: what it needs, and what of the project it carries."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

CONTENT = (
    *(".github", "manifests/airflow", "pyproject.toml"),
    *("requirements.lock", "requirements-uv.lock", "README.md"),
)
"""The content of the sandbox's repository and of its environments. A clone has it where it is."""


class SameVersion(MetadataHookInterface):
    """Needs what the extra ``sandbox`` of the project needs, and ``promobot`` of exactly its own version.

    Its addresses are the project's, too. In a source distribution ``PKG-INFO`` has all of it already.
    """

    def update(self, metadata: dict[str, Any]) -> None:
        if (Path(self.root) / "PKG-INFO").is_file():
            metadata.setdefault("urls", {})
            return
        project = tomllib.loads((Path(self.root).parents[1] / "pyproject.toml").read_text())["project"]
        metadata["dependencies"] = [
            f"{needed}=={metadata['version']}" if needed.startswith(f"{project['name']}[") else needed
            for needed in project["optional-dependencies"]["sandbox"]
        ]
        metadata["urls"] = project.get("urls", {})


class Carried(BuildHookInterface):  # type: ignore[type-arg]
    """Packs `CONTENT` below ``content``. A source distribution has it there already."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's names
        root = Path(self.root)
        if not (root / "PKG-INFO").is_file():
            build_data["force_include"] |= {str(root.parents[1] / path): f"content/{path}" for path in CONTENT}
