"""Smoke cases: requests with the answers that the training framework gave.

``smoke.json`` holds them in the terms of the Open Inference Protocol:

    {"format": 1,
     "tolerance": {"relative": 1e-4, "absolute": 1e-5},
     "cases": [{"name": "row-17",
                "inputs":  [{"name": "X", "datatype": "FP32", "shape": [1, 30], "data": [17.99, …]}],
                "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.9, 0.1]}]}]}

``data`` is flat, row by row. Integer, boolean and string outputs must be equal; floats must satisfy
``|got - expected| <= absolute + relative * |expected|``, NaN equals NaN. An element of BYTES is its text, or
``{"base64": "…"}`` where its bytes are no UTF-8.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bot.domain import jsontext
from bot.domain.signature import Signature, TensorSpec

_SURROGATE = re.compile("[\ud800-\udfff]")
"""A str that holds one is not text: it cannot be written as UTF-8."""

INTEGERS = {f"{sign}INT{bits}": (sign, bits) for sign in ("", "U") for bits in (8, 16, 32, 64)}
FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})
DATATYPES = frozenset({"BOOL", "BYTES", *INTEGERS, *FLOATS})

MAX_CASES = 512
"""Of one package: each case is asked of each Triton and each gateway, at every deployment."""
MAX_TOLERANCE = 0.1
"""The largest relative tolerance. The largest absolute one is this part of the largest value of an output."""
ALWAYS_TOLERATED = 1e-3
"""An absolute tolerance that any output may have, also one whose expected values are all 0."""

Scalar = bool | int | float | str | bytes
"""An element. One of BYTES is a str, or bytes where these are no UTF-8: so equal elements are equal."""


@dataclass(frozen=True)
class Tensor:
    """A named tensor: Open Inference Protocol datatype, shape, and flat data in row-major order."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: tuple[Scalar, ...]

    def to_json(self) -> dict[str, object]:
        """Return the tensor as the protocol's JSON object."""
        return {
            "name": self.name,
            "datatype": self.datatype,
            "shape": list(self.shape),
            "data": [_to_json(value) for value in self.data],
        }


@dataclass(frozen=True)
class Tolerance:
    """The tolerance of a float around the expected one: ``absolute`` and ``relative * |expected|`` together."""

    relative: float = 1e-4
    absolute: float = 1e-5


