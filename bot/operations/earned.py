"""Proposals about shadows: that one answers, which has earned it, or that one is taken out, whose time is over.

A look reads what gateways counted and judges it by the rule of the model's gate. Each is proposed once, as a pull
request: people merge it, and its own checks judge the gate again. So it needs no lease, and two that look at the
same time open one pull request.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from bot.domain.earned import Verdict, judge, side_by_side
from bot.domain.plan import serves
from bot.domain.proposal import Edit
from bot.domain.release import Lane, Slot
from bot.domain.scope import revert_branch
from bot.errors import PromobotError, Refused
from bot.operations import Say
from bot.operations.counts import count
from bot.operations.propose import propose
from bot.operations.proposing import Asking, Draft, put_proposal, read_desired
from bot.operations.shadow import Listening, brought_by, listening
from bot.records.ledger import ShadowNote
from bot.render import shadow as words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bot.domain.gate import ShadowRule
    from bot.domain.record import DeploymentRecord
    from bot.domain.routes import RouteTable
    from bot.operations.counts import Counted
    from bot.platform import Platform

State = Literal["listens", "proposed", "taken out", "waits"]
"""
listens    it has not earned its promotion yet, or has lost it, and its time is not over
proposed   it has earned its promotion, and a pull request proposes that it answers
taken out  its time is over, and a pull request takes it out
waits      something is due and could not be done now; it is tried again
"""
AGAIN = timedelta(minutes=10)
"""From one try to the next of what is due and could not be done: each asks MLflow, Git and GitHub."""


@dataclass(frozen=True)
class Earned:
    """A shadow that has a rule, as a look found it: its ``state``, what to say of it, and its verdict."""

    model: str
    version: int
    state: State
    said: str
    verdict: Verdict
    pull_request: int | None = None

    @property
    def line(self) -> str:
        """Return it for a terminal."""
        return f"{self.model} {self.version} (shadow): {self.said}"


@dataclass
class Tries:
    """What somebody keeps who looks again and again; who loses it asks more often, and does nothing else."""

    over: set[str] = field(default_factory=set)
    """Decisions that are made, by deployment and kind."""
    last: dict[str, datetime] = field(default_factory=dict)
    """When what is due was tried last."""
    said: dict[str, str] = field(default_factory=dict)
    """Why it could not be done."""


@dataclass(frozen=True)
class _Shadow:
    """A shadow that has a rule, and the record of the deployment that brought it."""

    model: str
    rule: ShadowRule
    brought: DeploymentRecord


def earned(
    platform: Platform,
    table: RouteTable,
    records: Sequence[DeploymentRecord],
    tries: Tries,
    *,
    say: Say,
    counted: Callable[[], Counted] | None = None,
    now: datetime | None = None,
) -> tuple[Earned, ...]:
    """Look at each shadow that has a rule, and propose what is due; nobody is asked where there is none.

    ``table`` are the routes, and ``records`` all deployments, oldest first. ``counted`` asks the gateways, where
    somebody else asks them, too.
    """
    now = now or datetime.now(UTC)
    shadows = _shadows(platform, table, records)
    if not shadows:
        return ()
    routes = {shadow.model: table.route(shadow.model) for shadow in shadows}
    limit = platform.settings.concurrency.servers
    found = listening(counted() if counted else count(platform.serving(reads_only=True), limit=limit), routes)
    return tuple(_settled(platform, one, found[one.model], tries, now, say) for one in shadows)


def _shadows(platform: Platform, table: RouteTable, records: Sequence[DeploymentRecord]) -> list[_Shadow]:
    """Return the shadows of models with a rule. Those of bundles are a person's to propose, with all parts."""
    found = []
    for model, route in sorted(table.models.items()):
        rule = platform.settings.shadow_rule(model) if route.shadow is not None else None
        if rule is None or route.shadow is None or len(platform.settings.parts_with(model)) > 1:
            continue
        brought = brought_by(records, Slot(platform.environment, model, Lane.SHADOW), route.shadow)
        if brought is not None:
            found.append(_Shadow(model, rule, brought))
    return found


