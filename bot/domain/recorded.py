"""A request that a gateway recorded: what somebody asked, and which version answered.

One line of a recording is one JSON object:

    {"format": 1, "at": "2026-11-30T09:15:02.114+00:00", "model": "churn", "version": 7, "digest": "sha256:…",
     "inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 30], "data": [17.99, …]}], "dropped": ["customer"]}

It holds no header, no request id, no parameter and no answer. ``dropped`` names the fields whose values are not
there: each is 0, false or an empty text instead, so that the request can still be asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bot.domain import jsontext
from bot.domain.binary import decode, tensors
from bot.domain.packed import Scalar, loaded
from bot.domain.recorded_field import Field
from bot.domain.smoke import FLOATS, Tensor, declared, tensor_from_json

FORMAT = 1


@dataclass(frozen=True)
class Recorded:
    """One recorded request, and the version that answered it."""

    at: datetime
    model: str
    version: int
    digest: str
    inputs: tuple[Tensor, ...]
    dropped: tuple[str, ...] = ()

    def to_line(self) -> str:
        """Return it as a line of a recording, without the newline."""
        document: dict[str, object] = {
            "format": FORMAT,
            "at": self.at.isoformat(timespec="milliseconds"),
            "model": self.model,
            "version": self.version,
            "digest": self.digest,
            "inputs": [tensor.to_json() for tensor in self.inputs],
        }
        if self.dropped:
            document["dropped"] = list(self.dropped)
        return json.dumps(document, separators=(",", ":"))


def from_line(text: str) -> Recorded:
    """Parse a line of a recording; raise ValueError that says what is wrong with it."""
    document = jsontext.read(text)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"is not a recorded request of format {FORMAT}")
    model, version, digest = (document.get(name) for name in ("model", "version", "digest"))
    inputs, dropped, at = document.get("inputs"), document.get("dropped", []), document.get("at")
    if not isinstance(model, str) or type(version) is not int or not isinstance(digest, str):
        raise ValueError("lacks model, version or digest")
    if not isinstance(inputs, list) or not inputs or not isinstance(at, str) or not isinstance(dropped, list):
        raise ValueError("lacks inputs or at")
    moment = datetime.fromisoformat(at)
    if moment.tzinfo is None:
        raise ValueError(f"at {at!r:.40} has no time zone")
    return Recorded(moment, model, version, digest, tuple(map(tensor_from_json, inputs)), tuple(map(str, dropped)))


def asked(body: bytes | bytearray, header_length: str | None) -> tuple[Tensor, ...]:
    """Return the inputs of a request to infer, in JSON or in the binary form.

    ``header_length`` is the HTTP header ``Inference-Header-Content-Length``, None where there is none. Raise
    ValueError for what is no such request, and for tensors in shared memory, whose values are elsewhere.
    """
    length = len(body) if header_length is None else int(header_length)
    if not 0 <= length <= len(body):
        raise ValueError(f"the header gives the JSON {length} of {len(body)} bytes")
    document = jsontext.read(bytes(body[:length]))
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), list) or not document["inputs"]:
        raise ValueError("has no inputs")
    inputs, _ = tensors(document["inputs"], bytes(body), length, plain=_plain, of=_decoded)
    return tuple(inputs)


def without(inputs: Iterable[Tensor], fields: Sequence[Field]) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
    """Return the inputs without the values of these fields, and the fields that were there.

    Where an input has no such column, all of it is dropped: a setting that no longer fits lets no values through.
    """
    found, dropped = list[Tensor](), list[str]()
    for tensor in inputs:
        own = [one for one in fields if one.input == tensor.name]
        for one in own:
            tensor = replace(tensor, data=_blanked(tensor, one.column))
        dropped += map(str, own)
        found.append(tensor)
    return tuple(found), tuple(dropped)


def _blanked(tensor: Tensor, column: int | None) -> tuple[Scalar, ...]:
    nothing: Scalar = _nothing(tensor.datatype)
    width = tensor.shape[-1] if len(tensor.shape) > 1 else 0
    if column is None or column >= width:
        return (nothing,) * len(tensor.data)
    return tuple(nothing if at % width == column else value for at, value in enumerate(tensor.data))


def _nothing(datatype: str) -> Scalar:
    if datatype == "BYTES":
        return ""
    if datatype == "BOOL":
        return False
    return 0.0 if datatype in FLOATS else 0


def _decoded(entry: Any, raw: bytes) -> Tensor:
    tensor = decode(*declared(entry), raw)
    return replace(tensor, data=loaded(tensor.data))


def _plain(entry: Any) -> Tensor:
    """Read an input in JSON: Triton takes rows as lists of their own, too."""
    if not isinstance(entry, dict) or not isinstance(entry.get("data"), list):
        raise ValueError("an input has no data")
    data, shape = entry["data"], entry.get("shape")
    depth = len(shape) if isinstance(shape, list) else 0
    while depth > 1 and data and all(isinstance(part, list) for part in data):
        data, depth = [value for part in data for value in part], depth - 1
    return tensor_from_json({**entry, "data": data})
