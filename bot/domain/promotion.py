"""A promotion as people follow it: from its pull request to what became of it. Derived, each time, from facts."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from bot.domain.desired import Section
from bot.domain.evidence import Evidence
from bot.domain.hold import Held
from bot.domain.record import DeploymentRecord, is_failed_rollback
from bot.domain.release import Slot

Stage = Literal[
    "checking",
    "green",
    "red",
    "merged",
    "held",
    "deploying",
    "rolling out",
    "served",
    "put back",
    "rollback failed",
    "failed",
    "incomplete",
    "left",
    "overtaken",
    "closed",
]
"""
checking         open, and nothing is known of its checks yet
green, red       open, and what its checks found
merged           main asks for it; no deployment has begun
held             main asks for it, and deployments refuse it
deploying        a deployment of it is under way
rolling out      a canary answers for some of its users
served           in service (or listening, on the shadow path)
put back         it failed after the switch
rollback failed  a way back that failed: what people wanted to go back from still answers
failed           it failed before the switch
incomplete       a way back is in service wherever gateways answer
left             it was in service, and something else is now
overtaken        main asked for something else before it was deployed
closed           closed without being merged
"""
BESIDE_SHOWN = 5
PARTS_CHARACTERS = 6_500
"""Characters of all models of a pull request among the facts of its message, of which Slack takes 8,000 in all."""
PullState = Literal["open", "merged", "closed"]


@dataclass(frozen=True)
class Metric:
    """One metric of the gate, proposed and in service, as text."""

    name: str
    proposed: str
    in_service: str
    change: str
    rule: str
    passed: bool
    limit: str = ""
    """The nearest bound of the rule; empty where there is none."""


@dataclass(frozen=True)
class Part:
    """One model of a pull request of several: the version that it asks for."""

    section: Section
    model: str
    before: int | None
    after: int
    digest: str

    def to_text(self) -> str:
        """Return it in as few characters as tell all of it."""
        of_bytes = base64.urlsafe_b64encode(bytes.fromhex(self.digest.removeprefix("sha256:")))
        digest = of_bytes.decode().rstrip("=")
        return f"{self.section[0]} {self.model} {self.before or 0} {self.after} {digest}"

    @classmethod
    def from_text(cls, text: str) -> Part:
        """Read it; raise ValueError where it is something else."""
        section, model, before, after, digest = text.split(" ")
        of_bytes = base64.urlsafe_b64decode(digest + "=" * (-len(digest) % 4))  # its error is a ValueError
        where: Section = "shadow" if section == "s" else "models"
        return cls(where, model, int(before) or None, int(after), f"sha256:{of_bytes.hex()}")


@dataclass(frozen=True)
class Promotion:
    """One pull request of the bot: which change it makes, for whom, and what became of the pull request.

    One of several models has ``parts``, and neither a model nor a version of its own.
    """

    environment: str
    number: int
    url: str
    head: str
    section: Section
    model: str
    before: int | None
    after: int | None
    digest: str
    way_back: bool
    requested_by: str = ""
    """The Slack user who asked for it; empty where nobody did so in Slack."""
    proposed_by: str = ""
    """The GitHub login behind it, where no Slack user is."""
    state: PullState = "open"
    merged_at: float = 0
    metrics: tuple[Metric, ...] = ()
    beside: tuple[str, ...] = ()
    """Changes besides the proposed one: nobody approves or merges that from Slack."""
    parts: tuple[Part, ...] = ()
    untold: int = 0
    """Number of further models that are not known: the facts of a message hold only so many."""

    @property
    def each(self) -> tuple[Promotion, ...]:
        """It for each of its models, as if that were alone; one of a single model is its only one."""
        if not self.parts:
            return (self,)
        return tuple(
            replace(
                self,
                section=part.section,
                model=part.model,
                before=part.before,
                after=part.after,
                digest=part.digest,
                parts=(),
                untold=0,
            )
            for part in self.parts
        )

    @property
    def key(self) -> str:
        """Names its message."""
        return f"{self.environment}/#{self.number}"

    @property
    def slot(self) -> Slot:
        """The place that it would change."""
        return Slot.of(self.environment, self.model, self.section)

    @property
    def thread(self) -> str:
        """Names what it is about, as a deployment knows it, too; of several models, :func:`is_about` tells that."""
        return self.key if self.parts else thread_of(self.slot, self.digest)

    def facts(self) -> dict[str, str]:
        """Return what goes along with its message, so that nothing is asked again that cannot change."""
        metrics = [[m.name, m.proposed, m.in_service, m.change, m.rule, m.passed, m.limit] for m in self.metrics]
        told = _that_fit(self.parts)
        of_several = {"parts": "\n".join(told), "untold": str(self.untold + len(self.parts) - len(told))}
        return {
            "environment": self.environment,
            "number": str(self.number),
            "url": self.url,
            "head": self.head,
            "section": self.section,
            "model": self.model,
            "before": str(self.before or ""),
            "after": str(self.after or ""),
            "digest": self.digest,
            "way_back": "yes" if self.way_back else "",
            "requested_by": self.requested_by,
            "proposed_by": self.proposed_by,
            "state": self.state,
            "merged_at": f"{self.merged_at:.6f}",
            "metrics": json.dumps(metrics),
            "beside": json.dumps(self.beside[:BESIDE_SHOWN]),
            "thread": self.thread,
            **(of_several if self.parts else {}),
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, str]) -> Promotion | None:
        """Read what went along with a message; None where it is about something else, or cannot be read."""
        try:
            state: PullState = "merged" if facts["state"] == "merged" else "closed"
            return cls(
                environment=facts["environment"],
                number=int(facts["number"]),
                url=facts["url"],
                head=facts["head"],
                section="shadow" if facts["section"] == "shadow" else "models",
                model=facts["model"],
                before=int(facts["before"]) if facts["before"] else None,
                after=int(facts["after"]) if facts["after"] else None,
                digest=facts["digest"],
                way_back=bool(facts["way_back"]),
                requested_by=facts["requested_by"],
                proposed_by=facts.get("proposed_by", ""),
                state="open" if facts["state"] == "open" else state,
                merged_at=float(facts["merged_at"]),
                metrics=tuple(Metric(*row) for row in json.loads(facts["metrics"])),
                beside=tuple(map(str, json.loads(facts.get("beside", "[]")))),
                parts=_parts_in(facts),
                untold=int(facts.get("untold", 0)),
            )
        except (KeyError, ValueError, TypeError):
            return None

    def became(self, state: PullState, *, merged_at: float = 0) -> Promotion:
        """Return it with what became of its pull request."""
        return replace(self, state=state, merged_at=merged_at)


def _that_fit(parts: Sequence[Part]) -> list[str]:
    """Return the parts as text, as many as a message takes along."""
    found, left = list[str](), PARTS_CHARACTERS
    for part in parts:
        text = part.to_text()
        left -= len(text) + len("\\n")  # between two of them, as JSON has it
        if left < 0:
            break
        found.append(text)
    return found


def _parts_in(facts: Mapping[str, str]) -> tuple[Part, ...]:
    return tuple(Part.from_text(line) for line in facts.get("parts", "").split("\n") if line)


def is_about(facts: Mapping[str, str], thread: str) -> bool:
    """Whether a message with these facts is the one whose thread has this name: also of one model among several."""
    if facts.get("thread") == thread:
        return True
    promotion = Promotion.from_facts(facts) if facts.get("parts") else None
    return promotion is not None and any(one.thread == thread for one in promotion.each)


def thread_of(slot: Slot, digest: str) -> str:
    """Return what a pull request and the deployment of it have in common."""
    return f"{slot.environment}/{slot.section}/{slot.model}/{digest.removeprefix('sha256:')[:12] or '-'}"


@dataclass(frozen=True)
class Bake:
    """The bake of what is served: it bakes since then, or did."""

    since: datetime
    is_over: bool


@dataclass(frozen=True)
class Progress:
    """The stage of a promotion, and the facts that show it."""

    stage: Stage
    evidence: Evidence | None = None
    record: DeploymentRecord | None = None
    then: DeploymentRecord | None = None
    """What replaced it."""
    held: Held | None = None
    """Why deployments refuse it, where they do."""
    bake: Bake | None = None
    """How it bakes, once it is served; None where nobody watches it."""
    merges_itself: str = ""
    """Why it merges by itself; empty where it does not."""
    no_longer: str = ""
    """Why it no longer merges by itself; empty where it never was to."""


_FIRST: tuple[Stage, ...] = (
    "red",
    "rollback failed",
    "put back",
    "failed",
    "held",
    "incomplete",
    "checking",
    "deploying",
    "merged",
    "green",
    "rolling out",
    "served",
    "left",
    "overtaken",
    "closed",
)
"""Of the stages of several models the first one here is that of their pull request."""


def progress_of_all(each: Sequence[Progress]) -> Progress:
    """Return the progress of a pull request of several models: its stage, and what shows it of the first such one."""
    return min(each, key=lambda one: _FIRST.index(one.stage))


def progress_of(
    promotion: Promotion,
    *,
    evidence: Iterable[Evidence],
    records: Iterable[DeploymentRecord],
    underway: Iterable[str],
    held: Held | None = None,
    is_asked: bool = True,
    bake: Callable[[DeploymentRecord], Bake | None] = lambda _: None,
) -> Progress:
    """Say how far it has come: ``evidence`` newest first, ``records`` oldest first, ``underway`` threads.

    ``held``: that deployments refuse it, where they do. ``is_asked``: whether main asks for it after the merge.
    ``bake``: how the version of a record bakes; asked of what is served.
    """
    found = next((one for one in evidence if one.head == promotion.head), None)
    if promotion.state == "closed":
        return Progress("closed", found)
    of_model = [r for r in records if r.slot == promotion.slot]
    # A way back may be in service before its pull request is merged; anything else only afterwards.
    since = [
        record
        for record in of_model
        if promotion.state == "merged" and record.finished_at.timestamp() >= promotion.merged_at
    ]
    own = next((record for record in since if _digest(record) == promotion.digest), None)
    if own is None and promotion.thread in set(underway) and promotion.state == "merged":
        return Progress("deploying", found)
    before = [record for record in of_model if record.verified and record not in since]
    if own is None and promotion.state == "merged" and before and _digest(before[-1]) == promotion.digest:
        own = before[-1]  # the runtime went back before Git did
    if own is None:
        if promotion.state == "merged":
            # What began before the merge has not seen it: its own deployment is still to come.
            # GitHub tells merges by the second. While main's wish is held, one of that second began before it.
            seen_from = promotion.merged_at + (1 if held is not None else 0)
            after = (record for record in since if record.started_at.timestamp() >= seen_from)
            then = next((record for record in after if record.verified), None)
            if then is None and held is not None:
                merged_at = datetime.fromtimestamp(promotion.merged_at, UTC)
                return Progress("held", found, held=Held(held.change, held.hold.no_earlier_than(merged_at)))
            return Progress("overtaken" if then or not is_asked else "merged", found, then=then)
        if promotion.beside:
            return Progress("red", found)
        return Progress("checking" if found is None else "green" if found.passed else "red", found)
    if own.outcome == "rolling out":
        # The newest step tells how far it is, or how it ended.
        steps = [record for record in since if _digest(record) == promotion.digest and not record.leaves_rollout]
        own = steps[-1]
    match own.outcome:
        case "rolling out":
            after = (record for record in since if record.finished_at > own.finished_at)
            then = next((record for record in after if record.verified and _digest(record) != promotion.digest), None)
            return Progress("left" if then else "rolling out", found, own, then)
        case "put back" | "failed" | "incomplete":
            later = [record for record in since if record.finished_at > own.finished_at]
            again = next((r for r in later if r.verified and _digest(r) == promotion.digest), None)
            if again is None:
                return Progress("rollback failed" if is_failed_rollback(own) else own.outcome, found, own)
            own = again
        case _:
            pass
    # A way back of which one gateway has not heard yet is what users get all the same.
    served = (record for record in since if record.verified or record.outcome == "incomplete")
    later = [record for record in served if record.finished_at > own.finished_at]
    then = next((record for record in later if _digest(record) != promotion.digest), None)
    return Progress("left", found, own, then) if then else Progress("served", found, own, bake=bake(own))


def _digest(record: DeploymentRecord) -> str:
    return record.after.digest if record.after else ""
