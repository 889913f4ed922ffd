"""Switching users over, proving what they get, and putting back what they had. The only steps that users see."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle, islice
from time import monotonic, sleep

from bot.concurrency import lazy, room_for
from bot.domain import stage
from bot.domain.asked import InUse, pair_of
from bot.domain.blame import AWAY, Decision, Failure, Kind, Seen, Switched, decide, is_empty, routes_with
from bot.domain.bundled import place_of
from bot.domain.desired import Change
from bot.domain.golden import Golden
from bot.domain.journal import Underway
from bot.domain.plan import Plan
from bot.domain.release import Lane
from bot.domain.routes import RouteTable, Target
from bot.domain.stage import Fault, Incomplete
from bot.errors import Denied, Foreign, NotReady, OtherBytes, PromobotError, Unavailable
from bot.operations.deployment import in_place
from bot.operations.deployment.item import Item, with_changed
from bot.operations.deployment.loading import ask_to_load, wait_ready, withdraw
from bot.operations.deployment.run import Run
from bot.operations.deployment.unfinished import write_journal
from bot.operations.inspection import EveryWorker, wrong_on_triton
from bot.render import deployment as words
from bot.systems.gateway import Gateway
from bot.systems.triton.server import ModelState, TritonServer

PAUSE_SECONDS = 0.5
"""Between two questions to DNS."""

Index = Mapping[tuple[str, int], ModelState]
"""What one Triton's repository index says, by model and version."""


def see_that_gateways_follow(run: Run, items: list[Item], todo: Plan, behind: Mapping[str, str]) -> list[Item]:
    """See that gateways will follow: nothing new goes out past one that would not.

    That is one that does not answer, or does not take the routes in force (``behind``) or the reload token: it would
    not take new routes, and users would be switched over and back again by each run. Or one whose processes are not
    all known: nobody could say that all of them follow. Rollbacks proceed in spite of each of them, and report it.
    """
    there = [gateway for gateway in run.systems.gateways if gateway.name not in (*todo.silent, *behind)]
    answers = dict(run.gather(there if items else (), _why_not_to_switch))
    away = []
    for gateway in run.systems.gateways:
        if gateway.name in todo.silent:
            away.append(todo.silent[gateway.name])
        elif gateway.name in behind:
            away.append(
                f"{gateway.name} does not take the routes in force, so nothing new goes out: {behind[gateway.name]}"
            )
        elif why := answers.get(gateway):
            away.append(f"{gateway.name} cannot be switched, so nothing new goes out: {words.without_system(why)}")
            if any(_goes_back(run, item) for item in items):
                run.say(
                    f"{gateway.name} cannot be told to switch, or cannot prove it. The way back goes all the same: "
                    f"{words.without_system(why)}"
                )
    if not away:
        return items
    return [
        item if _goes_back(run, item) else item.failing("fastapi_reloaded", "; ".join(away), Fault.ENVIRONMENT)
        for item in items
    ]


def _why_not_to_switch(gateway: Gateway) -> str:
    """Say what can be known of a gateway before it is switched; nothing is changed by it."""
    gateway.try_token()
    return words.unknown_workers(gateway.workers())


def switch(run: Run, items: list[Item], before: RouteTable, *, underway: list[Item]) -> list[Item]:
    """Switch users to these items, prove what they get, and put back what fails; return them as they ended.

    A failure that names its model takes that model back: the others stay, and all of them are proven again, until
    nothing more is named. Each round takes back one at least. A failure that names no model takes all back.
    ``underway``: every item of the run, for the journal.
    """
    staying, gone, began = items, list[Item](), dict[str, float]()
    before = without_canaries_of(items, before)
    while True:
        table = _with(run, staying, before)
        staying, met = _switch(run, table, staying, before)
        decision = decide([_switched(run, item) for item in staying], met.seen)
        leaving, staying = _parted(staying, decision)
        gone, began = [*gone, *leaving], began | {item.id: monotonic() for item in leaving}
        if not leaving:
            break
        if not staying:
            return put_back(run, gone, before, underway=with_changed(underway, gone))
        run.say(_some_go_back([item.change for item in leaving], staying=len(staying)))
        _journal_what_goes_back(run, with_changed(underway, [*staying, *gone]), before)
    staying = [_settled(run, item, table, decision.incomplete.get(item.id), met) for item in staying]
    gone = [item.having_done(f"put back by generation {table.generation}", began[item.id]) for item in gone]
    for item in gone:
        if decision.incomplete and item.target is not None:
            run.say(_stays_loaded(item.target))
    if gone and not decision.incomplete:
        _wait_drained(run)
        withdraw(run, gone, before)
    return with_changed(items, [*staying, *gone])


