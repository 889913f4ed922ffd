"""Tensors as bytes: the binary form of the Open Inference Protocol, which holds every datatype that Triton has.

JSON has no FP16 and no BF16, and bytes other than text break it. In the binary form a JSON header names the tensors,
and their bytes follow it in the same order. The HTTP header ``Inference-Header-Content-Length`` says where the JSON
ends; Triton leaves it out where no byte follows.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bot.domain import jsontext
from bot.domain.smoke import DATATYPES, Scalar, Tensor, tensor_from_json, text_or_bytes

HEADER_LENGTH = "Inference-Header-Content-Length"

_CODES = {
    "BOOL": "?",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
}


def encode(tensor: Tensor) -> bytes:
    """Return the tensor's elements, row by row and little-endian. Raise ValueError where they do not fit it."""
    if len(tensor.data) != math.prod(tensor.shape):
        raise ValueError(f"{len(tensor.data)} values for the shape {list(tensor.shape)}")
    try:
        if tensor.datatype == "BYTES":
            return b"".join(struct.pack("<I", len(value)) + value for value in map(_bytes, tensor.data))
        if tensor.datatype == "BF16":
            return b"".join(struct.pack("<H", _to_bf16(float(value))) for value in tensor.data)
        if tensor.datatype == "BOOL" and any(type(value) is not bool for value in tensor.data):
            raise ValueError("a value is neither true nor false")
        return struct.pack(f"<{len(tensor.data)}{_CODES[tensor.datatype]}", *tensor.data)
    except KeyError:
        raise ValueError(f"{tensor.datatype} is not a datatype of Triton") from None
    except (struct.error, OverflowError, TypeError) as error:
        raise ValueError(str(error)) from error


def decode(name: str, datatype: str, shape: Sequence[int], raw: bytes) -> Tensor:
    """Return the tensor whose elements are ``raw``. Raise ValueError where they are not that many."""
    count = math.prod(shape)
    data: tuple[Scalar, ...]
    if datatype == "BYTES":
        data = tuple(_elements(raw))
    elif datatype == "BF16":
        data = tuple(_from_bf16(bits) for bits in struct.unpack(f"<{len(raw) // 2}H", raw[: len(raw) // 2 * 2]))
    elif datatype in _CODES:
        size = struct.calcsize(_CODES[datatype])
        data = struct.unpack(f"<{len(raw) // size}{_CODES[datatype]}", raw[: len(raw) // size * size])
    else:
        raise ValueError(f"{name} has the unknown datatype {datatype!r:.80}")
    if len(data) != count or (datatype in _SIZES and len(raw) != count * _SIZES[datatype]):
        raise ValueError(f"{name} has {len(raw)} bytes, which are not {datatype}{list(shape)}")
    return Tensor(name, datatype, tuple(shape), data)


_SIZES = {**{datatype: struct.calcsize(code) for datatype, code in _CODES.items()}, "BF16": 2}


def request(inputs: Sequence[Tensor], outputs: Sequence[str]) -> tuple[bytes, Mapping[str, str]]:
    """Return body and headers of a request that sends and asks for bytes. Raise ValueError as `encode` does."""
    parts = [_encoded(tensor) for tensor in inputs]
    header = {
        "inputs": [
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
                "parameters": {"binary_data_size": len(part)},
            }
            for tensor, part in zip(inputs, parts, strict=True)
        ],
        "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs],
    }
    text = json.dumps(header).encode()
    headers = {HEADER_LENGTH: str(len(text)), "Content-Type": "application/octet-stream"}
    return text + b"".join(parts), headers


def answer(body: bytes, headers: Mapping[str, str]) -> tuple[str, list[Tensor]]:
    """Return the version that says it answered, and its outputs. Raise ValueError for what is not such an answer.

    ``headers`` are those of HTTP; names are looked up as they are written here, so give a mapping that knows no case.
    """
    said = headers.get(HEADER_LENGTH)
    if said is None:
        said = str(len(body))
    if not said.isascii() or not said.isdecimal() or int(said) > len(body):
        raise ValueError(f"{HEADER_LENGTH} is {said!r:.40} of {len(body)} bytes")
    document = jsontext.read(body[: int(said)])
    if not isinstance(document, dict) or not isinstance(document.get("outputs"), list):
        raise ValueError("has no outputs")
    if not isinstance(document.get("model_version"), str):
        raise ValueError("has no model_version")
    rest, outputs = body[int(said) :], []
    for entry in document["outputs"]:
        size = _binary_size(entry)
        if size is None:
            outputs.append(tensor_from_json(entry))
            continue
        if size > len(rest):
            raise ValueError(f"{len(rest)} bytes are left for a tensor of {size}")
        outputs.append(_decoded(entry, rest[:size]))
        rest = rest[size:]
    if rest:
        raise ValueError(f"{len(rest)} bytes belong to no tensor")
    return document["model_version"], outputs


def only(wanted: Sequence[str], outputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the outputs in the order in which they were asked for. Raise ValueError where one is missing."""
    by_name = {tensor.name: tensor for tensor in outputs}
    if missing := [name for name in wanted if name not in by_name]:
        raise ValueError(f"the answer has no output {', '.join(missing)}")
    return [by_name[name] for name in wanted]


def _encoded(tensor: Tensor) -> bytes:
    try:
        return encode(tensor)
    except ValueError as error:
        raise ValueError(f"{tensor.name} does not hold {tensor.datatype}{list(tensor.shape)}: {error}") from error


def _binary_size(entry: Any) -> int | None:
    parameters = entry.get("parameters") if isinstance(entry, dict) else None
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise ValueError(f"binary_data_size is {size!r:.40}")
    return size


def _decoded(entry: Mapping[str, Any], raw: bytes) -> Tensor:
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str) or not isinstance(datatype, str) or datatype not in DATATYPES:
        raise ValueError(f"output {name!r:.80} has the unknown datatype {datatype!r:.80}")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**31 for size in shape):
        raise ValueError(f"output {name!r:.80} has the bad shape {shape!r:.80}")
    return decode(name, datatype, shape, raw)


def _bytes(value: Scalar) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise ValueError(f"{value!r:.80} is neither text nor bytes")


def _elements(raw: bytes) -> Iterator[str | bytes]:
    at = 0
    while at < len(raw):
        if len(raw) < at + 4 or len(raw) < (end := at + 4 + int.from_bytes(raw[at : at + 4], "little")):
            raise ValueError("the bytes end within an element")
        yield text_or_bytes(raw[at + 4 : end])
        at = end


def _to_bf16(value: float) -> int:
    """Return the upper half of the FP32, rounded to the nearest, ties to even."""
    if math.isnan(value):
        return 0x7FC0
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    rounded: int = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    if rounded & 0x7FFF == 0x7F80 and not math.isinf(value):
        raise ValueError(f"{value!r} is too large for BF16")
    return rounded


def _from_bf16(bits: int) -> float:
    (value,) = struct.unpack("<f", struct.pack("<I", bits << 16))
    return float(value)
