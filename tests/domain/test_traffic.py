"""Numbers of users' requests: read, and added up over processes and gateways."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.traffic import BOUNDS, Counted, Period, Traffic, merged, quantile

AT = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
CELLS = len(BOUNDS) + 1


def digest(version: int) -> str:
    return f"sha256:{version:064x}"


def counted(version: int, cells: dict[int, int], *, failed: int = 0, refused: int = 0, lane: Any = "live") -> Counted:
    listed = tuple(cells.get(cell, 0) for cell in range(CELLS))
    return Counted(version, digest(version), lane, sum(listed), failed, refused, 0.25 * sum(listed), listed)


def traffic(*versions: Counted, before: Counted | None = None, since: datetime = AT, generation: int = 3) -> Traffic:
    return Traffic(generation, {"churn": Period(since, versions, before)})


def of_churn(several: list[Traffic]) -> Period:
    found = merged(several)
    assert found is not None
    period = found.of("churn")
    assert period is not None
    return period


def test_the_bounds_rise_by_a_quarter_from_half_a_millisecond_to_a_minute() -> None:
    assert BOUNDS[0] == 0.0005 and BOUNDS[-1] == 63
    assert all(1.11 < after / before < 1.15 for before, after in itertools.pairwise(BOUNDS))
    assert {0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0} <= set(BOUNDS), "round ones"


@given(
    st.lists(st.integers(0, 50), min_size=CELLS, max_size=CELLS),
    st.integers(0, 3),
    st.sampled_from(["live", "canary"]),
    st.integers(0, 10**12),
)
def test_what_is_written_is_read(cells: list[int], failed: int, lane: Any, since: int) -> None:
    failed = min(failed, sum(cells))
    one = Counted(7, digest(7), lane, sum(cells), failed, 0, 1.5, tuple(cells))
    said = traffic(one, before=one, since=AT + timedelta(milliseconds=since))
    assert Traffic.from_json({"generation": 3, **json.loads(json.dumps(said.to_json()))}) == said


def test_a_version_without_requests_takes_no_room_and_is_still_zero() -> None:
    document = json.loads(json.dumps(traffic(counted(7, {})).to_json()))
    assert document["traffic"]["churn"]["versions"][0]["cells"] == []
    said = Traffic.from_json({"generation": 3, **document})
    assert said is not None and said.models["churn"].live == counted(7, {})


def test_a_gateway_of_before_says_nothing_and_not_zero() -> None:
    assert Traffic.from_json({"generation": 3, "models": {}}) is None
    assert merged([]) is None


@pytest.mark.parametrize(
    "change",
    [
        {"cells": [2, 2, -1, *[0] * (CELLS - 3)]},
        {"requests": -1},
        {"requests": True},
        {"failed": 5},
        {"cells": [3]},
        {"cells": [2, 1, *[0] * (CELLS - 2)], "requests": 4},
        {"lane": "shadow"},
        {"seconds": float("nan")},
        {"seconds": -1.0},
        {"version": "7"},
    ],
    ids=str,
)
def test_numbers_that_cannot_be_are_refused(change: dict[str, Any]) -> None:
    document = {"generation": 3, **traffic(counted(7, {0: 3})).to_json()}
    assert Traffic.from_json(document) is not None
    document["traffic"]["churn"]["versions"][0].update(change)
    with pytest.raises(ValueError):
        Traffic.from_json(document)


@pytest.mark.parametrize(
    "change",
    [
        {"traffic_bounds": [2, 1]},
        {"traffic_bounds": None},
        {"generation": None},
        {"traffic": []},
        {"traffic": {"churn": {"since": "2026-11-30T12:00:00", "versions": [], "before": None}}},
        {"traffic": {"churn": None}},
    ],
    ids=str,
)
def test_an_answer_of_another_shape_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Traffic.from_json({"generation": 3, **traffic(counted(7, {0: 3})).to_json(), **change})


def test_several_are_added_up() -> None:
    one = traffic(counted(7, {0: 3, 9: 1}, failed=1), counted(8, {9: 2}, refused=2, lane="canary"))
    other = traffic(counted(7, {9: 4}, failed=2), counted(8, {}, lane="canary"), since=AT + timedelta(seconds=1))
    both = of_churn([one, other])
    assert both.live == counted(7, {0: 3, 9: 5}, failed=3)
    assert both.canary == counted(8, {9: 2}, refused=2, lane="canary")
    assert both.since == AT, "the earliest time from which something counts"


def test_of_a_process_that_still_has_older_routes_nothing_is_added() -> None:
    behind = traffic(counted(7, {0: 99}, failed=99), since=AT + timedelta(hours=1), generation=2)
    ahead = traffic(counted(8, {0: 1}), before=counted(7, {0: 5}), generation=3)
    for order in ([behind, ahead], [ahead, behind]):
        assert of_churn(order) == ahead.models["churn"]


def test_what_was_before_is_added_up_where_it_is_the_same() -> None:
    one = traffic(counted(8, {0: 1}), before=counted(7, {0: 5}))
    assert of_churn([one, one]).before == counted(7, {0: 10})
    other = traffic(counted(8, {0: 1}), before=counted(6, {0: 70}))
    assert of_churn([one, other]).before == counted(7, {0: 5})
    restarted = traffic(counted(8, {0: 1}))
    assert of_churn([restarted, one]).before == counted(7, {0: 5})


def test_where_the_bounds_differ_nobody_knows_how_long_requests_took() -> None:
    one = traffic(counted(7, {0: 3}), before=counted(6, {0: 2}))
    later = Traffic(3, {"churn": Period(AT, (replace(counted(7, {}), requests=2, cells=(2, 0)),))}, bounds=(1.0,))
    both = merged([one, later])
    assert both is not None and both.bounds == ()
    assert both.models["churn"].live == replace(counted(7, {}), requests=5, seconds=0.75, cells=())
    assert both.models["churn"].before == replace(counted(6, {0: 2}), cells=())
    assert Traffic.from_json({"generation": 3, **both.to_json()}) == both


def test_a_quantile_is_the_bound_of_its_cell() -> None:
    assert quantile([90, 5, 5], [0.1, 0.2], 0.9) == 0.1
    assert quantile([90, 5, 5], [0.1, 0.2], 0.95) == 0.2
    assert quantile([90, 5, 5], [0.1, 0.2], 0.96) is None, "beyond the last bound"
    assert quantile([0, 0, 0], [0.1, 0.2], 0.95) is None
