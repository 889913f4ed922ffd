"""What is said of recorded requests that another version answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.replayed import WORST, Reading, Tally
from bot.domain.smoke import Tensor

AT = datetime(2026, 11, 30, 9, tzinfo=UTC)


def label(value: int) -> list[Tensor]:
    return [Tensor("label", "INT64", (1,), (value,))]


def chances(*values: float) -> list[Tensor]:
    return [Tensor("p", "FP32", (1, len(values)), values)]


def add(tally: Tally, at: datetime, in_service: list[Tensor], proposed: list[Tensor]) -> None:
    tally.add(at, {"in_service": in_service, "proposed": proposed}, {})


def test_the_decisions_that_change_are_counted_and_the_rest_is_as_before() -> None:
    tally = Tally()
    for number in range(100):
        add(tally, AT + timedelta(seconds=-number), label(0), label(int(number % 10 == 0)))
    found = tally.result()
    assert (found.requests, found.asked, found.problem) == (100, 100, "")
    assert (found.since, found.until) == (AT - timedelta(seconds=99), AT)
    decisions = found.decisions
    assert decisions is not None
    assert (decisions.rows, decisions.changed, decisions.other) == (100, 10, 10)
    assert (decisions.fixed, decisions.broken) == (0, 0)  # nobody knows the right answers
    assert [change.row for change in decisions.worst] == [0, 10, 20, 30, 40]
    assert (decisions.worst[0].before, decisions.worst[0].after) == ("label[0] 0", "label[0] 1")


def test_of_numbers_the_furthest_are_shown_behind_the_decisions() -> None:
    tally = Tally()
    for moved in (0.01, 0.2, 0.05, 0.0):
        add(tally, AT, chances(0.9, 0.1), chances(0.9 - moved, 0.1 + moved))
    add(tally, AT, chances(0.51, 0.49), chances(0.49, 0.51))
    decisions = tally.result().decisions
    assert decisions is not None and decisions.changed == 1
    assert [change.row for change in decisions.worst] == [4, 1, 2, 0]


def test_only_so_many_are_kept() -> None:
    tally = Tally()
    for number in range(1000):
        add(tally, AT, chances(0.9, 0.1), chances(0.9 - number / 10000, 0.1 + number / 10000))
    decisions = tally.result().decisions
    assert decisions is not None
    assert [change.row for change in decisions.worst] == [999, 998, 997, 996, 995][:WORST]


def test_what_a_version_refuses_is_counted_and_compared_with_nothing() -> None:
    tally = Tally()
    tally.add(AT, {"in_service": label(1)}, {"proposed": "no input X"})
    tally.add(AT, {}, {"in_service": "other words", "proposed": "no input X"})
    found = tally.result()
    assert (found.asked, found.requests, found.decisions) == (2, 0, None)
    assert (found.refused.proposed, found.refused.in_service, found.refused.why) == (
        2,
        1,
        "request 0: no input X",
    )


def test_an_answer_of_another_form_is_another_decision() -> None:
    tally = Tally()
    add(tally, AT, chances(0.9, 0.1), chances(0.9, 0.05, 0.05))
    decisions = tally.result().decisions
    assert decisions is not None and decisions.changed == 1 and decisions.worst[0].by is None


def one(value: float, *, name: str = "p") -> list[Tensor]:
    return [Tensor(name, "FP32", (1, 1), (value,))]


@pytest.mark.parametrize(
    ("reading", "before", "after", "changed"),
    [
        (Reading(), 0.1, 0.9, 1),
        (Reading(), 0.1, 0.4, 0),
        (Reading(decides=True, threshold=0.3), 0.1, 0.4, 1),
        (Reading(decides=True), 1.0, 2.0, 1),
        (Reading(), 10.0, 1e6, 1),
        (Reading(), 10.0, 10.0000001, 0),
        (Reading(decides=False), 0.1, 0.2, 1),
    ],
)
def test_one_number_is_read_as_the_set_says_and_else_by_its_size(
    reading: Reading, before: float, after: float, changed: int
) -> None:
    tally = Tally(reading)
    add(tally, AT, one(before), one(after))
    decisions = tally.result().decisions
    assert decisions is not None and decisions.changed == changed


def test_only_the_measured_output_is_read_so_and_two_versions_may_name_it_differently() -> None:
    tally = Tally(Reading({"in_service": "p", "proposed": "chance"}, decides=True))
    add(tally, AT, [*one(0.1), *one(1.0, name="other")], [*one(0.9, name="chance"), *one(7.0, name="other")])
    decisions = tally.result().decisions
    assert decisions is not None and decisions.changed == 1
    quiet = Tally(Reading({"in_service": "p", "proposed": "p"}, decides=True))
    add(quiet, AT, [*one(0.1), *one(1.0, name="other")], [*one(0.2), *one(7.0, name="other")])
    found = quiet.result().decisions
    assert found is not None and found.changed == 0


def test_what_is_no_finite_number_answers_nothing() -> None:
    tally = Tally()
    add(tally, AT, chances(0.9, 0.1), chances(float("nan"), float("nan")))
    found = tally.result()
    assert (found.asked, found.requests, found.refused.proposed, found.refused.in_service) == (1, 0, 1, 0)
    assert found.refused.why == "request 0: p is not a finite number"


def test_requests_that_were_recorded_without_a_field_are_counted() -> None:
    tally = Tally()
    for dropped in ((), ("customer",), ("customer", "X[3]")):
        tally.add(AT, {"in_service": label(1), "proposed": label(1)}, {}, dropped=dropped)
    found = tally.result()
    assert (found.requests, found.incomplete, found.without) == (3, 2, ("X[3]", "customer"))
