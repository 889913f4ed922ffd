"""The journal of a deployment under way: one for each turn, and that of the latest counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bot.folders import revalidate, sync_folder
from bot.share.fence import Fence, Fenced
from bot.share.volume import Part, Volume


class Journal(Part):
    """The deployment under way, or the one that was cut off."""

    def read(self) -> str | None:
        """Return the journal of a deployment under way, or None.

        Each turn has a journal of its own, and the one of the latest turn counts: what a deployer writes that was
        overtaken and wakes up late says nothing.
        """
        with self._errors("read the journal"):
            latest = max(self._journals(), default=None)
            return latest[2].read_text() if latest and not latest[1] else None

    def _journals(self) -> Iterator[tuple[int, bool, Path]]:
        """Yield each journal's turn, whether it is closed, and where it is; the one that counts is the largest."""
        folder = self.state / "journal"
        revalidate(folder)
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.stem.isdecimal():
                yield int(path.stem), path.suffix == ".closed", path


class HeldJournal(Fenced, Journal):
    """The journal of one turn, for the holder of the lease."""

    def __init__(self, volume: Volume, fence: Fence, token: int) -> None:
        super().__init__(volume, fence)
        self._token = token

    def write(self, text: str) -> None:
        """Open or replace the journal of this turn, synced."""
        with self._errors("write the journal"):
            self._make_folders()
            path = self.state / "journal" / f"{self._token:08d}.json"
            self._replace(path, text)
            # Where this turn has closed one already, as it does after it finished what another one had begun.
            path.with_suffix(".closed").unlink(missing_ok=True)

    def close(self) -> None:
        """Close what is open: the deployment is over, and its record is written. Needs no space on the disk."""
        with self._errors("close the journal"):
            found = sorted(self._journals())
            _, closed, path = found[-1]
            if not closed:
                path.rename(path.with_name(f"{self._token:08d}.closed"))
            for _, _, older in found[:-1]:
                older.unlink(missing_ok=True)
            sync_folder(self.state / "journal")
            for prepared in (self.state / "staging").glob("routes-*.json"):
                prepared.unlink(missing_ok=True)
