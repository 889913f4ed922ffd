"""How a shadow's answer differs from the live one."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from typing import Any

import pytest

from bot.domain import binary
from bot.domain.behaviour import compare as compare_cases
from bot.domain.paired import Answer, Difference, LeftOut, compare
from bot.domain.smoke import Answered, Tensor


def tensor(name: str, datatype: str, shape: Sequence[int], *data: object) -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": list(shape), "data": list(data)}


def answer(*outputs: dict[str, object], version: int = 7) -> Answer:
    document = {"model_name": "churn", "model_version": str(version), "outputs": list(outputs)}
    return Answer(json.dumps(document, separators=(",", ":")).encode())


def in_bytes(*outputs: dict[str, Any], version: int = 7) -> Answer:
    """Return an answer in the binary form."""
    entries, parts = [], []
    for output in outputs:
        parts.append(binary.encode(Tensor(output["name"], output["datatype"], output["shape"], output["data"])))
        parameters = {"binary_data_size": len(parts[-1])}
        entries.append({**{key: output[key] for key in ("name", "datatype", "shape")}, "parameters": parameters})
    text = json.dumps({"model_name": "churn", "model_version": str(version), "outputs": entries}).encode()
    return Answer(text + b"".join(parts), b"%d" % len(text))


FORMS = pytest.mark.parametrize("form", [answer, in_bytes], ids=["json", "binary"])


@FORMS
def test_equal_answers_of_two_versions_do_not_differ(form: Any) -> None:
    outputs = tensor("label", "INT64", [3], 0, 1, 0), tensor("p", "FP32", [3, 2], 0.5, 0.5, 0.25, 0.75, 1.0, 0.0)
    assert compare(form(*outputs), form(*outputs, version=8)) == Difference(rows=3)


@FORMS
def test_equal_answers_are_not_read_value_by_value(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = tensor("p", "FP64", [2, 2], 0.5, 0.5, 0.25, 0.75)
    monkeypatch.setattr(binary, "answer", None)
    assert compare(form(outputs), form(outputs, version=8)) == Difference(rows=2)


@FORMS
@pytest.mark.parametrize(
    ("live", "shadow", "difference"),
    [
        pytest.param(
            [tensor("label", "INT64", [3], 0, 1, 0)],
            [tensor("label", "INT64", [3], 0, 0, 0)],
            Difference(rows=3, flipped=1),
            id="a label",
        ),
        pytest.param(
            [tensor("p", "FP64", [2, 2], 0.75, 0.25, 0.5, 0.25)],
            [tensor("p", "FP64", [2, 2], 0.25, 0.75, 0.75, 0.25)],
            Difference(rows=2, flipped=1, moved=(0.25,), distances=0.75, furthest=0.5),
            id="the greatest of a row, and a number",
        ),
        pytest.param(
            [tensor("y", "FP64", [3], 1.0, 2.0, 3.0)],
            [tensor("y", "FP64", [3], 1.0, 4.0, 3.5)],
            Difference(rows=3, moved=(2.0, 0.5), distances=2.5, furthest=2.0),
            id="numbers decide nothing",
        ),
        pytest.param(
            [tensor("label", "BYTES", [1], "yes"), tensor("p", "FP64", [1, 2], 0.25, 0.75)],
            [tensor("label", "BYTES", [1], "no"), tensor("p", "FP64", [1, 2], 0.75, 0.25)],
            Difference(rows=1, flipped=1, distances=0.5, furthest=0.5),
            id="a row flips once",
        ),
        pytest.param(
            [tensor("ok", "BOOL", [1], True)],
            [tensor("ok", "BOOL", [1], False)],
            Difference(rows=1, flipped=1),
            id="a bool",
        ),
        pytest.param(
            [tensor("boxes", "FP64", [2, 2], 0.5, 0.25, 0.5, 0.25), tensor("count", "INT64", [1], 2)],
            [tensor("boxes", "FP64", [2, 2], 0.5, 0.25, 0.25, 0.5), tensor("count", "INT64", [1], 2)],
            Difference(rows=1, flipped=1, distances=0.25, furthest=0.25),
            id="outputs of other heights are one row",
        ),
        pytest.param(
            [tensor("y", "FP64", [], 1.0)],
            [tensor("y", "FP64", [], 2.0)],
            Difference(rows=1, moved=(1.0,), distances=1.0, furthest=1.0),
            id="a single value",
        ),
        pytest.param(
            [tensor("p", "FP64", [2, 2, 2], 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0)],
            [tensor("p", "FP64", [2, 2, 2], 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0)],
            Difference(rows=2, flipped=1, distances=1.0, furthest=1.0),
            id="one of several decisions of a row",
        ),
    ],
)
def test_what_differs(form: Any, live: Any, shadow: Any, difference: Difference) -> None:
    assert compare(form(*live), form(*shadow, version=8)) == difference


@FORMS
@pytest.mark.parametrize(
    ("shadow", "said"),
    [
        ([tensor("p", "FP32", [2, 3], 0, 0, 0, 0, 0, 0)], "p: FP32[2, 3] instead of FP32[2, 2]"),
        ([tensor("p", "FP64", [2, 2], 1, 0, 0, 1)], "p: FP64[2, 2] instead of FP32[2, 2]"),
        ([tensor("other", "FP32", [2, 2], 1, 0, 0, 1)], "p: missing in the answer"),
        ([], "p: missing in the answer"),
    ],
    ids=["shape", "datatype", "name", "nothing"],
)
def test_another_form_flips_every_row(form: Any, shadow: Any, said: str) -> None:
    live = form(tensor("p", "FP32", [2, 2], 1.0, 0.0, 0.0, 1.0))
    assert compare(live, form(*shadow, version=8)) == Difference(rows=2, flipped=2, unlike=said)


def test_a_shadow_whose_answer_cannot_be_read_flips_and_nothing_of_it_is_quoted() -> None:
    live = answer(tensor("p", "FP32", [2], 1.0, 0.0))
    for body in (b"", b"{", b"[" * 100_000, b'{"model_version":"8","outputs":[{"name":"secret"}]}', b"\xff"):
        assert compare(live, Answer(body)) == Difference(2, 2, unlike="the answer cannot be read")
    assert compare(live, Answer(live.body, b"none")).unlike == "the answer cannot be read"


def test_a_live_answer_that_cannot_be_read_says_nothing_about_the_shadow() -> None:
    for body in (b"", b"{", b'{"error":"no"}', b"\xff"):
        with pytest.raises(LeftOut, match="unreadable"):
            compare(Answer(body), answer(tensor("p", "FP32", [1], 1.0)))


def test_what_is_no_number_flips_where_the_other_one_is() -> None:
    one, two = tensor("p", "FP64", [4], 1.0, math.nan, math.inf, -math.inf), tensor("p", "FP64", [4], *[math.nan] * 4)
    assert compare(answer(one), answer(two)) == Difference(rows=4, flipped=3)
    assert compare(answer(two), answer(one)) == Difference(rows=4, flipped=3)
    infinite = tensor("p", "FP64", [4], 2.0, math.nan, math.inf, -math.inf)
    assert compare(answer(one), answer(infinite)) == Difference(rows=4, moved=(1.0,), distances=1.0, furthest=1.0)


@pytest.mark.parametrize("text", ['"outputs"', '\\"shape\\":[9'])
def test_a_text_in_an_answer_is_not_taken_for_its_form(text: str) -> None:
    outputs = '[{"name":"y","datatype":"BYTES","shape":[2],"data":["' + text.strip('"') + '","b"]}]'
    bodies = [
        f'{{"model_name":"outputs","model_version":"{version}","id":"outputs","outputs":{outputs}}}'.encode()
        for version in (7, 8)
    ]
    assert compare(*map(Answer, bodies)) == Difference(rows=2)


def test_it_decides_as_the_comment_of_a_pull_request_does() -> None:
    """Behaviour compares cases, and this compares rows: of answers of one row both say the same."""
    rows = [(0.75, 0.25), (0.5, 0.5), (0.25, 0.75), (math.nan, 1.0), (0.0, 0.0)]
    for one in rows:
        for two in rows:
            live, shadow = (Tensor("p", "FP64", (1, 2), row) for row in (one, two))
            _, flipped, _ = compare_cases([Answered("a", [live])], [Answered("a", [shadow])])
            found = compare(answer(live.to_json()), answer(shadow.to_json()))
            if not any(map(math.isnan, one + two)):  # where there is no number, the gateway is stricter
                assert found.flipped == flipped, (one, two)


def test_many_rows_of_bytes() -> None:
    one, two = (struct.pack("<4096f", *(number + by for number in range(4096))) for by in (0.0, 0.5))
    entry = '{"name":"y","datatype":"FP32","shape":[4096],"parameters":{"binary_data_size":16384}}'
    text = f'{{"model_name":"a","model_version":"1","outputs":[{entry}]}}'.encode()
    length = b"%d" % len(text)
    found = compare(Answer(text + one, length), Answer(text + two, length))
    assert (found.rows, found.flipped, len(found.moved), found.distances) == (4096, 0, 4096, 2048.0)
