"""``promobot rehearse``: go back, and forth again, while users ask, to prove that the way back works.

It goes back as ``rollback --now`` does and forth as ``deploy`` does: the same lease, journal, proof, record and
message. Nobody decided against a version, so nothing goes into quarantine, and no revert is opened. Main does not
change, so wherever it is killed, the next deployment brings what main says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from bot.domain.desired import Desired, Entry
from bot.domain.plan import Live, ahead_of, asked_for, plan, serves
from bot.domain.record import DeploymentRecord, known_entries
from bot.errors import PromobotError, Refused
from bot.exit_codes import ExitCode
from bot.operations import Say
from bot.operations.deploy import STEP_WAITS_SECONDS, converge, deploy
from bot.operations.deployment.run import Run
from bot.operations.main_branch import Main
from bot.operations.observe import observe
from bot.operations.proposing import read_desired
from bot.operations.rollback import destination
from bot.operations.watching import bakes
from bot.platform import Platform
from bot.settings import path_of


@dataclass(frozen=True)
class Rehearsed:
    """A way back that was tried: the version in service, the one that users had meanwhile, and both deployments."""

    environment: str
    model: str
    version: int
    back_to: int
    back: tuple[DeploymentRecord, ...]
    forth: tuple[DeploymentRecord, ...]
    problems: tuple[str, ...] = ()
    undelivered: int = 0

    @property
    def is_proven(self) -> bool:
        """Whether users had the version before, and have the one in service again."""
        both = [*self.back, *self.forth]
        return bool(self.back and self.forth) and all(record.verified for record in both) and not self.problems

    @property
    def exit_code(self) -> ExitCode:
        """0 back and forth · 1 one of both failed · 4 all but Slack."""
        if not self.is_proven:
            return ExitCode.FAILED
        return ExitCode.UNCONFIRMED if self.undelivered else ExitCode.DONE


def rehearse(platform: Platform, model: str, *, by: str, say: Say) -> Rehearsed:
    """Go back to where a rollback would go, and forth to what main says; raise Refused where that must not be tried.

    ``by`` is who asked. It takes the lease from nobody: raises Busy while another deployment runs.
    """
    settings, systems = platform.settings, platform.serving()
    if not settings.rehearse:
        raise Refused(
            f"{platform.environment} allows no rehearsals",
            state="Nothing was changed.",
            next_step=f"Say `rehearse: true` in {path_of(platform.environment)} if users may get older ones there.",
        )
    gone_back = _GoneBack()
    try:
        with systems.share.lease(
            wait_seconds=STEP_WAITS_SECONDS, yields=True, above=platform.ledger.newest_turn()
        ) as held:
            commit = platform.repository().head()
            run = Run(platform, systems, held=held, commit=commit, say=say, rehearsal=by)
            _go_back(run, model, gone_back)
    except PromobotError as error:
        if gone_back.began:
            # Users come first: whatever happened, they get what main says.
            say(f"{error}\nbringing what main says again")
            deploy(platform, say=say, rehearsal=by)
        raise
    forth = deploy(platform, say=say, rehearsal=by)
    own = {*(record.model for record in gone_back.records)}
    return Rehearsed(
        platform.environment,
        model,
        version=gone_back.left,
        back_to=gone_back.to,
        back=gone_back.records,
        forth=tuple(record for record in forth.records if record.model in own),
        problems=forth.problems,
        undelivered=forth.undelivered,
    )


@dataclass
class _GoneBack:
    """The part of the way back that is done."""

    began: bool = False
    left: int = 0
    to: int = 0
    records: tuple[DeploymentRecord, ...] = ()


def _go_back(run: Run, model: str, gone: _GoneBack) -> None:
    """Go back as ``rollback --now`` does; nothing else moves."""
    platform = run.platform
    repository = platform.repository()
    main = Main(repository, run.commit, read_desired(repository, platform.environment, run.commit))
    seen = observe(run.settings, run.systems)
    known = known_entries(run.history)
    live = _see_that_it_stands(run, model, main.desired, seen)
    target = destination(platform, model, main, run.history)
    wanted = asked_for(seen.routes, known)
    for part, entry in target.whole.items():
        wanted = wanted.having("models", part, entry)
    gone.left, gone.to = live.version, target.entry.version
    run.say(f"rehearsing the way back of {model} in {platform.environment}: {gone.left} → {gone.to} → {gone.left}")
    gone.began = True
    gone.records = converge(run, wanted, at_once=True, seen=seen).records


def _see_that_it_stands(run: Run, model: str, desired: Desired, seen: Live) -> Entry:
    """Return what main says of the model where users get it and nothing else is going on; else raise Refused."""
    platform, table = run.platform, seen.routes
    route, wanted = table.route(model), desired.models.get(model)
    if run.systems.share.journal.read() is not None:
        raise _not_now(run, "a deployment was cut off; `promobot deploy` finishes it")
    if run.closed is not None:
        raise _not_now(run, "nothing new may go out now, and what is gone back from would be new again")
    parts = run.settings.parts_with(model)
    if any(table.route(part).canary is not None or table.route(part).partly for part in parts):
        raise _not_now(run, f"{model} is being rolled out")
    if wanted is None or not serves(route.live, wanted):
        raise _not_now(run, f"users do not get what main says of {model}: it is held, or not deployed yet")
    if wanted.digest in run.quarantined:
        raise _not_now(run, f"{model} {wanted.version} is in quarantine")
    if any(one.model in parts for one in bakes(platform, table, datetime.now(UTC))):
        raise _not_now(run, f"{model} {wanted.version} bakes")
    todo = plan(desired, seen, known=known_entries(run.history))
    if todo.silent or todo.reload or any(todo.load.values()) or ahead_of(seen) is not None:
        raise _not_now(run, "not every Triton and gateway has what is routed; `promobot status` shows who")
    return wanted


def _not_now(run: Run, why: str) -> Refused:
    return Refused(
        f"no rehearsal in {run.settings.environment} now: {why}",
        state="Nothing was changed.",
        next_step="Rehearse again when it is over.",
    )
