"""The two questions of a sensor or a waiting command: is this version READY, and what became of this proposal?

Each look is short and changes nothing. "Not yet" is a value, and so is every end. A system that does not answer
raises Unavailable, as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bot.domain.bundled import spoken_slot
from bot.domain.desired import Section
from bot.domain.evidence import Evidence
from bot.domain.names import short
from bot.domain.record import DeploymentRecord
from bot.domain.release import Release, Slot
from bot.domain.scope import revert_branch
from bot.operations.propose import ensure_complete, not_ready
from bot.platform import Platform
from bot.render import awaiting as words
from bot.render.deployment import checked_in

if TYPE_CHECKING:
    from bot.records.ledger import Ledger
    from bot.systems.github import PullRequest
    from bot.systems.mlflow import Registry


@dataclass(frozen=True)
class NotYet:
    """Look again later; ``said`` is how things are now."""

    said: str


@dataclass(frozen=True)
class Ready:
    """A version that MLflow calls READY, and whose package is whole."""

    model: str
    version: int
    digest: str
    run: str


EndOutcome = Literal["succeeded", "unconfirmed", "incomplete", "put back", "failed", "refused"]


@dataclass(frozen=True)
class Ended:
    """What became of a proposal.

    ``refused`` means that no deployment of it ever began, and none will by itself: closed, replaced, held for good.
    The others are those of the deployment record ``record``. ``next_step`` is empty where nothing is to be done.
    """

    outcome: EndOutcome
    said: str
    next_step: str = ""
    record: str = ""


@dataclass(frozen=True)
class Awaited:
    """The proposal whose end is waited for.

    ``pull_request`` is None where main asked for it already. ``newest_record`` is the environment's newest deployment
    when it was proposed: only what is newer can be the deployment of it. That asks no two machines for the time.
    """

    model: str
    version: int
    digest: str
    section: Section = "models"
    pull_request: int | None = None
    newest_record: str = ""
    run: str = ""
    """Empty where an earlier version of promobot proposed it."""

    def slot(self, environment: str) -> Slot:
        """Return the place in this environment for which it is proposed."""
        return Slot.of(environment, self.model, self.section)


def look_for_ready(registry: Registry, *, model: str, version: int) -> Ready | NotYet:
    """Say whether the version is READY and whole.

    Raises Refused where its registration failed, Rejected where there is no such version or its package is not whole:
    READY alone says little, since MLflow's own store says it at once, also of a source without files.
    """
    registered = registry.version(model, version, with_run=False)
    if registered.status == "PENDING_REGISTRATION":
        return NotYet(f"{model} {version} is {registered.status}")
    if registered.status != "READY":
        raise not_ready(registered)
    package = registry.package(registered)
    ensure_complete(registry, registered, package)
    return Ready(model, version, package.digest, registered.run)


def look_for_end(platform: Platform, awaited: Awaited) -> Ended | NotYet:
    """Say what became of a proposal, by the records and GitHub."""
    ledger = platform.ledger
    own, others = _deployments(ledger, awaited)
    if own is not None:
        if own.outcome != "rolling out":
            return _ended(platform, own, own.outcome)
        if others:
            return Ended("refused", *_broken_off(awaited.model, awaited.version, others[-1]), record=others[-1].id)
        return NotYet(words.what_happened(own))
    pull = platform.github.pull_request(awaited.pull_request) if awaited.pull_request else None
    if pull is not None and not pull.merged:
        if pull.state == "open":
            found = ledger.evidence_of(awaited.slot(ledger.environment), awaited.digest)
            return NotYet(_is_open(pull.number, next((one for one in found if one.head == pull.head), None)))
        return Ended(
            "refused",
            f"#{pull.number} was closed without being merged",
            "Propose again, or leave it.",
        )
    return _merged(ledger, awaited, pull, others)


def _deployments(ledger: Ledger, awaited: Awaited) -> tuple[DeploymentRecord | None, list[DeploymentRecord]]:
    """Return the newest deployment of what is awaited, and what else of the model went into service after it."""
    records = ledger.deployments(after=awaited.newest_record)
    slot = awaited.slot(ledger.environment)
    of_model = [record for record in records if record.slot == slot and not record.leaves_rollout]
    own = next((r for r in reversed(of_model) if r.after is not None and r.after.digest == awaited.digest), None)
    others = [r for r in of_model if r.verified and r is not own and (own is None or r.id > own.id)]
    if awaited.pull_request is None and others:
        return None, []  # it was in service once and was replaced; now main asks for it again
    return own, others


def _merged(
    ledger: Ledger, awaited: Awaited, pull: PullRequest | None, others: list[DeploymentRecord]
) -> Ended | NotYet:
    """Say what keeps what main asks for, or asked for, from being deployed."""
    model, version, environment = awaited.model, awaited.version, ledger.environment
    if others:
        return Ended("refused", *_replaced(model, version, others[-1]), record=others[-1].id)
    if event := ledger.quarantined().get(awaited.digest):
        return Ended(
            "refused",
            (
                f"{model} {version} ({short(awaited.digest)}) is in quarantine in {environment}: "
                f"{event.reason or 'no reason was given'}"
            ),
            (
                f"Merge the revert that the bot opened. `promobot quarantine lift {awaited.digest} --env "
                f"{environment}` allows it again."
            ),
        )
    evidence = _evidence(ledger, awaited, pull) if pull is not None else None
    if evidence is not None and (evidence.revoked is not None or not evidence.passed):
        return Ended("refused", *_unchecked(model, version, environment, evidence))
    return NotYet(
        f"main asks for {model} {version} in {environment}, and there is no record of a deployment "
        "yet; the run of the workflow Deploy says why, where it is held"
    )


def _evidence(ledger: Ledger, awaited: Awaited, pull: PullRequest) -> Evidence | None:
    """Return the newest evidence that counts for what is awaited; None without one."""
    slot = awaited.slot(ledger.environment)
    found = ledger.evidence_of(slot, awaited.digest)
    if awaited.run:
        release = Release(slot, awaited.version, awaited.digest, awaited.run)
        return next((one for one in found if one.covers(release)), None)
    # The commit pins the entry, and so does main, which was checked again.
    return next((one for one in found if one.head == pull.head or one.pull_request is None), None)


def _ended(platform: Platform, record: DeploymentRecord, outcome: EndOutcome) -> Ended:
    reverts: list[str] = []
    if record.outcome in ("put back", "failed"):
        branch = revert_branch(spoken_slot(record.slot, record.bundle))
        found = platform.github.open_pull_requests(prefix=branch)
        reverts = [pull.url for pull in found if pull.branch == branch]
    said, next_step = words.what_happened(record), words.way_back(record, reverts)
    return Ended(outcome, said, next_step, record.id)


def _is_open(number: int, found: Evidence | None) -> str:
    """Nobody merged it yet."""
    checks = (
        "its checks are not done" if found is None else "its checks passed" if found.passed else "its checks failed"
    )
    return f"#{number} is open, and {checks}"


def _replaced(model: str, version: int, by: DeploymentRecord) -> tuple[str, str]:
    """Another version went into service instead."""
    now = f"version {by.after.version}" if by.after else "nothing"
    return (
        f"{model} {version} was never deployed to {by.environment}: {now} was asked for instead ({by.id})",
        "Propose it again, if it is still wanted.",
    )


def _broken_off(model: str, version: int, by: DeploymentRecord) -> tuple[str, str]:
    """Its rollout ended before all users got it."""
    now = f"version {by.after.version}" if by.after else "nothing"
    return (
        f"{model} {version} answered some users in {by.environment}, and its rollout ended: {now} is in service "
        f"since ({by.id})",
        f"`promobot history {model} --env {by.environment}` tells why.",
    )


def _unchecked(model: str, version: int, environment: str, evidence: Evidence) -> tuple[str, str]:
    """A deployment would hold it, because its checks do not vouch for it."""
    said = "was revoked" if evidence.revoked else "did not pass"
    return (
        f"{model} {version} was merged, and deploy holds it: its evidence {checked_in(evidence)} {said}",
        f"Revert the pull request, or check again: `promobot recheck {model} --env {environment}`.",
    )
