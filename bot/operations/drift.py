"""``promobot drift``: all that status sees, and what only a deep look finds: bytes, answers, aliases, strangers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from bot.concurrency import gather
from bot.domain.asked import pair_of
from bot.domain.desired import SECTIONS, Desired
from bot.domain.plan import Live, serves
from bot.domain.proven import ProvenWay, WaysBackNote
from bot.domain.record import DeploymentRecord
from bot.domain.release import Lane, Release, Slot
from bot.domain.retention import Stock, published_in, retention, strangers_in
from bot.domain.routes import Routed, RouteTable, Target
from bot.errors import InvalidInput, PromobotError, Rejected
from bot.operations import Say
from bot.operations.asked import in_use
from bot.operations.attempts import reported
from bot.operations.deployment.admission import golden_of
from bot.operations.inspection import inspect_answers, inspect_share, kept_of, ways_back, wrong_with
from bot.operations.seen import unproven
from bot.operations.status import Difference, Look, Status, looked, of_unknown_workers
from bot.platform import Platform, Serving
from bot.render import differences as words
from bot.share import ModelRepository
from bot.systems.gateway import Gateway


def drift(platform: Platform) -> Status:
    """Compare everything with everything, change nothing. Reads every byte that is in service or kept."""
    return deepened(platform, looked(platform))


def deepened(platform: Platform, look: Look) -> Status:
    """Return what a look found, and what only a deep one finds; what everybody had at the look is not asked again."""
    settings, ledger, systems = platform.settings, platform.ledger, platform.serving(reads_only=True)
    found, live, records = look.found, look.live, ledger.deployments()
    backs = ways_back(records, live.routes, versions=settings.keep.versions, quarantined=ledger.quarantined())
    gather([one for one in systems.gateways if one.latest], Gateway.workers, limit=settings.concurrency.servers)
    unknown = of_unknown_workers(settings.environment, unproven(systems))
    deep = [one for one in unknown if one not in found.differences]
    ways: list[ProvenWay] = []
    for what in in_use(systems.share, records, live.routes).everything:
        faults = _in_service(platform, systems, what, live)
        deep += faults
        if what.fills_its_slot and what.slot.lane is Lane.LIVE and is_everywhere(live, what.target):
            ways.append(_way(what, "in service", faults[0].what if faults else ""))
    for back in backs:
        if back.slot.lane is Lane.LIVE and (warm := warm_target(systems.share, live, back)) is not None:
            faults = _warm(platform, systems, warm, live)
            deep += faults
            ways.append(_way(warm, "warm", faults[0].what if faults else ""))
        if said := wrong_with(systems.share, back):
            kept = f"{back.slot.published_name} {back.version} is a way back, but {said}"
            deep.append(Difference("kept", kept, _reconcile(settings.environment)))
    # No record yet names the versions that a deployment under way published; and its aliases come last.
    if found.underway_since is None:
        deep += _strangers(systems.share, live, records)
        if look.desired is not None:
            deep += _aliases(platform, look.desired, live.routes)
    return replace(found, differences=(*found.differences, *deep), ways_back=tuple(ways))


def note_ways_back(platform: Platform, found: Status, *, say: Say) -> None:
    """Keep in the records what this look asked of the ways back; pull requests say it. A failure stops nothing."""
    if found.ways_back:
        with reported(say, "could not note which ways back answered rightly"):
            platform.ledger.note_ways_back(WaysBackNote(at=datetime.now(UTC), ways=found.ways_back))


def _way(what: Routed, place: Literal["in service", "warm"], wrong: str) -> ProvenWay:
    target = what.target
    return ProvenWay(model=what.slot.model, version=target.version, digest=target.digest, place=place, wrong=wrong)


def is_everywhere(live: Live, target: Target) -> bool:
    """Whether every Triton answered and has this version READY."""
    return bool(live.tritons) and all(loaded and pair_of(target) in loaded for loaded in live.tritons.values())


def warm_target(share: ModelRepository, live: Live, back: Release) -> Routed | None:
    """Return the version to go back to where every Triton has it READY, by the name under which its bytes are whole.

    Nobody is routed to it, so no gateway is asked for it.
    """
    try:
        described = share.packages.described(back.digest)
    except Rejected:
        return None
    for name in share.models.names_of(back.slot.published_name) if described is not None else ():
        target = Target(name, back.version, back.digest)
        if described is None or not is_everywhere(live, target):
            continue
        if not share.models.wrong_bytes(described.package, triton_model=name, version=back.version):
            return Routed(back.slot, target, asked_by="the next rollback")
    return None


def _warm(platform: Platform, systems: Serving, what: Routed, live: Live) -> list[Difference]:
    """Ask every Triton for the version that is kept loaded to go back to."""
    kept = kept_of(systems.share, what.target)
    if kept is None:
        return []
    golden = golden_of(platform.ledger, what, kept.smoke)[0]
    name = f"{what.target.triton_model} {what.target.version}"
    again = f"it loads only what is routed, and a rollback loads the rest anew: {words.deploy(platform.environment)}"
    return [
        Difference(
            "way back",
            f"{fault.where} answers wrong for {name}, the way back: {fault.said}",
            f"restart {fault.where}: {again}",
        )
        for fault in inspect_answers(systems, what, live, golden, limit=platform.settings.concurrency.servers)
    ]


def _in_service(platform: Platform, systems: Serving, what: Routed, live: Live) -> list[Difference]:
    """Compare what one version in use is, on the share and in its answers, with what it must be."""
    environment, pair = platform.environment, pair_of(what.target)
    name = f"{pair[0]} {pair[1]}"
    found = []
    why = what.why if what.asked_by or what.is_compared else "routed"
    if what.asked_by:
        lacking = [triton for triton, loaded in live.tritons.items() if loaded is not None and pair not in loaded]
        step = words.deploy(environment)
        found += [Difference("triton", f"{name} is {why} but not READY on Triton {one}", step) for one in lacking]
    fault = inspect_share(systems.share, what)
    if fault is not None:
        found.append(Difference(fault.kind, f"{name} is {why}, but {fault.said}", _reconcile(environment)))
    kept = kept_of(systems.share, what.target)
    golden = golden_of(platform.ledger, what, kept.smoke)[0] if kept else None
    if golden is None:
        return found
    restart = f"it starts from routes.json; then: {words.doctor(environment)}"
    for fault in inspect_answers(systems, what, live, golden, limit=platform.settings.concurrency.servers):
        is_gateway = fault.kind == "gateway answer"
        step = f"restart {fault.where}: {restart}" if is_gateway else _reconcile(environment)
        found.append(Difference(fault.kind, f"{fault.where} answers wrong for {name}: {fault.said}", step))
    return found


def _strangers(share: ModelRepository, live: Live, records: list[DeploymentRecord]) -> list[Difference]:
    """Name the folders on the share that no deployment made."""
    contents = share.models.contents()
    stock = Stock(live.routes, records, published_in(contents), live.tritons)
    unknown = retention(stock, versions=1, warm=0).unknown
    return [
        Difference(
            "stranger",
            f"{share.root}/{path} is nothing that was deployed",
            "see who made it, and remove it by hand; the bot never does",
        )
        for path in strangers_in(contents, unknown, stock=stock)
    ]


def _aliases(platform: Platform, desired: Desired, table: RouteTable) -> list[Difference]:
    """Compare the aliases of what is in service as desired; a deployment moves those of the rest."""
    try:
        registry = platform.registry
    except InvalidInput:
        return []  # status names the mistake
    found: list[Difference] = []
    for section in SECTIONS:
        for model, entry in desired.section(section).items():
            slot = Slot.of(platform.environment, model, section)
            if not serves(table.target(slot), entry):
                continue
            alias = slot.alias
            try:
                there = registry.alias(model, alias)
            except PromobotError as error:
                return [*found, Difference("silent", str(error), words.doctor(platform.environment))]
            if there != entry.version:
                said = f"MLflow's alias {model}@{alias} is {there or 'not set'}, desired is {entry.version}"
                found.append(Difference("alias", said, _reconcile(platform.environment)))
    return found


def _reconcile(environment: str) -> str:
    """Put right what only the deep look finds."""
    return f"promobot reconcile --env {environment}"
