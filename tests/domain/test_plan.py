"""Desired less live: what changes, what has to be loaded again, who has to reload."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bot.domain.desired import Desired, Entry
from bot.domain.plan import Live, ahead_of, in_service, plan, serves, targets
from bot.domain.routes import Route, RouteTable, Target
from tests.domain.entries import entry


def target(version: int, model: str = "churn") -> Target:
    return Target(model, version, entry(version).digest)


def live(table: RouteTable, **more: object) -> Live:
    loaded = frozenset((t.triton_model, t.version) for t in targets(table))
    everywhere = {"tritons": {"t0": loaded, "t1": loaded}, "gateways": {"g0": table, "g1": table}, "silent": {}}
    return Live(routes=table, **{**everywhere, **more})  # type: ignore[arg-type]


KNOWN = {(model, n, entry(n).digest): entry(n) for model in ("churn", "fraud", *"abc") for n in range(1, 20)}
TABLE = RouteTable(
    "dev", 4, {"churn": Route(target(7), target(8, "churn-shadow")), "fraud": Route(target(1, "fraud"))}
)
DESIRED = Desired(environment="dev", models={"churn": entry(7), "fraud": entry(1)}, shadow={"churn": entry(8)})


def test_what_is_as_desired_needs_nothing() -> None:
    assert plan(DESIRED, live(TABLE), known=KNOWN).nothing


def test_what_differs_is_a_change_with_what_was_there_before() -> None:
    desired = Desired(environment="dev", models={"churn": entry(9), "new": entry(2)})
    found = plan(desired, live(TABLE), known=KNOWN)
    assert [(c.section, c.model, c.before, c.after) for c in found.changes] == [
        ("models", "churn", entry(7), entry(9)),
        ("models", "fraud", entry(1), None),
        ("models", "new", None, entry(2)),
        ("shadow", "churn", entry(8), None),
    ]
    assert not found.nothing


def test_other_bytes_under_the_same_version_are_a_change() -> None:
    other = Entry(version=7, digest=entry(3).digest, run="other")
    found = plan(DESIRED.model_copy(update={"models": {"churn": other, "fraud": entry(1)}}), live(TABLE), known=KNOWN)
    assert [(c.model, c.before, c.after) for c in found.changes] == [("churn", entry(7), other)]


def test_another_run_or_reason_of_the_same_bytes_is_no_change() -> None:
    same = Desired(
        environment="dev",
        models={"churn": entry(7, run="again"), "fraud": entry(1)},
        shadow={"churn": entry(8, reason="said otherwise")},
    )
    assert plan(same, live(TABLE), known=KNOWN).nothing


def test_a_triton_that_lost_a_version_loads_it_again() -> None:
    found = plan(
        DESIRED, live(TABLE, tritons={"t0": frozenset(), "t1": frozenset({("churn", 7), ("fraud", 1)})}), known={}
    )
    assert found.load == {"t0": tuple(targets(TABLE)), "t1": (target(8, "churn-shadow"),)}
    assert not found.changes
    assert not found.nothing


def test_what_is_compared_is_loaded_again_too() -> None:
    table = RouteTable("dev", 4, {"churn": Route(target(8), compared=target(7))})
    desired = Desired(environment="dev", models={"churn": entry(8)}, shadow={})
    found = plan(desired, live(table, tritons={"t0": frozenset({("churn", 8)})}), known={})
    assert (found.load, found.changes) == ({"t0": (target(7),)}, ())


def test_a_gateway_that_missed_a_reload_reloads() -> None:
    old, other = RouteTable("dev", 3, TABLE.models), RouteTable("dev", 4, {})
    found = plan(DESIRED, live(TABLE, gateways={"g0": TABLE, "g1": old, "g2": other, "g3": None}), known=KNOWN)
    assert found.reload == ("g1", "g2")
    assert not found.nothing


def test_who_says_nothing_is_not_taken_for_right() -> None:
    silent = live(TABLE, tritons={"t0": None}, gateways={"g0": None}, silent={"t0": "refused", "g0": "timed out"})
    found = plan(DESIRED, silent, known=KNOWN)
    assert (found.load, found.reload, found.changes) == ({}, (), ())
    assert found.silent == {"t0": "refused", "g0": "timed out"}
    assert not found.nothing


def test_bytes_of_an_unknown_run_are_still_named() -> None:
    found = plan(Desired(environment="dev"), live(TABLE), known={})
    assert found.changes[0].before == Entry(version=7, digest=entry(7).digest, run="unknown")


def test_what_is_in_service_is_said_in_the_terms_of_desired_state() -> None:
    assert in_service(TABLE, KNOWN) == DESIRED
    assert in_service(RouteTable("dev"), KNOWN) == Desired(environment="dev")


sections = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(1, 19).map(entry))


@given(sections, sections, sections, sections)
def test_carrying_out_all_changes_leaves_nothing_to_change(
    models: dict[str, Entry], shadow: dict[str, Entry], other: dict[str, Entry], other_shadow: dict[str, Entry]
) -> None:
    wanted = Desired(environment="dev", models=models, shadow=shadow)
    there = RouteTable("dev")
    routes = {}
    for name in {*other, *other_shadow}:
        one, two = other.get(name), other_shadow.get(name)
        routes[name] = Route(one and target(one.version, name), two and target(two.version, name + "-shadow"))
    there = there.following(routes)
    found = plan(wanted, live(there), known=KNOWN)
    after = dict(there.models)
    for change in found.changes:
        route = after.get(change.model, Route())
        assert change.before != change.after
        assert not serves(route.target(change.slot.lane), change.after)
        name = change.model if change.section == "models" else change.model + "-shadow"
        after[change.model] = route.having(change.slot.lane, change.after and target(change.after.version, name))
    table = there.following(after)
    assert plan(wanted, live(table), known=KNOWN).nothing
    assert in_service(table, KNOWN) == wanted


def test_another_share_of_copies_is_a_change_of_the_shadow_alone() -> None:
    asked = DESIRED.model_copy(update={"shadow": {"churn": entry(8, share=0.1)}})
    (change,) = plan(asked, live(TABLE), known=KNOWN).changes
    assert (change.section, change.before, change.after) == ("shadow", entry(8), entry(8, share=0.1))
    routes = {**TABLE.models, "churn": replace(TABLE.models["churn"], shadow_share=10)}
    divided = replace(TABLE, models=routes)
    assert plan(asked, live(divided), known=KNOWN).nothing
    assert in_service(divided, KNOWN).shadow == {"churn": entry(8, share=0.1)}
    (back,) = plan(DESIRED, live(divided), known=KNOWN).changes
    assert (back.before, back.after) == (entry(8, share=0.1), entry(8))


def test_shares_that_are_the_same_percentage_are_no_change() -> None:
    for share in (0.125, 0.12, 1.0):
        route = replace(TABLE.models["churn"], shadow_share=round(share * 100))
        asked = DESIRED.model_copy(update={"shadow": {"churn": entry(8, share=share)}})
        assert plan(asked, live(replace(TABLE, models={**TABLE.models, "churn": route})), known=KNOWN).nothing


def test_a_share_is_behind_where_a_gateway_has_seen_a_later_generation() -> None:
    later = replace(TABLE, generation=6)
    latest = replace(TABLE, generation=9)
    assert ahead_of(live(TABLE)) is None
    assert ahead_of(live(TABLE, gateways={"g0": replace(TABLE, generation=3), "g1": None})) is None
    assert ahead_of(live(TABLE, gateways={"g0": later, "g1": latest, "g2": TABLE})) == ("g1", latest)
    assert ahead_of(live(TABLE, gateways={"g0": RouteTable("prod", 9)})) is None, "another environment's"
