"""Messages that Slack has not taken yet."""

from __future__ import annotations

from bot.folders import revalidate, sync_folder
from bot.redaction import redact
from bot.share.fence import Fenced
from bot.share.volume import Part


class Outbox(Part):
    """What waits to be delivered."""

    def read(self) -> dict[str, str]:
        """Return the undelivered messages by name, oldest name first."""
        with self._errors("read the outbox"):
            folder = self.state / "outbox"
            revalidate(folder)
            return {p.stem: p.read_text() for p in sorted(folder.glob("*.json"))} if folder.is_dir() else {}


class HeldOutbox(Fenced, Outbox):
    """The outbox, for the holder of the lease."""

    def put(self, name: str, text: str) -> None:
        """Keep a message that could not be delivered."""
        with self._errors("write the outbox"):
            self._make_folders()
            self._replace(self.state / "outbox" / f"{name}.json", redact(text))

    def drop(self, name: str) -> None:
        """Forget a message that was delivered."""
        with self._errors("write the outbox"):
            (self.state / "outbox" / f"{name}.json").unlink(missing_ok=True)
            sync_folder(self.state / "outbox")
