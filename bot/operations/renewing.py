"""Open pull requests of the bot that conflict with main, because neighbours were merged: written anew on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.domain import desired
from bot.domain.desired import Change, Desired, changes
from bot.domain.proposal import Edit, edited
from bot.domain.scope import scope_of
from bot.operations import Say
from bot.operations.attempts import reported
from bot.operations.proposing import commits_of_people, parts_of, renew
from bot.platform import Platform
from bot.render import renewal as words

if TYPE_CHECKING:
    from bot.systems.git import Repository
    from bot.systems.github import PullRequest


def renew_proposals(platform: Platform, *, say: Say) -> None:
    """Write each open pull request of the bot that conflicts with main anew on it, if only its neighbours changed.

    It proposes what it proposed, so what its checks found holds, and they carry it over. One that a person pushed to,
    or whose own model main says something else of, stays as it is, and a comment says what to do. Nothing that users
    get depends on it: ``say`` reports what fails, and the next deployment tries again.
    """
    with reported(say, "the open pull requests could not be looked at, the next deployment does") as look:
        repository = platform.repository()
        pulls = [pull for pull in platform.github.open_pull_requests(prefix="promobot") if _is_here(pull, platform)]
        main = repository.head() if pulls else ""
    if look.failed:
        return
    for pull in pulls:
        with reported(say, f"#{pull.number} could not be renewed, the next deployment tries again"):
            _look_at(platform, repository, pull, main, say)


def _is_here(pull: PullRequest, platform: Platform) -> bool:
    scope = scope_of(pull.branch)
    return scope is not None and scope.environment == platform.environment


def _look_at(platform: Platform, repository: Repository, pull: PullRequest, main: str, say: Say) -> None:
    github, environment = platform.github, platform.environment
    base = repository.merge_base(main, repository.fetch(pull.head))
    path = desired.path_of(environment)
    before, now, there = (repository.read(commit, path) for commit in (base, main, pull.head))
    if before is None or now is None or there is None or before == now or repository.merges(before, now, there):
        return
    with reported(say, f"#{pull.number} conflicts with main and is left as it is") as reading:
        old, new, proposed = (
            desired.parse(text, file=path, environment=environment) for text in (before, now, there)
        )
    if reading.failed:
        return
    asked = changes(old, proposed)
    parts = parts_of(pull.branch, platform.settings.bundles)
    theirs = commits_of_people(repository, pull.branch, main=main, tip=pull.head, ours=github.author(), parts=parts)
    if theirs or (moved := _moved(asked, old, new)):
        why = words.has_commits(theirs[0].id, theirs[0].author) if theirs else words.main_moved(moved, environment)
        say(f"#{pull.number} conflicts with main and is left as it is: {why}")
        others = [] if theirs else _others(asked, moved)
        github.put_comment(pull.number, words.left_alone(why, others), marker=words.MARKER)
        return
    text = edited(now, [_edit(change) for change in asked], file=path)
    if text == now:
        say(f"#{pull.number} asks for nothing that main does not say already: close it")
        return
    renew(repository, github, pull, {path: text}, main=main, say=say)
    say(f"#{pull.number} conflicted with main and is written anew on it; what its checks found is carried over")


def _moved(asked: list[Change], before: Desired, now: Desired) -> list[Change]:
    """Return what became of the pull request's own models on main since it parted from it."""
    own = {change.model for change in asked}
    return [change for change in changes(before, now) if change.model in own]


def _others(asked: list[Change], moved: list[Change]) -> list[Change]:
    """Return what a pull request of several models asks for of those of which main says nothing else."""
    gone = {change.model for change in moved}
    return [change for change in asked if change.after is not None and change.model not in gone]


def _edit(change: Change) -> Edit:
    return Edit(change.section, change.model, change.after, change.retired)
