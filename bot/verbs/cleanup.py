"""``promobot cleanup``, and the last step of each deployment: unload and remove what nothing needs any more.

First off the Tritons, and only when every gateway serves the routes in force and no request runs under older ones;
then out of Triton's root, by a rename into the trash; then out of the trash. What goes is decided by
``bot.domain.retention`` alone. Each step can run twice and looks at its turn first; a cleanup that is killed is gone
on with by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from bot.domain.plan import Loaded, targets
from bot.domain.record import DeploymentRecord
from bot.domain.retention import (
    CleanedUp,
    Retention,
    Stock,
    emptied,
    path_of,
    published_in,
    pull_request_of,
    retention,
)
from bot.domain.routes import RouteTable
from bot.errors import PromobotError, Refused, Superseded
from bot.settings import Environment
from bot.systems.gateway import Gateway
from bot.systems.share import Turn
from bot.systems.triton import TritonServer, render_config, versions_of
from bot.verbs import Say, connect
from bot.verbs.checking import clear
from bot.verbs.connect import Serving
from bot.verbs.deployment.unfinished import read_journal
from bot.verbs.observe import at_once
from bot.words import cleanup as words


def cleanup(settings: Environment, *, dry_run: bool, say: Say) -> CleanedUp:
    """Clean up after what was deployed to the environment; with ``dry_run``, say what would go and change nothing."""
    with connect.serving(settings) as systems:
        if dry_run:
            return _Cleanup(settings, systems, None, say).run()
        with systems.share.turn() as turn:
            return clean_up(settings, systems, turn=turn, say=say)


def clean_up(settings: Environment, systems: Serving, *, turn: Turn, say: Say) -> CleanedUp:
    """Clean up under a turn that is held already; raise Superseded where it is over."""
    # What came up since may have loaded anything of what is still there.
    return _Cleanup(settings, systems.with_more(), turn, say).run()


@dataclass
class _Cleanup:
    settings: Environment
    systems: Serving
    turn: Turn | None
    """None where nothing is to be changed."""
    say: Say
    unloaded: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def run(self) -> CleanedUp:
        ledger = connect.ledger(self.settings)
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
            if self.turn is not None:
                # What a deployment that was cut off had prepared is for whoever goes on with it.
                alone = self.turn.alone and stock.journal is None
                if count := self.systems.share.sweep(alone=alone):
                    self._tell(self.removed, words.trash_deleted(count))
        return CleanedUp(
            self.settings.environment,
            self.turn is None,
            tuple(self.unloaded),
            tuple(self.removed),
            tuple(self.left),
        )

    def _decide(self, stock: Stock) -> Retention:
        return retention(stock, versions=self.settings.keep.versions, warm=self.settings.keep.warm)

    def _stock(self, records: list[DeploymentRecord], quarantined: frozenset[str]) -> Stock:
        # What is loaded is read before what is published: what is loaded in between was published before that.
        tritons = self._loaded()
        return Stock(
            routes=self.systems.share.routes(self.settings.environment),
            records=records,
            published=published_in(self.systems.share.contents()),
            tritons=tritons,
            journal=read_journal(self.systems.share),
            quarantined=quarantined,
        )

    def _loaded(self) -> dict[str, Loaded | None]:
        return {
            triton.name: None if isinstance(have, PromobotError) else have
            for triton, have in at_once(self.systems.tritons, _what_is_loaded)
        }

    # --- off the Tritons -----------------------------------------------------------------------------------------

    def _unload(self, stock: Stock, decided: Retention) -> Stock:
        """Take off every Triton what nothing needs; return the stock as it is then."""
        names = {model for surplus in decided.surplus.values() for model, _ in surplus}
        names |= {model for model, _ in decided.stays_loaded if self._names_too_many(model, decided)}
        if names and self._is_settled(stock.routes):
            for name in sorted(names):
                with self._unless_it_fails():
                    self._take_off(name, stock, decided)
        if self.turn is None:
            gone = {pair for surplus in decided.surplus.values() for pair in surplus} if not self.left else set()
            return replace(
                stock, tritons={name: have and frozenset(have - gone) for name, have in stock.tritons.items()}
            )
        return replace(stock, tritons=self._loaded()) if names else stock

    def _is_settled(self, table: RouteTable) -> bool:
        """Whether every gateway serves these routes, and no request runs under older ones."""
        asked = at_once(self.systems.gateways, partial(self._why_not_settled, table))
        unsettled = [words.not_settled(gateway.name, str(why)) for gateway, why in asked if why]
        self.left += unsettled
        return not unsettled

    def _why_not_settled(self, table: RouteTable, gateway: Gateway) -> str:
        there = gateway.routes()
        if (there.generation, there.models) != (table.generation, table.models):
            return words.other_generation(there.generation, table.generation)
        drained = gateway.wait_drained(timeout_seconds=self.settings.deadlines.request_seconds)
        return "" if drained else words.NOT_DRAINED

    def _names_too_many(self, model: str, decided: Retention) -> bool:
        """Whether a configuration names versions that go: Triton would refuse to load what is not there."""
        config = self.systems.share.config(model)
        stay = {version for name, version in decided.stays_loaded if name == model}
        return config is not None and bool(set(versions_of(config)) - stay)

    def _take_off(self, name: str, stock: Stock, decided: Retention) -> None:
        loaded = {version for have in stock.tritons.values() for model, version in have or () if model == name}
        routed = {target.version for target in targets(stock.routes) if target.triton_model == name}
        # What stays warm is not loaded for it: a Triton that restarted since has no need of it.
        stay = {version for model, version in decided.stays_loaded if model == name} & (loaded | routed)
        surplus = {
            triton.name: {version for model, version in decided.surplus.get(triton.name, ()) if model == name}
            for triton in self.systems.tritons
        }
        config = self.systems.share.config(name)
        if stay and config is not None:
            stay -= self._damaged(name, stay, stock, decided)
            if self.turn is not None:
                self.turn.check()
                self.systems.share.write_config(name, render_config(config, versions=stay), turn=self.turn)
        for triton, answer in at_once(self.systems.tritons, partial(self._narrow, name, stay, stock, surplus)):
            if isinstance(answer, Superseded):
                raise answer
            if answer:
                self.left.append(words.not_narrowed(name, str(answer)))
            elif surplus[triton.name]:
                self._tell(self.unloaded, words.unloaded(name, surplus[triton.name], triton.name))

    def _narrow(
        self, name: str, stay: set[int], stock: Stock, surplus: Mapping[str, set[int]], triton: TritonServer
    ) -> str:
        """Take the surplus off one Triton and wait until it is gone; return what is wrong, or an empty string."""
        have = stock.tritons.get(triton.name)
        if self.turn is None or not any(model == name for model, _ in have or ()):
            return ""
        seconds = self.settings.deadlines.load_seconds
        self.turn.check()
        if stay:
            # Only the policy differs, so the versions that stay are not touched.
            triton.load(name, timeout_seconds=seconds)
        else:
            triton.unload(name)
        gone = not surplus[triton.name] or triton.wait_gone(name, but=stay, timeout_seconds=seconds)
        return "" if gone else words.still_there(name, triton.name)

    def _damaged(self, name: str, stay: set[int], stock: Stock, decided: Retention) -> set[int]:
        """Return the versions that must not be loaded again; raise Refused where that is one in service.

        A load reads the folder of each version that changed since: what is damaged on the share would answer then.
        """
        routed = {target.version: target.digest for target in targets(stock.routes) if target.triton_model == name}
        path = path_of(name)
        told = {
            entry.version: entry.digest
            for record in stock.records
            for entry in (record.before, record.after)
            if entry and (record.model, record.section) == path
        }
        broken = set()
        for version in sorted(stay):
            digest = routed.get(version) or told.get(version)
            if digest is None or (name, version) in decided.unknown:
                raise Refused(words.not_narrowed(name, words.not_known_bytes(version)))
            described = self.systems.share.described(digest)
            wrong = (
                self.systems.share.wrong_bytes(described.package, triton_model=name, version=version)
                if described
                else [words.not_known_bytes(version)]
            )
            if wrong and version in routed:
                raise Refused(words.not_narrowed(name, "; ".join(wrong)))
            if wrong:
                broken.add(version)
        return broken

    # --- off the share -------------------------------------------------------------------------------------------

    def _remove(self, stock: Stock, decided: Retention) -> None:
        share = self.systems.share
        self.left += [words.silent(name) for name in stock.silent]
        for model, version in sorted(decided.removable):
            self._discard(words.version_removed(model, version), partial(share.discard, model, version=version))
        for model in emptied(share.contents(), stock, decided.removable):
            self._discard(words.folder_removed(model), partial(share.discard, model))
        for digest in share.packages():
            if digest not in decided.digests:
                self._discard(words.package_removed(digest), partial(share.discard_package, digest))

    def _discard(self, what: str, discard: Callable[[], object]) -> None:
        if self.turn is not None:
            self.turn.check()
            discard()
        self._tell(self.removed, what)

    def _clear_staging(self) -> None:
        """Remove what a check that was killed left on staging, once its pull request is closed."""
        with connect.staging(self.settings) as staging:
            by_number: dict[int, list[str]] = {}
            for name in staging.share.models():
                if (number := pull_request_of(name)) is not None:
                    by_number.setdefault(number, []).append(name)
            github = connect.github(self.settings) if by_number else None
            for number, names in sorted(by_number.items()):
                if github is None or github.pull_request(number).state == "open":
                    continue
                for name in names:
                    if self.turn is not None:
                        clear(staging.share, staging.tritons[0], name, self.settings.deadlines.load_seconds)
                    self._tell(self.removed, words.check_removed(name, number))
            if self.turn is not None:
                staging.share.sweep(alone=False)  # a check of somebody else may be at work there

    def _tell(self, where: list[str], what: str) -> None:
        where.append(what)
        if self.turn is not None:
            self.say(f"{words.UNLOADED if where is self.unloaded else words.REMOVED}: {what}")

    @contextmanager
    def _unless_it_fails(self) -> Iterator[None]:
        """Go on with the next step when one fails; what could not be done is said."""
        try:
            yield
        except Superseded:
            raise
        except PromobotError as error:
            self.left.append(str(error))


def _what_is_loaded(triton: TritonServer) -> Loaded:
    return frozenset((state.model, state.version) for state in triton.index() if state.loaded)
