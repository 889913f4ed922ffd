"""What ``promobot watch`` does with what is due, where something is in its way: without servers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from bot.domain.desired import Change
from bot.domain.hold import Cause, Held, Hold
from bot.domain.record import DeploymentRecord
from bot.domain.release import Lane, Slot
from bot.domain.rollout import Baking, Breach, Next, UnderWay
from bot.domain.routes import Canary, Route, RouteTable, Target
from bot.errors import Refused
from bot.operations import watching
from bot.operations.deploy import Deployed
from bot.operations.watching import Memory, _carried_out, rollouts
from bot.records.directory import RecordStore
from bot.records.ledger import Ledger, RolloutNote
from bot.settings import Bake
from bot.share.lease import Busy
from tests.domain.entries import a_record, entry
from tests.operations.test_watching import TABLE

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
SLOT = Slot("dev", "churn", Lane.LIVE)
STEP = Baking("dev-00000002-churn", SLOT, entry(8), entry(7), since=NOW, percent=10, steps=(10, 50, 100))


def routes(canary: int | None, live: int = 7) -> RouteTable:
    divided = Canary(Target("churn", canary, entry(canary).digest), 10) if canary else None
    return RouteTable("dev", 3, {"churn": Route(Target("churn", live, entry(live).digest), canary=divided)})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    store = RecordStore(tmp_path / "records")
    store.begin()
    return Ledger(store, "dev")


@pytest.fixture
def platform(ledger: Ledger) -> Any:
    """A platform with a real record store, routes, and a Slack that keeps what it is told."""
    share = SimpleNamespace(routes=SimpleNamespace(read=lambda _: made.table))
    slack = SimpleNamespace(deliver=lambda message: made.told.append(message))
    settings = SimpleNamespace(
        parts_with=lambda model: (model,), slack=SimpleNamespace(may=None), closed=lambda _: None
    )
    made: Any = SimpleNamespace(
        environment="dev", ledger=ledger, share=share, slack=slack, settings=settings, table=routes(8), told=[]
    )
    return made


@pytest.fixture
def made() -> Iterator[list[int]]:
    """The steps that are made; each test says what comes of one."""
    steps: list[int] = []

    def advance(*_: object, **__: object) -> Deployed:
        raise AssertionError("nobody says what comes of it")

    with mock.patch("bot.operations.rollout.advance", advance):
        yield steps


def ends(steps: list[int], deployed: Deployed) -> Any:
    def advance(_: object, __: str, percent: int, **___: object) -> Deployed:
        steps.append(percent)
        return deployed

    return mock.patch("bot.operations.rollout.advance", advance)


def due(
    platform: Any, verdict: Any, memory: Memory, *, at: datetime = NOW, step: Baking = STEP, put_back: Any = None
) -> tuple[str, str]:
    return _carried_out(platform, step, Bake(), verdict, memory, at, put_back or (lambda *_: "back"), lambda _: None)


def held(cause: Cause) -> Deployed:
    change = Change("dev", "models", "churn", entry(7), entry(8))
    return Deployed("dev", "c0ffee", held=(Held(change, Hold(cause, "its evidence was revoked", "check it again")),))


# --- records --------------------------------------------------------------------------------------------------------


def test_a_record_that_is_written_after_one_with_a_greater_id_is_seen(ledger: Ledger) -> None:
    """A run writes its records in its own order, and one that was cut off is finished under its own number."""

    def recorded(number: int, model: str) -> DeploymentRecord:
        record = a_record(entry(8), number=number, at=NOW, model=model)
        ledger.add_deployment(record)
        return record

    fraud = recorded(2, "fraud")
    seen = ledger.with_new([])
    assert seen == [fraud]
    late, resumed, last = recorded(2, "churn"), recorded(1, "wine"), recorded(3, "churn")
    seen = ledger.with_new(seen)
    assert seen == [resumed, late, fraud, last] == ledger.deployments()
    with mock.patch.object(RecordStore, "get_all", return_value={}) as read:
        assert ledger.with_new(seen) == seen
    assert [list(call.args[0]) for call in read.call_args_list] == [[]], "what is known is not read again"


# --- steps ----------------------------------------------------------------------------------------------------------


def test_a_step_that_is_held_says_why_and_is_not_tried_at_each_look(platform: Any, made: list[int]) -> None:
    memory, verdict = Memory(), Next(50, TABLE)
    with ends(made, held("evidence")):
        said = due(platform, verdict, memory)
        assert said == ("waits", "the step to 50 % is held: its evidence was revoked; check it again")
        assert due(platform, verdict, memory, at=NOW + timedelta(seconds=90)) == said
        assert made == [50], "each try is a whole deployment"
        due(platform, verdict, memory, at=NOW + timedelta(minutes=6))
    assert made == [50, 50]


def test_a_breach_does_not_wait_for_a_step_that_is_held(platform: Any, made: list[int], ledger: Ledger) -> None:
    memory = Memory(records=[a_record(entry(7), number=1, at=NOW)])
    with ends(made, held("evidence")):
        due(platform, Next(50, TABLE), memory)

    def put_back(*_: object) -> str:
        platform.table = routes(None)
        return "churn is back at version 7"

    found = due(platform, Breach(TABLE), memory, at=NOW + timedelta(seconds=1), put_back=put_back)
    assert (found[0], found[1].splitlines()[-1]) == ("put back", "churn is back at version 7")


def test_a_step_waits_for_a_deployment_that_is_under_way_and_takes_its_lease_from_nobody(platform: Any) -> None:
    """Else the deployment that somebody began would end as one that was overtaken."""
    with mock.patch("bot.operations.rollout.advance", side_effect=Busy("busy", system="share")):
        state, said = due(platform, Next(50, TABLE), Memory())
    assert (state, said) == ("bakes", "the next step waits for a deployment that is under way")


def test_a_step_that_was_cut_off_is_finished_and_is_not_noted_as_baked(
    platform: Any, made: list[int], ledger: Ledger
) -> None:
    step = replace(STEP, percent=50, is_under_way=True)
    record = a_record(entry(8), number=4, at=NOW, before=entry(7), outcome="rolling out")
    with ends(made, Deployed("dev", "c0ffee", records=(record,))):
        assert due(platform, UnderWay(50), Memory(), step=step)[0] == "next step"
    with ends(made, Deployed("dev", "c0ffee")):
        found = due(platform, UnderWay(50), Memory(), step=step)
        assert found == ("bakes", "another run makes the step to 50 %")
    assert (made, ledger.rollout_notes(STEP.id)) == ([50, 50], {})


def test_a_canary_is_watched_also_where_the_settings_ask_for_no_rollout_any_more() -> None:
    rules = SimpleNamespace(watched=None)
    settings: Any = SimpleNamespace(environment="dev", rollout_of=lambda _: rules, parts_with=lambda model: (model,))
    record = a_record(entry(8), number=2, at=NOW, before=entry(7), outcome="rolling out")
    ((step, bake),) = rollouts(settings, routes(8), [record])
    assert (step.new, bake) == (entry(8), Bake())
    whole = a_record(entry(8), number=2, at=NOW, before=entry(7))
    assert rollouts(settings, routes(None, live=8), [whole]) == []


# --- breaches -------------------------------------------------------------------------------------------------------


def test_a_rollback_that_brings_nobody_back_is_not_called_done(platform: Any) -> None:
    memory, tried = Memory(records=[a_record(entry(7), number=1, at=NOW)]), []

    def put_back(*_: object) -> str:
        tried.append(1)
        return "The rollback of churn to version 7 in dev failed: version 8 still answers."

    state, said = due(platform, Breach(TABLE), memory, put_back=put_back)
    assert (state, "the rollback did not bring users back" in said) == ("waits", True)
    assert due(platform, Breach(TABLE), memory, at=NOW + timedelta(seconds=1), put_back=put_back)[0] == "waits"
    assert len(tried) == 1, "there is a pause before it is tried again"
    due(platform, Breach(TABLE), memory, at=NOW + timedelta(seconds=6), put_back=put_back)
    assert len(tried) == 2


def test_what_is_told_for_want_of_numbers_is_told_once_and_put_back_when_it_is_sure(
    platform: Any, ledger: Ledger
) -> None:
    memory = Memory(records=[a_record(entry(7), number=1, at=NOW)])
    unclear = Breach(TABLE, "too little is known of what 7 did", is_open=True)
    assert due(platform, unclear, memory)[0] == "told"
    assert due(platform, unclear, memory)[0] == due(platform, unclear, Memory())[0] == "bakes"
    assert len(platform.told) == 1
    assert not watching._is_over(platform, STEP, memory), "it is watched on"

    def put_back(*_: object) -> str:
        platform.table = routes(None)
        return "back"

    assert due(platform, Breach(TABLE), memory, put_back=put_back)[0] == "put back"


def test_what_the_settings_say_to_tell_only_is_over_when_it_is_told(platform: Any) -> None:
    memory = Memory(records=[a_record(entry(7), number=1, at=NOW)])
    told = Breach(TABLE, "the settings say so (on_breach: tell)")
    assert due(platform, told, memory)[0] == "told"
    assert watching._is_over(platform, STEP, Memory())


def test_a_rollback_that_is_refused_is_told_and_tried_again(platform: Any) -> None:
    memory = Memory(records=[a_record(entry(7), number=1, at=NOW)])

    def put_back(*_: object) -> str:
        raise Refused("the bytes of churn 7 are gone")

    assert due(platform, Breach(TABLE), memory, put_back=put_back)[0] == "waits"
    assert "the bytes of churn 7 are gone" in str(platform.told[0])


# --- looks -------------------------------------------------------------------------------------------------------


def test_the_requests_of_the_steps_before_are_known_from_their_notes(platform: Any, ledger: Ledger) -> None:
    step, counted = replace(STEP, percent=50), watching.CountedBy({})
    assert watching.seen_of(platform, step, Bake(), counted, Memory(), NOW).earlier == 0, "somebody else made it"
    ledger.note_rollout(RolloutNote(rollout=STEP.id, what="step-010", at=NOW, by="a/1", table=TABLE))
    assert watching.seen_of(platform, step, Bake(), counted, Memory(), NOW).earlier == TABLE.new_requests


def test_a_breach_is_put_back_before_the_step_of_another_model(platform: Any, ledger: Ledger) -> None:
    """A step is a deployment of main: it may take minutes."""
    done: list[str] = []
    wine = replace(STEP, id="dev-00000003-wine", slot=Slot("dev", "wine", Lane.LIVE))
    verdicts = {STEP.id: Next(50, TABLE), wine.id: Breach(TABLE)}
    platform.serving = lambda **_: SimpleNamespace(gateways=())
    platform.settings.concurrency = SimpleNamespace(servers=1)

    def carried_out(_: object, step: Baking, *__: object) -> tuple[str, str]:
        done.append(step.slot.model)
        return "bakes", ""

    with (
        mock.patch.object(watching, "rollouts", return_value=[(STEP, Bake()), (wine, Bake())]),
        mock.patch.object(watching, "look", side_effect=lambda step, *_: verdicts[step.id]),
        mock.patch.object(watching, "_carried_out", carried_out),
        mock.patch.object(watching, "earned", return_value=()),
        mock.patch.object(watching, "deploy_what_waited", return_value=()),
        mock.patch.object(watching, "policies", return_value=()),
        mock.patch.object(watching, "_has_rules", return_value=True),
    ):
        found = watching.watch(platform, Memory(), put_back=lambda *_: "", say=print, now=NOW)
    assert done == ["wine", "churn"]
    assert [one.model for one in found.rollouts] == ["churn", "wine"]
