"""``promobot rollback``: the revert pull request to a verified version, and with ``--now`` the runtime first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bot.domain.desired import Change, Entry
from bot.domain.names import short
from bot.domain.nearest import did_you_mean
from bot.domain.plan import in_service
from bot.domain.record import DeploymentRecord, known_entries, verified_entries
from bot.domain.release import Lane, Slot
from bot.domain.way_back import WayBack, latest
from bot.errors import PromobotError, Refused, Rejected
from bot.exit_codes import ExitCode
from bot.operations import Say
from bot.operations.following import answers, forget_ways_back, hold_what_main_asks, propose_way_back, ways_back
from bot.operations.main_branch import Main, main_beside
from bot.operations.package_rules import refuse_what_is_not_allowed
from bot.operations.proposing import ASKED_BY_NOBODY, Asking, read_desired
from bot.records.ledger import HeldLedger, Ledger
from bot.settings import Environment

if TYPE_CHECKING:
    from bot.operations.deploy import Deployed
    from bot.platform import Platform, Serving
    from bot.share import HeldShare, ModelRepository


@dataclass(frozen=True)
class RolledBack:
    """The pull request that goes back, and what was done to the runtime where that was asked for."""

    environment: str
    model: str
    before: Entry | None
    after: Entry
    pull_request: int | None
    url: str
    deployed: Deployed | None = None
    mistakes: tuple[str, ...] = ()
    """Mistakes of the environment file in parts that the rollback did not need."""
    revert_waits: str = ""
    """Why the pull request is not open yet; the next deployment that reaches GitHub opens it."""
    is_back: bool = False
    """Whether users have the version already, so that only main has to follow."""

    @property
    def exit_code(self) -> ExitCode:
        """As its own deployment where there was one, else 0: what it overtook, and cut off, is not its failure."""
        if self.deployed is None:
            return ExitCode.DONE
        own = [r for r in self.deployed.records if r.model == self.model and r.after == self.after]
        return replace(self.deployed, records=tuple(own)).exit_code


def rollback(
    platform: Platform,
    *,
    model: str,
    to_version: int | None,
    now: bool,
    reason: str,
    by: str,
    say: Say,
    request: str = "",
    note: str = "",
    asking: Asking = ASKED_BY_NOBODY,
) -> RolledBack:
    """Go back to the last verified version of ``model`` but the one in service, or to the one named.

    Skips the gate, freezes and every wait; sees that the bytes still exist. With ``now`` it needs neither Git nor
    GitHub: the runtime goes back by routes and records, and the pull request follows. Where it was cut off,
    ``request`` makes it go on to the version that it chose then, not to the one before that. ``note`` is a paragraph
    of the pull request's text: who asked for it; ``asking`` says the same for the bot itself.
    """
    settings = platform.settings
    # Users wait. While Git fetches, what talks to Tritons and gateways is imported: the two take longest here.
    hurried = settings.deadlines.request_seconds if now else None
    by = by or "a person"
    with main_beside(platform, within_seconds=hurried) as look:
        systems = platform.serving()
        from bot.operations.deploy import converge
        from bot.operations.deployment.unfinished import verified_routes

        ledger = platform.ledger
        history = ledger.deployments()
        ways = ways_back(systems.share, say)
        main = look()
        if isinstance(main, Main):
            commit, current = main.commit, main.desired.models.get(model)
        elif now:
            commit, current = "", _believed(settings, systems, history, ways, model)
            from bot.render import proposal as words

            say(words.main_is_unknown(settings.environment, model, current, main))
        else:
            from bot.render import proposal as words

            main.next_step = words.now_needs_no_main(settings.environment, model, main.next_step)
            raise main
        target = ledger.way_back_of(request) if request else None
        if target is None:
            target = _target(settings, history, ledger, model=model, current=current, to_version=to_version)
            target = ledger.decide_way_back(request, target) if request else target
        _see_that_its_bytes_exist(platform, model, target)
        deployed, way, is_noted = None, None, False
        if now:
            say(f"putting {model} back to {target.version} in {settings.environment} now")
            with systems.share.lease(overtake=True) as held:
                # Nothing else moves: neither what main asks for besides, nor what a deployment that is overtaken
                # here was about to bring, may stand in the way of the way back.
                history = ledger.deployments()
                verified = verified_routes(systems.share, settings.environment, history)
                wanted = in_service(verified, known_entries(history)).having("models", model, target)
                way = WayBack(
                    environment=settings.environment,
                    model=model,
                    turn=held.lease.token,
                    commit=commit,
                    left=current,
                    target=target,
                    reason=reason,
                    by=by,
                    note=note,
                    slack=asking.by.slack,
                    github=asking.by.github,
                    at=datetime.now(UTC),
                )
                # Also a version that was never in service: until Git follows, the next deployment would bring it. And
                # before the switch: if this run is interrupted anywhere, the next one resumes the rollback instead.
                leave = _Leaving(HeldLedger(ledger, held.lease.check), model, current, target, reason=reason, by=by)
                is_noted = _try_to_note(held, way, say)
                is_held = leave.try_to_hold(say)
                deployed = converge(platform, systems, held=held, commit=commit, desired=wanted, say=say)
                if not is_held:
                    leave.hold()
        proposed, waits, is_back = None, "", False
        try:
            is_back = answers(systems.share, settings.environment, model, target)
            # Users are back, so Git has its usual time now, unless it did not answer before.
            limit = None if isinstance(main, Main) else hurried
            repository = platform.repository(limit_seconds=limit)
            if way is not None and not isinstance(main, Main):
                desired = read_desired(repository, settings.environment, repository.head())
                current = desired.models.get(model)
                hold_what_main_asks(ledger, way, current)
            proposed = propose_way_back(
                repository,
                platform.github,
                ledger,
                model=model,
                target=target,
                current=current,
                reason=reason,
                by=by,
                note=note,
                asking=asking,
                say=say,
                is_back=is_back,
            )
        except PromobotError as error:
            from bot.render import proposal as words

            is_refused = isinstance(main, Main) and isinstance(error, Refused)
            if deployed is not None and (is_refused or not is_noted):
                change = Change(settings.environment, "models", model, target, current)
                error.state = words.only_the_runtime_went_back(change, target)
            if deployed is None or is_refused or not is_noted:
                raise
            waits = str(error)
        else:
            _forget(systems.share, ways if way is None else [*ways, way], model, say)
    # Where main says so already, there is nothing for Git to follow.
    number, url = (proposed.pull_request.number, proposed.pull_request.url) if proposed else (None, "")
    mistakes = tuple(map(str, settings.mistakes))
    return RolledBack(
        settings.environment,
        model,
        current,
        target,
        number,
        url,
        deployed,
        mistakes,
        revert_waits=waits,
        is_back=is_back,
    )


def _believed(
    settings: Environment, systems: Serving, history: list[DeploymentRecord], ways: list[WayBack], model: str
) -> Entry | None:
    """Return what main is believed to say of a model, where it cannot be read.

    What a rollback left whose pull request is not open yet, so that the same command comes to the same version
    again; else what a deployment under way was bringing; else what answers.
    """
    from bot.operations.deployment.unfinished import read_journal

    if way := latest(ways).get(model):
        return way.left
    journal = read_journal(systems.share)
    for underway in journal.underway if journal else ():
        if (underway.section, underway.model) == ("models", model):
            return underway.after
    return in_service(systems.share.routes.read(settings.environment), known_entries(history)).models.get(model)


def _try_to_note(held: HeldShare, way: WayBack, say: Say) -> bool:
    """Keep what the pull request will say, if the share lets us: users do not wait for it."""
    from bot.render import proposal as words

    try:
        held.reverts.keep(way.name, way.model_dump_json(indent=1) + "\n")
    except PromobotError as error:
        say(words.way_back_is_not_noted(error))
        return False
    return True


def _forget(share: ModelRepository, ways: list[WayBack], model: str, say: Say) -> None:
    """Drop the notes of a pull request that is open; one that stays is found to be open by the next deployment."""
    from bot.render import proposal as words

    try:
        forget_ways_back(share, ways, model=model)
    except PromobotError as error:
        say(words.way_back_is_not_forgotten(error))


@dataclass(frozen=True)
class _Leaving:
    """What main asks for, kept from coming back until Git follows."""

    ledger: Ledger
    model: str
    current: Entry | None
    target: Entry
    reason: str
    by: str

    def hold(self) -> None:
        """Put it into quarantine, unless it is what this rollback goes to."""
        from bot.render import deployment as words

        if self.current is not None and self.current.digest != self.target.digest:
            self.ledger.put_in_quarantine(
                model=self.model,
                version=self.current.version,
                digest=self.current.digest,
                reason=words.person_went_back(self.target, self.reason),
                by=self.by,
            )

    def try_to_hold(self, say: Say) -> bool:
        """Do so if the record store lets us: users do not wait for one that is full."""
        from bot.render import deployment as words

        try:
            self.hold()
        except PromobotError as error:
            say(words.held_after_the_switch(self.model, error))
            return False
        return True


def _target(
    settings: Environment,
    history: list[DeploymentRecord],
    ledger: Ledger,
    *,
    model: str,
    current: Entry | None,
    to_version: int | None,
) -> Entry:
    quarantined = ledger.quarantined()
    verified = [entry for _, entry in verified_entries(history, Slot(settings.environment, model, Lane.LIVE))]
    possible = [
        e for e in verified if (current is None or e.digest != current.digest) and e.digest not in quarantined
    ]
    if to_version is not None:
        possible = [entry for entry in possible if entry.version == to_version]
    if possible:
        return possible[0]
    where = settings.environment
    known = ", ".join(str(entry.version) for entry in verified) or "none"
    said = f"Verified here, newest first: {known}. In quarantine: {_versions(ledger, model)}."
    if not any(record.model == model for record in history):
        # A misspelt name, mostly: what is said of the right one would be wrong of this.
        meant = did_you_mean(model, {*settings.gates, *(record.model for record in history)})
        said = f"{meant}`promobot status --env {where}` shows what is in service."
    named = next((entry for entry in verified if entry.version == to_version), None)
    if named is not None and current is not None and named.digest == current.digest:
        problem = f"main asks for {model} {to_version} in {where} already"
    elif named is not None:
        problem = f"{model} {to_version} is in quarantine in {where}, so nothing goes back to it"
        said += f" `promobot quarantine lift {short(named.digest)} --env {where} --reason '…'` allows it again."
    else:
        wanted = f"version {to_version}" if to_version is not None else "an earlier version"
        problem = f"there is no verified record of {wanted} of {model} in {where} to go back to"
        retire = f"`promobot retire {model} --env {where} --reason '…'` takes it out."
        said += f" Where nothing was in service before, {retire}" if current is not None else ""
    raise Refused(problem, state="Nothing was changed.", next_step=said)


def _versions(ledger: Ledger, model: str) -> str:
    events = [event for event in ledger.quarantined().values() if event.model == model]
    return ", ".join(str(event.version) for event in events) or "none"


def _see_that_its_bytes_exist(platform: Platform, model: str, entry: Entry) -> None:
    share = platform.share
    described = share.packages.described(entry.digest)
    if described is not None:
        for name in share.models.names_of(model):
            if not share.models.wrong_bytes(described.package, triton_model=name, version=entry.version):
                return
    # They are no longer on the share, but the registry may still have them.
    registry = platform.registry
    try:
        contents = registry.contents(registry.version(model, entry.version, with_run=False))
    except Rejected:
        contents = None
    if contents is None or contents.package.digest != entry.digest:
        raise Refused(
            f"the bytes of {model} {entry.version} ({entry.digest}) are no longer on the share or in MLflow",
            state="Nothing was changed.",
            next_step="Name another version with --to; `promobot history` lists those that were verified.",
        )
    if described is None:
        refuse_what_is_not_allowed(
            platform.settings, contents, name=f"{model} {entry.version}", state="Nothing was changed."
        )
