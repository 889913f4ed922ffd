"""Recorded requests in a folder, of one machine or of a share that gateways mount."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.errors import Unavailable
from bot.folders import revalidate


class Directory:
    """A folder that is there already: recording makes no mount point of its own."""

    def __init__(self, path: Path) -> None:
        self._root, self._system = path, f"recordings ({path})"

    def add(self, name: str, content: bytes) -> None:
        """Write a file whole: under another name first, then renamed."""
        path = self._root / name
        with self._errors(f"write {name}"):
            self._root.stat()
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            try:
                beside.write_bytes(content)
                beside.rename(path)
            finally:
                beside.unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        """Return the names of what lies directly in a folder, sorted; hidden ones are being written."""
        path = self._root / folder
        with self._errors(f"list {folder}"):
            self._root.stat()
            revalidate(path / "any")
            if not path.is_dir():
                return []
            return sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        with self._errors(f"read {name}"):
            return (self._root / name).read_bytes()

    def remove(self, folder: str) -> None:
        """Remove a folder with all that is in it."""
        with self._errors(f"remove {folder}"):
            if (self._root / folder).exists():
                shutil.rmtree(self._root / folder)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Unavailable(f"could not {doing}: {error.strerror}", system=self._system) from error
