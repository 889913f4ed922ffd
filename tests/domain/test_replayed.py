"""What is said of recorded requests that another version answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bot.domain.replayed import WORST, Tally
from bot.domain.smoke import Tensor

AT = datetime(2026, 11, 30, 9, tzinfo=UTC)


def label(value: int) -> list[Tensor]:
    return [Tensor("label", "INT64", (1,), (value,))]


def chances(*values: float) -> list[Tensor]:
    return [Tensor("p", "FP32", (1, len(values)), values)]


def test_the_decisions_that_change_are_counted_and_the_rest_is_as_before() -> None:
    tally = Tally()
    for number in range(100):
        tally.answered(AT + timedelta(seconds=-number), label(0), label(int(number % 10 == 0)))
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
        tally.answered(AT, chances(0.9, 0.1), chances(0.9 - moved, 0.1 + moved))
    tally.answered(AT, chances(0.51, 0.49), chances(0.49, 0.51))
    decisions = tally.result().decisions
    assert decisions is not None and decisions.changed == 1
    assert [change.row for change in decisions.worst] == [4, 1, 2, 0]


def test_only_so_many_are_kept() -> None:
    tally = Tally()
    for number in range(1000):
        tally.answered(AT, chances(0.9, 0.1), chances(0.9 - number / 10000, 0.1 + number / 10000))
    decisions = tally.result().decisions
    assert decisions is not None
    assert [change.row for change in decisions.worst] == [999, 998, 997, 996, 995][:WORST]


def test_what_a_version_refuses_is_counted_and_compared_with_nothing() -> None:
    tally = Tally()
    tally.refused(AT, "proposed", "no input X")
    tally.refused(AT, "in_service", "other words")
    found = tally.result()
    assert (found.asked, found.requests, found.decisions) == (2, 0, None)
    assert (found.refused.proposed, found.refused.in_service, found.refused.why) == (1, 1, "no input X")


def test_an_answer_of_another_form_is_another_decision() -> None:
    tally = Tally()
    tally.answered(AT, chances(0.9, 0.1), chances(0.9, 0.05, 0.05))
    decisions = tally.result().decisions
    assert decisions is not None and decisions.changed == 1 and decisions.worst[0].by is None
