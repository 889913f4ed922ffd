"""``promobot shadow``: how a shadow answers copies of real requests beside the version in service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.domain.desired import Entry
from bot.domain.earned import SideBySide, Verdict, judge, side_by_side
from bot.domain.gate import ShadowRule
from bot.domain.record import DeploymentRecord
from bot.domain.release import Lane, Slot
from bot.domain.routes import WHOLE, Route, Target
from bot.domain.shadowed import Compared, Copies, copies_of
from bot.errors import PromobotError, Refused
from bot.operations.counts import Counted, count
from bot.platform import Platform


@dataclass(frozen=True)
class ShadowReport:
    """A model's shadow: what gateways ``sent`` to it, and how it answered.

    ``side_by_side`` is None where no gateway compares. ``rule`` is that of the model's gate, and ``verdict`` what
    follows from it; None without one. ``silent`` says of each gateway that does not answer why: then nothing is
    decided. ``listens_since`` is when it was deployed.
    """

    environment: str
    model: str
    version: int
    digest: str
    listens_since: datetime | None
    sent: int
    answered: int
    failed: int
    dropped: int
    side_by_side: SideBySide | None
    rule: ShadowRule | None
    verdict: Verdict | None
    silent: dict[str, str]
    share: int = WHOLE
    """The percent of the requests of which it gets copies."""


@dataclass(frozen=True)
class Listening:
    """What gateways counted of one model's shadow, all together; ``silent`` says why a gateway said nothing."""

    target: Target
    live: Target | None
    counted: Copies | None
    silent: dict[str, str]

    @property
    def compared(self) -> Compared | None:
        """The counts beside the version that answers now; None where a gateway is silent: what it saw is missing."""
        found = self.counted.compared if self.counted else None
        return found if found is not None and not self.silent and found.live == self.live else None


def shadow(platform: Platform, model: str) -> ShadowReport:
    """Ask the gateways of the environment about a model's shadow; raise Refused where it has none."""
    systems = platform.serving(reads_only=True)
    route = systems.share.routes.read(platform.environment).route(model)
    if route.shadow is None:
        raise Refused(
            f"{model} has no shadow in {platform.environment}",
            state="Nothing was changed.",
            next_step=f"`promobot propose {model} VERSION --env {platform.environment} --as shadow` proposes one.",
        )
    counted_by = count(systems, limit=platform.settings.concurrency.servers)
    found = listening(counted_by, {model: route})[model]
    slot = Slot(platform.environment, model, Lane.SHADOW)
    brought = brought_by(platform.ledger.deployments(), slot, found.target)
    since = brought.finished_at if brought else None
    rule = platform.settings.shadow_rule(model)
    counted = found.counted or Copies(found.target)
    return ShadowReport(
        environment=platform.environment,
        model=model,
        version=found.target.version,
        digest=found.target.digest,
        listens_since=since,
        sent=counted.sent,
        answered=counted.answered,
        failed=counted.failed,
        dropped=counted.dropped,
        side_by_side=side_by_side(counted.compared) if counted.compared else None,
        rule=rule,
        verdict=judge(rule, found.compared, listens_since=since) if rule else None,
        silent=found.silent,
        share=route.shadow_share,
    )


def listening(counted: Counted, routes: dict[str, Route]) -> dict[str, Listening]:
    """Return what all gateways counted of the shadows of these routes, by model."""
    said = [counts.shadows for counts in counted.values() if not isinstance(counts, PromobotError)]
    silent = {name: str(error) for name, error in counted.items() if isinstance(error, PromobotError)}
    found = {}
    for model, route in routes.items():
        if route.shadow is not None:
            of_this = [counts[model] for counts in said if model in counts and counts[model].target == route.shadow]
            found[model] = Listening(route.shadow, route.live, copies_of(of_this), silent)
    return found


def brought_by(records: Sequence[DeploymentRecord], slot: Slot, target: Target) -> DeploymentRecord | None:
    """Return the record of the deployment since which the target listens without a break; None where none tells.

    ``records`` come oldest first. With another share of copies it goes on listening.
    """

    def is_it(entry: Entry | None) -> bool:
        return entry is not None and (entry.version, entry.digest) == (target.version, target.digest)

    began = None
    for record in records:
        if record.slot == slot:
            began = None if not is_it(record.serving) else began or record
    return began
