"""Whether every Triton has room for what is to be loaded beside what is there. Only what is known holds a change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bot.concurrency import gather
from bot.domain.desired import Change
from bot.domain.hold import Hold
from bot.domain.memory import Lack, Memory, Reading, lacks, needed_beyond, with_loaded
from bot.domain.retention import Pair
from bot.errors import PromobotError
from bot.operations.memory import memory_of
from bot.operations.past import Past
from bot.render import deployment as words
from bot.render import memory as memory_words

if TYPE_CHECKING:
    from bot.domain.evidence import Evidence
    from bot.systems.triton.server import TritonServer


@dataclass(frozen=True)
class _There:
    """One Triton: what its metrics say of memory, and what it has loaded."""

    name: str
    reading: Reading
    loaded: frozenset[Pair]

    def has(self, change: Change) -> bool:
        """Whether the version is loaded there already, by a run that was cut off: under any of its names."""
        name, version = change.slot.published_name, change.after.version if change.after else 0
        return any(number == version and one.partition(".")[0] == name for one, number in self.loaded)


def without_room(past: Past, admitted: Mapping[Change, Evidence]) -> dict[Change, Hold]:
    """Return those of these changes that surely have no room on a Triton, and why; a way back always has.

    They are loaded beside each other, so each finds less room than the one before. Without a measurement, and
    without metrics of a Triton that answer, nothing is held.
    """
    alone = [change for change in admitted if _needs_a_second_triton(past, change)]
    needs = {change: need for change, one in admitted.items() if (need := _need(past, change, one)) is not None}
    measures = bool(needs) and any(triton.metrics for triton in past.settings.tritons)
    if not alone and not measures:
        return {}
    try:
        tritons = past.tritons()
    except PromobotError:
        return {}
    held = {change: _one_triton(change) for change in alone} if len(tritons) == 1 else {}
    measured = [triton for triton in tritons if triton.metrics] if measures else []
    heard = gather(measured, _look, limit=past.settings.concurrency.servers)
    there = [one for _, one in heard if isinstance(one, _There)]
    for change, need in needs.items():
        concerned = [one for one in there if not one.has(change)]
        found = [(one.name, lack) for one in concerned if (lack := lacks(need, one.reading))]
        if found:
            held[change] = _no_room(change, *found[0])
            continue
        load = partial(_with, need=need)
        there = [load(one) if one in concerned else one for one in there]
    return held


def _need(past: Past, change: Change, evidence: Evidence) -> Memory | None:
    if change.after is None or change.before == change.after or past.goes_back(change):
        return None
    if not _is_replaced(past, change) or evidence.memory is None or change.before is None:
        return evidence.memory
    # It comes when the version in service is gone.
    before = memory_of(past.ledger, change.slot, change.before)
    return needed_beyond(evidence.memory, before) if before is not None else None


def _is_replaced(past: Past, change: Change) -> bool:
    in_place = change.section == "models" and past.settings.replaces_in_place(change.model)
    return in_place and change.before is not None and change.after is not None


def _needs_a_second_triton(past: Past, change: Change) -> bool:
    accepted = past.settings.rollout_of(change.model).replace == "in place with an outage"
    return _is_replaced(past, change) and not accepted and not past.goes_back(change)


def _look(triton: TritonServer) -> _There:
    index = triton.index()
    return _There(triton.name, triton.memory(), frozenset(one.pair for one in index if one.loaded))


def _with(one: _There, *, need: Memory) -> _There:
    return _There(one.name, with_loaded(one.reading, need), one.loaded)


def _one_triton(change: Change) -> Hold:
    return Hold(
        "room",
        f"{change.model} is replaced in place, and {change.environment} has one Triton: none would answer meanwhile",
        f"add a Triton, or set rollout.{change.model}.replace to `in place with an outage`, then "
        f"{words.deploy(change.environment)}",
    )


def _no_room(change: Change, triton: str, lack: Lack) -> Hold:
    return Hold(
        "room",
        memory_words.no_room(triton, lack),
        f"make room there (`promobot cleanup --env {change.environment}` unloads versions that nothing uses) or give "
        f"it more memory, then {words.deploy(change.environment)}",
    )
