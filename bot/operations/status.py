"""``promobot status``: what is desired, what is live everywhere, why they differ, what to type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal

from bot.concurrency import SERVERS, background, map_concurrent
from bot.domain.desired import SECTIONS, Change, Desired, Section, changes
from bot.domain.hold import Held
from bot.domain.journal import Journal
from bot.domain.names import SHADOW_SUFFIX
from bot.domain.plan import Live, in_service, plan, serves, target_of
from bot.domain.record import DeploymentRecord, last_failed
from bot.domain.scope import proposal_branch, retire_branch, revert_branch
from bot.domain.silence import Silences
from bot.domain.underway import step_of
from bot.domain.users import WORST_FIRST, Users, users_of
from bot.domain.way_back import latest
from bot.errors import InvalidInput, PromobotError, Rejected
from bot.operations.deployment.admission import admit_all, held_among
from bot.operations.deployment.unfinished import read_journal
from bot.operations.following import read_ways_back
from bot.operations.holding import since_main_asks
from bot.operations.inspection import routed
from bot.operations.main_branch import Main, main_beside
from bot.operations.observe import observe
from bot.operations.past import Past
from bot.operations.proposing import desired_at, read_desired
from bot.operations.silence import noted, silent_since
from bot.render import differences as words
from bot.render.deployment import silent, unknown_workers

if TYPE_CHECKING:
    from bot.platform import Platform, Serving
    from bot.records.ledger import QuarantineEvent
    from bot.share import ModelRepository
    from bot.systems.git import Repository
    from bot.systems.github import PullRequest


LOOKED_BACK = 30
"""Among how many deployments the last failed one is looked for."""

Watched = dict[str, Silences]
"""The servers that did not answer at the previous look, by environment. A caller that looks repeatedly keeps it."""


@dataclass(frozen=True)
class ModelStatus:
    """One model on one path: what is wanted, and what each system has. None stands for "does not answer".

    ``desired`` is "unknown", and ``agrees`` None, where main cannot be read.
    """

    model: str
    section: Section
    desired: int | Literal["unknown"] | None
    routed: int | None
    tritons: dict[str, bool | None]
    gateways: dict[str, int | bool | None]
    agrees: bool | None
    pending: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """One way in which the world is not as Git says, and what to type about it."""

    kind: str
    what: str
    next_step: str


@dataclass(frozen=True)
class Status:
    """One environment, now. ``commit`` is empty, and ``unknown`` says why, where main cannot be read."""

    environment: str
    commit: str
    generation: int
    models: tuple[ModelStatus, ...]
    differences: tuple[Difference, ...]
    quarantined: tuple[str, ...] = ()
    undelivered: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())
    unknown: str = ""
    users: tuple[Users, ...] = ()
    """Those of each model that is in service, the worst first."""
    held: tuple[Held, ...] = ()
    underway_since: datetime | None = None
    """When the deployment began that is under way, or was cut off."""
    failed: DeploymentRecord | None = None
    """The newest deployment that failed, where nothing of its model was deployed since."""
    silent: Mapping[str, datetime | None] = field(default_factory=dict)
    """The servers that do not answer, and since when, as far as earlier looks saw it."""

    @property
    def in_sync(self) -> bool:
        """Whether nothing differs, as far as everybody answered."""
        return not self.differences


def statuses(platforms: Sequence[Platform], watched: Watched | None = None) -> list[Status]:
    """Look at several environments at the same time; return them in their order.

    ``watched`` is what somebody who looks again and again keeps between the looks.
    """
    look = partial(status, watched=watched)
    if len(platforms) == 1:
        return [look(platforms[0])]
    return map_concurrent(platforms, look, limit=SERVERS)


@dataclass(frozen=True)
class Look:
    """One look at an environment: what was found, what everybody had, and main, None where it cannot be read."""

    found: Status
    live: Live
    desired: Desired | None


def status(platform: Platform, watched: Watched | None = None) -> Status:
    """Look at what everybody says of itself, change nothing; what takes longer is left to drift."""
    return looked(platform, watched).found


def looked(platform: Platform, watched: Watched | None = None) -> Look:
    """Return the status, and also what the look saw: ``drift`` goes on from there.

    ``watched`` holds the servers that did not answer at the previous look, by environment. The function updates it.
    """
    settings, systems = platform.settings, platform.serving(reads_only=True)
    problems: list[str] = []
    with (
        # Git, GitHub, and all that serves: who waits for an answer waits for the slowest of the three only.
        main_beside(platform, within_seconds=settings.deadlines.request_seconds) as look,
        background(partial(_open_pull_requests, platform), name="pull requests") as opened,
    ):
        live, now = observe(settings, systems), datetime.now(UTC)
        looks = [noted(systems.share, problems.append)]
        if watched is not None:
            looks.append(watched.get(settings.environment, Silences()).after(live.silent, at=now))
            watched[settings.environment] = looks[-1]
        silences = silent_since(live, looks, systems.gateways, at=now)
        outbox = tuple(systems.share.outbox.read())
        journal = _journal(systems.share)
        ways, unreadable = read_ways_back(systems.share)
        main = look()
        if isinstance(main, InvalidInput):
            raise main  # Git answers: what main says is wrong, and its file, line and key are named
        pending: list[_Opened] = []
        if isinstance(main, Main):
            pending, unclear = _pending(settings.environment, main.repository, opened)
            problems += unclear
        # Where main is not known, what serves is still compared with the routes.
        desired = main.desired if isinstance(main, Main) else in_service(live.routes, {})
        # Its findings about live models need only the version, which the routes know.
        todo = plan(desired, live, known={})
        read = _of_the_records(Past(platform), todo.changes if isinstance(main, Main) else ())
        held = (
            since_main_asks(platform, main.repository, read.held, problems.append) if isinstance(main, Main) else []
        )
    commit, unknown = (main.commit, "") if isinstance(main, Main) else ("", str(main))
    differences = [Difference("main", words.unknown(unknown), words.doctor(settings.environment))] if unknown else []
    differences += [
        Difference("settings", str(mistake), words.correct(settings.environment)) for mistake in settings.mistakes
    ]
    differences += [
        Difference("revert", words.revert_waits(way), words.deploy(settings.environment))
        for way in latest(ways).values()
    ]
    differences += [Difference("revert", said, words.open_it_anew()) for said in unreadable]
    differences += (
        [Difference("records", words.records_unread(read.why_not), words.doctor(settings.environment))]
        if read.why_not
        else []
    )
    differences += [
        Difference("silent", silent(n, why), words.doctor(settings.environment)) for n, why in todo.silent.items()
    ]
    deploy = words.deploy(settings.environment)
    if isinstance(journal, Journal):
        deploy = words.wait_for(settings.environment)
        told = words.under_way(journal, [step_of(item, live) for item in journal.underway])
        differences.append(Difference("unfinished", told, deploy))
    elif journal is not None:
        # Who cannot read it cannot say that no deployment is under way.
        differences.append(Difference("unfinished", str(journal), journal.next_step))
    deploy = words.doctor(settings.environment) if read.why_not else deploy  # without records it refuses
    holds = {one.change: one for one in held}
    reverts = {(one.model, one.section): one.number for one in pending if one.goes_back}
    for change in todo.changes:
        if change in holds:
            hold = holds[change].hold
            kind = words.KIND_OF_HOLD.get(hold.cause, "held")
            step = words.step_about(hold, change, reverts.get((change.model, change.section)))
            differences.append(Difference(kind, words.is_held(holds[change]), step))
        else:
            differences.append(Difference("desired", words.differs(change), deploy))
    for what in routed(live.routes):
        event = read.quarantined.get(what.target.digest)
        wanted = desired.section(what.section).get(what.model)
        if event is not None and not unknown and serves(what.target, wanted):
            change = Change(settings.environment, what.section, what.model, wanted, wanted)
            said = words.serves_quarantined(what.model, what.target.version, settings.environment, event.reason)
            differences.append(Difference("quarantine", said, words.merge_revert(change)))
    for triton, missing in todo.load.items():
        differences += [Difference("triton", words.not_loaded(target, triton), deploy) for target in missing]
    differences += of_unknown_workers(settings.environment, systems)
    for gateway in todo.reload:
        table = live.gateways[gateway]
        behind = words.behind(gateway, table.generation if table else 0, live.routes.generation)
        differences.append(Difference("gateway", behind, deploy))
    differences += [Difference("slack", words.undelivered(name), deploy) for name in outbox]
    rows = [
        ModelStatus(
            model=model,
            section=section,
            desired="unknown" if unknown else entry.version if entry else None,
            routed=target.version if target else None,
            tritons={
                name: None if loaded is None else target is None or (target.triton_model, target.version) in loaded
                for name, loaded in live.tritons.items()
            },
            gateways={
                name: False if table is None else there.version if there else None
                for name, table in live.gateways.items()
                for there in [target_of(table.route(model), section) if table else None]
            },
            agrees=None if unknown else serves(target, entry),
            pending=tuple(f"#{o.number} {o.title}" for o in pending if (o.model, o.section) == (model, section)),
        )
        for section in SECTIONS
        for model in sorted(
            {*desired.section(section), *live.routes.models, *(o.model for o in pending if o.section == section)}
        )
        for entry in [desired.section(section).get(model)]
        for target in [target_of(live.routes.route(model), section)]
        # A proposal of a model that was never served is seen, too.
        if entry or target or any((o.model, o.section) == (model, section) for o in pending)
    ]
    found = Status(
        settings.environment,
        commit,
        live.routes.generation,
        tuple(rows),
        tuple(differences),
        tuple(words.in_quarantine(e.model, e.version, e.digest, e.reason) for e in read.quarantined.values()),
        outbox,
        tuple(problems),
        unknown,
        _users(rows, silences, now),
        tuple(held),
        min((i.started_at for i in journal.underway), default=None) if isinstance(journal, Journal) else None,
        read.failed,
        silences,
    )
    return Look(found, live, main.desired if isinstance(main, Main) else None)


def _journal(share: ModelRepository) -> Journal | Rejected | None:
    """Return the journal of a deployment under way, or why it cannot be read, which hides nothing else."""
    try:
        return read_journal(share)
    except Rejected as error:
        return error


def _users(rows: Sequence[ModelStatus], silences: Mapping[str, datetime | None], now: datetime) -> tuple[Users, ...]:
    """Return how the users of each model are; a shadow has none."""
    since = {name: at for name, at in silences.items() if at is not None}
    found = [
        users_of(row.model, row.routed, tritons=row.tritons, gateways=row.gateways, since=since, now=now)
        for row in rows
        if row.section == "models" and row.routed is not None
    ]
    return tuple(sorted(found, key=lambda users: WORST_FIRST.index(users.health)))


def of_unknown_workers(environment: str, systems: Serving) -> list[Difference]:
    """Return the gateways of which nobody knows all processes, by what they said when they were asked."""
    return [
        Difference("gateway", words.cannot_be_proven(gateway.name, why), words.doctor(environment))
        for gateway in systems.gateways
        if (why := unknown_workers(gateway.latest))
    ]


@dataclass(frozen=True)
class _Records:
    """The facts from the records; if they cannot be read, ``why_not`` says why and the rest is empty."""

    quarantined: Mapping[str, QuarantineEvent] = field(default_factory=dict)
    held: tuple[Held, ...] = ()
    failed: DeploymentRecord | None = None
    why_not: str = ""


def _of_the_records(past: Past, todo: Sequence[Change]) -> _Records:
    """Return what is in quarantine, what a deployment refuses, and which failed last.

    How users are is known without records, so nobody is kept from seeing it.
    """
    try:
        held = tuple(held_among(admit_all(past, todo)))
        return _Records(past.quarantined, held, last_failed(past.newest(LOOKED_BACK)))
    except PromobotError as error:
        return _Records(why_not=str(error))


def _open_pull_requests(platform: Platform) -> list[PullRequest]:
    return platform.github.open_pull_requests(prefix="promobot")


@dataclass(frozen=True)
class _Opened:
    """An open pull request of the bot, as far as it changes what one model has on one path."""

    model: str
    section: Section
    number: int
    title: str
    goes_back: bool


def _pending(
    environment: str, repository: Repository, opened: Future[list[PullRequest]]
) -> tuple[list[_Opened], list[str]]:
    """Return the open proposals and reverts; who does not answer is said, not fatal."""
    found: list[_Opened] = []
    problems: list[str] = []
    try:
        pulls = opened.result()
    except PromobotError as error:
        return found, [str(error)]
    for pull in pulls:
        for branch in (proposal_branch, revert_branch, retire_branch):
            prefix = branch(environment, "")
            if pull.branch.startswith(prefix):
                model = pull.branch.removeprefix(prefix).removesuffix(SHADOW_SUFFIX)
                try:
                    found += [
                        _Opened(model, section, pull.number, pull.title, goes_back=branch is revert_branch)
                        for section in _concerned(environment, repository, pull.head, model)
                    ]
                except PromobotError as error:
                    problems.append(f"#{pull.number}: {error}")
    return found, problems


def _concerned(environment: str, repository: Repository, head: str, model: str) -> list[Section]:
    """Return the paths on which a pull request changes what the model's entry says."""
    base = repository.merge_base(repository.head(), repository.fetch(head))
    before = desired_at(repository, environment, base) or Desired(environment=environment)
    after = read_desired(repository, environment, head)
    return [change.section for change in changes(before, after) if change.model == model]
