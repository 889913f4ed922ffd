"""How users are, by what each server says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.users import users_of

NOW = datetime(2026, 11, 30, 3, 30, tzinfo=UTC)
AT = NOW - timedelta(minutes=28)


@pytest.mark.parametrize(
    ("tritons", "gateways", "health", "why"),
    [
        ({"t1": True, "t2": True}, {"g1": 3, "g2": 3}, "OK", ""),
        ({"t1": True, "t2": None}, {"g1": 3}, "degraded", "1 of 2 Tritons silent (t2)"),
        ({"t1": None}, {"g1": 3}, "DOWN", "1 of 1 Triton silent (t1)"),
        ({"t1": False, "t2": None}, {"g1": 3}, "DOWN", "2 of 2 Tritons silent or without it (t1, t2)"),
        ({"t1": False, "t2": False}, {"g1": 3}, "DOWN", "2 of 2 Tritons without it (t1, t2)"),
        ({"t1": True}, {"g1": False, "g2": False}, "DOWN", "2 of 2 gateways silent (g1, g2)"),
        ({"t1": True}, {"g1": 3, "g2": False}, "degraded", "1 of 2 gateways silent (g2)"),
        ({"t1": True}, {"g1": None}, "DOWN", "1 of 1 gateway without it (g1)"),
        ({"t1": True}, {"g1": 2, "g2": 3}, "degraded", "g1 serves another version"),
        ({"t1": True}, {"g1": 2, "g2": 1}, "degraded", "g1, g2 serve another version"),
        ({}, {}, "OK", ""),
    ],
)
def test_who_is_missing_makes_it_worse_and_nobody_left_makes_it_down(
    tritons: dict[str, bool | None], gateways: dict[str, int | bool | None], health: str, why: str
) -> None:
    found = users_of("churn", 3, tritons=tritons, gateways=gateways, since={}, now=NOW)
    assert (found.health, found.why) == (health, why)


@pytest.mark.parametrize(
    ("tritons", "gateways", "since", "why", "began"),
    [
        ({"t1": None}, {"g1": 3}, {"t1": AT}, "1 of 1 Triton silent since 03:02 UTC (t1)", AT),
        ({"t1": None}, {"g1": 3}, {}, "1 of 1 Triton silent (t1)", None),
        (
            {"t1": None, "t2": None},
            {"g1": 3},
            {"t1": AT - timedelta(hours=4), "t2": AT},  # both are since the later one is
            "2 of 2 Tritons silent since 03:02 UTC (t1, t2)",
            AT,
        ),
        ({"t1": None, "t2": None}, {"g1": 3}, {"t2": AT}, "2 of 2 Tritons silent (t1, t2)", None),
        ({"t1": True, "t2": None}, {"g1": 3}, {"t2": AT}, "1 of 2 Tritons silent since 03:02 UTC (t2)", AT),
        ({"t1": False, "t2": None}, {"g1": 3}, {"t2": AT}, "2 of 2 Tritons silent or without it (t1, t2)", AT),
        ({"t1": True}, {"g1": False}, {"g1": AT}, "1 of 1 gateway silent since 03:02 UTC (g1)", AT),
        (
            {"t1": True},
            {"g1": 3, "g2": False},
            {"g2": AT - timedelta(hours=4)},
            "1 of 2 gateways silent since 2026-11-29 23:02 UTC (g2)",
            AT - timedelta(hours=4),
        ),
    ],
)
def test_since_when_is_said_where_it_is_known_of_all_who_are_silent(
    tritons: dict[str, bool | None],
    gateways: dict[str, int | bool | None],
    since: dict[str, datetime],
    why: str,
    began: datetime | None,
) -> None:
    found = users_of("churn", 3, tritons=tritons, gateways=gateways, since=since, now=NOW)
    assert (found.why, found.since) == (why, began)
