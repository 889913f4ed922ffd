"""``promobot rollback``: the revert pull request to a verified version, and with ``--now`` the runtime first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from bot.domain.bundle import Bundle, bundle_of, digest_of
from bot.domain.bundled import blamed, bundle_in, entries_of
from bot.domain.desired import Change, Entry
from bot.domain.names import short
from bot.domain.nearest import did_you_mean
from bot.domain.plan import aimed_at, asked_for, serves
from bot.domain.quarantine import Quarantined
from bot.domain.record import DeploymentRecord, known_entries, verified_bundles, verified_entries
from bot.domain.release import Lane, Slot
from bot.domain.way_back import WayBack, choose, choose_bundle, latest, may_wait
from bot.errors import PromobotError, Refused, Rejected
from bot.exit_codes import ExitCode
from bot.operations import Say
from bot.operations.following import (
    Revert,
    answers,
    asked_bundle,
    forget_ways_back,
    hold_what_main_asks,
    propose_way_back,
    ways_back,
)
from bot.operations.known import known_models
from bot.operations.main_branch import Main
from bot.operations.package_rules import refuse_what_is_not_allowed
from bot.operations.proposing import ASKED_BY_NOBODY, Asking, read_desired
from bot.records.ledger import Ledger
from bot.settings import Environment

if TYPE_CHECKING:
    from bot.operations.deploy import Deployed
    from bot.platform import Platform
    from bot.share import HeldShare, ModelRepository
    from bot.systems.github import PullRequest


@dataclass(frozen=True, kw_only=True)
class GoBack:
    """The rollback that a person asks for.

    ``now`` puts the runtime back before the pull request is open. If it is cut off, the same ``request`` goes on to
    the version that it chose then, not to the one before that.
    """

    model: str
    to_version: int | None = None
    now: bool = False
    reason: str = ""
    by: str
    request: str = ""
    asking: Asking = ASKED_BY_NOBODY

    def to(self, target: Destination, *, environment: str, turn: int, main: _MainEntry) -> WayBack:
        """Return what is kept of it until its pull request is open."""
        return WayBack(
            environment=environment,
            model=self.model,
            turn=turn,
            commit=main.commit,
            left=main.current,
            target=target.entry,
            bundle=target.bundle,
            left_bundle=bundle_in(main.models, target.bundle.name, target.bundle.models) if target.bundle else None,
            reason=self.reason,
            by=self.by,
            note=self.asking.note,
            slack=self.asking.by.slack,
            github=self.asking.by.github,
            at=datetime.now(UTC),
        )


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


def rollback(platform: Platform, ask: GoBack, main: Callable[[], Main | PromobotError], *, say: Say) -> RolledBack:
    """Go back to the last verified version of the model but the one in service, or to the one that ``ask`` names.

    ``main`` returns what main says, or why it cannot be read; who calls this began to read it before. Skips the gate,
    freezes and every wait; sees that the bytes still exist. ``now`` needs neither Git nor GitHub: the runtime goes
    back by routes and records, and the pull request follows.
    """
    settings = platform.settings
    systems = platform.serving()
    # What talks to Tritons and gateways is slow to import, too; Git is still at work.
    import_module("bot.operations.deploy")
    history = platform.ledger.deployments()
    ways = ways_back(systems.share, say)
    believed = partial(_believed, systems.share, platform.environment, history=history, ways=ways)
    parts = settings.parts_with(ask.model)
    says = _what_main_says(main(), ask, platform.environment, believed, parts, say)
    target = _target(platform, ask, history, says)
    for model, entry in target.whole.items():
        _see_that_its_bytes_exist(platform, model, entry)
    back = _put_back_now(platform, ask, says, target, say) if ask.now else None
    revert = Revert(ask.model, target.entry, reason=ask.reason, by=ask.by, asking=ask.asking, bundle=target.bundle)
    followed = _have_git_follow(platform, revert, says, back, say)
    if followed.error is None:
        _forget(systems.share, [*ways, back.way] if back else ways, target.about, say)
    pull = followed.pull_request
    return RolledBack(
        settings.environment,
        ask.model,
        followed.current,
        target.entry,
        pull.number if pull else None,
        pull.url if pull else "",
        back.deployed if back else None,
        tuple(map(str, settings.mistakes)),
        revert_waits=str(followed.error) if followed.error else "",
        is_back=followed.is_back,
    )


@dataclass(frozen=True)
class Destination:
    """The version to go back to; of a part of a bundle, the whole bundle as it was verified."""

    model: str
    entry: Entry
    bundle: Bundle | None = None

    @property
    def whole(self) -> dict[str, Entry]:
        """What goes back, by model."""
        return entries_of(self.bundle) or {self.model: self.entry}

    @property
    def about(self) -> str:
        """The model under which the way back is known."""
        return self.bundle.models[-1] if self.bundle else self.model


def destination(platform: Platform, model: str, main: Main, history: list[DeploymentRecord]) -> Destination:
    """Return where a rollback of the model would go now, with bytes that exist; raise Refused where there is none."""
    entries = main.desired.models
    asked, says = GoBack(model=model, by=""), _MainEntry(main.commit, entries.get(model), entries)
    found = _target(platform, asked, history, says)
    for part, entry in found.whole.items():
        _see_that_its_bytes_exist(platform, part, entry)
    return found


@dataclass(frozen=True)
class _MainEntry:
    """What main says of the model. Where it cannot be read, ``commit`` is empty, and the rest is believed.

    ``models`` has the other parts of its bundle, too.
    """

    commit: str
    current: Entry | None
    models: Mapping[str, Entry] = field(default_factory=dict)

    @property
    def is_known(self) -> bool:
        """Whether it was read."""
        return bool(self.commit)


@dataclass(frozen=True)
class _Back:
    """The runtime's part of a rollback: its note, whether the share kept that, and the deployment."""

    way: WayBack
    is_noted: bool
    deployed: Deployed


