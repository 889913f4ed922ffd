"""``promobot history``: what was deployed, and what was in service at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bot.domain.desired import Desired
from bot.domain.hold import Held
from bot.domain.nearest import did_you_mean
from bot.domain.record import DeploymentRecord, served_after
from bot.errors import InvalidInput, PromobotError
from bot.operations.holding import what_is_held
from bot.platform import Platform


@dataclass(frozen=True)
class History:
    """Deployments, newest first, each with where it comes from.

    With ``at`` it is what was in service then, and since which deployment. ``model`` is what was asked for, and
    ``models`` all that was ever deployed here.
    """

    environment: str
    records: tuple[DeploymentRecord, ...]
    at: datetime | None = None
    in_service: Desired | None = None
    since: str = ""
    model: str | None = None
    models: tuple[str, ...] = ()
    held: tuple[Held, ...] = ()
    """The changes that are held now. ``unknown`` says why they, or the time since when, cannot be seen."""
    unknown: str = ""


def history(platform: Platform, *, model: str | None, at: datetime | None, limit: int) -> History:
    """Read the records; ``model`` narrows the list, ``at`` asks what was in service at that time."""
    records = platform.ledger.deployments()
    if at is not None:
        until = [record for record in records if record.finished_at <= at]
        last = until[-1] if until else None
        served = served_after(platform.environment, until)
        return History(platform.environment, (), at, served, last.id if last else "")
    chosen = [record for record in records if model is None or record.model == model]
    models = tuple(sorted({record.model for record in records}))
    held, unknown = _held(platform, model)
    newest = tuple(platform.ledger.with_origins(chosen[::-1][:limit]))
    return History(platform.environment, newest, model=model, models=models, held=held, unknown=unknown)


def _held(platform: Platform, model: str | None) -> tuple[tuple[Held, ...], str]:
    """Return what has no record because deployments refuse it, or why that cannot be seen."""
    unclear: list[str] = []
    try:
        within = platform.settings.deadlines.request_seconds
        held = what_is_held(platform, within_seconds=within, say=unclear.append)
    except PromobotError as error:
        return (), str(error)
    return tuple(one for one in held if model in (None, one.change.model)), "; ".join(unclear)


def show(platform: Platform, deployment: str) -> DeploymentRecord:
    """Return one deployment's record with where it comes from; raise InvalidInput for another id.

    The error names the nearest that there are.
    """
    records = {record.id: record for record in platform.ledger.deployments()}
    if deployment not in records:
        newest = ", ".join(list(records)[-3:][::-1])
        step = f"{did_you_mean(deployment, records)}" + (f"The newest are {newest}." if newest else "")
        raise InvalidInput(f"there is no deployment {deployment!r:.80}", key="RECORD", next_step=step)
    return platform.ledger.with_origins([records[deployment]])[0]
