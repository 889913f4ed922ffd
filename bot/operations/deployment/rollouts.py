"""How a change reaches all users: at which step it begins, which step is due, and what a failed step ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bot.domain.blame import GoesBack
from bot.domain.bundled import place_of
from bot.domain.desired import Change
from bot.domain.plan import serves
from bot.domain.record import DeploymentRecord, Rollout, had_already, undoes
from bot.domain.release import Lane, Slot
from bot.domain.routes import WHOLE, RouteTable
from bot.domain.stage import Failed, Fault, PutBack, git_must_follow
from bot.operations.deployment.item import Item
from bot.operations.deployment.run import Run
from bot.operations.deployment.unfinished import Unfinished


@dataclass(frozen=True)
class Due:
    """A step of a rollout that is due: ``percent`` of ``model``, in the ``rollout`` with this id.

    It is made once. Where the rollout is over, is another one, or is that far already, nothing is due.
    """

    model: str
    rollout: str
    percent: int


def under_way(table: RouteTable, records: Iterable[DeploymentRecord], model: str) -> Rollout | None:
    """Return the last step of the rollout that divides the requests of ``model``; None where none does.

    ``records`` of all models come oldest first.
    """
    canary, slot = table.route(model).canary, Slot(table.environment, model, Lane.LIVE)
    if canary is None:
        return None
    steps = (record for record in reversed(list(records)) if record.slot == slot and record.outcome == "rolling out")
    return next((record.rollout for record in steps if serves(canary.target, record.after)), None)


def is_due(due: Due, table: RouteTable, records: Iterable[DeploymentRecord]) -> bool:
    """Say whether this is the step after the one that was made last."""
    now = under_way(table, records, due.model)
    return now is not None and (now.id, now.next_percent) == (due.rollout, due.percent)


def set_out(
    run: Run, unfinished: Unfinished, items: Sequence[Item], table: RouteTable, due: Due | None
) -> list[Item]:
    """Give each item its step: the one that is due, the one at which it was cut off, or the first of a new rollout.

    ``table`` are the verified routes. What goes back, what is the first of its model, and what has no rules goes to
    all users at once. The parts of a bundle go together.
    """
    groups: dict[object, list[Item]] = {}
    for item in items:
        groups.setdefault(place_of(item.change) or item.id, []).append(item)
    found: dict[str, Rollout] = {}
    for group in groups.values():
        if any(unfinished.resumes(item) for item in group):
            continue
        rollout = _next(run, group, table, due) or _first(run, group, table)
        if rollout is not None:
            found.update({item.id: rollout for item in group})
    out = [replace(item, rollout=found.get(item.id, item.rollout)) for item in items]
    return [replace(item, compares=compares(run, item)) for item in out]


def compares(run: Run, item: Item) -> bool:
    """Whether the rules limit how many decisions may change. Of a bundle the part is compared that users ask."""
    model, rules = item.change.model, run.settings.rollout_of(item.change.model).watched
    is_asked = run.settings.parts_with(model)[-1] == model
    return item.rollout is not None and is_asked and rules is not None and rules.max_flips is not None


def _next(run: Run, group: Sequence[Item], table: RouteTable, due: Due | None) -> Rollout | None:
    changes = {item.change.model: item.change for item in group if item.change.section == "models"}
    if due is None or due.model not in changes:
        return None
    if any(not _goes_on(table, change) for change in changes.values()):
        return None
    now = under_way(table, run.history, due.model)
    return now.at(due.percent) if now is not None else None


def _goes_on(table: RouteTable, change: Change) -> bool:
    canary = table.route(change.model).canary
    return canary is None or serves(canary.target, change.after)


def _first(run: Run, group: Sequence[Item], table: RouteTable) -> Rollout | None:
    last = group[-1]
    rules = run.settings.rollout_rules(last.change.model)
    changes = [item.change for item in group]
    if rules is None or any(one.section == "shadow" or one.after is None for one in changes):
        return None
    if any(undoes(had, change) or had_already(had, change) for change in changes for had in [run.of(change.slot)]):
        return None
    if any(had[-1].rehearsal for change in changes if (had := run.of(change.slot))):
        return None  # users had it a moment ago, and get it back at once
    is_first = any(table.route(change.model).live is None for change in changes)
    steps = (WHOLE,) if is_first else tuple(rules.steps)
    return Rollout(id=last.id, percent=steps[0], step=1, steps=steps, began_at=last.started_at, key=rules.key or "")


def ended_by_failure(items: Sequence[Item], before: RouteTable) -> list[Item]:
    """Return the items that failed before their step, so badly that the canary may not go on either.

    Its bytes are to blame, or are lost: Git must ask for something else. What failed around them leaves the rollout
    at the step where it is.
    """
    failed = [
        item
        for item in items
        if isinstance(item.stage, Failed)
        and item.rollout is not None
        and (canary := before.route(item.change.model).canary) is not None
        and serves(canary.target, item.change.after)
    ]
    bad = [item for item in failed if git_must_follow(item.stage)]
    places = {place_of(item.change) or item.id for item in bad}
    return [_put_back(item) for item in failed if (place_of(item.change) or item.id) in places]


def _put_back(item: Item) -> Item:
    stage = item.stage
    if not isinstance(stage, Failed):
        return item
    why = GoesBack(stage.problem, to_blame=stage.fault is Fault.DIGEST, retry=False)
    return replace(item, stage=PutBack(why, stage.problem))
