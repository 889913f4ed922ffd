"""``promobot promote``: carry the digest that is verified in one environment to the next."""

from __future__ import annotations

from bot.domain.nearest import did_you_mean
from bot.domain.record import served_after, verified_entries
from bot.domain.release import Lane, Slot
from bot.errors import Refused
from bot.operations import Say
from bot.operations.known import known_models
from bot.operations.propose import Proposal, Verified, propose
from bot.operations.proposing import ASKED_BY_NOBODY, Asking
from bot.platform import Platform


def promote(
    source: Platform,
    target: Platform,
    *,
    model: str,
    version: int | None,
    say: Say,
    asking: Asking = ASKED_BY_NOBODY,
) -> Proposal:
    """Propose to ``target`` what ``source`` serves and has verified, with the same digest.

    ``version`` pins what is meant: another version in service there is refused.
    """
    promotes_from = target.settings.promotes_from
    if promotes_from != source.environment:
        allowed = promotes_from or "no environment"
        raise Refused(
            f"{target.environment} takes models from {allowed}, not from {source.environment}",
            state="Nothing was proposed.",
            next_step=f"promotes_from in manifests/environments/{target.environment}.yaml decides.",
        )
    records = source.ledger.deployments()
    in_service = served_after(source.environment, records).models.get(model)
    verified = {entry.digest for _, entry in verified_entries(records, Slot(source.environment, model, Lane.LIVE))}
    if in_service is None or in_service.digest not in verified:
        raise Refused(
            f"{source.environment} has no verified version of {model} in service",
            state="Nothing was proposed.",
            next_step=f"{did_you_mean(model, known_models(source.settings, records=records))}"
            f"`promobot status --env {source.environment}` shows what it serves.",
        )
    if version is not None and version != in_service.version:
        raise Refused(
            f"{source.environment} serves version {in_service.version} of {model}, not {version}",
            state="Nothing was proposed.",
            next_step=f"Leave the version out to promote {in_service.version}.",
        )
    return propose(
        target,
        model=model,
        version=in_service.version,
        say=say,
        verified=Verified(source.environment, in_service.digest),
        asking=asking,
    )
