"""The route table: what is read from disk or wire, and how generations follow each other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.plan import targets as all_of
from bot.domain.release import Lane
from bot.domain.routes import Canary, Route, RouteTable, Target, routed

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
canaries = st.builds(Canary, targets, st.integers(1, 99), st.sampled_from(["", "x-user-id"]), st.just(DIGEST))
routes = st.builds(Route, st.none() | targets, st.none() | targets) | st.builds(
    Route, targets, targets, st.none() | canaries, st.integers(1, 100)
)


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
        ("[]", "not a routes.json of format 1 or 2"),
        (document(format=3), "not a routes.json of format 1 or 2"),
        (document(format=True), "not a routes.json of format 1 or 2"),
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


CANARY = Canary(Target("churn", 9, DIGEST), 10, "x-user-id", DIGEST)
DIVIDED = RouteTable("dev", 4, {**TABLE.models, "churn": Route(LIVE, SHADOW, CANARY)})


def test_only_a_table_that_divides_is_of_format_2() -> None:
    """A gateway of before refuses what it cannot divide, and takes everything else."""
    shared = RouteTable("dev", 4, {"churn": Route(LIVE, SHADOW, shadow_share=10)})
    one_by_one = RouteTable("dev", 4, {"churn": Route(LIVE, SHADOW, partly=True)})
    compared = RouteTable("dev", 4, {"churn": Route(LIVE, compared=CANARY.target)})
    tables = (TABLE, DIVIDED, shared, one_by_one, compared)
    assert [json.loads(table.to_json())["format"] for table in tables] == [1, 2, 2, 2, 2]
    assert all(RouteTable.from_json(table.to_json()) == table for table in tables)
    assert DIVIDED.undivided(["churn", "nothing"]).models == TABLE.models


def test_a_table_of_format_1_divides_nothing() -> None:
    entry = {"live": LIVE.to_json(), "canary": CANARY.to_json()}
    with pytest.raises(ValueError, match="other keys than live and shadow"):
        RouteTable.from_json(document(models={"churn": entry}))


def with_canary(**changes: Any) -> dict[str, Any]:
    return {"live": LIVE.to_json(), "canary": CANARY.to_json() | changes}


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (with_canary(percent=0), "1 to 99"),
        (with_canary(percent=100), "1 to 99"),
        (with_canary(percent=True), "1 to 99"),
        (with_canary(percent=1.5), "1 to 99"),
        (with_canary(key="X-User-Id"), "a header in lower case"),
        (with_canary(key="x user"), "a header in lower case"),
        (with_canary(key=None), "a header in lower case"),
        (with_canary(salt="a b"), "a salt that is not plain text"),
        (with_canary(salt=7), "a salt that is not plain text"),
        (with_canary(weight=7), "a target has other keys"),
        (with_canary(version="9"), "a value of the wrong type"),
        ({"live": LIVE.to_json(), "canary": LIVE.to_json()}, "a canary has other keys"),
        ({"live": LIVE.to_json(), "canary": []}, "a canary has other keys"),
        ({"canary": CANARY.to_json()}, "needs a live version beside it"),
        ({"live": LIVE.to_json(), "shadow_share": 10}, "needs a shadow"),
        ({"shadow": SHADOW.to_json(), "shadow_share": 0}, "from 1 to 100"),
        ({"shadow": SHADOW.to_json(), "shadow_share": True}, "from 1 to 100"),
        ({"live": LIVE.to_json(), "partly": False}, "partly is true"),
        ({"live": LIVE.to_json(), "partly": 1}, "partly is true"),
        ({"shadow": SHADOW.to_json(), "partly": True}, "needs a live version"),
        ({"shadow": SHADOW.to_json(), "compared": LIVE.to_json()}, "needs a live version"),
        ({"live": LIVE.to_json(), "compared": []}, "a target has other keys"),
    ],
)
def test_a_table_that_divides_in_no_way_that_is_known_is_refused(entry: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        RouteTable.from_json(document(format=2, models={"churn": entry}))


def test_only_one_version_comes_to_one_triton_after_another() -> None:
    route = Route(LIVE, SHADOW, partly=True)
    assert not route.having(Lane.LIVE, CANARY.target).partly, "the next one says so itself"
    assert route.having(Lane.SHADOW, None).partly
    assert not route.divides


def test_who_changes_what_is_live_ends_the_canary_and_a_shadow_does_not() -> None:
    route = Route(LIVE, SHADOW, CANARY)
    assert route.having(Lane.LIVE, CANARY.target) == Route(CANARY.target, SHADOW)
    assert route.having(Lane.SHADOW, None) == Route(LIVE, None, CANARY)
    assert route.answering == (LIVE, CANARY.target)


def test_what_is_compared_ends_with_the_pair() -> None:
    new, again = CANARY.target, Target("churn.1a2b3c4d", 7, LIVE.digest)
    step = Route(LIVE, SHADOW, CANARY).comparing(LIVE)
    assert (step.newest, step.compared, step.compared_beside) == (new, LIVE, None)
    assert step.undivided() == Route(LIVE, SHADOW), "a step that is put back is compared with nothing"
    assert step.divided(CANARY).compared is None, "each step says it anew"
    assert step.again(Lane.LIVE, again).compared == again, "under its new name"
    whole = step.having(Lane.LIVE, new).comparing(LIVE)
    assert (whole.live, whole.compared, whole.compared_beside) == (new, LIVE, LIVE)
    assert whole.undivided() == whole, "another change that fails leaves it"
    assert whole.again(Lane.LIVE, again).compared == LIVE
    assert whole.having(Lane.SHADOW, None).compared == LIVE
    assert whole.having(Lane.LIVE, LIVE).compared is None and whole.comparing(new).compared is None


def test_what_is_compared_is_in_use() -> None:
    whole = RouteTable("dev", 4, {"churn": Route(CANARY.target, compared=LIVE)})
    (live, before) = routed(whole)
    assert (live.target, live.fills_its_slot) == (CANARY.target, True)
    assert (before.target, before.fills_its_slot, before.is_compared) == (LIVE, False, True)
    assert (live.answers_users, before.answers_users, before.why) == (
        True,
        False,
        "what the version in service is compared with",
    )
    assert all_of(whole) == [CANARY.target, LIVE]


def test_a_canary_is_in_service_beside_the_live_version() -> None:
    places = [(one.slot.lane, one.target.version, one.percent, one.is_divided) for one in routed(DIVIDED)]
    assert places == [
        (Lane.LIVE, 7, 0, True),
        (Lane.LIVE, 9, 10, True),
        (Lane.SHADOW, 8, 0, False),
        (Lane.LIVE, 1, 0, False),
    ]
    live, canary, *_ = routed(DIVIDED)
    assert (live.why, canary.why) == ("in service", "in service for 10 % of requests")
    assert (live.parts["churn"].version, canary.parts["churn"].version) == (7, 9)
    assert CANARY.target not in DIVIDED.slots.values()
