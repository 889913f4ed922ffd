"""Loading versions beside those in service, proving them, and taking off again what does not go into service."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from time import monotonic

from bot.concurrency import lazy
from bot.domain.asked import InUse, pair_of
from bot.domain.blame import load_failed
from bot.domain.bundle import order_of
from bot.domain.desired import Change
from bot.domain.evidence import Evidence
from bot.domain.golden import Golden
from bot.domain.plan import targets
from bot.domain.record import verified_entries
from bot.domain.routes import Routed, RouteTable, Target
from bot.domain.stage import Fault, fault_of_load
from bot.errors import PromobotError, Rejected, Unavailable, WrongAnswers
from bot.operations.asked import asked_by
from bot.operations.deployment.item import Item, go_on, take_step, whole, with_changed
from bot.operations.deployment.publishing import is_whole
from bot.operations.deployment.run import Run
from bot.operations.inspection import wrong_on_triton
from bot.render import deployment as words
from bot.systems.triton.config import render_config, versions_of
from bot.systems.triton.server import TritonServer


def load(run: Run, items: list[Item], before: RouteTable) -> list[Item]:
    """Load each version beside the one in service, on every Triton; what fails is taken off again.

    The parts of a bundle are loaded in their order: what asks others is loaded when these are READY.
    """
    for wave in _waves(run, items):
        ids = {item.id for item in wave}
        going = [item for item in items if item.id in ids and item.may_go_on]
        items = whole(with_changed(items, _load(run, going, before)))
    return _without_those_that_failed(run, items, before)


def _waves(run: Run, items: list[Item]) -> list[list[Item]]:
    """Return the items by their place in the order of their bundles; models alone come first."""
    found: dict[int, list[Item]] = {}
    for item in items:
        found.setdefault(order_of(item.change.model, run.settings.bundles), []).append(item)
    return [found[place] for place in sorted(found)]


def _load(run: Run, items: list[Item], before: RouteTable) -> list[Item]:
    started: dict[str, float] = {}
    routes = lazy(run.routes)
    named = lazy(lambda: needed_under(run, before, routes()))

    def begin(one: tuple[Item, Target]) -> None:
        started[one[0].id] = monotonic()
        run.say(f"{one[1].triton_model} {one[1].version}: loading on {words.names(run.systems.tritons)}")

    def load_one(one: tuple[Item, Target]) -> Item:
        item, target = one
        try:
            needed = named().get(target.triton_model, set())
            _name_versions(run, item, {target.version, *needed, *_staying_warm(run, item, target, routes())})
            for _, answer in run.gather(run.systems.tritons, partial(ask_to_load, run, target.triton_model)):
                if isinstance(answer, PromobotError):
                    raise answer
        except PromobotError as error:
            return _not_loaded(item, error)
        return item

    nothing = [item.seeing("triton_loaded", words.NOTHING_TO_SERVE) for item in items if item.target is None]
    asked = run.map(_serving(items), load_one, first=begin)
    loaded = [item.having_done("load", started[item.id]) for item in _seen_ready(run, asked)]
    return with_changed(items, [*nothing, *loaded])


def _seen_ready(run: Run, items: list[Item]) -> list[Item]:
    """Look whether what was loaded is READY: Triton's "200" to a load proves nothing. One look is for all."""
    wanted = [target for item, target in _serving(items) if item.may_go_on]
    answers = run.gather(run.systems.tritons if wanted else (), partial(wait_ready, run, wanted))

    def seen(item: Item, target: Target) -> Item:
        for _, missing in answers:
            error = missing if isinstance(missing, PromobotError) else missing.get(target)
            if error is not None:
                return _not_loaded(item, error)
        on = f"{target.triton_model} {target.version} READY on {words.names(run.systems.tritons)}"
        return item.seeing("triton_loaded", on)

    return [seen(item, target) if item.may_go_on else item for item, target in _serving(items)]


