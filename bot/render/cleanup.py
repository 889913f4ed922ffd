"""The result of ``promobot cleanup``."""

from __future__ import annotations

from bot.domain.retention import CleanedUp

UNLOADED, REMOVED = "unloaded", "removed"


def cleaned_up(done: CleanedUp) -> str:
    """Return what a cleanup did, or would do."""
    would = "would be " if done.dry_run else ""
    lines = [f"{would}{UNLOADED}: {line}" for line in done.unloaded]
    lines += [f"{would}{REMOVED}: {line}" for line in done.removed]
    lines += [f"left: {line}" for line in done.left]
    return "\n".join(lines) or f"{done.environment}: there is nothing to clean up."
