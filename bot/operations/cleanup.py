"""``promobot cleanup``, and the last step of each deployment: unload and delete versions that nothing uses.

First it unloads them from the Tritons, but only when every gateway serves the routes in force and no request runs
under older ones. Then it renames them out of Triton's root into the trash, and then empties the trash.
``bot.domain.retention`` alone decides what goes. Each step can run twice and checks its lease first. The next cleanup
resumes one that was killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from bot.concurrency import gather, map_concurrent
from bot.domain.bundle import order_of
from bot.domain.names import short
from bot.domain.plan import Loaded, targets
from bot.domain.record import DeploymentRecord
from bot.domain.release import Slot
from bot.domain.retention import (
    CleanedUp,
    Retention,
    Stock,
    emptied,
    published_in,
    pull_request_of,
    retention,
    slot_of,
)
from bot.domain.routes import RouteTable
from bot.errors import PromobotError, Refused
from bot.operations import Say
from bot.operations.asked import asked_by
from bot.operations.checking import left_by_killed, purge
from bot.operations.deployment.unfinished import read_journal
from bot.platform import Platform, Serving
from bot.render import cleanup as words
from bot.share import HeldShare
from bot.systems.gateway import Gateway
from bot.systems.triton.config import render_config, versions_of
from bot.systems.triton.server import TritonControl, TritonServer

System = TypeVar("System")
Answer = TypeVar("Answer")


def cleanup(platform: Platform, *, dry_run: bool, say: Say) -> CleanedUp:
    """Clean up after what was deployed to the environment; with ``dry_run``, say what would go and change nothing."""
    systems = platform.serving()
    if dry_run:
        return _Cleanup(platform, systems, None, say).run()
    with systems.share.lease(above=platform.ledger.newest_turn()) as held:
        return clean_up(platform, systems, held=held, say=say)


def clean_up(platform: Platform, systems: Serving, *, held: HeldShare, say: Say) -> CleanedUp:
    """Clean up under a lease that is held already; raise LeaseLost where it is lost."""
    # What came up since may have loaded anything of what is still there.
    return _Cleanup(platform, systems.with_more(), held, say).run()


@dataclass
class _Cleanup:
    platform: Platform
    systems: Serving
    held: HeldShare | None
    """None where nothing is to be changed."""
    say: Say
    unloaded: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def run(self) -> CleanedUp:
        ledger = self.platform.ledger
        stock = self._stock(ledger.deployments(), frozenset(ledger.quarantined()))
        decided = self._decide(stock)
        with self._unless_it_fails():
            stock = self._unload(stock, decided)
            decided = self._decide(stock)
        with self._unless_it_fails():
            self._remove(stock, decided)
        with self._unless_it_fails():
            self._clear_staging()
        with self._unless_it_fails():
            if self.held is not None:
                # The next deployment resumes an interrupted one, and needs what that had prepared.
                alone = self.held.lease.alone and stock.journal is None
                if count := self.held.trash.sweep(alone=alone):
                    self._tell(self.removed, f"{count} in the trash and in staging")
        return CleanedUp(
            self.platform.settings.environment,
            self.held is None,
            tuple(self.unloaded),
            tuple(self.removed),
            tuple(self.left),
        )

    def _gather(
        self, servers: Iterable[System], ask: Callable[[System], Answer]
    ) -> list[tuple[System, Answer | PromobotError]]:
        return gather(servers, ask, limit=self.platform.settings.concurrency.servers)

    def _decide(self, stock: Stock) -> Retention:
        return retention(stock, versions=self.platform.settings.keep.versions, warm=self.platform.settings.keep.warm)

    def _stock(self, records: list[DeploymentRecord], quarantined: frozenset[str]) -> Stock:
        # Read the loaded versions before the published ones: a version that loads in between is published already.
        tritons, journal = self._loaded(), read_journal(self.systems.share)
        routes = self.systems.share.routes.read(self.platform.settings.environment)
        before = [RouteTable.from_json(journal.before)] if journal else []
        return Stock(
            routes=routes,
            records=records,
            published=published_in(self.systems.share.models.contents()),
            tritons=tritons,
            journal=journal,
            quarantined=quarantined,
            asked=asked_by(self.systems.share, records, [routes, *before]),
        )

    def _loaded(self) -> dict[str, Loaded | None]:
        return {
            triton.name: None if isinstance(have, PromobotError) else have
            for triton, have in self._gather(self.systems.tritons, _what_is_loaded)
        }

    # --- off the Tritons -----------------------------------------------------------------------------------------

    def _unload(self, stock: Stock, decided: Retention) -> Stock:
        """Take off every Triton what nothing needs; return the stock as it is then."""
        index = _Index(stock, decided)
        names = {name for name in index.names if index.surplus_of(name)}
        names |= {name for name in index.stays_loaded if self._names_too_many(name, index.stays_loaded[name])}
        if names and self._is_settled(stock.routes):
            self._take_off([index.folder(name) for name in sorted(names)])
        if self.held is None:
            gone = {pair for surplus in decided.surplus.values() for pair in surplus} if not self.left else set()
            return replace(
                stock, tritons={name: have and frozenset(have - gone) for name, have in stock.tritons.items()}
            )
        return replace(stock, tritons=self._loaded()) if names else stock

    def _is_settled(self, table: RouteTable) -> bool:
        """Whether every gateway serves these routes, and no request runs under older ones."""
        asked = self._gather(self.systems.gateways, partial(self._why_not_settled, table))
        unsettled = [
            f"nothing was unloaded while gateway {gateway.name} may still ask for it: {why!s}"
            for gateway, why in asked
            if why
        ]
        self.left += unsettled
        return not unsettled

    def _why_not_settled(self, table: RouteTable, gateway: Gateway) -> str:
        there = gateway.routes()
        if (there.generation, there.models) != (table.generation, table.models):
            return f"it serves generation {there.generation}, not {table.generation}"
        drained = gateway.wait_drained(timeout_seconds=self.platform.settings.deadlines.request_seconds)
        return "" if drained else "requests still run under older routes"

    def _names_too_many(self, model: str, stay: AbstractSet[int]) -> bool:
        """Whether a configuration names versions that go: Triton would refuse to load what is not there."""
        config = self.systems.share.models.config(model)
        return config is not None and bool(set(versions_of(config)) - stay)

    def _take_off(self, folders: list[_Folder]) -> None:
        """Unload surplus versions from every Triton; report each failure and continue."""
        refused: dict[str, str] = {}
        stay: dict[str, set[int]] = {}
        failed: dict[tuple[str, str], str] = {}

        def narrow(folder: _Folder) -> None:
            try:
                stay[folder.name] = self._narrow_config(folder)
                for triton, answer in self._gather(
                    self.systems.tritons, partial(self._narrow, folder, bool(stay[folder.name]))
                ):
                    if isinstance(answer, PromobotError):
                        failed[(folder.name, triton.name)] = str(answer)
            except PromobotError as error:
                refused[folder.name] = str(error)

        bundles, environment = self.platform.settings.bundles, self.platform.environment
        places: dict[int, list[_Folder]] = {}
        for folder in folders:
            slot = slot_of(environment, folder.name)
            places.setdefault(order_of(slot.model, bundles) if slot else 0, []).append(folder)
        # What asks others goes first: Triton would take it off by itself when these go.
        for place in sorted(places, reverse=True):
            map_concurrent(places[place], narrow, limit=self.platform.settings.concurrency.models)
        told = [folder for folder in folders if folder.name not in refused]

        def wait(triton: TritonServer) -> set[str]:
            waiting = {
                folder.name: stay[folder.name]
                for folder in told
                if folder.surplus.get(triton.name) and (folder.name, triton.name) not in failed
            }
            if self.held is None or not waiting:
                return set()
            return triton.wait_all_gone(waiting, timeout_seconds=self.platform.settings.deadlines.load_seconds)

        still = dict(self._gather(self.systems.tritons, wait))
        for folder in folders:
            if folder.name in refused:
                self.left.append(refused[folder.name])
                continue
            for triton in self.systems.tritons:
                there, surplus = still[triton], folder.surplus.get(triton.name, set())
                why = failed.get((folder.name, triton.name), "")
                if not why and surplus and isinstance(there, PromobotError):
                    why = str(there)
                if not why and not isinstance(there, PromobotError) and folder.name in there:
                    why = f"{folder.name} is still being unloaded on {triton.name}"
                if why:
                    self.left.append(_not_narrowed(folder.name, why))
                elif surplus:
                    self._tell(self.unloaded, f"{folder.name} {_numbers(surplus)} off {triton.name}")

    def _narrow_config(self, folder: _Folder) -> set[int]:
        """Write a configuration that names only what stays; return that. Raise Refused if it must not be loaded."""
        config = self.systems.share.models.config(folder.name)
        if not folder.stay or config is None:
            return folder.stay
        stay = folder.stay - self._damaged(folder)
        if self.held is not None:
            self.held.models.write_config(folder.name, render_config(config, versions=stay))
        return stay

    def _narrow(self, folder: _Folder, some_stay: bool, triton: TritonServer) -> None:
        """Unload surplus versions from one Triton."""
        if self.held is None or triton.name not in folder.loaded_on:
            return
        control = TritonControl(triton, self.held.lease.check)
        if some_stay:
            # Only the policy differs, so the versions that stay are not touched.
            control.load(folder.name, timeout_seconds=self.platform.settings.deadlines.load_seconds)
        else:
            control.unload(folder.name)

    def _damaged(self, folder: _Folder) -> set[int]:
        """Return the versions that must not be loaded again; raise Refused where that is one in service.

        A load reads the folder of each version that changed since: what is damaged on the share would answer then.
        """
        broken, name = set(), folder.name
        for version in sorted(folder.stay):
            digest = folder.routed.get(version) or folder.told.get(version)
            if digest is None or version in folder.unknown:
                raise Refused(_not_narrowed(name, _not_known_bytes(version)))
            described = self.systems.share.packages.described(digest)
            wrong = (
                self.systems.share.models.wrong_bytes(described.package, triton_model=name, version=version)
                if described
                else [_not_known_bytes(version)]
            )
            if wrong and (version in folder.routed or version in folder.asked):
                raise Refused(_not_narrowed(name, "; ".join(wrong)))
            if wrong:
                broken.add(version)
        return broken

    # --- off the share -------------------------------------------------------------------------------------------

    def _remove(self, stock: Stock, decided: Retention) -> None:
        share = self.systems.share
        self.left += [
            (f"Triton {name} does not answer and may have anything: nothing was removed from the model repository")
            for name in stock.silent
        ]
        self._discard(
            (f"{model}/{version} from the model repository", partial(_discard, model, version))
            for model, version in sorted(decided.removable)
        )
        self._discard(
            (f"{model}, in which no version is left, from the model repository", partial(_discard, model, None))
            for model in emptied(share.models.contents(), stock, decided.removable)
        )
        self._discard(
            (f"what was kept of package {short(digest)}", partial(_discard_package, digest))
            for digest in share.packages.digests()
            if digest not in decided.digests
        )

    def _discard(self, going: Iterable[tuple[str, Callable[[HeldShare], object]]]) -> None:
        listed, done = list(going), set()

        def discard(number: int) -> None:
            if self.held is not None:
                listed[number][1](self.held)
            done.add(number)

        try:
            map_concurrent(range(len(listed)), discard, limit=self.platform.settings.concurrency.models)
        finally:
            for number in sorted(done):
                self._tell(self.removed, listed[number][0])

    def _clear_staging(self) -> None:
        """Remove what a check that was killed left on staging, once its pull request is closed; and a bisect's."""
        staging = self.platform.staging
        by_number: dict[int, list[str]] = {}
        for name in staging.share.models.names():
            if (number := pull_request_of(name)) is not None:
                by_number.setdefault(number, []).append(name)
        github = self.platform.github if by_number else None
        for number, names in sorted(by_number.items()):
            if github is None or github.pull_request(number).state == "open":
                continue
            for name in names:
                if self.held is not None:
                    purge(staging.share, staging.triton, name, self.platform.settings.deadlines.load_seconds)
                self._tell(self.removed, f"{name} from staging: #{number} is closed")
        for name in left_by_killed(staging.share):
            if self.held is not None:
                purge(staging.share, staging.triton, name, self.platform.settings.deadlines.load_seconds)
            self._tell(self.removed, f"{name} from staging: the bisect that loaded it was killed")
        if self.held is not None:
            staging.share.trash.sweep(alone=False)  # a check of somebody else may be at work there

    def _tell(self, where: list[str], what: str) -> None:
        where.append(what)
        if self.held is not None:
            self.say(f"{words.UNLOADED if where is self.unloaded else words.REMOVED}: {what}")

    @contextmanager
    def _unless_it_fails(self) -> Iterator[None]:
        """Report a failed step and continue with the next."""
        try:
            yield
        except PromobotError as error:
            self.left.append(str(error))


