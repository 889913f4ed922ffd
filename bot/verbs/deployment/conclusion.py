"""What follows when it is clear what users get: alias, quarantine, the revert, Slack, and the record."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from bot.domain.desired import Change, Desired, Entry
from bot.domain.message import Message
from bot.domain.names import SHADOW_SUFFIX
from bot.domain.plan import in_service, serves, target_of
from bot.domain.promotion import thread_of
from bot.domain.record import (
    Criterion,
    DeploymentRecord,
    failed_as_before,
    known_entries,
    outcome_of,
    undoes,
    verified_entries,
)
from bot.domain.routes import Target
from bot.errors import PromobotError, Superseded
from bot.verbs import connect
from bot.verbs.deployment.item import Item
from bot.verbs.deployment.run import Run
from bot.verbs.proposing import Edit, put_proposal, revert_branch
from bot.words import deployment as words
from bot.words import identity as identity_words
from bot.words import proposal as proposal_words


def conclude(run: Run, items: list[Item]) -> list[DeploymentRecord]:
    """Alias, quarantine, the revert, Slack and the record, in this order: the record tells of all of them."""
    changes = [item.change for item in items]
    known = known_entries(run.history) | {e.digest: e for c in changes for e in (c.before, c.after) if e}
    current = run.routes()
    served = in_service(current, known)
    return [
        _conclude(run, item, target_of(current.route(item.change.model), item.change.section), served)
        for item in items
    ]


def make_git_follow(run: Run, change: Change, *, lost: str = "") -> str:
    """Open the revert pull request for a change that is not in service, or find it; return its address.

    ``lost`` says how the bytes that were merged are not to be had any more, where that is why.
    """
    run.turn.check()
    verified = verified_entries(run.history, model=change.model, section=change.section)
    back = change.before or next((entry for _, entry in verified), None)
    try:
        with connect.repository(run.settings) as repository:
            proposed = put_proposal(
                run.settings,
                repository,
                connect.github(run.settings),
                edits=[Edit(change.section, change.model, back)],
                branch=revert_branch(run.settings.environment, change.model, change.section),
                title=proposal_words.revert_title(change, back),
                body=proposal_words.revert_body(change, back, reason=lost or _reason(run, change), lost=bool(lost)),
            )
    except PromobotError as error:
        # What users get is right already; the next run tries again to make Git say so, too.
        run.say(words.could_not_revert(change, error))
        return ""
    if proposed is not None and proposed.action == "opened" and proposed.pull_request.has_no_checks:
        run.say(identity_words.no_checks(proposed.pull_request.number))
    return proposed.pull_request.url if proposed else ""


def flush_outbox(run: Run) -> None:
    """Deliver what Slack did not take before; what it still does not take stays."""
    for name, text in run.systems.share.outbox().items():
        try:
            connect.slack(run.settings).deliver(Message.from_json(text), may_still=run.turn.check)
        except Superseded:
            raise
        except PromobotError as error:
            run.say(words.still_undelivered(name, error))
            return
        run.ledger.confirm(name)
        run.systems.share.drop_from_outbox(name)
        run.say(words.delivered_late(name))


def _conclude(run: Run, item: Item, serving: Target | None, served: Desired) -> DeploymentRecord:
    change, revert_url = item.change, ""
    if item.cut_off or serves(serving, change.after):
        # Also to what was there before: the run that was cut off may have come as far as here.
        _point_alias(run, change, serving)
    if serves(serving, change.after):
        if change.before is not None and undoes(run.history, change):
            _quarantine(run, change, change.before, words.was_rolled_back(change))
    elif (item.to_blame or item.lost) and change.after is not None and not run.goes_back(change):
        if item.to_blame:
            _quarantine(run, change, change.after, item.problem)
            item.quarantined = True
        revert_url = make_git_follow(run, change, lost=item.problem if item.lost else "")
    announced = _record(run, item, served, delivered=True)
    if known := failed_as_before(run.history, announced):
        run.say(words.failed_as_before(known))
        return known
    message = words.message(announced, revert_url=revert_url)
    if run.settings.slack.may:
        # Where promotions have a message each, it is told of in that one's thread; what went wrong also to all.
        digest = change.after.digest if change.after else ""
        thread = thread_of(change.environment, change.section, change.model, digest)
        broadcast = announced.outcome in ("put back", "failed", "incomplete")
        message = replace(message, thread=thread, broadcast=broadcast)
    try:
        timestamp = connect.slack(run.settings).deliver(message, may_still=run.turn.check)
        item.sees("slack_delivered", f"read back, ts {timestamp}")
    except Superseded:
        raise
    except PromobotError as error:
        run.turn.check()
        run.systems.share.put_in_outbox(item.id, message.to_json())
        item.sees("slack_delivered", f"in the outbox: {error}", holds=False)
    record = _record(run, item, served, delivered=False)
    run.turn.check()
    run.ledger.add_deployment(record)
    run.say(words.concluded(record, revert_url=revert_url))
    return record


def _record(run: Run, item: Item, served: Desired, *, delivered: bool) -> DeploymentRecord:
    criteria = list(item.criteria)
    if delivered:
        # As the message must say it: if it is read at all, it was delivered.
        criteria.append(Criterion(name="slack_delivered", holds=True, at=datetime.now(UTC), proof="this message"))
    return DeploymentRecord(
        id=item.id,
        environment=run.settings.environment,
        section=item.change.section,
        model=item.change.model,
        before=item.change.before,
        after=item.change.after,
        commit=run.commit,
        started_at=item.started_at,
        finished_at=datetime.now(UTC),
        outcome="incomplete" if item.incomplete else outcome_of(criteria, switched=item.switched),
        in_service=served,
        criteria=tuple(criteria),
        steps=tuple(item.steps),
        problem=item.problem,
        way_back=undoes(run.history, item.change),
        reason=item.reason,
        quarantined=item.quarantined,
    )


def _reason(run: Run, change: Change) -> str:
    event = run.ledger.quarantined().get(change.after.digest) if change.after else None
    return event.reason if event else ""


def _quarantine(run: Run, change: Change, entry: Entry, reason: str) -> None:
    run.turn.check()
    run.ledger.put_in_quarantine(
        model=change.model, version=entry.version, digest=entry.digest, reason=reason, by="promobot deploy"
    )


def _point_alias(run: Run, change: Change, serving: Target | None) -> None:
    alias = run.settings.environment + (SHADOW_SUFFIX if change.section == "shadow" else "")
    version = serving.version if serving else None
    run.turn.check()
    try:
        run.registry.set_alias(change.model, alias, version)
    except PromobotError as error:
        # The alias is a projection of Git for people who look at MLflow; it decides nothing.
        run.say(words.could_not_alias(alias, error))
