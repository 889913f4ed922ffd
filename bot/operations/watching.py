"""``promobot watch``: look at what is being rolled out, and do what is due of it.

A look reads the routes, the records, and what the gateways count; :func:`bot.domain.rollout.look` decides. A breach
is exactly ``rollback --now`` under an id made of the rollout's, so it is done once, however many watch and wherever
one is killed. Nothing is kept but in the records: a watch that starts anew forgets only when its later sequences
began. It holds no lease while it waits.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from bot.concurrency import lazy
from bot.domain.bundled import entries_of
from bot.domain.plan import aimed_at, serves
from bot.domain.policy import Decided
from bot.domain.promotion import thread_of
from bot.domain.record import verified_bundles, verified_entries
from bot.domain.release import Lane, Slot
from bot.domain.rollout import (
    Baked,
    Bakes,
    Baking,
    Breach,
    Next,
    Pair,
    Rules,
    Seen,
    Table,
    UnderWay,
    Verdict,
    Waits,
    baking_in,
    flips_in,
    look,
    pair_of,
    start_of,
    together,
)
from bot.domain.way_back import choose, choose_bundle
from bot.errors import LeaseLost, OutsideError, PromobotError, Refused
from bot.exit_codes import ExitCode
from bot.operations import Say
from bot.operations.counts import Counted, count
from bot.operations.earned import Earned, Tries, earned
from bot.operations.opening import Openings, deploy_what_waited
from bot.operations.path import Doors, carry
from bot.operations.path import Memory as OfPath
from bot.operations.policies import Memory as OfPolicies
from bot.operations.policies import policies
from bot.records.ledger import Ledger, RolloutNote
from bot.render import rollout as words
from bot.settings import Bake
from bot.share.lease import Busy

if TYPE_CHECKING:
    from bot.domain.bundle import Bundle
    from bot.domain.record import DeploymentRecord
    from bot.domain.routes import RouteTable
    from bot.domain.shadowed import Copies
    from bot.domain.traffic import Traffic
    from bot.platform import Platform
    from bot.settings import Environment

log = logging.getLogger("bot.watch")

State = Literal["bakes", "baked", "put back", "told", "next step", "held", "waits"]
"""
bakes      nothing is due yet
baked      it has done well for as long, and for as many requests, as the settings say
put back   it breached its rules, and users have the version before again
told       it breached its rules, and stays: the settings say so, or nothing can be gone back to
next step  this step is baked, and more users get it
held       this step is baked, and the next one waits for a window, or for the end of a freeze
waits      something is due and could not be done now; the next look tries again
"""
_AGAIN_SECONDS = (5.0, 10.0, 20.0, 40.0, 60.0)
"""Pauses after one failure, two, and so on, before the same is tried again."""
_HELD = timedelta(minutes=5)
"""Pause before a step that is held is tried again."""


@dataclass(frozen=True)
class Watched:
    """One step, as a look found it."""

    rollout: str
    model: str
    version: int
    before: int | None
    percent: int
    since: datetime
    state: State
    said: str
    table: Table | None = None

    @property
    def line(self) -> str:
        """Return it for a terminal, with the table where it broke its rules."""
        line = f"{self.model} {self.version}: {self.said}"
        is_bad = self.table is not None and any(one.is_breach for one in self.table.signals)
        return f"{line}\n{words.in_columns(self.table)}" if self.table is not None and is_bad else line


@dataclass(frozen=True)
class Looked:
    """What one look at an environment found, and did."""

    environment: str
    at: datetime
    rollouts: tuple[Watched, ...] = ()
    shadows: tuple[Earned, ...] = ()
    """The shadows that may earn their promotion."""
    policies: tuple[Decided, ...] = ()
    """What policies decided, and did."""
    has_rules: bool = True
    """Whether the settings have rules of a bake, or of a shadow."""

    @property
    def exit_code(self) -> ExitCode:
        """1 where something breached its rules, or what is due could not be done; else 0."""
        looked: tuple[Watched | Earned | Decided, ...] = (*self.rollouts, *self.shadows, *self.policies)
        states = {one.state for one in looked}
        return ExitCode.FAILED if states & {"put back", "told", "waits"} else ExitCode.DONE

    @property
    def lines(self) -> list[str]:
        """A line for each rollout, each shadow, and each decision of a policy."""
        return [one.line for each in (self.rollouts, self.shadows, self.policies) for one in each]


@dataclass(frozen=True)
class WayBackAsked:
    """The ``rollback --now`` that a breach asks for: under which id, to which version, and why."""

    id: str
    model: str
    to: int
    reason: str
    note: str
    """The paragraph of the revert that says who asked, with the table."""


PutBack = Callable[["Platform", WayBackAsked, Say], str]
"""Carries a rollback out, once under its id, and returns what came of it."""


class Monitored(Protocol):
    """Notes for monitors what looks find."""

    def looked(self, environment: str) -> None:
        """Note a look that ended well."""

    def look_failed(self, environment: str) -> None:
        """Note a look that failed."""

    def deployments(self, environment: str, records: Iterable[DeploymentRecord]) -> None:
        """Note all deployment records, oldest first."""


@dataclass(frozen=True)
class PutOff:
    """Something is due and was tried so often; it is not tried again ``until`` then, and stands so."""

    tries: int
    until: datetime
    state: State
    said: str


@dataclass
class Memory:
    """What one watch keeps between its looks. Who loses it looks at less, and does nothing else."""

    records: list[DeploymentRecord] = field(default_factory=list)
    over: set[str] = field(default_factory=set)
    """The rollouts of which nothing more is due."""
    starts: dict[str, dict[int, Mapping[str, Pair]]] = field(default_factory=dict)
    """What each gateway had counted when a later sequence began, by rollout and step."""
    earlier: dict[str, int] = field(default_factory=dict)
    """The number of requests before each step that goes on counting, by rollout and step."""
    told: set[str] = field(default_factory=set)
    """The rollouts of which people know that they fail, and nobody knows whether the old version did."""
    claimed: set[str] = field(default_factory=set)
    """The breaches that this watch was the first to note."""
    shadows: Tries = field(default_factory=Tries)
    openings: Openings = field(default_factory=Openings)
    path: OfPath = field(default_factory=OfPath)
    policies: OfPolicies = field(default_factory=OfPolicies)
    put_off: dict[str, PutOff] = field(default_factory=dict)
    """The steps and breaches that could not be carried out, by rollout and step."""


def watch_until_ended(
    environment: str,
    open_platform: Callable[[], Platform],
    *,
    put_back: PutBack,
    open_doors: Callable[[], AbstractContextManager[Doors]],
    every_seconds: float,
    metrics: Monitored,
) -> None:
    """Look again and again until SIGTERM or SIGINT, which let a look under way end.

    Each look reads the settings anew, so it follows the checkout. Errors are logged; the next look tries again.
    """
    memory, ended = Memory(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    told: dict[str, str] = {}
    while not ended.is_set():
        began = time.monotonic()
        try:
            with open_platform() as platform, open_doors() as doors:
                found = watch(platform, memory, put_back=put_back, say=log.info, doors=doors)
            metrics.deployments(environment, memory.records)
            metrics.looked(environment)
            _tell_what_changed(found, told)
        except (PromobotError, LeaseLost) as error:
            metrics.look_failed(environment)
            _say_once(told, "", f"the look failed, and is tried again: {error}", log.error)
        ended.wait(max(every_seconds - (time.monotonic() - began), 0.0))


def _tell_what_changed(found: Looked, told: dict[str, str]) -> None:
    told.pop("", None)
    if found.lines:
        told.pop("nothing", None)
    else:
        _say_once(told, "nothing", words.nothing(found.environment, has_rules=found.has_rules), log.info)
    each: tuple[Watched | Earned | Decided, ...] = (*found.rollouts, *found.shadows, *found.policies)
    for one in each:
        # The number of requests changes at each look, and nobody waits for it.
        key = one.state if one.state in ("bakes", "listens") else f"{one.state}: {one.said}"
        which = f"{one.kind} {one.pull_request}" if isinstance(one, Decided) else one.version
        what = f"{type(one).__name__} {one.model} {which}"
        if told.get(what) != key:
            told[what] = key
            (log.warning if one.state in ("put back", "told", "waits") else log.info)("%s", one.line)


def _say_once(told: dict[str, str], what: str, said: str, say: Callable[[str], object]) -> None:
    if told.get(what) != said:
        told[what] = said
        say(said)


def watch(
    platform: Platform,
    memory: Memory,
    *,
    put_back: PutBack,
    say: Say,
    doors: Doors | None = None,
    now: datetime | None = None,
) -> Looked:
    """Look once, and do what is due; raise where routes or records cannot be read.

    ``doors`` reach the environment before this one; without them nothing is carried on from there.
    """
    now = now or datetime.now(UTC)
    table = platform.share.routes.read(platform.environment)
    memory.records = platform.ledger.with_new(memory.records)
    found = rollouts(platform.settings, table, memory.records)
    due = [(one, rules) for one, rules in found if one.id not in memory.over and not _is_over(platform, one, memory)]
    ask = lazy(partial(_ask_gateways, platform))
    counted = CountedBy.of(ask()) if due else CountedBy({})
    judged = [
        (one, rules, look(one, seen_of(platform, one, rules, counted, memory, now), rules, now)) for one, rules in due
    ]
    # Users wait for a way back, and the step of another model may take its time.
    judged.sort(key=lambda each: not isinstance(each[2], Breach))
    looked = [_watched(platform, *each, memory, now, put_back, say) for each in judged]
    looked.sort(key=lambda one: one.model)
    shadows = earned(platform, table, memory.records, memory.shadows, say=say, counted=ask, now=now)
    decided = deploy_what_waited(platform, memory.openings, memory.records, say=say, now=now)
    if decided or any(one.state in ("put back", "next step") for one in looked):
        # What follows decides by what users get now, not by what they got when this look began.
        memory.records = platform.ledger.with_new(memory.records)
    if doors is not None:
        decided += carry(platform, doors, memory.records, memory.path, say=say, now=now)
    decided += policies(platform, memory.records, memory.policies, say=say, now=now)
    has_rules = _has_rules(platform.settings)
    return Looked(platform.environment, now, tuple(looked), shadows, decided, has_rules)


def _has_rules(settings: Environment) -> bool:
    if settings.path is not None or settings.windows or settings.freezes:
        return True
    rollouts = any(rules.watched is not None for rules in settings.rollout.values())
    return rollouts or settings.merge is not None or any(gate.shadow is not None for gate in settings.gates.values())


def rollouts(settings: Environment, table: RouteTable, records: list[DeploymentRecord]) -> list[tuple[Baking, Rules]]:
    """Return what is being rolled out, or was and is not known to be baked, with the rules of its bake.

    Of a bundle it is the part that users ask. A canary is watched also where the settings no longer ask for it: some
    users have it, and it must not stay for ever.
    """
    found: list[tuple[Baking, Rules]] = []
    for model, route in sorted(table.models.items()):
        rules = settings.rollout_of(model).watched or (Bake() if route.canary else None)
        if rules is None or route.live is None or settings.parts_with(model)[-1] != model:
            continue
        slot = Slot(settings.environment, model, Lane.LIVE)
        if (step := baking_in(records, table, slot)) is not None:
            found.append((step, rules))
    return found


def bakes(platform: Platform, table: RouteTable, now: datetime) -> tuple[Bakes, ...]:
    """Return what bakes, and change nothing; raise where records cannot be read."""
    memory = Memory(records=platform.ledger.deployments())
    return standing(platform, table, memory, lambda: CountedBy.of(_ask_gateways(platform)), now)


def standing(
    platform: Platform, table: RouteTable, memory: Memory, ask: Callable[[], CountedBy], now: datetime
) -> tuple[Bakes, ...]:
    """Return the same of the records in ``memory``; ``ask`` returns what gateways count, where something bakes."""
    due = [
        (step, rules)
        for step, rules in rollouts(platform.settings, table, memory.records)
        if not _is_over(platform, step, memory)
    ]
    counted = ask() if due else CountedBy({})
    found = []
    for step, rules in due:
        verdict = look(step, seen_of(platform, step, rules, counted, memory, now), rules, now)
        said = words.standing(verdict, rules, step.slot.environment)
        found.append(Bakes(step.slot.model, step.new.version, step.percent, said))
    return tuple(found)


def _is_over(platform: Platform, step: Baking, memory: Memory) -> bool:
    notes = platform.ledger.rollout_notes(step.id)
    told = notes.get("breach")
    if "baked" in notes or (told is not None and told.only_told):
        memory.over.add(step.id)
    return step.id in memory.over


# --- what gateways count -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CountedBy:
    """What each gateway counted, by its name; None where it does not answer, or is too old to say."""

    gateways: Mapping[str, Traffic | None]
    compared: Mapping[str, Mapping[str, Copies]] = field(default_factory=dict)
    """The copies to the version before, by gateway and model."""

    @classmethod
    def of(cls, counted: Counted) -> CountedBy:
        """Return it of what the gateways said."""
        said = {name: told for name, told in counted.items() if not isinstance(told, PromobotError)}
        traffic = {name: said[name].traffic if name in said else None for name in counted}
        return cls(traffic, {name: told.compared or {} for name, told in said.items()})

    @property
    def bounds(self) -> tuple[float, ...]:
        """The ends of the histogram's cells; none where gateways do not agree on them."""
        found = {traffic.bounds for traffic in self.gateways.values() if traffic is not None}
        return found.pop() if len(found) == 1 else ()

    def pairs(self, step: Baking, rules: Rules) -> dict[str, Pair]:
        """Return what each gateway counted of a step, without those that counted nothing of it."""
        model = step.slot.model
        found = {
            name: pair_of(
                traffic.of(model), step, flips_in(self.compared.get(name, {}).get(model), step, rules.moved_by)
            )
            for name, traffic in self.gateways.items()
            if traffic is not None
        }
        return {name: pair for name, pair in found.items() if pair is not None}

    def missing(self, pairs: Collection[str]) -> tuple[str, ...]:
        """Return the gateways of which nobody knows what they counted of a rollout: all but these."""
        return tuple(sorted(name for name in self.gateways if name not in pairs))


