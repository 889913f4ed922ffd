"""Smoke cases: what is read from hostile packages, and when an answer is as the training framework's."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.smoke import (
    DATATYPES,
    MAX_CASES,
    SmokeCase,
    SmokeCases,
    Tensor,
    Tolerance,
    difference,
    differences,
    smoke_problems,
    tensor_from_json,
)

X = {"name": "X", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}
Y = {"name": "Y", "datatype": "FP32", "shape": [1], "data": [0.5]}
CASE = {"name": "row-1", "inputs": [X], "outputs": [Y]}
DOCUMENT = {"format": 1, "tolerance": {"relative": 1e-4, "absolute": 1e-5}, "cases": [CASE]}


def tensor(*data: Any, datatype: str = "FP32", shape: tuple[int, ...] | None = None, name: str = "Y") -> Tensor:
    return Tensor(name, datatype, (len(data),) if shape is None else shape, data)


@pytest.mark.parametrize(
    ("expected", "got", "says"),
    [
        (tensor(1.0), tensor(1.0), ""),
        (tensor(1.0), tensor(1.0001), ""),
        (tensor(1.0), tensor(1.0002), "Y[0]: 1.0002 instead of 1 (1 of 1 values differ)"),
        (tensor(0.0), tensor(0.00001), ""),
        (tensor(0.0), tensor(0.000011), "Y[0]: 1.1e-05 instead of 0 (1 of 1 values differ)"),
        (tensor(-1000.0), tensor(-1000.09), ""),
        (tensor(1.0, 2.0, 3.0), tensor(1.0, 9.0, 9.0), "Y[1]: 9 instead of 2 (2 of 3 values differ)"),
        (tensor(math.nan), tensor(math.nan), ""),
        (tensor(1.0), tensor(math.nan), "Y[0]: nan instead of 1 (1 of 1 values differ)"),
        (tensor(math.nan), tensor(1.0), "Y[0]: 1 instead of nan (1 of 1 values differ)"),
        (tensor(math.inf), tensor(math.inf), ""),
        (tensor(math.inf), tensor(-math.inf), "Y[0]: -inf instead of inf (1 of 1 values differ)"),
        (tensor(math.inf), tensor(1e308), "Y[0]: 1e+308 instead of inf (1 of 1 values differ)"),
        (tensor(1, datatype="INT64"), tensor(1, datatype="INT64"), ""),
        (tensor(10**9, datatype="INT64"), tensor(10**9 + 1, datatype="INT64"), "Y[0]: 1000000001 instead"),
        (tensor("a", datatype="BYTES"), tensor("b", datatype="BYTES"), "Y[0]: 'b' instead of 'a'"),
        (tensor(True, datatype="BOOL"), tensor(False, datatype="BOOL"), "Y[0]: False instead of True"),
        (tensor(1.0), None, "Y: missing in the answer"),
        (tensor(1.0), tensor(1.0, datatype="FP64"), "Y: FP64[1] instead of FP32[1]"),
        (tensor(1.0), tensor(1.0, shape=(1, 1)), "Y: FP32[1, 1] instead of FP32[1]"),
        (tensor(1.0), tensor(1.0, 1.0), "Y: FP32[2] instead of FP32[1]"),
        (tensor(shape=(0,)), tensor(shape=(0,)), ""),
    ],
)  # fmt: skip
def test_when_an_answer_differs(expected: Tensor, got: Tensor | None, says: str) -> None:
    found = difference(expected, got, Tolerance())
    assert found.startswith(says) if says else not found


def test_only_expected_outputs_count_and_each_one_does() -> None:
    case = SmokeCase(
        "a", (tensor(1.0, name="X"),), (tensor(1.0, name="p"), tensor(1, name="label", datatype="INT64"))
    )
    right = [tensor(1, name="label", datatype="INT64"), tensor(5.0, name="more"), tensor(1.0, name="p")]
    assert differences(case, right, Tolerance()) == []
    assert differences(case, right[:1], Tolerance()) == ["p: missing in the answer"]
    assert len(differences(case, [], Tolerance())) == 2


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 0.1), st.floats(0, 0.1))
def test_an_answer_equals_itself_within_any_tolerance(value: float, relative: float, absolute: float) -> None:
    assert not difference(tensor(value), tensor(value), Tolerance(relative, absolute))


@pytest.mark.parametrize("datatype", sorted(DATATYPES))
def test_every_datatype_survives_its_file(datatype: str) -> None:
    values: dict[str, list[Any]] = {"BOOL": [True, False], "BYTES": ["", "ä\n"]}
    data = values.get(datatype, [0, 1]) if not datatype.startswith("FP") else [0.5, -1e3, math.inf]
    one = Tensor("Y", datatype, (len(data),), tuple(data))
    cases = SmokeCases((SmokeCase("a", (one,), (one,)),), Tolerance(0.5, 0.25))
    assert SmokeCases.from_json(cases.to_json()) == cases


LIMITS = [("INT8", -128, 127), ("UINT8", 0, 255), ("INT64", -(2**63), 2**63 - 1), ("UINT64", 0, 2**64 - 1)]


@pytest.mark.parametrize(("datatype", "low", "high"), LIMITS)
def test_whole_numbers_are_in_range(datatype: str, low: int, high: int) -> None:
    entry = {"name": "Y", "datatype": datatype, "shape": [2], "data": [low, high]}
    assert tensor_from_json(entry).data == (low, high)
    for outside in (low - 1, high + 1):
        with pytest.raises(ValueError, match=f"no {datatype}"):
            tensor_from_json(entry | {"data": [low, outside]})


def with_tensor(**changes: Any) -> str:
    return json.dumps(DOCUMENT | {"cases": [CASE | {"outputs": [Y | changes]}]})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a value is missing, at line 1, column 1"),
        (b"\xff", "it is not text in UTF-8, at byte 0"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "not a smoke.json of format 1 or 2"),
        (json.dumps(DOCUMENT | {"format": 3}), "not a smoke.json of format 1 or 2"),
        (json.dumps(DOCUMENT | {"tolerances": {}}), "unknown keys: 'tolerances'"),
        (json.dumps(DOCUMENT | {"cases": []}), "has no cases"),
        (json.dumps(DOCUMENT | {"cases": {"a": 1}}), "has no cases"),
        (json.dumps(DOCUMENT | {"cases": [1]}), "other keys than name, inputs and outputs"),
        (json.dumps(DOCUMENT | {"cases": [CASE | {"more": 1}]}), "other keys than name, inputs and outputs"),
        (json.dumps(DOCUMENT | {"cases": [CASE | {"name": 1}]}), "wrong type"),
        (json.dumps(DOCUMENT | {"cases": [CASE | {"inputs": {}}]}), "wrong type"),
        (json.dumps(DOCUMENT | {"cases": [CASE | {"outputs": []}]}), "has no inputs or no outputs"),
        (json.dumps(DOCUMENT | {"tolerance": 1}), "other keys than relative and absolute"),
        (json.dumps(DOCUMENT | {"tolerance": None}), "other keys than relative and absolute"),
        (json.dumps(DOCUMENT | {"tolerance": {"relatve": 1}}), "other keys than relative and absolute"),
        *(
            (json.dumps(DOCUMENT | {"tolerance": {"relative": value}}), "not a number from 0")
            for value in (-1, math.nan, math.inf, "1", None, True, 10**400, [])
        ),
        (with_tensor(datatype="FP31"), "unknown datatype 'FP31'"),
        (with_tensor(datatype=["FP32"]), "unknown datatype"),
        (with_tensor(name=1), "unknown datatype|name"),
        (with_tensor(shape=1), "bad shape"),
        (with_tensor(shape=[-1]), "bad shape"),
        (with_tensor(shape=[1.0]), "bad shape"),
        (with_tensor(shape=[True]), "bad shape"),
        (with_tensor(shape=[2]), "not as many values"),
        (with_tensor(shape=[2**31 - 1] * 64), "not as many values"),
        (with_tensor(shape=[2**31 - 1] * 1000), "has 1000 dimensions, more than 64"),
        (with_tensor(shape=[]), None),
        (with_tensor(data={}), "not as many values"),
        (with_tensor(data=["0.5"]), "a value that is no FP32: '0.5'"),
        (with_tensor(data=[True]), "a value that is no FP32"),
        (with_tensor(data=[None]), "a value that is no FP32"),
        (with_tensor(data=[[0.5]]), "a value that is no FP32"),
        (with_tensor(data=[10**400]), "a value that is no FP32"),
        (with_tensor(datatype="INT64"), "a value that is no INT64: 0.5"),
        (with_tensor(datatype="BOOL", data=[1]), "a value that is no BOOL"),
        (with_tensor(datatype="BYTES", data=[1]), "a value that is no BYTES"),
        (with_tensor(parameters={}), None),
    ],
    ids=lambda value: repr(value)[-60:],
)
def test_a_file_that_is_wrong_says_why(text: str | bytes, says: str | None) -> None:
    if says is None:
        assert len(SmokeCases.from_json(text).cases) == 1
        return
    with pytest.raises(ValueError, match=says) as error:
        SmokeCases.from_json(text)
    assert len(str(error.value)) < 500


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200)
@given(st.sampled_from(["name", "datatype", "shape", "data"]), values)
def test_any_json_in_any_place_is_a_value_error_at_most(key: str, value: Any) -> None:
    documents = [
        with_tensor(**{key: value}),
        json.dumps(DOCUMENT | {key: value}),
        json.dumps(DOCUMENT | {"cases": value}),
    ]
    for text in (*documents, json.dumps(DOCUMENT | {"tolerance": value})):
        try:
            cases = SmokeCases.from_json(text)
        except ValueError:
            continue
        for case in cases.cases:  # what is accepted can be compared with
            assert not differences(case, case.outputs, cases.tolerance)


def smoke(*outputs: Tensor, relative: float = 1e-4, absolute: float = 1e-5, count: int = 1) -> SmokeCases:
    cases = [SmokeCase(f"row-{n}", (tensor(1.0, name="X"),), outputs) for n in range(count)]
    return SmokeCases(tuple(cases), Tolerance(relative, absolute))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (smoke(tensor(0.5), count=MAX_CASES + 1), "has 513 cases, more than 512"),
        (smoke(tensor(0.5), relative=0.11), "tolerance.relative is 0.11, more than 0.1"),
        (smoke(tensor(0.5), relative=1e9), "tolerance.relative is 1e+09, more than 0.1"),
        (
            smoke(tensor(0.5, -0.9), absolute=0.1),
            "tolerance.absolute is 0.1, more than 0.1 of the largest value that Y",
        ),
        (
            smoke(tensor(0.0), absolute=0.002),
            "tolerance.absolute is 0.002, more than 0.1 of the largest value that Y",
        ),
        (smoke(tensor(math.inf, math.nan), absolute=1.0), "is expected to have (0)"),
        (
            smoke(tensor(0.9, name="p"), tensor(5000.0, name="price"), absolute=10),
            "the largest value that p is expected",
        ),
        (smoke(tensor(0.9, datatype="FP16"), absolute=1e9), "tolerance.absolute is 1e+09"),
    ],
)
def test_cases_that_prove_too_little_or_cost_too_much_are_refused(given: SmokeCases, says: str) -> None:
    (said,) = smoke_problems(given)
    assert says in said


@pytest.mark.parametrize(
    "given",
    [
        smoke(tensor(0.5), count=MAX_CASES),
        smoke(tensor(0.5), relative=0.1, absolute=0.05),
        smoke(tensor(0.0), absolute=0.001),
        smoke(tensor(5000.0), absolute=500),
        smoke(tensor(1, datatype="INT64"), tensor("a", datatype="BYTES", name="l"), absolute=1e9),
        smoke(tensor(shape=(0,)), absolute=0.001),
    ],
)
def test_cases_within_the_limits_are_accepted(given: SmokeCases) -> None:
    assert smoke_problems(given) == []
    assert SmokeCases.from_json(given.to_json()) == given


def test_what_is_in_service_stays_readable_whatever_the_limits_are() -> None:
    tolerant = smoke(tensor(0.5), relative=1e9, absolute=1e9, count=2 * MAX_CASES)
    assert SmokeCases.from_json(tolerant.to_json()) == tolerant
