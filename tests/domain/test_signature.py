"""Signatures: when two sides mean the same tensors."""

from __future__ import annotations

import pytest

from bot.domain.signature import Signature, TensorSpec, differences


def spec(*shape: int, name: str = "X", datatype: str = "FP32") -> TensorSpec:
    return TensorSpec(name, datatype, shape)


def said(one: TensorSpec | None, other: TensorSpec | None) -> list[str]:
    left, right = (Signature((x,) if x else (), ()) for x in (one, other))
    return differences(left, right, one_is="MLflow", other_is="Triton")


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        (spec(-1, 30), spec(-1, 30), True),
        (spec(-1, 30), spec(8, 30), True),  # -1 is any size
        (spec(-1, 30), spec(-1, 31), False),
        (spec(-1), spec(-1, 1), True),  # one value a row
        (spec(-1, 1, 1), spec(-1), True),
        (spec(1), spec(1, 1), True),
        (spec(-1, 1), spec(-1, 2), False),
        (spec(-1), spec(-1, -1), False),
        (spec(), spec(), True),
        (spec(), spec(1), False),
        (spec(-1, 30), spec(-1, 30, datatype="FP64"), False),
        (spec(-1, 30), spec(-1, 30, name="Y"), False),
        (spec(-1, 30), None, False),
        (None, spec(-1, 30), False),
        (None, None, True),
    ],
)
def test_when_two_agree(one: TensorSpec | None, other: TensorSpec | None, agree: bool) -> None:
    assert (not said(one, other)) is agree
    assert (not said(other, one)) is agree


def test_the_sentence_names_both_sides_and_the_tensor() -> None:
    assert said(spec(-1, 30), spec(-1, 31)) == [
        "MLflow and Triton disagree on input X: X: FP32[-1, 30] against X: FP32[-1, 31]"
    ]
    assert said(spec(-1, 30), None) == ["MLflow and Triton disagree on input X: X: FP32[-1, 30] against none"]
    outputs = differences(Signature((), (spec(1),)), Signature((), ()), one_is="a", other_is="b")
    assert outputs == ["a and b disagree on output X: X: FP32[1] against none"]


def test_every_tensor_counts_and_their_order_does_not() -> None:
    one = Signature((spec(1, name="a"), spec(2, name="b")), (spec(3, name="c"),))
    other = Signature((spec(2, name="b"), spec(1, name="a")), (spec(3, name="c"),))
    assert not differences(one, other, one_is="a", other_is="b")
    assert len(differences(one, Signature((), ()), one_is="a", other_is="b")) == 3
    assert str(one) == "(a: FP32[1], b: FP32[2]) → (c: FP32[3])"
