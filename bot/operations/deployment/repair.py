"""Repair of what the verified routes need: a Triton that restarted empty, a gateway that missed a reload."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from bot.domain.asked import InUse, pair_of
from bot.domain.evidence import Evidence
from bot.domain.golden import Golden
from bot.domain.names import short
from bot.domain.plan import Plan
from bot.domain.retention import Pair
from bot.domain.routes import Routed, RouteTable, Target
from bot.errors import PromobotError, Rejected
from bot.operations.deployment import in_place
from bot.operations.deployment.admission import golden_of
from bot.operations.deployment.loading import ask_to_load, wait_ready
from bot.operations.deployment.run import Run
from bot.operations.inspection import wrong_on_triton
from bot.render import deployment as words
from bot.systems.triton.server import TritonServer


@dataclass(frozen=True)
class Repairs:
    """The repairs that were ``done``, ``problems`` with the others, and the gateways that stay ``behind``, and why.

    A gateway is behind where it does not take the routes in force.
    """

    done: Sequence[str]
    problems: Sequence[str]
    behind: Mapping[str, str]


def repair(run: Run, todo: Plan, verified: InUse, table: RouteTable) -> Repairs:
    """Bring back what the verified routes need: a Triton that restarted empty, a gateway that missed a reload.

    Where those in force (``table``) are others, a deployment was cut off, and they are not spread further: the
    switch, or going back, reloads every gateway.
    """
    done: list[str] = []
    problems = list(todo.silent.values())
    seen: dict[Target, tuple[Golden, Evidence | None]] = {}
    proven = table.models == verified.table.models
    wrong: dict[tuple[str, Target], PromobotError] = {}

    # A Triton that has the other version of a replacement that was cut off answers with it: that is finished, or put
    # back, by what comes next.
    moving = {
        target
        for slot, target in verified.table.slots.items()
        if table.target(slot) != target and in_place.is_replaced_in_place(run, slot, verified.table)
    }

    def lacking(triton: TritonServer) -> list[Target]:
        return [target for target in todo.load.get(triton.name, ()) if target not in moving]

    def load_again(triton: TritonServer) -> None:
        missing = verified.in_order(lacking(triton))
        wrong.update(
            {
                (triton.name, target): error
                for target, error in _load_again(run, missing, triton, look, verified.table).items()
            }
        )

    def look(what: Routed) -> tuple[Golden, Evidence | None]:
        if what.target not in seen:
            seen[what.target] = _served_before(run, what)
        return seen[what.target]

    run.map(run.systems.tritons, load_again)
    for triton in run.systems.tritons:
        for target in lacking(triton):
            error = wrong.get((triton.name, target))
            if error is None:
                done.append(
                    f"loaded {target.triton_model} {target.version} on {triton.name} again, which did not have it"
                )
            else:
                problems.append(str(error))
    behind: dict[str, str] = {}
    for gateway in run.systems.gateways:
        if gateway.name in todo.reload and proven:
            try:
                run.gateway(gateway).reload(table.generation, timeout_seconds=run.settings.deadlines.reload_seconds)
                done.append(
                    f"reloaded gateway {gateway.name} to generation {table.generation}, which it did not serve"
                )
            except PromobotError as error:
                behind[gateway.name] = words.without_system(error)
                problems.append(str(error))
    return Repairs(done, problems, behind)


def _served_before(run: Run, what: Routed) -> tuple[Golden, Evidence | None]:
    """Hash the bytes of a version in use and return how it answers; raise Rejected if the bytes have changed."""
    share, target = run.systems.share, what.target
    described = share.packages.described(target.digest)
    if described is None:
        raise Rejected(
            (
                f"{target.triton_model} {target.version} is {what.why}, but nothing is kept of its package "
                f"({short(target.digest)}), so it is not loaded where it is missing"
            ),
            system="model repository",
        )
    wrong = share.models.wrong_bytes(described.package, triton_model=target.triton_model, version=target.version)
    if wrong:
        raise Rejected(
            (
                f"{target.triton_model} {target.version} is {what.why}, but its bytes are no longer those of "
                f"{short(target.digest)}, so it is not loaded where it is missing: {'; '.join(wrong[:3])}"
            ),
            system="model repository",
        )
    return golden_of(run.ledger, what, described.smoke)


def _load_again(
    run: Run,
    missing: Sequence[Sequence[Routed]],
    triton: TritonServer,
    look: Callable[[Routed], tuple[Golden, Evidence | None]],
    verified: RouteTable,
) -> dict[Target, PromobotError]:
    """Load versions in use on a Triton that lost them, and prove them; return those that failed, and why.

    What is asked comes before what asks it, in waves. What answers wrong is taken off again, and so is what asks it.
    """
    failed: dict[Target, PromobotError] = {}

    def in_waves(waves: Sequence[Sequence[Routed]], work: Callable[[Routed], None]) -> None:
        for wave in waves:
            run.map(wave, partial(try_one, work, dict.fromkeys(map(pair_of, failed))))

    def try_one(work: Callable[[Routed], None], lacking: Mapping[Pair, object], what: Routed) -> None:
        try:
            if asked := [pair for pair in lacking if pair in what.asks]:
                raise Rejected(_asks_what_failed(what.target, *asked[0]), system=f"Triton {triton.name}")
            work(what)
        except PromobotError as error:
            failed[what.target] = error

    def load_one(what: Routed) -> None:
        look(what)
        shift = in_place.shift_to(run, what.slot, what.target)
        if shift and not what.asked_by and in_place.is_replaced_in_place(run, what.slot, verified):
            in_place.load_again(run, shift, triton)
        else:
            ask_to_load(run, what.target.triton_model, triton)

    def prove_one(what: Routed) -> None:
        golden, evidence = look(what)
        target = what.target
        if wrong := wrong_on_triton(target, golden, triton):
            raise Rejected(
                (
                    f"{target.triton_model} {target.version} was loaded again and unloaded, because it answers "
                    f"otherwise than before: {words.answers_differ(wrong, evidence)}"
                ),
                system=f"Triton {triton.name}",
            )

    def take_off(what: Routed) -> None:
        try:
            run.triton(triton).unload(what.target.triton_model)
        except PromobotError as error:
            failed[what.target] = error

    in_waves(missing, load_one)
    loaded = _without(missing, failed)
    targets = [what.target for wave in loaded for what in wave]
    try:
        failed |= wait_ready(run, targets, triton) if targets else {}
    except PromobotError as error:
        failed |= dict.fromkeys(targets, error)
    ready = _without(loaded, failed)
    in_waves(ready, prove_one)
    for wave in reversed(ready):
        # It had nothing before, and gateways ask another Triton as long as it has nothing. A part that no route names
        # or that is only compared stays: another version under its name may be in service, and what asks it goes.
        run.map([w for w in wave if w.is_routed and isinstance(failed.get(w.target), Rejected)], take_off)
    return failed


def _without(waves: Sequence[Sequence[Routed]], failed: Mapping[Target, PromobotError]) -> list[list[Routed]]:
    return [[what for what in wave if what.target not in failed] for wave in waves]


def _asks_what_failed(target: Target, name: str, version: int) -> str:
    """A part is not loaded, or answers wrong, so what asks it is not loaded."""
    return f"{target.triton_model} {target.version} is not loaded: it asks {name} {version}, which was not repaired"
