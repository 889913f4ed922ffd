"""The parts that models in service ask: those with which they were published, whatever the settings say now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bot.domain.bundled import recorded_with
from bot.domain.plan import targets
from bot.domain.record import DeploymentRecord
from bot.domain.retention import Pair
from bot.domain.routes import RouteTable, Target
from bot.errors import Rejected
from bot.share import ModelRepository
from bot.systems.triton.config import asked_exactly


def asked_by(
    share: ModelRepository, records: Sequence[DeploymentRecord], tables: Iterable[RouteTable]
) -> frozenset[Pair]:
    """Return what the versions in these routes ask, and what that asks in turn, by the names in Triton.

    The published configuration says it, for Triton itself asks by that. Where it cannot be read, the records say with
    which parts each was verified. A version that is not on the share is left out: Triton would refuse to load it.
    Users wait for this while they are put back, so what was only ever verified alone is not read.
    """
    found: set[Pair] = set()
    alone = _verified_alone(records)
    open_ends = {target for table in tables for target in targets(table) if target.digest not in alone}
    looked_at: set[Pair] = set()
    while open_ends:
        target = open_ends.pop()
        looked_at.add((target.triton_model, target.version))
        asked = _asked_by_one(share, records, target)
        found |= asked
        open_ends |= {Target(name, version, "") for name, version in asked - looked_at}
    return frozenset((name, version) for name, version in found if version in share.models.versions(name))


def _verified_alone(records: Sequence[DeploymentRecord]) -> frozenset[str]:
    """Return the digests that were verified, and never in a bundle: the rules of packages let these ask nobody."""
    given = [(one.after.digest, one.bundle is not None) for one in records if one.verified and one.after]
    return frozenset(digest for digest, _ in given) - {digest for digest, in_bundle in given if in_bundle}


def _asked_by_one(share: ModelRepository, records: Sequence[DeploymentRecord], target: Target) -> frozenset[Pair]:
    try:
        config = share.models.config(target.triton_model)
        if config is not None:
            return asked_exactly(config)
    except (Rejected, ValueError):
        pass  # somebody wrote into it
    return recorded_with(target, records)