def _serving(items: list[Item]) -> list[tuple[Item, Target]]:
    return [(item, item.target) for item in items if item.target is not None]


def _not_loaded(item: Item, error: PromobotError) -> Item:
    return item.failing("triton_loaded", error, fault_of_load(error))


def prove(run: Run, items: list[Item], before: RouteTable) -> list[Item]:
    """Send the golden requests to exactly this version on every Triton; what fails is taken off again."""

    def ask(item: Item, target: Target, golden: Golden) -> Iterator[Item]:
        if not golden.fits:
            raise Rejected(other_cases(item.change, item.evidence), system="record store")
        for triton, answer in run.gather(run.systems.tritons, partial(wrong_on_triton, target, golden)):
            if isinstance(answer, PromobotError):
                raise answer
            if answer:
                raise WrongAnswers(words.answers_differ(answer, item.evidence), system=f"Triton {triton.name}")
        yield item.seeing("smoke_passed", words.golden_answers(golden, item.evidence, run.systems.tritons))

    def prove_one(item: Item) -> Item:
        target, golden = item.target, item.golden
        if target is None or golden is None:
            return item.seeing("smoke_passed", words.NOTHING_TO_SERVE)
        way = partial(ask, target=target, golden=golden)
        return take_step(item, "golden requests", "smoke_passed", way)

    return _without_those_that_failed(run, run.map(items, prove_one), before)


def take_in_newcomers(run: Run, items: list[Item], before: RouteTable) -> list[Item]:
    """Ask DNS again right before the switch; load and prove on what came up since."""
    if not items:
        return items
    try:
        there, run.systems = run.systems, run.systems.with_more()
        newcomers = [triton for triton in run.systems.tritons if triton not in there.tritons]
        for triton in newcomers:
            run.say(f"{triton.name} came up in the middle: loading what is in service and what is to be")
            _load_whole(run, run.in_use(before), triton)
    except PromobotError as error:
        failed = [item.failing("triton_loaded", error, Fault.ENVIRONMENT) for item in items]
        return _without_those_that_failed(run, failed, before)
    if not newcomers:
        return items
    return go_on(load(run, items, before), partial(prove, run, before=before))


def _load_whole(run: Run, wanted: InUse, triton: TritonServer) -> None:
    """Load on one Triton what is whole on the share, and wait until it is READY; raise what goes wrong first.

    What is damaged is left off, and so is what asks it: gateways ask another Triton as long as this one has nothing.
    """
    whole_ones = run.map(wanted.targets, lambda target: (target, is_whole(run, target)))
    damaged = {target for target, holds in whole_ones if not holds}
    asked = [target for target in wanted.targets if target not in damaged | wanted.asking(damaged)]
    load_in_order(run, wanted.in_order(asked), triton)
    for error in wait_ready(run, asked, triton).values() if asked else ():
        raise error


def load_in_order(run: Run, waves: Iterable[Iterable[Routed]], triton: TritonServer) -> None:
    """Ask one Triton to load these, what is asked before what asks it."""
    for wave in waves:
        names = dict.fromkeys(what.target.triton_model for what in wave)
        run.map(names, lambda name: ask_to_load(run, name, triton))


def ask_to_load(run: Run, triton_model: str, triton: TritonServer) -> None:
    """Ask one Triton to load all versions in the model's configuration. Its answer does not prove that they serve."""
    run.triton(triton).load(triton_model, timeout_seconds=run.settings.deadlines.load_seconds)


def wait_ready(run: Run, wanted: list[Target], triton: TritonServer) -> dict[Target, PromobotError]:
    """Wait until all are READY in the index; return what is wrong with those that are not at the deadline.

    Rejected where Triton says that the load failed. Else Unavailable: a Triton that crashed in another model's load,
    and was restarted, has forgotten this one.
    """
    pairs = {(target.triton_model, target.version): target for target in wanted}
    found: dict[Target, PromobotError] = {}
    for state in triton.wait_ready(pairs, timeout_seconds=run.settings.deadlines.load_seconds):
        said = f"{state.model} {state.version} is {state.state} after the load {state.reason}".strip()
        kind = Rejected if load_failed(state.state, state.reason) else Unavailable
        found[pairs[state.pair]] = kind(said, system=f"Triton {triton.name}")
    return found


