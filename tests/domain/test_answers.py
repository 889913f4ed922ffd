"""What a record keeps of large answers, and how another answer is told from them."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest

from bot.domain.answers import FURTHEST, ROOM_BYTES, WHOLE_BYTES, Hashed, Place, hashed, output_from_json, unlike
from bot.domain.evidence import Answer, CheckResult
from bot.domain.golden import Golden, Recorder
from bot.domain.packed import Packed, Scalar, pack
from bot.domain.smoke import SmokeCase, SmokeCases, Tensor, Tolerance

TOLERANCE = Tolerance(relative=0, absolute=0.1)
MANY = 10_000
ZEROS = tuple(0.0 for _ in range(MANY))


def y(*data: Scalar, datatype: str = "FP32", shape: tuple[int, ...] | None = None) -> Tensor:
    return Tensor("Y", datatype, shape or (len(data),), Packed.of(datatype, len(data), pack(datatype, data)))


def with_values(**values: float) -> Tensor:
    """Zeros, but for these values, by their index."""
    data = list(ZEROS)
    for index, value in values.items():
        data[int(index[1:])] = value
    return y(*data)


def read_again(kept: Hashed) -> Hashed:
    again = output_from_json(json.loads(json.dumps(kept.to_json())))
    assert isinstance(again, Hashed)
    return again


def test_the_same_answer_is_a_hash_and_nothing_else() -> None:
    kept = hashed(y(*ZEROS), y(*ZEROS), TOLERANCE)
    assert (kept.differing, kept.furthest, len(kept.sha256)) == (0, (), 64)
    assert unlike(kept, y(*ZEROS), TOLERANCE) == ""
    assert read_again(kept) == kept


def test_the_values_that_are_furthest_off_are_kept_the_worst_first() -> None:
    off = {f"_{index}": index / 2**20 for index in range(100, 200)}
    kept = hashed(y(*ZEROS), with_values(**off), TOLERANCE)
    assert kept.differing == 100
    assert [place.at for place in kept.furthest] == list(range(199, 199 - FURTHEST, -1))
    assert kept.furthest[0] == Place(199, 0.0, 199 / 2**20)
    assert read_again(kept) == kept


def test_many_that_differ_take_no_more_room_than_a_few() -> None:
    near = tuple(value + 0.0625 for value in ZEROS)
    kept = hashed(y(*ZEROS), y(*near), TOLERANCE)
    assert kept.differing == MANY and len(kept.furthest) == FURTHEST
    assert len(json.dumps(kept.to_json())) < 2_000


@pytest.mark.parametrize(
    ("got", "says"),
    [
        (with_values(_7=0.0625), ""),
        (with_values(_7=0.125), ""),
        (with_values(_7=0.0), ""),
        (with_values(_7=0.25), "Y[7]: 0.25 instead of 0.0625 (1 of the 1 values that are kept differ)"),
        (with_values(_7=math.nan), "Y[7]: nan instead of 0.0625"),
        (y(*ZEROS, datatype="FP64"), "Y: FP64[10000] instead of FP32[10000]"),
        (y(*ZEROS, shape=(100, 100)), "Y: FP32[100, 100] instead of FP32[10000]"),
        (None, "Y: missing in the answer"),
    ],
)
def test_another_answer_differs_where_staging_was_off(got: Tensor | None, says: str) -> None:
    kept = hashed(y(*ZEROS), with_values(_7=0.0625), TOLERANCE)
    said = unlike(kept, got, TOLERANCE)
    assert said.startswith(says) if says else not said


@pytest.mark.parametrize("datatype", ["INT64", "BYTES", "BOOL"])
def test_what_is_not_a_float_must_be_the_same(datatype: str) -> None:
    values: dict[str, tuple[Scalar, Scalar]] = {"INT64": (0, 1), "BYTES": ("a", "b"), "BOOL": (False, True)}
    was, now = (y(*[value] * 5000, datatype=datatype) for value in values[datatype])
    kept = hashed(was, was, TOLERANCE)
    assert not unlike(kept, was, TOLERANCE)
    assert "Y: values of sha256 " in unlike(kept, now, TOLERANCE)


def test_long_texts_that_differ_are_cut() -> None:
    kept = hashed(y("a" * 10**6, datatype="BYTES"), y("b" * 10**6, datatype="BYTES"), TOLERANCE)
    assert kept.furthest == (Place(0, "a" * 200, "b" * 200),)


@pytest.mark.parametrize(
    "got", [with_values(_1=math.nan), with_values(_1=math.inf), with_values(_1=-math.inf), with_values(_1=1e38)]
)
def test_what_is_no_distance_is_the_furthest(got: Tensor) -> None:
    expected = with_values(_2=1.0)
    kept = hashed(expected, got, TOLERANCE)
    assert [place.at for place in kept.furthest] == [1, 2]
    assert repr(read_again(kept)) == repr(kept), "NaN equals nothing, itself included"


def test_another_form_has_no_places() -> None:
    kept = hashed(y(*ZEROS), y(*ZEROS, datatype="FP64"), TOLERANCE)
    assert (kept.datatype, kept.differing, kept.furthest) == ("FP64", MANY, ())


GOOD = hashed(y(*ZEROS), with_values(_7=0.0625), TOLERANCE).to_json()
PLACE = {"at": 7, "expected": 0.0, "got": 0.0625}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": 3}, "an output of format 3, which a later version of promobot wrote"),
        ({"sha256": "x"}, "lacks sha256"),
        ({"differing": "1"}, "lacks sha256, differing or furthest"),
        ({"furthest": None}, "lacks sha256, differing or furthest"),
        ({"furthest": [PLACE | {"at": MANY}]}, "kept at 10000 of 10000"),
        ({"furthest": [PLACE | {"at": -1}]}, "kept at -1 of 10000"),
        ({"furthest": [PLACE | {"at": True}]}, "kept at True"),
        ({"furthest": [PLACE | {"got": "0"}]}, "a value that is no FP32"),
        ({"furthest": [PLACE | {"more": 0}]}, "other keys than at, expected and got"),
        ({"shape": [-1]}, "bad shape"),
        ({"datatype": "FP8"}, "unknown datatype"),
    ],
)
def test_a_record_that_somebody_wrote_by_hand_is_a_value_error(changes: dict[str, Any], says: str) -> None:
    assert output_from_json(GOOD)
    with pytest.raises(ValueError, match=says):
        output_from_json({**GOOD, **changes})


def test_small_outputs_are_kept_whole_until_the_record_has_no_room() -> None:
    values = WHOLE_BYTES // 4
    case = SmokeCase("row-0", (y(1.0),), (y(*ZEROS[:values]),))
    recorder, whole = Recorder(TOLERANCE), ROOM_BYTES // WHOLE_BYTES
    kept = [recorder.answer(case, case.outputs).outputs[0] for _ in range(whole + 2)]
    assert [isinstance(output, Tensor) for output in kept] == [True] * whole + [False] * 2
    larger = SmokeCase("row-0", (y(1.0),), (y(*ZEROS[: values + 1]),))
    assert isinstance(Recorder(TOLERANCE).answer(larger, larger.outputs).outputs[0], Hashed)


def test_golden_requests_are_held_against_what_is_kept() -> None:
    case = SmokeCase("row-0", (y(1.0),), (y(*ZEROS),))
    staging = Recorder(TOLERANCE).answer(case, [with_values(_7=-0.0625)])
    golden = Golden(SmokeCases((case,), TOLERANCE), (staging,))
    ((asked, answered),) = golden
    assert golden.fits
    assert golden.disagreements(asked, answered, [with_values(_7=0.03)]) == []
    (told,) = golden.disagreements(asked, answered, [with_values(_7=0.0625)])
    assert told.as_staging and told.said.startswith("Y[7]: 0.0625 instead of -0.0625"), "as training, not as staging"
    (told,) = golden.disagreements(asked, answered, [with_values(_9=0.5)])
    assert not told.as_staging, "every value is held against the training framework's"


def test_a_record_of_before_is_read_and_counts_as_it_did() -> None:
    """Earlier versions kept every value, however many."""
    tensor = {"name": "Y", "datatype": "FP32", "shape": [MANY], "data": [*ZEROS[:-1], 0.0625]}
    written = {
        "check": "smoke",
        "environment": "dev",
        "section": "models",
        "model": "unet",
        "version": 1,
        "digest": "sha256:" + "0" * 64,
        "findings": [{"what": "case row-0", "passed": True}],
        "at": "2026-03-01T12:00:00Z",
        "answers": [{"case": "row-0", "outputs": [tensor]}],
    }
    read = CheckResult.model_validate_json(json.dumps(written))
    case = SmokeCase("row-0", (y(1.0),), (y(*ZEROS),))
    golden = Golden(SmokeCases((case,), TOLERANCE), read.answers)
    last = {f"_{MANY - 1}": -0.0625}
    (told,) = golden.disagreements(case, golden.staging[0], [with_values(**last)])
    assert golden.fits and told.as_staging and told.said.startswith(f"Y[{MANY - 1}]: -0.0625 instead of 0.0625")
    assert json.loads(read.model_dump_json())["answers"] == written["answers"], "and is written as it was"


def test_two_segmented_images_take_kilobytes() -> None:
    classes, height = 21, 128
    count = classes * height * height
    expected = Packed.of("FP32", count, struct.pack(f"<{count}f", *([0.25] * count)))
    got = Packed.of("FP32", count, struct.pack(f"<{count}f", *([0.25 + 2**-20] * count)))
    shape = (1, classes, height, height)
    case = SmokeCase("row-0", (y(1.0),), (Tensor("mask", "FP32", shape, expected),))
    recorder = Recorder(Tolerance())
    kept = [recorder.answer(case, [Tensor("mask", "FP32", shape, got)]) for _ in range(2)]
    whole = Answer(case="row-0", outputs=(Tensor("mask", "FP32", shape, got),))
    assert sum(len(one.model_dump_json()) for one in kept) < 4_000
    assert len(whole.model_dump_json()) > 2_000_000, "as earlier versions wrote it"
