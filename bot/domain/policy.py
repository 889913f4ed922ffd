"""Decisions of policies, on values: whether a pull request may merge by itself, and why not. No I/O, no clock.

A policy does what a person could do, by the same requests. The settings say when; GitHub's branch rules decide last.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from bot.domain.desired import Change, Desired, Entry
from bot.domain.record import DeploymentRecord, served_after
from bot.domain.release import Slot
from bot.domain.scope import Kind
from bot.domain.windows import Closed

Checked = Literal["green", "red", "expired", "revoked", "not yet"]
"""The state of the checks of a pull request's newest commit, as the record store knows it."""

Cause = Literal[
    "no rule",
    "settings",
    "branch rules",
    "token",
    "kind",
    "not the bot's",
    "not asked for",
    "person's commit",
    "beside",
    "draft",
    "switched off",
    "quarantine",
    "clean",
    "taken back",
    "way back",
    "under way",
    "shut",
    "checks",
    "would be held",
]
"""
no rule          the settings have no ``merge``
settings         the environment file has a mistake, so its rules are not known
branch rules     the branch does not require the check Verdict, so nothing would decide
token            GitHub starts no workflow for what the bot's token does, so nothing would deploy it
kind             a person decides on it: a retirement, or a way back that users have not got yet
not the bot's    somebody else opened it
not asked for    no record says that the bot was asked for exactly this
person's commit  somebody pushed to its branch
beside           it changes more than its entry
draft            it is a draft: a person wants it to wait
switched off     a person switched GitHub's auto-merge off again
quarantine       a digest that it asks for is in quarantine
clean            the model has too few clean releases
taken back       the same, and a release that was no good is why
way back         the model went back, and nothing that a person proposed was verified since
under way        a deployment or a rollout of the model is under way, and nobody knows how it ends
shut             a freeze, or outside the windows
checks           its checks are not green
would be held    a deployment would refuse it now
"""


class Rule(Protocol):
    """When a pull request merges by itself, as the settings have it."""

    @property
    def when(self) -> str:
        """``checks pass``."""

    @property
    def after_clean(self) -> int | None:
        """Clean releases that a model needs first; None for none."""


# --- how well releases of a model went -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Clean:
    """The number of releases of a slot that went well in a row, since ``broken_by`` broke the row before."""

    count: int
    broken_by: DeploymentRecord | None = None

    @property
    def why(self) -> str:
        """What broke the row, in words; empty where nothing did."""
        return "" if self.broken_by is None else f"{self.broken_by.id}: {_ended(self.broken_by)}"


def clean_releases(
    records: Iterable[DeploymentRecord],
    slot: Slot,
    baked: Collection[str] | None = None,
    breached: Collection[str] = (),
) -> Clean:
    """Return how many releases of a slot went well since the last that did not; ``records`` come oldest first.

    A release counts once it is verified for all users, and where the settings bake, once it is baked. ``baked`` and
    ``breached`` are rollouts of which that was noted, by :func:`rollout_of`; ``baked`` is None where nothing bakes.
    A release that failed or was put back, a way back, and a breach begin the count anew.
    """
    clean: list[str] = []
    broken_by: DeploymentRecord | None = None
    for record in records:
        if record.slot != slot:
            continue
        release = rollout_of(record)
        if record.way_back or not record.is_well or release in breached:
            clean, broken_by = [], record
        elif record.verified and _is_release(record) and release not in clean:
            clean += [release] if baked is None or release in baked else []
    return Clean(len(clean), broken_by)


def rollout_of(record: DeploymentRecord) -> str:
    """Return the name under which notes speak of a release: the record of its first step."""
    return record.rollout.id if record.rollout else record.id


def _is_release(record: DeploymentRecord) -> bool:
    """Whether users got something new, and not the same bytes again, or nothing."""
    if record.after is None:
        return False
    is_same = record.before is not None and record.before.names_the_same_as(record.after)
    # Of a bundle a part may stay while the others change. A record says why where bytes are published again.
    return not is_same or (record.bundle is not None and not record.reason)


def _ended(record: DeploymentRecord) -> str:
    """Return how a release that broke the row ended, in words."""
    how = "rolled back" if record.way_back and record.is_well else record.outcome
    why = record.problem or record.reason
    return f"{how} ({why})" if why else how


# --- after a way back ----------------------------------------------------------------------------------------------


def held_after_way_back(
    records: Iterable[DeploymentRecord], is_policys: Callable[[DeploymentRecord], bool]
) -> DeploymentRecord | None:
    """Return the way back after which policies leave a slot alone; None where there is none, or it is over.

    It is over once something that a person proposed is verified there. ``records`` are those of the slot, oldest
    first. ``is_policys`` says whether what one brought was proposed by a policy; it is asked of releases after a way
    back only. A release that was put back is a way back, too.
    """
    found: DeploymentRecord | None = None
    for record in records:
        if record.way_back or record.outcome == "put back":
            found = record
        elif found is not None and record.verified and _is_release(record) and not is_policys(record):
            found = None
    return found


