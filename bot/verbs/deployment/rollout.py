"""The steps of a deployment. Each can run twice, and looks at its turn before it changes anything."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import nullcontext
from functools import partial
from time import monotonic
from typing import TypeVar

from bot.domain.desired import Change, Entry
from bot.domain.evidence import Evidence
from bot.domain.golden import Disagreement, Golden
from bot.domain.plan import Plan, target_of, targets, with_target
from bot.domain.record import verified_entries
from bot.domain.routes import RouteTable, Target
from bot.errors import OtherBytes, PromobotError, Rejected, Superseded, Unavailable
from bot.systems.gateway import Gateway
from bot.systems.share import Described
from bot.systems.triton import ModelState, TritonServer, parse_config, render_config, versions_of
from bot.verbs.deployment.admission import golden_of
from bot.verbs.deployment.item import Item
from bot.verbs.deployment.run import Run
from bot.verbs.deployment.unfinished import write_journal
from bot.verbs.inspection import Routed, routed, wrong_on_triton
from bot.verbs.observe import at_once
from bot.verbs.progress import progress
from bot.verbs.side_by_side import side_by_side
from bot.words import deployment as words

Answer = TypeVar("Answer")

SMALL_BYTES = 64 * 2**20
"""Packages up to this size are published side by side."""


def repair(run: Run, todo: Plan, verified: RouteTable, table: RouteTable) -> tuple[list[str], list[str]]:
    """Bring back what the verified routes need: a Triton that restarted empty, a gateway that missed a reload.

    Where those in force (``table``) are others, a deployment was cut off, and they are not spread further: the
    switch, or going back, reloads every gateway. Returns what was repaired, and what could not be.
    """
    repaired: list[str] = []
    problems = [words.silent(name, why) for name, why in todo.silent.items()]
    seen: dict[Target, tuple[Golden, Evidence | None]] = {}
    served, proven = {what.target: what for what in routed(verified)}, table.models == verified.models
    wrong: dict[tuple[str, Target], PromobotError] = {}

    def load_again(triton: TritonServer) -> None:
        missing = todo.load.get(triton.name, ())
        wrong.update(
            {(triton.name, target): error for target, error in _load_again(run, missing, triton, look).items()}
        )

    def look(target: Target) -> tuple[Golden, Evidence | None]:
        if target not in seen:
            seen[target] = _served_before(run, served[target])
        return seen[target]

    side_by_side(run.systems.tritons, load_again)
    for triton in run.systems.tritons:
        for target in todo.load.get(triton.name, ()):
            error = wrong.get((triton.name, target))
            if error is None:
                repaired.append(words.loaded_again(target, triton.name))
            else:
                problems.append(str(error))
    for gateway in run.systems.gateways:
        if gateway.name in todo.reload and proven:
            try:
                gateway.reload(table.generation, timeout_seconds=run.settings.deadlines.reload_seconds)
                repaired.append(words.reloaded_again(gateway.name, table.generation))
            except PromobotError as error:
                problems.append(str(error))
    for line in (*repaired, *problems):
        run.say(line)
    return repaired, problems


def _served_before(run: Run, what: Routed) -> tuple[Golden, Evidence | None]:
    """Return how a version in service answers, its bytes hashed; raise Rejected where they are not those any more."""
    share, target = run.systems.share, what.target
    described = share.described(target.digest)
    if described is None:
        raise Rejected(words.nothing_kept(target), system="model repository")
    wrong = share.wrong_bytes(described.package, triton_model=target.triton_model, version=target.version)
    if wrong:
        raise Rejected(words.damaged(target, wrong), system="model repository")
    return golden_of(run.ledger, what, described.smoke)


def _load_again(
    run: Run,
    missing: Sequence[Target],
    triton: TritonServer,
    look: Callable[[Target], tuple[Golden, Evidence | None]],
) -> dict[Target, PromobotError]:
    """Load versions in service on a Triton that lost them, and prove them; return those that failed, and why.

    What answers wrong is taken off again.
    """
    failed: dict[Target, PromobotError] = {}

    def tried(work: Callable[[Target], None]) -> Callable[[Target], None]:
        def try_one(target: Target) -> None:
            run.turn.check()
            try:
                work(target)
            except Superseded:
                raise
            except PromobotError as error:
                failed[target] = error

        return try_one

    def load_one(target: Target) -> None:
        look(target)
        _ask_to_load(run, target.triton_model, triton)

    def prove_one(target: Target) -> None:
        golden, evidence = look(target)
        try:
            if wrong := wrong_on_triton(target, golden, triton):
                raise Rejected(words.wrong_after_restart(target, wrong, evidence), system=f"Triton {triton.name}")
        except Rejected:
            # It had nothing before, and gateways ask another Triton as long as it has nothing.
            triton.unload(target.triton_model)
            raise

    side_by_side(missing, tried(load_one))
    loaded = [target for target in missing if target not in failed]
    try:
        failed |= _wait_ready(run, loaded, triton) if loaded else {}
    except PromobotError as error:
        failed |= dict.fromkeys(loaded, error)
    side_by_side([target for target in loaded if target not in failed], tried(prove_one))
    return failed


def see_that_gateways_answer(run: Run, items: list[Item], todo: Plan) -> list[Item]:
    """Return the items that can go on: nothing new goes out past a gateway that does not answer."""
    away = {gateway.name: why for gateway in run.systems.gateways if (why := todo.silent.get(gateway.name))}
    for item in items if away else ():
        if not run.goes_back(item.change):
            item.problem = "; ".join(words.silent(name, why) for name, why in away.items())
            item.sees("fastapi_reloaded", item.problem, holds=False)
    return [item for item in items if not item.problem]


def publish(run: Run, items: list[Item]) -> list[Item]:
    """Bring each package onto the share, every byte hashed; return the items that can go on."""
    serving = [(item, item.change.after) for item in items if item.change.after is not None]
    for item in items:
        if item.change.after is None:
            item.sees("registered_in_mlflow", words.NOTHING_TO_SERVE)
            item.sees("ready", words.NOTHING_TO_SERVE)
    named = _read_once(lambda: _by_name(run.routes()))

    def publish_one(one: tuple[Item, Entry]) -> None:
        item, entry = one
        with item.step("publish", "registered_in_mlflow"):
            _publish(run, item, entry, named)

    side_by_side(serving, publish_one, first=lambda one: run.say(words.publishing(one[0].change)))
    return [item for item in items if not item.problem]


def _publish(run: Run, item: Item, entry: Entry, named: Callable[[], Named]) -> None:
    share, model = run.systems.share, item.change.model
    described, verified = share.described(entry.digest), run.verified_by(item.change)

    read = run.reader(model, entry.version)
    if described is not None and verified is not None:
        # Going back needs nobody's leave and no registry: what the share keeps of the package is hashed again.
        item.sees("registered_in_mlflow", words.verified_before(verified))
        item.sees("ready", words.verified_before(verified))
        package = described.package
    else:
        registered = run.registered(model, entry.version)
        if registered.status != "READY":
            raise Rejected(words.not_ready(model, registered.version, registered.status), system="MLflow")
        package = run.registry.package(registered)
        item.sees("registered_in_mlflow", f"version {registered.version}, run {registered.run}")
        item.sees("ready", "status READY")
    if package.digest != entry.digest:
        raise OtherBytes(
            f"{model} {entry.version} is {package.digest} now, but {entry.digest} was merged",
            system="MLflow",
            next_step="The artifacts changed after the proposal: register the model again and propose that.",
        )
    run.turn.check()
    item.described = share.describe(package, read)
    name = fresh_name(run, item.change, item.described, leaves=item.leaves, named=named)
    large = package.size > SMALL_BYTES
    # A large one takes all that a network and a disk give, and its buffers are not wanted four times.
    with run.alone if large else nullcontext(), progress(sum(f.size for f in package.version_files)) as moved:
        run.turn.check()
        share.publish(package, read, triton_model=name, version=entry.version, moved=moved)
    item.target = Target(triton_model=name, version=entry.version, digest=entry.digest)


def fresh_name(
    run: Run,
    change: Change,
    described: Described,
    *,
    leaves: Target | None,
    named: Callable[[], Named] | None = None,
) -> str:
    """Return the name under which Triton serves this version: the first that has its configuration, and room.

    All versions under one name share one configuration, and changing it would reload those that answer now: a
    version that brings another configuration gets a name of its own. So does one whose number other bytes hold:
    they are never written over, for a reader on NFS may go on seeing them. What is in service and damaged
    (``leaves``) gets a name after its own, which nobody has looked up. Nor is anything loaded beside a damaged
    version that answers: Triton would read that one again. ``named``: what is routed by now.
    """
    named = named or _read_once(lambda: _by_name(run.routes()))
    share, version = run.systems.share, change.after.version if change.after else 0
    wanted, passed = parse_config(described.config).fingerprint, leaves is None
    for name in _names(change.published_name, wanted):
        if passed and _fits(share.config(name), wanted):
            wrong = version in share.versions(name) and share.wrong_bytes(
                described.package, triton_model=name, version=version
            )
            if not wrong and not _has_damaged(run, named(), name, but=version):
                return name
        passed = passed or (leaves is not None and name == leaves.triton_model)
    raise AssertionError("the names never end")


def _names(base: str, fingerprint: str) -> Iterator[str]:
    own = f"{base}.{fingerprint[:8]}"
    yield from (base, own)
    yield from (f"{own}-{number}" for number in itertools.count(2))


def _fits(config: str | None, fingerprint: str) -> bool:
    try:
        return config is None or parse_config(config).fingerprint == fingerprint
    except ValueError:
        return False  # somebody wrote into it


def _has_damaged(run: Run, named: Named, name: str, *, but: int) -> bool:
    """Whether a version in service under this name does not hold on the share what it should."""
    others = [target for target in named.get(name, ()) if target.version != but]
    return any(not _is_whole(run, target) for target in others)


def _is_whole(run: Run, target: Target) -> bool:
    """Whether a version in service holds on the share what it should, as far as that is known."""
    share = run.systems.share
    try:
        described = share.described(target.digest)
    except Rejected:
        return False
    return not described or not share.wrong_bytes(
        described.package, triton_model=target.triton_model, version=target.version
    )


def load(run: Run, items: list[Item], before: RouteTable) -> list[Item]:
    """Load each version beside the one in service, on every Triton; return the items that can go on."""
    serving = [(item, item.target) for item in items if item.target is not None]
    for item in items:
        if item.target is None:
            item.sees("triton_loaded", words.NOTHING_TO_SERVE)
    started: dict[str, float] = {}
    routes = _read_once(run.routes)
    named = _read_once(lambda: _by_name(before, routes()))

    def begin(one: tuple[Item, Target]) -> None:
        started[one[0].id] = monotonic()
        run.say(words.loading(one[1], run.systems.tritons))

    def load_one(one: tuple[Item, Target]) -> None:
        item, target = one
        try:
            run.turn.check()
            needed = {routed.version for routed in named().get(target.triton_model, ())}
            _name_versions(run, item, {target.version, *needed, *_staying_warm(run, item, target, routes())})
            for _, answer in at_once(run.systems.tritons, partial(_ask_to_load, run, target.triton_model)):
                if isinstance(answer, PromobotError):
                    raise answer
        except Superseded:
            raise
        except PromobotError as error:
            _not_loaded(item, error)

    side_by_side(serving, load_one, first=begin)
    # Triton's "200" to a load proves nothing: each index must name these very versions READY. One look is for all.
    asked = [target for item, target in serving if not item.problem]
    for _, missing in at_once(run.systems.tritons if asked else (), partial(_wait_ready, run, asked)):
        for item, target in serving:
            error = missing if isinstance(missing, PromobotError) else missing.get(target)
            if error is not None and not item.problem:
                _not_loaded(item, error)
    for item, target in serving:
        if not item.problem:
            item.sees("triton_loaded", words.ready_on(target, run.systems.tritons))
        item.did("load", started[item.id])
    return _those_that_go_on(run, items, before)


def _not_loaded(item: Item, error: PromobotError) -> None:
    item.fails("triton_loaded", error)
    item.to_blame = isinstance(error, Rejected)


def prove(run: Run, items: list[Item], before: RouteTable) -> list[Item]:
    """Send the golden requests to exactly this version on every Triton; return the items that can go on."""
    serving = [(item, item.target, item.golden) for item in items]
    for item, target, golden in serving:
        if target is None or golden is None:
            item.sees("smoke_passed", words.NOTHING_TO_SERVE)

    def prove_one(one: tuple[Item, Target | None, Golden | None]) -> None:
        item, target, golden = one
        if target is None or golden is None:
            return
        with item.step("golden requests", "smoke_passed"):
            if not golden.fits:
                raise Rejected(words.other_cases(item.change, item.evidence), system="record store")
            for triton, answer in at_once(run.systems.tritons, partial(wrong_on_triton, target, golden)):
                if isinstance(answer, PromobotError):
                    raise answer
                if answer:
                    item.to_blame = True
                    raise Rejected(words.answers_differ(answer, item.evidence), system=f"Triton {triton.name}")
            item.sees("smoke_passed", words.golden_answers(golden, item.evidence, run.systems.tritons))

    side_by_side(serving, prove_one)
    return _those_that_go_on(run, items, before)


def take_in_newcomers(run: Run, items: list[Item], before: RouteTable) -> list[Item]:
    """Ask DNS again right before the switch; load and prove on what came up since. Return those that can go on."""
    if not items:
        return items
    problem = ""
    try:
        there, run.systems = run.systems, run.systems.with_more()
        newcomers = [triton for triton in run.systems.tritons if triton not in there.tritons]
        for triton in newcomers:
            run.say(words.newcomer(triton.name))
            _load_whole(run, targets(before), triton)
    except Superseded:
        raise
    except PromobotError as error:
        problem = str(error)
    if problem:
        for item in items:
            item.problem = problem
            item.sees("triton_loaded", problem, holds=False)
        return _those_that_go_on(run, items, before)
    return prove(run, load(run, items, before), before) if newcomers else items


def _load_whole(run: Run, wanted: list[Target], triton: TritonServer) -> None:
    """Load on one Triton what is whole on the share, and wait until it is READY; raise what goes wrong first.

    What is damaged is left off: gateways ask another Triton as long as this one has nothing.
    """
    loaded: set[Target] = set()

    def load_one(target: Target) -> None:
        if _is_whole(run, target):
            run.turn.check()
            _ask_to_load(run, target.triton_model, triton)
            loaded.add(target)

    side_by_side(wanted, load_one)
    asked = [target for target in wanted if target in loaded]
    for error in _wait_ready(run, asked, triton).values() if asked else ():
        raise error


def switch(run: Run, items: list[Item], before: RouteTable) -> bool:
    """Write the routes, reload every gateway, ask every Triton again and through every gateway; say if all held.

    A gateway chooses a Triton for each request, so what is asked through it proves the gateway's routes and whichever
    Triton it chose. That every Triton has the version, and answers rightly, only each of them can be asked.
    """
    models = dict(before.models)
    for item in items:
        route = models.get(item.change.model, before.route(item.change.model))
        models[item.change.model] = with_target(route, item.change.section, item.target)
    after = run.routes().following(models)
    run.turn.check()
    started = monotonic()
    run.say(words.switching(run.settings.environment, after.generation))
    unanswered: list[str] = []
    problems: list[str] = []
    to_blame = True
    try:
        # The way back is written before the way forth is taken: going back must not fail for want of space.
        run.systems.share.prepare_routes(after.following(before.models))
        run.turn.check()
        run.systems.share.write_routes(after)
    except Superseded:
        raise
    except PromobotError as error:
        # It may have been written all the same; going back writes the next generation either way.
        problems.append(str(error))
        to_blame = False
    else:
        switched: list[Gateway] = []
        for gateway, answer in at_once(run.systems.gateways, partial(_switch_gateway, run, after)):
            if isinstance(answer, Unavailable):
                unanswered.append(str(answer))
            elif answer:
                problems.append(_named(f"gateway {gateway.name}", answer))
            else:
                switched.append(gateway)
        if not problems:
            silent = _prove_again(run, items, switched, problems, unanswered)
            # No version is to blame for what the line to a Triton did.
            to_blame = bool(problems or unanswered)
            unanswered += silent
    if not all(run.goes_back(item.change) for item in items):
        problems, unanswered = problems + unanswered, []
    for item in items:
        item.switched = True
        if not problems and not unanswered and item.golden is not None:
            proof = words.golden_answers(item.golden, item.evidence, run.systems.tritons, again=True)
            item.sees("smoke_passed", proof)
        item.did(f"switch to generation {after.generation}", started)
        if problems:
            item.to_blame, item.problem = to_blame, "; ".join(problems)
            item.sees("fastapi_reloaded", item.problem, holds=False)
        elif unanswered:
            # The way back is not kept closed by a gateway that is away: what it serves when it comes up is in
            # routes.json. But nobody calls this done.
            item.incomplete, item.problem = True, "; ".join(unanswered)
            item.sees("fastapi_reloaded", item.problem, holds=False)
        else:
            item.sees("fastapi_reloaded", words.serves_generation(after.generation, run.systems.gateways))
    return not problems


def _named(who: str, said: str | PromobotError) -> str:
    """Return what is wrong, with whose fault it is; our errors name their system themselves."""
    return str(said) if isinstance(said, PromobotError) else f"{who}: {said}"


def _switch_gateway(run: Run, table: RouteTable, gateway: Gateway) -> str:
    """Reload one gateway; return what is wrong, or an empty string."""
    there = gateway.reload(table.generation, timeout_seconds=run.settings.deadlines.reload_seconds)
    if (there.generation, there.models) != (table.generation, table.models):
        return f"serves generation {there.generation} after the reload"
    return ""


def _prove_again(
    run: Run, items: list[Item], switched: list[Gateway], problems: list[str], unanswered: list[str]
) -> list[str]:
    """Ask for what users get by now, on every Triton and then through every gateway; add what is wrong.

    Returns what Tritons did not answer; ``unanswered`` is of gateways.
    """
    silent: list[str] = []
    serving = [(item, target, golden) for item in items if (target := item.target) and (golden := item.golden)]
    states = dict(at_once(run.systems.tritons if serving else (), _states))
    found: dict[str, list[tuple[TritonServer, list[Disagreement] | PromobotError]]] = {}

    def ask(one: tuple[Item, Target, Golden]) -> None:
        item, target, golden = one
        wrong = partial(_wrong_after_switch, target, golden, states)
        found[item.id] = at_once(run.systems.tritons, wrong)

    side_by_side(serving, ask)
    for item, _, _ in serving:
        for triton, wrong in found[item.id]:
            if isinstance(wrong, Unavailable):
                silent.append(str(wrong))
            elif wrong:
                said = wrong if isinstance(wrong, PromobotError) else words.answers_differ(wrong, item.evidence)
                problems.append(_named(f"Triton {triton.name}", said))
                item.sees("smoke_passed", problems[-1], holds=False)
    for gateway, answer in at_once(switched, partial(_wrong_through_gateway, items)):
        if isinstance(answer, Unavailable):
            unanswered.append(str(answer))
        elif answer:
            problems.append(_named(f"gateway {gateway.name}", answer))
    return silent


def put_back(run: Run, items: list[Item], before: RouteTable) -> None:
    """Route to what was in service before, on every gateway, and take the new versions off again."""
    if items:
        try:
            write_journal(run, items, before, going_back=items[0].problem)
        except Superseded:
            raise
        except PromobotError as error:
            # Users come first; whoever finds the journal as it is tries once more to go forward, and comes back here.
            run.say(str(error))
    run.turn.check()
    started = monotonic()
    table = run.routes()
    if table.models != before.models or not items:
        # The generation only rises, so going back is a new table with the old routes.
        table = table.following(before.models)
        run.say(words.putting_back(run.settings.environment, table.generation))
        run.systems.share.write_routes(table)
    back = partial(_bring_back, run, table)
    away = [gateway for gateway, answer in at_once(run.systems.gateways, back) if answer]
    if away:
        # A gateway takes no routes to what no Triton has READY: one that restarted lost the version before, too.
        at_once(run.systems.tritons, partial(_load_missing, run, before))
    astray = [
        words.not_known_to_be_back(gateway.name, str(answer)) for gateway, answer in at_once(away, back) if answer
    ]
    # What still runs under the routes that were put back may finish before its version is taken off.
    seconds = run.settings.deadlines.request_seconds
    at_once(run.systems.gateways, lambda gateway: gateway.wait_drained(timeout_seconds=seconds))
    for item in items:
        item.did(f"put back by generation {table.generation}", started)
        item.problem = "; ".join([item.problem, *astray])
        if astray and item.target is not None:
            # Its users would get errors. It was proven on every Triton, and the model's next deployment takes it off.
            run.say(words.stays_loaded(item.target))
    if not astray:
        _withdraw(run, items, before)


def _bring_back(run: Run, table: RouteTable, gateway: Gateway) -> str:
    try:
        there = gateway.reload(table.generation, timeout_seconds=run.settings.deadlines.reload_seconds)
    except PromobotError:
        # One that refused to switch refuses to switch back, and serves the old routes all along: look.
        there = gateway.routes()
    return "" if there.models == table.models else f"it serves generation {there.generation}"


def _load_missing(run: Run, table: RouteTable, triton: TritonServer) -> None:
    there = {(state.model, state.version) for state in triton.index() if state.ready}
    missing = [target for target in targets(table) if (target.triton_model, target.version) not in there]
    problems: list[PromobotError] = []

    def load_one(name: str) -> None:
        try:
            _ask_to_load(run, name, triton)
        except Superseded:
            raise
        except PromobotError as error:
            problems.append(error)

    side_by_side(dict.fromkeys(target.triton_model for target in missing), load_one)
    if missing and not problems:
        problems += _wait_ready(run, missing, triton).values()
    if problems:
        raise problems[0]


def _ask_to_load(run: Run, triton_model: str, triton: TritonServer) -> None:
    triton.load(triton_model, timeout_seconds=run.settings.deadlines.load_seconds)


def _wait_ready(run: Run, wanted: list[Target], triton: TritonServer) -> dict[Target, PromobotError]:
    """Wait until all are READY in the index; return what is wrong with those that are not at the deadline."""
    pairs = {(target.triton_model, target.version): target for target in wanted}
    found: dict[Target, PromobotError] = {}
    for state in triton.wait_ready(pairs, timeout_seconds=run.settings.deadlines.load_seconds):
        said = f"{state.model} {state.version} is {state.state} after the load {state.reason}".strip()
        found[pairs[(state.model, state.version)]] = Rejected(said, system=f"Triton {triton.name}")
    return found


def _name_versions(run: Run, item: Item, versions: set[int]) -> None:
    if item.described is not None and item.target is not None:
        config = render_config(item.described.config, versions=versions)
        run.systems.share.write_config(item.target.triton_model, config, turn=run.turn)
        run.turn.check()


def _staying_warm(run: Run, item: Item, target: Target, routes: RouteTable) -> set[int]:
    """Return the versions before the one in service that this load leaves loaded, where more than one is to stay."""
    more = run.settings.keep.warm - 1  # the first will be the one in service now
    if more < 1:
        return set()
    share, model, section = run.systems.share, item.change.model, item.change.section
    config, routed_now = share.config(target.triton_model), target_of(routes.route(model), section)
    if config is None or routed_now is None:
        return set()
    none_of = {target.digest, routed_now.digest, *run.quarantined}
    verified = (entry for _, entry in verified_entries(run.of(model, section), model=model, section=section))
    named = set(versions_of(config)) & set(share.versions(target.triton_model))
    last = itertools.islice((entry for entry in verified if entry.digest not in none_of), more)
    return {
        entry.version
        for entry in last
        if entry.version in named and _is_whole(run, Target(target.triton_model, entry.version, entry.digest))
    }


def _those_that_go_on(run: Run, items: list[Item], before: RouteTable) -> list[Item]:
    _withdraw(run, [item for item in items if item.problem], before)
    return [item for item in items if not item.problem]


def _withdraw(run: Run, items: list[Item], before: RouteTable) -> None:
    """Take versions that do not go into service off every Triton; those in service stay as they are."""
    going = [(item, item.target) for item in items if item.target is not None]
    if not going:
        return
    # Gateways may ask until this deployment has switched them; where one was cut off after its commit, these are not
    # only those of the last verified routes: a gateway that restarted since serves what was committed.
    named = _by_name(before, run.routes())

    def withdraw_one(one: tuple[Item, Target]) -> None:
        item, name = one[0], one[1].triton_model
        needed = {target.version for target in named.get(name, ())}
        run.turn.check()
        if needed:
            _name_versions(run, item, needed)

        def withdraw(triton: TritonServer) -> None:
            if needed:
                _ask_to_load(run, name, triton)
            else:
                triton.unload(name)

        answers[item.id] = at_once(run.systems.tritons, withdraw)

    answers: dict[str, list[tuple[TritonServer, PromobotError | None]]] = {}
    side_by_side(going, withdraw_one)
    for item, target in going:
        for triton, answer in answers[item.id]:
            if isinstance(answer, PromobotError):
                # Nobody is routed to it. Say it; the next load under this name narrows it.
                run.say(words.could_not_withdraw(target.triton_model, triton.name, answer))


Named = Mapping[str, AbstractSet[Target]]
"""What is routed, by the name under which Triton has it."""


def _by_name(*tables: RouteTable) -> Named:
    found: dict[str, set[Target]] = {}
    for table in tables:
        for target in targets(table):
            found.setdefault(target.triton_model, set()).add(target)
    return found


def _read_once(read: Callable[[], Answer]) -> Callable[[], Answer]:
    """Read now, for many items; what goes wrong is told to each of them when it asks."""
    try:
        answer = read()
    except Superseded:
        raise
    except PromobotError as error:
        failed = error

        def fail() -> Answer:
            raise failed

        return fail
    return lambda: answer


def _states(triton: TritonServer) -> dict[tuple[str, int], ModelState]:
    return {(state.model, state.version): state for state in triton.index()}


def _wrong_after_switch(
    target: Target,
    golden: Golden,
    states: Mapping[TritonServer, Mapping[tuple[str, int], ModelState] | PromobotError],
    triton: TritonServer,
) -> list[Disagreement]:
    """Ask one Triton again, whose index must name the version READY still: it may have restarted since."""
    there = states[triton]
    if isinstance(there, PromobotError):
        raise there
    state = there.get((target.triton_model, target.version))
    if state is None or not state.ready:
        raise Rejected(words.lost_since(target, state.state if state else "absent"), system=f"Triton {triton.name}")
    return wrong_on_triton(target, golden, triton)


def _wrong_through_gateway(items: list[Item], gateway: Gateway) -> str:
    """Ask as a user does, whichever Triton the gateway chooses; return the first that is wrong, or nothing."""
    asked = [
        (item, target, golden)
        for item in items
        if (target := item.target) and (golden := item.golden) and item.change.section != "shadow"
    ]
    wrong: dict[str, str] = {}

    def ask(one: tuple[Item, Target, Golden]) -> None:
        item, target, golden = one
        for case, staging in golden if not wrong else ():
            outputs = [tensor.name for tensor in case.outputs]
            version, answer = gateway.infer(item.change.model, case.inputs, outputs=outputs)
            if version != str(target.version):
                wrong[item.id] = f"version {version} answered instead of {target.version}"
                return
            if differs := golden.disagreements(case, staging, answer):
                wrong[item.id] = words.answers_differ(differs, item.evidence)
                return

    side_by_side(asked, ask)
    return next((wrong[item.id] for item, _, _ in asked if item.id in wrong), "")
