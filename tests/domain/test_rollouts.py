"""A change on its way to all users: what the plan, the journal, the records and a promotion make of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.domain.desired import Change, Desired
from bot.domain.ending import ending_of
from bot.domain.journal import Journal, Underway
from bot.domain.plan import Live, asked_for, in_service, plan
from bot.domain.promotion import Promotion, progress_of
from bot.domain.record import (
    CRITERIA,
    Criterion,
    DeploymentRecord,
    Outcome,
    Rollout,
    last_failed,
    undoes,
    verified_entries,
)
from bot.domain.release import Lane, Slot
from bot.domain.routes import Canary, Route, RouteTable, Target
from bot.domain.stage import Switched, outcome
from tests.domain.entries import entry

BEGAN = datetime(2026, 11, 30, 9, tzinfo=UTC)
STEPS = Rollout(id="dev-00000002-churn", percent=10, step=1, steps=(10, 50, 100), began_at=BEGAN, key="x-user-id")
SLOT = Slot("dev", "churn", Lane.LIVE)


def target(version: int) -> Target:
    return Target("churn", version, entry(version).digest)


def divided(canary: int, percent: int = 10, *, live: int = 7, generation: int = 4) -> RouteTable:
    return RouteTable(
        "dev", generation, {"churn": Route(target(live), None, Canary(target(canary), percent, "x-user-id", "s"))}
    )


KNOWN = {("churn", n, entry(n).digest): entry(n) for n in range(1, 20)}


def wanted(version: int | None) -> Desired:
    return Desired(environment="dev", models={"churn": entry(version)} if version else {})


def changes(table: RouteTable, version: int | None) -> list[tuple[int | None, int | None]]:
    found = plan(wanted(version), Live(table, {}, {}, {}), known=KNOWN).changes
    return [(c.before and c.before.version, c.after and c.after.version) for c in found]


# --- the plan -----------------------------------------------------------------------------------------------------


def test_a_canary_that_main_asks_for_goes_on_and_changes_nothing() -> None:
    assert changes(divided(8), 8) == []


@pytest.mark.parametrize(
    ("asked", "change"), [(7, (8, 7)), (9, (7, 9)), (None, (7, None))], ids=["what is live", "another", "nothing"]
)
def test_a_canary_that_main_does_not_ask_for_is_a_change(
    asked: int | None, change: tuple[int | None, int | None]
) -> None:
    assert changes(divided(8), asked) == [change]


def test_without_its_canary_it_is_the_change_that_it_was() -> None:
    assert changes(divided(8).undivided(["churn"]), 8) == [(7, 8)]
    assert changes(divided(8).undivided(["other"]), 8) == []


def test_both_versions_have_to_be_loaded() -> None:
    found = plan(wanted(8), Live(divided(8), {"t0": frozenset({("churn", 7)})}, {}, {}), known=KNOWN)
    assert found.load == {"t0": (target(8),)}


def test_what_would_leave_the_routes_as_they_are_asks_for_the_canary() -> None:
    assert in_service(divided(8), KNOWN) == wanted(7)
    assert asked_for(divided(8), KNOWN) == wanted(8)
    assert asked_for(divided(8).undivided(["churn"]), KNOWN) == wanted(7)


# --- steps and outcomes -------------------------------------------------------------------------------------------


def test_a_rollout_knows_its_next_step() -> None:
    assert (STEPS.next_percent, STEPS.is_whole) == (50, False)
    second, last = STEPS.at(50), STEPS.at(100)
    assert (second.step, second.next_percent) == (2, 100)
    assert (last.step, last.next_percent, last.is_whole) == (3, None, True)
    with pytest.raises(ValueError, match="not in"):
        STEPS.at(20)


def criteria(*failing: str) -> list[Criterion]:
    return [Criterion(name=name, holds=name not in failing, at=BEGAN, proof="") for name in CRITERIA]


@pytest.mark.parametrize(
    ("failing", "expected"),
    [((), "rolling out"), (("slack_delivered",), "rolling out"), (("fastapi_reloaded",), "put back")],
    ids=["all hold", "Slack is away", "a gateway does not follow"],
)
def test_a_step_is_rolling_out_while_all_but_slack_holds(failing: tuple[str, ...], expected: Outcome) -> None:
    assert outcome(Switched(partly=True), criteria(*failing)) == expected


def test_the_last_step_succeeds_as_any_deployment() -> None:
    assert outcome(Switched(), criteria()) == "succeeded"


# --- records ------------------------------------------------------------------------------------------------------


def record(number: int, outcome: Outcome = "rolling out", **more: Any) -> DeploymentRecord:
    at = BEGAN + timedelta(minutes=number)
    given = {
        "before": entry(7),
        "after": entry(8),
        "serving": entry(7),
        "rollout": STEPS if outcome == "rolling out" else None,
        **more,
    }
    return DeploymentRecord(
        id=f"dev-{number:08d}-churn",
        environment="dev",
        section="models",
        model="churn",
        commit="c" * 40,
        started_at=at,
        finished_at=at,
        outcome=outcome,
        criteria=(),
        steps=(),
        **given,
    )


FIRST = record(1, "succeeded", before=None, after=entry(7), rollout=None)
ALL = record(4, "succeeded", serving=entry(8), rollout=STEPS.at(100))
BACK = record(5, "succeeded", before=entry(8), after=entry(7), way_back=True)


def test_the_rollout_is_written_only_where_there_is_one() -> None:
    assert "rollout" not in FIRST.model_dump(mode="json")
    assert DeploymentRecord.model_validate_json(record(2).model_dump_json()) == record(2)


def test_nothing_goes_back_to_a_step_and_none_has_failed() -> None:
    records = [FIRST, record(2), record(3, rollout=STEPS.at(50))]
    assert [one.version for _, one in verified_entries(records, SLOT)] == [7]
    assert last_failed(records) is None
    assert undoes(records, Change("dev", "models", "churn", entry(8), entry(7)))
    assert not undoes(records, Change("dev", "models", "churn", entry(7), entry(8)))


# --- the journal --------------------------------------------------------------------------------------------------


def journal(before: RouteTable, rollout: Rollout | None) -> Journal:
    under = Underway(
        id=record(3).id,
        section="models",
        model="churn",
        before=entry(7),
        after=entry(8),
        started_at=BEGAN,
        rollout=rollout,
    )
    return Journal(turn=3, before=before.to_json(), underway=(under,))


def test_a_step_that_was_cut_off_keeps_its_percent() -> None:
    kept = Journal.model_validate_json(journal(divided(8), STEPS.at(50)).model_dump_json())
    assert kept.underway[0].rollout == STEPS.at(50)


def test_the_routes_of_a_step_are_good_once_its_record_is_written() -> None:
    before, now = divided(8, 10), divided(8, 50, generation=5)
    written = journal(before, STEPS.at(50))
    assert written.verified(now, []).models == before.models
    assert written.verified(now, [record(3, rollout=STEPS.at(50))]).models == now.models


def test_the_routes_without_a_canary_are_good_once_the_way_back_is_recorded() -> None:
    before = divided(8, 10)
    now = replace(before.undivided(["churn"]), generation=5)
    back = record(3, "succeeded", before=entry(8), after=entry(7), way_back=True)
    assert journal(before, None).verified(now, [back]).models == now.models


# --- what people see ----------------------------------------------------------------------------------------------

CHANGE = Change("dev", "models", "churn", entry(7), entry(8))
PROMOTION = Promotion(
    "dev", 12, "http://github/pull/12", "c" * 40, "models", "churn", 7, 8, entry(8).digest, way_back=False
).became("merged", merged_at=BEGAN.timestamp())


@pytest.mark.parametrize(
    ("records", "stage"),
    [
        ([record(2)], "rolling out"),
        ([record(2), record(3, rollout=STEPS.at(50))], "rolling out"),
        ([record(2), record(3), ALL], "served"),
        ([record(2), BACK], "left"),
        ([record(2), record(3, "put back")], "put back"),
        ([record(2), record(3, "failed")], "failed"),
        ([record(2), record(3, "failed", rollout=STEPS.at(50))], "rolling out"),
        ([record(2, "failed", rollout=STEPS)], "failed"),
        ([record(2), record(3, "put back"), record(4)], "rolling out"),
        ([record(2), record(3), ALL, BACK], "left"),
    ],
)
def test_a_promotion_is_at_its_newest_step(records: list[DeploymentRecord], stage: str) -> None:
    found = progress_of(PROMOTION, evidence=[], records=[FIRST, *records], underway=[])
    assert found.stage == stage


def test_a_pull_request_is_told_of_its_newest_step_and_of_its_end() -> None:
    def end(*records: DeploymentRecord) -> tuple[str, bool, bool]:
        found = ending_of(CHANGE, records, hold=None, merged_at=BEGAN, next_merge=None)
        assert found is not None and found.record is not None
        return found.record.id, found.is_well, found.left is not None

    assert end(record(2)) == (record(2).id, True, False)
    assert end(record(2), record(3)) == (record(3).id, True, False)
    assert end(record(2), BACK) == (record(2).id, False, True)
    assert end(record(2), record(3, "put back")) == (record(3).id, False, False)
    assert end(record(2), record(3, "failed", rollout=STEPS.at(50))) == (record(2).id, True, False)
