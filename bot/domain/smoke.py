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

Where the tensors of all cases together are large, ``format`` is 2, and large tensors lie in ``smoke.tensors``, as
bytes in the protocol's binary form, one right after the other in the order of ``smoke.json``. Instead of ``data``
such a tensor has the number of its bytes, as the protocol writes it, and their sha256:

    {"name": "image", "datatype": "FP32", "shape": [1, 3, 640, 640],
     "parameters": {"binary_data_size": 4915200}, "sha256": "8e348b56…"}

So no offset can lead anywhere, and no two tensors share bytes. Decision 57 says why.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import le, sub
from typing import Any, NamedTuple, Protocol

from bot.domain import jsontext
from bot.domain.package import TENSORS_FILE
from bot.domain.packed import SIZES, Packed, Scalar, check, loaded, pack, size_of, text_or_bytes, unequal
from bot.domain.signature import Signature, TensorSpec
from bot.errors import OtherBytes, Rejected

_SURROGATE = re.compile("[\ud800-\udfff]")
"""A str that holds one is not text: it cannot be written as UTF-8."""
_SHA256 = re.compile("[0-9a-f]{64}")

INTEGERS = {f"{sign}INT{bits}": (sign, bits) for sign in ("", "U") for bits in (8, 16, 32, 64)}
FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})
DATATYPES = frozenset({"BOOL", "BYTES", *INTEGERS, *FLOATS})

MAX_CASES = 512
"""Of one package: each case is asked of each Triton and each gateway, at every deployment."""
MAX_TOLERANCE = 0.1
"""The largest relative tolerance. The largest absolute one is this part of the largest value of an output."""
ALWAYS_TOLERATED = 1e-3
"""An absolute tolerance that any output may have, also one whose expected values are all 0."""

ALL_IN_JSON_BYTES = 2**20
"""Of all tensors of all cases: up to here everything is in ``smoke.json``, as earlier versions wrote it."""
BESIDE_BYTES = 4096
"""Of one tensor: from here on it lies in ``smoke.tensors``, where they are larger together."""
MAX_CASE_BYTES = 128 * 2**20
"""Of one case, question and answer together. A gateway takes requests up to 256 MiB by default, and the process that
asks holds a case in memory several times."""
MAX_DIMENSIONS = 64


