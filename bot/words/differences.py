"""In which ways the world may differ from what Git says, each with what to type about it."""

from __future__ import annotations

from bot.domain.desired import Change
from bot.domain.names import short
from bot.domain.routes import Target
from bot.words.deployment import describe

DOCTOR = "promobot doctor"
UNFINISHED = "a deployment is under way, or was cut off"
ALIAS_STEP = "it decides nothing; the next deployment of the model moves it"


def deploy(environment: str) -> str:
    """Converge."""
    return f"promobot deploy --env {environment}"


def merge_revert(change: Change) -> str:
    """Git must follow."""
    return f"merge the revert of {change.model}, or: promobot rollback {change.model} --env {change.environment}"


def differs(change: Change, held: str) -> str:
    """Desired is not what is routed."""
    why = f", held in quarantine: {held}" if held else ""
    now = f"{change.before.version} is live" if change.before else "nothing is live"
    return f"{describe(change)} is desired, {now}{why}"


def not_loaded(target: Target, triton: str) -> str:
    """A Triton lacks what is routed to it."""
    return f"{target.triton_model} {target.version} is routed but not READY on Triton {triton}"


def behind(gateway: str, generation: int, wanted: int) -> str:
    """A gateway serves other routes."""
    return f"gateway {gateway} serves generation {generation}, not {wanted}"


def undelivered(name: str) -> str:
    """Slack has not taken a message."""
    return f"the message of {name} is in the outbox"


def alias_differs(model: str, alias: str, there: int | None, wanted: int) -> str:
    """MLflow shows something else."""
    return f"MLflow's alias {model}@{alias} is {there or 'not set'}, desired is {wanted}"


def in_quarantine(model: str, version: int, digest: str, reason: str) -> str:
    """A digest that failed."""
    return f"{model} {version} ({short(digest)}): {reason}"