@dataclass(frozen=True)
class SmokeCase:
    """One request and the answer it must get."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class SmokeCases:
    """All smoke cases of a package; never empty."""

    cases: tuple[SmokeCase, ...]
    tolerance: Tolerance = Tolerance()

    def to_json(self) -> str:
        """Return the text of ``smoke.json``."""
        document = {
            "format": 1,
            "tolerance": {"relative": self.tolerance.relative, "absolute": self.tolerance.absolute},
            "cases": [
                {
                    "name": case.name,
                    "inputs": [tensor.to_json() for tensor in case.inputs],
                    "outputs": [tensor.to_json() for tensor in case.outputs],
                }
                for case in self.cases
            ],
        }
        return json.dumps(document) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> SmokeCases:
        """Parse ``smoke.json``; raise ValueError that says what is wrong with it."""
        document = jsontext.read(text)
        if not isinstance(document, dict) or document.get("format") != 1:
            raise ValueError("not a smoke.json of format 1")
        if unknown := sorted(set(document) - {"format", "tolerance", "cases"}):
            raise ValueError(f"unknown keys: {', '.join(map(repr, unknown[:10]))}")
        cases = document.get("cases")
        if not isinstance(cases, list) or not cases:
            raise ValueError("has no cases")
        tolerance = document.get("tolerance", {})
        if not isinstance(tolerance, dict) or set(tolerance) - {"relative", "absolute"}:
            raise ValueError("has a tolerance with other keys than relative and absolute")
        relative, absolute = tolerance.get("relative", 1e-4), tolerance.get("absolute", 1e-5)
        if not all(_fits(x, "FP64") and 0 <= x < math.inf for x in (relative, absolute)):
            raise ValueError("has a tolerance that is not a number from 0")
        return cls(
            cases=tuple(_case(entry) for entry in cases),
            tolerance=Tolerance(float(relative), float(absolute)),
        )


def signature_of(smoke: SmokeCases, max_batch_size: int) -> Signature:
    """Return the tensors of the cases: -1 for a size in which they differ, and for the batch where there is one."""

    def specs(tensors: Iterable[Tensor]) -> tuple[TensorSpec, ...]:
        seen: dict[str, TensorSpec] = {}
        for tensor in tensors:
            known = seen.setdefault(tensor.name, TensorSpec(tensor.name, tensor.datatype, tensor.shape))
            if len(known.shape) == len(tensor.shape):
                shape = (a if a == b else -1 for a, b in zip(known.shape, tensor.shape, strict=True))
                seen[tensor.name] = TensorSpec(tensor.name, tensor.datatype, tuple(shape))
        return tuple(
            TensorSpec(spec.name, spec.datatype, (-1, *spec.shape[1:]) if max_batch_size else spec.shape)
            for spec in seen.values()
        )

    return Signature(
        specs(tensor for case in smoke.cases for tensor in case.inputs),
        specs(tensor for case in smoke.cases for tensor in case.outputs),
    )


def smoke_problems(smoke: SmokeCases) -> list[str]:
    """Return one sentence for each limit that these cases exceed: too many to ask, or too tolerant to prove anything.

    :meth:`SmokeCases.from_json` does not ask, because what is in service must stay readable when limits change.
    Decision 32 says how the limits were chosen.
    """
    found, relative, absolute = [], smoke.tolerance.relative, smoke.tolerance.absolute
    if len(smoke.cases) > MAX_CASES:
        found.append(f"has {len(smoke.cases)} cases, more than {MAX_CASES}")
    if relative > MAX_TOLERANCE:
        found.append(f"tolerance.relative is {relative:g}, more than {MAX_TOLERANCE:g}")
    largest: dict[str, float] = {}
    for tensor in (tensor for case in smoke.cases for tensor in case.outputs if tensor.datatype in FLOATS):
        finite = (abs(float(value)) for value in tensor.data if math.isfinite(float(value)))
        largest[tensor.name] = max(largest.get(tensor.name, 0.0), *finite, 0.0)
    for name, value in sorted(largest.items()):
        if absolute > max(ALWAYS_TOLERATED, MAX_TOLERANCE * value):
            found.append(
                f"tolerance.absolute is {absolute:g}, more than {MAX_TOLERANCE:g} of the largest value that "
                f"{name[:80]} is expected to have ({value:g})"
            )
    return found


def difference(expected: Tensor, got: Tensor | None, tolerance: Tolerance) -> str:
    """Say in a few words how ``got`` differs from ``expected``; an empty string where it does not."""
    if got is None:
        return f"{expected.name}: missing in the answer"
    if got.datatype != expected.datatype or got.shape != expected.shape:
        return (
            f"{expected.name}: {got.datatype}{list(got.shape)} instead of {expected.datatype}{list(expected.shape)}"
        )
    wrong = [
        index
        for index, (want, have) in enumerate(zip(expected.data, got.data, strict=True))
        if not _close(want, have, tolerance, floating=expected.datatype in FLOATS)
    ]
    if not wrong:
        return ""
    first = wrong[0]
    return (
        f"{expected.name}[{first}]: {_shown(got.data[first])} instead of {_shown(expected.data[first])}"
        f" ({len(wrong)} of {len(expected.data)} values differ)"
    )


def differences(case: SmokeCase, answer: Sequence[Tensor], tolerance: Tolerance) -> list[str]:
    """Return one sentence for each expected output that the answer misses or gets wrong."""
    by_name = {tensor.name: tensor for tensor in answer}
    found = (difference(expected, by_name.get(expected.name), tolerance) for expected in case.outputs)
    return [sentence for sentence in found if sentence]


def _shown(value: Scalar) -> str:
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def _close(want: Scalar, have: Scalar, tolerance: Tolerance, *, floating: bool) -> bool:
    if not floating or isinstance(want, str | bytes) or isinstance(have, str | bytes):
        return want == have
    if math.isnan(want) or math.isnan(have) or math.isinf(want) or math.isinf(have):
        return want == have or (math.isnan(want) and math.isnan(have))
    return abs(have - want) <= tolerance.absolute + tolerance.relative * abs(want)


def _fits(value: object, datatype: str) -> bool:
    """Say whether a value that JSON gave is one of ``datatype``; so it is an ordinary number of Python, too."""
    if datatype in FLOATS:
        return type(value) is float or (type(value) is int and abs(value) < 2**1023)
    if datatype in INTEGERS:
        sign, bits = INTEGERS[datatype]
        low, high = (0, 2**bits) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1))
        return type(value) is int and low <= value < high
    if datatype == "BOOL":
        return type(value) is bool
    return type(value) is bytes or (type(value) is str and not _SURROGATE.search(value))


def _case(entry: object) -> SmokeCase:
    if not isinstance(entry, dict) or set(entry) != {"name", "inputs", "outputs"}:
        raise ValueError("a case has other keys than name, inputs and outputs")
    inputs, outputs = entry["inputs"], entry["outputs"]
    if not isinstance(entry["name"], str) or not isinstance(inputs, list) or not isinstance(outputs, list):
        raise ValueError("a case has a value of the wrong type")
    if not inputs or not outputs:
        raise ValueError(f"case {entry['name']!r:.80} has no inputs or no outputs")
    return SmokeCase(
        name=entry["name"],
        inputs=tuple(tensor_from_json(tensor) for tensor in inputs),
        outputs=tuple(tensor_from_json(tensor) for tensor in outputs),
    )


def tensor_from_json(entry: object) -> Tensor:
    """Parse the protocol's JSON object of a tensor; raise ValueError that says what is wrong with it."""
    if not isinstance(entry, dict) or not {"name", "datatype", "shape", "data"} <= set(entry):
        raise ValueError("a tensor lacks name, datatype, shape or data")
    name, datatype, shape, data = entry["name"], entry["datatype"], entry["shape"], entry["data"]
    if not isinstance(name, str) or not isinstance(datatype, str) or datatype not in DATATYPES:
        raise ValueError(f"tensor {name!r:.80} has the unknown datatype {datatype!r:.80}")
    if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        raise ValueError(f"tensor {name!r:.80} has the bad shape {shape!r:.80}")
    if not isinstance(data, list) or len(data) != math.prod(shape):
        raise ValueError(f"tensor {name!r:.80} has not as many values as its shape {shape!r:.80} says")
    if datatype == "BYTES":
        data = [_from_json(value) for value in data]
    if wrong := [value for value in data if not _fits(value, datatype)]:
        raise ValueError(f"tensor {name!r:.80} has a value that is no {datatype}: {wrong[0]!r:.80}")
    return Tensor(name=name, datatype=datatype, shape=tuple(shape), data=tuple(data))


def text_or_bytes(value: bytes) -> str | bytes:
    """Return an element of BYTES as text where it is UTF-8, else as it is."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _to_json(value: Scalar) -> object:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _from_json(value: object) -> object:
    if not isinstance(value, dict) or set(value) != {"base64"} or not isinstance(value["base64"], str):
        return value
    try:
        return text_or_bytes(base64.b64decode(value["base64"], validate=True))
    except ValueError:
        return value
