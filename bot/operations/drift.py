"""``promobot drift``: all that status sees, and what only a deep look finds: bytes, answers, aliases, strangers."""

from __future__ import annotations

from dataclasses import replace

from bot.concurrency import gather
from bot.domain.desired import SECTIONS, Desired
from bot.domain.plan import serves
from bot.domain.release import Slot
from bot.domain.retention import Stock, published_in, retention, strangers_in
from bot.domain.routes import RouteTable
from bot.errors import InvalidInput, PromobotError
from bot.operations.deployment.admission import golden_of
from bot.operations.inspection import inspect_answers, inspect_share, kept_of, routed, ways_back, wrong_with
from bot.operations.seen import unproven
from bot.operations.status import Difference, Look, Status, looked, of_unknown_workers
from bot.platform import Platform
from bot.render import differences as words
from bot.systems.gateway import Gateway


def drift(platform: Platform) -> Status:
    """Compare everything with everything, change nothing. Reads every byte that is in service or kept."""
    return deepened(platform, looked(platform))


def deepened(platform: Platform, look: Look) -> Status:
    """Return what a look found, and what only a deep one finds; what everybody had at the look is not asked again."""
    settings, ledger, systems = platform.settings, platform.ledger, platform.serving(reads_only=True)
    found, live = look.found, look.live
    share, records, quarantined = systems.share, ledger.deployments(), frozenset(ledger.quarantined())
    latest = [gateway for gateway in systems.gateways if gateway.latest]
    servers = settings.concurrency.servers
    gather(latest, Gateway.workers, limit=servers)
    deep = [
        one for one in of_unknown_workers(settings.environment, unproven(systems)) if one not in found.differences
    ]
    reconcile = _reconcile(settings.environment)
    for what in routed(live.routes):
        fault = inspect_share(share, what)
        if fault is not None:
            deep.append(
                Difference(
                    fault.kind,
                    f"{what.target.triton_model} {what.target.version} is routed, but {fault.said}",
                    reconcile,
                )
            )
        kept = kept_of(share, what.target)
        golden = golden_of(ledger, what, kept.smoke)[0] if kept else None
        for fault in inspect_answers(systems, what, live, golden, limit=servers) if golden else ():
            step = (
                (f"restart {fault.where}: it starts from routes.json; then: {words.doctor(settings.environment)}")
                if fault.kind == "gateway answer"
                else reconcile
            )
            deep.append(
                Difference(
                    fault.kind,
                    (
                        f"{fault.where} answers wrong for {what.target.triton_model} {what.target.version}: "
                        f"{fault.said}"
                    ),
                    step,
                )
            )
    backs = ways_back(records, live.routes, versions=settings.keep.versions, quarantined=quarantined)
    for back in backs:
        if said := wrong_with(share, back):
            deep.append(
                Difference("kept", f"{back.slot.published_name} {back.version} is a way back, but {said}", reconcile)
            )
    # No record yet names the versions that a deployment under way published; and its aliases come last.
    moving = found.underway_since is not None
    contents = share.models.contents()
    stock = Stock(live.routes, records, published_in(contents), live.tritons)
    unknown = retention(stock, versions=1, warm=0).unknown
    deep += [
        Difference(
            "stranger",
            f"{share.root}/{path} is nothing that was deployed",
            "see who made it, and remove it by hand; the bot never does",
        )
        for path in (() if moving else strangers_in(contents, unknown, stock=stock))
    ]
    if look.desired is not None and not moving:
        deep += _aliases(platform, look.desired, live.routes)
    return replace(found, differences=(*found.differences, *deep))


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
