"""Tell a merged pull request how it ended: one comment for each environment, which each deployment of it updates."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from bot import platform as connect
from bot.domain.desired import Change
from bot.domain.hold import Held
from bot.domain.record import DeploymentRecord
from bot.errors import PromobotError
from bot.operations.deployment.run import Run
from bot.operations.merged import Merged, is_among
from bot.render import ending as words
from bot.render import proposal as proposal_words

if TYPE_CHECKING:
    from bot.systems.git import Repository
    from bot.systems.github import GitHubRepository, PullRequest

TOLD_AT_MOST = 20
"""Of a run of more changes than this the others are not looked for: each takes Git, and GitHub limits writing."""
DEADLINES = 2
"""How many times ``request_seconds`` all of it may take: who deploys next waits for us."""
Tell = Callable[[Run, Sequence[DeploymentRecord], Sequence[Held]], None]


def tell_pull_requests(
    run: Run, records: Sequence[DeploymentRecord], held: Sequence[Held], *, repository: Repository
) -> None:
    """Write on each merged pull request what became of all that it asked for.

    It changes nothing that users get, so faults of GitHub and Git are said and raise nothing. What no pull request
    asked for, as after an edit on main, is told by Slack and the job alone.
    """
    # What was published again was asked for by nobody.
    ended = [_change(record) for record in records if record.before != record.after]
    told = [*(one.change for one in held), *ended]
    if not told:
        return
    until = time.monotonic() + DEADLINES * run.settings.deadlines.request_seconds
    done = 0
    try:
        github = connect.github(run.settings)
        merged = Merged(repository, run.settings.environment, github.merged_pull_requests())
        asked: dict[int, PullRequest] = {}
        for change in told[:TOLD_AT_MOST]:
            if time.monotonic() < until and (pull := merged.that_asked(change, checked_in=_checked_in(run, change))):
                asked[pull.number] = pull
            done += 1
        for pull in asked.values():
            _tell(run, github, pull, merged.changed(pull), [*run.history, *records], held)
    except PromobotError as error:
        run.say(words.could_not_tell(error))
        return
    if time.monotonic() >= until or done < len(told):
        run.say(words.not_all_told())


def _tell(
    run: Run,
    github: GitHubRepository,
    pull: PullRequest,
    changed: Iterable[Change],
    records: Sequence[DeploymentRecord],
    held: Sequence[Held],
) -> None:
    """Write the comment anew from all that the pull request changed, also what this run left as it was."""
    waiting = [one for one in held if is_among(one.change, changed)]
    ended = [
        newest
        for change in changed
        if not is_among(change, (one.change for one in waiting))
        for newest in [_newest(records, change, pull)]
        if newest is not None
    ]
    since = [Held(one.change, one.hold.no_earlier_than(pull.merged_at)) for one in waiting]
    run.lease.check()
    environment = run.settings.environment
    url = github.put_comment(pull.number, words.comment(environment, ended, since), marker=words.marker(environment))
    _head(github, pull, environment, ended, since, url)


def _head(
    github: GitHubRepository,
    pull: PullRequest,
    environment: str,
    records: list[DeploymentRecord],
    held: list[Held],
    url: str,
) -> None:
    """Have the text of a pull request that the bot opened begin with how it ended.

    Else it would go on beginning with "every check passed; review and merge".
    """
    if not (held or records):
        return
    headline = words.headline(environment, records, held)
    body = proposal_words.with_verdict(pull.body, headline, words.details_are_in(url))
    if body != pull.body:
        github.set_body(pull.number, body)


def _newest(records: Sequence[DeploymentRecord], change: Change, pull: PullRequest) -> DeploymentRecord | None:
    """Return the newest deployment of a change since its merge."""
    since = [r for r in records if pull.merged_at is None or r.finished_at >= pull.merged_at]
    return next((record for record in reversed(since) if is_among(change, [_change(record)])), None)


def _change(record: DeploymentRecord) -> Change:
    return Change(record.environment, record.section, record.model, record.before, record.after)


def _checked_in(run: Run, change: Change) -> int | None:
    """Return the pull request in which the change was checked: that of a person has any branch."""
    if change.after is None:
        return None
    evidence = run.ledger.evidence(change.model, change.section, change.after)
    return evidence.pull_request if evidence is not None else None
