"""The one rule by which anything is ever removed: which versions are kept, and which stay loaded.

A version stays on the share while a route or a journal names it, while what these name asks it, or while it is one of
the last verified ones of its model and section. It also stays while any Triton has it loaded, is loading it or is
unloading it. A Triton that does not answer may have anything, so while one is silent nothing goes. Versions that no
record names are somebody else's and are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from bot.domain.desired import Entry
from bot.domain.journal import Journal
from bot.domain.names import ENVIRONMENT_NAME, MODEL_NAME, SHADOW_SUFFIX
from bot.domain.package import CONFIG_FILE
from bot.domain.plan import Loaded, targets
from bot.domain.record import DeploymentRecord, verified_entries
from bot.domain.release import Lane, Slot
from bot.domain.routes import RouteTable
from bot.exit_codes import ExitCode

Pair = tuple[str, int]
"""A version as Triton knows it: the name of its folder in Triton's root, and its number."""

_LANE = re.compile(r"[0-9a-f]{8}(-[1-9][0-9]*)?")
_CHECK = re.compile(r"(?P<model>.+)\.check-(?P<pull_request>[1-9][0-9]*)-[a-z]+")
_BISECT = re.compile(rf".+\.bisect-{ENVIRONMENT_NAME.pattern}-(?P<token>[0-9a-f]{{8}})-[0-9]+")


@dataclass(frozen=True)
class Stock:
    """The facts to decide from: the routes, all deployments, Triton's root, and what each Triton has.

    ``tritons`` gives what each has READY, loading or unloading; None for one that does not answer.
    """

    routes: RouteTable
    records: Sequence[DeploymentRecord]
    published: AbstractSet[Pair]
    tritons: Mapping[str, Loaded | None]
    journal: Journal | None = None
    quarantined: AbstractSet[str] = field(default_factory=frozenset)
    asked: AbstractSet[Pair] = field(default_factory=frozenset)
    """The parts of bundles that the versions in service ask."""

    @property
    def environment(self) -> str:
        """The environment of all of it."""
        return self.routes.environment

    @property
    def silent(self) -> tuple[str, ...]:
        """The Tritons that do not answer."""
        return tuple(name for name, loaded in self.tritons.items() if loaded is None)


@dataclass(frozen=True)
class Retention:
    """What stays loaded, what each Triton has beyond that, which versions go, and which packages are needed."""

    stays_loaded: frozenset[Pair]
    surplus: Mapping[str, frozenset[Pair]]
    removable: frozenset[Pair]
    digests: frozenset[str]
    unknown: frozenset[Pair]


def retention(stock: Stock, *, versions: int, warm: int) -> Retention:
    """Decide. ``versions`` are kept on the share for each model and section, the one in service among them.

    ``warm`` is how many versions before the one in service stay loaded. A digest in quarantine is not a way back, so
    it counts for neither; it does not go before older ones do.
    """
    rules = _Rules(stock, versions=versions, warm=warm)
    loaded = frozenset(pair for have in stock.tritons.values() for pair in have or ())
    universe = loaded | frozenset(stock.published)
    stays_loaded = frozenset(pair for pair in universe if rules.stays_loaded(pair))
    kept = frozenset(pair for pair in universe if pair in loaded or rules.is_kept(pair))
    removable = frozenset() if stock.silent else frozenset(stock.published) - kept
    return Retention(
        stays_loaded=stays_loaded,
        surplus={name: frozenset(have) - stays_loaded for name, have in stock.tritons.items() if have is not None},
        removable=removable,
        digests=rules.digests(universe - removable),
        unknown=frozenset(pair for pair in universe if not rules.is_known(pair)),
    )


def slot_of(environment: str, triton_model: str) -> Slot | None:
    """Return whose versions lie under this name of Triton's; None where the bot never gives such a name."""
    stem, dot, lane = triton_model.partition(".")
    model = stem.removesuffix(SHADOW_SUFFIX)
    if not MODEL_NAME.fullmatch(stem) or (dot and not _LANE.fullmatch(lane)):
        return None
    return Slot(environment, model, Lane.SHADOW if stem != model else Lane.LIVE)


