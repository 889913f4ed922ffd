"""Tensors as bytes: the binary form of the Open Inference Protocol, which holds every datatype that Triton has.

JSON has no FP16 and no BF16, and bytes other than text break it. In the binary form a JSON header names the tensors,
and their bytes follow it in the same order. The HTTP header ``Inference-Header-Content-Length`` says where the JSON
ends; Triton leaves it out where no byte follows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bot.domain import jsontext
from bot.domain.packed import Packed, check, pack, unpack
from bot.domain.smoke import DATATYPES, Tensor, binary_size, tensor_from_json

HEADER_LENGTH = "Inference-Header-Content-Length"

SMALL_BYTES = 4096
"""A tensor up to this size is decoded at once; a larger one stays packed."""


def encode(tensor: Tensor) -> bytes:
    """Return the tensor's elements, row by row and little-endian. Raise ValueError where they do not fit it."""
    if len(tensor.data) != math.prod(tensor.shape):
        raise ValueError(f"{len(tensor.data)} values for the shape {list(tensor.shape)}")
    return pack(tensor.datatype, tensor.data)


def decode(name: str, datatype: str, shape: Sequence[int], raw: bytes) -> Tensor:
    """Return the tensor whose elements are ``raw``. Raise ValueError where they are not that many."""
    count = math.prod(shape)
    if datatype not in DATATYPES:
        raise ValueError(f"{name} has the unknown datatype {datatype!r:.80}")
    try:
        check(datatype, count, raw)
    except ValueError as error:
        said = f"{name} has {len(raw)} bytes, which are not {datatype}{list(shape)}"
        raise ValueError(said) from error
    if len(raw) <= SMALL_BYTES:
        return Tensor(name, datatype, tuple(shape), unpack(datatype, raw))
    return Tensor(name, datatype, tuple(shape), Packed(datatype, count, lambda: raw, size=len(raw)))


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
    outputs, at = tensors(document["outputs"], body, int(said), plain=tensor_from_json, of=_decoded)
    if at < len(body):
        raise ValueError(f"{len(body) - at} bytes belong to no tensor")
    return document["model_version"], outputs


def tensors(
    entries: Iterable[Any],
    body: bytes,
    begin: int,
    *,
    plain: Callable[[Any], Tensor],
    of: Callable[[Any, bytes], Tensor],
) -> tuple[list[Tensor], int]:
    """Return the tensors that a JSON header lists, and where their bytes end, which begin at ``begin`` of the body.

    ``plain`` reads one whose values stand in the JSON, ``of`` one with its bytes. Raise ValueError where bytes lack.
    """
    at, found = begin, list[Tensor]()
    for entry in entries:
        size = binary_size(entry)
        if size is None:
            found.append(plain(entry))
            continue
        if size > len(body) - at:
            raise ValueError(f"{len(body) - at} bytes are left for a tensor of {size}")
        found.append(of(entry, body[at : at + size]))
        at += size
    return found, at


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


def _decoded(entry: Mapping[str, Any], raw: bytes) -> Tensor:
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str) or not isinstance(datatype, str) or datatype not in DATATYPES:
        raise ValueError(f"output {name!r:.80} has the unknown datatype {datatype!r:.80}")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**31 for size in shape):
        raise ValueError(f"output {name!r:.80} has the bad shape {shape!r:.80}")
    return decode(name, datatype, shape, raw)
