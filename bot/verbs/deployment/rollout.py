"""The steps of a deployment. Each can run twice, and looks at its turn before it changes anything."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from time import monotonic

from bot.domain.desired import Change, Entry
from bot.domain.evidence import Evidence
from bot.domain.golden import Disagreement, Golden
from bot.domain.plan import Plan, target_of, targets, with_target
from bot.domain.record import verified_entries
from bot.domain.routes import RouteTable, Target
from bot.errors import OtherBytes, PromobotError, Rejected, Superseded, Unavailable
from bot.systems.gateway import Gateway
from bot.systems.share import Described
from bot.systems.triton import TritonServer, parse_config, render_config, versions_of
from bot.verbs.deployment.admission import golden_of
from bot.verbs.deployment.item import Item
from bot.verbs.deployment.run import Run
from bot.verbs.deployment.unfinished import write_journal
from bot.verbs.inspection import routed, wrong_on_triton
from bot.verbs.observe import at_once
from bot.verbs.progress import progress
from bot.words import deployment as words


def repair(run: Run, todo: Plan, table: RouteTable, *, proven: bool) -> tuple[list[str], list[str]]:
    """Bring back what the routes in force need: a Triton that restarted empty, a gateway that missed a reload.

    Routes that are not ``proven`` are not spread further: the switch, or going back, reloads every gateway. Returns
    what was repaired, and what could not be.
    """
    repaired: list[str] = []
    problems = [words.silent(name, why) for name, why in todo.silent.items()]
    seen: dict[Target, tuple[Golden, Evidence | None]] = {}
    for triton in run.systems.tritons:
        for target in todo.load.get(triton.name, ()):
            run.turn.check()
            try:
                if target not in seen:
                    seen[target] = _served_before(run, table, target)
                _load_again(run, target, triton, *seen[target])
                repaired.append(words.loaded_again(target, triton.name))
            except Superseded:
                raise
            except PromobotError as error:
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


def _served_before(run: Run, table: RouteTable, target: Target) -> tuple[Golden, Evidence | None]:
    """Return how a version in service answers, its bytes hashed; raise Rejected where they are not those any more."""
    share = run.systems.share
    described = share.described(target.digest)
    if described is None:
        raise Rejected(words.nothing_kept(target), system="model repository")
    wrong = share.wrong_bytes(described.package, triton_model=target.triton_model, version=target.version)
    if wrong:
        raise Rejected(words.damaged(target, wrong), system="model repository")
    what = next(what for what in routed(table) if what.target == target)
    return golden_of(run.ledger, what, described.smoke)


def _load_again(run: Run, target: Target, triton: TritonServer, golden: Golden, evidence: Evidence | None) -> None:
    """Load a version in service on a Triton that lost it, and prove it; what answers wrong is taken off again."""
    _load_on(run, target, triton)
    try:
        wrong = wrong_on_triton(target, golden, triton)
        if wrong:
            raise Rejected(words.wrong_after_restart(target, wrong, evidence), system=f"Triton {triton.name}")
    except Rejected:
        # It had nothing before, and gateways ask another Triton as long as it has nothing.
        triton.unload(target.triton_model)
        raise


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
    for item in items:
        if item.change.after is None:
            item.sees("registered_in_mlflow", words.NOTHING_TO_SERVE)
            item.sees("ready", words.NOTHING_TO_SERVE)
            continue
        run.say(words.publishing(item.change))
        with item.step("publish", "registered_in_mlflow"):
            _publish(run, item, item.change.after)
    return [item for item in items if not item.problem]


def _publish(run: Run, item: Item, entry: Entry) -> None:
    share, model = run.systems.share, item.change.model
    described, verified = share.described(entry.digest), run.verified_by(item.change)

    read = run.reader(model, entry.version)
    if described is not None and verified is not None:
        # Going back needs nobody's leave and no registry: what the share keeps of the package is hashed again.
        item.sees("registered_in_mlflow", words.verified_before(verified))
        item.sees("ready", words.verified_before(verified))
        package = described.package
    else:
        registered = run.registry.version(model, entry.version)
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
    name = fresh_name(run, item.change, item.described, leaves=item.leaves)
    run.turn.check()
    with progress(sum(file.size for file in package.version_files)) as moved:
        share.publish(package, read, triton_model=name, version=entry.version, moved=moved)
    item.target = Target(triton_model=name, version=entry.version, digest=entry.digest)


def fresh_name(run: Run, change: Change, described: Described, *, leaves: Target | None) -> str:
    """Return the name under which Triton serves this version: the first that has its configuration, and room.

    All versions under one name share one configuration, and changing it would reload those that answer now: a
    version that brings another configuration gets a name of its own. So does one whose number other bytes hold:
    they are never written over, for a reader on NFS may go on seeing them. What is in service and damaged
    (``leaves``) gets a name after its own, which nobody has looked up. Nor is anything loaded beside a damaged
    version that answers: Triton would read that one again.
    """
    share, version = run.systems.share, change.after.version if change.after else 0
    wanted, passed = parse_config(described.config).fingerprint, leaves is None
    for name in _names(change.published_name, wanted):
        if passed and _fits(share.config(name), wanted):
            wrong = version in share.versions(name) and share.wrong_bytes(
                described.package, triton_model=name, version=version
            )
            if not wrong and not _has_damaged(run, name, but=version):
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


def _has_damaged(run: Run, name: str, *, but: int) -> bool:
    """Whether a version in service under this name does not hold on the share what it should."""
    others = [t for t in targets(run.routes()) if t.triton_model == name and t.version != but]
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
    for item in items:
        if item.target is None:
            item.sees("triton_loaded", words.NOTHING_TO_SERVE)
            continue
        run.say(words.loading(item.target, run.systems.tritons))
        with item.step("load", "triton_loaded"):
            run.turn.check()
            needed = _versions_needed(run, before, item.target.triton_model)
            _name_versions(run, item, {item.target.version, *needed, *_staying_warm(run, item, item.target)})
            for _, answer in at_once(run.systems.tritons, partial(_load_on, run, item.target)):
                if isinstance(answer, PromobotError):
                    item.to_blame = isinstance(answer, Rejected)
                    raise answer
            item.sees("triton_loaded", words.ready_on(item.target, run.systems.tritons))
    return _those_that_go_on(run, items, before)


def prove(run: Run, items: list[Item], before: RouteTable) -> list[Item]:
    """Send the golden requests to exactly this version on every Triton; return the items that can go on."""
    for item in items:
        if item.target is None or item.golden is None:
            item.sees("smoke_passed", words.NOTHING_TO_SERVE)
            continue
        with item.step("golden requests", "smoke_passed"):
            if not item.golden.fits:
                raise Rejected(words.other_cases(item.change, item.evidence), system="record store")
            for triton, answer in at_once(run.systems.tritons, partial(wrong_on_triton, item.target, item.golden)):
                if isinstance(answer, PromobotError):
                    raise answer
                if answer:
                    item.to_blame = True
                    raise Rejected(words.answers_differ(answer, item.evidence), system=f"Triton {triton.name}")
            item.sees("smoke_passed", words.golden_answers(item.golden, item.evidence, run.systems.tritons))
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
            for target in targets(before):
                # What is damaged is left off: gateways ask another Triton as long as this one has nothing.
                if _is_whole(run, target):
                    run.turn.check()
                    _load_on(run, target, triton)
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
                problems.append(f"gateway {gateway.name}: {answer}")
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
    for item in items:
        if item.target is None or item.golden is None:
            continue
        for triton, wrong in at_once(run.systems.tritons, partial(_wrong_after_switch, item.target, item.golden)):
            if isinstance(wrong, Unavailable):
                silent.append(str(wrong))
            elif wrong:
                said = str(wrong) if isinstance(wrong, PromobotError) else words.answers_differ(wrong, item.evidence)
                problems.append(f"Triton {triton.name}: {said}")
                item.sees("smoke_passed", problems[-1], holds=False)
    for gateway, answer in at_once(switched, partial(_wrong_through_gateway, items)):
        if isinstance(answer, Unavailable):
            unanswered.append(str(answer))
        elif answer:
            problems.append(f"gateway {gateway.name}: {answer}")
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
        else:
            _withdraw(run, item, before)


def _bring_back(run: Run, table: RouteTable, gateway: Gateway) -> str:
    try:
        there = gateway.reload(table.generation, timeout_seconds=run.settings.deadlines.reload_seconds)
    except PromobotError:
        # One that refused to switch refuses to switch back, and serves the old routes all along: look.
        there = gateway.routes()
    return "" if there.models == table.models else f"it serves generation {there.generation}"


def _load_missing(run: Run, table: RouteTable, triton: TritonServer) -> None:
    there = {(state.model, state.version) for state in triton.index() if state.ready}
    for target in targets(table):
        if (target.triton_model, target.version) not in there:
            _load_on(run, target, triton)


def _load_on(run: Run, target: Target, triton: TritonServer) -> None:
    seconds = run.settings.deadlines.load_seconds
    triton.load(target.triton_model, timeout_seconds=seconds)
    # Triton's "200" to a load proves nothing: the index must name this very version READY.
    for state in triton.wait_ready([(target.triton_model, target.version)], timeout_seconds=seconds):
        said = f"{state.model} {state.version} is {state.state} after the load {state.reason}".strip()
        raise Rejected(said, system=f"Triton {triton.name}")


def _name_versions(run: Run, item: Item, versions: set[int]) -> None:
    if item.described is not None and item.target is not None:
        config = render_config(item.described.config, versions=versions)
        run.systems.share.write_config(item.target.triton_model, config, turn=run.turn)
        run.turn.check()


def _staying_warm(run: Run, item: Item, target: Target) -> set[int]:
    """Return the versions before the one in service that this load leaves loaded, where more than one is to stay."""
    share, model, section = run.systems.share, item.change.model, item.change.section
    config, routed_now = share.config(target.triton_model), target_of(run.routes().route(model), section)
    more = run.settings.keep.warm - 1  # the first will be the one in service now
    if more < 1 or config is None or routed_now is None:
        return set()
    none_of = {target.digest, routed_now.digest, *run.ledger.quarantined()}
    verified = (entry for _, entry in verified_entries(run.history, model=model, section=section))
    named = set(versions_of(config)) & set(share.versions(target.triton_model))
    last = itertools.islice((entry for entry in verified if entry.digest not in none_of), more)
    return {
        entry.version
        for entry in last
        if entry.version in named and _is_whole(run, Target(target.triton_model, entry.version, entry.digest))
    }


def _those_that_go_on(run: Run, items: list[Item], before: RouteTable) -> list[Item]:
    for item in items:
        if item.problem:
            _withdraw(run, item, before)
    return [item for item in items if not item.problem]


def _withdraw(run: Run, item: Item, before: RouteTable) -> None:
    """Take a version that does not go into service off every Triton; those in service stay as they are."""
    if item.target is None:
        return
    name = item.target.triton_model
    needed = _versions_needed(run, before, name)
    run.turn.check()
    if needed:
        _name_versions(run, item, needed)

    def withdraw(triton: TritonServer) -> None:
        if needed:
            triton.load(name, timeout_seconds=run.settings.deadlines.load_seconds)
        else:
            triton.unload(name)

    for triton, answer in at_once(run.systems.tritons, withdraw):
        if isinstance(answer, PromobotError):
            # Nobody is routed to it. Say it; the next load under this name narrows it.
            run.say(words.could_not_withdraw(name, triton.name, answer))


def _versions_needed(run: Run, before: RouteTable, triton_model: str) -> set[int]:
    """Return the versions that gateways may ask for until this deployment has switched them.

    Where one was cut off after its commit, these are not only those of the last verified routes: a gateway that
    restarted since serves what was committed.
    """
    routed = {*targets(before), *targets(run.routes())}
    return {target.version for target in routed if target.triton_model == triton_model}


def _wrong_after_switch(target: Target, golden: Golden, triton: TritonServer) -> list[Disagreement]:
    """Ask one Triton again, whose index must name the version READY still: it may have restarted since."""
    states = {(state.model, state.version): state for state in triton.index()}
    state = states.get((target.triton_model, target.version))
    if state is None or not state.ready:
        raise Rejected(words.lost_since(target, state.state if state else "absent"), system=f"Triton {triton.name}")
    return wrong_on_triton(target, golden, triton)


def _wrong_through_gateway(items: list[Item], gateway: Gateway) -> str:
    """Ask as a user does, whichever Triton the gateway chooses; return what is wrong, or an empty string."""
    for item in items:
        if item.target is None or item.golden is None or item.change.section == "shadow":
            continue
        for case, staging in item.golden:
            outputs = [tensor.name for tensor in case.outputs]
            version, answer = gateway.infer(item.change.model, case.inputs, outputs=outputs)
            if version != str(item.target.version):
                return f"version {version} answered instead of {item.target.version}"
            if wrong := item.golden.disagreements(case, staging, answer):
                return words.answers_differ(wrong, item.evidence)
    return ""