def _settled(platform: Platform, shadow: _Shadow, found: Listening, tries: Tries, now: datetime, say: Say) -> Earned:
    verdict = judge(shadow.rule, found.compared, listens_since=shadow.brought.finished_at)
    seen = Earned(shadow.model, found.target.version, "listens", words.standing(verdict), verdict)
    if verdict.standing == "promotable":
        return _once(platform, shadow, "promotable", seen, found, tries, now, say)
    if verdict.is_over(now):
        return _once(platform, shadow, "over", seen, found, tries, now, say)
    return seen


def _once(
    platform: Platform,
    shadow: _Shadow,
    what: Literal["promotable", "over"],
    seen: Earned,
    found: Listening,
    tries: Tries,
    now: datetime,
    say: Say,
) -> Earned:
    """Propose what is due, unless somebody did; the note is written behind the pull request, which is found again."""
    key = f"{shadow.brought.id}/{what}"
    if key in tries.over:
        return seen
    if key in tries.last and now - tries.last[key] < AGAIN:
        return _waits(seen, tries.said.get(key, ""))
    ledger = platform.ledger
    try:
        if what in ledger.shadow_notes(shadow.brought.id):
            tries.over.add(key)
            return seen
        tries.last[key] = now
        done = _proposed(platform, seen, found, say) if what == "promotable" else _out(platform, seen, found, say)
    except PromobotError as error:
        tries.said[key] = str(error)
        return _waits(seen, str(error))
    note = ShadowNote(
        deployment=shadow.brought.id, what=what, at=now, pull_request=done.pull_request, verdict=seen.verdict
    )
    ledger.note_shadow(note)
    tries.over.add(key)
    return done


def _waits(seen: Earned, why: str) -> Earned:
    return Earned(seen.model, seen.version, "waits", f"{seen.said}; it could not be proposed: {why}", seen.verdict)


def _proposed(platform: Platform, seen: Earned, found: Listening, say: Say) -> Earned:
    """Propose that it answers, with what it showed in the pull request; raise Refused where its gate stops it."""
    if found.compared is None:
        raise Refused("no gateway says how it answers", state="Nothing was proposed.")
    note = words.earned(side_by_side(found.compared), seen.verdict)
    done = propose(
        platform, model=seen.model, version=seen.version, say=say, only_to_answer=True, asking=Asking(note=note)
    )
    if done.action == "stopped":
        raise Refused(done.reason, state="Nothing was proposed.")
    if done.pull_request is None:
        return Earned(seen.model, seen.version, "proposed", "main asks for it already", seen.verdict)
    said = f"{seen.said}; #{done.pull_request} proposes that it answers: {done.url}"
    return Earned(seen.model, seen.version, "proposed", said, seen.verdict, done.pull_request)


def _out(platform: Platform, seen: Earned, found: Listening, say: Say) -> Earned:
    """Propose to take it out."""
    environment, compared = platform.environment, found.compared
    repository = platform.repository()
    asked = read_desired(repository, environment, repository.head()).shadow.get(seen.model)
    if not serves(found.target, asked):
        # Main has moved on: what it asks for now has just begun to listen, or is about to.
        return Earned(seen.model, seen.version, "taken out", "main asks for it no more", seen.verdict)
    beside = side_by_side(compared) if compared else None
    draft = Draft(
        branch=revert_branch(Slot(environment, seen.model, Lane.SHADOW)),
        edits=[Edit("shadow", seen.model, None)],
        title=words.taken_out_title(seen.model, seen.version, environment),
        body=words.taken_out_body(seen.model, environment, beside, seen.verdict),
    )
    done = put_proposal(repository, platform.github, platform.ledger, draft, say=say)
    if done is None:
        return Earned(seen.model, seen.version, "taken out", "main asks for it no more", seen.verdict)
    pull = done.pull_request
    said = f"{seen.said}; #{pull.number} takes it out: {pull.url}"
    return Earned(seen.model, seen.version, "taken out", said, seen.verdict, pull.number)