@dataclass(frozen=True)
class _Followed:
    """Git's part of a rollback.

    There is no pull request if main says so already, or if it could not be opened yet because of ``error``.
    ``current`` is the model's entry on main now.
    """

    current: Entry | None
    is_back: bool
    pull_request: PullRequest | None = None
    error: PromobotError | None = None


def _what_main_says(
    main: Main | PromobotError,
    ask: GoBack,
    environment: str,
    believed: Callable[[str], Entry | None],
    parts: Sequence[str],
    say: Say,
) -> _MainEntry:
    """Return what main says, or is ``believed`` to say: nobody who goes back ``now`` waits for Git.

    ``parts`` are the models that go back together.
    """
    if isinstance(main, Main):
        return _MainEntry(main.commit, main.desired.models.get(ask.model), main.desired.models)
    if not ask.now:
        main.next_step = _now_needs_no_main(environment, ask.model, main.next_step)
        raise main
    models = {model: entry for model in parts if (entry := believed(model))}
    current = models.get(ask.model)
    say(_main_is_unknown(environment, ask.model, current, main))
    return _MainEntry("", current, models)


def _target(platform: Platform, ask: GoBack, history: list[DeploymentRecord], main: _MainEntry) -> Destination:
    """Return the version to go to: that of the same request before, if it was cut off, and else the one to choose."""
    ledger, current = platform.ledger, main.current
    chosen = ledger.way_back_of(ask.request) if ask.request else None
    name = bundle_of(ask.model, platform.settings.bundles)
    if name:
        return _bundle_to_go_to(platform, ask, history, main, chosen, name)
    if chosen is not None:
        return Destination(ask.model, chosen)
    verified = [entry for _, entry in verified_entries(history, Slot(platform.environment, ask.model, Lane.LIVE))]
    quarantined = ledger.quarantined()
    target = choose(verified, leaves=current, quarantined=quarantined.keys(), to_version=ask.to_version)
    if target is None and _is_not_there_yet(platform, ask, current):
        target = choose(verified, leaves=None, quarantined=quarantined.keys(), to_version=ask.to_version)
    if target is None:
        raise _no_target(platform.settings, ask, history, verified, quarantined, current)
    return Destination(ask.model, ledger.decide_way_back(ask.request, target) if ask.request else target)


def _is_not_there_yet(platform: Platform, ask: GoBack, current: Entry | None) -> bool:
    """Whether main asks for the very version to go back to now, and users still get another one.

    The revert was merged, and nobody has deployed it: users do not wait for that.
    """
    if not ask.now or current is None or ask.to_version != current.version:
        return False
    route = platform.share.routes.read(platform.environment).route(ask.model)
    return not serves(aimed_at(route, Lane.LIVE), current)


