"""Folders that carry a marker: a store that is not mounted is unavailable, never empty."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bot.domain.marker import MARKER_FILE, Marker
from bot.errors import Rejected, Unavailable
from bot.folders import make_folder, open_to_readers, revalidate, sync_folder

BEGIN = "`promobot doctor --init` marks a store that is new, once; docs/how-to/operations.md says when."


class MarkedFolder:
    """The root of a store. ``in_use`` says whether a root without a marker was used before there were markers."""

    def __init__(self, root: Path, marker: Marker, *, system: str, in_use: Callable[[Path], bool]) -> None:
        self.root, self._marker, self._system, self._in_use = root, marker, system, in_use
        self._seen: tuple[int, int, int] | None = None

    def see(self) -> None:
        """Raise Unavailable where the folder is not there, or is not known to be this store; Rejected for another's.

        One ``stat`` where it was seen before: a mount that goes away, or another one in its place, is noticed.
        """
        try:
            if not self._look() and not self._in_use(self.root):
                raise Unavailable(
                    f"{self.root}: it is not mounted, or was never used; "
                    f"no {MARKER_FILE} and nothing of ours is there",
                    system=self._system,
                    state="Nothing was read or written there.",
                    next_step=f"Mount it and run the same command again. {BEGIN}",
                )
        except OSError as error:
            raise Unavailable(
                f"could not look at {self.root}: {error.strerror or error}",
                system=self._system,
                state="Nothing was read or written there.",
                next_step=f"Mount it and run the same command again. {BEGIN}",
            ) from error

    def begin(self) -> None:
        """Make the folder, and mark it where it has no marker. Call it where a person says that the store is new."""
        try:
            _make(self.root)
            if not self._look():
                self._write()
        except OSError as error:
            raise self._not_marked(error) from error

    def adopt(self) -> None:
        """See that it is there, and mark one that was used before there were markers; for those who may write.

        Who may write below the root and not in it, as the runners for checks may, leaves that to others.
        """
        self.see()
        try:
            if not self._look():
                self._write()
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise self._not_marked(error) from error

    def _not_marked(self, error: OSError) -> Unavailable:
        return Unavailable(f"could not mark {self.root}: {error.strerror or error}", system=self._system)

    def _look(self) -> bool:
        """Say whether there is a marker, which is then ours; raise Rejected where it is another's."""
        path = self.root / MARKER_FILE
        try:
            found = path.stat()
        except FileNotFoundError:
            self._seen = None
            revalidate(path)
            try:
                found = path.stat()
            except FileNotFoundError:
                return False
        seen = (found.st_dev, found.st_ino, found.st_mtime_ns)
        if seen != self._seen:
            said = self._marker.mismatch(path.read_bytes())
            if said:
                raise Rejected(
                    f"{path} says that this is another store: {said}",
                    system=self._system,
                    state="Nothing was read or written there.",
                    next_step="Compare the paths in manifests/environments/ with what is mounted here.",
                )
            self._seen = seen
        return True

    def _write(self) -> None:
        # Created once, also when other processes try: a link never takes an existing name or shows half of a file.
        temporary = self.root / f"{MARKER_FILE}.{secrets.token_hex(4)}"
        try:
            with temporary.open("xb") as file:
                open_to_readers(file.fileno(), self.root)
                file.write(self._marker.to_json().encode())
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(temporary, self.root / MARKER_FILE)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(self.root)


def _make(folder: Path) -> None:
    """Make a folder and those above it that are missing, synced: all that will lie in it hangs on its name."""
    if not folder.is_dir():
        _make(folder.parent)
        make_folder(folder)
