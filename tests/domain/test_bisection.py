"""The search for the release that began to answer wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.bisection import Turn, by_all, by_halves


class Releases:
    """Releases that hold (+), do not (-), or cannot be asked (?); counts what was asked."""

    def __init__(self, answers: str) -> None:
        self.answers, self.asked = answers, set[int]()

    def holds(self, number: int) -> bool | None:
        self.asked.add(number)
        return {"+": True, "-": False, "?": None}[self.answers[number]]


@pytest.mark.parametrize(
    ("answers", "turn"),
    [
        ("-", Turn(0, None)),
        ("+", Turn(None, 0)),
        ("?", Turn(None, None)),
        ("+-", Turn(1, 0)),
        ("++++-", Turn(4, 3)),
        ("+----", Turn(1, 0)),
        ("-----", Turn(0, None)),
        ("??---", Turn(2, None)),
        ("+???-", Turn(4, 0)),
        ("++?--", Turn(3, 1)),
        ("++-??", Turn(2, 1)),
        ("+++??", Turn(None, 2)),
    ],
)
def test_it_finds_the_turn(answers: str, turn: Turn) -> None:
    releases = Releases(answers)
    assert by_halves([len(answers) - 1], releases.holds) == turn
    assert by_all(len(answers), releases.holds)[0] == turn


def test_what_serves_counts_where_the_newest_release_holds() -> None:
    releases = Releases("+--++")
    assert by_halves([4, 2], releases.holds) == Turn(1, 0)
    assert by_halves([4], releases.holds) == Turn(None, 4)


def test_all_says_how_often_it_turned_and_the_last_time() -> None:
    assert by_all(7, Releases("+--+?--").holds) == (Turn(5, 3), 2)
    assert by_all(3, Releases("-+-").holds) == (Turn(2, 1), 2)
    assert by_all(3, Releases("+++").holds) == (Turn(None, 2), 0)
    assert by_all(2, Releases("??").holds) == (Turn(None, None), 0)


@given(st.integers(1, 200), st.data())
def test_where_it_turned_once_few_are_asked(count: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, count))
    releases = Releases("+" * first + "-" * (count - first))
    expected = Turn(None, count - 1) if first == count else Turn(first, first - 1)
    assert by_halves([count - 1], releases.holds) == expected
    assert len(releases.asked) <= 2 + count.bit_length()


@given(st.text(alphabet="+-?", min_size=1, max_size=30))
def test_whatever_releases_answer_what_is_found_is_a_turn(answers: str) -> None:
    turn = by_halves([len(answers) - 1], Releases(answers).holds)
    known = [number for number, answer in enumerate(answers) if answer != "?"]
    if turn.wrong is None:
        assert not known or (turn.right == known[-1] and answers[known[-1]] == "+")
    elif turn.right is None:
        assert turn.wrong == known[0] and answers[turn.wrong] == "-"
    else:
        assert (answers[turn.right], answers[turn.wrong]) == ("+", "-")
        assert set(answers[turn.right + 1 : turn.wrong]) <= {"?"}, "the next that could be asked"
