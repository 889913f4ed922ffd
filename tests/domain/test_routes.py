"""The route table: what is read from disk or wire, and how generations follow each other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.release import Lane
from bot.domain.routes import Route, RouteTable, Target, routed

DIGEST = "sha256:" + "1" * 64
LIVE, SHADOW = Target("churn", 7, DIGEST), Target("churn-shadow", 8, DIGEST)
TABLE = RouteTable("dev", 3, {"churn": Route(LIVE, SHADOW), "fraud": Route(live=Target("fraud.0a1b2c3d", 1, DIGEST))})


def test_it_survives_its_file() -> None:
    assert RouteTable.from_json(TABLE.to_json()) == TABLE
    assert json.loads(TABLE.to_json())["models"]["fraud"] == {
        "live": {"triton_model": "fraud.0a1b2c3d", "version": 1, "digest": DIGEST}
    }


targets = st.builds(
    Target, st.sampled_from(["a", "a-shadow", "a.12345678"]), st.integers(1, 2**31 - 1), st.just(DIGEST)
)
routes = st.builds(Route, st.none() | targets, st.none() | targets)


@given(st.integers(0, 10**12), st.dictionaries(st.sampled_from(["a", "b", "c"]), routes))
def test_any_table_survives_its_file(generation: int, models: dict[str, Route]) -> None:
    table = RouteTable("dev", generation, models)
    assert RouteTable.from_json(table.to_json()) == table
    following = table.following(models)
    assert following.generation == generation + 1
    assert set(following.models) == {name for name, route in models.items() if route.live or route.shadow}
    assert list(following.models) == sorted(following.models)


def test_a_model_that_is_not_served_has_an_empty_route() -> None:
    assert TABLE.route("nothing") == Route()
    assert TABLE.route("churn") == Route(LIVE, SHADOW)


def test_every_version_in_service_says_where_it_is() -> None:
    places = [(one.slot.model, one.slot.lane, one.target.triton_model) for one in routed(TABLE)]
    assert places == [
        ("churn", Lane.LIVE, "churn"),
        ("churn", Lane.SHADOW, "churn-shadow"),
        ("fraud", Lane.LIVE, "fraud.0a1b2c3d"),
    ]
    assert {one.slot: one.target for one in routed(TABLE)} == TABLE.slots


def document(**changes: Any) -> str:
    return json.dumps(json.loads(TABLE.to_json()) | changes)


def with_target(**changes: Any) -> str:
    return document(models={"churn": {"live": LIVE.to_json() | changes}})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a value is missing, at line 1, column 1"),
        (b"\xff", "it is not text in UTF-8, at byte 0"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "not a routes.json of format 1"),
        (document(format=2), "not a routes.json of format 1"),
        (document(generation=-1), "bad generation or models"),
        (document(generation="3"), "bad generation or models"),
        (document(generation=True), "bad generation or models"),
        (document(generation=3.0), "bad generation or models"),
        (document(models=[]), "bad generation or models"),
        (document(environment=None), "not a valid environment name"),
        (document(environment="../x"), "not a valid environment name"),
        (document(models={"../x": {}}), "not a valid model name"),
        (document(models={"churn-shadow": {}}), "kept for the shadow path"),
        (document(models={"churn": []}), "other keys than live and shadow"),
        (document(models={"churn": {"lives": LIVE.to_json()}}), "other keys than live and shadow"),
        (document(models={"churn": {"live": None}}), "other keys than triton_model, version and digest"),
        (with_target(more=1), "other keys than triton_model, version and digest"),
        (with_target(triton_model=1), "wrong type"),
        (with_target(version="7"), "wrong type"),
        (with_target(version=True), "wrong type"),
        (with_target(version=0), "Triton cannot have"),
        (with_target(version=2**31), "Triton cannot have"),
        (with_target(version=10**4000), "Triton cannot have|digits"),
        (with_target(triton_model="../churn"), "Triton cannot have"),
        (with_target(triton_model=".git"), "Triton cannot have"),
        (with_target(triton_model="churn/7"), "Triton cannot have"),
        (with_target(triton_model="churn\n"), "Triton cannot have"),
        (with_target(digest=None), "wrong type"),
        (with_target(digest="sha256:0"), "not a valid digest"),
    ],
    ids=lambda value: repr(value)[-50:],
)
def test_a_table_that_is_wrong_says_why(text: str | bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        RouteTable.from_json(text)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150)
@given(st.sampled_from(["environment", "generation", "models", "triton_model", "version", "digest"]), values)
def test_any_json_in_any_place_is_a_value_error_at_most(key: str, value: Any) -> None:
    for text in (document(**{key: value}), with_target(**{key: value}), document(models={"churn": value})):
        try:
            table = RouteTable.from_json(text)
        except ValueError:
            continue
        assert RouteTable.from_json(table.to_json()) == table