def without_canaries_of(items: Iterable[Item], before: RouteTable) -> RouteTable:
    """Return the routes to go back to where these fail: what was live, without what divides it.

    A step that fails ends its rollout, and so does whatever replaces a canary.
    """
    ending = (item for item in items if item.change.slot.lane is Lane.LIVE and not item.publishes_again)
    return before.undivided(item.change.model for item in ending)


def _parted(items: list[Item], decision: Decision) -> tuple[list[Item], list[Item]]:
    """Return those that go back, each with its reason, and those that stay."""
    back = [item.going_back(decision.back[item.id]) for item in items if item.id in decision.back]
    return back, [item for item in items if item.id not in decision.back]


def _settled(run: Run, item: Item, table: RouteTable, not_followed: str | None, met: _Met) -> Item:
    """Return an item that stays with what was proven of it, or that a server is not known to follow its way back."""
    if not_followed is not None:
        # The way back is not kept closed by a server that is away: what a gateway serves when it comes up is in
        # routes.json. But nobody calls this done.
        item = replace(item, stage=Incomplete(not_followed))
        return item.seeing("fastapi_reloaded", not_followed, holds=False)
    if item.golden is not None:
        proof = words.golden_answers(item.golden, item.evidence, run.systems.tritons, again=True)
        item = item.seeing("smoke_passed", proof)
    through = met.workers if _asked_through_gateways([item]) else {}
    return item.seeing("fastapi_reloaded", _serves_generation(table.generation, run.systems.gateways, through))


@dataclass(frozen=True)
class _Met:
    """The findings after one switch.

    ``wrong`` is what a Triton got wrong of an item, by its id. ``workers`` is, by gateway, how many of its processes
    gave golden answers, and how many it has.
    """

    seen: Seen
    wrong: Mapping[str, str] = field(default_factory=dict)
    workers: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Through:
    """What one gateway answered: what failed of each item that it was asked for, and how many processes answered."""

    found: Mapping[str, Failure | None]
    workers: tuple[int, int]


def _switched(run: Run, item: Item) -> Switched:
    place = place_of(item.change)
    return Switched(item.id, way_back=_goes_back(run, item), bundle="/".join(place) if place else "")


def _goes_back(run: Run, item: Item) -> bool:
    """Whether nothing keeps it from going: it returns to what was verified, and not step by step."""
    return run.goes_back(item.change) and not item.is_step


def _with(run: Run, items: list[Item], before: RouteTable) -> RouteTable:
    """Return the next routes: those of ``before``, with these items' targets."""
    return run.routes().following(routes_with(before, [(item.change.slot, item.placed_in) for item in items]))


def _switch(run: Run, table: RouteTable, items: list[Item], before: RouteTable) -> tuple[list[Item], _Met]:
    """Write the routes, reload every gateway, ask every Triton again and through every gateway; return what was met.

    A gateway chooses a Triton for each request, so what is asked through it proves the gateway's routes and whichever
    Triton it chose. That every Triton has the version, and answers rightly, only each of them can be asked.
    """
    started = monotonic()
    run.say(f"{run.settings.environment}: switching the routes to generation {table.generation}")
    met = _take_over(run, table, items, before)
    switched = []
    for item in items:
        if said := met.wrong.get(item.id):
            item = item.seeing("smoke_passed", said, holds=False)
        item = replace(item, stage=stage.Switched(partly=item.is_step))
        switched.append(item.having_done(f"switch to generation {table.generation}", started))
    return switched, met


