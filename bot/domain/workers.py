"""The processes that answer at one gateway's address, as one answer of ``GET /routes`` tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bot.domain.routes import RouteTable
from bot.domain.silence import TritonsOfGateway


@dataclass(frozen=True)
class Worker:
    """One process. ``generation`` is None where it does not answer the others; ``draining`` counts requests.

    ``tritons`` is what it knows of its Tritons; None where it is too old to say it.
    """

    id: str
    generation: int | None
    routes: str = ""
    draining: int = 0
    tritons: TritonsOfGateway | None = None


@dataclass(frozen=True)
class Answering:
    """What one answer says: the routes of the process that gave it, and which others there are.

    ``group`` is equal for processes that know each other. ``workers`` is None where this one does not know, and
    ``says`` is False for a gateway that is too old to say anything about it.
    """

    table: RouteTable
    worker: str = ""
    group: str = ""
    workers: tuple[Worker, ...] | None = None
    says: bool = False

    @property
    def ids(self) -> frozenset[str]:
        """The processes that are known."""
        return frozenset(worker.id for worker in self.workers or ())

    @property
    def silent(self) -> tuple[str, ...]:
        """The processes that live and do not answer."""
        return tuple(worker.id for worker in self.workers or () if worker.generation is None)

    @property
    def oldest(self) -> RouteTable:
        """The routes of the process that answered, at the lowest generation that any other one serves."""
        own = next((worker for worker in self.workers or () if worker.id == self.worker), None)
        if own is None:
            return self.table
        behind = [
            worker.generation if worker.generation != self.table.generation else 0
            for worker in self.workers or ()
            if worker.generation is not None and worker.routes != own.routes
        ]
        return replace(self.table, generation=min(self.table.generation, *behind)) if behind else self.table

    @property
    def drained(self) -> bool:
        """Whether no request runs under older routes on any process."""
        return not self.silent and not any(worker.draining for worker in self.workers or ())


def answering(document: Mapping[str, Any], table: RouteTable) -> Answering:
    """Read what an answer says of the processes; raise ValueError, KeyError or TypeError where it cannot be."""
    if "workers" not in document:
        return Answering(table)
    listed = document["workers"]
    workers = None if listed is None else tuple(_worker(entry) for entry in listed)
    return Answering(table, str(document["worker"]), str(document["group"]), workers, says=True)


def _worker(entry: object) -> Worker:
    if not isinstance(entry, dict):
        raise ValueError(f"a worker is {entry!r:.40}")
    generation = entry.get("generation")
    if generation is not None and type(generation) is not int:
        raise ValueError(f"a worker's generation is {generation!r:.40}")
    tritons = TritonsOfGateway.from_json(entry.get("silence"))
    return Worker(str(entry["id"]), generation, str(entry.get("routes", "")), int(entry.get("draining", 0)), tritons)
