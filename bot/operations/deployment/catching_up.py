"""A share that came out of a backup: gateways have seen routes that it no longer has.

Gateways refuse routes of a generation older than theirs, and users get what the gateways have. So the share takes
over the routes with the highest generation that a gateway serves, and the generation goes on rising from there. What
these routes name is then proven anew, because nobody knows what was under way when the share was lost.
"""

from __future__ import annotations

from dataclasses import replace

from bot.domain.names import short
from bot.domain.plan import Live, ahead_of
from bot.domain.record import known_entries
from bot.domain.routes import RouteTable, Target, routed
from bot.errors import Rejected
from bot.operations.deployment.run import Run


def catch_up(run: Run, seen: Live) -> Live:
    """Take over the routes of the gateways that are ahead of the share; return what is there then.

    Raises Rejected where these routes name what neither a record nor MLflow knows: then it is the gateway of another
    platform.
    """
    ahead = ahead_of(seen)
    if ahead is None:
        return seen
    gateway, table = ahead
    for what in routed(table):
        if not _is_known(run, what.slot.model, what.target):
            raise _of_another_platform(gateway, table, what.target)
    run.say(
        f"{gateway} serves generation {table.generation} of the routes, and the share has {seen.routes.generation}: "
        "the share is older than the gateways. It takes over what users get, and all of it is proven anew"
    )
    run.held.routes.write(table)
    if run.systems.share.journal.read() is not None:
        run.say("the deployment that this share has as under way is over since, and is not resumed")
        run.held.journal.close()
    return replace(seen, routes=table)


def _is_known(run: Run, model: str, target: Target) -> bool:
    """Whether a record, or else MLflow, has this version with this digest."""
    if (model, target.version, target.digest) in known_entries(run.history):
        return True
    try:
        return run.registry.package(run.registered(model, target.version)).digest == target.digest
    except Rejected:
        return False


def _of_another_platform(gateway: str, table: RouteTable, target: Target) -> Rejected:
    return Rejected(
        f"{gateway} serves generation {table.generation} of the routes, which the share does not know, with "
        f"{target.triton_model} {target.version} ({short(target.digest)}), which neither a record nor MLflow knows",
        system=f"gateway {gateway}",
        state="Nothing was changed; gateways serve what they have.",
        next_step="See that its address in the settings is that of a gateway of this environment. If the records "
        "are lost, too, restore them or MLflow first: docs/how-to/backup.md.",
    )
