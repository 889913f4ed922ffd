"""``promobot deploy``: make what is served equal to the head of main, prove it, or put everything back.

    observe → plan → publish → load on every Triton → golden requests → switch the routes → reload every gateway
            → golden requests through every gateway → alias → Slack → record

Before the switch nothing that users see has changed. After it, any failure puts the last verified routes back at
once; then a revert pull request makes Git follow, and the digest goes into quarantine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bot.domain.desired import Change, Desired
from bot.domain.plan import plan
from bot.domain.record import DeploymentRecord, known_entries
from bot.settings import Environment
from bot.systems.records import RecordStore
from bot.systems.share import Turn
from bot.verbs import connect
from bot.verbs.connect import Serving
from bot.verbs.ledger import Ledger
from bot.verbs.observe import observe
from bot.verbs.proposing import read_desired
from bot.verbs.rollout import Rollout

Say = Callable[[str], None]


@dataclass(frozen=True)
class Deployed:
    """What a run of deploy did."""

    environment: str
    commit: str
    records: tuple[DeploymentRecord, ...] = ()
    held: tuple[tuple[Change, str], ...] = ()
    repaired: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    undelivered: int = 0

    @property
    def exit_code(self) -> int:
        """0 as desired · 1 something failed or is held · 4 all but Slack."""
        if self.held or self.problems or any(not record.verified for record in self.records):
            return 1
        return 4 if self.undelivered else 0


def deploy(settings: Environment, *, say: Say) -> Deployed:
    """Converge the environment to the head of main."""
    with (
        connect.serving(settings) as systems,
        connect.repository(settings) as repository,
        systems.share.turn() as turn,
    ):
        # Read under the turn: what was merged while we waited for it is deployed, too.
        commit = repository.head()
        desired = read_desired(repository, settings.environment, commit)
        return converge(settings, systems, turn=turn, commit=commit, desired=desired, say=say)


def converge(
    settings: Environment, systems: Serving, *, turn: Turn, commit: str, desired: Desired, say: Say
) -> Deployed:
    """Make what is served equal to ``desired``: main's head, or what a person rolls back to right now."""
    ledger = Ledger(RecordStore(settings.records), settings.environment)
    history = ledger.deployments()
    rollout = Rollout(settings, systems, ledger, turn=turn, commit=commit, history=history, say=say)
    rollout.flush_outbox()
    records = rollout.finish_going_back()
    current = observe(settings, systems)
    # Where a deployment was cut off, what is routed is not known to be good: what was before it is.
    live = replace(current, routes=rollout.last_verified(current.routes))
    todo = plan(desired, live, known=known_entries(history))

    held = [(change, reason) for change in todo.changes if (reason := rollout.forbids(change))]
    for change, _ in held:
        if rollout.is_quarantined(change):
            rollout.make_git_follow(change)
    repaired, problems = rollout.repair(todo, current.routes, verified=live.routes)

    items = [rollout.item(change) for change in todo.changes if change not in [refused for refused, _ in held]]
    rollout.open_journal(items, live.routes)
    moving = rollout.see_that_gateways_answer(items, todo)
    moving = rollout.publish(moving)
    moving = rollout.load(moving, live.routes)
    moving = rollout.prove(moving, live.routes)
    if moving:
        if not rollout.switch(moving, live.routes):
            rollout.put_back(moving, live.routes)
    elif rollout.is_astray(live.routes):
        rollout.put_back([], live.routes)
    records += rollout.conclude([*items, *rollout.abandoned(items)])
    rollout.close_journal()
    return Deployed(
        settings.environment,
        commit,
        records=tuple(records),
        held=tuple(held),
        repaired=tuple(repaired),
        problems=tuple(problems),
        undelivered=len(systems.share.outbox()),
    )
