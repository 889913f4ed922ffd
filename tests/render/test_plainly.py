"""Causes in Slack are words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.render.plainly import plainly


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (
            'gateway gateway-2 (http://10.0.0.7:8080): HTTP 409: {"error":"churn 2 is not ready"}',
            "gateway gateway-2: HTTP 409: churn 2 is not ready",
        ),
        (
            'HTTP 409 {"error":"churn 5 is not ready on http://10.0.0.7:80: {\\"error\\":\\"away\\"}","models":[]}',
            "HTTP 409 churn 5 is not ready: away",
        ),
        ('HTTP 500: {"code": 3, "trace": ["a"]}; again', "HTTP 500: …; again"),
        ("the set {1, 2} is no object", "the set {1, 2} is no object"),
        ("see https://github.com/acme/models/pull/12", "see https://github.com/acme/models/pull/12"),
        ("nothing of this", "nothing of this"),
    ],
)
def test_addresses_and_json_stay_in_the_record(cause: str, said: str) -> None:
    assert plainly(cause) == said


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.integers(), st.lists(st.text(max_size=3))), max_size=4))
def test_an_object_that_says_nothing_is_left_out(found: dict[str, object]) -> None:
    assert plainly(f"before {json.dumps(found)} behind") == "before … behind"
