"""The texts of pull requests of rollbacks that are still to be opened."""

from __future__ import annotations

from bot.folders import revalidate, sync_folder
from bot.redaction import redact
from bot.share.fence import Fenced
from bot.share.volume import Part


class Reverts(Part):
    """Rollbacks that wait for GitHub."""

    def read(self) -> dict[str, str]:
        """Return the rollbacks whose pull request is still to be opened, by name, oldest turn first."""
        with self._errors("read the ways back"):
            folder = self.state / "reverts"
            revalidate(folder)
            texts = {p.stem: self._read(p) for p in sorted(folder.glob("*.json"))} if folder.is_dir() else {}
            # Another process may have opened a pull request since we listed them, and removed its note.
            return {name: text.decode(errors="replace") for name, text in texts.items() if text is not None}

    def drop(self, name: str) -> None:
        """Forget a rollback whose pull request is open, or is not needed.

        This needs no lease: its opener may say so, also when a later deployment has begun.
        """
        with self._errors("forget a way back"):
            (self.state / "reverts" / f"{name}.json").unlink(missing_ok=True)
            sync_folder(self.state / "reverts")


class HeldReverts(Fenced, Reverts):
    """The notes, for the holder of the lease."""

    def keep(self, name: str, text: str) -> None:
        """Keep, synced, what the revert pull request of a rollback will say."""
        with self._errors("note the way back"):
            self._make_folders()
            self._replace(self.state / "reverts" / f"{name}.json", redact(text))
