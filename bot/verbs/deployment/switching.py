"""Switching users over, proving what they get, and putting back what they had. The only steps that users see."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from time import monotonic

from bot.domain.golden import Disagreement, Golden
from bot.domain.plan import Plan, targets, with_target
from bot.domain.routes import RouteTable, Target
from bot.errors import PromobotError, Rejected, Superseded, Unavailable
from bot.systems.gateway import Gateway
from bot.systems.triton import ModelState, TritonServer
from bot.verbs.deployment.item import Item
from bot.verbs.deployment.loading import ask_to_load, wait_ready, withdraw
from bot.verbs.deployment.run import Run
from bot.verbs.deployment.unfinished import write_journal
from bot.verbs.inspection import wrong_on_triton
from bot.verbs.observe import at_once
from bot.verbs.side_by_side import side_by_side
from bot.words import deployment as words


def see_that_gateways_answer(run: Run, items: list[Item], todo: Plan) -> list[Item]:
    """Return the items that can go on: nothing new goes out past a gateway that does not answer."""
    away = {gateway.name: why for gateway in run.systems.gateways if (why := todo.silent.get(gateway.name))}
    for item in items if away else ():
        if not run.goes_back(item.change):
            item.problem = "; ".join(words.silent(name, why) for name, why in away.items())
            item.sees("fastapi_reloaded", item.problem, holds=False)
    return [item for item in items if not item.problem]


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
        withdraw(run, items, before)


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
            ask_to_load(run, name, triton)
        except Superseded:
            raise
        except PromobotError as error:
            problems.append(error)

    side_by_side(dict.fromkeys(target.triton_model for target in missing), load_one)
    if missing and not problems:
        problems += wait_ready(run, missing, triton).values()
    if problems:
        raise problems[0]


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