@dataclass(frozen=True)
class Tensor:
    """A named tensor: Open Inference Protocol datatype, shape, and flat data in row-major order."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Sequence[Scalar]

    @property
    def size(self) -> int:
        """The number of bytes of its values."""
        return size_of(self.datatype, self.data)

    def to_json(self) -> dict[str, object]:
        """Return the tensor as the protocol's JSON object."""
        return {
            "name": self.name,
            "datatype": self.datatype,
            "shape": list(self.shape),
            "data": [scalar_to_json(value) for value in self.data],
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

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Inputs and outputs."""
        return self.inputs + self.outputs

    @property
    def size(self) -> int:
        """The number of bytes of all its tensors' values."""
        return sum(tensor.size for tensor in self.tensors)


class Answered(NamedTuple):
    """All that was answered to a case."""

    case: str
    outputs: Sequence[Tensor]


@dataclass(frozen=True)
class Beside:
    """The file ``smoke.tensors`` of a package: its size, and what reads a part of it, from where on and how much.

    ``system`` is where it lies, for errors.
    """

    size: int
    read: Callable[[int, int], bytes]
    system: str


@dataclass(frozen=True)
class SmokeCases:
    """All smoke cases of a package; never empty."""

    cases: tuple[SmokeCase, ...]
    tolerance: Tolerance = Tolerance()

    def to_json(self) -> str:
        """Return the text of a ``smoke.json`` that holds all tensors."""
        return self._text(1, Tensor.to_json)

    def files(self) -> tuple[str, list[Tensor]]:
        """Return the text of ``smoke.json``, and the tensors whose bytes make ``smoke.tensors``, in their order.

        There is no such file where there are none.
        """
        tensors = [tensor for case in self.cases for tensor in case.tensors]
        sizes = [tensor.size for tensor in tensors]
        if sum(sizes) <= ALL_IN_JSON_BYTES or max(sizes) < BESIDE_BYTES:
            return self.to_json(), []
        beside = [tensor for tensor, size in zip(tensors, sizes, strict=True) if size >= BESIDE_BYTES]
        return self._text(
            2, lambda tensor: _elsewhere(tensor) if tensor.size >= BESIDE_BYTES else tensor.to_json()
        ), beside

    def _text(self, number: int, describe: Callable[[Tensor], dict[str, object]]) -> str:
        document = {
            "format": number,
            "tolerance": {"relative": self.tolerance.relative, "absolute": self.tolerance.absolute},
            "cases": [
                {
                    "name": case.name,
                    "inputs": [describe(tensor) for tensor in case.inputs],
                    "outputs": [describe(tensor) for tensor in case.outputs],
                }
                for case in self.cases
            ],
        }
        return json.dumps(document) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, beside: Beside | None = None) -> SmokeCases:
        """Parse ``smoke.json``; raise ValueError that says what is wrong with it.

        Of ``beside`` nothing is read before somebody looks at a value. Then its sha256 is compared, and OtherBytes is
        raised where it is another; Rejected where the bytes are not elements of its datatype.
        """
        document = jsontext.read(text)
        if not isinstance(document, dict) or document.get("format") not in (1, 2):
            raise ValueError("not a smoke.json of format 1 or 2")
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
        parts = _Parts(beside) if document["format"] == 2 else None
        read = cls(
            cases=tuple(_case(entry, parts) for entry in cases),
            tolerance=Tolerance(float(relative), float(absolute)),
        )
        left = (beside.size if beside else 0) - (parts.at if parts else 0)
        if left or (beside and not (parts and parts.taken)):
            raise ValueError(f"names no case for {left} bytes of {TENSORS_FILE}")
        return read


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
    for case in smoke.cases:
        if (size := case.size) > MAX_CASE_BYTES:
            found.append(f"case {case.name[:80]} has {size} bytes, more than {MAX_CASE_BYTES}")
    if absolute <= ALWAYS_TOLERATED:
        return found
    largest: dict[str, float] = {}
    for tensor in (tensor for case in smoke.cases for tensor in case.outputs if tensor.datatype in FLOATS):
        values: Iterable[Any] = tensor.data
        finite = map(abs, filter(math.isfinite, values))
        largest[tensor.name] = max(largest.get(tensor.name, 0.0), float(max(finite, default=0.0)))
    for name, value in sorted(largest.items()):
        if absolute > max(ALWAYS_TOLERATED, MAX_TOLERANCE * value):
            found.append(
                f"tolerance.absolute is {absolute:g}, more than {MAX_TOLERANCE:g} of the largest value that "
                f"{name[:80]} is expected to have ({value:g})"
            )
    return found


def difference(expected: Tensor, got: Tensor | None, tolerance: Tolerance) -> str:
    """Say in a few words how ``got`` differs from ``expected``; an empty string where it does not."""
    said = other_form(expected, got)
    if got is None or said:
        return said
    want, have = loaded(expected.data), loaded(got.data)
    first, count = None, 0
    for index in apart(want, have, tolerance, floating=expected.datatype in FLOATS):
        first, count = index if first is None else first, count + 1
    if first is None:
        return ""
    return (
        f"{expected.name}[{first}]: {shown(have[first])} instead of {shown(want[first])}"
        f" ({count} of {len(want)} values differ)"
    )


class Declared(Protocol):
    """Name, datatype and shape of a tensor."""

    @property
    def name(self) -> str: ...
    @property
    def datatype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


def other_form(expected: Declared, got: Tensor | None) -> str:
    """Say how the datatype or shape of ``got`` is another; an empty string where both are the same."""
    if got is None:
        return f"{expected.name}: missing in the answer"
    if got.datatype != expected.datatype or got.shape != expected.shape:
        return (
            f"{expected.name}: {got.datatype}{list(got.shape)} instead of {expected.datatype}{list(expected.shape)}"
        )
    return ""


def apart(
    expected: Sequence[Scalar], got: Sequence[Scalar], tolerance: Tolerance, *, floating: bool
) -> Iterator[int]:
    """Yield where ``got`` differs from ``expected``, both of which have as many values."""
    for at, want, have in unequal(expected, got):
        if not (floating and _are_close(want, have, tolerance)):
            for index, (one, other) in enumerate(zip(want, have, strict=True), at):
                if not is_close(one, other, tolerance, floating=floating):
                    yield index


