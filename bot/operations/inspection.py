"""The deep look: what a routed version holds on the share, and what each Triton and gateway answer for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal

from bot.concurrency import gather, room_for
from bot.domain.golden import Disagreement, Golden
from bot.domain.names import short
from bot.domain.plan import Live
from bot.domain.record import DeploymentRecord, verified_entries
from bot.domain.release import Release
from bot.domain.routes import Routed, RouteTable, Target
from bot.errors import PromobotError, Rejected, Unavailable
from bot.platform import Serving
from bot.share import Described, ModelRepository
from bot.systems.gateway import Gateway
from bot.systems.triton.config import parse_config, placed_config, versions_of
from bot.systems.triton.server import TritonServer

FaultKind = Literal["package", "bytes", "config", "answer", "gateway answer"]


@dataclass(frozen=True)
class Fault:
    """A fault of a version in service, in one sentence; ``where`` names the server, or is empty."""

    kind: FaultKind
    routed: Routed
    said: str
    where: str = ""


def inspect_share(share: ModelRepository, what: Routed) -> Fault | None:
    """Hash a version in service and read its configuration; return the first thing that is wrong."""
    target = what.target
    try:
        described = share.packages.described(target.digest)
    except Rejected as error:
        return Fault("package", what, str(error))
    if described is None:
        return Fault("package", what, _nothing_kept(target.digest))
    wrong = share.models.wrong_bytes(described.package, triton_model=target.triton_model, version=target.version)
    if wrong:
        return Fault("bytes", what, "; ".join(wrong))
    said = _wrong_config(share, what, described)
    return Fault("config", what, said) if said else None


def inspect_answers(systems: Serving, what: Routed, live: Live, golden: Golden, *, limit: int) -> list[Fault]:
    """Ask each Triton that has the version READY, and then each gateway; return who answers wrong.

    A gateway is asked only where it has the routes in force, and every Triton has the version and answers rightly:
    it passes on what they say. Users get what no route names only by what asks it. ``limit``: so many are asked at
    the same time.
    """
    pair = (what.target.triton_model, what.target.version)
    having = [triton for triton in systems.tritons if pair in (live.tritons.get(triton.name) or ())]
    asked = [
        gateway
        for gateway in systems.gateways
        if (table := live.gateways.get(gateway.name)) and table.models == live.routes.models
    ]
    faults = [
        Fault("answer", what, str(said), triton.name)
        for triton, said in gather(having, partial(_wrong_there, what.target, golden), limit=limit)
        if said and not isinstance(said, Unavailable)
    ]
    if faults or not what.answers_users or len(having) < len(systems.tritons):
        return faults
    return [
        Fault("gateway answer", what, str(said), gateway.name)
        for gateway, said in gather(asked, partial(_wrong_through, what, golden), limit=limit)
        if said and not isinstance(said, Unavailable)
    ]


def ways_back(
    records: list[DeploymentRecord], table: RouteTable, *, versions: int, quarantined: Iterable[str]
) -> Iterator[Release]:
    """Yield the verified versions that the share must hold besides those in service, for models in service."""
    no_way = set(quarantined)
    for slot, target in table.slots.items():
        verified = [e for _, e in verified_entries(records, slot)]
        for entry in [entry for entry in verified if entry.digest not in no_way][:versions]:
            if entry.digest != target.digest:
                yield entry.in_slot(slot)


def wrong_with(share: ModelRepository, back: Release) -> str:
    """Hash a version that is kept; return what is wrong with it, or an empty string where one copy is whole."""
    try:
        described = share.packages.described(back.digest)
    except Rejected as error:
        return str(error)
    if described is None:
        return _nothing_kept(back.digest)
    said = "no copy of it is on the share"
    for name in share.models.names_of(back.slot.published_name):
        if back.version in share.models.versions(name):
            wrong = share.models.wrong_bytes(described.package, triton_model=name, version=back.version)
            if not wrong:
                return ""
            said = f"{name}: {'; '.join(wrong)}"
    return said


def kept_of(share: ModelRepository, target: Target) -> Described | None:
    """Return what is kept of a version in service; None where it is gone, or damaged: a fault of its own."""
    try:
        return share.packages.described(target.digest)
    except Rejected:
        return None


def _wrong_config(share: ModelRepository, what: Routed, described: Described) -> str:
    target = what.target
    try:
        text = share.models.config(target.triton_model)
        if text is None:
            return f"{target.triton_model} has no config.pbtxt"
        placed = placed_config(described.config, target.version, what.parts)
        if parse_config(text).fingerprint != parse_config(placed).fingerprint:
            return f"config.pbtxt of {target.triton_model} is not that of the package"
        return (
            ""
            if target.version in versions_of(text)
            else f"config.pbtxt of {target.triton_model} does not name version {target.version}"
        )
    except (PromobotError, ValueError) as error:
        return str(error)


def wrong_on_triton(target: Target, golden: Golden, triton: TritonServer) -> list[Disagreement]:
    """Send the golden requests to exactly this version; return what is answered otherwise than it was before.

    Where the Triton's HTTP address is known, each request also goes there, as a gateway would send it.
    """
    wrong: list[Disagreement] = []
    for case, staging in golden:
        for ask in (triton.infer, triton.infer_over_http) if triton.http else (triton.infer,):
            outputs = [tensor.name for tensor in case.outputs]
            with room_for(case.size):
                answer = ask(target.triton_model, target.version, case.inputs, outputs=outputs)
                differs = golden.disagreements(case, staging, answer)
            if differs:
                wrong += differs
                break
    return wrong


def _wrong_there(target: Target, golden: Golden, triton: TritonServer) -> str:
    try:
        wrong = wrong_on_triton(target, golden, triton)
    except Rejected as error:
        return str(error)
    return f"{wrong[0].case}: {wrong[0].said}" if wrong else ""


CONNECTIONS_PER_WORKER = 16
"""New connections for each process of a gateway, to get an answer from all of them.

