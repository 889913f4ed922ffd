"""The whole way of one version that is replaced in place: half of the Tritons, the switch, the rest, the record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from time import monotonic

from bot.domain.record import DeploymentRecord
from bot.domain.routes import RouteTable
from bot.domain.stage import fault_of, fault_of_load
from bot.errors import PromobotError, Rejected, WrongAnswers
from bot.operations.deployment import in_place
from bot.operations.deployment.conclusion import conclude
from bot.operations.deployment.item import Item, go_on
from bot.operations.deployment.loading import other_cases, withdraw
from bot.operations.deployment.publishing import publish
from bot.operations.deployment.run import Run
from bot.operations.deployment.switching import put_back, switch
from bot.operations.inspection import wrong_on_triton
from bot.render import deployment as words
from bot.systems.triton.server import TritonServer


def replaced_in_place(run: Run, items: Iterable[Item], before: RouteTable) -> list[Item]:
    """Return those of these items that take the place of another version on each Triton."""
    return [
        replace(item, in_place=True)
        for item in items
        if item.change.after is not None and in_place.is_replaced_in_place(run, item.change.slot, before)
    ]


def replace_all(
    run: Run, items: Iterable[Item], before: RouteTable, *, underway: list[Item]
) -> tuple[list[DeploymentRecord], RouteTable]:
    """Replace one model after another, each to its record; return the records, and the routes that are good now."""
    records: list[DeploymentRecord] = []
    for item in items:
        (ended,) = _replace(run, item, before, underway=underway)
        records += conclude(run, [ended])
        slot, now = item.change.slot, run.routes()
        before = replace(before, models={**before.models, slot.model: now.route(slot.model)})
    return records, before


def _replace(run: Run, item: Item, before: RouteTable, *, underway: list[Item]) -> list[Item]:
    slot = item.change.slot
    items = go_on([item], partial(publish, run))
    if run.routes().target(slot) not in (before.target(slot), items[0].target):
        # Neither what is verified nor what is asked for: a deployment was cut off, and main changed its mind.
        put_back(run, [], before, underway=underway)
    items = go_on(items, partial(_bring_to_half, run, before=before))
    if items[0].may_go_on:
        return [_ready_everywhere(run, one) for one in switch(run, items, before, underway=underway)]
    if (old := before.target(slot)) and (shift := in_place.shift_to(run, slot, old)):
        for triton, error in in_place.the_rest(run, shift, strict=False).items():
            run.say(f"{old.triton_model} {old.version} is not back on {triton.name}: {error}")
    withdraw(run, items, before)
    return items


def _ready_everywhere(run: Run, item: Item) -> Item:
    if not item.may_go_on or item.target is None:
        return item
    return item.seeing("triton_loaded", words.ready_in_place(item.target, run.systems.tritons))


def _bring_to_half(run: Run, items: list[Item], before: RouteTable) -> list[Item]:
    return [_bring_one_to_half(run, item, before) for item in items]


def _bring_one_to_half(run: Run, item: Item, before: RouteTable) -> Item:
    """Load the version in the place of the old one on half of the Tritons, and prove it on each of them."""
    target, golden, slot = item.target, item.golden, item.change.slot
    if target is None or golden is None:
        return item
    started, goes_back = monotonic(), run.goes_back(item.change)

    def prove(triton: TritonServer) -> None:
        if wrong := wrong_on_triton(target, golden, triton):
            raise WrongAnswers(words.answers_differ(wrong, item.evidence), system=f"Triton {triton.name}")

    may_stop = goes_back or run.settings.rollout_of(slot.model).replace == "in place with an outage"
    needed, shift = [before.target(slot), run.routes().target(slot)], in_place.Shift(slot, target, item.config)
    try:
        if not golden.fits:
            raise Rejected(other_cases(item.change, item.evidence), system="record store")
        there = in_place.first_half(run, shift, needed, prove=prove, may_stop=may_stop)
    except WrongAnswers as error:
        item = item.failing("smoke_passed", error, fault_of(error, judged=True))
    except PromobotError as error:
        is_of_record = not golden.fits
        item = item.failing(
            "smoke_passed" if is_of_record else "triton_loaded",
            error,
            fault_of(error, judged=False) if is_of_record else fault_of_load(error),
        )
    else:
        item = item.seeing("triton_loaded", words.ready_in_place(target, there))
        item = item.seeing("smoke_passed", words.golden_answers(golden, item.evidence, there))
    return item.having_done("load in place on half of the Tritons", started)
