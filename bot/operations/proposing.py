"""The one way by which anything changes desired state: a pull request that edits one model's entry."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bot.domain import desired
from bot.domain.bundle import Bundles, bundle_of
from bot.domain.bundled import spoken_for
from bot.domain.desired import Change, Desired
from bot.domain.proposal import Edit, edited
from bot.domain.scope import beside, fingerprint, revert_branch, scope_of
from bot.errors import InvalidInput, PromobotError, Refused, Rejected, Unavailable
from bot.operations import Say
from bot.records.ledger import NOBODY, Ledger, Proposer

if TYPE_CHECKING:
    from bot.systems.git import Commit, Repository
    from bot.systems.github import GitHubRepository, PullRequest

SIGNING = "promobot-signing"
"""Below it are the branches on which GitHub makes signed commits."""
AUTHOR, EMAIL = "promobot", "promobot@users.noreply.github.com"
_TRIES = 5


@dataclass(frozen=True)
class Proposed:
    """The pull request, and what was done to it."""

    action: Literal["opened", "updated", "unchanged"]
    pull_request: PullRequest


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


def readable_at(repository: Repository, environment: str, commit: str) -> Desired | None:
    """Return the same as :func:`desired_at`, and None also where nobody can read the file: it asks for nothing."""
    try:
        return desired_at(repository, environment, commit)
    except InvalidInput:
        return None


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


@dataclass(frozen=True)
class Asking:
    """The person who asks for a proposal, and whether it may drop other people's commits from its branch.

    ``note`` is a paragraph of the pull request's text that says who asks; empty where its author does.
    """

    by: Proposer = NOBODY
    replace: bool = False
    note: str = ""


ASKED_BY_NOBODY = Asking()
"""For proposals that the bot makes by itself."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A pull request as it shall be: exactly these edits on main, from ``branch``, with this title and text.

    ``keeps`` says of an open pull request with these edits whether its title and text stay.
    """

    branch: str
    edits: Sequence[Edit]
    title: str
    body: str
    asking: Asking = ASKED_BY_NOBODY
    keeps: Callable[[PullRequest], bool] = lambda _: False


@dataclass(frozen=True)
class _Branch:
    """The bot's branch before it is written: its commit, its open pull request, and the commits of people on it."""

    tip: str | None
    pull: PullRequest | None
    theirs: list[Commit]


def put_proposal(
    repository: Repository, github: GitHubRepository, ledger: Ledger, draft: Draft, *, say: Say
) -> Proposed | None:
    """Open the pull request, or update it, so that it is as drafted; return None where main says so already.

    The environment is that of ``ledger``. Adopts what exists: the same edits on a main whose file did not move since
    leave everything as it is. Raises Refused where a person's commit is on the branch, unless ``draft.asking`` says
    that it may be replaced: then a comment names what was dropped.
    """
    from bot.render import identity
    from bot.systems.git import BranchMoved

    for _ in range(_TRIES):
        try:
            proposed = _put(repository, github, ledger, draft, say)
        except BranchMoved:
            continue
        if proposed is not None and proposed.action == "opened" and proposed.pull_request.has_no_checks:
            say(identity.no_checks(proposed.pull_request.number))
        return proposed
    raise Unavailable(
        f"{draft.branch} moved {_TRIES} times while it was being pushed",
        system=f"Git ({github.name})",
        next_step="Somebody else writes to this branch; run the command again when they are done.",
    )


def _put(repository: Repository, github: GitHubRepository, ledger: Ledger, draft: Draft, say: Say) -> Proposed | None:
    """Make one attempt of :func:`put_proposal`. Raises BranchMoved where somebody was faster."""
    environment, path = ledger.environment, desired.path_of(ledger.environment)
    head = repository.head()
    before = repository.read(head, path)
    if before is None:
        raise _missing(repository, environment, head)
    after = edited(before, draft.edits, file=path)
    if after == before:
        return None
    parts = {edit.model for edit in draft.edits}
    branch = _look_at(repository, github, draft.branch, main=head, parts=parts)
    if branch.theirs and not draft.asking.replace:
        raise _would_be_lost(draft.branch, branch.theirs)
    _remember(ledger, before, after, draft.asking.by, say)
    if branch.pull and not branch.theirs and _is_there(repository, branch.tip, path, before, after):
        return _reworded(github, branch.pull, draft)
    with _commit(repository, github, draft, head, {path: after}, say) as commit:
        repository.push(commit, draft.branch, expected=branch.tip)
    proposed = _opened(github, draft) if branch.pull is None else _updated(github, branch.pull, draft)
    if branch.theirs:
        github.comment(proposed.pull_request.number, _dropped(branch.theirs))
    return proposed


