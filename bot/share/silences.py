"""Who did not answer the last look."""

from __future__ import annotations

from bot.share.volume import Part, Volume


class Silences(Part):
    """What looks note. It needs no lease: it decides nothing, and of two looks at once either may stay."""

    def __init__(self, volume: Volume) -> None:
        super().__init__(volume)
        self._replace = volume.replace

    def read(self) -> str | None:
        """Return what the last look noted of those that did not answer it, or None."""
        with self._errors("read who was silent"):
            text = self._read(self.state / "silent.json")
            return text.decode(errors="replace") if text is not None else None

    def note(self, text: str) -> None:
        """Keep who was silent at this look. Of two looks at the same moment either may stay."""
        with self._errors("note who is silent"):
            self._make_folders()
            self._replace(self.state / "silent.json", text)
