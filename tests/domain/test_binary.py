"""The binary form of the protocol: every datatype there and back, and answers that are none."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor, triton_to_np_dtype

from bot.domain import binary
from bot.domain.smoke import DATATYPES, INTEGERS, SmokeCase, SmokeCases, Tensor, Tolerance, differences

VALUES: dict[str, tuple[Any, ...]] = {
    "BOOL": (True, False),
    "BYTES": ("", "ä\n", b"\xff\x00", b"\xed\xa0\x80", "a\x00", "x" * 70_000),
    "FP16": (0.5, -65504.0, 2.0**-24, math.inf, -math.inf, math.nan),
    "BF16": (1.5, -3.3895313892515355e38, math.inf, -math.inf, math.nan, -0.0),
    "FP32": (0.1, 3.4028234663852886e38, math.inf, -math.inf, math.nan),
    "FP64": (0.1, 1.7976931348623157e308, 5e-324, math.inf, math.nan),
    **{
        name: (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        for name, (sign, bits) in INTEGERS.items()
    },
}
TENSORS = [
    *(Tensor("Y", datatype, (len(VALUES[datatype]), 1), VALUES[datatype]) for datatype in sorted(DATATYPES)),
    *(Tensor("none", datatype, (0, 3), ()) for datatype in sorted(DATATYPES)),
    *(Tensor("scalar", datatype, (), VALUES[datatype][:1]) for datatype in sorted(DATATYPES)),
]


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same to the bit that FP16 and FP32 have, types included."""
    case = SmokeCase("a", (one,), (one,))
    types = [type(value) for value in one.data] == [type(value) for value in other.data]
    return not differences(case, [other], Tolerance(1e-3 if one.datatype in ("FP16", "FP32") else 0, 0)) and types


@pytest.mark.parametrize("tensor", TENSORS, ids=lambda tensor: f"{tensor.datatype}{list(tensor.shape)}")
def test_every_datatype_there_and_back(tensor: Tensor) -> None:
    raw = binary.encode(tensor)
    assert same(tensor, binary.decode(tensor.name, tensor.datatype, tensor.shape, raw))
    assert SmokeCases.from_json(SmokeCases((SmokeCase("a", (tensor,), (tensor,)),)).to_json()).cases[0].name == "a"
    if tensor.datatype == "BYTES":
        elements = [value.encode() if isinstance(value, str) else value for value in tensor.data]
        theirs = serialize_byte_tensor(np.array(elements, dtype=np.object_))
        assert raw == (theirs.item() if theirs.size else b"")
        assert list(deserialize_bytes_tensor(raw)) == elements
    else:
        theirs = np.array(tensor.data, dtype=triton_to_np_dtype(tensor.datatype)).reshape(tensor.shape)
        ours = np.frombuffer(raw, theirs.dtype).reshape(tensor.shape)
        if tensor.datatype == "BF16":  # whose NaN NumPy does not know for one
            ours, theirs = ours.astype(np.float32), theirs.astype(np.float32)
        np.testing.assert_array_equal(ours, theirs)


@given(st.floats(width=32))
def test_bf16_is_rounded_as_everybody_rounds_it(value: float) -> None:
    expected = np.array([value], dtype=np.float32).astype(triton_to_np_dtype("BF16"))
    if math.isinf(float(expected[0])) and not math.isinf(value):
        with pytest.raises(ValueError, match="too large for BF16"):
            binary.encode(Tensor("X", "BF16", (1,), (value,)))
        return
    (got,) = binary.decode("X", "BF16", (1,), binary.encode(Tensor("X", "BF16", (1,), (value,)))).data
    assert got == float(expected[0]) or (math.isnan(float(expected[0])) and math.isnan(float(got)))


def test_bytes_that_are_no_text_survive_their_file() -> None:
    one = Tensor("Y", "BYTES", (3,), ("text", b"\xff\x00", ""))
    cases = SmokeCases((SmokeCase("a", (one,), (one,)),))
    assert '["text", {"base64": "/wA="}, ""]' in cases.to_json()
    assert SmokeCases.from_json(cases.to_json()) == cases
    as_base64 = cases.to_json().replace('"text"', '{"base64": "dGV4dA=="}')
    assert SmokeCases.from_json(as_base64) == cases, "one text has one form, so equal elements are equal"


