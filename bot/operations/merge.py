"""Merging a proposal for a person who may: exactly the commit that this person saw."""

from __future__ import annotations

from dataclasses import dataclass

from bot.exit_codes import ExitCode
from bot.platform import Platform


@dataclass(frozen=True)
class Merged:
    """The pull request; with ``queued`` it waits in GitHub's merge queue."""

    number: int
    url: str
    queued: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """0 merged, or queued."""
        return ExitCode.DONE


def merge(platform: Platform, *, number: int, head: str) -> Merged:
    """Merge a pull request at ``head``, or have it join the merge queue; one that is merged already stays so.

    Raises Rejected where the head has moved on, or a rule of the repository forbids it.
    """
    pull = platform.github.pull_request(number)
    if pull.merged:
        return Merged(number, pull.url)
    commit = platform.github.merge(number, head=head, title=f"{pull.title} (#{number})")
    return Merged(number, pull.url, queued=commit is None)
