"""``promobot quarantine``: list the digests that failed here, and let a person allow one again."""

from __future__ import annotations

from dataclasses import dataclass

from bot.domain.desired import SECTIONS
from bot.domain.record import served_after
from bot.errors import InvalidInput, Refused
from bot.settings import Environment
from bot.verbs import connect
from bot.verbs.ledger import Ledger, QuarantineEvent


@dataclass(frozen=True)
class Quarantine:
    """What is in quarantine; ``lifted`` is what was just taken out. ``in_service`` names the digests that are."""

    environment: str
    events: tuple[QuarantineEvent, ...]
    in_service: tuple[str, ...] = ()
    lifted: QuarantineEvent | None = None


def list_quarantine(settings: Environment) -> Quarantine:
    """Return what is in quarantine now."""
    return _found(settings, connect.ledger(settings))


def lift(settings: Environment, *, digest: str, reason: str, by: str) -> Quarantine:
    """Take a digest out of quarantine; the beginning of it is enough where it is unique."""
    ledger = connect.ledger(settings)
    wanted = digest.removeprefix("sha256:")
    found = [e for d, e in ledger.quarantined().items() if wanted and d.removeprefix("sha256:").startswith(wanted)]
    if len(found) != 1:
        what = "several digests begin" if found else "nothing in quarantine begins"
        raise Refused(
            f"{what} with {digest!r} in {settings.environment}",
            state="Nothing was changed.",
            next_step=f"`promobot quarantine list --env {settings.environment}` lists them.",
        )
    if not reason.strip():
        raise InvalidInput("say why: the next one who looks reads this", key="--reason")
    ledger.lift_quarantine(found[0], reason=reason, by=by)
    return _found(settings, ledger, lifted=found[0])


def _found(settings: Environment, ledger: Ledger, *, lifted: QuarantineEvent | None = None) -> Quarantine:
    quarantined, history = ledger.quarantined(), ledger.deployments()
    serving = served_after(settings.environment, history)
    digests = {entry.digest for section in SECTIONS for entry in serving.section(section).values()}
    return Quarantine(
        settings.environment, tuple(quarantined.values()), tuple(sorted(digests & quarantined.keys())), lifted
    )
