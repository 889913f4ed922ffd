"""Both versions answer the rows of an evaluation set, batch by batch, on one Triton.

The two take turns at being asked first, so that neither always finds the machine warm. Arrays go to the wire as the
bytes that they are. A batch that a version refuses is asked again row by row: what it refuses is counted and never
left out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.domain.packed import RawTensor
from bot.domain.signature import Signature, TensorSpec
from bot.errors import Denied, Foreign, InvalidInput, Rejected
from bot.evaluation.columns import DTYPES
from bot.evaluation.sets import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROPOSED, IN_SERVICE = "proposed", "in_service"
MOST_REFUSED = 1000
"""Rows that a version may refuse before it has answered any: then the set is not for this model."""

Outputs = Mapping[str, "NDArray[Any]"]
"""A version's outputs by name, with a row for each row that was asked."""
AskOne = Callable[[Batch], Outputs]
"""Asks one version some rows; raises Rejected where it refuses them, Unavailable where nobody answers."""


@dataclass(frozen=True)
class Answered:
    """What each version answered to a batch, by who it is.

    ``outputs`` have a row for each row of the batch: that of a row which was refused is NaN, 0 or empty. They are
    empty for a version that has answered no row yet. ``refused`` says which rows were refused, ``errors`` why the
    first of them was. ``seconds`` is how long the batch took in one request; who had to be asked row by row is not
    in it.
    """

    batch: Batch
    outputs: Mapping[str, Outputs]
    refused: Mapping[str, NDArray[np.bool_]]
    errors: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


def ask(
    batches: Iterable[Batch], ask_one: Mapping[str, AskOne], *, most_refused: int | None = MOST_REFUSED
) -> Iterator[Answered]:
    """Yield what every version answers to each batch; ``ask_one`` asks one of them.

    Raises InvalidInput where a version refuses ``most_refused`` rows before it answers any, and whatever else
    ``ask_one`` raises, such as Unavailable for an outage.
    """
    asked = {who: _Asked(who, each, most_refused) for who, each in ask_one.items()}
    order = list(asked.values())
    for number, batch in enumerate(batches):
        first = number % len(order)
        found = {one.who: one.ask(batch) for one in order[first:] + order[:first]}
        yield Answered(
            batch=batch,
            outputs={who: found[who].outputs for who in asked},
            refused={who: found[who].refused for who in asked},
            errors={who: found[who].error for who in asked if found[who].error},
            seconds={who: seconds for who in asked if (seconds := found[who].seconds) is not None},
        )


@dataclass(frozen=True)
class _Answer:
    outputs: Outputs
    refused: NDArray[np.bool_]
    error: str = ""
    seconds: float | None = None


class _Asked:
    """One version, and what its outputs look like once it has answered."""

    def __init__(self, who: str, ask_one: AskOne, most_refused: int | None) -> None:
        self.who, self._ask_one, self._most_refused = who, ask_one, most_refused
        self._looks: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._refused, self._first_error = 0, ""

    def ask(self, batch: Batch) -> _Answer:
        began = time.perf_counter()
        try:
            outputs = self._checked(batch, self._ask_one(batch))
        except (Denied, Foreign):
            raise
        except Rejected as error:
            return self._row_by_row(batch, error)
        return _Answer(outputs, np.zeros(batch.rows, np.bool_), seconds=time.perf_counter() - began)

    def _checked(self, batch: Batch, outputs: Outputs) -> Outputs:
        for name, array in outputs.items():
            if not array.ndim or len(array) != batch.rows:
                message = f"answers {list(array.shape)} as {name} to {batch.rows} rows, from row {batch.start} on"
                raise Rejected(message, system=self.who, next_step="A model must answer row by row to be measured.")
        if not self._looks:
            self._looks = {name: (array.dtype, array.shape[1:]) for name, array in outputs.items()}
        for name, (_, shape) in self._looks.items():
            if outputs[name].shape[1:] != shape:
                raise InvalidInput(
                    f"answers {name} as {list(outputs[name].shape[1:])} to row {batch.start}, and as {list(shape)} "
                    "before",
                    key=self.who,
                    next_step="A model whose answers change their shape from row to row cannot be measured.",
                )
        return outputs

    def _row_by_row(self, batch: Batch, error: Rejected) -> _Answer:
        answers: list[Outputs | None] = []
        said = ""
        for number in range(batch.rows):
            row = batch.only(number, number + 1)
            try:
                answers.append(self._checked(row, self._ask_one(row)) if batch.rows > 1 else self._refuse(error))
            except (Denied, Foreign):
                raise
            except Rejected as of_the_row:
                said = said or f"row {row.start}: {of_the_row.message}"
                self._count(said, of_the_row)
                answers.append(None)
        refused = np.fromiter((answer is None for answer in answers), np.bool_, batch.rows)
        return _Answer(self._together(answers), refused, said)

    @staticmethod
    def _refuse(error: Rejected) -> Outputs:
        raise error

    def _count(self, said: str, error: Rejected) -> None:
        self._refused += 1
        self._first_error = self._first_error or said
        if not self._looks and self._refused == self._most_refused:
            raise refuses_everything(self.who, self._refused, self._first_error) from error

    def _together(self, answers: Sequence[Outputs | None]) -> Outputs:
        """Return the rows together; those that were refused are empty."""
        found = {}
        for name, (dtype, shape) in self._looks.items():
            rows = [nothing(1, dtype, shape) if answer is None else answer[name] for answer in answers]
            found[name] = np.concatenate(rows)
        return found


