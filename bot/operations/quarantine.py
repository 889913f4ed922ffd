"""``promobot quarantine``: list the digests that failed here, and let a person take back what was blamed wrongly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bot.domain.desired import SECTIONS, Change
from bot.domain.quarantine import QuarantineEvent, beginning_with
from bot.domain.record import DeploymentRecord, run_of, served_after
from bot.errors import InvalidInput, PromobotError, Refused
from bot.exit_codes import ExitCode
from bot.operations.proposing import withdraw_revert
from bot.platform import Platform
from bot.records.ledger import Ledger
from bot.render import proposal as words


@dataclass(frozen=True)
class Undone:
    """The parts of a run or a deployment that were undone: its quarantines, and the reverts that it opened."""

    of: str
    lifted: tuple[QuarantineEvent, ...] = ()
    closed: tuple[str, ...] = ()
    """The addresses of the reverts that were closed."""
    problems: tuple[str, ...] = ()
    """Reverts that stay open, and why."""


@dataclass(frozen=True)
class Quarantine:
    """The quarantine of an environment. ``lifted`` has just left it; ``in_service`` names the digests that serve."""

    environment: str
    events: tuple[QuarantineEvent, ...]
    in_service: tuple[str, ...] = ()
    lifted: QuarantineEvent | None = None
    undone: Undone | None = None

    @property
    def exit_code(self) -> ExitCode:
        """0 done · 1 a revert stays open that should not."""
        return ExitCode.FAILED if self.undone and self.undone.problems else ExitCode.DONE


def list_quarantine(platform: Platform) -> Quarantine:
    """Return what is in quarantine now."""
    return _found(platform.ledger)


def lift(platform: Platform, *, digest: str, reason: str, by: str) -> Quarantine:
    """Take a digest out of quarantine; the beginning of it is enough where it is unique."""
    ledger, environment = platform.ledger, platform.environment
    found = beginning_with(digest, ledger.quarantined())
    if len(found) != 1:
        what = "several digests begin" if found else "nothing in quarantine begins"
        raise Refused(
            f"{what} with {digest!r} in {environment}",
            state="Nothing was changed.",
            next_step=f"`promobot quarantine list --env {environment}` lists them.",
        )
    _see_a(reason)
    ledger.lift_quarantine(found[0], reason=reason, by=by)
    return _found(ledger, lifted=found[0])


def take_back(platform: Platform, *, of: str, reason: str, by: str) -> Quarantine:
    """Take back what a run (``dev-00000012``) or one of its deployments (``dev-00000012-churn``) blamed.

    Lifts what it put into quarantine, and closes the reverts that it opened, where nobody changed them since. Doing
    it twice changes nothing more. Raises Refused where there is no such run or deployment.
    """
    ledger, environment = platform.ledger, platform.environment

    def is_meant(deployment: str) -> bool:
        return of in (deployment, run_of(deployment, environment))

    records = [record for record in ledger.deployments() if is_meant(record.id)]
    events = [event for event in ledger.quarantined().values() if _put_there(event, records, is_meant)]
    if not records and not events:
        raise Refused(
            f"there is no deployment and no run {of} in {environment}",
            state="Nothing was changed.",
            next_step=f"`promobot history --env {environment}` lists the deployments; the name of a run is "
            f"how theirs begin, as {environment}-00000012.",
        )
    _see_a(reason)
    for event in events:
        ledger.lift_quarantine(event, reason=reason, by=by)
    held = ledger.quarantined()
    tried = [
        Change(record.environment, record.section, record.model, record.before, record.after, bundle=record.bundle)
        for record in records
        if record.outcome in ("put back", "failed") and record.after
    ]
    failed = [change for change in tried if change.judged_digest not in held]
    closed, problems = (
        _close_reverts(platform, failed, words.blame_taken_back(of, reason, by)) if failed else ([], [])
    )
    return _found(ledger, undone=Undone(of, tuple(events), tuple(closed), tuple(problems)))


def _put_there(event: QuarantineEvent, records: list[DeploymentRecord], is_meant: Callable[[str], bool]) -> bool:
    """Whether a deployment that is meant made the event; events of before do not name it, but its record does."""
    if event.deployment:
        return is_meant(event.deployment)
    return any(
        record.quarantined
        and record.after is not None
        and record.after.digest == event.digest
        and record.started_at <= event.at <= record.finished_at
        for record in records
    )


def _close_reverts(platform: Platform, failed: list[Change], why: str) -> tuple[list[str], list[str]]:
    """Close the reverts that the bot opened for these changes; return their addresses, and what could not be done."""
    closed, problems = list[str](), list[str]()
    github, repository = platform.github, platform.repository()
    for change in failed:
        try:
            url = withdraw_revert(repository, github, change, why=why)
        except PromobotError as error:
            problems.append(" ".join(filter(None, (str(error), error.state, error.next_step))))
        else:
            closed += [url] if url else []
    return closed, problems


def _see_a(reason: str) -> None:
    if not reason.strip():
        raise InvalidInput("say why: the next one who looks reads this", key="--reason")


def _found(
    ledger: Ledger,
    *,
    lifted: QuarantineEvent | None = None,
    undone: Undone | None = None,
) -> Quarantine:
    quarantined, history = ledger.quarantined(), ledger.deployments()
    serving = served_after(ledger.environment, history)
    digests = {entry.digest for section in SECTIONS for entry in serving.section(section).values()}
    return Quarantine(
        ledger.environment,
        tuple(quarantined.values()),
        tuple(sorted(digests & quarantined.keys())),
        lifted,
        undone,
    )
