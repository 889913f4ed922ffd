"""Whether every Triton has room for what is to be loaded beside what is there. Only what is known holds a change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bot.concurrency import gather
from bot.domain.desired import Change
from bot.domain.hold import Hold
from bot.domain.memory import Lack, Memory, Reading, lacks, with_loaded
from bot.domain.retention import Pair
from bot.errors import PromobotError
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
    needs = {change: need for change, one in admitted.items() if (need := _need(past, change, one)) is not None}
    if not needs or not any(triton.metrics for triton in past.settings.tritons):
        return {}
    try:
        tritons = [triton for triton in past.tritons() if triton.metrics]
    except PromobotError:
        return {}
    heard = gather(tritons, _look, limit=past.settings.concurrency.servers)
    there = [one for _, one in heard if isinstance(one, _There)]
    held: dict[Change, Hold] = {}
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
    return evidence.memory


def _look(triton: TritonServer) -> _There:
    index = triton.index()
    return _There(triton.name, triton.memory(), frozenset((one.model, one.version) for one in index if one.loaded))


def _with(one: _There, *, need: Memory) -> _There:
    return _There(one.name, with_loaded(one.reading, need), one.loaded)


def _no_room(change: Change, triton: str, lack: Lack) -> Hold:
    return Hold(
        "room",
        memory_words.no_room(triton, lack),
        f"make room there (`promobot cleanup --env {change.environment}` unloads versions that nothing uses) or give "
        f"it more memory, then {words.deploy(change.environment)}",
    )