def pull_request_of(triton_model: str) -> int | None:
    """Return the pull request whose check goes by this name on the staging Triton; None for other names."""
    found = _CHECK.fullmatch(triton_model)
    return int(found["pull_request"]) if found else None


def bisect_of(triton_model: str) -> str | None:
    """Return the token of the bisect that loaded a release under this name on staging; None for other names."""
    found = _BISECT.fullmatch(triton_model)
    return found["token"] if found else None


def published_in(contents: Mapping[str, bool]) -> frozenset[Pair]:
    """Return the versions among what lies in Triton's root: paths, and whether each is a folder."""
    return frozenset(
        (model, int(version))
        for path, is_folder in contents.items()
        for model, slash, version in [path.partition("/")]
        if slash and is_folder and _is_version(version)
    )


def owned(stock: Stock) -> frozenset[Slot]:
    """Return the slots of which a record, the routes or the journal tell."""
    journal = {item.slot_in(stock.environment) for item in (stock.journal.underway if stock.journal else ())}
    return frozenset(_slots(stock) | journal)


def strangers_in(contents: Mapping[str, bool], unknown: AbstractSet[Pair], *, stock: Stock) -> list[str]:
    """Return what lies in Triton's root and is not the bot's: other names, other files, versions nobody deployed.

    A folder that is somebody else's is named alone, without what is in it.
    """
    of_nobody = {f"{model}/{version}" for model, version in unknown}
    own = owned(stock)
    found = []
    for path, is_folder in contents.items():
        model, slash, inner = path.partition("/")
        ours = contents.get(model, False) and slot_of(stock.environment, model) in own
        if (not ours and not slash) or (ours and slash and (path in of_nobody or not _belongs(inner, is_folder))):
            found.append(path)
    return sorted(found)


def emptied(contents: Mapping[str, bool], stock: Stock, removed: AbstractSet[Pair]) -> list[str]:
    """Return the folders of models of the bot's own in which no version is left, and which no Triton has."""
    if stock.silent:
        return []
    loaded = {model for have in stock.tritons.values() for model, _ in have or ()}
    used = loaded | {target.triton_model for target in targets(stock.routes)}
    known = _slots(stock)
    found = []
    left_in: dict[str, set[str]] = {}
    for path, is_folder in contents.items():
        model, slash, inner = path.partition("/")
        if slash:
            left_in.setdefault(model, set()).add(inner)
        elif is_folder:
            left_in.setdefault(model, set())
    for model, version in removed:
        left_in.get(model, set()).discard(str(version))
    for model, left in sorted(left_in.items()):
        if slot_of(stock.environment, model) in known and model not in used and left <= {CONFIG_FILE}:
            found.append(model)
    return found


