"""How two versions answer the same requests: which decisions flip, and how far numbers move."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from bot.domain.evidence import Moved
from bot.domain.packed import Scalar, loaded, unequal
from bot.domain.smoke import FLOATS, Answered, Tensor, shown

MAX_MOVED = 5


def compare(before: Sequence[Answered], after: Sequence[Answered]) -> tuple[int, int, list[Moved]]:
    """Return how many cases were compared, how many of them flip, and the `MAX_MOVED` that differ most.

    A case flips where a value other than a float differs, or where another entry of a row of floats is the greatest:
    the decision that somebody makes of it. Flips come first, then the numbers that moved furthest: of those one at
    least is there, also beside many flips, whose labels have no distance. A case of several rows that are cases of
    their own is left out, because it would count them twice. Both lists hold the same cases in the same order.
    """
    pairs = [pair for pair in zip(before, after, strict=True) if not _repeats(pair[0], before)]
    found = [_moved(old, new) for old, new in pairs]
    flips = [max(flipping, key=lambda m: m.by) for of in found if (flipping := [m for m in of if m.flips])]
    numbers = [max(moving, key=lambda m: m.by) for of in found if (moving := [m for m in of if _is_number(m)])]
    numbers = sorted((m for m in numbers if m not in flips), key=lambda m: -m.by)
    shown = flips[: MAX_MOVED - 1 if numbers else MAX_MOVED]
    return len(pairs), len(flips), [*shown, *numbers[: MAX_MOVED - len(shown)]]


def _is_number(moved: Moved) -> bool:
    return not moved.flips or math.isfinite(moved.by)


def _repeats(answer: Answered, answers: Sequence[Answered]) -> bool:
    """Whether an answer is made of rows that are answers of their own, up to how floats are rounded in a batch."""
    heights = {tensor.shape[0] if tensor.shape else 0 for tensor in answer.outputs}
    if len(heights) != 1 or (height := heights.pop()) < 2:
        return False
    whole, left = [_loaded(tensor) for tensor in answer.outputs], set(range(height))
    for other in answers:
        if left and all(t.shape and t.shape[0] == 1 for t in other.outputs):
            row = [_loaded(tensor) for tensor in other.outputs]
            left -= {number for number in left if _is_row(whole, number, height, row)}
    return not left


def _loaded(tensor: Tensor) -> Tensor:
    return replace(tensor, data=loaded(tensor.data))


def _is_row(outputs: Sequence[Tensor], number: int, height: int, row: Sequence[Tensor]) -> bool:
    if [(t.name, t.shape[1:]) for t in outputs] != [(t.name, t.shape[1:]) for t in row]:
        return False
    for whole, one in zip(outputs, row, strict=True):
        width = len(whole.data) // height
        pairs = zip(whole.data[number * width : (number + 1) * width], one.data, strict=True)
        if not all(a == b or (whole.datatype in FLOATS and is_close(float(a), float(b))) for a, b in pairs):
            return False
    return True


def is_close(one: float, other: float) -> bool:
    """Say whether two numbers are the same but for how floats are rounded."""
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-6)


def _moved(old: Answered, new: Answered) -> list[Moved]:
    """Return where each output of a case moved most; nothing where it is the same."""
    by_name = {tensor.name: tensor for tensor in new.outputs}
    return [m for tensor in old.outputs for m in _of_tensor(old.case, tensor, by_name.get(tensor.name))]


def _of_tensor(case: str, old: Tensor, new: Tensor | None) -> Iterator[Moved]:
    if new is None or new.shape != old.shape or new.datatype != old.datatype:
        after = f"{new.datatype}{list(new.shape)}" if new else "nothing"
        before = f"{old.datatype}{list(old.shape)}"
        yield Moved(case=case, output=old.name, before=before, after=after, flips=True, by=math.inf)
        return
    if old.datatype not in FLOATS:
        for at, ones, others in unequal(old.data, new.data):
            for index, (was, now) in enumerate(zip(ones, others, strict=True), at):
                if was != now:
                    where = f"{old.name}[{index}]"
                    yield Moved(case=case, output=where, before=shown(was), after=shown(now), flips=True, by=math.inf)
                    return
        return
    champions, proposed = loaded(old.data), loaded(new.data)
    furthest, by, was, now = -1, 0.0, 0.0, 0.0
    for at, ones, others in unequal(champions, proposed):
        for index, (one, other) in enumerate(zip(map(float, ones), map(float, others), strict=True), at):
            if (distance := _distance(one, other)) > by:
                furthest, by, was, now = index, distance, one, other
    if furthest >= 0:
        yield Moved(
            case=case,
            output=f"{old.name}[{furthest}]",
            before=f"{was:.4g}",
            after=f"{now:.4g}",
            flips=_flips(champions, proposed, old.shape),
            by=by,
        )


def _distance(was: float, now: float) -> float:
    if was == now or (math.isnan(was) and math.isnan(now)):
        return 0.0
    distance = abs(now - was)
    return math.inf if math.isnan(distance) else distance


def _flips(before: Iterable[Scalar], after: Iterable[Scalar], shape: Sequence[int]) -> bool:
    """Whether another value is the greatest of some row. Rows of one value, or none, decide nothing."""
    width = shape[-1] if len(shape) > 1 else 0
    if width < 2:
        return False
    was, now = iter(before), iter(after)
    while row := tuple(islice(was, width)):
        if _winner(row) != _winner(tuple(islice(now, width))):
            return True
    return False


def _winner(row: Sequence[Scalar]) -> int:
    return max(range(len(row)), key=lambda index: float(row[index]))