def _ask_gateways(platform: Platform) -> Counted:
    return count(platform.serving(reads_only=True), limit=platform.settings.concurrency.servers)


def seen_of(
    platform: Platform, step: Baking, rules: Rules, counted: CountedBy, memory: Memory, now: datetime
) -> Seen:
    """Return what was counted of a rollout from its beginning, and since each later sequence began."""
    pairs = counted.pairs(step, rules)
    starts = memory.starts.setdefault(f"{step.id}/{step.step}", {})
    number = start_of(step, rules, now)
    if number is not None and number not in starts and pairs:
        starts[number] = pairs
    later = []
    for began in starts.values():
        since = {name: pair.after(began[name]) for name, pair in pairs.items() if name in began}
        # Of a gateway that began anew in between nobody knows, so it is left out of what began before.
        if (pair := together(one for one in since.values() if one is not None)) is not None:
            later.append(pair)
    earlier = _made_before(platform.ledger, step, memory)
    return Seen(together(pairs.values()), counted.bounds, tuple(later), counted.missing(pairs), earlier)


def _made_before(ledger: Ledger, step: Baking, memory: Memory) -> int:
    """Return how many requests the new version had answered when the step before was baked."""
    if step.step_before is None:
        return 0
    key = f"{step.id}/{step.step}"
    if key not in memory.earlier:
        note = ledger.rollout_notes(step.id).get(step.step_before)
        if note is None:  # somebody else made this step
            return 0
        memory.earlier[key] = note.table.new_requests if note.table else 0
    return memory.earlier[key]


