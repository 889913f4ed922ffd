"""The journal of a deployment under way: what was in service before it, and what it is doing.

It is written before the first change and closed after the record. A run that finds one open finishes that deployment:
forward where main still asks for it, or where a person rolled back what main still asks for; and back where it was
going back already. One run may go back with some models and forward with the others.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.domain.blame import GoesBack
from bot.domain.bundle import Bundle, digest_of, is_not_given
from bot.domain.desired import Change, Entry, Section
from bot.domain.record import DeploymentRecord, Rollout
from bot.domain.release import Lane, Slot
from bot.domain.routes import RouteTable


class Underway(BaseModel):
    """One change that a deployment is making."""

    model_config = ConfigDict(frozen=True)

    id: str
    section: Section
    model: str
    before: Entry | None
    after: Entry | None
    started_at: datetime
    goes_back: GoesBack | None = Field(
        default=None, description="why it is being put back; None while it goes forward"
    )
    bundle: Bundle | None = Field(default=None, description="the bundle that it is a part of, as it is to be")
    left: Bundle | None = Field(default=None, description="the bundle as it was before")
    rollout: Rollout | None = Field(default=None, description="the step of a rollout that it makes")
    rehearsal: str = Field(
        default="", description="who rehearses the way back, where it is a part of that", exclude_if=is_not_given
    )

    def is_of(self, change: Change) -> bool:
        """Whether it is this change."""
        same = (self.slot_in(change.environment), self.after) == (change.slot, change.after)
        return same and digest_of(self.bundle) == digest_of(change.bundle)

    def slot_in(self, environment: str) -> Slot:
        """Return the slot that changes; ``environment`` is that of the journal."""
        return Slot.of(environment, self.model, self.section)

    def change_in(self, environment: str) -> Change:
        """Return the change; ``environment`` is that of the journal."""
        return Change(
            environment, self.section, self.model, self.before, self.after, bundle=self.bundle, left=self.left
        )


class Journal(BaseModel):
    """One deployment under way."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    turn: int
    before: str = Field(description="routes.json as it was")
    underway: tuple[Underway, ...]
    by: str = Field(default="", description="who deploys, and where to look; empty in journals of before")
    going_back: str = Field(
        default="", description="why all of it is being put back; only in journals written before each change said so"
    )

    def why_back(self, item: Underway) -> GoesBack | None:
        """Return why a change is being put back, or None while it goes forward.

        A journal that speaks of all at once does not say which digests are to blame. Then all are, as they were when
        such journals were written.
        """
        if item.goes_back is None and self.going_back:
            return GoesBack(self.going_back, to_blame=True, retry=False)
        return item.goes_back

    def verified(self, current: RouteTable, records: list[DeploymentRecord]) -> RouteTable:
        """Return the routes that are known to be good: those before, and those whose record says so since.

        Of a rollout whose step is under way that is what was live before it: a step that fails ends it.
        """
        models = dict(RouteTable.from_json(self.before).models)
        verified = {record.id for record in records if record.is_well}
        # The routes of a bundle are good when all of it is: its records are written one after another.
        broken = {
            (item.section, item.bundle.name) for item in self.underway if item.bundle and item.id not in verified
        }
        for item in self.underway:
            if item.id in verified and (item.bundle is None or (item.section, item.bundle.name) not in broken):
                slot = item.slot_in(current.environment)
                there = current.route(item.model)
                route = models.get(item.model, there).having(slot.lane, there.target(slot.lane))
                if slot.lane is Lane.LIVE:
                    route = replace(route, canary=there.canary, compared=there.compared)
                models[item.model] = route
        return RouteTable(current.environment, current.generation, models)