def _are_close(want: Sequence[Any], have: Sequence[Any], tolerance: Tolerance) -> bool:
    """Whether all these floats surely are within the tolerance, without a look at each in Python.

    No value is further off than the distance of all of them as points, which is a little enlarged here for how it is
    rounded. One that is NaN or infinite makes that NaN or infinite.
    """
    absolute, relative = float(tolerance.absolute), float(tolerance.relative)
    distance = math.dist(want, have) * (1 + 1e-9)
    if distance <= absolute or (distance < math.inf and distance <= absolute + relative * min(map(abs, want))):
        return True
    # A difference that is NaN is not close; and with an infinite one that is expected, anything would be.
    return all(map(math.isfinite, want)) and all(
        map(
            le,
            map(abs, map(sub, have, want)),
            map(absolute.__add__, map(relative.__mul__, map(float, map(abs, want)))),
        )
    )


def differences(case: SmokeCase, answer: Sequence[Tensor], tolerance: Tolerance) -> list[str]:
    """Return one sentence for each expected output that the answer misses or gets wrong."""
    by_name = {tensor.name: tensor for tensor in answer}
    found = (difference(expected, by_name.get(expected.name), tolerance) for expected in case.outputs)
    return [sentence for sentence in found if sentence]


def shown(value: Scalar) -> str:
    """Return a value as people read it."""
    return f"{value:.6g}" if isinstance(value, float) else f"{value!r:.200}"


def is_close(want: Scalar, have: Scalar, tolerance: Tolerance, *, floating: bool) -> bool:
    """Whether a value is as expected: a float within the tolerance, any other equal."""
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


class _Parts:
    """The parts of ``smoke.tensors``, one after the other: no tensor can name bytes of another, or beyond the end."""

    def __init__(self, beside: Beside | None) -> None:
        self._beside, self.at, self.taken = beside, 0, 0

    def tensor(self, entry: object) -> Tensor:
        """Parse a tensor. Its values are in ``smoke.json``, or they are the next part, which is not read yet."""
        if not isinstance(entry, dict) or "sha256" not in entry:
            return tensor_from_json(entry)
        if "data" in entry:
            raise ValueError(f"tensor {entry.get('name')!r:.80} has both data and a sha256")
        name, datatype, shape = declared(entry)
        size, sha256, count = binary_size(entry), entry["sha256"], math.prod(shape)
        if not is_sha256(sha256):
            raise ValueError(f"tensor {name!r:.80} has the bad sha256 {sha256!r:.80}")
        if size is None or (size != count * SIZES[datatype] if datatype in SIZES else size < 4 * count):
            raise ValueError(f"tensor {name!r:.80} has {size} bytes, which are not {datatype}{list(shape)!r:.80}")
        if self._beside is None:
            raise ValueError(f"has tensors in {TENSORS_FILE}, which the package does not list")
        begin, self.at, self.taken = self.at, self.at + size, self.taken + 1
        if self.at > self._beside.size:
            raise ValueError(
                f"tensor {name!r:.80} ends at byte {self.at} of {TENSORS_FILE}, which has {self._beside.size}"
            )
        part = _Part(self._beside, name, datatype, count, begin, size, str(sha256))
        return Tensor(name, datatype, shape, Packed(datatype, count, part.read, size=size))


@dataclass
class _Part:
    """The bytes of one tensor in ``smoke.tensors``."""

    beside: Beside
    name: str
    datatype: str
    count: int
    begin: int
    size: int
    sha256: str
    _checked: bool = False

    def read(self) -> bytes:
        """Return them, compared with what ``smoke.json`` says of them."""
        raw, system = self.beside.read(self.begin, self.size), self.beside.system
        if len(raw) != self.size or hashlib.sha256(raw).hexdigest() != self.sha256:
            raise OtherBytes(
                f"{TENSORS_FILE} has other bytes for {self.name[:80]} at {self.begin} than smoke.json says",
                system=system,
            )
        if not self._checked:  # the same sha256 is the same bytes, and many elements take long to count
            try:
                check(self.datatype, self.count, raw)
            except ValueError as error:
                said = f"{TENSORS_FILE}: {self.name[:80]} at {self.begin} has {error}"
                raise Rejected(said, system=system) from error
            self._checked = True
        return raw


