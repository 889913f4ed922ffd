"""Windows and freezes on the real parts: what is held, what goes out when they end, and how often it is tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest

from bot import environment_files
from bot.domain.desired import Change, Desired, Entry
from bot.domain.hold import Held, Hold
from bot.domain.policy import Decided
from bot.domain.quarantine import QuarantineEvent
from bot.domain.record import DeploymentRecord, Outcome
from bot.errors import Unavailable
from bot.operations.deploy import Deployed
from bot.operations.holding import MainAsks
from bot.operations.opening import (
    AGAIN,
    CLOCKS_APART,
    LIFTED_FOR,
    PAUSES,
    Openings,
    at_opening,
    deploy_what_waited,
)
from bot.operations.watching import Memory, watch
from bot.platform import Platform
from bot.sandbox.platform import BOT
from tests.operations.test_github_away import _stopped
from tests.operations.world import World
from tests.test_settings import GOOD

LONG_AGO = "2020-01-01T00:00:00+00:00"


def shut(zone: str = "Asia/Seoul") -> tuple[str, str]:
    """Return a window that is shut now, and how its next opening reads: the day after tomorrow."""
    now = datetime.now(UTC)
    day = now + timedelta(days=2)
    return f"{day:%a} 10:00-16:00 {zone}", f"{day:%Y-%m-%d} 10:00 KST"


def over(ended: timedelta = timedelta(seconds=1)) -> dict[str, Any]:
    """Return a freeze that has just ended."""
    return {"start": LONG_AGO, "end": (datetime.now(UTC) - ended).isoformat(), "reason": "year end"}


def watched(world: World) -> dict[str, Any]:
    said = world.bot("watch", "--env", "dev", "--once")
    assert said.err == "" or said.code == 0, said
    return said.document


@pytest.mark.slow
def test_outside_its_windows_what_is_new_is_held_and_the_way_back_passes(world: World) -> None:
    model = world.model()
    first = world.served(world.register(model))
    second = world.served(world.register(model, "better"))
    world.merged(world.register(model, "best"))
    window, opens = shut()
    world.configure("dev", windows=[window])
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    why = f"nothing new goes out until {opens} (windows: {window})"
    assert said.out == (
        f"held: {model} 2 → 3 in dev, version 2 goes on answering: {why}; the way back stays open; "
        "wait until then: `promobot watch` deploys it; without it, promobot deploy --env dev\n"
    )
    assert world.version(model) == second.version and world.reverts(model) == []
    assert f"⏸ {why}\n" in world.words("status", "--env", "dev").out
    assert f"{why}; the way back stays open" in world.words("doctor", "--env", "dev").out
    assert watched(world)["policies"] == []
    world.desire(model, first.entry)
    assert world.deploy().code == 0
    assert world.version(model) == 1


def test_what_waited_goes_out_when_it_may_and_once(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.merged(world.register(model, "better"))
    world.configure("dev", windows=[shut()[0]])
    assert world.deploy().code == 1 and watched(world)["policies"] == [] and world.version(model) == 1
    world.configure("dev", windows=[], freezes=[over()])
    (found,) = watched(world)["policies"]
    assert (found["model"], found["kind"], found["state"]) == (model, "deploy", "done")
    assert found["said"] == "version 2 went out, which had to wait"
    assert world.version(model) == 2 and len(world.records(model)) == 2
    assert watched(world)["policies"] == [] and len(world.records(model)) == 2


@pytest.mark.slow
def test_two_that_watch_deploy_it_once_and_a_git_that_is_away_is_asked_again(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    world.merged(world.register(model, "better"))
    world.configure("dev", freezes=[over()])
    one, now = Openings(), datetime.now(UTC)

    def look(memory: Openings, now: datetime) -> tuple[Decided, ...]:
        settings = environment_files.load(world.root, "dev")
        with Platform(settings, world.endpoints.variables(login=BOT)) as platform:
            return deploy_what_waited(platform, memory, platform.ledger.deployments(), say=lambda _: None, now=now)

    with _stopped(world):
        (found,) = look(one, now)
        assert found.state == "waits" and "could not be deployed, and is tried again: " in found.said, found
        assert look(one, now + AGAIN / 2) == (found,), "nobody is asked in between"
    with ThreadPoolExecutor(2) as both:
        done = [*both.map(lambda memory: look(memory, now + AGAIN), (one, Openings()))]
    states = [decided.state for found in done for decided in found]
    assert states.count("done") == 1, done
    assert world.version(model) == 2 and [r.outcome for r in world.records(model)] == ["succeeded"] * 2


@pytest.mark.slow
def test_a_rollout_waits_with_its_next_step_until_then(world: World) -> None:
    model = world.model()
    bake = {"minutes": 0.0001, "min_requests": 1, "max_error_rate": 0.5, "max_p95_worse": 50}
    world.configure("dev", rollout={model: {"steps": [50, 100], "bake": bake}})
    world.served(world.register(model))
    world.merged(world.register(model, "better"))
    assert world.deploy().code == 0
    for _ in range(40):
        world.ask(model), world.ask(model, gateway=1)
    window, opens = shut()
    world.configure("dev", windows=[window])
    (found,) = watched(world)["rollouts"]
    assert (found["state"], found["percent"]) == ("held", 50)
    assert found["said"] == (
        f"50 % is baked; nothing new goes out until {opens} (windows: {window}), and the next step waits for that"
    )
    world.configure("dev", windows=[])
    (found,) = watched(world)["rollouts"]
    assert found["state"] == "next step"


# --- by an injected clock ------------------------------------------------------------------------------------------


def entry(version: int) -> Entry:
    return Entry(version=version, digest=f"sha256:{version:064x}", run=f"{version:032x}")


CHANGE = Change("dev", "models", "churn", entry(1), entry(2))
HOLD = Hold("freeze", "year end", "wait")
END = datetime(2026, 12, 1, tzinfo=UTC)


def record(outcome: Outcome) -> DeploymentRecord:
    return DeploymentRecord(
        id="dev-00000002-churn",
        environment="dev",
        section="models",
        model="churn",
        before=entry(1),
        after=entry(2),
        commit="c0ffee",
        started_at=END,
        finished_at=END,
        outcome=outcome,
        criteria=(),
        steps=(),
        problem="" if outcome == "succeeded" else "a gateway does not answer",
    )


@dataclass
class Asking:
    """What main asks for, and how deployments end; it counts both."""

    changes: list[Change] = field(default_factory=lambda: [CHANGE])
    held: list[Held] = field(default_factory=list)
    outcomes: Sequence[Outcome | Unavailable] = ()
    events: dict[str, QuarantineEvent] = field(default_factory=dict)
    looks: int = 0
    deployments: int = 0

    def quarantine(self, known: Mapping[str, QuarantineEvent]) -> Mapping[str, QuarantineEvent]:
        return {**known, **self.events}

    def asked(self) -> MainAsks:
        self.looks += 1
        return MainAsks(Desired(environment="dev"), tuple(self.held), tuple(self.changes))

    def deploy(self) -> Deployed:
        outcome = self.outcomes[min(self.deployments, len(self.outcomes) - 1)]
        self.deployments += 1
        if isinstance(outcome, Unavailable):
            raise outcome
        if outcome == "succeeded":
            self.changes = []
        return Deployed("dev", "c0ffee", records=(record(outcome),))


FREEZE = f"\nfreezes:\n  - start: {LONG_AGO}\n    end: {END.isoformat()}\n    reason: year end\n"
SETTINGS = environment_files.parse(GOOD + FREEZE, file="dev.yaml", environment="dev")
LOOK = timedelta(seconds=5)


def looks(world: Asking, until: timedelta, *, since: timedelta = timedelta(0)) -> list[Decided]:
    """Look every five seconds from the end of the freeze on; return what was decided, each once."""
    memory, found = Openings(), list[Decided]()
    at = END + since
    while at < END + until:
        found += [one for one in at_opening(SETTINGS, memory, (), world, at) if not found or one != found[-1]]
        at += LOOK
    return found


def test_while_it_is_shut_nobody_is_asked() -> None:
    world = Asking()
    assert looks(world, timedelta(0), since=-timedelta(hours=1)) == []
    assert world.looks == world.deployments == 0


def test_main_is_looked_at_a_few_times_after_an_opening_and_no_more() -> None:
    world = Asking(outcomes=["succeeded"])
    (done,) = looks(world, timedelta(hours=10))
    assert (done.state, world.deployments) == ("done", 1)
    assert world.looks <= CLOCKS_APART / AGAIN + 2


def test_what_a_deployment_with_another_clock_held_a_moment_later_goes_out_too() -> None:
    world, memory = Asking(changes=[]), Openings()
    world.outcomes = ["succeeded"]
    assert at_opening(SETTINGS, memory, (), world, END) == ()
    world.changes = [CHANGE]  # merged, and held by a clock that was late
    found = [at_opening(SETTINGS, memory, (), world, END + step * AGAIN) for step in range(1, 6)]
    assert [one.state for looked in found for one in looked] == ["done"]


def test_what_something_else_holds_is_not_deployed() -> None:
    world = Asking(held=[Held(CHANGE, HOLD)])
    assert looks(world, timedelta(hours=1)) == [] and world.deployments == 0


def test_a_deployment_that_fails_is_tried_again_a_few_times_and_then_a_person_is_told() -> None:
    world = Asking(outcomes=["failed"])
    *_, last = looks(world, timedelta(days=2))
    assert world.deployments == len(PAUSES) + 1
    assert (last.state, last.said) == (
        "waits",
        "what waited could not be deployed, and is not tried again; run promobot deploy --env dev: "
        "a gateway does not answer",
    )


def test_systems_that_are_away_are_asked_until_they_are_back() -> None:
    away = Unavailable("does not answer", system="Git")
    world = Asking(outcomes=[*[away] * 20, "succeeded"])
    found = looks(world, timedelta(days=2))
    assert [one.state for one in found] == ["waits", "done"] and world.deployments == 21


def test_a_later_opening_begins_anew() -> None:
    world, memory = Asking(outcomes=["failed"]), Openings()
    for step in range(60):
        at_opening(SETTINGS, memory, (), world, END + step * PAUSES[-1])
    tried = world.deployments
    windows = SETTINGS.model_copy(update={"windows": ["00:00-12:00 UTC"], "freezes": []})
    at_opening(windows, memory, (), world, END + timedelta(days=3))
    assert (tried, world.deployments) == (len(PAUSES) + 1, len(PAUSES) + 2)


def test_looks_of_a_job_that_knows_nothing_of_the_one_before_give_up_by_the_record() -> None:
    world, failed = Asking(outcomes=["failed"]), record("failed")
    for minutes in range(0, 600, 5):
        (told,) = at_opening(SETTINGS, Openings(), [failed], world, END + timedelta(minutes=minutes))
    assert world.deployments == 8, "every five minutes for 38"
    assert told.said.endswith("is not tried again; run promobot deploy --env dev: a gateway does not answer")
    before = failed.model_copy(update={"finished_at": END - timedelta(seconds=1)})
    assert at_opening(SETTINGS, Openings(), [before], world, END + timedelta(hours=9)), "it was before the opening"
    assert world.deployments == 9


# --- a person lifts a quarantine -----------------------------------------------------------------------------------

ALWAYS_OPEN = environment_files.parse(GOOD, file="dev.yaml", environment="dev")


def events(*, lifted: datetime | None = END, digest: str = CHANGE.judged_digest) -> dict[str, QuarantineEvent]:
    """Return what put a digest into quarantine, and what took it out an hour later."""
    put = QuarantineEvent(
        environment="dev",
        model="churn",
        version=2,
        digest=digest,
        lifted=False,
        reason="it failed",
        by="promobot deploy",
        at=(lifted or END) - timedelta(hours=1),
        section="models",
    )
    return {"1": put} | ({"2": put.lifted_by("alex", reason="the proxy", at=lifted)} if lifted else {})


def after_lift(world: Asking, until: timedelta, memory: Openings | None = None) -> list[Decided]:
    """Look every five seconds from the lift on, where no window and no freeze is set."""
    memory, found, at = memory or Openings(), list[Decided](), END
    while at < END + until:
        found += at_opening(ALWAYS_OPEN, memory, (), world, at)
        at += LOOK
    return found


def test_what_a_person_lifts_from_quarantine_goes_out_once_where_main_asks_for_it() -> None:
    world = Asking(outcomes=["succeeded"], events=events())
    (done,) = after_lift(world, timedelta(hours=10))
    assert (done.state, done.said, world.deployments) == ("done", "version 2 went out, which had to wait", 1)
    assert world.looks <= CLOCKS_APART / AGAIN + 2


@pytest.mark.parametrize(
    "found",
    [
        pytest.param({}, id="nothing was in quarantine"),
        pytest.param(events(lifted=None), id="it is in quarantine"),
        pytest.param(events(digest=f"sha256:{9:064x}"), id="another digest was lifted"),
        pytest.param(events(lifted=END - LIFTED_FOR - timedelta(seconds=1)), id="long ago"),
        pytest.param(
            events() | {"3": events(lifted=None)["1"].model_copy(update={"at": END + timedelta(microseconds=1)})},
            id="it failed again",
        ),
    ],
)
def test_what_waits_for_something_else_is_a_persons_to_deploy(found: dict[str, QuarantineEvent]) -> None:
    world = Asking(outcomes=["succeeded"], events=found)
    assert after_lift(world, timedelta(minutes=10)) == [] and world.deployments == 0


def test_a_lift_waits_for_the_end_of_a_freeze() -> None:
    lifted = END - timedelta(minutes=30)
    world, memory = Asking(outcomes=["succeeded"], events=events(lifted=lifted)), Openings()
    assert at_opening(SETTINGS, memory, (), world, lifted + LOOK) == () and world.looks == 0
    (done,) = at_opening(SETTINGS, memory, (), world, END)
    assert (done.state, world.deployments) == ("done", 1)


def test_a_second_lift_begins_anew_and_old_events_are_read_once() -> None:
    world, memory = Asking(outcomes=["failed"], events=events()), Openings()
    for step in range(60):
        at_opening(ALWAYS_OPEN, memory, (), world, END + step * PAUSES[-1])
    tried, world.events = world.deployments, {"3": events(lifted=END + timedelta(days=3))["2"]}
    assert memory.events.keys() == {"1", "2"}
    at_opening(ALWAYS_OPEN, memory, (), world, END + timedelta(days=3))
    assert (tried, world.deployments) == (len(PAUSES) + 1, len(PAUSES) + 2)


@pytest.mark.slow
def test_watch_deploys_what_a_person_lifted(world: World) -> None:
    model = world.model()
    world.served(world.register(model))
    better = world.register(model, "better")
    world.merged(better)
    with Platform(environment_files.load(world.root, "dev"), world.endpoints.variables(login=BOT)) as platform:
        change = Change("dev", "models", model, None, better.entry)
        assert change.release is not None
        platform.ledger.put_in_quarantine(change.release, reason="it answered wrong", by="alex")
    assert world.deploy().code == 1 and watched(world)["policies"] == [] and world.version(model) == 1
    assert world.bot("quarantine", "lift", better.entry.digest, "--env", "dev", "--reason", "the proxy").code == 0
    settings, decided_by = environment_files.load(world.root, "dev"), mock.Mock(return_value=())
    decides = mock.patch("bot.operations.watching.policies", decided_by)
    with Platform(settings, world.endpoints.variables(login=BOT)) as platform, decides:
        looked = watch(platform, Memory(), put_back=mock.Mock(), say=lambda _: None)
    (found,) = looked.policies
    assert (found.model, found.kind, found.state) == (model, "deploy", "done")
    (told,) = (call.args[1] for call in decided_by.call_args_list)
    assert told[-1].after == better.entry, "a revert of it must not merge because users had not got it before"
    assert world.version(model) == 2 and watched(world)["policies"] == [] and len(world.records(model)) == 2