def needed_under(run: Run, *tables: RouteTable) -> Mapping[str, set[int]]:
    """Return the versions that must stay loaded under each name: what these routes name, and what that asks."""
    found: dict[str, set[int]] = {}
    routed = {pair_of(target) for table in tables for target in targets(table)}
    for name, version in routed | asked_by(run.systems.share, run.history, tables):
        found.setdefault(name, set()).add(version)
    return found


def _name_versions(run: Run, item: Item, versions: set[int]) -> None:
    if item.config and item.target is not None:
        config = render_config(item.config, versions=versions)
        run.held.models.write_config(item.target.triton_model, config)


def _staying_warm(run: Run, item: Item, target: Target, routes: RouteTable) -> set[int]:
    """Return the versions before the one in service that this load leaves loaded, where more than one is to stay."""
    more = run.settings.keep.warm - 1  # the first will be the one in service now
    if more < 1:
        return set()
    share, slot = run.systems.share, item.change.slot
    config, routed_now = share.models.config(target.triton_model), routes.target(slot)
    if config is None or routed_now is None:
        return set()
    none_of = {target.digest, routed_now.digest, *run.quarantined}
    verified = (entry for _, entry in verified_entries(run.of(slot), slot))
    named = set(versions_of(config)) & set(share.models.versions(target.triton_model))
    last = itertools.islice((entry for entry in verified if entry.digest not in none_of), more)
    return {
        entry.version
        for entry in last
        if entry.version in named and is_whole(run, Target(target.triton_model, entry.version, entry.digest))
    }


def _without_those_that_failed(run: Run, items: list[Item], before: RouteTable) -> list[Item]:
    """Take what failed off every Triton, of a bundle all of it; return all items as they are."""
    items = whole(items)
    withdraw(run, [item for item in items if not item.may_go_on], before)
    return items


def withdraw(run: Run, items: list[Item], before: RouteTable) -> None:
    """Take versions that do not go into service off every Triton; those in service stay as they are.

    What asks others goes before these: Triton would take it off by itself.
    """
    going = [(item, item.target) for item in items if item.target is not None]
    if not going:
        return
    # Gateways may ask until this deployment has switched them; where one was cut off after its commit, these are not
    # only those of the last verified routes: a gateway that restarted since serves what was committed.
    named = needed_under(run, before, run.routes())

    def withdraw_one(one: tuple[Item, Target]) -> None:
        item, name = one[0], one[1].triton_model
        needed = named.get(name, set())
        if needed:
            _name_versions(run, item, needed)

        def withdraw(triton: TritonServer) -> None:
            if needed:
                ask_to_load(run, name, triton)
            else:
                run.triton(triton).unload(name)

        answers[item.id] = run.gather(run.systems.tritons, withdraw)

    answers: dict[str, list[tuple[TritonServer, PromobotError | None]]] = {}
    for wave in reversed(_waves(run, [item for item, _ in going])):
        run.map([(item, item.target) for item in wave if item.target is not None], withdraw_one)
    for item, target in going:
        for triton, answer in answers[item.id]:
            if isinstance(answer, PromobotError):
                # Nobody is routed to it. Say it; the next load under this name narrows it.
                run.say(
                    f"{target.triton_model} stays loaded on {triton.name}, where nobody is routed to it: {answer}"
                )


def other_cases(change: Change, evidence: Evidence | None) -> str:
    """The package's cases are not those of the recorded answers, so nothing can be compared."""
    where = f" {words.checked_in(evidence)}" if evidence else ""
    return f"the evidence{where} has answers to other requests than the smoke cases of {words.describe(change)}"
