"""What becomes of recorded requests when another version answers them: how many are decided otherwise.

Nobody knows the right answers, so nothing here is better or worse: only as before, or otherwise.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bot.domain.behaviour import compare, is_close
from bot.domain.evaluation import ChangedDecision, Decisions, Refusals, Replay, Who
from bot.domain.packed import loaded
from bot.domain.smoke import FLOATS, Answered, Tensor

WORST = 5


@dataclass(frozen=True)
class Reading:
    """How answers are read: the measured output of each version, and what its numbers decide.

    ``decides`` is true where one number decides for class 1 from ``threshold`` on, and false where it is a number of
    its own. None is for nobody knows: then numbers that are all from 0 to 1 decide, and others do not.
    """

    outputs: Mapping[Who, str] = field(default_factory=dict)
    decides: bool | None = None
    threshold: float = 0.5

    def differs(self, before: Sequence[Tensor], after: Sequence[Tensor]) -> tuple[str, str] | None:
        """Return the first decision of single numbers that is another one, before and after; None where none is."""
        pairs: list[tuple[Tensor | None, Tensor | None]] = [(old, _named(after, old.name)) for old in before]
        if self.outputs:
            pairs = [(_named(before, self.outputs["in_service"]), _named(after, self.outputs["proposed"]))]
        for old, new in pairs:
            if old is None or new is None or not {old.datatype, new.datatype} <= FLOATS or _width(old) != 1:
                continue
            for was, now in zip(_floats(old), _floats(new), strict=False):
                if self._other(was, now):
                    return f"{old.name} {was:.6g}", f"{new.name} {now:.6g}"
        return None

    def _other(self, was: float, now: float) -> bool:
        chances = 0 <= was <= 1 and 0 <= now <= 1
        if self.decides is False or (self.decides is None and not chances):
            return not is_close(was, now)
        # A number outside 0 to 1 is a class by its number; classes 0 and 1 read the same either way.
        return (was >= self.threshold) != (now >= self.threshold) if chances else round(was) != round(now)


def _named(tensors: Sequence[Tensor], name: str) -> Tensor | None:
    return next((tensor for tensor in tensors if tensor.name == name), None)


def _width(tensor: Tensor) -> int:
    return math.prod(tensor.shape[1:])


def _floats(tensor: Tensor) -> Iterable[float]:
    return map(float, loaded(tensor.data))


class Tally:
    """Counts pairs of answers as they come; of the changed ones only the worst are kept."""

    def __init__(self, reading: Reading | None = None) -> None:
        self._reading = reading or Reading()
        self._without: Counter[str] = Counter()
        self._incomplete = 0
        self._compared = self._flipped = self._asked = 0
        self._refused: dict[Who, int] = {"proposed": 0, "in_service": 0}
        self._why = ""
        self._times: list[datetime] = []
        self._worst: list[tuple[tuple[bool, float], int, ChangedDecision]] = []

    def add(
        self,
        at: datetime,
        answers: Mapping[Who, Sequence[Tensor]],
        refused: Mapping[Who, str],
        *,
        dropped: Iterable[str] = (),
    ) -> None:
        """Count a request, with what each version answered, or why it ``refused``.

        An answer with what is not a finite number is none. ``dropped`` are the fields that were not recorded, so that
        both versions got nothing for them.
        """
        number = self._asked
        self._asked += 1
        self._times = [min([*self._times, at]), max([*self._times, at])]
        names = tuple(dropped)
        self._without.update(names)
        self._incomplete += bool(names)
        unusable = {who: said for who, given in answers.items() if (said := _not_finite(given))}
        for who, why in {**refused, **unusable}.items():
            self._refused[who] += 1
            self._why = self._why or f"request {number}: {why}"
        if not refused and not unusable:
            self._compare(number, answers["in_service"], answers["proposed"])

    def _compare(self, number: int, in_service: Sequence[Tensor], proposed: Sequence[Tensor]) -> None:
        case = str(number)
        _, flipped, moved = compare([Answered(case, list(in_service))], [Answered(case, list(proposed))])
        differs = self._reading.differs(in_service, proposed)
        self._compared += 1
        self._flipped += bool(flipped or differs)
        if moved:
            first = moved[0]
            before, after = f"{first.output} {first.before}", f"{first.output} {first.after}"
            if differs and not first.flips:
                before, after = differs
            by = None if first.by == float("inf") else first.by
            change = ChangedDecision(row=number, before=before, after=after, by=by)
            order = (bool(flipped or differs), first.by)
            self._worst = sorted([*self._worst, (order, -number, change)], reverse=True)[:WORST]

    def result(self, problem: str = "") -> Replay:
        """Return what was found; ``problem`` says why not all that was wanted was asked."""
        worst = tuple(change for *_, change in self._worst)
        decisions = Decisions(rows=self._compared, changed=self._flipped, other=self._flipped, worst=worst)
        return Replay(
            requests=self._compared,
            asked=self._asked,
            since=self._times[0] if self._times else None,
            until=self._times[-1] if self._times else None,
            refused=Refusals(**self._refused, why=self._why),
            decisions=decisions if self._compared else None,
            incomplete=self._incomplete,
            without=tuple(sorted(self._without)),
            problem=problem,
        )


def _not_finite(tensors: Iterable[Tensor]) -> str:
    """Return what is not a finite number among the answers; empty where all is."""
    for tensor in tensors:
        if tensor.datatype in FLOATS and not all(map(math.isfinite, _floats(tensor))):
            return f"{tensor.name} is not a finite number"
    return ""
