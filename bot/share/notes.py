"""Where on a share which bytes lie: a note for each large file that was published, by its sha256.

A note is a hint. It is not synced, it may be old, and a reader hashes what it finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from bot.domain.package import Package, PackageFile
from bot.folders import make_folder, open_to_readers, revalidate
from bot.settings import Share
from bot.share.files import age_seconds

WORTH_BYTES = 2**20
"""Smaller files are as quickly fetched as found."""
_KEPT_SECONDS = 90 * 24 * 3600
_LONGEST_PATH = 4096


class Notes:
    """Finds bytes on an environment's share, and on those of its neighbours that this machine can read."""

    def __init__(self, share: Share, neighbours: Sequence[Share]) -> None:
        self._places = [(Path(one.state) / "bytes", Path(one.model_repository)) for one in (share, *neighbours)]

    def look_anew(self) -> None:
        """See what other machines noted until now."""
        for notes, _ in self._places:
            with suppress(OSError):
                revalidate(notes / "any")

    def places_of(self, file: PackageFile) -> Iterator[Path]:
        """Yield where the file's bytes should be."""
        if file.size >= WORTH_BYTES:
            for notes, root in self._places:
                with suppress(OSError, ValueError):  # none here, or none that can be read: there is the registry
                    with (notes / file.sha256).open("rb") as note:
                        text = note.read(_LONGEST_PATH).decode()
                    path = PurePosixPath(text)
                    if path.parts and not path.is_absolute() and ".." not in path.parts and "\0" not in text:
                        yield root / path

    def write(self, package: Package, folder: PurePosixPath) -> None:
        """Note that ``folder``, below the model repository, holds the package's files."""
        notes = self._places[0][0]
        with suppress(OSError):  # the version is published; the next one fetches what it could have found here
            make_folder(notes)
            for file in package.version_files:
                if file.size >= WORTH_BYTES:
                    note = notes / file.sha256
                    note.unlink(missing_ok=True)  # another user may have written it
                    with note.open("x") as opened:
                        open_to_readers(opened.fileno(), notes)
                        opened.write(str(folder / file.path))

    def forget_old(self) -> None:
        """Drop old notes; a version that is published again gets a new note."""
        notes = self._places[0][0]
        for note in notes.iterdir() if notes.is_dir() else ():
            if age_seconds(note) > _KEPT_SECONDS:
                note.unlink(missing_ok=True)
