"""What comes from the environment before by itself, as the board says it: not yet, held, or nothing to say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from bot.board import views
from bot.board.views import Filter, Row
from bot.domain.desired import Entry
from bot.domain.origin import POLICY, Origin
from bot.domain.record import DeploymentRecord
from tests.board.samples import NOW, Sample, recorded

HOUR = timedelta(hours=1)
RULE = "promotes_from: {environment: dev, after: 24h}\n"


def dev(*records: DeploymentRecord, version: int = 9, **more: object) -> Sample:
    return Sample("dev", live={"churn": version}, records=records, **more)  # type: ignore[arg-type]


def prod(*records: DeploymentRecord, settings: str = RULE, **more: object) -> Sample:
    return Sample("prod", live={"churn": 8}, records=records, settings=settings, **more)  # type: ignore[arg-type]


NEW = recorded("dev", "churn", (8, 9), turn=4, ago=2 * HOUR)
STEP = recorded("prod", "churn", (8, 9), turn=5, ago=HOUR, outcome="rolling out")
OLD = recorded("prod", "churn", (7, 8), turn=3, ago=90 * HOUR)


def shown(*samples: Sample) -> Row:
    """Return the row of prod, as both pages have it."""
    found = [one.snapshot() for one in samples]
    rows = {one.environment: views.rows_of(one) for one in found}
    (row,) = (one for one in views.board_page(found, rows, Filter()).rows if one.environment == "prod")
    page = views.model_page(found[-1], rows, "churn", beside=found)
    assert page is not None and page.row == row
    return row


def test_what_is_too_young_says_until_when() -> None:
    row = shown(dev(NEW), prod(OLD))
    assert row.carried is not None and row.carried.text == "from dev: not yet"
    assert "churn 9 is verified in dev since" in row.carried.detail and "1d are asked for" in row.carried.detail
    assert row.carried.detail.endswith("(until 2 Dec 01:12 UTC)")
    assert (row.tone, row.next_command) == ("ok", ""), "it is nothing to look at"


def test_after_a_way_back_a_person_is_waited_for() -> None:
    put_back = recorded("prod", "churn", (8, 9), turn=5, ago=HOUR, outcome="put back")
    row = shown(dev(NEW), prod(OLD, put_back))
    assert row.carried is not None and row.carried.text == "from dev: held"
    assert put_back.id in row.carried.detail
    by_person = recorded("prod", "churn", (8, 8), turn=6, ago=HOUR / 2)
    assert shown(dev(NEW), prod(OLD, put_back, _proposed(by_person, "sam"))).carried != row.carried
    assert shown(dev(NEW), prod(OLD, put_back, _proposed(by_person, POLICY))).carried == row.carried


def _proposed(record: DeploymentRecord, who: str) -> DeploymentRecord:
    again = {"after": Entry(version=10, digest=f"sha256:{'1' * 64}", run="run"), "serving": record.before}
    return record.model_copy(update={**again, "origin": Origin(proposed_by=who)})


def test_a_bake_that_is_waited_for() -> None:
    rule = "promotes_from: {environment: dev, after: 1h, when: baked}\n"
    row = shown(dev(NEW), prod(OLD, settings=rule))
    assert row.carried is not None and "dev does not bake churn" in row.carried.detail


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param([dev(NEW), prod(OLD, settings="")], id="no rule"),
        pytest.param([dev(NEW), prod(OLD, settings="promotes_from: dev\n")], id="people alone carry"),
        pytest.param([prod(OLD)], id="the other environment is not on this board"),
        pytest.param([dev(OLD, version=8), prod(OLD)], id="nothing is offered"),
        pytest.param([dev(NEW), prod(OLD, asks={"churn": 9})], id="main asks for it already"),
        pytest.param([dev(NEW), prod(OLD, STEP)], id="it is on its way, step by step"),
        pytest.param([dev(NEW, lost={"records": (NOW, "away")}), prod(OLD)], id="nobody knows what dev verified"),
        pytest.param([dev(recorded("dev", "churn", (8, 9), turn=4, ago=30 * HOUR)), prod(OLD)], id="it is due"),
    ],
)
def test_nothing_to_say(samples: Sequence[Sample]) -> None:
    assert shown(*samples).carried is None
