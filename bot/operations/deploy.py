"""``promobot deploy``: make what is served equal to the head of main, prove it, or put everything back.

    observe → plan → publish → load on every Triton → golden requests → switch the routes → reload every gateway
            → golden requests through every gateway → alias → Slack → record → clean up

Before the switch nothing that users see has changed. After it, a failure that names its model puts that model back at
once, and any other failure all of them; then a revert pull request makes Git follow. The digest goes into quarantine
where the failure points at it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from bot.concurrency import lazy
from bot.domain.bundled import is_first_of_its_bundle, together
from bot.domain.desired import Change, Desired
from bot.domain.hold import Held
from bot.domain.plan import Live, plan, serves
from bot.domain.record import DeploymentRecord, known_entries
from bot.domain.routes import RouteTable
from bot.errors import LeaseLost, PromobotError
from bot.exit_codes import ExitCode
from bot.operations import Say
from bot.operations.cleanup import clean_up
from bot.operations.deployment.admission import Admission, admit_all, held_among, is_quarantined
from bot.operations.deployment.catching_up import catch_up
from bot.operations.deployment.conclusion import conclude, flush_outbox, make_git_follow
from bot.operations.deployment.in_place import going_back, name_version
from bot.operations.deployment.item import Item, go_on, with_changed
from bot.operations.deployment.loading import load, prove, take_in_newcomers
from bot.operations.deployment.publishing import publish
from bot.operations.deployment.repair import repair
from bot.operations.deployment.replacement import replace_all, replaced_in_place
from bot.operations.deployment.restoration import Restoration
from bot.operations.deployment.rollouts import Due, ended_by_failure, is_due, set_out
from bot.operations.deployment.run import Run
from bot.operations.deployment.switching import put_back, see_that_gateways_follow, switch, without_canaries_of
from bot.operations.deployment.telling import Tell, tell_pull_requests
from bot.operations.deployment.unfinished import Unfinished, close_journal, write_journal
from bot.operations.following import let_git_follow
from bot.operations.latest_merges import LatestMerges
from bot.operations.observe import observe
from bot.operations.origins import note_origins
from bot.operations.proposing import read_desired
from bot.operations.renewing import renew_proposals
from bot.operations.silence import note
from bot.platform import Platform, Serving
from bot.render import deployment as words
from bot.share import HeldShare

if TYPE_CHECKING:
    from bot.systems.git import Repository


STEP_WAITS_SECONDS = 5.0
"""For another deployment, before the step of a rollout is left to the next look."""


@dataclass(frozen=True)
class Deployed:
    """Result of one run of ``deploy``."""

    environment: str
    commit: str
    records: tuple[DeploymentRecord, ...] = ()
    held: tuple[Held, ...] = ()
    repaired: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    undelivered: int = 0
    reverts: Mapping[str, str] = field(default_factory=dict)
    """The addresses of the reverts that are open for what is held or failed, by branch."""

    @property
    def exit_code(self) -> ExitCode:
        """0 as desired, or on its way there · 1 something failed or is held · 4 all but Slack."""
        if self.held or self.problems or any(not record.is_well for record in self.records):
            return ExitCode.FAILED
        return ExitCode.UNCONFIRMED if self.undelivered else ExitCode.DONE


def deploy(
    platform: Platform, *, say: Say, deep: bool = False, due: Due | None = None, rehearsal: str = ""
) -> Deployed:
    """Converge the environment to the head of main; ``deep`` also looks at bytes, answers and aliases.

    ``due`` also makes a step of a rollout; nothing is done at all where that is no longer due. A step is not urgent:
    while another deployment runs, it raises Busy, and takes the lease from nobody. Where the settings have
    mistakes that the way back does not need, only ways back go on, and nothing is removed. ``rehearsal`` says who
    rehearsed the way back, from which this comes forth again, at once.
    """
    settings = platform.settings
    for mistake in settings.mistakes:
        say(f"⚠️ {mistake}. This part is left out; until the file is right, only ways back go on.")
    systems, repository = platform.serving(), platform.repository()
    seconds = settings.deadlines.turn_seconds
    wait_seconds = seconds if due is None else min(seconds, STEP_WAITS_SECONDS)
    newest = platform.ledger.newest_turn()
    with systems.share.lease(wait_seconds=wait_seconds, yields=due is not None, above=newest) as held:
        # Read under the lease: what was merged while we waited for it is deployed, too.
        commit = repository.head()
        desired = read_desired(repository, settings.environment, commit)
        # It has read the rollbacks that wait for their revert before that is opened, and their notes are dropped.
        run = Run(platform, systems, held=held, commit=commit, say=say, rehearsal=rehearsal)
        let_git_follow(platform, held, desired, say)
        if due is not None and not _is_to_be_done(run, due):
            return Deployed(settings.environment, commit)
        latest = lazy(lambda: _latest_merges(platform, repository))
        tell = partial(tell_pull_requests, latest=latest)
        done = converge(run, desired, deep=deep, tell=tell, due=due, at_once=bool(rehearsal))
        if settings.mistakes:
            say(f"nothing is cleaned up while the settings have a mistake ({settings.mistakes[0]})")
        else:
            _clean_up(platform, systems, held, say)
    # Users have what they get, and no lease is needed for the rest: the next deployment need not wait for it.
    renew_proposals(platform, say=say)
    all_records = {one.id: one for one in (*run.history, *done.records)}
    found = note_origins(platform, list(all_records.values()), latest, run.registered, say=say)
    records = tuple(one.model_copy(update={"origin": found.get(one.id, one.origin)}) for one in done.records)
    return replace(done, records=records, problems=(*done.problems, *map(str, settings.mistakes)))


def _latest_merges(platform: Platform, repository: Repository) -> LatestMerges:
    return LatestMerges(repository, platform.environment, platform.github.merged_pull_requests())


def _is_to_be_done(run: Run, due: Due) -> bool:
    """Whether the step is due, or a deployment was cut off: then that is finished, and the step comes later."""
    share = run.systems.share
    return share.journal.read() is not None or is_due(due, run.routes(), run.history)


def converge(
    run: Run,
    desired: Desired,
    *,
    deep: bool = False,
    tell: Tell | None = None,
    due: Due | None = None,
    at_once: bool = False,
    seen: Live | None = None,
) -> Deployed:
    """Make what is served equal to ``desired``: main's head, or what a person rolls back to right now.

    ``tell`` gets the records and what is held before the journal is closed: who is killed on the way tells again.
    ``due`` makes one step of a rollout; without it rollouts under way stay where they are. ``at_once`` begins none.
    ``seen`` is what everybody was just seen to have, and the share has caught up with it.
    """
    flush_outbox(run)
    if seen is None:
        there = observe(run.settings, run.systems)
        seen = catch_up(run, there)
        deep = deep or seen is not there
    records = _finish_going_back(run)
    unfinished = Unfinished(run)
    current = observe(run.settings, run.systems) if records else seen
    note(run.systems.share, current.silent, at=datetime.now(UTC), say=run.say)
    # Where a deployment was cut off, what is routed is not known to be good: what was before it is.
    before = unfinished.last_verified(current.routes)
    due = due if due is not None and is_due(due, before, run.history) else None
    stepping = _that_go_on(
        {*unfinished.stepping, *(run.settings.parts_with(due.model) if due else ())}, before, desired
    )
    bundles = {run.settings.environment: run.settings.bundles}
    desired, overruled = _go_on_back(run, unfinished, desired)
    needed = run.in_use(before)
    parts = [what.target for what in needed.only_asked]
    known, live = known_entries(run.history), replace(current, routes=before)
    todo = plan(desired, live, known=known, asked=parts)
    if stepping:  # a rollout that goes on makes a change at each step only
        undivided = replace(live, routes=before.undivided(stepping))
        todo = replace(todo, changes=plan(desired, undivided, known=known).changes)
    asked = together(todo.changes, {run.settings.environment: desired}, bundles)
    admitted = admit_all(run, [*asked, *overruled])
    on_hold = _have_git_follow_what_is_held(run, admitted)

    for shift in going_back(run, before):
        name_version(run, shift)
    restoration = Restoration(run, needed, unfinished, deep=deep)
    todo = restoration.look_at_the_share(todo)
    repairs = repair(run, todo, needed, current.routes)
    restoration.look_at_answers(current)

    items = [unfinished.item(change, admission) for change, admission in admitted.items() if not admission.held]
    items = items if at_once else set_out(run, unfinished, items, before, due)
    items += restoration.items([item.change for item in items], desired)
    abandoned = unfinished.abandoned(items)
    write_journal(run, [*items, *abandoned], before)
    items = go_on(items, partial(see_that_gateways_follow, run, todo=todo, behind=repairs.behind))
    moving = replaced_in_place(run, [item for item in items if item.may_go_on], before)
    replaced, before = replace_all(run, moving, before, underway=[*items, *abandoned])
    records += replaced
    items = [item for item in items if item.id not in {one.id for one in moving}]
    items = _bring_into_service(run, items, before, abandoned=abandoned, was_cut_off=unfinished.journal is not None)
    records += conclude(run, [*items, *abandoned])
    if tell is not None:
        tell(run, [*unfinished.recorded, *records], on_hold)
    close_journal(run)
    restoration.put_the_rest_right(desired)
    return Deployed(
        run.platform.environment,
        run.commit,
        records=tuple(records),
        held=tuple(on_hold),
        repaired=(*repairs.done, *restoration.repaired),
        problems=(*repairs.problems, *restoration.problems),
        undelivered=len(run.systems.share.outbox.read()),
        reverts=run.reverts,
    )


def _that_go_on(models: Iterable[str], table: RouteTable, desired: Desired) -> set[str]:
    """Return those of these models whose canary is what main still asks for."""
    canaries = table.canaries
    return {m for m in models if m in canaries and serves(canaries[m].target, desired.models.get(m))}


def _have_git_follow_what_is_held(run: Run, admitted: Mapping[Change, Admission]) -> list[Held]:
    """Return the changes that are held, after each that is in quarantine got its revert."""
    on_hold = held_among(admitted)
    for one in on_hold:
        is_first = is_first_of_its_bundle(one.change, (other.change for other in on_hold))
        if is_first and is_quarantined(run, one.change):
            make_git_follow(run, one.change)
    return on_hold


def _bring_into_service(
    run: Run, items: list[Item], before: RouteTable, *, abandoned: list[Item], was_cut_off: bool
) -> list[Item]:
    """Publish, load, prove and switch, as far as each item goes; return all items as they are afterwards."""
    items = go_on(items, partial(publish, run))
    items = go_on(items, partial(load, run, before=before))
    items = go_on(items, partial(prove, run, before=before))
    items = go_on(items, partial(take_in_newcomers, run, before=before))
    if ended := ended_by_failure(items, before):
        # Nothing was switched, but a canary of these bytes answers users.
        others = [item for item in items if item.id not in {one.id for one in ended}]
        items = with_changed(items, put_back(run, ended, before, underway=[*ended, *others, *abandoned]))
        before = without_canaries_of(ended, before)
    if any(item.may_go_on for item in items):
        return go_on(items, partial(switch, run, before=before, underway=[*items, *abandoned]))
    if was_cut_off:
        # Also if the routes are right already: the process that wrote that journal may be paused just before its
        # commit, and only a generation that is taken refuses it.
        put_back(run, [], before)
    return items


def _go_on_back(run: Run, unfinished: Unfinished, desired: Desired) -> tuple[Desired, list[Change]]:
    """Let a rollback that was cut off overrule main; return also what main asks for instead, which is held."""
    overruled, main = [], desired
    for back in unfinished.rollbacks(desired):
        run.say(f"{words.describe(back)}: resuming the rollback that was cut off")
        if back.after is not None:
            asked = desired.section(back.section).get(back.model)
            overruled.append(replace(back, before=back.after, after=asked))
            desired = desired.having(back.section, back.model, back.after)
    environment = run.settings.environment
    return desired, together(overruled, {environment: main}, {environment: run.settings.bundles})


def _clean_up(platform: Platform, systems: Serving, held: HeldShare, say: Say) -> None:
    """Delete versions that nothing uses. The deployment is over: an error here is reported and changes no outcome."""
    try:
        for line in clean_up(platform, systems, held=held, say=say).left:
            say(f"left by the cleanup: {line}")
    except (PromobotError, LeaseLost) as error:
        say(f"cleanup did not end, the next deployment resumes it: {error}")


def _finish_going_back(run: Run) -> list[DeploymentRecord]:
    """Finish what was cut off while it was being put back; return its records. What goes forward stays to be done."""
    unfinished = Unfinished(run)
    items = unfinished.going_back
    if not items:
        return []
    before, going_on = unfinished.last_verified(run.routes()), unfinished.going_on
    items = put_back(run, items, before, underway=[*items, *going_on])
    records = conclude(run, items)
    if going_on:
        # All are back now; these go forward again, as their own deployments.
        write_journal(run, going_on, before)
    else:
        close_journal(run)
    return records