def _bundle_to_go_to(
    platform: Platform,
    ask: GoBack,
    history: list[DeploymentRecord],
    main: _MainEntry,
    chosen: Entry | None,
    name: str,
) -> Destination:
    """Return the last verified bundle but the one that main asks for; one with ``chosen``, if that was chosen before.

    ``--to`` names a version of the part that is asked for: the newest bundle with it counts.
    """
    parts, quarantined = platform.settings.bundles[name], platform.ledger.quarantined()
    slot = Slot(platform.environment, ask.model, Lane.LIVE)
    verified = [b for b in verified_bundles(history, slot) if b.is_whole and list(b.models) == list(parts)]
    left = bundle_in(main.models, name, parts).digest
    to = chosen.version if chosen is not None else ask.to_version
    bundle = choose_bundle(verified, leaves=left, model=ask.model, quarantined=quarantined.keys(), to_version=to)
    if bundle is None and _is_not_there_yet(platform, ask, main.current):
        bundle = choose_bundle(verified, leaves="", model=ask.model, quarantined=quarantined.keys(), to_version=to)
    if bundle is not None:
        entry = entries_of(bundle)[ask.model]
        if ask.request:
            platform.ledger.decide_way_back(ask.request, entry)
        return Destination(ask.model, entry, bundle)
    entries = [entries_of(bundle)[ask.model] for bundle in verified]
    raise _no_target(platform.settings, ask, history, entries, quarantined, main.current)


def _put_back_now(platform: Platform, ask: GoBack, main: _MainEntry, target: Destination, say: Say) -> _Back:
    """Put the runtime back, also during a deployment: note it, hold the version that it leaves, then switch."""
    from bot.operations.deploy import converge
    from bot.operations.deployment.catching_up import catch_up
    from bot.operations.deployment.run import Run
    from bot.operations.deployment.unfinished import verified_routes
    from bot.operations.observe import observe

    systems, environment = platform.serving(), platform.environment
    beside = f", with all of its bundle {target.bundle.name}," if target.bundle else ""
    say(f"putting {ask.model} back to {target.entry.version}{beside} in {environment} now")
    with systems.share.lease(overtake=True, above=platform.ledger.newest_turn()) as held:
        # Nothing else moves: neither what main asks for besides, nor what a deployment that is overtaken here was
        # about to bring, may stand in the way of the way back.
        run = Run(platform, systems, held=held, commit=main.commit, say=say)
        history = run.ledger.deployments()
        # Before anything is decided by the routes: those of a share that came out of a backup are old.
        seen = catch_up(run, observe(run.settings, run.systems))
        verified = verified_routes(systems.share, environment, history)
        wanted = asked_for(verified, known_entries(history))
        for model, entry in target.whole.items():
            wanted = wanted.having("models", model, entry)
        way = ask.to(target, environment=environment, turn=held.lease.token, main=main)
        # Also a version that was never in service: until Git follows, the next deployment would bring it. And before
        # the switch: if this run is interrupted anywhere, the next one resumes the rollback instead.
        is_noted = _try_to_note(held, way, say)
        is_held = _try_to_hold(run.ledger, way, say)
        deployed = converge(run, wanted, at_once=True, seen=seen)
        if not is_held:
            _hold(run.ledger, way)
        return _Back(way, is_noted, deployed)


def _have_git_follow(platform: Platform, revert: Revert, main: _MainEntry, back: _Back | None, say: Say) -> _Followed:
    """Open the revert. Where the runtime went back, one that cannot be opened now may wait on the share."""
    from bot.render import proposal as words

    environment, current = platform.environment, main.current
    is_back = False
    try:
        is_back = answers(platform.share, environment, entries_of(revert.bundle) or {revert.model: revert.target})
        # Users are back, so Git has its usual time now, unless it did not answer before.
        limit = None if main.is_known else platform.settings.deadlines.request_seconds
        repository = platform.repository(limit_seconds=limit)
        models = main.models
        if back is not None and not main.is_known:
            models = read_desired(repository, environment, repository.head()).models
            current = models.get(revert.model)
            hold_what_main_asks(platform.ledger, back.way, current, asked_bundle(back.way.bundle, models))
        asks = asked_bundle(revert.bundle, models)
        proposed = propose_way_back(
            platform, repository, revert, current=current, asks=asks, is_back=is_back, say=say
        )
    except PromobotError as error:
        if back is not None and may_wait(error, main_is_known=main.is_known, is_noted=back.is_noted):
            return _Followed(current, is_back, error=error)
        if back is not None:
            change = Change(environment, "models", revert.model, revert.target, current)
            error.state = words.only_the_runtime_went_back(change, revert.target)
        raise
    return _Followed(current, is_back, proposed.pull_request if proposed else None)


