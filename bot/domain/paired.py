"""How two versions answered the same request: how many decisions flip, and how far numbers move.

The live version and its shadow get the same request. Their answers are compared row by row: a request of a batch has
as many decisions as rows. A row flips where a value other than a float differs, or where another entry of a row of
floats is the greatest, as in :mod:`bot.domain.behaviour`. A gateway does this beside its requests, so nothing here is
slow for equal answers, and nothing needs NumPy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import sub

from bot.domain import binary
from bot.domain.packed import Packed, Scalar, unpack
from bot.domain.smoke import FLOATS, Tensor, other_form

_OUTPUTS = b'"outputs"'
_HEIGHT = re.compile(rb'"shape"\s*:\s*\[\s*(\d{0,10})')
"""The first size of an output's shape. Inside of a JSON string the quotes would be escaped."""


class LeftOut(Exception):
    """The pair says nothing about the shadow. The message is a word for why, to be counted."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of an answer to infer, and its header ``Inference-Header-Content-Length``, None without one."""

    body: bytes
    header_length: bytes | None = None

    def outputs(self) -> list[Tensor]:
        """Return the outputs; raise ValueError for what is not an answer of Triton."""
        said = self.header_length
        return binary.answer(self.body, {} if said is None else {binary.HEADER_LENGTH: said.decode("latin-1")})[1]

    def behind_the_name(self) -> tuple[bytes, bytes] | None:
        """Return all from the list of outputs on, as JSON and as bytes; None where there is no such list.

        Before it stand the names of model and version, which always differ.
        """
        said, body = self.header_length, self.body
        length = len(body) if said is None else int(said) if said.isdigit() and len(said) < 20 else 0
        at = body.find(_OUTPUTS, 0, length)
        return (body[at:length], body[length:]) if at >= 0 else None


@dataclass(frozen=True, slots=True)
class Difference:
    """How two answers differ: of ``rows``, so many ``flipped``.

    ``moved`` are the distances of the rows that did not flip and whose numbers are others, ``furthest`` the greatest
    distance of all rows, and ``distances`` the sum of them: of each row the greatest change of one of its numbers.
    ``unlike`` says how the shadow's answer has another form, so that all of its rows flip.
    """

    rows: int
    flipped: int = 0
    moved: tuple[float, ...] = ()
    distances: float = 0.0
    furthest: float = 0.0
    unlike: str = ""


def compare(live: Answer, shadow: Answer) -> Difference:
    """Compare the shadow's answer with the live one. Raise LeftOut where the live one cannot be read."""
    behind = live.behind_the_name()
    if behind is not None and behind == shadow.behind_the_name():
        return Difference(_rows(set(_HEIGHT.findall(behind[0]))))
    try:
        before = live.outputs()
    except ValueError as error:
        raise LeftOut("unreadable") from error
    rows = _rows({tensor.shape[0] if tensor.shape else b"" for tensor in before})
    try:
        after = shadow.outputs()
    except ValueError:  # which may quote what users were answered
        return Difference(rows, rows, unlike="the answer cannot be read")
    return _of(before, after, rows)


def _rows(heights: Collection[bytes | int]) -> int:
    """Return how many rows an answer has: where all outputs have equally many, each is one; else it is one in all."""
    (height,) = heights if len(heights) == 1 else (b"",)
    return max(int(height or 1), 1)


def _of(before: Sequence[Tensor], after: Sequence[Tensor], rows: int) -> Difference:
    by_name = {tensor.name: tensor for tensor in after}
    flips, furthest = set[int](), dict[int, float]()
    for tensor in before:
        other = by_name.get(tensor.name)
        said = other_form(tensor, other)
        if other is None or said:
            return Difference(rows, rows, unlike=said)
        one, two = _values(tensor), _values(other)
        if one == two:
            continue
        width = len(one) // rows
        if tensor.datatype in FLOATS:
            _numbers(one, two, width, tensor.shape, flips, furthest)
        else:
            flips.update(at // width for at, (was, now) in enumerate(zip(one, two, strict=True)) if was != now)
    moved = tuple(by for row, by in furthest.items() if row not in flips) if flips else tuple(furthest.values())
    distances = furthest.values()
    return Difference(rows, len(flips), moved, sum(distances), max(distances, default=0.0))


def _numbers(
    one: Sequence[Scalar],
    two: Sequence[Scalar],
    width: int,
    shape: Sequence[int],
    flips: set[int],
    furthest: dict[int, float],
) -> None:
    """Note the rows of floats that flip, and how far each row moves."""
    ones: Sequence[float] = one  # type: ignore[assignment]  # their datatype is one of floats
    twos: Sequence[float] = two  # type: ignore[assignment]
    away = [abs(by) for by in map(sub, twos, ones)]
    if not math.isfinite(sum(away)):
        for at, by in enumerate(away):
            if not math.isfinite(by):
                was, now = ones[at], twos[at]
                away[at] = 0.0
                if was != now and not (math.isnan(was) and math.isnan(now)):
                    flips.add(at // width)  # there is no distance from a number to what is none
    group = shape[-1] if len(shape) > 1 else 0
    if width == 1 and not furthest:
        furthest.update({row: by for row, by in enumerate(away) if by})
        return
    for row in range(len(away) // width):
        begin = row * width
        by = max(away[begin : begin + width])
        if by:
            furthest[row] = max(by, furthest.get(row, 0.0))
            if group > 1 and row not in flips and _decides_otherwise(ones, twos, begin, begin + width, group):
                flips.add(row)


def _decides_otherwise(ones: Sequence[float], twos: Sequence[float], begin: int, end: int, group: int) -> bool:
    """Whether in some group of these values another one is the greatest."""
    for at in range(begin, end, group):
        was, now = ones[at : at + group], twos[at : at + group]
        if was.index(max(was)) != now.index(max(now)):
            return True
    return False


def _values(tensor: Tensor) -> Sequence[Scalar]:
    data = tensor.data
    return unpack(data.datatype, data.raw()) if isinstance(data, Packed) else data
