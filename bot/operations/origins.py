"""Where deployments come from: kept beside their records, as soon as GitHub and MLflow say it.

It is asked when users have what they get and the lease is free. So no deployment and no rollback waits for it, and
what could not be asked is asked by the next deployment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bot.domain.desired import Change
from bot.domain.origin import POLICY, Origin
from bot.domain.record import DeploymentRecord
from bot.domain.scope import fingerprint
from bot.errors import NotRegistered
from bot.operations import Say
from bot.operations.attempts import reported
from bot.operations.latest_merges import LatestMerges, checked_in
from bot.records.ledger import Ledger, OriginNote, Proposer

if TYPE_CHECKING:
    from bot.platform import Platform
    from bot.systems.github import PullRequest
    from bot.systems.mlflow import RegisteredVersion

LOOKED_AT = 1_000
"""Of so many of the newest records, those without their origin are looked for."""
DEADLINES = 1
"""Limit for all of it, in multiples of ``request_seconds``; the next deployment looks for the rest."""
_READING = timedelta(minutes=1)
"""A deployment reads main, looks at every server, and only then its changes begin: what is merged in between is the
next one's."""
_BY_THE_SECOND = timedelta(seconds=1)
"""GitHub tells merges by the second."""

LookUp = Callable[[str, int], "RegisteredVersion"]


def note_origins(
    platform: Platform,
    records: Sequence[DeploymentRecord],
    merged: Callable[[], LatestMerges],
    registered: LookUp,
    *,
    say: Say,
) -> dict[str, Origin]:
    """Find where these deployments come from, and keep it; return what was found, by the id of the record.

    ``records`` are all, oldest first; those that have their origin are left alone. Nothing that users get depends on
    it: ``say`` reports what fails, and the next deployment tries again.
    """
    found: dict[str, Origin] = {}
    failing = "where the newest releases come from is not known yet, the next deployment asks again"
    with reported(say, failing):
        lacking = _without_origin(platform.ledger, records)
        until = time.monotonic() + DEADLINES * platform.settings.deadlines.request_seconds
        people: dict[int, Origin] = {}
        for record in lacking:
            if time.monotonic() >= until:
                break
            change = Change(record.environment, record.section, record.model, record.before, record.after)
            pull = merged().that_asked(change, checked_in=checked_in(platform.ledger, change))
            origin = Origin()
            if pull is not None and is_of(pull.merged_at, record, records):
                if pull.number not in people:
                    people[pull.number] = _people_of(platform, pull, [merged().changed(pull), *_alone(change)])
                origin = people[pull.number]
            origin = _registered(origin, record, registered)
            platform.ledger.note_origin(OriginNote(deployment=record.id, at=datetime.now(UTC), origin=origin))
            found[record.id] = origin
    return found


def _without_origin(ledger: Ledger, records: Sequence[DeploymentRecord]) -> list[DeploymentRecord]:
    """Return the newest changes whose origin is still to be found, newest first.

    Who publishes the same again, asked for nothing; and a later step of a rollout comes from where the first does.
    """
    newest = [
        record
        for record in reversed(records[-LOOKED_AT:])
        if record.origin is None and record.before != record.after
        if record.rollout is None or record.rollout.step == 1
    ]
    known = ledger.origins_known() if newest else frozenset()
    return [record for record in newest if record.id not in known]


def is_of(merged_at: datetime | None, record: DeploymentRecord, records: Iterable[DeploymentRecord]) -> bool:
    """Say whether what was merged then is what a deployment brought.

    It was merged before the deployment ended, and after main asked for anything else that was deployed in this place:
    what asked for the same version once, before another one, did not bring it back.
    """
    if merged_at is None or merged_at > record.finished_at + _BY_THE_SECOND:
        return False
    earlier = (one for one in records if one.slot == record.slot and one.id < record.id)
    others = [one.started_at for one in earlier if one.after != record.after]
    slack = _BY_THE_SECOND if record.way_back else _READING
    return not others or merged_at >= others[-1] - slack


def _alone(change: Change) -> list[list[Change]]:
    """Return what a proposal of this change alone says, and one that takes the shadow's entry out, too.

    Where neighbours were merged since, a pull request seems to change more than it proposed.
    """
    return [[change], [change, Change(change.environment, "shadow", change.model, change.after, None)]]


def _people_of(platform: Platform, pull: PullRequest, said: Iterable[Sequence[Change]]) -> Origin:
    """Ask GitHub who approved and merged a pull request, which its lists do not say.

    The records know who asked the bot by what the proposal ``said``, of which the first that they know counts.
    """
    approvals = [
        one
        for one in platform.github.approvals(pull.number)
        if one.at and pull.merged_at and one.at <= pull.merged_at
    ]
    known = (platform.ledger.proposers(fingerprint(changes)) for changes in said)
    named = sorted({name for one in next(filter(None, known), []) if (name := _name(one))})
    merged_by = platform.github.pull_request(pull.number).merged_by
    return Origin(
        pull_request=pull.number,
        url=pull.url,
        opened_at=pull.opened_at,
        proposed_by=", ".join(named) or pull.author,
        approved_at=max((one.at for one in approvals if one.at), default=None),
        approved_by=", ".join(sorted({one.by for one in approvals})),
        merged_at=pull.merged_at,
        merged_by=merged_by,
        by_policy=_is_by_policy(platform, pull.number, merged_by),
    )


def _is_by_policy(platform: Platform, number: int, merged_by: str) -> bool:
    """Say whether a policy had GitHub merge it: it was asked for until the end, and the bot merged it."""
    notes = platform.ledger.policy_notes(number)
    if not notes or notes[-1].what == "taken back":
        return False
    return notes[-1].what == "merged" or merged_by == platform.github.login()


def _name(one: Proposer) -> str:
    """Return whom people know as who asked; empty where nobody did."""
    return POLICY if one.policy else one.name


def _registered(origin: Origin, record: DeploymentRecord, registered: LookUp) -> Origin:
    if record.after is None:
        return origin
    try:
        at = registered(record.model, record.after.version).registered_at
    except NotRegistered as error:  # deleted since, so nobody will know
        return origin.model_copy(update={"unknown": f"when it was registered: {error}"})
    return origin.model_copy(update={"registered_at": at})
