"""The rest of an interrupted deployment, and the journal that tells of it.

A deployment writes the journal before its first change and closes it after its record. The run that finds an open one
finishes that deployment. It goes forward if main still asks for it, or if a person rolled back what main still asks
for. It goes back if the deployment was already going back.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from pydantic import ValidationError

from bot.domain import in_words
from bot.domain.blame import GoesBack
from bot.domain.bundle import digest_of
from bot.domain.bundled import bundle_in, stays_the_same
from bot.domain.desired import Change, Desired
from bot.domain.journal import Journal, Underway
from bot.domain.plan import serves
from bot.domain.record import DeploymentRecord, Rollout, Step
from bot.domain.routes import Routed, RouteTable
from bot.domain.stage import CutOff, why_back
from bot.errors import Rejected
from bot.operations.deployer import deployer
from bot.operations.deployment.admission import Admission
from bot.operations.deployment.item import Item
from bot.operations.deployment.run import Run
from bot.render import deployment as words
from bot.share import ModelRepository

_UNREADABLE_JOURNAL_STEP = (
    "`promobot status` shows what is served. "
    "If that is right, move the latest file in journal/ away and deploy again."
)


class Unfinished:
    """The journal as it was found when the run began."""

    def __init__(self, run: Run) -> None:
        self._run, self._in_force = run, run.routes()
        self.journal = read_journal(run.systems.share)

    def item(self, change: Change, admission: Admission) -> Item:
        """Begin the deployment of one change, or resume an interrupted one under its own name."""
        token, began = self._run.held.lease.token, datetime.now(UTC)
        name = f"{change.environment}-{token:08d}-{change.slot.published_name}"
        rollout: Rollout | None = None
        for underway in self._unfinished():
            if underway.is_of(change):
                name, began, rollout = underway.id, underway.started_at, underway.rollout
        steps: tuple[Step, ...] = ()
        if admission.judged_again:
            self._run.say(f"{words.describe(change)}: {admission.judged_again}")
            steps = (Step(at=datetime.now(UTC), what=admission.judged_again, seconds=0),)
        reason = change.retired
        if stays_the_same(change) and change.bundle is not None:
            reason = f"another part of its bundle {change.bundle.name} changes"
        return Item(
            change,
            name,
            began,
            evidence=admission.evidence,
            reason=reason,
            steps=steps,
            rollout=rollout,
            rehearsal=self._run.rehearsal,
        )

    def publishes_again(self, what: Routed) -> bool:
        """Whether what was cut off was publishing this version again."""
        return any(
            underway.slot_in(what.slot.environment) == what.slot
            and underway.before == underway.after
            and (underway.bundle is None or digest_of(underway.left) == underway.bundle.digest)
            and serves(what.target, underway.after)
            for underway in self._unfinished()
        )

    def rollbacks(self, desired: Desired) -> list[Change]:
        """Return interrupted rollbacks whose old version is in quarantine, although main still asks for it."""
        changes = [self._change(underway) for underway in self._unfinished()]
        return [change for change in changes if self._goes_back_from(change, desired)]

    def _goes_back_from(self, change: Change, desired: Desired) -> bool:
        """Whether main still asks for what a rollback left, and that is in quarantine."""
        entries = desired.section(change.section)
        wanted, digest = entries.get(change.model), change.before.digest if change.before else ""
        asks = wanted.digest if wanted else ""
        if change.bundle is not None and change.left is not None:
            asks = bundle_in(entries, change.bundle.name, change.bundle.models).digest
            digest = change.left.digest
        return bool(asks) and asks == digest and asks in self._run.quarantined and self._run.goes_back(change)

    def resumes(self, item: Item) -> bool:
        """Whether this is a change that was cut off, and goes on as it began."""
        return any(underway.id == item.id for underway in self._unfinished())

    @property
    def stepping(self) -> frozenset[str]:
        """The models of which a step of a rollout was cut off: they are planned as if nothing divided them."""
        return frozenset(underway.model for underway in self.going_on if underway.rollout is not None)

    def last_verified(self, current: RouteTable) -> RouteTable:
        """Return the routes that are known to be good: those in force, unless a deployment was cut off."""
        return self.journal.verified(current, self._run.history) if self.journal else current

    def abandoned(self, items: list[Item]) -> list[Item]:
        """Return interrupted changes that nobody resumes, because main now asks for something else."""
        going_on = {item.id for item in items}
        return [
            self._cut_off(
                underway,
                "this deployment was cut off, and what came after it did not ask for it",
                switched=self._was_switched(underway),
            )
            for underway in self._unfinished()
            if underway.id not in going_on
        ]

    @property
    def going_back(self) -> list[Item]:
        """Changes whose automatic rollback was interrupted."""
        journal = self.journal
        found = [(u, journal.why_back(u)) for u in self._unfinished()] if journal else []
        return [self._cut_off(u, why.problem, switched=True, why=why) for u, why in found if why is not None]

    @property
    def going_on(self) -> list[Underway]:
        """Changes that were interrupted on their way forward, without those that go back."""
        return [u for u in self._unfinished() if self.journal and self.journal.why_back(u) is None]

    @property
    def recorded(self) -> list[DeploymentRecord]:
        """Records of changes that were interrupted between their record and the end of the journal."""
        ids = {item.id for item in self.journal.underway} if self.journal else set()
        return [record for record in self._run.history if record.id in ids]

    def _was_switched(self, underway: Underway) -> bool:
        before = RouteTable.from_json(self.journal.before) if self.journal else self._in_force
        there, was = (table.route(underway.model) for table in (self._in_force, before))
        if underway.section == "shadow":
            return serves(there.shadow, underway.after) and there.shadow != was.shadow
        # A repair is of the same version, and so is a step: the name and the share under which it is served tell.
        is_there = any(serves(target, underway.after) for target in there.answering or (None,))
        return is_there and (there.live, there.canary) != (was.live, was.canary)

    def _cut_off(self, underway: Underway, problem: str, *, switched: bool, why: GoesBack | None = None) -> Item:
        stage = CutOff(problem, switched, why)
        change = self._change(underway)
        return Item(
            change,
            underway.id,
            underway.started_at,
            stage=stage,
            rollout=underway.rollout,
            rehearsal=underway.rehearsal,
        )

    def _change(self, underway: Underway) -> Change:
        return underway.change_in(self._run.settings.environment)

    def _unfinished(self) -> list[Underway]:
        recorded = {record.id for record in self._run.history}
        there = self.journal.underway if self.journal else ()
        # A bundle that was cut off between two of its records goes on as a whole.
        bundles = {(item.section, item.bundle.name) for item in there if item.bundle and item.id not in recorded}
        return [
            item
            for item in there
            if item.id not in recorded or (item.bundle and (item.section, item.bundle.name) in bundles)
        ]


def verified_routes(share: ModelRepository, environment: str, history: list[DeploymentRecord]) -> RouteTable:
    """Return the routes that are known to be good, whether or not a deployment is under way or was cut off."""
    current, journal = share.routes.read(environment), read_journal(share)
    return journal.verified(current, history) if journal else current


def read_journal(share: ModelRepository) -> Journal | None:
    """Return the journal of a deployment under way; raise Rejected where it is not readable."""
    text = share.journal.read()
    try:
        return Journal.model_validate_json(text) if text is not None else None
    except ValidationError as error:
        raise Rejected(
            f"the journal is not readable: {in_words.of_record(error.errors())}",
            system="model repository",
            state="Nothing was changed; gateways serve what they have.",
            next_step=_UNREADABLE_JOURNAL_STEP,
        ) from error


def write_journal(run: Run, items: Iterable[Item | Underway], before: RouteTable) -> None:
    """Write what is about to be done, or undone, before any of it is."""
    underway = tuple(item if isinstance(item, Underway) else _underway(item) for item in items)
    if not underway:
        return
    journal = Journal(
        turn=run.held.lease.token, before=before.to_json(), underway=underway, by=deployer(run.platform.runner)
    )
    run.held.journal.write(journal.model_dump_json(indent=1) + "\n")


def _underway(item: Item) -> Underway:
    return Underway(
        id=item.id,
        section=item.change.section,
        model=item.change.model,
        before=item.change.before,
        after=item.change.after,
        started_at=item.started_at,
        goes_back=why_back(item.stage),
        bundle=item.change.bundle,
        left=item.change.left,
        rollout=item.rollout,
        rehearsal=item.rehearsal,
    )


def close_journal(run: Run) -> None:
    """Forget what was done: it is recorded."""
    if run.systems.share.journal.read() is not None:
        run.held.journal.close()
