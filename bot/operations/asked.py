"""The parts that models in service ask: those with which they were published, whatever the settings say now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bot.domain import asked
from bot.domain.asked import InUse, Recorded, pair_of
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

    A version that is not on the share is left out: Triton would refuse to load it.
    """
    roots = [target for table in tables for target in targets(table)]
    found = asked.asked_by(map(pair_of, roots), _Published(share, records, roots))
    return frozenset((name, version) for name, version in found if version in share.models.versions(name))


def in_use(share: ModelRepository, records: Sequence[DeploymentRecord], table: RouteTable) -> InUse:
    """Return all that must be loaded for these routes: what they name, and what that asks, also what is damaged."""
    return asked.in_use(table, records, _Published(share, records, targets(table)))


class _Published:
    """Gives what a version asks.

    The published configuration says it, for Triton itself asks by that. Where it cannot be read, the records say with
    which parts it was verified. Users wait for this while they are put back, so each is read once, and of what is
    routed not what was only ever verified alone.
    """

    def __init__(self, share: ModelRepository, records: Sequence[DeploymentRecord], routed: Sequence[Target]) -> None:
        self._share, self._records = share, records
        alone = _verified_alone(records)
        self._known: dict[Pair, frozenset[Pair]] = {
            pair_of(target): frozenset() for target in routed if target.digest in alone
        }

    def __call__(self, pair: Pair) -> frozenset[Pair]:
        if pair not in self._known:
            self._known[pair] = self._read(pair)
        return self._known[pair]

    def _read(self, pair: Pair) -> frozenset[Pair]:
        try:
            config = self._share.models.config(pair[0])
            if config is not None:
                return asked_exactly(config)
        except (Rejected, ValueError):
            pass  # somebody wrote into it
        return Recorded.of(self._records).asked_by(Target(*pair, ""))


def _verified_alone(records: Sequence[DeploymentRecord]) -> frozenset[str]:
    """Return the digests that were verified, and never in a bundle: the rules of packages let these ask nobody."""
    given = [(one.after.digest, one.bundle is not None) for one in records if one.verified and one.after]
    return frozenset(digest for digest, _ in given) - {digest for digest, in_bundle in given if in_bundle}