The kernel chooses which process accepts. On an idle machine it often chooses the same one.
"""


class EveryWorker:
    """Goes round until every process of a gateway has answered ``infer`` since this began, within a bound.

    ``known`` are the processes that the gateway last spoke of, ``met`` those of them that have answered.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        gateway.answered_by()  # what was asked before does not count
        self.known = frozenset[str]().union(*(answer.ids for answer in gateway.latest))
        self.met = frozenset[str]()

    def __iter__(self) -> Iterator[None]:
        for _ in range(CONNECTIONS_PER_WORKER * len(self.known)):
            self.look()
            if self.met == self.known:
                return
            yield

    def look(self) -> None:
        """Note who has answered."""
        self.met |= self._gateway.answered_by() & self.known


def _wrong_through(what: Routed, golden: Golden, gateway: Gateway) -> str:
    workers = EveryWorker(gateway)
    if wrong := _wrong_in(what, golden, gateway):
        return wrong
    for _ in workers:
        if wrong := _wrong_in(what, golden, gateway, cases=1):
            return wrong
    return ""


def _wrong_in(what: Routed, golden: Golden, gateway: Gateway, *, cases: int | None = None) -> str:
    named = what.target.version if what.is_divided else None
    for case, staging in islice(golden, cases):
        outputs = [tensor.name for tensor in case.outputs]
        with room_for(case.size):
            try:
                version, answer = gateway.infer(what.slot.model, case.inputs, outputs=outputs, version=named)
            except Rejected as error:
                return str(error)
            if version != str(what.target.version):
                return f"version {version} answered instead of {what.target.version}"
            if wrong := golden.disagreements(case, staging, answer):
                return f"{case.name}: {wrong[0].said}"
    return ""


def _nothing_kept(digest: str) -> str:
    """There is no package.json to hash against."""
    return f"nothing is kept of package {short(digest)}" if digest else "no record says what it must hold"
