"""Which merged pull request asked for what main says: by what it changed, not by what stands at its head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bot.domain.desired import Change, Desired, changes
from bot.domain.scope import asks_for
from bot.operations.proposing import readable_at

if TYPE_CHECKING:
    from datetime import datetime

    from bot.records.ledger import Ledger
    from bot.systems.git import Repository
    from bot.systems.github import PullRequest


class LatestMerges:
    """The pull requests that were merged last, and what each changed in one environment. Each is read once."""

    def __init__(self, repository: Repository, environment: str, pulls: Sequence[PullRequest]) -> None:
        """``pulls``: the latest merge first."""
        self._repository, self._environment, self.pulls = repository, environment, pulls
        self._changed: dict[int, list[Change]] = {}

    def that_asked(self, change: Change, *, checked_in: int | None = None) -> PullRequest | None:
        """Return the latest one that made main say this; None where none of them did.

        Those of the bot's branches, and GitHub's reverts of them, are looked at. A person's has any branch:
        ``checked_in`` is the number of the one in which the change was checked.
        """
        for pull in self.pulls:
            named = asks_for(pull.branch, change.slot)
            if (named or pull.number == checked_in) and is_among(change, self.changed(pull)):
                return pull
        return None

    def next_merge(self, pull: PullRequest, change: Change) -> datetime | None:
        """Return when the next one of the bot's was merged that changed this model on this path, or None."""
        later = [
            one.merged_at
            for one in self.pulls
            if one.merged_at is not None and pull.merged_at is not None and one.merged_at > pull.merged_at
            if asks_for(one.branch, change.slot)
            if any(c.slot == change.slot for c in self.changed(one))
        ]
        return min(later, default=None)

    def changed(self, pull: PullRequest) -> list[Change]:
        """Return what one changed in the environment."""
        if pull.number not in self._changed:
            before, after = (self._desired(commit) for commit in (pull.base, pull.head))
            self._changed[pull.number] = changes(before, after) if before and after else []
        return self._changed[pull.number]

    def _desired(self, commit: str) -> Desired | None:
        return readable_at(self._repository, self._environment, self._repository.fetch(commit))


def checked_in(ledger: Ledger, change: Change) -> int | None:
    """Return the pull request in which the change was checked: that of a person has any branch."""
    if change.release is None:
        return None
    evidence = ledger.evidence(change.release, change.bundle)
    return evidence.pull_request if evidence is not None else None


def is_among(change: Change, listed: Iterable[Change]) -> bool:
    """Whether one of these makes the same entry, or its absence, of the same model on the same path."""
    return any((c.slot, c.after) == (change.slot, change.after) for c in listed)