def _elsewhere(tensor: Tensor) -> dict[str, object]:
    """Return how ``smoke.json`` tells of a tensor in ``smoke.tensors``."""
    raw = pack(tensor.datatype, tensor.data)
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape),
        "parameters": {"binary_data_size": len(raw)},
        "sha256": hashlib.sha256(raw).hexdigest(),
    }


def _case(entry: object, parts: _Parts | None) -> SmokeCase:
    if not isinstance(entry, dict) or set(entry) != {"name", "inputs", "outputs"}:
        raise ValueError("a case has other keys than name, inputs and outputs")
    inputs, outputs = entry["inputs"], entry["outputs"]
    if not isinstance(entry["name"], str) or not isinstance(inputs, list) or not isinstance(outputs, list):
        raise ValueError("a case has a value of the wrong type")
    if not inputs or not outputs:
        raise ValueError(f"case {entry['name']!r:.80} has no inputs or no outputs")
    read = parts.tensor if parts is not None else tensor_from_json
    return SmokeCase(
        name=entry["name"],
        inputs=tuple(read(tensor) for tensor in inputs),
        outputs=tuple(read(tensor) for tensor in outputs),
    )


def tensor_from_json(entry: object) -> Tensor:
    """Parse the protocol's JSON object of a tensor; raise ValueError that says what is wrong with it."""
    if not isinstance(entry, dict) or not {"name", "datatype", "shape", "data"} <= set(entry):
        raise ValueError("a tensor lacks name, datatype, shape or data")
    name, datatype, shape = declared(entry)
    data = entry["data"]
    if not isinstance(data, list) or len(data) != math.prod(shape):
        raise ValueError(f"tensor {name!r:.80} has not as many values as its shape {list(shape)!r:.80} says")
    if datatype in FLOATS and all(type(value) is float for value in data):
        return Tensor(name=name, datatype=datatype, shape=shape, data=tuple(data))  # most answers are such
    try:
        values = tuple(scalar_from_json(value, datatype) for value in data)
    except ValueError as error:
        raise ValueError(f"tensor {name!r:.80} has {error}") from None
    return Tensor(name=name, datatype=datatype, shape=shape, data=values)


def binary_size(entry: object) -> int | None:
    """Return how many bytes a tensor has in the binary form; None where its values are in the JSON."""
    parameters = entry.get("parameters") if isinstance(entry, dict) else None
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise ValueError(f"binary_data_size is {size!r:.40}")
    return size


def declared(entry: Mapping[str, Any]) -> tuple[str, str, tuple[int, ...]]:
    """Return name, datatype and shape of a tensor in JSON."""
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str) or not isinstance(datatype, str) or datatype not in DATATYPES:
        raise ValueError(f"tensor {name!r:.80} has the unknown datatype {datatype!r:.80}")
    if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        raise ValueError(f"tensor {name!r:.80} has the bad shape {shape!r:.80}")
    if len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"tensor {name!r:.80} has {len(shape)} dimensions, more than {MAX_DIMENSIONS}")
    return name, datatype, tuple(shape)


def scalar_to_json(value: Scalar) -> object:
    """Return an element as it stands in JSON."""
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def scalar_from_json(value: object, datatype: str) -> Scalar:
    """Parse an element; raise ValueError where it is none of the datatype."""
    element = _from_base64(value) if datatype == "BYTES" else value
    if not _fits(element, datatype):
        raise ValueError(f"a value that is no {datatype}: {element!r:.80}")
    return element  # type: ignore[return-value]


def is_sha256(value: object) -> bool:
    """Whether it is a sha256 as 64 hexadecimal digits."""
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _from_base64(value: object) -> object:
    if not isinstance(value, dict) or set(value) != {"base64"} or not isinstance(value["base64"], str):
        return value
    try:
        return text_or_bytes(base64.b64decode(value["base64"], validate=True))
    except ValueError:
        return value
