"""What `evidence show` says of large answers, of which the evidence keeps hashes."""

from __future__ import annotations

import math

from bot.domain.answers import Hashed, Place
from bot.domain.evidence import Answer
from bot.domain.smoke import Tensor
from bot.render.answers import KEPT_SHOWN, kept_answers

LABEL = Tensor("label", "INT64", (1,), (7,))


def mask(differing: int = 0, *furthest: Place) -> Hashed:
    return Hashed("mask", "FP32", (1, 4000), "ab" * 32, differing, furthest)


def test_small_answers_have_no_line_of_their_own() -> None:
    assert list(kept_answers([Answer(case="row-0", outputs=(LABEL,))])) == []


def test_a_large_answer_says_whether_and_where_it_is_off() -> None:
    answers = [
        Answer(case="row-0", outputs=(LABEL, mask())),
        Answer(case="row-1", outputs=(mask(3000, Place(7, 0.5, math.nan), Place(9, 0.0, 0.25)),)),
        Answer(case="row-2", outputs=(mask(4000),)),
    ]
    beginning = "mask FP32[1, 4000] sha256 abababababab, "
    assert list(kept_answers(answers)) == [
        f"staging, row-0: {beginning}exactly as the training framework answered",
        f"staging, row-1: {beginning}3000 of 4000 values not exactly as the training framework's, "
        "the furthest at [7]: nan instead of 0.5",
        f"staging, row-2: {beginning}4000 of 4000 values not exactly as the training framework's",
    ]


def test_of_many_the_rest_is_in_the_json() -> None:
    *_, last = said = list(kept_answers(Answer(case=f"row-{n}", outputs=(mask(),)) for n in range(KEPT_SHOWN + 3)))
    assert len(said) == KEPT_SHOWN + 1 and last == "staging: 3 more large answers; --json has all of them"
