"""All that must be loaded for some routes: what they name, and what that asks, whatever the settings say now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import chain

from bot.domain.record import DeploymentRecord
from bot.domain.release import Slot
from bot.domain.retention import Pair, slot_of
from bot.domain.routes import Routed, RouteTable, Target, routed

Asks = Callable[[Pair], AbstractSet[Pair]]
"""Gives what a version asks, by the names that Triton has for both."""


@dataclass(frozen=True)
class InUse:
    """All that must be loaded for ``table``, in ``waves``: each asks only what is in the waves before it."""

    table: RouteTable
    waves: Sequence[Sequence[Routed]]

    @property
    def everything(self) -> list[Routed]:
        """All of it, what is asked before what asks it."""
        return list(chain.from_iterable(self.waves))

    @property
    def targets(self) -> list[Target]:
        """The same, as Triton knows it."""
        return [what.target for what in self.everything]

    @property
    def only_asked(self) -> list[Routed]:
        """Those that no route names."""
        return [what for what in self.everything if what.asked_by]

    def in_order(self, targets: Collection[Target]) -> list[list[Routed]]:
        """Return these targets in waves, without empty ones."""
        waves = ([what for what in wave if what.target in targets] for wave in self.waves)
        return [wave for wave in waves if wave]

    def asking(self, targets: Iterable[Target]) -> frozenset[Target]:
        """Return what asks one of these, itself or by what it asks."""
        asked = set(map(pair_of, targets))
        found = set()
        for what in self.everything:
            if not asked.isdisjoint(what.asks):
                asked.add(pair_of(what.target))
                found.add(what.target)
        return frozenset(found)


def pair_of(target: Target) -> Pair:
    """Return the name that Triton has for it, and its number."""
    return (target.triton_model, target.version)


def asked_by(roots: Iterable[Pair], asks: Asks) -> frozenset[Pair]:
    """Return what these ask, and what that asks in turn."""
    found: set[Pair] = set()
    open_ends, looked_at = set(roots), set[Pair]()
    while open_ends:
        pair = open_ends.pop()
        looked_at.add(pair)
        asked = asks(pair)
        found |= asked
        open_ends |= asked - looked_at
    return frozenset(found)


def in_use(table: RouteTable, records: Sequence[DeploymentRecord], asks: Asks) -> InUse:
    """Return all that must be loaded for these routes, each with the parts beside which it was verified.

    A version under a name that the bot never gives is left out: somebody else wrote that name there.
    """
    told = Recorded.of(records)
    given = {pair_of(what.target): what for what in routed(table)}
    asking: dict[Pair, Pair] = {}
    everything = dict(given)
    for pair in sorted(asked_by(given, asks) - given.keys()):
        if (slot := slot_of(table.environment, pair[0])) is not None:
            everything[pair] = Routed(slot, Target(*pair, told.digest(slot, pair)))
    for pair in everything:
        for asked in asks(pair):
            asking.setdefault(asked, pair)
    found = {
        pair: replace(
            what,
            parts=told.beside(what.target, what.slot) or what.parts,
            asks=frozenset(asks(pair)),
            asked_by="" if pair in given else f"{asking[pair][0]} {asking[pair][1]}",
        )
        for pair, what in everything.items()
    }
    return InUse(table, _in_waves(found))


def _in_waves(found: Mapping[Pair, Routed]) -> list[list[Routed]]:
    waves: list[list[Routed]] = []
    left = dict(found)
    while left:
        ready = {pair: what for pair, what in left.items() if left.keys().isdisjoint(what.asks - {pair})}
        ready = ready or left  # in a circle, which no package may ask in: somebody wrote into a configuration
        waves.append(list(ready.values()))
        left = {pair: what for pair, what in left.items() if pair not in ready}
    return waves


@dataclass(frozen=True)
class Recorded:
    """The bundles that the records tell of: with which parts each version was verified, and its digest."""

    newest: Mapping[Pair, DeploymentRecord] = field(default_factory=dict)
    """The record that verified a part last, by the name that it was published under."""
    of_release: Mapping[tuple[Slot, int], DeploymentRecord] = field(default_factory=dict)
    """The same by its place and version, whatever its name: alone, it may have been published under another since."""
    bundles: Mapping[tuple[str, str], Mapping[str, DeploymentRecord]] = field(default_factory=dict)
    """The newest record of each model, by the lane and the digest of the bundle."""
    digests: Mapping[tuple[Slot, int], str] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[DeploymentRecord]) -> Recorded:
        """Return what these records tell, which come oldest first."""
        newest: dict[Pair, DeploymentRecord] = {}
        of_release: dict[tuple[Slot, int], DeploymentRecord] = {}
        bundles: dict[tuple[str, str], dict[str, DeploymentRecord]] = {}
        digests: dict[tuple[Slot, int], str] = {}
        for record in records:
            if not record.verified or record.after is None:
                continue
            digests[record.slot, record.after.version] = record.after.digest
            if record.bundle is not None and record.published_as:
                newest[record.published_as, record.after.version] = record
                of_release[record.slot, record.after.version] = record
                bundles.setdefault((record.section, record.bundle.digest), {})[record.model] = record
        return cls(newest, of_release, bundles, digests)

    def beside(self, target: Target, slot: Slot | None = None) -> dict[str, Target]:
        """Return the parts with which this was verified last, itself among them, by model; none where it was not."""
        record = self.newest.get(pair_of(target))
        if record is None and slot is not None:
            record = self.of_release.get((slot, target.version))
        if record is None or record.bundle is None:
            return {}
        of_bundle = self.bundles[record.section, record.bundle.digest]
        return {
            model: Target(one.published_as, one.after.version, one.after.digest)
            for model, one in of_bundle.items()
            if one.after is not None
        }

    def asked_by(self, target: Target) -> frozenset[Pair]:
        """Return what this may ask: the parts before it."""
        record, beside = self.newest.get(pair_of(target)), self.beside(target)
        before = record.bundle.before(record.model) if record and record.bundle else ()
        return frozenset(pair_of(beside[part.model]) for part in before if part.model in beside)

    def digest(self, slot: Slot, pair: Pair) -> str:
        """Return the digest of what was verified there; empty where no record tells."""
        record = self.newest.get(pair)
        if record is not None and record.after is not None:
            return record.after.digest
        return self.digests.get((slot, pair[1]), "")
