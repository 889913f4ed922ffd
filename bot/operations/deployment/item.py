"""One change on its way into service: a value, which each step takes and returns as it is afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic

from bot.domain.blame import GoesBack
from bot.domain.bundled import place_of
from bot.domain.desired import Change
from bot.domain.evidence import Evidence
from bot.domain.golden import Golden
from bot.domain.record import Criterion, CriterionName, Rollout, Step
from bot.domain.release import Lane
from bot.domain.routes import Canary, Route, Target
from bot.domain.stage import Failed, Fault, Planned, PutBack, Stage, fault_of, may_go_on, problem_of
from bot.errors import PromobotError, WrongAnswers
from bot.share import Described


@dataclass(frozen=True)
class Item:
    """One change on its way into service, and what was seen on the way."""

    change: Change
    id: str
    started_at: datetime
    leaves: Target | None = None
    """The target that it replaces by the same bytes under another name; None for a change."""
    reason: str = ""
    """Why what is in service is published again, or why the model leaves service."""
    evidence: Evidence | None = None
    """The evidence of its checks, with staging's answers; None for a rollback to a version that was never checked."""
    target: Target | None = None
    described: Described | None = None
    config: str = ""
    """Its configuration as it is published, which names the parts of its bundle that it asks."""
    criteria: tuple[Criterion, ...] = ()
    steps: tuple[Step, ...] = ()
    stage: Stage = field(default_factory=Planned)
    """Its stage, with what is known there."""
    quarantined: bool = False
    publishes_again: bool = False
    """Whether it is in service already and its bytes are repaired, so that a canary beside it stays."""
    rollout: Rollout | None = None
    """The step of a rollout that it makes; None where it goes to all users at once, and nobody looks after it."""
    compares: bool = False
    """Whether gateways compare what it answers with what the version before answers to the same requests."""
    rehearsal: str = ""
    """Who rehearses the way back, where this is a part of that."""
    in_place: bool = False
    """Whether Tritons get it one after another, in the place of the one in service."""

    @property
    def is_step(self) -> bool:
        """Whether only some users get it, by a canary."""
        return self.rollout is not None and not self.rollout.is_whole

    def placed_in(self, route: Route) -> Route:
        """Return a model's route with this in its place."""
        lane = self.change.slot.lane
        if self.publishes_again and self.target is not None:
            placed = route.again(lane, self.target)
            return replace(placed, partly=True) if self.in_place else placed
        if self.rollout is not None and not self.rollout.is_whole and self.target is not None:
            salt = self.change.judged_digest
            divided = route.divided(Canary(self.target, self.rollout.percent, self.rollout.key, salt))
            return divided.comparing(route.live) if self.compares else divided
        before, route = route.live, route.having(lane, self.target)
        if lane is Lane.SHADOW and self.change.after is not None:
            return replace(route, shadow_share=self.change.after.percent)
        if self.in_place:  # no Triton has room for both
            return replace(route, partly=True)
        return route.comparing(before) if self.compares else route

    def seeing(self, name: CriterionName, proof: str, *, holds: bool = True) -> Item:
        """Return it with a criterion seen to hold, or not to; the latest look counts."""
        seen = Criterion(name=name, holds=holds, at=datetime.now(UTC), proof=proof)
        if any(before.name == name for before in self.criteria):
            return replace(self, criteria=tuple(seen if before.name == name else before for before in self.criteria))
        return replace(self, criteria=(*self.criteria, seen))

    @property
    def golden(self) -> Golden | None:
        """The golden requests of what is deployed, with the answers they must get; None where nothing is."""
        if self.target is None or self.described is None:
            return None
        return Golden(self.described.smoke, self.evidence.answers if self.evidence else ())

    def failing(self, criterion: CriterionName, said: PromobotError | str, fault: Fault) -> Item:
        """Return it with what went wrong before the switch, and whose fault it is: that ends its way."""
        return replace(self.seeing(criterion, str(said), holds=False), stage=Failed(fault, str(said)))

    def going_back(self, why: GoesBack) -> Item:
        """Return it as one that was routed to, failed, and goes back."""
        stage = PutBack(why, why.problem)
        return replace(self.seeing("fastapi_reloaded", why.problem, holds=False), stage=stage)

    @property
    def may_go_on(self) -> bool:
        """Whether the next step is for it, too."""
        return may_go_on(self.stage)

    def having_done(self, what: str, started: float) -> Item:
        """Return it with a step that began at ``started`` on the monotonic clock, and ends now."""
        done = Step(at=datetime.now(UTC), what=what, seconds=round(monotonic() - started, 4))
        return replace(self, steps=(*self.steps, done))


def take_step(item: Item, what: str, criterion: CriterionName, way: Callable[[Item], Iterator[Item]]) -> Item:
    """Take one item through a step, and time it; ``way`` yields each state of the item on the way.

    An error is this item's problem and ends its way, not that of the others. Its last state stays.
    """
    started = monotonic()
    try:
        for reached in way(item):
            item = reached
    except PromobotError as error:
        item = item.failing(criterion, error, fault_of(error, judged=isinstance(error, WrongAnswers)))
    return item.having_done(what, started)


def with_changed(items: Iterable[Item], changed: Iterable[Item]) -> list[Item]:
    """Return the items in their order, and those that changed as they are now."""
    now = {item.id: item for item in changed}
    return [now.get(item.id, item) for item in items]


def whole(items: list[Item]) -> list[Item]:
    """Return the items with every bundle whole: where a part ended its way, so do the others, without blame."""
    ended = {place_of(item.change): item for item in items if isinstance(item.stage, Failed)}
    ended.pop(None, None)

    def also(item: Item) -> Item:
        first = ended.get(place_of(item.change)) if place_of(item.change) else None
        if first is None or not item.may_go_on:
            return item
        said = f"{first.change.model}, a part of the same bundle, failed: {problem_of(first.stage)}"
        return replace(item, stage=Failed(Fault.ENVIRONMENT, said))

    return [also(item) for item in items]


def go_on(items: list[Item], step: Callable[[list[Item]], list[Item]]) -> list[Item]:
    """Take the items that may go on through a step; return all items. ``step`` returns those that it was given."""
    return whole(with_changed(items, step([item for item in items if item.may_go_on])))