def _take_over(run: Run, table: RouteTable, items: list[Item], before: RouteTable) -> _Met:
    try:
        # The way back is written before the way forth is taken: going back must not fail for want of space.
        run.held.routes.prepare(table.following(before.models))
        run.held.routes.write(table)
    except PromobotError as error:
        # It may have been written all the same; going back writes the next generation either way.
        return _Met(Seen((Failure("write", "", str(error)),)))
    failures: list[Failure] = []
    refusals: list[Failure] = []
    asked: dict[str, Collection[str]] = {}
    followed: list[Gateway] = []
    by_model = {item.change.model: item for item in items if item.change.section == "models"}
    for gateway, answer in _reload_all(run, table).items():
        if not answer:
            followed.append(gateway)
        elif isinstance(answer, NotReady) and set(answer.models) <= by_model.keys():
            asked[_key(gateway)] = {item.id for item in by_model.values()}
            refusals += [_named("not ready", gateway, answer, by_model[model]) for model in answer.models]
        else:
            failures.append(_named(_kind_of(answer), gateway, answer))
    if any(failure.kind == "refused" for failure in failures):
        return _Met(Seen(tuple(failures)))
    if replaced := [item for item in items if item.in_place]:
        if refusals or any(failure.kind not in AWAY or not _goes_back(run, replaced[0]) for failure in failures):
            # A gateway may still route to what the other half has; it goes back.
            return _Met(Seen((*failures, *refusals), asked))
        _wait_drained(run)
        if late := [failure for item in replaced for failure in _bring_to_the_rest(run, item)]:
            return _Met(Seen((*failures, *late), asked))
    tritons = _ask_tritons(run, items, [before, table])
    through = _ask_through_all(run, items, followed)
    asked |= tritons.seen.asked
    asked |= {_key(gateway): set(answer.found) for gateway, answer in through.items()}
    own = [failure for one in through.values() for item in items if (failure := one.found.get(item.id))]
    return _Met(
        Seen((*failures, *tritons.seen.failures, *own, *refusals), asked),
        wrong=tritons.wrong,
        workers={gateway.name: answer.workers for gateway, answer in through.items()},
    )


def _bring_to_the_rest(run: Run, item: Item) -> list[Failure]:
    """Replace a version on the Tritons that answered until every gateway followed; return what failed there."""
    assert item.target is not None  # noqa: S101 - it was routed to
    shift = in_place.Shift(item.change.slot, item.target, item.config)
    return [
        _named("silent" if isinstance(error, Unavailable) else "lost", triton, error, item)
        for triton, error in in_place.the_rest(run, shift).items()
    ]


def _named(
    kind: Kind, server: Gateway | TritonServer, said: str | PromobotError, item: Item | None = None
) -> Failure:
    """Return a failure of this server; our errors name their system themselves."""
    text = str(said) if isinstance(said, PromobotError) else f"{_key(server)}: {said}"
    return Failure(kind, _key(server), text, item.id if item else "")


def _key(server: Gateway | TritonServer) -> str:
    """Return what the server is called in texts; a Triton and a gateway may have the same name."""
    return f"{'Triton' if isinstance(server, TritonServer) else 'gateway'} {server.name}"