def renew(
    repository: Repository,
    github: GitHubRepository,
    pull: PullRequest,
    files: Mapping[str, str],
    *,
    main: str,
    say: Say,
) -> None:
    """Write the branch of an open pull request anew on ``main``, with these texts; its title and text stay.

    Its head must be the bot's alone. Raises Unavailable where somebody pushed to it since it was looked at.
    """
    from bot.render import identity
    from bot.systems.git import BranchMoved

    draft = Draft(branch=pull.branch, edits=(), title=pull.title, body=pull.body)
    try:
        with _commit(repository, github, draft, main, files, say) as commit:
            repository.push(commit, pull.branch, expected=pull.head)
    except BranchMoved as error:
        raise Unavailable(
            f"{pull.branch} moved while it was being written anew",
            system=f"Git ({github.name})",
            next_step="The next deployment looks at it again.",
        ) from error
    if pull.has_no_checks:
        say(identity.no_checks(pull.number))


def _look_at(
    repository: Repository, github: GitHubRepository, branch: str, *, main: str, parts: Collection[str]
) -> _Branch:
    there = repository.branch(branch)
    pull = open_proposal(github, branch)
    if there is None:
        return _Branch(None, pull, [])
    tip = repository.fetch(there)
    theirs = commits_of_people(repository, branch, main=main, tip=tip, ours=github.author(), parts=parts)
    if (
        theirs
        and pull is None
        and any((one.branch, one.head) == (branch, tip) for one in github.merged_pull_requests())
    ):
        # Main has all of it. A squash leaves the branch beside main, where nobody deletes it.
        theirs = []
    return _Branch(there, pull, theirs)


def _is_there(repository: Repository, tip: str | None, path: str, before: str, after: str) -> bool:
    """Whether a branch makes the same change on the same text: pushing it again would only start the checks again."""
    if tip is None:
        return False
    parent = repository.parent(tip)
    return repository.read(tip, path) == after and repository.read(parent, path) == before


def _reworded(github: GitHubRepository, pull: PullRequest, draft: Draft) -> Proposed:
    """Give a pull request that makes these edits already the title and the text of the draft."""
    from bot.render.proposal import below_verdict

    says_so = (pull.title, below_verdict(pull.body)) == (draft.title, below_verdict(draft.body))
    return Proposed("unchanged", pull) if says_so or draft.keeps(pull) else _updated(github, pull, draft)


def _updated(github: GitHubRepository, pull: PullRequest, draft: Draft) -> Proposed:
    return Proposed("updated", github.update_pull_request(pull.number, title=draft.title, body=draft.body))


def _opened(github: GitHubRepository, draft: Draft) -> Proposed:
    """Open the pull request of a branch that is pushed. Raises BranchMoved where somebody else opened it first."""
    from bot.systems.git import BranchMoved

    try:
        opened = github.open_pull_request(branch=draft.branch, title=draft.title, body=draft.body)
    except Rejected as error:
        if open_proposal(github, draft.branch) is None:
            raise
        # They may have pushed, too: look again at both, lest the words be ours and the branch theirs.
        raise BranchMoved(draft.branch) from error
    return Proposed("opened", opened)


def withdraw_revert(repository: Repository, github: GitHubRepository, change: Change, *, why: str) -> str | None:
    """Close the revert of this change that the bot opened by itself; return its address, or None where none is open.

    Raises Refused where a person changed it since: then it is theirs. One that a person asked for is left alone, too.
    """
    from bot.render import proposal as words

    pull = open_proposal(github, revert_branch(spoken_for(change)))
    if pull is None or words.BY_THE_BOT not in pull.body:
        return None
    if not pull.title.startswith(words.revert_title(change, None).rpartition(":")[0] + ":"):
        return None  # it goes back from another version
    tip = repository.fetch(pull.head)
    parts = change.bundle.models if change.bundle else ()
    if commits_of_people(repository, pull.branch, main=repository.head(), tip=tip, ours=github.author(), parts=parts):
        raise Refused(
            f"{pull.url} was changed by somebody since the bot opened it",
            state="It stays open.",
            next_step="Close it yourself if nobody wants it.",
        )
    github.close(pull.number)
    github.comment(pull.number, why)
    return pull.url


@contextmanager
def _commit(
    repository: Repository,
    github: GitHubRepository,
    draft: Draft,
    head: str,
    files: Mapping[str, str],
    say: Say,
) -> Iterator[str]:
    """Make the commit on ``head`` of main that the branch gets; yield its id.

    Raises BranchMoved where somebody was faster. Where signatures are asked for, GitHub makes it, on a branch of its
    own that is gone afterwards: GitHub only ever appends to a branch, and a pull request whose branch was set to main
    first would be closed.
    """
    from bot.systems.git import BRANCH_TRAILER, BranchMoved

    branch, title = draft.branch, draft.title
    if not github.signs_on(branch):
        author, email = github.author() or (AUTHOR, EMAIL)
        yield repository.commit(head, files, message=f"{title}\n", author=author, email=email)
        return
    staged = f"{SIGNING}/{branch}"
    repository.push(head, staged, expected=repository.branch(staged))
    message = f"{title}\n\n{BRANCH_TRAILER}: {branch}\n"
    made = github.commit_on(staged, expected=head, message=message, files=files)
    if made is None:
        raise BranchMoved(staged)
    try:
        yield repository.fetch(made)
    finally:
        try:
            repository.delete(staged, expected=made)
        except (BranchMoved, PromobotError) as error:
            # The next commit for this branch takes it over.
            say(f"the branch {staged} is left: {error}")


