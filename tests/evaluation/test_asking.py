"""Both versions answer the same rows: in turns, nothing left out, arrays as the bytes that they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from bot.domain.packed import RawTensor
from bot.domain.signature import Signature, TensorSpec
from bot.errors import Denied, InvalidInput, Rejected, Unavailable
from bot.evaluation.asking import (
    IN_SERVICE,
    MOST_REFUSED,
    PROPOSED,
    Answered,
    ask,
    on_triton,
    problems,
    rows_in_a_request,
)
from bot.evaluation.sets import Batch


def batches(rows: int, at_once: int) -> Iterator[Batch]:
    numbers = np.arange(rows, dtype=np.float32)[:, np.newaxis]
    for start in range(0, rows, at_once):
        yield Batch(start, {"X": numbers[start : start + at_once]})


class Version:
    """Answers Y = X + ``amount``; refuses a request that holds one of ``refuses``."""

    def __init__(self, amount: float, refuses: Callable[[float], bool] = lambda _: False) -> None:
        self.amount, self.refuses = amount, refuses
        self.asked: list[int] = []

    def __call__(self, batch: Batch) -> Mapping[str, Any]:
        self.asked.append(batch.rows)
        for value in batch.inputs["X"].ravel():
            if self.refuses(value):
                raise Rejected(f"no {value:g}", system="Triton staging")
        return {"Y": batch.inputs["X"] + np.float32(self.amount)}


def joined(answers: list[Answered], who: str) -> list[float]:
    return [value for answered in answers for value in answered.outputs[who]["Y"].ravel().tolist()]


def test_both_answer_every_row() -> None:
    answers = list(ask(batches(10, 4), {PROPOSED: Version(1), IN_SERVICE: Version(2)}))

    assert [answered.batch.rows for answered in answers] == [4, 4, 2]
    assert joined(answers, PROPOSED) == [n + 1 for n in range(10)]
    assert joined(answers, IN_SERVICE) == [n + 2 for n in range(10)]
    for answered in answers:
        assert not any(mask.any() for mask in answered.refused.values())
        assert answered.errors == {} and set(answered.seconds) == {PROPOSED, IN_SERVICE}


def test_a_version_alone_is_asked_alone() -> None:
    (answered,) = ask(batches(3, 4), {PROPOSED: Version(1)})
    assert set(answered.outputs) == {PROPOSED}


def test_who_is_asked_first_alternates() -> None:
    order: list[str] = []

    def noting(who: str) -> Callable[[Batch], Mapping[str, Any]]:
        def answer(batch: Batch) -> Mapping[str, Any]:
            order.append(who)
            return batch.inputs

        return answer

    list(ask(batches(8, 2), {"p": noting("p"), "s": noting("s")}))
    assert "".join(order) == "psspps" + "sp"


def test_what_is_refused_is_asked_row_by_row_and_counted() -> None:
    proposed, in_service = Version(1, lambda x: x in (2, 9)), Version(2)
    answers = list(ask(batches(12, 4), {PROPOSED: proposed, IN_SERVICE: in_service}))

    assert proposed.asked == [4, 1, 1, 1, 1, 4, 4, 1, 1, 1, 1] and in_service.asked == [4, 4, 4]
    refused = np.concatenate([answered.refused[PROPOSED] for answered in answers])
    assert np.flatnonzero(refused).tolist() == [2, 9]
    values = np.array(joined(answers, PROPOSED))
    assert np.isnan(values[refused]).all()
    assert values[~refused].tolist() == [n + 1 for n in range(12) if n not in (2, 9)]
    assert joined(answers, IN_SERVICE) == [n + 2 for n in range(12)]
    assert [answered.errors for answered in answers] == [
        {PROPOSED: "row 2: Triton staging: no 2"},
        {},
        {PROPOSED: "row 9: Triton staging: no 9"},
    ]
    assert [PROPOSED in answered.seconds for answered in answers] == [False, True, False]


def test_a_batch_of_one_row_is_not_asked_twice() -> None:
    version = Version(1, lambda x: x == 1)
    answers = list(ask(batches(3, 1), {PROPOSED: version}))
    assert version.asked == [1, 1, 1]
    assert [bool(answered.refused[PROPOSED][0]) for answered in answers] == [False, True, False]


def test_before_the_first_answer_nothing_is_known_of_the_outputs() -> None:
    first, second = ask(batches(4, 2), {PROPOSED: Version(1, lambda x: x < 2)})
    assert first.outputs[PROPOSED] == {} and first.refused[PROPOSED].tolist() == [True, True]
    assert second.outputs[PROPOSED]["Y"].ravel().tolist() == [3, 4]


def test_a_version_that_refuses_everything_is_a_mistake_of_the_set() -> None:
    version = Version(1, lambda _: True)
    with pytest.raises(
        InvalidInput, match=f"proposed: refused all of the first {MOST_REFUSED} rows: row 0: Triton staging: no 0"
    ) as failure:
        list(ask(batches(10 * MOST_REFUSED, 64), {PROPOSED: version}))
    assert "Compare the inputs" in failure.value.next_step
    # After an answer it goes on to the end: then the rows are to blame.
    version = Version(1, lambda x: x > 0)
    answers = list(ask(batches(2 * MOST_REFUSED, 64), {PROPOSED: version}))
    assert sum(int(answered.refused[PROPOSED].sum()) for answered in answers) == 2 * MOST_REFUSED - 1


@pytest.mark.parametrize("error", [Unavailable("gone", system="Triton"), Denied("no", system="Triton")])
def test_an_outage_is_no_answer(error: Exception) -> None:
    def broken(_: Batch) -> Mapping[str, Any]:
        raise error

    with pytest.raises(type(error)):
        list(ask(batches(4, 2), {PROPOSED: Version(1), IN_SERVICE: broken}))


def test_a_model_that_does_not_answer_row_by_row_is_asked_so() -> None:
    answers = list(ask(batches(4, 2), {PROPOSED: lambda batch: {"Y": batch.inputs["X"][:1]}}))
    assert joined(answers, PROPOSED) == [0, 1, 2, 3]


def test_answers_of_other_shapes_cannot_be_measured() -> None:
    with pytest.raises(InvalidInput, match=r"proposed: answers Y as \[3\] to row 2, and as \[2\] before"):
        list(ask(batches(4, 2), {PROPOSED: lambda batch: {"Y": np.zeros((2, 2 + batch.start // 2))}}))


@pytest.mark.parametrize(
    ("wanted", "sizes", "rows"), [(256, [64, 128], 64), (16, [64], 16), (256, [0, 64], 1), (256, [], 256)]
)
def test_rows_in_a_request(wanted: int, sizes: list[int], rows: int) -> None:
    assert rows_in_a_request(wanted, sizes) == rows


# --- on the wire --------------------------------------------------------------------------------------------------


class Wire:
    """Stands where a Triton is: keeps what it was asked, answers ``answers``."""

    def __init__(self, *answers: RawTensor) -> None:
        self.answers, self.tensors, self.outputs = answers, list[RawTensor](), ()

    def __call__(self, tensors: list[RawTensor], *, outputs: Any) -> list[RawTensor]:
        self.tensors, self.outputs = tensors, outputs
        return list(self.answers)


def signature(*inputs: TensorSpec) -> Signature:
    return Signature(inputs, (TensorSpec("Y", "FP32", (-1, 1)),))


def test_arrays_go_as_the_bytes_that_they_are() -> None:
    inputs = (TensorSpec("X", "FP32", (2,)), TensorSpec("T", "BYTES", (1,)))
    wire = Wire(RawTensor("Y", "FP32", (3, 1), np.float32([1, 2, 3]).tobytes()))
    asks = on_triton(
        wire,
        inputs,
        signature(TensorSpec("T", "BYTES", (-1, 1)), TensorSpec("X", "FP32", (-1, -1))),
        max_batch_size=8,
        outputs=["Y"],
    )
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)[::2]
    found = asks(Batch(0, {"X": rows, "T": np.array([[b"a"], [b""], ["é".encode()]], object)}))

    assert {tensor.name: tensor for tensor in wire.tensors} == {
        "X": RawTensor("X", "FP32", (3, 2), rows.tobytes()),
        "T": RawTensor("T", "BYTES", (3, 1), b"\1\0\0\0a\0\0\0\0\2\0\0\0\xc3\xa9"),
    }
    assert wire.outputs == ["Y"] and found["Y"].tolist() == [[1], [2], [3]]


@pytest.mark.parametrize(
    ("row", "takes", "max_batch_size", "sent"),
    [
        ((1,), (-1, 1), 8, (1, 1)),
        ((1,), (-1,), 8, (1,)),
        ((5,), (-1, -1, 1), 8, (1, 5, 1)),
        ((1,), (-1,), 0, (1,)),
        ((2, 3), (2, 3), 0, (2, 3)),
        ((1,), (), 0, ()),
    ],
)
def test_a_row_goes_in_the_shape_that_the_model_takes(
    row: tuple[int, ...], takes: tuple[int, ...], max_batch_size: int, sent: tuple[int, ...]
) -> None:
    wire = Wire(RawTensor("Y", "FP32", (1,), b"\0\0\0\0"))
    of_the_set, of_the_model = (TensorSpec("X", "FP32", row),), signature(TensorSpec("X", "FP32", takes))
    asks = on_triton(wire, of_the_set, of_the_model, max_batch_size=max_batch_size, outputs=["Y"])
    found = asks(Batch(0, {"X": np.zeros((1, *row), np.float32)}))
    assert wire.tensors[0].shape == sent
    assert len(found["Y"]) == 1


def test_a_model_without_batches_is_asked_row_by_row() -> None:
    wire = Wire(RawTensor("Y", "FP32", (2,), b"\0" * 8))
    model = signature(TensorSpec("X", "FP32", (1,)))
    asks = on_triton(wire, (TensorSpec("X", "FP32", (1,)),), model, max_batch_size=0, outputs=["Y"])
    (answered,) = ask(batches(3, 3), {PROPOSED: asks})
    assert answered.outputs[PROPOSED]["Y"].shape == (3, 2) and not answered.refused[PROPOSED].any()


@pytest.mark.parametrize(
    ("tensor", "wanted"),
    [
        (RawTensor("Y", "BF16", (2, 1), b"\x80\x3f\xc0\x3f"), [[1.0], [1.5]]),
        (RawTensor("Y", "FP16", (2, 1), np.float16([1, 1.5]).tobytes()), [[1.0], [1.5]]),
        (RawTensor("Y", "BOOL", (2, 1), b"\0\1"), [[False], [True]]),
        (RawTensor("Y", "UINT64", (2, 1), np.uint64([1, 2**64 - 1]).tobytes()), [[1], [2**64 - 1]]),
        (RawTensor("Y", "BYTES", (2, 1), b"\1\0\0\0a\2\0\0\0\xc3\xa9"), [["a"], ["é"]]),
        (RawTensor("Y", "BYTES", (2, 1), b"\1\0\0\0a\1\0\0\0\xff"), [[b"a"], [b"\xff"]]),
    ],
)
def test_every_datatype_comes_back_as_an_array(tensor: RawTensor, wanted: Any) -> None:
    one = TensorSpec("X", "FP32", (1,))
    asks = on_triton(
        Wire(tensor), (one,), signature(TensorSpec("X", "FP32", (-1, 1))), max_batch_size=8, outputs=["Y"]
    )
    assert asks(next(batches(2, 2)))["Y"].tolist() == wanted


def test_a_set_that_does_not_fit_the_model_is_named() -> None:
    model = signature(*(TensorSpec(name, "FP32", (-1, 4)) for name in "ABC"))
    inputs = (TensorSpec("A", "FP64", (4,)), TensorSpec("B", "FP32", (5,)), TensorSpec("D", "FP32", (4,)))
    found = problems(inputs, model, max_batch_size=8)
    assert found == [
        "the model has no input D",
        "the set lacks the input C: FP32[-1, 4]",
        "A is FP64 in the set, and the model takes FP32",
        "a row of B is [5] in the set, and the model takes [4]",
    ]
    with pytest.raises(InvalidInput, match="the model has no input D; the set lacks") as failure:
        on_triton(Wire(), inputs, model, max_batch_size=8, outputs=["Y"])
    assert "astype(np.float32)" in failure.value.next_step
