"""The end of a deployment, and what to do about it, for sensors that wait for it."""

from __future__ import annotations

from collections.abc import Iterable

from bot.domain.record import DeploymentRecord
from bot.render.deployment import is_unblamed, verdict


def what_happened(record: DeploymentRecord) -> str:
    """Return how a deployment ended, and why."""
    why = f" What happened: {record.problem}" if record.problem else ""
    return f"{verdict(record)}{why}"


def way_back(record: DeploymentRecord, reverts: Iterable[str]) -> str:
    """Return what to do about how a deployment ended; an empty string where nothing is to be done."""
    match record.outcome:
        case "succeeded" | "rolling out":
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
