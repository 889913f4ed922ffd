"""One change on its way into service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

from bot.domain.blame import GoesBack
from bot.domain.desired import Change
from bot.domain.evidence import Evidence
from bot.domain.golden import Golden
from bot.domain.record import Criterion, CriterionName, Step
from bot.domain.routes import Target
from bot.domain.stage import Failed, Fault, Planned, PutBack, Stage, fault_of, may_go_on
from bot.errors import PromobotError, WrongAnswers
from bot.share import Described


@dataclass
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
    criteria: list[Criterion] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    stage: Stage = field(default_factory=Planned)
    """Its stage, with what is known there. Only this class and the switch advance it."""
    quarantined: bool = False
    asked_through: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By gateway: how many of its processes gave golden answers after the switch, and how many it has."""

    def sees(self, name: CriterionName, proof: str, *, holds: bool = True) -> None:
        """Note that a criterion was seen to hold, or not to; what was seen later counts."""
        seen = Criterion(name=name, holds=holds, at=datetime.now(UTC), proof=proof)
        for number, before in enumerate(self.criteria):
            if before.name == name:
                self.criteria[number] = seen
                return
        self.criteria.append(seen)

    @property
    def golden(self) -> Golden | None:
        """The golden requests of what is deployed, with the answers they must get; None where nothing is."""
        if self.target is None or self.described is None:
            return None
        return Golden(self.described.smoke, self.evidence.answers if self.evidence else ())

    @contextmanager
    def step(self, what: str, criterion: CriterionName) -> Iterator[None]:
        """Time one step; an error in it is this item's problem and ends its way, not that of the others."""
        started = monotonic()
        try:
            yield
        except PromobotError as error:
            self.fails(criterion, error, fault_of(error, judged=isinstance(error, WrongAnswers)))
        finally:
            self.did(what, started)

    def fails(self, criterion: CriterionName, said: PromobotError | str, fault: Fault) -> None:
        """Note what went wrong before the switch, and whose fault it is: it ends this item's way."""
        self.sees(criterion, str(said), holds=False)
        self.stage = Failed(fault, str(said))

    def fails_after_the_switch(self, why: GoesBack) -> None:
        """Note that it was routed to, failed, and goes back."""
        self.stage = PutBack(why, why.problem)
        self.sees("fastapi_reloaded", why.problem, holds=False)

    @property
    def may_go_on(self) -> bool:
        """Whether the next step is for it, too."""
        return may_go_on(self.stage)

    def did(self, what: str, started: float) -> None:
        """Note a step that began at ``started`` on the monotonic clock."""
        self.steps.append(Step(at=datetime.now(UTC), what=what, seconds=round(monotonic() - started, 4)))