@pytest.mark.parametrize("wrong", [{"base64": "?"}, {"base64": 1}, {"base64": "", "more": 1}, {}, "\ud800"])
def test_what_is_neither_text_nor_base64_is_refused(wrong: object) -> None:
    one = Tensor("Y", "BYTES", (1,), ("HERE",))
    text = SmokeCases((SmokeCase("a", (one,), (one,)),)).to_json().replace('"HERE"', json.dumps(wrong))
    with pytest.raises(ValueError, match="no BYTES"):
        SmokeCases.from_json(text)


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("X", "UINT8", (1,), (256,)),
        Tensor("X", "INT64", (1,), (2**63,)),
        Tensor("X", "INT8", (1,), (0.5,)),
        Tensor("X", "FP16", (1,), (70_000.0,)),
        Tensor("X", "FP32", (1,), (1e39,)),
        Tensor("X", "FP32", (1,), ("a",)),
        Tensor("X", "BF16", (1,), ("a",)),
        Tensor("X", "BF16", (1,), (1e39,)),
        Tensor("X", "BOOL", (1,), (1,)),
        Tensor("X", "BYTES", (1,), (1,)),
        Tensor("X", "BYTES", (1,), ("\ud800",)),
        Tensor("X", "FP32", (2,), (1.0,)),
        Tensor("X", "FP8", (1,), (1.0,)),
    ],
    ids=lambda tensor: f"{tensor.datatype} {tensor.data[0]!r}",
)
def test_what_a_datatype_cannot_hold_is_an_error_that_names_the_tensor(tensor: Tensor) -> None:
    with pytest.raises(ValueError, match=r"X does not hold"):
        binary.request([tensor], ["Y"])


def test_a_request_is_as_tritons_documentation_has_it() -> None:
    inputs = [Tensor("A", "FP16", (1, 2), (1.0, 2.0)), Tensor("B", "BYTES", (1,), (b"\xff",))]
    body, headers = binary.request(inputs, ["Y"])
    length = int(headers["Inference-Header-Content-Length"])
    document = json.loads(body[:length])
    assert [entry["parameters"] for entry in document["inputs"]] == [{"binary_data_size": 4}, {"binary_data_size": 5}]
    assert document["outputs"] == [{"name": "Y", "parameters": {"binary_data": True}}]
    assert body[length:] == struct.pack("<2e", 1, 2) + b"\x01\x00\x00\x00\xff"


def answered(*outputs: Any, raw: bytes = b"", length: str | None = None, **more: Any) -> tuple[bytes, dict[str, str]]:
    text = json.dumps({"model_version": "7", "outputs": list(outputs), **more}).encode()
    return text + raw, {binary.HEADER_LENGTH: str(len(text)) if length is None else length}


def output(size: Any, shape: Any = (1,), datatype: Any = "FP32", name: Any = "Y") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}


def test_an_answer_may_mix_json_and_bytes_and_have_no_bytes_at_all() -> None:
    mixed = {"name": "J", "datatype": "INT64", "shape": [1], "data": [5]}
    body, headers = answered(output(4), mixed, output(2, datatype="FP16", name="Z"), raw=struct.pack("<fe", 0.5, 2))
    version, outputs = binary.answer(body, headers)
    assert (version, [tensor.data for tensor in binary.only(["Z", "Y", "J"], outputs)]) == ("7", [(2,), (0.5,), (5,)])
    body, _ = answered(output(0, shape=[0]))
    assert binary.answer(body, {}) == ("7", [Tensor("Y", "FP32", (0,), ())])


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"[]", {}),
        (b"[" * 100_000, {}),
        (b'{"outputs": []}', {}),
        (b'{"model_version": "1", "outputs": {}}', {}),
        answered(output(4), raw=b"abc"),
        answered(output(4), raw=b"abcde"),
        answered(output(-1), raw=b""),
        answered(output(True), raw=b"a"),
        answered(output("4"), raw=b"abcd"),
        answered(output(4, shape=[2]), raw=b"abcd"),
        answered(output(4, shape=[-1]), raw=b"abcd"),
        answered(output(4, shape="1"), raw=b"abcd"),
        answered(output(4, datatype="FP8"), raw=b"abcd"),
        answered(output(4, datatype=1), raw=b"abcd"),
        answered(output(4, name=1), raw=b"abcd"),
        answered(output(5, datatype="BYTES"), raw=b"\x02\0\0\0a"),
        answered(output(3, datatype="BYTES"), raw=b"\x02\0\0"),
        answered(output(3, datatype="BF16"), raw=b"abc"),
        answered(1),
        answered(output(4), raw=b"abcd", length="99999"),
        answered(output(4), raw=b"abcd", length="-1"),
        answered(output(4), raw=b"abcd", length="x"),
        answered(output(4), raw=b"abcd", length="²"),
        answered(output(4), raw=b"abcd", model_version=1),
    ],
    ids=lambda value: repr(value)[-60:],
)
def test_what_is_no_answer_is_a_value_error(body: bytes, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        binary.answer(body, headers)


@given(st.binary(max_size=60), st.sampled_from(sorted(DATATYPES)), st.lists(st.integers(0, 3), max_size=2))
def test_any_bytes_are_a_tensor_or_a_value_error(raw: bytes, datatype: str, shape: list[int]) -> None:
    try:
        tensor = binary.decode("Y", datatype, shape, raw)
    except ValueError:
        return
    assert len(tensor.data) == math.prod(shape)
    assert same(tensor, binary.decode("Y", datatype, shape, binary.encode(tensor)))
