"""The record store in a directory: objects that are created once and never changed or overwritten."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from bot.domain.marker import RECORD_FOLDERS, Marker, Purpose
from bot.domain.names import check_record_key
from bot.errors import Refused, Rejected, Unavailable
from bot.folders import make_folder, open_to_readers, revalidate, sync_folder
from bot.marked import MarkedFolder

TRIAL = ".promobot-doctor-"
"""How the objects of a trial begin; no reader lists hidden files."""
_ABANDONED_SECONDS = 600.0
_FOR_DEPLOYMENTS = ("deployments", "confirmations", "origins", "quarantine")
"""Where a deployment writes, each below it in a folder of its environment."""


class RecordStore:
    """Records in a directory. Keys are relative POSIX paths; each is written whole or not at all."""

    def __init__(self, directory: str | Path, *, below: Path | None = None, purpose: Purpose = "records") -> None:
        """``below`` is the marked root where ``directory`` is a folder in it; else ``directory`` has the marker."""
        self._root = Path(directory)
        self._system = f"record store ({directory})"
        self._marked = MarkedFolder(Path(below or directory), Marker(purpose), system=self._system, in_use=_was_used)

    def begin(self) -> None:
        """Make the directory and mark it. Call it where a person says that the record store is new."""
        self._marked.begin()

    def see(self) -> None:
        """Raise Unavailable where the store is not mounted, or was never begun; Rejected where it is another's."""
        self._marked.see()

    def put(self, key: str, text: str) -> None:
        """Create the object; raise Refused where there is one of that key already."""
        path = self._path(key)
        self._marked.adopt()
        try:
            # Never the root, or what is above it: where it is gone, so is the mount.
            for folder in reversed(path.parents):
                if folder != self._marked.root and folder.is_relative_to(self._marked.root):
                    make_folder(folder, synced=False)  # all above the object are synced below
            self._create(path, text)
        except FileExistsError as error:
            raise Refused(f"{key} is already in the {self._system}; records are never overwritten") from error
        except OSError as error:
            raise Unavailable(f"could not write {key}: {error.strerror}", system=self._system) from error

    def get(self, key: str) -> str | None:
        """Return the object's text, or None where there is none."""
        path = self._path(key)
        self._marked.see()
        try:
            revalidate(path)
            return path.read_bytes().decode()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UnicodeDecodeError as error:
            raise Rejected(f"{key} is not UTF-8", system=self._system) from error
        except OSError as error:
            raise Unavailable(f"could not read {key}: {error.strerror}", system=self._system) from error

    def keys(self, prefix: str) -> list[str]:
        """Return all keys below the folder ``prefix``, sorted."""
        folder = self._path(prefix)
        self._marked.see()

        def failed(error: OSError) -> None:
            # A folder that cannot be listed is not an empty one: what is in quarantine may lie in it.
            if not isinstance(error, FileNotFoundError):
                raise error

        try:
            revalidate(folder)
            inside = [Path(at, name) for at, _, names in os.walk(folder, onerror=failed) for name in names]
            found = [path for path in inside if path.is_file() and not path.name.startswith(".")]
        except OSError as error:
            raise Unavailable(f"could not list {prefix}: {error.strerror}", system=self._system) from error
        return sorted(path.relative_to(self._root).as_posix() for path in found)

    def get_all(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the texts of these listed objects by key, without those that are gone since."""
        found = ((key, self.get(key)) for key in keys)
        return {key: text for key, text in found if text is not None}

    def check(self, environment: str) -> str:
        """Create an object, read it back, see that nothing overwrites it, and remove it; say what is there.

        So in each folder of the environment that is there already, since another user may have made it. No reader
        sees these objects. Raises Rejected where the store does not hold what it must, Unavailable where it fails.
        """
        self._marked.adopt()
        for folder in self._written_to(environment):
            self._try(folder)
        return f"{len(self.keys('deployments'))} deployment records; existing ones cannot be overwritten"

    def _written_to(self, environment: str) -> list[Path]:
        """Return the folders in which a deployment would create a file or a folder now."""
        above = [self._root / name for name in _FOR_DEPLOYMENTS]
        ours = [folder / environment for folder in above]
        found = [here if here.is_dir() else folder for folder, here in zip(above, ours, strict=True)]
        return sorted({folder if folder.is_dir() else self._root for folder in found})

    def _try(self, folder: Path) -> None:
        path = folder / f"{TRIAL}{secrets.token_hex(8)}"
        try:
            # Also what was being made under a name of its own, as each object is.
            for left in (*folder.glob(f"{TRIAL}*"), *folder.glob(f".{TRIAL}*")):
                if left.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                    left.unlink(missing_ok=True)
            self._create(path, "tried\n")
            if path.read_text() != "tried\n":
                raise Rejected(f"{path} does not read as it was written", system=self._system)
            try:
                self._create(path, "overwritten\n")
            except FileExistsError:
                return
            raise Rejected(
                f"{path} was overwritten, and records must never be",
                system=self._system,
                next_step="Keep records in a bucket, or where a link to a name that is taken is refused.",
            )
        except OSError as error:
            raise Unavailable(
                f"could not create and read a file in {folder}: {error.strerror}",
                system=self._system,
                state="No record was touched.",
                next_step="Give the bot's user the right to create files there.",
            ) from error
        finally:
            with suppress(OSError):  # where it was made it can be removed; whatever is left goes with the next trial
                path.unlink()

    def _create(self, path: Path, text: str) -> None:
        """Create a file, whole and synced; raise FileExistsError where there is one."""
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        try:
            with temporary.open("xb") as file:
                open_to_readers(file.fileno(), path.parent)
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            # A link is the one way to create a name that must not exist yet with content that is already whole.
            os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        for folder in path.parents:
            sync_folder(folder)  # those above may be new, too
            if folder == self._marked.root:
                break

    def _path(self, key: str) -> Path:
        try:
            return self._root.joinpath(*check_record_key(key).split("/"))
        except ValueError as error:
            raise Rejected(str(error), system=self._system) from error


def _was_used(root: Path) -> bool:
    """Whether a store without a marker is one from before there were markers."""
    return root.is_dir() and any((root / name).is_dir() for name in RECORD_FOLDERS)