def _reload_all(run: Run, table: RouteTable) -> dict[Gateway, str | PromobotError]:
    """Reload every gateway; return what is wrong with each, which is empty where it serves these routes.

    One that is silent, and whose address its name gives no more, was evicted or replaced. It is left out, and as many
    as there were are waited for, as long as a reload may take: what comes up reads the routes in force.
    """
    answers = dict(run.gather(run.systems.gateways, partial(_switch_gateway, run, table)))
    wanted, deadline = len(answers), monotonic() + run.settings.deadlines.reload_seconds
    some_left = False
    while True:
        silent = [gateway for gateway, answer in answers.items() if isinstance(answer, Unavailable)]
        if not silent and len(answers) >= wanted:
            return answers
        came = _those_that_came(run, known=answers)
        answers |= dict(run.gather(came, partial(_switch_gateway, run, table)))
        left = _leave_out_those_that_left(run, silent)
        answers = {gateway: answer for gateway, answer in answers.items() if gateway not in left}
        some_left |= bool(left)
        if not came and not left:
            if not some_left or monotonic() >= deadline:
                return answers
            sleep(PAUSE_SECONDS)


def _leave_out_those_that_left(run: Run, silent: list[Gateway]) -> list[Gateway]:
    """Take the silent gateways out of the run that their name gives no more; return them. One must be left."""
    try:
        left = run.systems.that_left(silent)
    except PromobotError:
        return []  # who says nothing about them does not say that they left
    if not left or len(left) == len(run.systems.gateways):
        return []
    run.systems = run.systems.without(left)
    for gateway in left:
        run.say(
            f"{gateway.name} does not answer, and its name no longer resolves to its address: it left the gateways"
        )
    return left


def _leave_out_tritons_that_left(run: Run, silent: list[TritonServer]) -> list[TritonServer]:
    """Do the same with Tritons: one that was scaled away serves nobody, and must not have everything put back."""
    try:
        left = run.systems.tritons_that_left(silent)
    except PromobotError:
        return []
    if len(left) == len(run.systems.tritons):
        return []
    run.systems = run.systems.without(left)
    for triton in left:
        run.say(f"{triton.name} does not answer, and its name no longer resolves to its address: it left the Tritons")
    return left


def _those_that_came(run: Run, *, known: Container[Gateway]) -> list[Gateway]:
    """Ask DNS for the gateways that came up since, and return them. A Triton that did is the next run's."""
    try:
        run.systems = run.systems.with_more_gateways()
    except PromobotError:
        return []
    came = [gateway for gateway in run.systems.gateways if gateway not in known]
    for gateway in came:
        run.say(f"{gateway.name} came up in the middle of the switch: it is reloaded and proven, too")
    return came


def _ask_through_all(run: Run, items: list[Item], gateways: list[Gateway]) -> dict[Gateway, _Through]:
    """Ask through every gateway; return what each answered.

    One that falls silent meanwhile, and whose address its name gives no more, is left out.
    """
    through: dict[Gateway, _Through] = {}

    def ask(gateway: Gateway) -> None:
        through[gateway] = _ask_through(run, items, gateway)

    for _, error in run.gather(gateways, ask):
        if error is not None:
            raise error
    silent = [
        gateway
        for gateway in gateways
        if any(failure and failure.kind == "silent" for failure in through[gateway].found.values())
    ]
    left = _leave_out_those_that_left(run, silent)
    return {gateway: through[gateway] for gateway in gateways if gateway not in left}


def _kind_of(answer: str | PromobotError) -> Kind:
    """Return what kind of failure it is that a gateway could not be switched."""
    if isinstance(answer, Unavailable):
        return "silent"
    return "denied" if isinstance(answer, Denied) else "refused"


def _switch_gateway(run: Run, table: RouteTable, gateway: Gateway) -> str:
    """Reload one gateway; return what is wrong, or an empty string. Raise Unavailable where nobody can tell."""
    there = run.gateway(gateway).reload(table.generation, timeout_seconds=run.settings.deadlines.reload_seconds)
    # First whether all of its processes are known: else the one that answers need not be the one that was reloaded.
    if why := words.unknown_workers(gateway.workers()):
        raise Unavailable(why, system=_key(gateway))
    if (there.generation, there.models) != (table.generation, table.models):
        return f"serves generation {there.generation} after the reload"
    return ""


