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
from bot.errors import NotAllowed, OtherBytes, PromobotError
from bot.share import Described


@dataclass
class Item:
    """One change on its way into service, and what was seen on the way."""

    change: Change
    id: str
    started_at: datetime
    leaves: Target | None = None
    """What it replaces by the same bytes under another name; None for a change."""
    reason: str = ""
    """Why what is in service is published again, or why the model leaves service."""
    evidence: Evidence | None = None
    """What the checks saw of it, and staging answered; None on the way back to what no check ever saw."""
    target: Target | None = None
    described: Described | None = None
    criteria: list[Criterion] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    problem: str = ""
    switched: bool = False
    incomplete: bool = False
    """Whether it is in service as far as gateways answer, and one did not."""
    quarantined: bool = False
    to_blame: bool = False
    """Whether the digest failed, rather than only something around it."""
    asked_through: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By gateway: how many of its processes gave golden answers after the switch, and how many it has."""
    goes_back: GoesBack | None = None
    """Why it is put back after its switch."""
    lost: bool = False
    """Whether the bytes that were merged are not to be had any more; the digest is not to blame for that."""
    cut_off: bool = False
    """Whether an earlier run began it, was cut off, and nobody goes on with it."""

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
            self.fails(criterion, error)
        finally:
            self.did(what, started)

    def fails(self, criterion: CriterionName, error: PromobotError) -> None:
        """Note an error in a step: it ends this item's way."""
        self.sees(criterion, str(error), holds=False)
        self.problem = str(error)
        self.lost = isinstance(error, OtherBytes)
        # A step that has judged the bytes says so itself before it raises.
        self.to_blame = self.to_blame or isinstance(error, NotAllowed)

    def fails_after_the_switch(self, why: GoesBack) -> None:
        """Note that it was routed to, failed, and goes back."""
        self.goes_back, self.problem, self.to_blame = why, why.problem, why.to_blame
        self.sees("fastapi_reloaded", self.problem, holds=False)

    @property
    def git_follows(self) -> bool:
        """Whether Git must follow by a revert: what failed does not go into service by trying again."""
        return self.to_blame or self.lost or (self.goes_back is not None and not self.goes_back.retry)

    def did(self, what: str, started: float) -> None:
        """Note a step that began at ``started`` on the monotonic clock."""
        self.steps.append(Step(at=datetime.now(UTC), what=what, seconds=round(monotonic() - started, 4)))