@dataclass(frozen=True)
class _Folder:
    """One of Triton's names: what is in service under it, what stays of it, and what each Triton has too many."""

    name: str
    routed: Mapping[int, str]
    """Versions with the digests that the routes name."""
    asked: AbstractSet[int]
    """Versions that something in service asks."""
    told: Mapping[int, str]
    """Versions with the digests that records tell of."""
    unknown: AbstractSet[int]
    stay: set[int]
    surplus: Mapping[str, set[int]]
    loaded_on: AbstractSet[str]


class _Index:
    """The stock and the decision about it, indexed by the names in Triton."""

    def __init__(self, stock: Stock, decided: Retention) -> None:
        self._loaded: dict[str, dict[str, set[int]]] = {}
        self._surplus: dict[str, dict[str, set[int]]] = {}
        for triton, have in stock.tritons.items():
            for name, version in have or ():
                self._loaded.setdefault(name, {}).setdefault(triton, set()).add(version)
            for name, version in decided.surplus.get(triton, ()):
                self._surplus.setdefault(name, {}).setdefault(triton, set()).add(version)
        self._routed: dict[str, dict[int, str]] = {}
        for target in targets(stock.routes):
            self._routed.setdefault(target.triton_model, {})[target.version] = target.digest
        self._asked = _by_name(stock.asked)
        self._environment = stock.environment
        self._told: dict[Slot | None, dict[int, str]] = {}
        for record in stock.records:
            for entry in (record.before, record.after):
                if entry:
                    self._told.setdefault(record.slot, {})[entry.version] = entry.digest
        self.stays_loaded = _by_name(decided.stays_loaded)
        self._unknown = _by_name(decided.unknown)

    @property
    def names(self) -> AbstractSet[str]:
        """Every name of which a Triton has something."""
        return self._loaded.keys()

    def surplus_of(self, name: str) -> Mapping[str, set[int]]:
        """Return what each Triton has too many of it."""
        return self._surplus.get(name, {})

    def folder(self, name: str) -> _Folder:
        """Return all that is known of it."""
        loaded, routed = self._loaded.get(name, {}), self._routed.get(name, {})
        # What stays warm is not loaded for it: a Triton that restarted since has no need of it.
        asked = self._asked.get(name, set())
        stay = self.stays_loaded.get(name, set()) & set().union(*loaded.values(), routed, asked)
        told = self._told.get(slot_of(self._environment, name), {})
        unknown = self._unknown.get(name, set())
        return _Folder(name, routed, asked, told, unknown, stay, self.surplus_of(name), loaded.keys())


def _by_name(pairs: Iterable[tuple[str, int]]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for name, version in pairs:
        found.setdefault(name, set()).add(version)
    return found


def _discard(model: str, version: int | None, held: HeldShare) -> None:
    held.models.discard(model, version=version)


def _discard_package(digest: str, held: HeldShare) -> None:
    held.packages.discard(digest)


def _what_is_loaded(triton: TritonServer) -> Loaded:
    return frozenset(state.pair for state in triton.index() if state.loaded)


def _not_narrowed(triton_model: str, why: str) -> str:
    """Loading with fewer versions would load what must not be loaded."""
    return f"{triton_model} was not narrowed: {why}"


def _not_known_bytes(version: int) -> str:
    """Nobody knows what a version should hold."""
    return f"no record says what version {version}, which is loaded, must hold"


def _numbers(versions: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(versions))) or "nothing"
