"""Which Tritons give up a version first, and which must not: what users may be routed to stays on one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bot.domain.release import Lane, Slot
from bot.domain.routes import Target
from bot.errors import PromobotError, Refused, Unavailable
from bot.operations.deployment import in_place
from bot.operations.deployment.in_place import Shift, first_half, the_rest
from bot.operations.deployment.run import Run
from bot.systems.triton.server import ModelState

SEVEN, EIGHT, NINE = (Target("churn", version, f"sha256:{version:064x}") for version in (7, 8, 9))
TO = Shift(Slot("dev", "churn", Lane.LIVE), EIGHT, "")


class Triton:
    """A Triton with these versions of churn; ``away`` does not answer."""

    def __init__(self, name: str, *versions: int, away: bool = False) -> None:
        self.name, self.versions, self.away = name, list(versions), away

    def index(self) -> list[ModelState]:
        if self.away:
            raise Unavailable("no connection", system=self.name)
        return [ModelState("churn", version, "READY", "") for version in self.versions]


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the Tritons that gave up what they had for the version."""
    seen: list[str] = []

    def convert(_: Run, shift: Shift, one: Any) -> None:
        if one.loaded != {("churn", shift.to.version)}:
            seen.append(one.triton.name)
            one.triton.versions = [shift.to.version]

    monkeypatch.setattr(in_place, "_convert", convert)
    monkeypatch.setattr(in_place, "name_version", lambda *_: None)
    return seen


def run_with(*tritons: Triton) -> Run:
    def gather(servers: Sequence[Triton], ask: Callable[[Triton], object]) -> list[tuple[Triton, object]]:
        heard: list[tuple[Triton, object]] = []
        for server in servers:
            try:
                heard.append((server, ask(server)))
            except PromobotError as error:
                heard.append((server, error))
        return heard

    there = SimpleNamespace(tritons=tritons)
    return cast("Run", SimpleNamespace(systems=there, gather=gather, settings=SimpleNamespace(environment="dev")))


@pytest.mark.parametrize(
    ("tritons", "moved"),
    [
        ([Triton("a", 7), Triton("b", 7)], ["a"]),
        ([Triton("a", 7), Triton("b", 7), Triton("c", 7)], ["a"]),
        ([Triton("a", 7), Triton("b", 7), Triton("c", 7), Triton("d", 7)], ["a", "b"]),
        ([Triton("a", 7), Triton("b")], ["b"]),
        ([Triton("a", 7), Triton("b", 8)], []),
        ([Triton("a"), Triton("b")], ["a"]),
        ([Triton("a", 7), Triton("b", 5), Triton("c", 7), Triton("d", 7)], ["b", "a"]),
    ],
)
def test_half_of_them_move_and_those_that_answer_nobody_move_first(
    tritons: list[Triton], moved: list[str], converted: list[str]
) -> None:
    done = first_half(run_with(*tritons), TO, [SEVEN], may_stop=False)
    assert converted == moved
    assert {one.name for one in done} == {one.name for one in tritons if 8 in one.versions}
    assert the_rest(run_with(*tritons), TO) == {}
    assert [one.versions for one in tritons] == [[8]] * len(tritons)


def test_the_only_one_stops_answering_only_where_that_is_accepted(converted: list[str]) -> None:
    with pytest.raises(Refused, match="churn is replaced in place, and dev has no second Triton that answers"):
        first_half(run_with(Triton("a", 7)), TO, [SEVEN], may_stop=False)
    assert converted == []
    first_half(run_with(Triton("a", 7)), TO, [SEVEN], may_stop=True)
    assert converted == ["a"]


def test_what_some_gateway_may_still_route_to_is_kept_also_where_two_versions_are(converted: list[str]) -> None:
    """A run was cut off when one Triton had the next version: neither of the two has a second Triton."""
    with pytest.raises(Refused):
        first_half(run_with(Triton("a", 7), Triton("b", 9)), TO, [SEVEN, NINE], may_stop=True)
    assert converted == []


def test_one_that_does_not_answer_stops_the_way_forth_and_not_the_way_back(converted: list[str]) -> None:
    tritons = Triton("a", 7), Triton("b", away=True)
    with pytest.raises(Unavailable):
        first_half(run_with(*tritons), TO, [SEVEN], may_stop=False)
    assert converted == []
    first_half(run_with(*tritons), TO, [SEVEN], strict=False, may_stop=True)
    assert converted == ["a"]


def test_other_models_are_none_of_its_names() -> None:
    assert TO.is_of("churn") and TO.is_of("churn.1a2b3c4d-2")
    assert not TO.is_of("churn-shadow") and not TO.is_of("churn2.1a2b3c4d")
