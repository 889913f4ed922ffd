"""What follows when it is clear what users get: alias, quarantine, the revert, Slack, and the record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bot.domain.bundled import blamed, entries_of, place_of, spoken_for
from bot.domain.desired import Change, Desired, Entry
from bot.domain.message import Message
from bot.domain.origin import Origin
from bot.domain.plan import in_service, serves
from bot.domain.promotion import thread_of
from bot.domain.proposal import Edit
from bot.domain.record import (
    Criterion,
    DeploymentRecord,
    failed_as_before,
    known_entries,
    last_try,
    run_of,
    undoes,
    verified_entries,
)
from bot.domain.release import Release
from bot.domain.retirement import last_left
from bot.domain.routes import RouteTable, Target
from bot.domain.scope import revert_branch
from bot.domain.stage import CutOff, Fault, Switched, fault, git_must_follow, outcome, problem_of, should_quarantine
from bot.domain.way_back import WayBack
from bot.operations.attempts import attempted, reported
from bot.operations.deployment.item import Item
from bot.operations.deployment.run import Run
from bot.operations.following import read_ways_back
from bot.operations.proposing import Draft, put_proposal, withdraw_revert
from bot.render import deployment as words
from bot.render import proposal as proposal_words

TOLD_APART = 20
"""A run of more deployments than this tells of all of them in one message.