def _believed(
    share: ModelRepository, environment: str, model: str, *, history: list[DeploymentRecord], ways: list[WayBack]
) -> Entry | None:
    """Return what main is believed to say of a model, where it cannot be read.

    What a rollback left whose pull request is not open yet, so that the same command comes to the same version
    again; else what a deployment under way was bringing; else what answers.
    """
    from bot.operations.deployment.unfinished import read_journal

    for way in latest(ways).values():
        if way.left_bundle is not None and model in way.left_bundle.models:
            return entries_of(way.left_bundle).get(model)
        if way.model == model:
            return way.left
    journal = read_journal(share)
    for underway in journal.underway if journal else ():
        if (underway.section, underway.model) == ("models", model):
            return underway.after
    return asked_for(share.routes.read(environment), known_entries(history)).models.get(model)


def _try_to_note(held: HeldShare, way: WayBack, say: Say) -> bool:
    """Keep what the pull request will say, if the share lets us: users do not wait for it."""

    try:
        held.reverts.keep(way.name, way.model_dump_json(indent=1) + "\n")
    except PromobotError as error:
        say(f"the pull request of this rollback could not be noted on the share: {error}")
        return False
    return True


def _forget(share: ModelRepository, ways: list[WayBack], model: str, say: Say) -> None:
    """Drop the notes of a pull request that is open; one that stays is found to be open by the next deployment."""

    try:
        forget_ways_back(share, ways, model=model)
    except PromobotError as error:
        say(f"the note of this rollback could not be removed, the next deployment does: {error}")


def _hold(ledger: Ledger, way: WayBack) -> None:
    """Put what main asks for into quarantine until Git follows, unless it is what this rollback goes to."""

    digest = digest_of(way.left_bundle) or (way.left.digest if way.left else "")
    if way.left is not None and digest != (digest_of(way.bundle) or way.target.digest):
        ledger.put_in_quarantine(
            blamed(way.slot, way.left, way.left_bundle),
            reason=(f"rolled back to {way.target.version}" + (f": {way.reason}" if way.reason else "")),
            by=way.by,
        )


def _try_to_hold(ledger: Ledger, way: WayBack, say: Say) -> bool:
    """Do so if the record store lets us: users do not wait for one that is full."""

    try:
        _hold(ledger, way)
    except PromobotError as error:
        say(f"{way.model} goes back first, and what it leaves into quarantine after that: {error}")
        return False
    return True


def _no_target(
    settings: Environment,
    ask: GoBack,
    history: list[DeploymentRecord],
    verified: list[Entry],
    quarantined: Quarantined,
    current: Entry | None,
) -> Refused:
    """Say why there is nothing to go back to, and what to type instead."""
    where, model, to_version = settings.environment, ask.model, ask.to_version
    known = ", ".join(str(entry.version) for entry in verified) or "none"
    held = ", ".join(str(event.version) for event in quarantined.values() if event.model == model) or "none"
    said = f"Verified here, newest first: {known}. In quarantine: {held}."
    if not any(record.model == model for record in history):
        # A misspelt name, mostly: the messages about a known model would be wrong here.
        meant = did_you_mean(model, known_models(settings, records=history))
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
    return Refused(problem, state="Nothing was changed.", next_step=said)


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


def _main_is_unknown(environment: str, model: str, current: Entry | None, error: Exception) -> str:
    """Said first, where a rollback goes on without main."""
    live = f"version {current.version}" if current else "nothing"
    return (
        f"⚠️ desired: unknown. What main says of {environment} cannot be read: {error}\n"
        f"   Going back by routes and records: {model} leaves {live}."
    )


def _now_needs_no_main(environment: str, model: str, step: str) -> str:
    """What to type where the pull request cannot be opened, and users are waiting."""
    at_once = f"`promobot rollback {model} --env {environment} --now` puts users back without Git and GitHub."
    return f"{step} {at_once}".strip()
