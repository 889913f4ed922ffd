"""The offer of the environment before, and why nobody proposes it here yet: from the records that the board has.

`promobot watch` decides and proposes. It also asks GitHub, which the board does not for this: what is due is shown as
soon as its pull request is open.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from bot.board.snapshot import Snapshot
from bot.domain.origin import POLICY
from bot.domain.path import Held, NotYet, Target, Unit, due, is_on_its_way, offered, served, units
from bot.domain.policy import held_after_way_back
from bot.domain.release import Lane, Slot
from bot.operations.main_branch import Main

if TYPE_CHECKING:
    from bot.domain.desired import Entry
    from bot.domain.record import DeploymentRecord


def carried(found: Snapshot, others: Mapping[str, Snapshot], model: str) -> NotYet | Held | None:
    """Return why the policy does not propose what the environment before serves; None where nothing is to be said."""
    settings, rule = found.settings, found.settings.path if found.settings else None
    if settings is None or rule is None or settings.mistakes:
        return None
    source = others.get(rule.source)
    if source is None or not (source.part("records").is_known and found.part("records").is_known):
        return None
    (unit,) = units([model], settings.bundles)
    offer = offered(rule.source, unit, source.records) if unit.asked == model and settings.has_gate(model) else None
    if offer is None or is_on_its_way(found.environment, offer, found.records):
        return None
    own = found.records.get(Slot(found.environment, unit.asked, Lane.LIVE), ())
    target = Target(
        found.environment,
        served(found.environment, unit, found.records),
        quarantined=found.quarantined.keys(),
        taken_back=held_after_way_back(own, _is_policys),
        asks=_asked(found, unit),
    )
    judged = due(rule, offer, source.records, target, baked=partial(_is_baked, source, unit), now=found.at)
    return judged if isinstance(judged, NotYet | Held) else None


def _asked(found: Snapshot, unit: Unit) -> Mapping[str, Entry] | None:
    main = found.seen.main if found.seen else None
    if not isinstance(main, Main):
        return None
    return {part: main.desired.models[part] for part in unit.parts if part in main.desired.models}


def _is_policys(record: DeploymentRecord) -> bool:
    return record.origin is not None and record.origin.proposed_by == POLICY


def _is_baked(source: Snapshot, unit: Unit, release: str) -> bool | None:
    if f"rollouts/{source.environment}/{release}/baked.json" in source.listing:
        return True
    return None if source.settings is None or source.settings.rollout_of(unit.asked).watched is None else False
