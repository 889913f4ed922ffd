"""The pull requests of the bot that are open: what each changes, and which revert takes back what main asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.domain.desired import Change, Desired, Section, changes
from bot.domain.scope import scope_of
from bot.operations.attempts import reported
from bot.operations.proposing import desired_at, read_desired

if TYPE_CHECKING:
    from bot.operations import Say
    from bot.platform import Platform
    from bot.systems.git import Repository
    from bot.systems.github import PullRequest


@dataclass(frozen=True)
class Opened:
    """An open pull request of the bot, as far as it changes what one model has on one path."""

    change: Change
    number: int
    title: str
    is_revert: bool
    of_several: bool = False

    @property
    def said(self) -> str:
        """Its number and title; without the names of the others where it is of several models."""
        return f"#{self.number} {self.title.partition(':')[0] if self.of_several else self.title}"

    def is_of(self, model: str, section: Section) -> bool:
        """Whether it changes what this model has on this path."""
        return (self.change.model, self.change.section) == (model, section)


def open_pull_requests(platform: Platform) -> list[PullRequest]:
    """Return those on the bot's own branches, of every environment."""
    return platform.github.open_pull_requests(prefix="promobot")


def opened(
    environment: str, repository: Repository, pulls: Callable[[], list[PullRequest]], say: Say
) -> list[Opened]:
    """Return the open proposals and reverts of an environment; report a system that does not answer, and go on.

    ``pulls`` returns what is open on the bot's branches, or raises why that is not known.
    """
    found: list[PullRequest] = []
    with reported(say):
        found = pulls()
    return [one for pull in found for one in changed_by(pull, environment, repository, say)]


def open_revert_of(change: Change, pulls: Sequence[Opened]) -> int | None:
    """Return the open pull request that takes back what main asks for with this change; None where there is none.

    One that takes back what main asked for before would be no help: it cannot be merged, or changes nothing.
    """
    return next(
        (
            one.number
            for one in pulls
            if one.is_revert and (one.change.slot, one.change.before) == (change.slot, change.after)
        ),
        None,
    )


def changed_by(pull: PullRequest, environment: str, repository: Repository, say: Say) -> list[Opened]:
    """Return what one open pull request changes in an environment; report a system that does not answer."""
    scope = scope_of(pull.branch)
    if scope is None or scope.environment != environment:
        return []
    is_revert = scope.kind == "way back"
    with reported(say, f"#{pull.number}"):
        return [
            Opened(change, pull.number, pull.title, is_revert=is_revert, of_several=scope.is_many)
            for change in _changes(environment, repository, pull.head)
            if scope.covers(change.model)
        ]
    return []


def _changes(environment: str, repository: Repository, head: str) -> list[Change]:
    """Return what a pull request changes since its branch left main."""
    base = repository.merge_base(repository.head(), repository.fetch(head))
    before = desired_at(repository, environment, base) or Desired(environment=environment)
    return changes(before, read_desired(repository, environment, head))