# --- what is due ---------------------------------------------------------------------------------------------------


def _watched(
    platform: Platform,
    step: Baking,
    rules: Rules,
    verdict: Verdict,
    memory: Memory,
    now: datetime,
    put_back: PutBack,
    say: Say,
) -> Watched:
    state, said = _carried_out(platform, step, rules, verdict, memory, now, put_back, say)
    return Watched(
        rollout=step.id,
        model=step.slot.model,
        version=step.new.version,
        before=step.old.version if step.old else None,
        percent=step.percent,
        since=step.since,
        state=state,
        said=said,
        table=verdict.table,
    )


def _carried_out(
    platform: Platform,
    step: Baking,
    rules: Rules,
    verdict: Verdict,
    memory: Memory,
    now: datetime,
    put_back: PutBack,
    say: Say,
) -> tuple[State, str]:
    """Do what is due; return how it stands, and what to say of it."""
    if isinstance(verdict, Waits):
        return "bakes", words.baking(verdict, rules)
    # A step that cannot be made keeps nobody from putting back what breaches its rules in the meantime.
    what = f"{step.id}/{step.step}/{'breach' if isinstance(verdict, Breach) else 'step'}"
    if (put_off := memory.put_off.get(what)) is not None and now < put_off.until:
        return put_off.state, put_off.said
    state: State
    try:
        match verdict:
            case Baked():
                _note(platform.ledger, step, "baked", verdict.table, now)
                memory.over.add(step.id)
                state, said = "baked", "baked"
            case Next() if (shut := platform.settings.closed(now)) is not None:
                state = "held"
                said = f"{step.percent} % is baked; {shut.said}, and the next step waits for that"
            case Next():
                _note(platform.ledger, step, step.step, verdict.table, now)
                state, said = _go_on(platform, step, verdict.percent, say)
            case UnderWay():
                state, said = _go_on(platform, step, verdict.percent, say)
            case Breach():
                state, said = _break_off(platform, step, verdict, memory, now, put_back, say)
    except Busy:
        state, said = "bakes", "the next step waits for a deployment that is under way"
    except _StepHeld as held:
        # To look whether it is over takes a whole deployment.
        state, said = "waits", str(held)
        memory.put_off[what] = PutOff(1, now + _HELD, state, said)
    except (PromobotError, LeaseLost) as error:
        state, said = "waits", f"what is due could not be done, and is tried again: {error}"
        tries = put_off.tries if put_off else 0
        pause = timedelta(seconds=_AGAIN_SECONDS[min(tries, len(_AGAIN_SECONDS) - 1)])
        memory.put_off[what] = PutOff(tries + 1, now + pause, state, said)
    return state, said


