"""Tell a merged pull request how it ended: one comment, which each deployment of it updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bot.domain.desired import Entry, Section
from bot.domain.hold import Held
from bot.domain.record import DeploymentRecord
from bot.domain.scope import asks_for
from bot.errors import InvalidInput, PromobotError, Superseded
from bot.verbs import connect
from bot.verbs.deployment.run import Run
from bot.verbs.proposing import desired_at
from bot.words import ending as words
from bot.words import proposal as proposal_words

if TYPE_CHECKING:
    from bot.systems.git import Repository
    from bot.systems.github import GitHubRepository, PullRequest

TOLD_AT_MOST = 20
"""Of a run of more pull requests than this, the others are not told: GitHub limits how much an App may write."""
Tell = Callable[[Run, Sequence[DeploymentRecord], Sequence[Held]], None]


def tell_pull_requests(
    run: Run, records: Sequence[DeploymentRecord], held: Sequence[Held], *, repository: Repository
) -> None:
    """Write on each merged pull request what became of what it asked for.

    It changes nothing that users get, so GitHub's faults are said and raise nothing. Whoever merged nothing that can
    be found, as after an edit on main, is told by Slack and the job alone.
    """
    if not (records or held):
        return
    try:
        github = connect.github(run.settings)
        merged = github.merged_pull_requests()
        found: dict[int, tuple[list[DeploymentRecord], list[Held]]] = {}
        said: dict[int, Callable[[Section, str], Entry | None]] = {}

        def pull_of(section: Section, model: str, entry: Entry | None) -> int | None:
            number = _checked_in(run, section, model, entry)
            for pull in merged:
                if pull.number != number and not asks_for(pull.branch, run.settings.environment, model, section):
                    continue
                if pull.number not in said:
                    said[pull.number] = _entries(run, repository, pull)
                if said[pull.number](section, model) == entry:
                    return pull.number
            return None

        for record in records:
            # What was published again was asked for by nobody.
            if record.before != record.after and (number := pull_of(record.section, record.model, record.after)):
                found.setdefault(number, ([], []))[0].append(record)
        for one in held:
            if number := pull_of(one.change.section, one.change.model, one.change.after):
                found.setdefault(number, ([], []))[1].append(one)
        for number, (ended, waiting) in list(found.items())[:TOLD_AT_MOST]:
            run.turn.check()
            waiting = _since(waiting, merged, number)
            url = github.put_comment(number, words.comment(ended, waiting), marker=words.MARKER)
            _head(github, next(pull for pull in merged if pull.number == number), ended, waiting, url)
        if len(found) > TOLD_AT_MOST:
            run.say(words.not_all_told(TOLD_AT_MOST, len(found)))
    except Superseded:
        raise
    except PromobotError as error:
        run.say(words.could_not_tell(error))


def _head(
    github: GitHubRepository, pull: PullRequest, records: list[DeploymentRecord], held: list[Held], url: str
) -> None:
    """Have the text of a pull request that the bot opened begin with how it ended, where that is not as it asked.

    Else it would go on beginning with "every check passed", above a version that users do not get.
    """
    is_as_asked = not held and all(record.verified for record in records)
    if is_as_asked and words.MARKER not in pull.body:
        return
    body = proposal_words.with_verdict(pull.body, words.headline(records, held), words.details_are_in(url))
    if body != pull.body:
        github.set_body(pull.number, body)


def _since(held: list[Held], merged: list[PullRequest], number: int) -> list[Held]:
    at = next(pull.merged_at for pull in merged if pull.number == number)
    return [Held(one.change, one.hold.no_earlier_than(at)) for one in held]


def _checked_in(run: Run, section: Section, model: str, entry: Entry | None) -> int | None:
    """Return the pull request in which the entry was checked: that of a person has any branch."""
    evidence = run.ledger.evidence(model, section, entry) if entry is not None else None
    return evidence.pull_request if evidence is not None else None


def _entries(run: Run, repository: Repository, pull: PullRequest) -> Callable[[Section, str], Entry | None]:
    try:
        desired = desired_at(repository, run.settings.environment, repository.fetch(pull.head))
    except InvalidInput:
        desired = None  # a file that nobody can read asked for nothing
    return lambda section, model: desired.section(section).get(model) if desired is not None else None