def nothing(rows: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return what stands in the outputs for ``rows`` that were refused; ``shape`` is that of one row."""
    fill: Any = {"f": np.nan, "U": "", "O": b""}.get(dtype.kind, 0)
    return np.full((rows, *shape), fill, dtype)


def refuses_everything(who: str, rows: int, said: str) -> InvalidInput:
    """Return that a version refused the first ``rows`` rows, and why the first of them."""
    return InvalidInput(
        f"refused all of the first {rows} rows: {said}",
        key=who,
        next_step="Compare the inputs of the evaluation set with those of the model.",
    )


def rows_in_a_request(wanted: int, max_batch_sizes: Iterable[int]) -> int:
    """Return how many rows to ask at once, at most ``wanted``, so that every version takes them in one request.

    A version without batches (0) takes one row.
    """
    return max(1, min([wanted, *(size or 1 for size in max_batch_sizes)]))


# --- Triton -------------------------------------------------------------------------------------------------------

InferRaw = Callable[..., Sequence[RawTensor]]
"""``TritonServer.infer_raw`` of one model and version: takes tensors, and by keyword the names of outputs."""


def problems(inputs: Sequence[TensorSpec], signature: Signature, *, max_batch_size: int) -> list[str]:
    """Return one sentence for each input of a set that does not fit the model; none where the set can be asked.

    ``inputs`` have the shape of one row. ``signature`` is what Triton says, with the batch where there is one.
    """
    given, wanted = {spec.name: spec for spec in inputs}, {spec.name: spec for spec in signature.inputs}
    found = [f"the model has no input {name}" for name in sorted(set(given) - set(wanted))]
    found += [f"the set lacks the input {wanted[name]}" for name in sorted(set(wanted) - set(given))]
    takes = _takes(signature, max_batch_size)
    for name in sorted(set(given) & set(wanted)):
        datatype, shape = given[name].datatype, given[name].shape
        if datatype != wanted[name].datatype:
            found.append(f"{name} is {datatype} in the set, and the model takes {wanted[name].datatype}")
        elif _fitted(shape, takes[name]) is None:
            found.append(f"a row of {name} is {list(shape)} in the set, and the model takes {list(takes[name])}")
    return found


def on_triton(
    infer: InferRaw,
    inputs: Sequence[TensorSpec],
    signature: Signature,
    *,
    max_batch_size: int,
    outputs: Sequence[str],
) -> AskOne:
    """Return what asks one version on a Triton for its ``outputs``; ``infer`` sends bytes to it.

    A model without batches (``max_batch_size`` 0) gets one row in each request, as a whole request, so a batch that
    goes to it has one row. Raises InvalidInput where the set's ``inputs`` do not fit the model.
    """
    if found := problems(inputs, signature, max_batch_size=max_batch_size):
        raise InvalidInput(
            "; ".join(found),
            key="evaluation",
            next_step="Write a set with the inputs of the model, such as values.astype(np.float32).",
        )
    takes = _takes(signature, max_batch_size)
    shapes = {spec.name: fitted for spec in inputs if (fitted := _fitted(spec.shape, takes[spec.name])) is not None}
    datatypes = {spec.name: spec.datatype for spec in inputs}
    in_batches = bool(max_batch_size)

    def ask_one(batch: Batch) -> Outputs:
        if not in_batches and batch.rows != 1:
            raise Rejected("takes one row in a request", system="the model")
        tensors = [
            RawTensor(
                name,
                datatypes[name],
                (batch.rows, *shape) if in_batches else shape,
                _bytes(batch.inputs[name], datatypes[name]),
            )
            for name, shape in shapes.items()
        ]
        answered = infer(tensors, outputs=outputs)
        return {tensor.name: _array(tensor, in_batches=in_batches) for tensor in answered}

    return ask_one


def _takes(signature: Signature, max_batch_size: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of one row of each input of a model."""
    return {spec.name: spec.shape[1:] if max_batch_size else spec.shape for spec in signature.inputs}


def _fitted(shape: tuple[int, ...], takes: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the shape in which a row goes to a model; None where it does not fit. Ones at the end do not matter.

    A row of one number is [1] in a set, and [] or [1, 1] to some models.
    """
    while len(shape) > len(takes) and shape[-1] == 1:
        shape = shape[:-1]
    shape += (1,) * (len(takes) - len(shape))
    fits = len(shape) == len(takes) and all(want in (-1, have) for have, want in zip(shape, takes, strict=True))
    return shape if fits else None


def _bytes(array: NDArray[Any], datatype: str) -> bytes:
    if datatype != "BYTES":
        return array.tobytes()
    return b"".join(len(value).to_bytes(4, "little") + value for value in array.flat)


def _array(tensor: RawTensor, *, in_batches: bool) -> NDArray[Any]:
    """Return a tensor as an array with a row for each row that was asked. Text is text where it is UTF-8."""
    shape = tensor.shape if in_batches else (1, *tensor.shape)
    if tensor.datatype == "BF16":  # the upper half of an FP32
        halves = np.frombuffer(tensor.raw, "<u2").astype(np.uint32) << 16
        return halves.view(np.float32).reshape(shape)
    if tensor.datatype != "BYTES":
        return np.frombuffer(tensor.raw, DTYPES[tensor.datatype]).reshape(shape)
    values, at = [], 0
    for _ in range(math.prod(tensor.shape)):
        end = at + 4 + int.from_bytes(tensor.raw[at : at + 4], "little")
        values.append(tensor.raw[at + 4 : end])
        at = end
    try:
        return np.array([value.decode() for value in values], np.str_).reshape(shape)
    except UnicodeDecodeError:
        return np.array(values, object).reshape(shape)
