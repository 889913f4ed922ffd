"""Finds the release that began to answer wrong, by asking few of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Holds = Callable[[int], bool | None]
"""Whether the release with this number holds; None where it cannot be asked. Numbers are in the order of service."""


@dataclass(frozen=True)
class Turn:
    """The first release that is ``wrong`` and the one before it that is ``right``, as far as could be asked.

    Both are None where nothing could be asked. Without ``right``, nothing before was right; without ``wrong``, what
    was asked last is.
    """

    wrong: int | None
    right: int | None


def by_halves(ends: Sequence[int], holds: Holds) -> Turn:
    """Return where right turns to wrong, by binary search between the oldest release and one of ``ends``.

    The first of ``ends`` that is wrong counts. The result is a turn in any case: ``right`` holds, and ``wrong``,
    the next that could be asked, does not. It is the only one if releases do not change their mind more than once.
    """
    wrong, last = None, None
    for end in ends:
        newest = next((number for number in range(end, -1, -1) if holds(number) is not None), None)
        last = newest if last is None else last
        if newest is not None and not holds(newest):
            wrong = newest
            break
    if wrong is None:
        return Turn(None, last)
    right = next((number for number in range(wrong + 1) if holds(number) is not None), wrong)
    if not holds(right):
        return Turn(right, None)
    while (middle := _nearest_to_the_middle(right, wrong, holds)) is not None:
        right, wrong = (middle, wrong) if holds(middle) else (right, middle)
    return Turn(wrong, right)


def _nearest_to_the_middle(right: int, wrong: int, holds: Holds) -> int | None:
    between = sorted(range(right + 1, wrong), key=lambda number: (abs(2 * number - right - wrong), number))
    return next((number for number in between if holds(number) is not None), None)


def by_all(count: int, holds: Holds) -> tuple[Turn, int]:
    """Ask every release; return the last turn from right to wrong, and how many such turns there are."""
    known = [(number, answer) for number in range(count) if (answer := holds(number)) is not None]
    turns = [
        Turn(number, known[at - 1][0] if at else None)
        for at, (number, answer) in enumerate(known)
        if not answer and (at == 0 or known[at - 1][1])
    ]
    if not turns:
        return Turn(None, known[-1][0] if known else None), 0
    return turns[-1], len(turns)
