"""Made-up lives of an environment: what is done to it leaves records, and is noted as what happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from bot.domain.bundle import Bundle, Part
from bot.domain.desired import Entry, Section
from bot.domain.origin import Origin
from bot.domain.record import Criterion, DeploymentRecord, Outcome, Rollout, Step
from tests.domain.entries import entry

PARTS = {"pair": ("prep", "rank")}
BEGAN = datetime(2026, 11, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
WHAT = (
    "release",
    "release again",
    "put back",
    "stopped",
    "roll back",
    "roll back at once",
    "roll back, and fail",
    "canary",
    "canary, then roll back",
    "canary, then another",
    "canary, then put back",
    "shadow",
    "out of service",
    "publish again",
)
What = Literal["release", "stopped", "way back", "failed way back", "shadow", "out of service", "ended", "under way"]


@dataclass
class Happened:
    """One thing that happened, as whoever made it happen knows it. Seconds are None where no record can know them."""

    what: What
    at: datetime
    lead: float | None = None
    review: float | None = None
    by_policy: bool | None = None
    is_again: bool = False
    reached_at: datetime | None = None
    back_at: datetime | None = None
    was_put_back: bool = False
    restored: float | None = None


@dataclass
class Life:
    """An environment: what is done to it leaves records, and is noted as what happened."""

    now: datetime = BEGAN
    turn: int = 0
    versions: int = 0
    records: list[DeploymentRecord] = field(default_factory=list)
    happened: list[Happened] = field(default_factory=list)
    live: dict[str, dict[str, Entry]] = field(default_factory=dict)
    """Of each model or bundle what each part serves."""
    stack: dict[str, list[dict[str, Entry]]] = field(default_factory=dict)
    """What was in service and may be gone back to, the newest last."""
    brought: dict[str, Happened | None] = field(default_factory=dict)
    """The release that brought what is there; None where a way back did."""
    taken_back: dict[str, list[dict[str, Entry]]] = field(default_factory=dict)

    def passes(self, minutes: float) -> datetime:
        self.now += timedelta(minutes=minutes)
        return self.now

    # --- what records say ------------------------------------------------------------------------------------------

    def writes(
        self,
        name: str,
        after: dict[str, Entry] | None,
        outcome: Outcome,
        *,
        before: dict[str, Entry] | None = None,
        origin: Origin | None = None,
        rollout: Rollout | None = None,
        way_back: bool = False,
        section: Section = "models",
        is_new_turn: bool = True,
    ) -> tuple[datetime, datetime]:
        """Write the records of one deployment; return when users had it, and when it was over."""
        self.turn += is_new_turn
        parts = PARTS.get(name, (name,))
        before = self.live.get(name, {}) if before is None else before
        bundle = None
        if name in PARTS:
            there = after or {}
            listed = tuple(Part(model=m, version=e.version, digest=e.digest, run=e.run) for m, e in there.items())
            bundle = Bundle(name=name, parts=listed, missing=tuple(one for one in parts if one not in there))
        started = self.now
        switched, seen = started + 20 * SECOND, started + 30 * SECOND
        finished = started + 40 * SECOND
        steps = [Step(at=switched, what="load", seconds=9.0)]
        if outcome not in ("failed",):
            steps.append(Step(at=seen, what=f"switch to generation {self.turn}", seconds=10.0))
        if outcome == "put back":
            steps.append(Step(at=finished - SECOND, what=f"put back by generation {self.turn + 1}", seconds=8.0))
        holds = outcome in ("succeeded", "unconfirmed", "rolling out")
        for model in parts:
            self.records.append(
                DeploymentRecord(
                    id=f"dev-{self.turn:08d}-{model}",
                    environment="dev",
                    section=section,
                    model=model,
                    before=before.get(model),
                    after=after.get(model) if after else None,
                    commit="c" * 40,
                    started_at=started,
                    finished_at=finished,
                    outcome=outcome,
                    criteria=(Criterion(name="fastapi_reloaded", holds=holds, at=seen, proof="seen"),),
                    steps=tuple(steps),
                    way_back=way_back,
                    bundle=bundle,
                    rollout=rollout,
                    origin=origin if before.get(model) != (after.get(model) if after else None) else None,
                )
            )
        self.now = finished
        return (seen if holds else switched), finished

    def version(self, name: str, *, changes: int = 3) -> dict[str, Entry]:
        """Return a new version; of a bundle the parts of these bits change."""
        parts, there = PARTS.get(name, (name,)), self.live.get(name, {})
        found = {}
        for number, model in enumerate(parts):
            self.versions += 1
            is_new = len(parts) == 1 or changes >> number & 1 or model not in there
            found[model] = entry(self.versions) if is_new else there[model]
        return found

    def asked(self, known: int, hours: float) -> tuple[Origin | None, Happened]:
        """Return where a release comes from, as far as it is known, and what that says of its way."""
        opened = self.now - timedelta(hours=hours)
        merged = self.now - timedelta(minutes=1)
        registered = opened - timedelta(minutes=30)
        fact = Happened("release", self.now)
        match known:
            case 0:
                return None, fact
            case 1:
                return Origin(registered_at=registered), fact  # main was changed by hand
            case 2:  # nobody approved it
                fact.review, fact.by_policy = (merged - opened).total_seconds(), True
                pull = Origin(pull_request=5, opened_at=opened, merged_at=merged, merged_by="bot", by_policy=True)
                return pull.model_copy(update={"registered_at": registered}), fact
            case _:
                approved = opened + (merged - opened) / 2
                fact.review, fact.by_policy = (approved - opened).total_seconds(), False
                origin = Origin(
                    registered_at=registered if known == 3 else None,
                    pull_request=6,
                    opened_at=opened,
                    approved_at=approved,
                    merged_at=merged,
                )
                return origin, fact

    # --- what people do --------------------------------------------------------------------------------------------

    def does(self, what: str, name: str, known: int, hours: float, bits: int) -> None:
        origin, fact = self.asked(known, hours)
        registered = origin.registered_at if origin else None
        was = self.live.get(name)
        if what in ("canary", "canary, then roll back", "canary, then another", "canary, then put back"):
            if was is None:
                what = "release"
            else:
                self.divides(what, name, origin, fact, bits, registered)
                return
        match what:
            case "release" | "release again" | "put back" | "stopped":
                again = self.taken_back.get(name, [])
                is_again = what == "release again" and bool(again)
                after = again.pop() if is_again else self.version(name, changes=bits)
                if what == "put back":
                    began, finished = self.writes(name, after, "put back", origin=origin)
                    fact.at, fact.reached_at, fact.back_at = finished, began, finished - SECOND
                    fact.was_put_back, fact.restored = True, (fact.back_at - began).total_seconds()
                elif what == "stopped":
                    _, fact.at = self.writes(name, after, "failed", origin=origin)
                    fact.what = "stopped"
                else:
                    fact.at, _ = self.writes(name, after, "succeeded" if bits else "unconfirmed", origin=origin)
                    self.serves(name, after, fact, registered, is_again=is_again)
                self.happened.append(fact)
            case "roll back" | "roll back at once" | "roll back, and fail":
                self.goes_back(what, name, hours)
            case "shadow":
                seen, _ = self.writes(name, self.version(name), "succeeded", section="shadow", before={})
                self.happened.append(Happened("shadow", seen))
            case "out of service":
                if was is not None:
                    seen, _ = self.writes(name, None, "succeeded")
                    self.happened.append(Happened("out of service", seen))
                    del self.live[name]
                    self.brought[name] = None
            case _:
                if was is not None:
                    self.writes(name, was, "succeeded")

    def serves(
        self, name: str, after: dict[str, Entry], fact: Happened, registered: datetime | None, *, is_again: bool
    ) -> None:
        fact.is_again, fact.reached_at = is_again, fact.reached_at or fact.at
        if registered is not None and not is_again:
            fact.lead = (fact.at - registered).total_seconds()
        self.live[name], self.brought[name] = after, fact
        self.stack.setdefault(name, []).append(after)

    def goes_back(self, what: str, name: str, minutes: float) -> None:
        stack, fact = self.stack.get(name, []), self.brought.get(name)
        if len(stack) < 2 or name not in self.live or stack[-1] != self.live[name]:
            return
        if what == "roll back, and fail":
            _, finished = self.writes(name, stack[-2], "put back", way_back=True)
            self.happened.append(Happened("failed way back", finished))
            return
        asked = self.now
        self.passes(minutes)
        at_once = what == "roll back at once"
        origin = Origin(asked_at=asked, proposed_by="kim") if at_once else Origin(opened_at=asked, pull_request=9)
        seen, _ = self.writes(name, stack[-2], "succeeded", way_back=True, origin=origin)
        self.happened.append(Happened("way back", seen))
        if fact is not None and fact.back_at is None:
            fact.back_at, fact.restored = seen, (seen - asked).total_seconds()
        self.taken_back.setdefault(name, []).append(stack.pop())
        self.live[name], self.brought[name] = stack[-1], None

    def divides(
        self, what: str, name: str, origin: Origin | None, fact: Happened, bits: int, registered: datetime | None
    ) -> None:
        """Bring a version to all users in steps, or to some of them."""
        last = PARTS.get(name, (name,))[-1]
        steps = Rollout(
            id=f"dev-{self.turn + 1:08d}-{last}", percent=10, step=1, steps=(10, 50, 100), began_at=self.now
        )
        was, after = self.live[name], self.version(name, changes=bits)
        fact.reached_at, fact.at = self.writes(name, after, "rolling out", origin=origin, rollout=steps)
        self.happened.append(fact)
        self.passes(17)
        if bits & 1:
            _, fact.at = self.writes(name, after, "rolling out", origin=origin, rollout=steps.at(50))
            self.passes(23)
        match what:
            case "canary":
                fact.at, _ = self.writes(name, after, "succeeded", origin=origin, rollout=steps.at(100))
                self.serves(name, after, fact, registered, is_again=False)
            case "canary, then put back":
                began, fact.at = self.writes(name, after, "put back", origin=origin, rollout=steps.at(100))
                fact.back_at, fact.was_put_back = fact.at - SECOND, True
                fact.restored = (fact.back_at - began).total_seconds()
            case "canary, then roll back":
                asked = self.now
                self.passes(2)
                back = Origin(asked_at=asked)
                seen, _ = self.writes(name, was, "succeeded", before=after, way_back=True, origin=back)
                fact.what, fact.back_at, fact.restored = "ended", seen, (seen - asked).total_seconds()
                self.happened.append(Happened("way back", seen))
            case _:
                fact.what = "ended"
                other, then = self.version(name), Happened("release", self.now)
                then.at, _ = self.writes(name, other, "succeeded", before=after)
                self.serves(name, other, then, None, is_again=False)
                self.happened.append(then)