class _StepHeld(Refused):
    """The next step is held as any change is."""


def _go_on(platform: Platform, step: Baking, percent: int, say: Say) -> tuple[State, str]:
    """Give more users the new version, by a deployment of the same change; or finish that deployment."""
    from bot.operations.rollout import advance

    done = advance(platform, step.slot.model, percent, rollout=step.id, say=say)
    own = [record for record in done.records if record.slot == step.slot]
    if not own:
        for held in done.held:
            if held.slot == step.slot:
                why = f"the step to {percent} % is held: {held.hold.why}; {held.hold.next_step}"
                raise _StepHeld(why)
        return "bakes", f"another run makes the step to {percent} %"
    if not own[-1].is_well:
        raise Refused(f"the step to {percent} % did not go well: {own[-1].problem}")
    if step.is_under_way:
        return "next step", f"the step to {percent} % was cut off, and is finished"
    return "next step", f"{step.percent} % is baked, {percent} % of requests get it now"


def _break_off(
    platform: Platform, step: Baking, breach: Breach, memory: Memory, now: datetime, put_back: PutBack, say: Say
) -> tuple[State, str]:
    target = _way_back(platform, step, memory)
    if not breach.only_told and target is None:
        breach = replace(breach, only_told="no version was verified here to which it could go back")
    if breach.only_told or target is None:
        return _told(platform, step, breach, memory, now)
    if _note(platform.ledger, step, "breach", breach.table, now):
        memory.claimed.add(step.id)
    elif step.id not in memory.claimed and not _is_mine_to_do(platform, step):
        return "put back", "another watch has put it back"
    return _put_back(platform, step, breach, target, put_back, say)


