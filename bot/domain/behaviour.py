"""How two versions answer the same requests: which decisions flip, and how far numbers move."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from bot.domain.evidence import Answer, Moved
from bot.domain.smoke import FLOATS, Tensor

MAX_MOVED = 5


def compare(before: Sequence[Answer], after: Sequence[Answer]) -> tuple[int, list[Moved]]:
    """Return how many of the cases flip, and the `MAX_MOVED` that moved most, the worst first.

    A case flips where a value that is no float differs, or where another entry of a row of floats is the greatest:
    the decision that somebody makes of it. Both lists hold the same cases in the same order.
    """
    moved = [m for old, new in zip(before, after, strict=True) if (m := _moved(old, new)) is not None]
    moved.sort(key=lambda m: (not m.flips, -m.by if not math.isnan(m.by) else -math.inf))
    return sum(m.flips for m in moved), moved[:MAX_MOVED]


def _moved(old: Answer, new: Answer) -> Moved | None:
    """Return where a case's answer moved most, a flip before all else; None where it is the same."""
    by_name = {tensor.name: tensor for tensor in new.outputs}
    found = [m for tensor in old.outputs for m in _of_tensor(old.case, tensor, by_name.get(tensor.name))]
    return max(found, key=lambda m: (m.flips, m.by), default=None)


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