def _ask_tritons(run: Run, items: list[Item], tables: list[RouteTable]) -> _Met:
    """Ask every Triton for the versions that users now get; return the failures, and what each was asked for.

    It leaves out a Triton that does not answer and whose address its name no longer resolves to.
    """
    serving = [(item, target, golden) for item in items if (target := item.target) and (golden := item.golden)]
    failures: list[Failure] = []
    wrong: dict[str, str] = {}
    index: dict[TritonServer, Index] = {}
    answers = run.gather(run.systems.tritons if serving else (), _index)
    silent = [triton for triton, answer in answers if isinstance(answer, Unavailable)]
    left = _leave_out_tritons_that_left(run, silent)
    for triton, answer in answers:
        if triton in left:
            continue
        if isinstance(answer, PromobotError):
            failures.append(_named("silent" if isinstance(answer, Unavailable) else "refused", triton, answer))
        elif is_empty({pair for pair, state in answer.items() if state.ready}, *tables):
            item, target, _ = serving[0]
            failures.append(_named("empty", triton, _lost(target, answer)))
            wrong[item.id] = failures[-1].said
        else:
            index[triton] = answer
    found = _fail_on_tritons(run, serving, index)
    silent = [
        triton
        for triton in index
        if any(triton is one and _is_silent(failure) for said in found.values() for one, failure in said)
    ]
    left = _leave_out_tritons_that_left(run, silent)
    for item, _, _ in serving:
        own = [failure for triton, failure in found[item.id] if failure is not None and triton not in left]
        failures += own
        if said := [failure.said for failure in own if failure.kind != "silent"]:
            wrong[item.id] = said[-1]
    asked = {_key(triton): {item.id for item, _, _ in serving} for triton in index if triton not in left}
    return _Met(Seen(tuple(failures), asked), wrong)


def _fail_on_tritons(
    run: Run, serving: list[tuple[Item, Target, Golden]], index: Mapping[TritonServer, Index]
) -> dict[str, list[tuple[TritonServer, Failure | None]]]:
    """Ask these Tritons for each item; return by item what failed on each of them."""

    def ask(one: tuple[Item, Target, Golden]) -> list[tuple[TritonServer, Failure | None]]:
        answers = run.gather(index, lambda triton: _fails_on_triton(*one, index[triton], triton))
        return [(triton, _failure(answer)) for triton, answer in answers]

    return dict(zip((item.id for item, _, _ in serving), run.map(serving, ask), strict=True))


def _failure(answer: Failure | PromobotError | None) -> Failure | None:
    if isinstance(answer, PromobotError):
        raise answer
    return answer


def _is_silent(failure: Failure | None) -> bool:
    return failure is not None and failure.kind == "silent"


def _fails_on_triton(
    item: Item, target: Target, golden: Golden, index: Index, triton: TritonServer
) -> Failure | None:
    """Ask one Triton again, whose index must name the version READY still: it may have restarted since."""
    state = index.get((target.triton_model, target.version))
    if state is None or not state.ready:
        return _named("lost", triton, _lost(target, index), item)
    try:
        wrong = wrong_on_triton(target, golden, triton)
    except PromobotError as error:
        return _no_answer(error, triton, item)
    return _named("answer", triton, words.answers_differ(wrong, item.evidence), item) if wrong else None


def _lost(target: Target, index: Index) -> str:
    state = index.get((target.triton_model, target.version))
    return (
        f"{target.triton_model} {target.version} was READY before the switch and is "
        f"{(state.state if state else 'absent')} after it"
    )


def _asked_through_gateways(items: list[Item]) -> list[tuple[Item, Target, Golden]]:
    """Return what users may ask for, with its golden requests: a shadow is asked by nobody."""
    return [
        (item, target, golden)
        for item in items
        if (target := item.target) and (golden := item.golden) and item.change.section != "shadow"
    ]


