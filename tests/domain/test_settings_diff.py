"""What differs between two documents of settings, as rows."""

from __future__ import annotations

from typing import Any

import pytest

from bot.domain.settings_diff import Difference, differences


@pytest.mark.parametrize(
    ("before", "after", "rows"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, [("a.c", "2", "3")]),
        ({"a": {"b": None}}, {"a": {"b": "x"}}, [("a.b", None, "x")]),
        ({"a": {"b": "x"}}, {"a": {}}, [("a.b", "x", None)]),
        ({"on": False}, {"on": True}, [("on", "false", "true")]),
        # A whole part that is new, or gone, is one row.
        ({"gates": {}}, {"gates": {"churn": {"m": {"minimum": 0.9}}}}, [("gates.churn", None, "m: (minimum: 0.9)")]),
        ({"records": "/mnt"}, {"records": {"s3": {"bucket": "b"}}}, [("records", "/mnt", "s3: (bucket: b)")]),
        # Lists of named things are compared by name; other lists whole.
        (
            {"tritons": [{"name": "a", "grpc": "a:1"}, {"name": "b", "grpc": "b:1"}]},
            {"tritons": [{"name": "b", "grpc": "b:2"}, {"name": "c", "grpc": "c:1", "key": None}]},
            [
                ("tritons[a]", "name: a, grpc: a:1", None),
                ("tritons[b].grpc", "b:1", "b:2"),
                ("tritons[c]", None, "name: c, grpc: c:1"),
            ],
        ),
        ({"may": ["U1", "U2"]}, {"may": ["U2"]}, [("may", "U1, U2", "U2")]),
        ({"may": ["U1"]}, {"may": []}, [("may", "U1", "(nothing)")]),
        ({"tritons": [{"name": "a"}]}, {"tritons": []}, [("tritons", "(name: a)", "(nothing)")]),
    ],
)
def test_what_differs_is_one_row_for_each_key(
    before: dict[str, Any], after: dict[str, Any], rows: list[tuple[str, str | None, str | None]]
) -> None:
    assert differences(before, after) == [Difference(*row) for row in rows]


def test_the_order_of_named_things_and_of_keys_makes_no_difference() -> None:
    before = {"tritons": [{"name": "a", "x": 1}, {"name": "b", "x": 2}], "z": 1}
    after = {"z": 1, "tritons": [{"x": 2, "name": "b"}, {"x": 1, "name": "a"}]}
    assert differences(before, after) == []
