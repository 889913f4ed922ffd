"""Whose fault a failed switch is: which models go back, which digests are to blame, which routes come next."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.blame import Failure, Kind, Seen, Switched, decide, is_empty, load_failed, routes_with
from bot.domain.release import Lane, Slot
from bot.domain.routes import Route, RouteTable, Target

Becomes = Literal["stays", "blamed", "back", "back, again", "incomplete"]
"""``back``: Git follows by a revert; ``back, again``: trying again is enough."""
SERVERS = ("gateway 1", "gateway 2", "Triton 1", "Triton 2")


def switched(*names: str) -> list[Switched]:
    """Return changes by name; one that begins with ``~`` is a way back."""
    return [Switched(name, way_back=name.startswith("~")) for name in names]


def seen(*failures: tuple[Kind, str, str], asked: Iterable[str] = ()) -> Seen:
    named = tuple(Failure(kind, server, f"{server}: {kind} {item}".strip(), item) for kind, server, item in failures)
    return Seen(named, {server: set(asked) for server in SERVERS})


def becomes(changes: list[Switched], found: Seen) -> dict[str, Becomes]:
    decision = decide(changes, found)
    result: dict[str, Becomes] = {}
    for change in changes:
        back = decision.back.get(change.id)
        if back is not None:
            result[change.id] = "blamed" if back.to_blame else "back, again" if back.retry else "back"
        else:
            result[change.id] = "incomplete" if change.id in decision.incomplete else "stays"
    return result


ALL = ("a", "b", "c")


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ([], ("stays", "stays", "stays")),
        # One model is named: it goes back alone.
        ([("answer", "gateway 2", "b")], ("stays", "blamed", "stays")),
        ([("answer", "Triton 1", "b")], ("stays", "blamed", "stays")),
        ([("lost", "Triton 1", "b")], ("stays", "blamed", "stays")),
        ([("answer", "gateway 1", "a"), ("answer", "gateway 2", "b")], ("blamed", "blamed", "stays")),
        # It is named, and what is said of it points at a server.
        ([("other version", "gateway 2", "b")], ("stays", "back", "stays")),
        ([("not ready", "gateway 2", "b")], ("stays", "back", "stays")),
        ([("foreign", "gateway 2", "b")], ("stays", "back", "stays")),
        ([("not ready", "gateway 2", "b"), ("lost", "Triton 2", "b")], ("stays", "blamed", "stays")),
        ([("silent", "gateway 2", "b")], ("stays", "back, again", "stays")),
        # No model is named: all go back, and no digest is to blame.
        ([("refused", "gateway 2", "")], ("back", "back", "back")),
        ([("write", "", "")], ("back, again", "back, again", "back, again")),
        ([("silent", "gateway 2", "")], ("back, again", "back, again", "back, again")),
        ([("empty", "Triton 1", "")], ("back, again", "back, again", "back, again")),
        # Both: the one that is named is to blame, the others are not.
        ([("silent", "gateway 2", ""), ("answer", "gateway 1", "b")], ("back, again", "blamed", "back, again")),
        # A server that fails every one of several fails by itself.
        ([("answer", "gateway 2", name) for name in ALL], ("back", "back", "back")),
        ([("lost", "Triton 1", name) for name in ALL], ("back", "back", "back")),
        ([("silent", "gateway 2", name) for name in ALL], ("back, again", "back, again", "back, again")),
        ([("not ready", "gateway 1", name) for name in ALL], ("back", "back", "back")),
        (
            [*(("answer", "gateway 2", name) for name in ALL), ("answer", "Triton 1", "b")],
            ("back", "blamed", "back"),
        ),
    ],
)
def test_what_names_its_model_takes_that_one_back_and_what_names_none_takes_all(
    failures: list[tuple[Kind, str, str]], expected: tuple[Becomes, ...]
) -> None:
    assert becomes(switched(*ALL), seen(*failures, asked=ALL)) == dict(zip(ALL, expected, strict=True))


def test_a_single_model_is_named_by_its_own_proof() -> None:
    one = switched("a")
    assert becomes(one, seen(("answer", "gateway 2", "a"), asked="a")) == {"a": "blamed"}
    assert becomes(one, seen(("refused", "gateway 2", ""), asked="a")) == {"a": "back"}
    assert becomes(one, seen(("silent", "gateway 2", "a"), asked="a")) == {"a": "back, again"}


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ([("silent", "gateway 2", "")], ("back, again", "incomplete")),
        ([("denied", "gateway 2", "")], ("back", "incomplete")),
        ([("denied", "gateway 2", ""), ("answer", "gateway 1", "~b")], ("back", "back")),
        ([("silent", "gateway 2", "~b")], ("stays", "incomplete")),
        ([("refused", "gateway 2", "")], ("back", "back")),
        ([("answer", "gateway 2", "~b")], ("stays", "back")),
        ([("answer", "gateway 2", "a")], ("blamed", "stays")),
    ],
)
def test_the_way_back_is_never_blamed_nor_kept_closed_by_a_server_that_is_silent(
    failures: list[tuple[Kind, str, str]], expected: tuple[Becomes, ...]
) -> None:
    names = ("a", "~b")
    assert becomes(switched(*names), seen(*failures, asked=names)) == dict(zip(names, expected, strict=True))


def test_each_is_told_what_concerns_it() -> None:
    found = seen(("refused", "gateway 2", ""), ("answer", "gateway 1", "b"), ("answer", "Triton 1", "b"), asked=ALL)
    problems = {name: why.problem for name, why in decide(switched(*ALL), found).back.items()}
    assert problems == {
        "a": "gateway 2: refused",
        "b": "gateway 1: answer b; Triton 1: answer b; gateway 2: refused",
        "c": "gateway 2: refused",
    }
    every = seen(*(("answer", "gateway 2", name) for name in ALL), asked=ALL)
    assert decide(switched(*ALL, "listens"), every).back["listens"].problem == "gateway 2: answer a"


FAILURES = st.builds(
    Failure,
    st.sampled_from(get_args(Kind)),
    st.sampled_from(SERVERS),
    st.just("said"),
    st.sampled_from(["", *"abcdef"]),
)


@given(st.lists(FAILURES, max_size=12), st.sets(st.sampled_from("abcdef"), min_size=1))
def test_whatever_fails_nobody_is_blamed_who_is_not_named_and_each_round_ends(
    failures: list[Failure], names: set[str]
) -> None:
    found = Seen(tuple(failures), dict.fromkeys(SERVERS, names))
    changes = switched(*sorted(names))
    decision = decide(changes, found)
    for name, why in decision.back.items():
        if why.to_blame:
            assert any(f.item == name and f.kind in ("lost", "answer") for f in failures)
    if any(not failure.item for failure in failures):
        assert set(decision.back) == names
    if any(failure.item in names for failure in failures):
        assert decision.back, "a round that meets a failure takes back one at least"
    if not any(failure.item in {"", *names} for failure in failures):
        assert not decision.back


def target(version: int, name: str = "churn") -> Target:
    return Target(name, version, f"sha256:{version:064x}")


def slot(model: str, lane: Lane = Lane.LIVE) -> Slot:
    return Slot("dev", model, lane)


def test_the_next_routes_are_those_before_with_only_what_stays() -> None:
    before = RouteTable("dev", 4, {"a": Route(target(1), target(2)), "b": Route(target(1))})
    assert routes_with(before, []) == before.models
    found = routes_with(
        before,
        [
            (slot("a"), lambda route: route.having(Lane.LIVE, target(3))),
            (slot("b"), lambda route: route.having(Lane.SHADOW, target(4))),
            (slot("c"), lambda route: route.having(Lane.LIVE, target(5))),
        ],
    )
    assert found == {"a": Route(target(3), target(2)), "b": Route(target(1), target(4)), "c": Route(target(5))}
    assert routes_with(before, [(slot("b"), lambda route: route.having(Lane.LIVE, None))])["b"] == Route()


@pytest.mark.parametrize(
    ("ready", "empty"), [([], True), ([("wine", 1)], True), ([("churn", 1)], False), ([("churn", 2)], False)]
)
def test_a_triton_without_anything_that_the_routes_name_restarted(
    ready: Collection[tuple[str, int]], empty: bool
) -> None:
    before, after = (RouteTable("dev", n, {"churn": Route(target(n))}) for n in (1, 2))
    assert is_empty(ready, before, after) is empty
    assert not is_empty(ready, RouteTable("dev"))


@pytest.mark.parametrize(
    ("state", "reason", "failed"),
    [
        ("UNAVAILABLE", "version 2 is at UNAVAILABLE state: no model", True),
        ("UNAVAILABLE", "unloaded", False),
        ("UNAVAILABLE", "", False),
        ("LOADING", "", False),
        ("LOADING", "waits for another load", False),
        ("ABSENT", "", False),
    ],
)
def test_a_load_failed_only_where_triton_says_so(state: str, reason: str, failed: bool) -> None:
    assert load_failed(state, reason) is failed
