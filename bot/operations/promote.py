"""``promobot promote``: carry the digest, or the bundle, that is verified in one environment to the next."""

from __future__ import annotations

from collections.abc import Sequence

from bot.domain.bundle import Bundles
from bot.domain.bundled import bundle_in
from bot.domain.nearest import did_you_mean
from bot.domain.record import DeploymentRecord, served_after, verified_bundles, verified_entries
from bot.domain.release import Lane, Slot
from bot.errors import Refused
from bot.operations import Say
from bot.operations.known import known_models
from bot.operations.propose import Proposal, Verified, propose
from bot.operations.propose_many import Proposals, propose_many
from bot.operations.proposing import ASKED_BY_NOBODY, Asking
from bot.platform import Platform
from bot.settings import path_of


def promote(
    source: Platform,
    target: Platform,
    *,
    model: str,
    version: int | None,
    say: Say,
    asking: Asking = ASKED_BY_NOBODY,
) -> Proposal | Proposals:
    """Propose to ``target`` what ``source`` serves and has verified, with the same digest.

    A bundle goes whole, in one pull request: ``model`` is its name, or that of the part that users ask. ``version``
    pins what is meant: another version in service there is refused.
    """
    promotes_from = target.settings.source
    if promotes_from != source.environment:
        allowed = promotes_from or "no environment"
        raise Refused(
            f"{target.environment} takes models from {allowed}, not from {source.environment}",
            state="Nothing was proposed.",
            next_step=f"promotes_from in manifests/environments/{target.environment}.yaml decides.",
        )
    records = source.ledger.deployments()
    served = served_after(source.environment, records).models
    if name := _bundle_named(model, target.settings.bundles):
        return _promote_bundle(source, target, name, records, version=version, say=say, asking=asking)
    in_service = served.get(model)
    verified = {entry.digest for _, entry in verified_entries(records, Slot(source.environment, model, Lane.LIVE))}
    if in_service is None or in_service.digest not in verified:
        raise Refused(
            f"{source.environment} has no verified version of {model} in service",
            state="Nothing was proposed.",
            next_step=f"{did_you_mean(model, known_models(source.settings, records=records))}"
            f"`promobot status --env {source.environment}` shows what it serves.",
        )
    _see_that_it_is_meant(source.environment, model, in_service.version, version)
    return propose(
        target,
        model=model,
        version=in_service.version,
        say=say,
        verified=Verified(source.environment, in_service.digest),
        asking=asking,
    )


def _bundle_named(word: str, bundles: Bundles) -> str:
    """Return the bundle that a word stands for: its own name, or that of its last part; empty where it is none."""
    return word if word in bundles else next((name for name, parts in bundles.items() if parts[-1] == word), "")


def _promote_bundle(
    source: Platform,
    target: Platform,
    name: str,
    records: Sequence[DeploymentRecord],
    *,
    version: int | None,
    say: Say,
    asking: Asking,
) -> Proposals:
    """Propose all parts as ``source`` serves them, if they were verified there together."""
    parts = target.settings.bundles[name]
    served = bundle_in(served_after(source.environment, records).models, name, parts)
    verified = {bundle.digest for bundle in verified_bundles(records, Slot(source.environment, parts[-1], Lane.LIVE))}
    if not served.is_whole or served.digest not in verified:
        raise Refused(
            f"{source.environment} has no verified bundle {name} in service: {', '.join(parts)}, as "
            f"{path_of(target.environment)} has it",
            state="Nothing was proposed.",
            next_step=f"`promobot status --env {source.environment}` shows what it serves.",
        )
    last = served.parts[-1]
    _see_that_it_is_meant(source.environment, last.model, last.version, version)
    return propose_many(
        target,
        {part.model: part.version for part in served.parts},
        say=say,
        asking=asking,
        verified={part.model: Verified(source.environment, part.digest) for part in served.parts},
    )


def _see_that_it_is_meant(environment: str, model: str, there: int, meant: int | None) -> None:
    if meant is not None and meant != there:
        raise Refused(
            f"{environment} serves version {there} of {model}, not {meant}",
            state="Nothing was proposed.",
            next_step=f"Leave the version out to promote {there}.",
        )
