"""Golden requests: the smoke cases of a package, and who answered them how before.

The training framework's answers come with the package; they are the first criterion. The staging Triton's
answers come with the evidence. The reviewer saw them, so a version in service must give them, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bot.domain.answers import ROOM_BYTES, WHOLE_BYTES, Hashed, Output, hashed, unlike
from bot.domain.evidence import Answer
from bot.domain.smoke import SmokeCase, SmokeCases, Tensor, Tolerance, difference, differences


@dataclass(frozen=True)
class Disagreement:
    """One output that is not as it was: of which case, in which way, and as whom it should have been."""

    case: str
    said: str
    as_staging: bool
    """Whether staging answered otherwise; else the training framework did."""


@dataclass(frozen=True)
class Golden:
    """The golden requests of one version. ``staging`` is empty where no check recorded what staging answered."""

    smoke: SmokeCases
    staging: tuple[Answer, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether what staging answered, where anything is recorded, answers exactly these cases."""
        answered = [(answer.case, [tensor.name for tensor in answer.outputs]) for answer in self.staging]
        asked = [(case.name, [tensor.name for tensor in case.outputs]) for case in self.smoke.cases]
        return not answered or answered == asked

    def __iter__(self) -> Iterator[tuple[SmokeCase, Answer | None]]:
        """Yield each case with what staging answered to it."""
        staging = self.staging or (None,) * len(self.smoke.cases)
        yield from zip(self.smoke.cases, staging, strict=True)

    def disagreements(self, case: SmokeCase, staging: Answer | None, answer: Sequence[Tensor]) -> list[Disagreement]:
        """Return how ``answer`` differs from the training framework's, and if it does not, from that of staging."""
        wrong = differences(case, answer, self.smoke.tolerance)
        if wrong or staging is None:
            return [Disagreement(case.name, said, as_staging=False) for said in wrong]
        by_name = {tensor.name: tensor for tensor in answer}
        seen = (_otherwise(output, by_name.get(output.name), self.smoke.tolerance) for output in staging.outputs)
        return [Disagreement(case.name, said, as_staging=True) for said in seen if said]


def _otherwise(staging: Output, got: Tensor | None, tolerance: Tolerance) -> str:
    """Say how an output differs from what is kept of staging's; an empty string where it does not."""
    if isinstance(staging, Hashed):
        return unlike(staging, got, tolerance)
    return difference(staging, got, tolerance)


class Recorder:
    """Makes of staging's answers what one record keeps of them, within a bound for all of them together."""

    def __init__(self, tolerance: Tolerance) -> None:
        self._tolerance, self._room = tolerance, ROOM_BYTES

    def answer(self, case: SmokeCase, outputs: Sequence[Tensor]) -> Answer:
        """Return what is kept of the outputs of one case, which come in the order in which the case names them."""
        pairs = zip(case.outputs, outputs, strict=True)
        return Answer(case=case.name, outputs=tuple(self._kept(expected, got) for expected, got in pairs))

    def _kept(self, expected: Tensor, got: Tensor) -> Output:
        size = got.size
        if size <= min(WHOLE_BYTES, self._room):
            self._room -= size
            return got
        return hashed(expected, got, self._tolerance)
