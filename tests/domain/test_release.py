"""One identity of a release: everything that names one says the same, and nothing of it may be mixed up."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bot.domain.desired import Change
from bot.domain.evidence import CHECKS, CheckResult, Evidence, Finding, newest_for
from bot.domain.hold import Held, Hold
from bot.domain.record import verified_by, verified_entries
from bot.domain.release import Lane, Release, Slot
from tests.domain.entries import a_record, entry

SLOT = Slot("dev", "churn", Lane.LIVE)
RELEASE = entry(7).in_slot(SLOT)
OTHERS = {
    "environment": replace(RELEASE, slot=replace(SLOT, environment="prod")),
    "model": replace(RELEASE, slot=replace(SLOT, model="fraud")),
    "lane": replace(RELEASE, slot=replace(SLOT, lane=Lane.SHADOW)),
    "version": replace(RELEASE, version=8),
    "digest": replace(RELEASE, digest="sha256:" + "0" * 64),
    "run": replace(RELEASE, run="deadbeef"),
}
AT = datetime(2026, 11, 30, tzinfo=UTC)
RECORD = a_record(entry(7), at=AT)


def evidence(*, run: str | None = None, passed: bool = True) -> Evidence:
    of = {"environment": "dev", "section": "models", "model": "churn", "version": 7, "digest": RELEASE.digest}
    found = (Finding(what="bytes", passed=passed, detail=""),)
    checks = tuple(CheckResult(check=check, findings=found, at=AT, run=RELEASE.run, **of) for check in CHECKS)
    run = RELEASE.run if run is None else run
    return Evidence(**of, run=run, pull_request=1, base="b", head="h", at=AT, expires=AT, checks=checks)


def test_a_lane_has_its_section_and_its_suffix() -> None:
    assert [(lane, lane.section, lane.suffix) for lane in Lane] == [
        ("live", "models", ""),
        ("shadow", "shadow", "-shadow"),
    ]
    assert [Lane.of(lane.section) for lane in Lane] == list(Lane)


def test_a_slot_names_what_systems_know_it_by() -> None:
    shadow = Slot.of("dev", "churn", "shadow")
    assert (SLOT.published_name, SLOT.alias, SLOT.section) == ("churn", "dev", "models")
    assert (shadow.published_name, shadow.alias, shadow.section) == ("churn-shadow", "dev-shadow", "shadow")
    assert shadow.live == SLOT == SLOT.live


def test_all_that_names_a_release_names_the_same() -> None:
    change = Change("dev", "models", "churn", entry(6), entry(7))
    assert change.release == Held(change, Hold("freeze", "", "")).release == RECORD.release == RELEASE
    assert evidence().release == evidence().checks[0].release == RELEASE
    assert change.slot == RECORD.slot == evidence().slot == SLOT
    assert replace(change, after=None).release is None
    assert entry(7, reason="accuracy 0.8 < 0.9").in_slot(SLOT) == RELEASE, "why a shadow listens is no identity"


@pytest.mark.parametrize("what", OTHERS)
def test_one_difference_makes_another_release(what: str) -> None:
    other = OTHERS[what]
    assert other != RELEASE
    assert verified_by([RECORD], RELEASE) is not None
    assert verified_by([RECORD], other) is None
    assert newest_for([evidence()], RELEASE) == evidence()
    assert newest_for([evidence()], other) is None


@pytest.mark.parametrize("slot", [OTHERS["environment"].slot, OTHERS["lane"].slot, OTHERS["model"].slot], ids=str)
def test_what_was_verified_elsewhere_is_no_way_back_here(slot: Slot) -> None:
    assert [known for _, known in verified_entries([RECORD], SLOT)] == [entry(7)]
    assert verified_entries([RECORD], slot) == []


def test_without_a_run_failed_checks_count_for_every_run_and_passed_ones_for_none() -> None:
    of_any_run: list[Release] = [RELEASE, OTHERS["run"]]
    failed, passed = evidence(run="", passed=False), evidence(run="").model_copy(update={"run": ""})
    assert all(failed.model_copy(update={"run": ""}).covers(one) for one in of_any_run)
    assert not any(passed.covers(one) for one in of_any_run)
    assert not any(failed.model_copy(update={"run": ""}).covers(OTHERS[what]) for what in ("environment", "lane"))
