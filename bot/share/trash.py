"""Removed versions go out of the way by one rename, and are deleted afterwards."""

from __future__ import annotations

import secrets
from pathlib import Path

from bot.errors import Unavailable
from bot.folders import make_writable, revalidate, sync_folder
from bot.share.checked import forget_old
from bot.share.fence import Fence, Fenced
from bot.share.files import age_seconds, delete
from bot.share.notes import Notes
from bot.share.staging import ABANDONED_SECONDS, may_be_resumed
from bot.share.trial import is_trial
from bot.share.trials import forget_trials
from bot.share.volume import Volume


def discard(volume: Volume, path: Path) -> Path:
    """Rename what lies there into the trash; return where it lies now. A link is taken away, never followed."""
    trash = volume.state / "trash" / secrets.token_hex(8)
    with volume.errors(f"remove {path}"):
        volume.make_folders()
        revalidate(path)
        if path.is_symlink():
            path.unlink()
        elif path.exists():
            # A folder that changes its parent must be writable itself.
            make_writable(path)
            try:
                path.rename(trash)
            except FileNotFoundError:
                # Somebody else removed it at the same time, or the answer to our rename was lost on NFS.
                if path.exists():
                    raise
            # Before anything in it is deleted: else a crash could bring half of it back under its old name.
            sync_folder(trash.parent)
            sync_folder(path.parent)
    return trash


class Trash(Fenced):
    """Removed versions, and half copied ones of killed processes; for a process that may write."""

    def __init__(self, volume: Volume, fence: Fence, notes: Notes) -> None:
        super().__init__(volume, fence)
        self._notes = notes

    def sweep(self, *, alone: bool) -> int:
        """Empty the trash, and delete the half copied files of killed processes; return how many were deleted.

        Unless no other process can be at work here (``alone``), it deletes only what has lain there for a day. The
        rest of a large package stays for a day in any case: the next publish resumes from it. If something must stay
        because a process has it open, it deletes everything else and then raises Unavailable.
        """
        count, held = 0, 0
        for name in ("trash", "staging"):
            with self._errors(f"empty {self.state / name}"):
                folder = self.state / name
                for path in sorted(folder.iterdir()) if folder.is_dir() else []:
                    if is_trial(path.name):
                        continue
                    if (alone and not may_be_resumed(path)) or age_seconds(path) > ABANDONED_SECONDS:
                        if delete(path):
                            count += 1
                        else:
                            held += 1
        with self._errors("forget old notes"):
            self._notes.forget_old()
        with self._errors("forget what checks had at hand"):
            count += forget_old(self.state / "checked")
        with self._errors("remove what killed trials left"):
            count += forget_trials(self.root, self.state)
        if held:
            raise Unavailable(
                f"{held} of {held + count} removed versions or packages could not be deleted yet: somebody on this "
                "machine has a file of them open",
                system=self._system,
                state="They are out of Triton's root; they only take up space.",
                next_step="Nothing: the next cleanup deletes them.",
            )
        return count
