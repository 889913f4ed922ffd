"""Whether a change may be deployed at all: evidence, quarantine, freezes. The way back asks for none of them."""

from __future__ import annotations

from datetime import UTC, datetime

from bot.domain.desired import Change, Entry
from bot.domain.evidence import Evidence
from bot.verbs.deployment.run import Run
from bot.words import deployment as words


def why_held(run: Run, change: Change) -> str:
    """Say why this change must not be deployed; an empty string where nothing is against it."""
    if change.after is None:
        return ""
    quarantine = run.ledger.quarantined().get(change.after.digest)
    if quarantine is not None:
        return words.held_by_quarantine(quarantine.reason, quarantine.at)
    if run.goes_back(change):
        return ""
    now = datetime.now(UTC)
    for freeze in run.settings.freezes:
        if freeze.start <= now < freeze.end:
            return words.held_by_freeze(freeze.reason, freeze.end)
    evidence = run.ledger.evidence(change.model, change.after.digest, change.section)
    return _why_unproven(evidence, change.after, now)


def is_quarantined(run: Run, change: Change) -> bool:
    """Whether what this change asks for failed here before."""
    return change.after is not None and change.after.digest in run.ledger.quarantined()


def _why_unproven(evidence: Evidence | None, entry: Entry, now: datetime) -> str:
    if evidence is None:
        return words.no_evidence(entry)
    if not evidence.passed:
        return words.failed_evidence(evidence)
    return words.expired_evidence(evidence) if evidence.expires <= now else ""
