"""Recorded requests: what is kept of a request, what never is, and that it can be asked again."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from bot.domain import binary, recorded
from bot.domain.recorded import Recorded, asked, from_line, without
from bot.domain.recorded_field import Field, field
from bot.domain.smoke import Tensor

X = Tensor("X", "FP32", (2, 3), (1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
WHO = Tensor("who", "BYTES", (2,), ("ada", b"\xff\x00"))
AT = datetime(2026, 11, 30, 9, 15, 2, 114000, tzinfo=UTC)


def in_json(*inputs: object, **more: object) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


def test_a_request_in_json_is_read_also_with_rows_as_lists() -> None:
    nested = {"name": "X", "datatype": "FP32", "shape": [2, 3], "data": [[1, 2, 3], [4, 5, 6]]}
    assert asked(in_json(nested, id="secret", parameters={"user": "ada"}), None) == (X,)
    assert asked(in_json(X.to_json()), None) == (X,)


def test_a_request_in_the_binary_form_is_read() -> None:
    half = Tensor("H", "FP16", (1, 2), (0.5, -2.0))
    body, headers = binary.request([X, WHO, half], ["probabilities"])
    assert asked(body, headers[binary.HEADER_LENGTH]) == (X, WHO, half)


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (b"{", None),
        (b"[]", None),
        (in_json(), None),
        (in_json({"name": "X", "datatype": "FP32", "shape": [1]}), None),
        (in_json({"name": "X", "datatype": "FP32", "shape": [2], "data": [1]}), None),
        (in_json({"name": "X", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}), None),
        (in_json(X.to_json()), "99999"),
        (in_json(X.to_json()), "-1"),
        (in_json(X.to_json()), "many"),
        (in_json({"name": "X", "datatype": "FP32", "shape": [1], "parameters": {"shared_memory_region": "r"}}), None),
    ],
)
def test_what_is_no_whole_request_is_refused(body: bytes, length: str | None) -> None:
    with pytest.raises(ValueError):
        asked(body, length)


def test_a_line_holds_the_request_and_nothing_else() -> None:
    one = Recorded(AT, "churn", 7, "sha256:ab", (X, WHO), ("who",))
    assert from_line(one.to_line()) == one
    assert set(json.loads(one.to_line())) == {"format", "at", "model", "version", "digest", "inputs", "dropped"}
    assert "\n" not in one.to_line()


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"version": "7"},
        {"inputs": []},
        {"inputs": None},
        {"at": "yesterday"},
        {"at": "2026-11-30T09:15"},
    ],
)
def test_a_line_of_another_form_is_refused(change: dict[str, object]) -> None:
    document = json.loads(Recorded(AT, "churn", 7, "sha256:ab", (X,)).to_line())
    with pytest.raises(ValueError):
        from_line(json.dumps({**document, **change}))


def test_a_dropped_input_keeps_its_shape_and_no_value() -> None:
    kept, dropped = without((X, WHO), [field("who")])
    assert kept == (X, Tensor("who", "BYTES", (2,), ("", ""))) and dropped == ("who",)


def test_a_dropped_column_is_zero_in_each_row() -> None:
    (kept,), dropped = without((X,), [field("X[1]"), field("X[2]")])
    assert kept.data == (1.0, 0.0, 0.0, 4.0, 0.0, 0.0) and dropped == ("X[1]", "X[2]")


@pytest.mark.parametrize("tensor", [X, Tensor("X", "FP32", (3,), (1.0, 2.0, 3.0))], ids=["rows", "no-rows"])
def test_where_an_input_has_no_such_column_all_of_it_goes(tensor: Tensor) -> None:
    (kept,), _ = without((tensor,), [field("X[3]")])
    assert set(kept.data) == {0.0}


def test_each_datatype_has_a_value_that_says_nothing() -> None:
    tensors = (
        Tensor("b", "BOOL", (1,), (True,)),
        Tensor("i", "INT64", (1,), (9,)),
        Tensor("f", "BF16", (1,), (9.0,)),
    )
    kept, _ = without(tensors, [field("b"), field("i"), field("f")])
    assert [tensor.data for tensor in kept] == [(False,), (0,), (0.0,)]
    body, headers = binary.request(kept, [])
    assert asked(body, headers[binary.HEADER_LENGTH]) == kept


@pytest.mark.parametrize("text", ["", "X[]", "X[-1]", "X[1", "X[1][2]", "[3]"])
def test_what_names_no_field_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a field"):
        field(text)
    assert field("X[12]") == Field("X", 12) and str(field("X[12]")) == "X[12]"
    assert recorded.FORMAT == 1
