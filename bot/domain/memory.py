"""The memory that a version takes on a Triton, and whether there is room for it, by what Triton says of itself.

Triton's metrics have gauges of the whole machine: main memory from ``/proc/meminfo``, and each GPU. A backend may
also report what one model takes on a GPU: that is the better number, because nothing else is in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.domain.bundle import ONLY_WHERE_GIVEN

_SAMPLE = re.compile(
    r"^(nv_cpu_utilization|nv_cpu_memory_(?:used|total)_bytes|nv_gpu_memory_(?:used|total)_bytes)(?:\{([^}]*)\})?"
    r" +([0-9.eE+-]+)(?: +[0-9]+)?$",
    re.MULTILINE,
)
_GPU = re.compile(r'gpu_uuid="([^"]*)"')

Kind = Literal["main memory", "GPU memory"]


class Memory(BaseModel):
    """The memory that loading a version took on the staging Triton, in bytes; None where nobody told."""

    model_config = ConfigDict(frozen=True, json_schema_extra=ONLY_WHERE_GIVEN)

    main: int | None = Field(
        default=None, description="main memory that the whole machine surely used more of afterwards"
    )
    gpu: int | None = Field(default=None, description="memory of one GPU, of that on which it took most")
    gpu_by: Literal["metrics", "backend"] = Field(
        default="metrics", description="who told of the GPU: the whole GPU before and after, or the model's backend"
    )
    problem: str = Field(default="", description="why it is not known, where it was to be measured")


@dataclass(frozen=True)
class Gauge:
    """Bytes of one memory that are used, of how many."""

    used: int
    total: int

    @property
    def free(self) -> int:
        """The bytes that nobody uses."""
        return self.total - self.used


@dataclass(frozen=True)
class Reading:
    """A Triton's metrics at one moment. ``main`` is None where they say nothing of main memory.

    ``beat`` differs between two readings if the server looked again in between; an equal one says nothing.
    """

    main: Gauge | None = None
    gpus: Mapping[str, Gauge] = field(default_factory=dict)
    beat: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether they say nothing of any memory."""
        return self.main is None and not self.gpus


@dataclass(frozen=True)
class Lack:
    """A memory in which there is no room: what is needed, and what is free of how much, in bytes."""

    kind: Kind
    needed: int
    free: int
    total: int


UNKNOWN = Memory()


def reading_of(text: str) -> Reading:
    """Return what metrics in Prometheus' format say of memory."""
    main: dict[str, int] = {}
    gpus: dict[str, dict[str, int]] = {}
    beat: list[str] = []
    for name, labels, value in _SAMPLE.findall(text):
        beat.append(value)
        if name == "nv_cpu_utilization":
            continue
        what, of = name.split("_memory_")[1].removesuffix("_bytes"), main
        if name.startswith("nv_gpu"):
            found = _GPU.search(labels)
            of = gpus.setdefault(found[1] if found else labels, {})
        of[what] = int(float(value))
    whole = {gpu: gauge for gpu, of in gpus.items() if (gauge := _gauge(of))}
    return Reading(_gauge(main), whole, tuple(beat))


def _gauge(of: Mapping[str, int]) -> Gauge | None:
    return Gauge(of["used"], of["total"]) if {"used", "total"} <= of.keys() and of["total"] > 0 else None


def of_backend(usages: Iterable[tuple[str, int, int]]) -> int | None:
    """Return the bytes on the GPU on which a model takes most, of (kind, id, bytes) as its backend reports them."""
    by_gpu: dict[int, int] = {}
    for kind, number, taken in usages:
        if kind == "GPU":
            by_gpu[number] = by_gpu.get(number, 0) + taken
    return max(by_gpu.values(), default=None) if any(by_gpu.values()) else None


def taken(before: Sequence[Reading], after: Sequence[Reading], told: int | None = None) -> Memory:
    """Return what was surely taken between these readings, several of each; ``told`` is the backend's word for a GPU.

    The whole machine is measured, and others move on it. So what counts is the least of afterwards, less the most of
    before. Where nothing is left of that, nothing is known.
    """
    main = _least(_mains(before), _mains(after))
    names = {gpu for reading in (*before, *after) for gpu in reading.gpus}
    of_each = [_least(_gpus(before, gpu), _gpus(after, gpu)) for gpu in names]
    gpu = max((one for one in of_each if one is not None), default=None)
    if main is None and gpu is None and told is None:
        said = "the machine used no more memory after the load than before: others on it let go of some, or took some"
        return Memory(problem=said)
    return Memory(main=main, gpu=gpu if told is None else told, gpu_by="metrics" if told is None else "backend")


def _mains(readings: Iterable[Reading]) -> list[int]:
    return [one.main.used for one in readings if one.main is not None]


def _gpus(readings: Iterable[Reading], gpu: str) -> list[int]:
    return [one.gpus[gpu].used for one in readings if gpu in one.gpus]


def _least(before: Sequence[int], after: Sequence[int]) -> int | None:
    more = min(after) - max(before) if before and after else 0
    return more if more > 0 else None


def with_loaded(there: Reading, need: Memory) -> Reading:
    """Return what a Triton will say once a version is loaded that needs so much; on the GPU with most room."""
    main, gpus = there.main, dict(there.gpus)
    if main is not None and need.main is not None:
        main = replace(main, used=main.used + need.main)
    if gpus and need.gpu is not None:
        roomiest = max(gpus, key=lambda gpu: gpus[gpu].free)
        gpus[roomiest] = replace(gpus[roomiest], used=gpus[roomiest].used + need.gpu)
    return replace(there, main=main, gpus=gpus)


def needed_beyond(need: Memory, freed: Memory) -> Memory:
    """Return what is needed beyond what another version gives up before."""

    def beyond(needed: int | None, given: int | None) -> int | None:
        return max(0, needed - given) if needed is not None and given is not None else None

    return Memory(main=beyond(need.main, freed.main), gpu=beyond(need.gpu, freed.gpu))


def lacks(need: Memory, there: Reading) -> Lack | None:
    """Return the memory in which there is surely no room; None where there may be, or where it is not known.

    Which GPU a model will be put on is Triton's to decide. So it lacks room only where no GPU has it.
    """
    if need.main is not None and there.main is not None and need.main > there.main.free:
        return Lack("main memory", need.main, there.main.free, there.main.total)
    if need.gpu is not None and there.gpus:
        most = max(there.gpus.values(), key=lambda gauge: gauge.free)
        if need.gpu > most.free:
            return Lack("GPU memory", need.gpu, most.free, most.total)
    return None
