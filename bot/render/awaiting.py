"""Answers for sensors and commands that wait: for a version to be READY, and for the end of a proposal."""

from __future__ import annotations

from collections.abc import Iterable

from bot.domain.evidence import Evidence
from bot.domain.names import short
from bot.domain.record import DeploymentRecord
from bot.render.deployment import checked_in, is_unblamed, verdict


def not_ready_yet(model: str, version: int, status: str) -> str:
    """MLflow does not say READY yet."""
    return f"{model} {version} is {status}"


def stopped(model: str, version: int, environment: str, reason: str) -> str:
    """Nothing was proposed."""
    return f"{model} {version} is not proposed to {environment}: {reason}"


def is_open(number: int, found: Evidence | None) -> str:
    """Nobody merged it yet."""
    checks = (
        "its checks are not done" if found is None else "its checks passed" if found.passed else "its checks failed"
    )
    return f"#{number} is open, and {checks}"


def no_record_yet(model: str, version: int, environment: str) -> str:
    """It is asked for; no deployment of it is over."""
    return (
        f"main asks for {model} {version} in {environment}, and there is no record of a deployment yet; "
        f"the run of the workflow Deploy says why, where it is held"
    )


def closed(number: int) -> tuple[str, str]:
    """Somebody closed it: what happened, and what to do."""
    return f"#{number} was closed without being merged", "Propose again, or leave it."


def replaced(model: str, version: int, by: DeploymentRecord) -> tuple[str, str]:
    """Another version went into service instead."""
    now = f"version {by.after.version}" if by.after else "nothing"
    return (
        f"{model} {version} was never deployed to {by.environment}: {now} was asked for instead ({by.id})",
        "Propose it again, if it is still wanted.",
    )


def quarantined(model: str, version: int, digest: str, environment: str, reason: str) -> tuple[str, str]:
    """Deploy holds it, and always will."""
    return (
        f"{model} {version} ({short(digest)}) is in quarantine in {environment}: {reason or 'no reason was given'}",
        f"Merge the revert that the bot opened. "
        f"`promobot quarantine lift {digest} --env {environment}` allows it again.",
    )


def unchecked(model: str, version: int, environment: str, evidence: Evidence) -> tuple[str, str]:
    """A deployment would hold it, because its checks do not vouch for it."""
    said = "was revoked" if evidence.revoked else "did not pass"
    return (
        f"{model} {version} was merged, and deploy holds it: its evidence {checked_in(evidence)} {said}",
        f"Revert the pull request, or check again: `promobot recheck {model} --env {environment}`.",
    )


def what_happened(record: DeploymentRecord) -> str:
    """Return how a deployment ended, and why."""
    why = f" What happened: {record.problem}" if record.problem else ""
    return f"{verdict(record)}{why}"


def way_back(record: DeploymentRecord, reverts: Iterable[str]) -> str:
    """Return what to do about how a deployment ended; an empty string where nothing is to be done."""
    match record.outcome:
        case "succeeded":
            return ""
        case "unconfirmed":
            return (
                f"The next deployment delivers the message (`promobot deploy --env {record.environment}`); "
                "what waited for it can then be run again."
            )
        case "incomplete":
            return f"When every gateway answers: `promobot deploy --env {record.environment}`."
        case "put back" | "failed":
            urls = ", ".join(reverts)
            if urls and is_unblamed(record):
                deploy = f"`promobot deploy --env {record.environment}`"
                return f"No digest is blamed: fix the cause, then {deploy}. Or merge the revert: {urls}"
            if urls:
                return f"Merge the revert, so that main says what is served: {urls}"
            to = f" --to {record.before.version}" if record.before else ""
            return (
                f"main still asks for it: `promobot deploy --env {record.environment}` tries again, "
                f"`promobot rollback {record.model} --env {record.environment}{to}` takes it back."
            )


def timed_out(seconds: float, last: str) -> str:
    """Waited long enough."""
    return f"not within {seconds:g} s; at the end: {last}"


def does_not_answer(error: Exception) -> str:
    """A system could not be asked; it is asked again."""
    return f"asked in vain: {error}"