def _ask_through(run: Run, items: list[Item], gateway: Gateway) -> _Through:
    """Ask one gateway as a user does, whichever Triton it chooses."""
    serving, found = _asked_through_gateways(items), dict[str, Failure | None]()

    def ask(one: tuple[Item, Target, Golden]) -> None:
        met = list(found.values())
        some = len(met) >= run.settings.concurrency.models
        if some and all(failure and failure.kind == "silent" for failure in met):
            return  # it is away, and each further question would take its whole deadline
        found[one[0].id] = _fails_through(*one, gateway)

    workers = EveryWorker(gateway)
    run.map(serving, ask)
    for _, (item, target, golden) in zip(workers, cycle(serving), strict=False):
        if any(found.values()):
            break
        found[item.id] = _fails_through(item, target, golden, gateway, cases=1)
    return _Through(found, (len(workers.met), len(workers.known)))


def _fails_through(
    item: Item, target: Target, golden: Golden, gateway: Gateway, *, cases: int | None = None
) -> Failure | None:
    # Of two versions that answer, only a request that names one gets that one for sure.
    named = target.version if item.is_step or item.publishes_again else None
    for case, staging in islice(golden, cases):
        outputs = [tensor.name for tensor in case.outputs]
        with room_for(case.size):
            try:
                version, answer = gateway.infer(item.change.model, case.inputs, outputs=outputs, version=named)
            except PromobotError as error:
                return _no_answer(error, gateway, item)
            if version != str(target.version):
                said = f"version {version} answered instead of {target.version}"
                return _named("other version", gateway, said, item)
            if differs := golden.disagreements(case, staging, answer):
                return _named("answer", gateway, words.answers_differ(differs, item.evidence), item)
    return None


def _no_answer(error: PromobotError, server: Gateway | TritonServer, item: Item) -> Failure:
    if isinstance(error, Denied):
        return _named("refused", server, error)
    if isinstance(error, Foreign | OtherBytes):  # nor is the model to blame for a golden case that was damaged
        return _named("foreign", server, error, item)
    return _named("silent" if isinstance(error, Unavailable) else "answer", server, error, item)


def _index(triton: TritonServer) -> Index:
    return {state.pair: state for state in triton.index()}


def put_back(
    run: Run, items: list[Item], before: RouteTable, *, underway: Iterable[Item | Underway] = ()
) -> list[Item]:
    """Route to what was in service before, on every gateway, and take the versions of these items off again.

    ``underway``: everything that the run does, for the journal. Returns the items as they ended.
    """
    before = without_canaries_of(items, before)
    _journal_what_goes_back(run, underway, before)
    started = monotonic()
    table = run.routes()
    shifts = in_place.going_back(run, before)
    before = in_place.partly(before, table, shifts)
    for shift in shifts:
        _bring_back_to_half(run, shift, table)
    if table.models != before.models or not items:
        # The generation only rises, so going back is a new table with the old routes.
        table = table.following(before.models)
        run.say(
            f"{run.settings.environment}: putting the last verified routes back, as generation {table.generation}"
        )
        run.held.routes.write(table)
    back = partial(_bring_back, run, table)
    away = [gateway for gateway, answer in run.gather(run.systems.gateways, back) if answer]
    if away:
        # A gateway takes no routes to what no Triton has READY: one that restarted lost the version before, too.
        missing = partial(_load_missing, run, lazy(partial(run.in_use, before)), but={shift.to for shift in shifts})
        run.gather(run.systems.tritons, missing)
    still = {gateway: answer for gateway, answer in run.gather(away, back) if answer}
    left = _leave_out_those_that_left(run, [one for one, answer in still.items() if isinstance(answer, Unavailable)])
    astray = [
        f"gateway {one.name} is not known to be back: {words.without_system(answer)}"
        for one, answer in still.items()
        if one not in left
    ]
    _wait_drained(run)
    did = f"put back by generation {table.generation}"
    ended = [
        replace(item, stage=stage.with_more_problems(item.stage, astray)).having_done(did, started) for item in items
    ]
    for item in items:
        if astray and item.target is not None:
            # Its users would get errors. It was proven on every Triton, and the model's next deployment takes it off.
            run.say(_stays_loaded(item.target))
    if not astray:
        for shift in shifts:
            _bring_back_to_the_rest(run, shift)
        withdraw(run, items, before)
    return ended


