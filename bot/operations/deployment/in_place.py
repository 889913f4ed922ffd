"""Replacing a version in its place, where a Triton has no room for two: one Triton after another.

    first half  give up what is in service, load the next, prove it; the other half answers meanwhile
    switch      the routes name the next one, and every gateway follows
    the rest    the other half does the same

Everything follows from what each Triton has: a run that was killed anywhere goes on, or back, by looking again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from bot.domain.asked import pair_of
from bot.domain.release import Lane, Slot
from bot.domain.retention import Pair
from bot.domain.routes import RouteTable, Target
from bot.errors import PromobotError, Refused, Unavailable
from bot.operations.deployment.loading import ask_to_load, wait_ready
from bot.operations.deployment.run import Run
from bot.systems.triton.config import render_config, versions_of
from bot.systems.triton.server import TritonServer


@dataclass(frozen=True)
class Shift:
    """The version that Tritons are to have of one model, in the place of all that they have of it."""

    slot: Slot
    to: Target
    config: str

    def is_of(self, name: str) -> bool:
        """Whether Triton knows a version of this slot by this name."""
        return name.partition(".")[0] == self.slot.published_name


@dataclass(frozen=True)
class _There:
    """One Triton, and what it has of the model: ``ready`` answers, ``loaded`` takes memory."""

    triton: TritonServer
    ready: frozenset[Pair]
    loaded: frozenset[Pair]


def is_replaced_in_place(run: Run, slot: Slot, before: RouteTable) -> bool:
    """Whether a version of this slot is replaced in place; the first one has nothing to replace."""
    route = before.route(slot.model)
    in_place = slot.lane is Lane.LIVE and run.settings.replaces_in_place(slot.model)
    return in_place and route.live is not None and route.canary is None


def shift_to(run: Run, slot: Slot, target: Target) -> Shift | None:
    """Return the shift to what the share has already; None where it has no configuration of it."""
    config = run.systems.share.models.config(target.triton_model)
    return Shift(slot, target, config) if config is not None else None


def going_back(run: Run, before: RouteTable) -> list[Shift]:
    """Return the shifts that bring back what these routes name of every model that is replaced in place."""
    slots = [Slot(before.environment, model, Lane.LIVE) for model in before.models]
    found = [
        shift_to(run, slot, target)
        for slot in slots
        if is_replaced_in_place(run, slot, before) and (target := before.target(slot))
    ]
    return [shift for shift in found if shift is not None]


def partly(before: RouteTable, current: RouteTable, shifts: Iterable[Shift]) -> RouteTable:
    """Return the routes in which gateways take these shifts as soon as one Triton has them.

    Also where the routes in force (``current``) name them already: who wrote those may have been killed on the way.
    """
    models = dict(before.models)
    for shift in shifts:
        if current.target(shift.slot) != shift.to or current.route(shift.slot.model).partly:
            models[shift.slot.model] = replace(models[shift.slot.model], partly=True)
    return replace(before, models=models)


def first_half(
    run: Run,
    shift: Shift,
    needed: Iterable[Target | None],
    *,
    prove: Callable[[TritonServer], None] = lambda _: None,
    strict: bool = True,
    may_stop: bool,
) -> list[TritonServer]:
    """Bring the version to half of the Tritons, prove it there, and return them.

    The others keep what users may be routed to.

    ``needed`` is that. The last Triton that has one of these keeps it, unless it is the only Triton and ``may_stop``.
    ``strict``: a Triton that does not answer stops it. Raises what goes wrong first.
    """
    there = _look(run, shift, strict=strict)
    others = {pair_of(target) for target in needed if target is not None and target != shift.to}
    done = [one for one in there if pair_of(shift.to) in one.ready]
    wanted = max(1, len(there) // 2)
    # Those that answer nobody come first.
    for one in sorted((one for one in there if one not in done), key=lambda one: len(one.ready & others)):
        if len(done) >= wanted:
            break
        kept = {pair for two in there if two is not one and two not in done for pair in two.ready}
        if (one.ready & others) - kept and not (may_stop and len(there) == 1):
            continue
        _convert(run, shift, one)
        prove(one.triton)
        done.append(one)
    if not done:
        raise Refused(
            f"{shift.slot.model} is replaced in place, and {run.settings.environment} has no second Triton that "
            "answers meanwhile",
            state="Nothing was unloaded.",
        )
    name_version(run, shift)
    return [one.triton for one in done]


def name_version(run: Run, shift: Shift) -> None:
    """Let the configuration on the share name the version, so that it is what a Triton loads by this name.

    A run that was killed may have left it at the other version. The share is then right for what is in service.
    """
    config = run.systems.share.models.config(shift.to.triton_model)
    if config is None or versions_of(config) != [shift.to.version]:
        run.held.models.write_config(shift.to.triton_model, render_config(shift.config, versions={shift.to.version}))


def the_rest(run: Run, shift: Shift, *, strict: bool = True) -> dict[TritonServer, PromobotError]:
    """Bring the version to every Triton that lacks it, or has more of the model; return what failed, and where."""
    failed: dict[TritonServer, PromobotError] = {}
    for one in _look(run, shift, strict=strict):
        try:
            _convert(run, shift, one)
        except PromobotError as error:
            failed[one.triton] = error
    return failed


def load_again(run: Run, shift: Shift, triton: TritonServer) -> None:
    """Load what is in service on one Triton, in the place of what it has of the model; wait until it is READY."""
    _convert(run, shift, _there(shift, triton))


def _look(run: Run, shift: Shift, *, strict: bool) -> list[_There]:
    found = []
    for _, answer in run.gather(run.systems.tritons, lambda triton: _there(shift, triton)):
        if isinstance(answer, _There):
            found.append(answer)
        elif strict:
            raise answer
    return found


def _there(shift: Shift, triton: TritonServer) -> _There:
    own = [state for state in triton.index() if shift.is_of(state.model)]
    return _There(
        triton,
        frozenset(state.pair for state in own if state.ready),
        frozenset(state.pair for state in own if state.loaded),
    )


def _convert(run: Run, shift: Shift, one: _There) -> None:
    """Unload what one Triton has of the model, then load the version."""
    wanted = pair_of(shift.to)
    if one.loaded == {wanted} == one.ready:
        return
    seconds, control = run.settings.deadlines.load_seconds, run.triton(one.triton)
    names = sorted({name for name, _ in one.loaded - {wanted}})
    for name in names:
        run.say(f"{one.triton.name}: unloading {name}, to make room for {shift.to.triton_model} {shift.to.version}")
        control.unload(name)
    if still := one.triton.wait_all_gone(dict.fromkeys(names, ()), timeout_seconds=seconds):
        said = f"{', '.join(sorted(still))} did not go within {seconds:g} s"
        raise Unavailable(said, system=f"Triton {one.triton.name}")
    run.held.models.write_config(shift.to.triton_model, render_config(shift.config, versions={shift.to.version}))
    ask_to_load(run, shift.to.triton_model, one.triton)
    for error in wait_ready(run, [shift.to], one.triton).values():
        raise error
