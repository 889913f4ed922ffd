"""What counts as another answer."""

from __future__ import annotations

import math

import pytest

from bot.domain.behaviour import MAX_MOVED, compare
from bot.domain.packed import Scalar
from bot.domain.smoke import Answered, Tensor


def answer(case: str, *, label: int = 0, probabilities: tuple[Scalar, ...] = (0.9, 0.1)) -> Answered:
    width = len(probabilities)
    return Answered(
        case=case,
        outputs=(
            Tensor("label", "INT64", (1,), (label,)),
            Tensor("probabilities", "FP32", (1, width), probabilities),
        ),
    )


def test_the_same_answers_do_not_move() -> None:
    same = [answer("a"), answer("b", probabilities=(math.nan, 1.0))]
    assert compare(same, same) == (2, 0, [])


@pytest.mark.parametrize(
    ("after", "flips", "output", "by"),
    [
        (answer("a", probabilities=(0.8, 0.1)), False, "probabilities[0]", 0.1),
        (answer("a", probabilities=(0.4, 0.6)), True, "probabilities[0]", 0.5),
        (answer("a", label=1), True, "label[0]", math.inf),
        (answer("a", label=1, probabilities=(0.4, 0.6)), True, "label[0]", math.inf),
        (answer("a", probabilities=(math.nan, 0.1)), False, "probabilities[0]", math.inf),
        (answer("a", probabilities=(0.9, 0.1, 0.0)), True, "probabilities", math.inf),
        (Answered(case="a", outputs=()), True, "label", math.inf),
    ],
)
def test_what_moves_and_what_flips(after: Answered, flips: bool, output: str, by: float) -> None:
    _, flipped, (moved, *_) = compare([answer("a")], [after])
    assert flipped == flips == moved.flips
    assert (moved.output, moved.by) == (output, pytest.approx(by))


def test_the_worst_stand_first_and_few_are_kept() -> None:
    before = [answer(f"row-{n}") for n in range(20)]
    after = [answer(f"row-{n}", probabilities=(0.9 - n / 100, 0.1)) for n in range(19)] + [answer("row-19", label=1)]
    cases, flipped, moved = compare(before, after)
    assert (cases, flipped) == (20, 1)
    assert [m.case for m in moved] == ["row-19", "row-18", "row-17", "row-16", "row-15"][:MAX_MOVED]


def test_many_flips_do_not_hide_how_far_numbers_moved() -> None:
    before = [answer(f"row-{n}") for n in range(9)]
    after = [answer(f"row-{n}", label=1, probabilities=(0.9 - n / 10, 0.1)) for n in range(8)] + [answer("row-8")]
    _, flipped, moved = compare(before, after)
    assert flipped == 8 and len(moved) == MAX_MOVED
    assert max(m.by for m in moved if math.isfinite(m.by)) == pytest.approx(0.7)


def test_a_batch_of_rows_that_are_cases_of_their_own_counts_nothing_twice() -> None:
    def batch(*labels: int) -> Answered:
        scores = tuple(value for label in labels for value in (0.9 - label / 2, 0.1 + label / 2))
        outputs = (Tensor("label", "INT64", (len(labels),), labels), Tensor("p", "FP32", (len(labels), 2), scores))
        return Answered(case=f"batch-of-{len(labels)}", outputs=outputs)

    rows = [batch(0), batch(1)]
    assert compare([*rows, batch(0, 1)], [batch(1), batch(1), batch(1, 1)])[:2] == (2, 1)
    assert compare([*rows, batch(0, 0, 1)], [*rows, batch(0, 0, 0)])[:2] == (2, 0)
    assert compare([rows[0], batch(0, 1)], [rows[0], batch(0, 0)])[:2] == (2, 1), "a row of it is no case of its own"
