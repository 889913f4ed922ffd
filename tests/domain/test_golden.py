"""Golden requests: first as the training framework answered, then as staging did."""

from __future__ import annotations

import math

import pytest

from bot.domain.answers import Hashed, Output, Place
from bot.domain.evidence import Answer, CheckResult
from bot.domain.golden import Disagreement, Golden
from bot.domain.smoke import SmokeCase, SmokeCases, Tensor, Tolerance

X = Tensor("X", "FP32", (1,), (1.0,))


def y(*data: float | int, datatype: str = "FP32", name: str = "Y") -> Tensor:
    return Tensor(name, datatype, (len(data),), data)


def golden(staging: Tensor | None, *, expected: Tensor | None = None) -> Golden:
    case = SmokeCase("row-0", (X,), (expected or y(1.0),))
    answers = () if staging is None else (Answer(case="row-0", outputs=(staging,)),)
    return Golden(SmokeCases((case,), Tolerance(relative=0, absolute=0.1)), answers)


@pytest.mark.parametrize(
    ("staging", "got", "expected"),
    [
        (None, y(1.05), []),
        (None, y(1.2), [("Y[0]: 1.2 instead of 1 (1 of 1 values differ)", False)]),
        (y(1.05), y(1.09), []),
        (y(0.95), y(1.04), []),
        (y(0.95), y(1.09), [("Y[0]: 1.09 instead of 0.95 (1 of 1 values differ)", True)]),
        (y(0.95), y(1.2), [("Y[0]: 1.2 instead of 1 (1 of 1 values differ)", False)]),  # said once
        (y(1.0), y(1.0, name="Z"), [("Y: missing in the answer", False)]),
        (y(1.0), y(math.nan), [("Y[0]: nan instead of 1 (1 of 1 values differ)", False)]),
        (y(1.0, datatype="FP16"), y(1.0), [("Y: FP32[1] instead of FP16[1]", True)]),
    ],
)
def test_training_is_asked_first_and_staging_next(
    staging: Tensor | None, got: Tensor, expected: list[tuple[str, bool]]
) -> None:
    asked = golden(staging)
    ((case, answer),) = asked
    assert asked.fits
    assert asked.disagreements(case, answer, [got]) == [Disagreement("row-0", *one) for one in expected]


def test_answers_to_other_requests_do_not_fit() -> None:
    one = golden(y(1.0))
    other_case = Answer(case="row-1", outputs=(y(1.0),))
    other_output = Answer(case="row-0", outputs=(y(1.0, name="Z"),))
    assert not Golden(one.smoke, (other_case,)).fits
    assert not Golden(one.smoke, (other_output,)).fits
    assert not Golden(one.smoke, (*one.staging, *one.staging)).fits
    assert Golden(one.smoke).fits


@pytest.mark.parametrize(
    "tensor",
    [
        y(0.1, math.nan, math.inf, -math.inf, 1e-45),
        y(2**63 - 1, -(2**63), datatype="INT64"),
        Tensor("Y", "BOOL", (1, 2), (True, False)),
        Tensor("Y", "BYTES", (2,), ("grün", "\\xff")),
        Hashed("Y", "FP32", (4000,), "0" * 64, 3, (Place(7, 0.5, math.nan), Place(2, math.inf, 1.0))),
        Hashed("Y", "BYTES", (4000,), "0" * 64, 1, (Place(7, "grün", b"\xff"),)),
    ],
)
def test_an_answer_is_read_as_it_was_written(tensor: Output) -> None:
    written = CheckResult.model_validate(
        {
            "check": "smoke",
            "environment": "dev",
            "section": "models",
            "model": "churn",
            "version": 1,
            "digest": "sha256:" + "0" * 64,
            "findings": (),
            "at": "2026-03-01T12:00:00Z",
            "answers": [Answer(case="row-0", outputs=(tensor,))],
        }
    )
    read = CheckResult.model_validate_json(written.model_dump_json())
    assert repr(read) == repr(written), "NaN equals nothing, itself included"