Slack takes one message a second in a channel, and asks apps to read one fifty times a minute; and nobody reads a
thousand messages. What went wrong is named in that one, too.
"""


def conclude(run: Run, items: list[Item]) -> list[DeploymentRecord]:
    """Alias, quarantine, the revert, Slack and the record, in this order: the record tells of all of them."""
    items = [_as_recorded(run, item) for item in items]
    changes = [item.change for item in items]
    own = {(c.model, e.version, e.digest): e for c in changes for e in (c.before, c.after) if e}
    known = {**known_entries(run.history), **own}
    current = run.routes()
    served = in_service(current, known)
    records: dict[str, DeploymentRecord] = {}
    for group, of_group in _groups(run, items).items():
        before = [record for record in run.history if run_of(record.id, record.environment) == group]
        together = len(of_group) + len(before) > TOLD_APART
        for batch in [of_group] if together else _apart(of_group):
            _point_aliases(run, batch, current)
            judged = [_judge(run, item, current, speaks=_speaks(item, batch)) for item in batch]
            reverts = {one.item.id: one.revert_url for one in judged}
            telling = [one.item for one in judged if not _is_known(run, one.item, served, records)]
            if together and telling:
                told = [*before, *(_record(run, item, served, delivered=True) for item in telling)]
                telling = _tell(run, telling, words.bulletin(group, told, revert_urls=reverts), name=group)
            elif telling and len(batch) > 1:
                told = [_record(run, item, served, delivered=True) for item in telling]
                told += [records[item.id] for item in batch if item.id in records]
                name = f"{group}-{spoken_for(telling[0].change).published_name}"
                telling = _tell(run, telling, words.bulletin(group, told, revert_urls=reverts), name=name)
            elif telling:
                (item,) = telling
                telling = _tell(run, [item], _message(run, item, served, reverts[item.id]), name=item.id)
            _write_records(run, telling, served, records)
    return [records[item.id] for item in items]


def make_git_follow(run: Run, change: Change, *, unblamed: str = "", lost: bool = False) -> str:
    """Open the revert pull request for a change that is not in service, or find it; return its address.

    ``unblamed`` says why, where the digest is not to blame; ``lost`` that the bytes that were merged are gone.
    """
    run.may_still()
    history = run.of(change.slot)
    verified = verified_entries(history, change.slot)
    back, left = change.before, None
    slot = spoken_for(change)
    if back is None and (left := last_left(history)) is None:
        back = next((entry for _, entry in verified), None)
    # What users get is right already; the next run tries again to make Git say so, too.
    failing = f"the revert of {words.describe(change)} could not be proposed, the next run tries again"
    with reported(run.say, failing) as attempt:
        draft = Draft(
            edits=_edits_back(change, back, left),
            branch=revert_branch(slot),
            title=proposal_words.revert_title(change, back),
            body=_revert_body(run, change, back, unblamed=unblamed, lost=lost),
            # Who asked, and why, is worth more than what the bot would write of the same revert.
            keeps=lambda pull: proposal_words.BY_THE_BOT not in pull.body,
        )
        platform = run.platform
        proposed = put_proposal(platform.repository(), platform.github, run.ledger, draft, say=run.say)
    if attempt.failed or proposed is None:
        return ""
    run.reverts[proposed.pull_request.branch] = proposed.pull_request.url
    return proposed.pull_request.url


def _edits_back(change: Change, back: Entry | None, left: DeploymentRecord | None) -> list[Edit]:
    """Return what main says of it again; of a bundle, all of it."""
    why = _why_back_to_nothing(change, left)
    if change.bundle is None:
        return [Edit(change.section, change.model, back, why)]
    before = entries_of(change.left)
    return [Edit(change.section, model, before.get(model), why) for model in change.bundle.models]


def flush_outbox(run: Run) -> None:
    """Deliver the messages that Slack did not take before; those that it refuses again stay."""
    for name, text in run.systems.share.outbox.read().items():
        message = Message.from_json(text)
        with reported(run.say, f"the message of {name} is still in the outbox") as attempt:
            run.tell(message)
        if attempt.failed:
            return
        run.map(message.deployments or (name,), run.ledger.confirm)
        run.held.outbox.drop(name)
        run.say(f"the message of {name} is delivered now")


def _groups(run: Run, items: list[Item]) -> dict[str, list[Item]]:
    """Return the items by the turn in which they began: an interrupted one keeps its own message."""
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(run_of(item.id, run.settings.environment), []).append(item)
    return found


def _apart(items: list[Item]) -> list[list[Item]]:
    """Return the items that one message tells of: each model alone, and the parts of a bundle together."""
    found: dict[object, list[Item]] = {}
    for item in items:
        found.setdefault(place_of(item.change) or item.id, []).append(item)
    return list(found.values())


def _as_recorded(run: Run, item: Item) -> Item:
    """Return an item under a new name where its record says that it succeeded, and it did not in the end.

    That is a part of a bundle which was cut off between the records of its parts.
    """
    before = _recorded(run, item)
    told = [criterion for criterion in before.criteria if criterion.name == "slack_delivered"] if before else []
    if before is None or outcome(item.stage, [*item.criteria, *told]) == before.outcome:
        return item
    return replace(
        item, id=f"{run.settings.environment}-{run.held.lease.token:08d}-{item.change.slot.published_name}"
    )


def _recorded(run: Run, item: Item) -> DeploymentRecord | None:
    return next((record for record in run.of(item.change.slot) if record.id == item.id), None)


def _speaks(item: Item, batch: list[Item]) -> bool:
    """Whether it is the part for whose failure Git must follow: the one to blame, else the first that failed."""
    own = [one for one in batch if place_of(one.change) == place_of(item.change) or one is item]
    failed = [one for one in own if git_must_follow(one.stage)]
    return place_of(item.change) is None or item is next(filter(_is_to_blame, failed), next(iter(failed), None))


def _is_to_blame(item: Item) -> bool:
    return should_quarantine(item.stage)


def _point_aliases(run: Run, items: list[Item], current: RouteTable) -> None:
    """Have MLflow's aliases follow what is in service; say of each that did not, in the items' order."""
    problems: dict[str, str] = {}

    def point(item: Item) -> None:
        serving = _serving(current, item.change)
        if isinstance(item.stage, CutOff) or serves(serving, item.change.after):
            # Also to what was there before: the run that was cut off may have come as far as here.
            problems[item.id] = _point_alias(run, item.change, serving)

    run.map(items, point)
    for item in items:
        if said := problems.get(item.id):
            run.say(said)


def _serving(current: RouteTable, change: Change) -> Target | None:
    return current.target(change.slot)


@dataclass(frozen=True)
class _Judged:
    """An item of which it is decided whether its digest is to blame, and the address of the revert that it takes."""

    item: Item
    revert_url: str = ""


def _judge(run: Run, item: Item, current: RouteTable, *, speaks: bool) -> _Judged:
    """Put the digest that failed, or was left, into quarantine; open the revert that it takes.

    Of a bundle it is the digest of all of it, and the part that ``speaks`` opens the one revert.
    """
    change = item.change
    if serves(_serving(current, change), change.after):
        if change.before is not None and not item.rehearsal and undoes(run.of(change.slot), change):
            _quarantine(run, item, blamed(change.slot, change.before, change.left), _was_rolled_back(change))
        _withdraw_the_revert_of(run, change)
    elif item.is_step and isinstance(item.stage, Switched):
        _withdraw_the_revert_of(run, change)
    elif speaks and git_must_follow(item.stage) and change.after is not None and not run.goes_back(change):
        problem = problem_of(item.stage)
        if should_quarantine(item.stage):
            _quarantine(run, item, blamed(change.slot, change.after, change.bundle), problem)
            return _Judged(replace(item, quarantined=True), make_git_follow(run, change))
        lost = fault(item.stage) is Fault.LOST_BYTES
        return _Judged(item, make_git_follow(run, change, unblamed=problem, lost=lost))
    return _Judged(item)


def _withdraw_the_revert_of(run: Run, change: Change) -> None:
    """Close the revert that the bot opened when this change did not go into service: now it is."""
    if last_try(run.of(change.slot), change) is None:
        return
    run.may_still()
    which = words.describe(change)
    with reported(run.say, f"the revert of {which} could not be closed; close it, do not merge it"):
        why = f"{which}: it is in service now, so nothing goes back."
        done = withdraw_revert(run.platform.repository(), run.platform.github, change, why=why)
        if done is not None:
            run.say(f"closed the revert {done}")


def _is_known(run: Run, item: Item, served: Desired, records: dict[str, DeploymentRecord]) -> bool:
    """Whether it failed as it is recorded to have failed before: then that record is its record."""
    if (before := _recorded(run, item)) is not None:
        records[item.id] = before
        return True
    announced = _record(run, item, served, delivered=True)
    known = failed_as_before(run.of(item.change.slot), announced)
    if known:
        run.say(f"{words.verdict(known)}\n  what happened, as {known.id} has recorded it before: {known.problem}")
        records[item.id] = known
    return known is not None


def _message(run: Run, item: Item, served: Desired, revert_url: str) -> Message:
    change, announced = item.change, _record(run, item, served, delivered=True)
    message = words.message(announced, revert_url=revert_url)
    if not run.settings.slack.may:
        return message
    # If promotions have a message each, its thread tells of the deployment.
    digest = change.after.digest if change.after else ""
    thread = thread_of(change.slot, digest)
    return replace(message, thread=thread, broadcast=words.is_for_everybody(announced))


def _tell(run: Run, items: list[Item], message: Message, *, name: str) -> list[Item]:
    """Send Slack the message about these items, or keep it in the outbox under ``name``."""
    with attempted() as attempt:
        said = f"read back, ts {run.tell(message)}"
    if attempt.failed:
        run.held.outbox.put(name, message.to_json())
        said = f"in the outbox: {attempt.error}"
    return [item.seeing("slack_delivered", said, holds=not attempt.failed) for item in items]


def _write_records(run: Run, items: list[Item], served: Desired, records: dict[str, DeploymentRecord]) -> None:
    def write(item: Item) -> None:
        record = records[item.id] = _record(run, item, served, delivered=False)
        run.ledger.add_deployment(record)

    run.map(items, write)


def _asked_at_once(run: Run, change: Change) -> WayBack | None:
    """Return the note on the share of who goes back to this at once, and why; None where there is none."""
    noted = (*run.ways, *read_ways_back(run.systems.share)[0])
    ways = [way for way in noted if change.after == way.whole.get(change.model)]
    return max(ways, key=lambda way: way.turn, default=None)


def _record(run: Run, item: Item, served: Desired, *, delivered: bool) -> DeploymentRecord:
    is_way_back = not item.rehearsal and undoes(run.of(item.change.slot), item.change)
    way = _asked_at_once(run, item.change) if is_way_back else None
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
        outcome=outcome(item.stage, criteria),
        serving=served.section(item.change.section).get(item.change.model),
        criteria=tuple(criteria),
        steps=item.steps,
        problem=problem_of(item.stage),
        way_back=is_way_back,
        reason=item.reason or (way.reason if way else ""),
        quarantined=item.quarantined,
        bundle=item.change.bundle,
        published_as=item.target.triton_model if item.target and item.change.bundle else "",
        rollout=item.rollout,
        rehearsal=item.rehearsal,
        origin=Origin(proposed_by=way.by, asked_at=way.at) if way else None,
    )


def _revert_body(run: Run, change: Change, back: Entry | None, *, unblamed: str, lost: bool) -> str:
    event = run.ledger.quarantined().get(change.judged_digest)
    return proposal_words.revert_body(
        change,
        back,
        reason=unblamed or (event.reason if event else ""),
        fate="lost" if lost else "blameless" if unblamed else "quarantined",
        deployment=event.deployment if event else "",
        is_back=serves(_serving(run.routes(), change), back),
    )


def _quarantine(run: Run, item: Item, release: Release, reason: str) -> None:
    run.ledger.put_in_quarantine(release, reason=reason, by="promobot deploy", deployment=item.id)


def _point_alias(run: Run, change: Change, serving: Target | None) -> str:
    """Point the alias; return what is wrong, or an empty string."""
    alias = change.slot.alias
    version = serving.version if serving else None
    # The alias is a projection of Git for people who look at MLflow; it decides nothing.
    with attempted() as attempt:
        run.aliases.point(change.model, alias, version)
    return (
        f"MLflow's alias {alias} was not moved, the next change moves it: {attempt.error}" if attempt.failed else ""
    )


def _why_back_to_nothing(change: Change, left: DeploymentRecord | None) -> str:
    """Return what the file says of a model that goes back to nothing; ``left`` is when it left service before."""
    version = f"version {change.after.version}" if change.after else "it"
    if left is not None:
        return left.reason or f"out of service since {left.id}; {version} was tried since and is not in service"
    return f"{version} is not in service, and nothing was before it"


def _was_rolled_back(change: Change) -> str:
    """Why the version before is in quarantine."""
    version = change.after.version if change.after else "nothing"
    return f"rolled back to {version}"
