"""The one way by which anything changes desired state: a pull request that edits one model's entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bot.domain import desired
from bot.domain.desired import Change, Desired, Entry, Section
from bot.domain.names import SHADOW_SUFFIX
from bot.errors import InvalidInput, Refused, Rejected, Unavailable
from bot.settings import Environment

if TYPE_CHECKING:
    from bot.systems.git import Repository
    from bot.systems.github import GitHubRepository, PullRequest

AUTHOR, EMAIL = "promobot", "promobot@users.noreply.github.com"
_TRIES = 5


@dataclass(frozen=True)
class Edit:
    """One entry of one environment, as it shall be; ``entry`` None removes it.

    ``why`` must say why what answers leaves service: without it no deployment would take it out.
    """

    section: Section
    model: str
    entry: Entry | None
    why: str = ""


@dataclass(frozen=True)
class Proposed:
    """The pull request, and what was done to it."""

    action: Literal["opened", "updated", "unchanged"]
    pull_request: PullRequest


def proposal_branch(environment: str, model: str) -> str:
    """Return the branch of the one open proposal for a model in an environment."""
    return f"promobot/{environment}/{model}"


def revert_branch(environment: str, model: str, section: Section = "models") -> str:
    """Return the branch of the one open way back for a model in an environment.

    The way back of its shadow is another change, which must not take this one's place.
    """
    return f"promobot-revert/{environment}/{model}{SHADOW_SUFFIX if section == 'shadow' else ''}"


def retire_branch(environment: str, model: str) -> str:
    """Return the branch of the one open pull request that takes a model out of service in an environment."""
    return f"promobot-retire/{environment}/{model}"


def read_desired(repository: Repository, environment: str, commit: str) -> Desired:
    """Return desired state at a fetched commit; raise InvalidInput where the file is missing.

    A missing file is not an empty one: read as one, it would take every model out of service.
    """
    found = desired_at(repository, environment, commit)
    if found is None:
        raise _missing(repository, environment, commit)
    return found


def desired_at(repository: Repository, environment: str, commit: str) -> Desired | None:
    """Return desired state at a fetched commit, or None where the file is missing.

    For comparing two commits. What converges something uses :func:`read_desired`.
    """
    path = desired.path_of(environment)
    text = repository.read(commit, path)
    return None if text is None else desired.parse(text, file=path, environment=environment)


def _missing(repository: Repository, environment: str, commit: str) -> InvalidInput:
    path = desired.path_of(environment)
    return InvalidInput(
        f"is missing at {commit[:12]} in {repository.url}, so it is not known what {environment} shall serve",
        file=path,
        next_step=f"Put the file back at the root of the repository: `git log --all -- {path}` shows where it went. "
        f"For a new environment commit it with the one line `environment: {environment}`.",
    )


def open_proposal(github: GitHubRepository, branch: str) -> PullRequest | None:
    """Return the open pull request from this branch, or None."""
    found = github.open_pull_requests(prefix=branch)
    return next((pull for pull in found if pull.branch == branch), None)


def put_proposal(
    settings: Environment,
    repository: Repository,
    github: GitHubRepository,
    *,
    edits: list[Edit],
    branch: str,
    title: str,
    body: str,
) -> Proposed | None:
    """Open the pull request from ``branch``, or update it, so that it makes exactly these edits on main.

    Returns None where main says so already. Adopts what exists: the same edits on a main whose file did not move
    since leave everything as it is.
    """
    from bot.systems.git import Moved

    path = desired.path_of(settings.environment)
    for _ in range(_TRIES):
        head = repository.head()
        before = repository.read(head, path)
        if before is None:
            raise _missing(repository, settings.environment, head)
        after = _edited(before, path, edits)
        if after == before:
            return None
        there = repository.branch(branch)
        existing = open_proposal(github, branch)
        if there is not None and existing is not None:
            tip = repository.fetch(there)
            parent = repository.parent(tip)
            # The same change on the same text: pushing it again would only start the checks again.
            if repository.read(tip, path) == after and repository.read(parent, path) == before:
                if (existing.title, existing.body) == (title, body):
                    return Proposed("unchanged", existing)
                return Proposed("updated", github.update_pull_request(existing.number, title=title, body=body))
        commit = repository.commit(head, {path: after}, message=f"{title}\n", author=AUTHOR, email=EMAIL)
        try:
            repository.push(commit, branch, expected=there)
        except Moved:
            continue
        if existing is not None:
            return Proposed("updated", github.update_pull_request(existing.number, title=title, body=body))
        try:
            return Proposed("opened", github.open_pull_request(branch=branch, title=title, body=body))
        except Rejected:
            # Somebody else may have opened it between our look and our request, and pushed before that: look again
            # at both, lest the words be ours and the branch theirs.
            if open_proposal(github, branch) is None:
                raise
    raise Unavailable(
        f"{branch} moved {_TRIES} times while it was being pushed",
        system=f"Git ({settings.github.repository})",
        next_step="Somebody else writes to this branch; run the command again when they are done.",
    )


def withdraw_revert(
    settings: Environment, repository: Repository, github: GitHubRepository, change: Change, *, why: str
) -> str | None:
    """Close the revert of this change that the bot opened by itself; return its address, or None where none is open.

    Raises Refused where a person changed it since: then it is theirs. One that a person asked for is left alone, too.
    """
    from bot.words import proposal as words

    pull = open_proposal(github, revert_branch(settings.environment, change.model, change.section))
    if pull is None or words.BY_THE_BOT not in pull.body:
        return None
    if not pull.title.startswith(words.revert_title(change, None).rpartition(":")[0] + ":"):
        return None  # it goes back from another version
    if not _is_as_opened(settings, repository, pull.head, change):
        raise Refused(
            f"{pull.url} was changed by somebody since the bot opened it",
            state="It stays open.",
            next_step="Close it yourself if nobody wants it any more.",
        )
    github.close(pull.number)
    github.comment(pull.number, why)
    return pull.url


def _is_as_opened(settings: Environment, repository: Repository, head: str, change: Change) -> bool:
    """Whether this commit edits the one entry, and nothing else."""
    path = desired.path_of(settings.environment)
    tip = repository.fetch(head)
    parent = repository.parent(tip)
    before, after = repository.read(parent, path), repository.read(tip, path)
    if before is None or after is None or repository.changed_paths(parent, tip) != [path]:
        return False
    wanted = desired.parse(after, file=path)
    entry, why = wanted.section(change.section).get(change.model), wanted.why_retired(change.section, change.model)
    return after == _edited(before, path, [Edit(change.section, change.model, entry, why)])


def _edited(text: str, path: str, edits: list[Edit]) -> str:
    for edit in edits:
        if edit.section == "models" and edit.entry is None:
            text = desired.with_retirement(text, file=path, model=edit.model, reason=edit.why)
        else:
            text = desired.with_entry(text, file=path, section=edit.section, model=edit.model, entry=edit.entry)
    return text