def commits_of_people(
    repository: Repository,
    branch: str,
    *,
    main: str,
    tip: str,
    ours: tuple[str, str] | None,
    parts: Collection[str] = (),
) -> list[Commit]:
    """Return the commits on a branch of the bot that would be lost if the bot wrote it anew, newest first.

    Those are commits under another name than the bot's. And the newest one, whatever it calls itself, where the
    branch says anything that the bot does not write: a name is easily forged, its content is compared to the byte.
    A merge of main into the branch loses nothing. ``main`` and ``tip`` are fetched. ``ours`` is name and address of
    the bot's commits where it is an App.
    """
    base = repository.merge_base(main, tip)
    commits = repository.commits(base, tip)
    found = [commit for commit in commits if len(commit.parents) < 2 and not _is_the_bots(commit, branch, ours)]
    if not found and commits and what_is_beside(repository, branch, base=base, head=tip, parts=parts):
        return commits[:1]
    return found


def parts_of(branch: str, bundles: Bundles) -> Sequence[str]:
    """Return the parts of the bundle that a branch of the bot is about; nothing where it is about a model alone."""
    scope = scope_of(branch)
    return bundles.get(bundle_of(scope.model, bundles), ()) if scope else ()


def what_is_beside(
    repository: Repository, branch: str, *, base: str, head: str, parts: Collection[str] = ()
) -> list[str]:
    """Return what a branch of the bot changes besides what it proposes; empty also for a branch of a person.

    ``parts`` are the models of the bundle that it is about, if it is.

    ``base`` is where it parted from main; both are fetched. A file with a mistake is named as such.
    """
    scope = scope_of(branch)
    if scope is None:
        return []
    paths = repository.changed_paths(base, head)
    try:
        before, after = (repository.read(commit, scope.file) for commit in (base, head))
        return beside(scope, paths, before, after, parts)
    except InvalidInput as error:
        return [*(path for path in paths if path != scope.file), str(error)]


def _is_the_bots(commit: Commit, branch: str, ours: tuple[str, str] | None) -> bool:
    author, committer = (commit.author, commit.author_email), (commit.committer, commit.committer_email)
    if author == committer and author in ((AUTHOR, EMAIL), ours):
        return True
    # GitHub commits in its own name for its API and its pages alike: only the trailer tells them apart.
    is_githubs = committer[0].startswith("GitHub") and committer[1].startswith("noreply@")
    return is_githubs and commit.of_branch == branch


def _remember(ledger: Ledger, before: str, after: str, by: Proposer, say: Say) -> None:
    """Write who asked for this; where that cannot be written, only the approval from Slack has to do without."""
    path = desired.path_of(ledger.environment)
    changes = desired.changes(desired.parse(before, file=path), desired.parse(after, file=path))
    try:
        ledger.add_proposer(fingerprint(changes), by)
    except PromobotError as error:
        say(f"who asked for this is not recorded ({error}); approve it on GitHub, or propose it again")


def _would_be_lost(branch: str, commits: list[Commit]) -> Refused:
    from bot.render import proposal as words

    kept = f"kept/{branch}"
    return Refused(
        _commits_of_people(branch, [words.commit(c.id, c.author, c.author_email, c.subject) for c in commits]),
        state="The branch is as it was, and nothing was proposed.",
        next_step=f"Keep them: `git fetch origin {branch} && git push origin FETCH_HEAD:refs/heads/{kept}`. "
        "Then run the command again with --replace, which drops them from the branch, or delete the branch first.",
    )


def _dropped(commits: list[Commit]) -> str:
    from bot.render import proposal as words

    return words.dropped([words.commit(c.id, c.author, c.author_email, c.subject) for c in commits])


def _commits_of_people(branch: str, commits: Sequence[str]) -> str:
    """A person's commit is on the branch that the bot would write anew."""
    many = f"{len(commits)} commits that the bot did not make" if len(commits) > 1 else "a commit that is a person's"
    return f"{branch} has {many}: {_listed(commits)}"


def _listed(commits: Sequence[str]) -> str:
    return "; ".join(commits[:5]) + (f"; and {len(commits) - 5} more" if len(commits) > 5 else "")
