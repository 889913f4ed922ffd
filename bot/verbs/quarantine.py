"""``promobot quarantine``: list the digests that failed here, and let a person allow one again."""

from __future__ import annotations

from dataclasses import dataclass

from bot.errors import Refused
from bot.settings import Environment
from bot.systems.records import RecordStore
from bot.verbs.ledger import Ledger, QuarantineEvent


@dataclass(frozen=True)
class Quarantine:
    """What is in quarantine; ``lifted`` is what was just taken out."""

    environment: str
    events: tuple[QuarantineEvent, ...]
    lifted: QuarantineEvent | None = None


def list_quarantine(settings: Environment) -> Quarantine:
    """Return what is in quarantine now."""
    ledger = Ledger(RecordStore(settings.records), settings.environment)
    return Quarantine(settings.environment, tuple(ledger.quarantined().values()))


def lift(settings: Environment, *, digest: str, reason: str, by: str) -> Quarantine:
    """Take a digest out of quarantine; the beginning of it is enough where it is unique."""
    ledger = Ledger(RecordStore(settings.records), settings.environment)
    wanted = digest.removeprefix("sha256:")
    found = [e for d, e in ledger.quarantined().items() if wanted and d.removeprefix("sha256:").startswith(wanted)]
    if len(found) != 1:
        what = "several digests begin" if found else "nothing in quarantine begins"
        raise Refused(
            f"{what} with {digest!r} in {settings.environment}",
            state="Nothing was changed.",
            next_step=f"`promobot quarantine list --env {settings.environment}` lists them.",
        )
    ledger.lift_quarantine(found[0], reason=reason, by=by)
    return Quarantine(settings.environment, tuple(ledger.quarantined().values()), found[0])