def _bring_back_to_half(run: Run, shift: in_place.Shift, current: RouteTable) -> None:
    """Bring the version of before to half of the Tritons, so that gateways can be routed back; say what fails."""
    try:
        in_place.first_half(run, shift, [current.target(shift.slot)], strict=False, may_stop=True)
    except PromobotError as error:
        run.say(f"{shift.to.triton_model} {shift.to.version} is not back: {error}")


def _bring_back_to_the_rest(run: Run, shift: in_place.Shift) -> None:
    for triton, error in in_place.the_rest(run, shift, strict=False).items():
        run.say(f"{shift.to.triton_model} {shift.to.version} is not back on {triton.name}: {error}")


def _bring_back(run: Run, table: RouteTable, gateway: Gateway) -> str:
    try:
        there = run.gateway(gateway).reload(table.generation, timeout_seconds=run.settings.deadlines.reload_seconds)
    except PromobotError:
        # One that refused to switch refuses to switch back, and serves the old routes all along: look.
        there = gateway.routes()
    return "" if there.models == table.models else f"it serves generation {there.generation}"


def _load_missing(run: Run, wanted: Callable[[], InUse], triton: TritonServer, *, but: Collection[Target]) -> None:
    """Load what this Triton lacks, ``but`` these; raise what goes wrong first, when all was tried."""
    there = {state.pair for state in triton.index() if state.ready}
    needed = wanted()
    missing = [target for target in needed.targets if pair_of(target) not in there and target not in but]
    problems: list[PromobotError] = []

    def load_one(name: str) -> None:
        try:
            ask_to_load(run, name, triton)
        except PromobotError as error:
            problems.append(error)

    for wave in needed.in_order(missing):
        run.map(dict.fromkeys(what.target.triton_model for what in wave), load_one)
    if missing and not problems:
        problems += wait_ready(run, missing, triton).values()
    if problems:
        raise problems[0]


def _journal_what_goes_back(run: Run, underway: Iterable[Item | Underway], before: RouteTable) -> None:
    try:
        write_journal(run, underway, before)
    except PromobotError as error:
        # Users come first. The next run finds the old journal, tries once more to go forward, and comes back here.
        run.say(str(error))


def _wait_drained(run: Run) -> None:
    """Let what runs under the older routes finish before its version is taken off."""
    seconds = run.settings.deadlines.request_seconds
    run.gather(run.systems.gateways, lambda gateway: gateway.wait_drained(timeout_seconds=seconds))


def _serves_generation(
    generation: int, gateways: Iterable[words.Named], asked_through: Mapping[str, tuple[int, int]] | None = None
) -> str:
    """All gateways serve it; ``asked_through`` says by name how many of how many workers gave golden answers."""
    through = asked_through or {}
    named = ", ".join(f"{one.name}{_workers(*through.get(one.name, (1, 1)))}" for one in gateways)
    return f"generation {generation} and the golden answers on {named}"


def _workers(met: int, known: int) -> str:
    if known <= 1:
        return ""
    if met == known:
        return f" (all {known} workers)"
    return f" ({known} workers serve it; golden answers came through {met})"


def _some_go_back(changes: Sequence[Change], *, staying: int) -> str:
    """Some models fail, the others stay."""
    listed = ", ".join(words.describe(change) for change in changes)
    return f"{listed}: failed after the switch and goes back; the other {staying} stay and are proven again"


def _stays_loaded(target: Target) -> str:
    """Somebody may still be routed to what was put back."""
    return f"{target.triton_model} {target.version} stays loaded: a gateway may still route to it"
