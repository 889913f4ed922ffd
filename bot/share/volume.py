"""The two folders of one environment on the share, and how anything in them is read and replaced."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.domain.marker import MARKER_FILE, Marker, Purpose
from bot.errors import Unavailable
from bot.folders import make_folder, revalidate, sync_folder
from bot.marked import MarkedFolder
from bot.settings import Share
from bot.share.files import write

STATE_FOLDERS = ("staging", "packages", "routes", "journal", "turns", "outbox", "reverts", "trash")


class Volume:
    """One environment's folders. Errors are Unavailable (the file system) or Rejected (its content)."""

    def __init__(self, share: Share, *, environment: str = "", staging: bool = False) -> None:
        """``environment`` is whose share it must be; empty where that is not known, or where several share it."""
        self.root, self.state = Path(share.model_repository), Path(share.state)
        self.system = f"model repository ({share.model_repository})"
        purposes: tuple[Purpose, Purpose] = ("staging state", "staging models") if staging else ("state", "models")
        of_state, of_models = (Marker(purpose, environment) for purpose in purposes)
        # Triton's root is marked first, so a state with a marker has a root with one.
        self._folders = (
            MarkedFolder(self.root, of_models, system=self.system, in_use=self._is_of_before),
            MarkedFolder(self.state, of_state, system=self.system, in_use=_was_used),
        )

    def begin(self) -> None:
        """Make both folders and mark them as this share. Call it where a person says that the share is new."""
        for folder in self._folders:
            folder.begin()

    def _is_of_before(self, root: Path) -> bool:
        """Whether a root without a marker belongs to a state from before there were markers: it may be empty."""
        state = self.state.stat()
        return (
            not (self.state / MARKER_FILE).exists() and _was_used(self.state) and root.stat().st_dev == state.st_dev
        )

    def read(self, path: Path) -> bytes | None:
        """Return what a file below the state holds now; None where there is none."""
        revalidate(path)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def replace(self, path: Path, text: str, *, last_look: Callable[[], object] = lambda: None) -> None:
        """Put a file in place, synced: written beside and renamed; ``last_look`` may still raise before that."""
        temporary = self.state / "staging" / f"{path.name}.{secrets.token_hex(4)}"
        try:
            write(temporary, text.encode())
            last_look()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)

    def make_folders(self) -> None:
        """Make what is missing below the state; both folders must be marked as this share."""
        for folder in self._folders:
            folder.adopt()
        for name in STATE_FOLDERS:
            make_folder(self.state / name)

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Raise what the file system says as Unavailable; first see that this is the share that it must be."""
        for folder in self._folders:
            folder.see()
        try:
            yield
        except OSError as error:
            raise Unavailable(
                f"could not {doing}: {error.strerror or error}" + (f" ({error.filename})" if error.filename else ""),
                system=self.system,
                state="The staged files are dropped; this step did not change published versions.",
            ) from error


def _was_used(state: Path) -> bool:
    """Whether a state without a marker is one from before there were markers: somebody took a turn there."""
    revalidate(state / "turns" / "any")
    turns = state / "turns"
    return (state / "routes.json").is_file() or (turns.is_dir() and any(turns.iterdir()))


class Part:
    """One part of the share, for those who read."""

    def __init__(self, volume: Volume) -> None:
        self.root, self.state, self._system = volume.root, volume.state, volume.system
        self._errors, self._read, self._make_folders = volume.errors, volume.read, volume.make_folders