# --- whether a pull request merges by itself -----------------------------------------------------------------------


VERDICT = "Verdict"


def requires_verdict(checks: Iterable[str]) -> bool:
    """Say whether the check Verdict is among these, also as a workflow is called that has it."""
    return any(name == VERDICT or name.endswith(f"/ {VERDICT}") for name in checks)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An open pull request from a branch of the bot, as GitHub, Git and the records tell of it.

    ``by_the_bot``: the bot that looks opened it. ``was_asked``: the records say that the bot was asked for exactly
    these changes, which no name and no text can say. ``people`` are commits that are not the bot's, and ``beside``
    is what it changes besides its entries, in words. ``switched_off``: a person took GitHub's auto-merge off again.
    """

    number: int
    head: str
    kind: Kind
    changes: tuple[Change, ...]
    by_the_bot: bool
    was_asked: bool
    checked: Checked
    people: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    is_draft: bool = False
    switched_off: bool = False
    would_be_held: str = ""
    """Why a deployment would refuse it now; empty where it would take it."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What holds in an environment when somebody looks. ``records`` come oldest first.

    ``requires_verdict``: the branch's own rules require the check Verdict. ``starts_workflows``: GitHub starts
    workflows for what the bot does. ``mistake`` is one in the environment file. ``baked`` and ``breached`` are as in
    :func:`clean_releases`, and ``bakes`` says of which models that asks. ``underway`` is what a deployment changes
    right now. ``counts_as`` names the model whose releases count for another: of a bundle the part that users ask.
    """

    environment: str
    rule: Rule | None
    records: Sequence[DeploymentRecord]
    quarantined: Collection[str]
    requires_verdict: bool
    starts_workflows: bool = True
    mistake: str = ""
    shut: Closed | None = None
    bakes: Collection[str] = ()
    baked: Collection[str] = ()
    breached: Collection[str] = ()
    underway: Collection[Slot] = ()
    counts_as: dict[str, str] | None = None
    after_way_back: Callable[[Slot], DeploymentRecord | None] = lambda _: None
    """Returns what :func:`held_after_way_back` says of a slot."""

    def clean_of(self, model: str) -> Clean:
        """Return how releases of a model went, on its live lane."""
        slot = self.counted_slot(model)
        baked = self.baked if slot.model in self.bakes else None
        return clean_releases(self.records, slot, baked, self.breached)

    def counted_slot(self, model: str) -> Slot:
        """Return the slot whose releases count for a model."""
        return Slot.of(self.environment, (self.counts_as or {}).get(model, model), "models")


@dataclass(frozen=True)
class Reason:
    """One reason why a pull request does not merge by itself, in words; ``until`` when, where that is known."""

    cause: Cause
    said: str
    until: datetime | None = None


@dataclass(frozen=True)
class MayMerge:
    """GitHub may merge it as soon as its branch rules allow it."""

    why: str


@dataclass(frozen=True)
class MustWait:
    """It does not merge by itself, for all of these reasons; the first is the one to tell."""

    reasons: tuple[Reason, ...]

    @property
    def why(self) -> str:
        """The reasons in one line."""
        return "; ".join(reason.said for reason in self.reasons)

    @property
    def causes(self) -> frozenset[Cause]:
        """The kinds of reasons."""
        return frozenset(reason.cause for reason in self.reasons)

    @property
    def until(self) -> datetime | None:
        """When the last of them ends by itself; None where one does not, or nobody knows."""
        ends = [reason.until for reason in self.reasons]
        return max(known) if (known := [end for end in ends if end]) and len(known) == len(ends) else None


def may_merge(pull: Candidate, standing: Standing) -> MayMerge | MustWait:
    """Say whether a pull request may merge by itself, and why, or every reason why not."""
    rule = standing.rule
    if rule is None:
        return MustWait((Reason("no rule", "the settings let nothing merge by itself"),))
    reasons = [*_of_itself(pull, standing)]
    if follows_users(pull, standing):
        # Users have it already: merging changes nothing for them, and main stops asking for what is bad.
        return MustWait(tuple(reasons)) if reasons else MayMerge("users have it already, and main follows")
    reasons += _of_what_is_new(pull, standing, rule)
    return MustWait(tuple(reasons)) if reasons else MayMerge(_why(pull, standing, rule))


def follows_users(pull: Candidate, standing: Standing) -> bool:
    """Whether a way back asks for exactly what users get already, so that only main is behind.

    The records say what users get; no text of a pull request does.
    """
    if pull.kind != "way back" or not pull.changes:
        return False
    served = served_after(standing.environment, standing.records)
    return all(_names(change.after) == _names(_serves(served, change)) for change in pull.changes)


def _serves(served: Desired, change: Change) -> Entry | None:
    return served.section(change.section).get(change.model)


def _names(entry: Entry | None) -> tuple[int, str] | None:
    return None if entry is None else (entry.version, entry.digest)


def _of_itself(pull: Candidate, standing: Standing) -> list[Reason]:
    """Return what keeps a pull request from merging by itself, whatever it asks for."""
    found = []
    if not standing.requires_verdict:
        said = "the branch's rules do not require the check Verdict, so nothing would decide"
        found.append(Reason("branch rules", said))
    if not standing.starts_workflows:
        found.append(
            Reason("token", "GitHub starts no workflow for what the bot's token does, so none would deploy it")
        )
    if not pull.by_the_bot:
        found.append(Reason("not the bot's", "somebody else opened it"))
    if not pull.changes:
        found.append(Reason("beside", "it changes no entry"))
    if pull.people:
        found.append(Reason("person's commit", f"a commit on its branch is not the bot's: {pull.people[0]}"))
    if pull.beside:
        found.append(Reason("beside", f"it changes more than its entry: {pull.beside[0]}"))
    if not pull.was_asked:
        found.append(Reason("not asked for", "no record says that the bot was asked for exactly this"))
    if pull.is_draft:
        found.append(Reason("draft", "it is a draft"))
    if pull.switched_off:
        found.append(Reason("switched off", "somebody switched auto-merge off"))
    asked = [change.after for change in pull.changes if change.after is not None]
    held = [entry for entry in asked if entry.digest in standing.quarantined]
    judged = [change.judged_digest for change in pull.changes]
    if held or any(digest in standing.quarantined for digest in judged):
        found.append(Reason("quarantine", "what it asks for is in quarantine"))
    if pull.checked != "green":
        said = {"not yet": "are not all there yet", "red": "did not pass"}.get(pull.checked, f"are {pull.checked}")
        found.append(Reason("checks", f"its checks {said}"))
    if pull.would_be_held:
        found.append(Reason("would be held", f"a deployment would hold it: {pull.would_be_held}"))
    return found


def _of_what_is_new(pull: Candidate, standing: Standing, rule: Rule) -> list[Reason]:
    """Return what keeps a new thing from merging by itself."""
    found = []
    if standing.mistake:
        found.append(Reason("settings", f"the environment file has a mistake ({standing.mistake})"))
    if pull.kind != "proposal":
        found.append(Reason("kind", "a person decides on it"))
    if standing.shut is not None:
        found.append(Reason("shut", standing.shut.said, standing.shut.until))
    for model in dict.fromkeys(change.model for change in pull.changes):
        found += _of_model(model, standing, rule)
    return found


def _of_model(model: str, standing: Standing, rule: Rule) -> list[Reason]:
    found = []
    slot = standing.counted_slot(model)
    newest = next((record for record in reversed(standing.records) if record.slot == slot), None)
    if slot in standing.underway:
        found.append(Reason("under way", f"a deployment of {slot.model} is under way"))
    elif newest is not None and newest.outcome == "rolling out":
        found.append(Reason("under way", f"{newest.id} is still being rolled out"))
    if rule.after_clean is not None:
        clean = standing.clean_of(model)
        if clean.count < rule.after_clean:
            count = f"{clean.count} of {rule.after_clean} clean releases of {slot.model}"
            taken = Reason("taken back", f"taken back at {clean.why}; {count} since")
            found.append(taken if clean.broken_by else Reason("clean", count))
    if (back := standing.after_way_back(slot)) is not None:
        said = f"{slot.model} went back at {back.id}, and nothing that a person proposed was verified since"
        found.append(Reason("way back", said))
    return found


def _why(pull: Candidate, standing: Standing, rule: Rule) -> str:
    if rule.after_clean is None:
        return "its checks passed"
    counts = {standing.counted_slot(change.model).model: standing.clean_of(change.model) for change in pull.changes}
    said = ", ".join(f"{clean.count} clean releases of {model}" for model, clean in sorted(counts.items()))
    return f"its checks passed; {said}"


# --- what was decided ----------------------------------------------------------------------------------------------

State = Literal["done", "due", "waits", "held"]
"""
done   it is done
due    asked for, and GitHub or a deployment has it
waits  it is to be done and could not be now; it is tried again
held   the rules do not allow it now
"""


@dataclass(frozen=True)
class Decided:
    """A decision of a policy, as ``watch``, ``status`` and the board show it.

    ``model`` names several where a pull request is about several. ``until`` is when it ends by itself.
    """

    model: str
    kind: Literal["merge", "promote", "deploy"]
    state: State
    said: str
    until: datetime | None = None
    pull_request: int | None = None

    @property
    def line(self) -> str:
        """Return it for a terminal."""
        return f"{f'#{self.pull_request} ' if self.pull_request else ''}{self.model}: {self.said}"
