"""Tell a merged pull request how it ended: one comment for each environment, which each deployment of it updates."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bot.domain.desired import Change
from bot.domain.ending import Ending, ending_of
from bot.domain.hold import Held
from bot.domain.plan import serves
from bot.domain.record import DeploymentRecord
from bot.domain.release import Slot
from bot.domain.scope import scope_behind
from bot.operations.attempts import reported
from bot.operations.deployment.run import Run
from bot.operations.latest_merges import LatestMerges, checked_in, is_among
from bot.render import ending as words
from bot.render import proposal as proposal_words

if TYPE_CHECKING:
    from bot.systems.github import GitHubRepository, PullRequest

TOLD_AT_MOST = 20
"""Of a run of more changes than this the others are not looked for: each takes Git, and GitHub limits writing."""
DEADLINES = 2
"""Limit for all of it, in multiples of ``request_seconds``: the next deployment waits for us."""
Tell = Callable[[Run, Sequence[DeploymentRecord], Sequence[Held]], None]


def tell_pull_requests(
    run: Run,
    records: Sequence[DeploymentRecord],
    held: Sequence[Held],
    *,
    latest: Callable[[], LatestMerges],
) -> None:
    """Write on each merged pull request what became of all that it asked for.

    It changes nothing that users get, so it reports faults of GitHub and Git and does not raise them. A change that
    no pull request asked for, such as an edit on main, appears only in Slack and in the job. ``latest`` asks GitHub
    for the merged ones.
    """
    # Nobody asked for a version to be published again.
    ended = [_change(record) for record in records if record.before != record.after]
    told = [*(one.change for one in held), *ended]
    until = time.monotonic() + DEADLINES * run.settings.deadlines.request_seconds
    done = 0
    failing = "a pull request could not be told how it ended, `promobot history` tells it"
    with reported(run.say, failing) as attempt:
        github = run.platform.github
        merged = latest()
        asked = {pull.number: pull for pull in _without_deployment(run, merged)}
        for change in told[:TOLD_AT_MOST]:
            if time.monotonic() < until and (
                pull := merged.that_asked(change, checked_in=checked_in(run.ledger, change))
            ):
                asked[pull.number] = pull
            done += 1
        for pull in _with_what_they_undid(merged, list(asked.values())):
            _tell(run, github, pull, merged, [*run.history, *records], held)
    if not attempt.failed and (time.monotonic() >= until or done < len(told)):
        run.say("not every pull request has a comment on how it ended; `promobot history` has all of them")


def _without_deployment(run: Run, merged: LatestMerges) -> list[PullRequest]:
    """Return the pull requests of the bot after whose merge there was nothing to deploy, and that do not say so yet.

    A revert after a rollback that was taken at once is one: users were back before its merge.
    """
    environment, found = run.settings.environment, list["PullRequest"]()
    seen: set[tuple[Slot, ...]] = set()
    for pull in merged.pulls:
        scope = scope_behind(pull.branch)
        if scope is None or scope.environment != environment:
            continue
        is_told = words.marker(environment) in pull.body or proposal_words.VERDICT_ENDS not in pull.body
        if scope.is_many:
            # Its name does not tell its models, so the file is read, and only while it is still to be told.
            slots = () if is_told else tuple(dict.fromkeys(change.slot for change in merged.changed(pull)))
        else:
            slots = tuple(Slot.of(environment, scope.model, section) for section in scope.sections)
        if not slots or slots in seen:
            continue
        seen.add(slots)  # an older one of the model says nothing of now
        of_model = [record for slot in slots for record in run.of(slot)]
        was_deployed = any(pull.merged_at is None or one.finished_at >= pull.merged_at for one in of_model)
        if not is_told and not was_deployed:
            found.append(pull)
    return found[:TOLD_AT_MOST]


def _with_what_they_undid(merged: LatestMerges, pulls: list[PullRequest]) -> list[PullRequest]:
    """Return also the pull requests whose release these took back: what they say is over."""
    found = {pull.number: pull for pull in pulls}
    for pull in pulls:
        scope = scope_behind(pull.branch)
        if scope is not None and scope.kind == "way back":
            for change in merged.changed(pull):
                undone = merged.that_asked(replace(change, before=None, after=change.before))
                if undone is not None:
                    found[undone.number] = undone
    return list(found.values())


def _tell(
    run: Run,
    github: GitHubRepository,
    pull: PullRequest,
    merged: LatestMerges,
    records: Sequence[DeploymentRecord],
    held: Sequence[Held],
) -> None:
    """Write the comment anew from all that the pull request changed, also what this run left as it was."""
    ends = [end for change in merged.changed(pull) for end in [_end(run, change, pull, merged, records, held)] if end]
    if not ends:
        return
    environment = run.settings.environment
    comment = words.comment(environment, ends)
    url = run.github().put_comment(pull.number, comment, marker=words.marker(environment))
    # Else the text of one that the bot opened would go on beginning with "every check passed; review and merge".
    body = proposal_words.with_verdict(pull.body, words.headline(environment, ends), words.details_are_in(url))
    if body != pull.body:
        github.set_body(pull.number, body)


def _end(
    run: Run,
    change: Change,
    pull: PullRequest,
    merged: LatestMerges,
    records: Sequence[DeploymentRecord],
    held: Sequence[Held],
) -> Ending | None:
    next_merge = merged.next_merge(pull, change)
    # Only the last merge asked for the changes that are held now.
    refused = next((one for one in held if is_among(one.change, [change]) and next_merge is None), None)
    hold = None
    if refused is not None:
        # Who went on answering is in the way of it now: main, where it was merged, may have said another version.
        change, hold = refused.change, refused.hold.no_earlier_than(pull.merged_at)
    end = ending_of(change, records, hold=hold, merged_at=pull.merged_at, next_merge=next_merge)
    if end is None and next_merge is None:
        target = run.routes().target(change.slot)
        end = Ending(change, merged_at=pull.merged_at) if serves(target, change.after) else None
    return end


def _change(record: DeploymentRecord) -> Change:
    return Change(record.environment, record.section, record.model, record.before, record.after, bundle=record.bundle)
