"""Attempts: a step reports an error of the bot, or keeps it as a value, and goes on.

Such steps change nothing that users get: a pull request, a comment, an alias, a note. Only errors that the bot raises
on purpose end an attempt. A bug ends the command, and so does LeaseLost, after which no step may write.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bot.errors import PromobotError
from bot.operations import Say


@dataclass
class Attempt:
    """One block of :func:`attempted`, with the error that ended it."""

    error: PromobotError | None = None

    @property
    def failed(self) -> bool:
        """Whether an error ended the block."""
        return self.error is not None


@contextmanager
def attempted() -> Iterator[Attempt]:
    """Keep an error of the bot that ends the block as ``error`` of what this yields, and go on after the block."""
    attempt = Attempt()
    try:
        yield attempt
    except PromobotError as error:
        attempt.error = error


@contextmanager
def reported(say: Say, what: str = "") -> Iterator[Attempt]:
    """Say an error of the bot that ends the block, behind ``what`` that means; go on after the block."""
    with attempted() as attempt:
        yield attempt
    if attempt.failed:
        say(f"{what}: {attempt.error}" if what else str(attempt.error))
