"""Repair of what the verified routes need: a Triton that restarted empty, a gateway that missed a reload."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bot.domain.evidence import Evidence
from bot.domain.golden import Golden
from bot.domain.names import short
from bot.domain.plan import Plan
from bot.domain.routes import Routed, RouteTable, Target, routed
from bot.errors import PromobotError, Rejected
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


def repair(run: Run, todo: Plan, verified: RouteTable, table: RouteTable) -> Repairs:
    """Bring back what the verified routes need: a Triton that restarted empty, a gateway that missed a reload.

    Where those in force (``table``) are others, a deployment was cut off, and they are not spread further: the
    switch, or going back, reloads every gateway.
    """
    done: list[str] = []
    problems = list(todo.silent.values())
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

    run.map(run.systems.tritons, load_again)
    for triton in run.systems.tritons:
        for target in todo.load.get(triton.name, ()):
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
    """Hash the bytes of a version in service and return how it answers; raise Rejected if the bytes have changed."""
    share, target = run.systems.share, what.target
    described = share.packages.described(target.digest)
    if described is None:
        raise Rejected(
            (
                f"{target.triton_model} {target.version} is in service, but nothing is kept of its package "
                f"({short(target.digest)}), so it is not loaded where it is missing"
            ),
            system="model repository",
        )
    wrong = share.models.wrong_bytes(described.package, triton_model=target.triton_model, version=target.version)
    if wrong:
        raise Rejected(
            (
                f"{target.triton_model} {target.version} is in service, but its bytes are no longer those of "
                f"{short(target.digest)}, so it is not loaded where it is missing: {'; '.join(wrong[:3])}"
            ),
            system="model repository",
        )
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
            try:
                work(target)
            except PromobotError as error:
                failed[target] = error

        return try_one

    def load_one(target: Target) -> None:
        look(target)
        ask_to_load(run, target.triton_model, triton)

    def prove_one(target: Target) -> None:
        golden, evidence = look(target)
        try:
            if wrong := wrong_on_triton(target, golden, triton):
                raise Rejected(
                    (
                        f"{target.triton_model} {target.version} was loaded again and unloaded, because it answers "
                        f"otherwise than before: {words.answers_differ(wrong, evidence)}"
                    ),
                    system=f"Triton {triton.name}",
                )
        except Rejected:
            # It had nothing before, and gateways ask another Triton as long as it has nothing.
            run.triton(triton).unload(target.triton_model)
            raise

    run.map(missing, tried(load_one))
    loaded = [target for target in missing if target not in failed]
    try:
        failed |= wait_ready(run, loaded, triton) if loaded else {}
    except PromobotError as error:
        failed |= dict.fromkeys(loaded, error)
    run.map([target for target in loaded if target not in failed], tried(prove_one))
    return failed
