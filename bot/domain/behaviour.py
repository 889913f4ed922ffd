"""How two versions answer the same requests: which decisions flip, and how far numbers move."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from bot.domain.evidence import Answer, Moved
from bot.domain.smoke import FLOATS, Tensor

MAX_MOVED = 5


def compare(before: Sequence[Answer], after: Sequence[Answer]) -> tuple[int, int, list[Moved]]:
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


def _repeats(answer: Answer, answers: Sequence[Answer]) -> bool:
    """Whether an answer is made of rows that are answers of their own, up to how floats are rounded in a batch."""
    heights = {tensor.shape[0] if tensor.shape else 0 for tensor in answer.outputs}
    if len(heights) != 1 or (height := heights.pop()) < 2:
        return False
    rows = [other.outputs for other in answers if all(t.shape and t.shape[0] == 1 for t in other.outputs)]
    return all(any(_is_row(answer.outputs, n, height, row) for row in rows) for n in range(height))


def _is_row(outputs: Sequence[Tensor], number: int, height: int, row: Sequence[Tensor]) -> bool:
    if [(t.name, t.shape[1:]) for t in outputs] != [(t.name, t.shape[1:]) for t in row]:
        return False
    for whole, one in zip(outputs, row, strict=True):
        width = len(whole.data) // height
        pairs = zip(whole.data[number * width : (number + 1) * width], one.data, strict=True)
        if not all(a == b or (whole.datatype in FLOATS and _is_close(float(a), float(b))) for a, b in pairs):
            return False
    return True


def _is_close(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-6)


def _moved(old: Answer, new: Answer) -> list[Moved]:
    """Return where each output of a case moved most; nothing where it is the same."""
    by_name = {tensor.name: tensor for tensor in new.outputs}
    return [m for tensor in old.outputs for m in _of_tensor(old.case, tensor, by_name.get(tensor.name))]


def _of_tensor(case: str, old: Tensor, new: Tensor | None) -> Iterator[Moved]:
    if new is None or new.shape != old.shape or new.datatype != old.datatype:
        shown = f"{new.datatype}{list(new.shape)}" if new else "nothing"
        before = f"{old.datatype}{list(old.shape)}"
        yield Moved(case=case, output=old.name, before=before, after=shown, flips=True, by=math.inf)
        return
    if old.datatype not in FLOATS:
        for index, (was, now) in enumerate(zip(old.data, new.data, strict=True)):
            if was != now:
                where = f"{old.name}[{index}]"
                yield Moved(case=case, output=where, before=repr(was), after=repr(now), flips=True, by=math.inf)
                return
        return
    pairs = [(float(was), float(now)) for was, now in zip(old.data, new.data, strict=True)]
    furthest = max(range(len(pairs)), key=lambda i: _distance(*pairs[i]), default=None)
    if furthest is not None and _distance(*pairs[furthest]) > 0:
        was, now = pairs[furthest]
        yield Moved(
            case=case,
            output=f"{old.name}[{furthest}]",
            before=f"{was:.4g}",
            after=f"{now:.4g}",
            flips=_winners(old) != _winners(new),
            by=_distance(was, now),
        )


def _distance(was: float, now: float) -> float:
    if was == now or (math.isnan(was) and math.isnan(now)):
        return 0.0
    distance = abs(now - was)
    return math.inf if math.isnan(distance) else distance


def _winners(tensor: Tensor) -> list[int]:
    """Return the index of the greatest value of each row; nothing where rows have one value, or none."""
    width = tensor.shape[-1] if len(tensor.shape) > 1 else 0
    if width < 2:
        return []
    rows = [tensor.data[start : start + width] for start in range(0, len(tensor.data), width)]
    return [max(range(width), key=lambda i, row=row: float(row[i])) for row in rows]  # type: ignore[misc]