def _told(platform: Platform, step: Baking, breach: Breach, memory: Memory, now: datetime) -> tuple[State, str]:
    """Tell it once, and go on looking at a breach that may still be put back."""
    note = "unclear" if breach.is_open else "breach"
    if breach.is_open and (step.id in memory.told or note in platform.ledger.rollout_notes(step.id)):
        memory.told.add(step.id)
        return "bakes", f"Slack has the breach, and watch goes on looking: {breach.only_told}"
    _tell(platform, step, breach)
    # Noted once Slack has it: until then each look tries to tell it, and Slack shows it once.
    _note(platform.ledger, step, note, breach.table, now, only_told=breach.only_told)
    (memory.told if breach.is_open else memory.over).add(step.id)
    return "told", words.told(step, breach)


def _way_back(platform: Platform, step: Baking, memory: Memory) -> int | None:
    """Return the version to which a rollback goes: the last verified one but what breaches; None where none is."""
    model, quarantined = step.slot.model, platform.ledger.quarantined().keys()
    of_model = [one for one in memory.records if one.slot == step.slot]
    parts = platform.settings.parts_with(model)
    if len(parts) > 1:
        left = next((one.bundle for one in reversed(of_model) if one.id == step.id), None)
        verified = [one for one in verified_bundles(of_model, step.slot) if _is_whole(one, parts)]
        bundle = choose_bundle(
            verified, leaves=left.digest if left else "", model=model, quarantined=quarantined, to_version=None
        )
        return entries_of(bundle)[model].version if bundle else None
    entries = [entry for _, entry in verified_entries(of_model, step.slot)]
    entry = choose(entries, leaves=step.new, quarantined=quarantined, to_version=None)
    return entry.version if entry else None


