"""Whether a change may be deployed at all: evidence, quarantine, freezes. The way back asks for none of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from bot.domain.desired import Change, Section
from bot.domain.evidence import Evidence
from bot.verbs.deployment.run import Run
from bot.words import deployment as words


@dataclass(frozen=True)
class Admission:
    """Whether a change may go on: ``held`` says why not. What goes on must answer as the evidence says."""

    held: str = ""
    evidence: Evidence | None = None


def admit(run: Run, change: Change) -> Admission:
    """Decide on one change. A quarantine holds it whatever else is true, and the way back asks for nothing more."""
    if change.after is None:
        return Admission()
    quarantine = run.ledger.quarantined().get(change.after.digest)
    if quarantine is not None:
        return Admission(words.held_by_quarantine(quarantine.reason, quarantine.at))
    if run.goes_back(change):
        return Admission(evidence=seen_once(run, change.model, change.after.digest, change.section))
    now = datetime.now(UTC)
    for freeze in run.settings.freezes:
        if freeze.start <= now < freeze.end:
            return Admission(words.held_by_freeze(freeze.reason, freeze.end))
    evidence = run.ledger.evidence(change.model, change.after.digest, change.section)
    if evidence is None:
        return Admission(words.no_evidence(change.after))
    return Admission(_why_unproven(evidence, now), evidence)


def seen_once(run: Run, model: str, digest: str, section: Section) -> Evidence | None:
    """Return what the checks saw of a version that was in service: what staging answered once holds for good."""
    evidence = run.ledger.evidence(model, digest, section)
    return evidence if evidence is not None and evidence.passed else None


def is_quarantined(run: Run, change: Change) -> bool:
    """Whether what this change asks for failed here before."""
    return change.after is not None and change.after.digest in run.ledger.quarantined()


def _why_unproven(evidence: Evidence, now: datetime) -> str:
    if not evidence.passed:
        return words.failed_evidence(evidence)
    return words.expired_evidence(evidence) if evidence.expires <= now else ""
