"""What becomes of recorded requests when another version answers them: how many are decided otherwise.

Nobody knows the right answers, so nothing here is better or worse: only as before, or otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bot.domain.behaviour import compare
from bot.domain.evaluation import ChangedDecision, Decisions, Refusals, Replay, Who
from bot.domain.smoke import Answered, Tensor

WORST = 5


class Tally:
    """Counts pairs of answers as they come; of the changed ones only the worst are kept."""

    def __init__(self) -> None:
        self._compared = self._flipped = self._asked = 0
        self._refused: dict[Who, int] = {"proposed": 0, "in_service": 0}
        self._why = ""
        self._times: list[datetime] = []
        self._worst: list[tuple[tuple[bool, float], int, ChangedDecision]] = []

    def refused(self, at: datetime, who: Who, why: str) -> None:
        """Count a request that a version did not answer."""
        self._seen(at)
        self._refused[who] += 1
        self._why = self._why or why

    def answered(self, at: datetime, in_service: Sequence[Tensor], proposed: Sequence[Tensor]) -> None:
        """Count a request that both versions answered."""
        number = self._asked
        self._seen(at)
        case = str(number)
        _, flipped, moved = compare([Answered(case, list(in_service))], [Answered(case, list(proposed))])
        self._compared += 1
        self._flipped += flipped
        if moved:
            first = moved[0]
            change = ChangedDecision(
                row=number,
                before=f"{first.output} {first.before}",
                after=f"{first.output} {first.after}",
                by=None if first.by == float("inf") else first.by,
            )
            self._worst = sorted([*self._worst, ((first.flips, first.by), -number, change)], reverse=True)[:WORST]

    def _seen(self, at: datetime) -> None:
        self._asked += 1
        self._times = [min([*self._times, at]), max([*self._times, at])]

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
            problem=problem,
        )