class _Rules:
    """The rules for one stock, worked out once."""

    def __init__(self, stock: Stock, *, versions: int, warm: int) -> None:
        self._stock = stock
        self._routed = {(target.triton_model, target.version) for target in targets(stock.routes)}
        self._entries: dict[Slot, set[Entry]] = {}
        for slot, entry in _told(stock):
            self._entries.setdefault(slot, set()).add(entry)
        by_slot: dict[Slot, list[DeploymentRecord]] = {}
        for record in stock.records:
            by_slot.setdefault(record.slot, []).append(record)
        self._last: dict[Slot, list[Entry]] = {}
        self._warm: dict[Slot, set[int]] = {}
        self._bundled: set[Pair] = set()
        for slot in self._entries:
            verified = [entry for _, entry in verified_entries(by_slot.get(slot, []), slot)]
            self._last[slot] = list(_until(verified, versions, stock.quarantined))
            in_bundles = _in_bundles(by_slot.get(slot, []), versions, stock.quarantined)
            self._last[slot] += [entry for _, entry in in_bundles]
            # Under another name it asks other parts, so it is kept where its bundle has it.
            self._bundled |= {(name, entry.version) for name, entry in in_bundles if name}
            routed = stock.routes.target(slot)
            no_way_back = {routed.digest, *stock.quarantined} if routed else {entry.digest for entry in verified}
            before = [entry for entry in verified if entry.digest not in no_way_back]
            self._warm[slot] = {entry.version for entry in before[:warm]}
        journal = stock.journal
        was = targets(RouteTable.from_json(journal.before)) if journal else []
        underway = [
            (item.slot_in(stock.environment), entry)
            for item in (journal.underway if journal else ())
            for entry in (item.before, item.after)
            if entry
        ]
        self._journaled = {(target.triton_model, target.version) for target in was}
        self._underway = {(slot, entry.version) for slot, entry in underway}
        self._journaled_digests = {target.digest for target in was} | {entry.digest for _, entry in underway}

    def is_known(self, pair: Pair) -> bool:
        """Whether a record, the routes or the journal tell of this version there."""
        slot = self._slot_of(pair)
        told = self._entries.get(slot, set()) if slot else set()
        return pair in self._routed or self._is_journaled(pair) or any(entry.version == pair[1] for entry in told)

    def stays_loaded(self, pair: Pair) -> bool:
        slot = self._slot_of(pair)
        return (
            pair in self._routed
            or pair in self._stock.asked
            or self._is_journaled(pair)
            or not self.is_known(pair)
            or (slot is not None and pair[1] in self._warm.get(slot, ()))
        )

    def is_kept(self, pair: Pair) -> bool:
        slot = self._slot_of(pair)
        if pair in self._routed or self._is_journaled(pair) or slot is None or not self.is_known(pair):
            return True
        if pair in self._bundled or pair in self._stock.asked:
            return True
        routed = self._stock.routes.target(slot)
        # A routed version is kept where it is routed to: under another name lie bytes that it had to leave.
        return any(
            entry.version == pair[1] and (routed is None or entry.digest != routed.digest)
            for entry in self._last.get(slot, ())
        )

    def digests(self, kept: Iterable[Pair]) -> frozenset[str]:
        """Return the digests of the packages that these versions, a way back or the journal need."""
        needed = {entry.digest for last in self._last.values() for entry in last}
        needed |= {target.digest for target in targets(self._stock.routes)} | self._journaled_digests
        for pair in kept:
            slot = self._slot_of(pair)
            told = self._entries.get(slot, set()) if slot else set()
            needed |= {entry.digest for entry in told if entry.version == pair[1]}
        return frozenset(needed)

    def _slot_of(self, pair: Pair) -> Slot | None:
        return slot_of(self._stock.environment, pair[0])

    def _is_journaled(self, pair: Pair) -> bool:
        return pair in self._journaled or (self._slot_of(pair), pair[1]) in self._underway


def _told(stock: Stock) -> list[tuple[Slot, Entry]]:
    """Return every version that a record tells of, with its slot."""
    return [
        (record.slot, entry)
        for record in stock.records
        for entry in (record.before, record.after)
        if entry is not None
    ]


def _in_bundles(
    records: Sequence[DeploymentRecord], count: int, skipped: AbstractSet[str]
) -> list[tuple[str, Entry]]:
    """Return what the last verified bundles have in one place: its name in Triton's root, and its entry.

    Each goes back as a whole, with this part of it.
    """
    found: dict[str, tuple[str, Entry]] = {}
    for record in reversed(records):
        bundle = record.bundle
        if record.verified and bundle is not None and record.after is not None and not bundle.is_held(skipped):
            found.setdefault(bundle.digest, (record.published_as, record.after))
    return list(found.values())[:count]


def _slots(stock: Stock) -> set[Slot]:
    return {slot for slot, _ in _told(stock)} | stock.routes.slots.keys()


def _until(entries: Iterable[Entry], count: int, skipped: AbstractSet[str]) -> Iterable[Entry]:
    """Yield entries until ``count`` of them were none of ``skipped``."""
    for entry in entries:
        if count == 0:
            return
        yield entry
        count -= entry.digest not in skipped


def _is_version(name: str) -> bool:
    # As the bot writes it: Triton itself would also take 007 and 7.tmp for 7.
    return name.isascii() and name.isdecimal() and not name.startswith("0")


def _belongs(name: str, is_folder: bool) -> bool:
    return _is_version(name) if is_folder else name == CONFIG_FILE


@dataclass(frozen=True)
class CleanedUp:
    """The work of a cleanup, done or planned; ``left`` says what it could not do, and why."""

    environment: str
    dry_run: bool
    unloaded: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """0 done · 1 something had to be left."""
        return ExitCode.FAILED if self.left else ExitCode.DONE
