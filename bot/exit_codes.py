"""The exit codes of ``promobot``, and of the other programs of this project: scripts and workflows rely on them."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ExitCode"]


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    """Refused or failed; the state is as it was, or was put back."""
    USAGE = 2
    BUG = 3
    """A bug in promobot, with a log to report."""
    UNCONFIRMED = 4
    """Everything holds but Slack's message."""
    INTERRUPTED = 130