def _is_whole(bundle: Bundle, parts: tuple[str, ...]) -> bool:
    return bundle.is_whole and tuple(bundle.models) == tuple(parts)


def _is_mine_to_do(platform: Platform, step: Baking) -> bool:
    """Wait for the watch that noted the breach first; return whether it left the rollback undone.

    It has the lease while it goes back, and a process that is gone has none.
    """
    with platform.serving().share.lease(wait_seconds=platform.settings.deadlines.turn_seconds):
        return _is_routed(platform, step)


def _is_routed(platform: Platform, step: Baking) -> bool:
    """Whether any users get the new version by the routes."""
    table = platform.share.routes.read(platform.environment)
    return serves(aimed_at(table.route(step.slot.model), step.slot.lane), step.new)


def _put_back(
    platform: Platform, step: Baking, breach: Breach, target: int, put_back: PutBack, say: Say
) -> tuple[State, str]:
    """Roll back as a person does, now."""
    say(f"{words.where(step)}: {words.why(breach.table)}; going back to {target}")
    way = WayBackAsked(
        id=f"watch-{step.id}",
        model=step.slot.model,
        to=target,
        reason=words.why(breach.table),
        note=words.asked_by_watch(breach.table),
    )
    try:
        done = put_back(platform, way, say)
    except OutsideError:
        raise
    except PromobotError as error:
        _tell(platform, step, breach, problem=str(error))
        raise
    if _is_routed(platform, step):
        raise Refused(f"the rollback did not bring users back: {done}")
    return "put back", f"put back, because {words.why(breach.table)}\n{done}"


def _tell(platform: Platform, step: Baking, breach: Breach, *, problem: str = "") -> None:
    thread = thread_of(step.slot, step.new.digest) if platform.settings.slack.may else ""
    platform.slack.deliver(words.message(step, breach, thread=thread, problem=problem))


def _note(ledger: Ledger, step: Baking, what: str, table: Table, now: datetime, *, only_told: str = "") -> bool:
    """Keep what was decided; return whether nobody did before."""
    who = f"{socket.gethostname()}/{os.getpid()}"
    note = RolloutNote(rollout=step.id, what=what, at=now, by=who, table=table, only_told=only_told)
    return ledger.note_rollout(note)
