"""Values of a tensor as bytes, in the binary form of the Open Inference Protocol: row by row and little-endian.

Python's own floats take eight times the memory of FP32. :class:`Packed` keeps bytes, or knows where they lie, and
decodes a value when somebody looks at it. An element of BYTES is its length in four bytes, and then itself.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple, overload

Scalar = bool | int | float | str | bytes
"""An element. One of BYTES is a str, or bytes where these are not UTF-8: so equal elements are equal."""

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
SIZES = {**{datatype: struct.calcsize(code) for datatype, code in _CODES.items()}, "BF16": 2}
"""Bytes of an element. BYTES has no size of its own."""
CHUNK = 1024
"""Values that are decoded, or compared, in one go."""


class RawTensor(NamedTuple):
    """A tensor whose elements are bytes, for a caller that has arrays and looks at no value by itself."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes


class Packed(Sequence[Scalar]):
    """``count`` values of a datatype, in ``size`` bytes. ``read`` gives these each time: no look keeps them."""

    def __init__(self, datatype: str, count: int, read: Callable[[], bytes], *, size: int) -> None:
        self.datatype, self._count, self.raw, self.size = datatype, count, read, size

    @classmethod
    def of(cls, datatype: str, count: int, raw: bytes) -> Packed:
        """Return values that are in memory; raise ValueError where ``raw`` does not hold so many of them."""
        check(datatype, count, raw)
        return cls(datatype, count, lambda: raw, size=len(raw))

    def loaded(self) -> Packed:
        """Return the same values with their bytes in memory."""
        raw = self.raw()
        return Packed(self.datatype, self._count, lambda: raw, size=self.size)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Scalar]:
        return _unpacked(self.datatype, self.raw())

    @overload
    def __getitem__(self, index: int) -> Scalar: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Scalar]: ...
    def __getitem__(self, index: int | slice) -> Scalar | Sequence[Scalar]:
        if isinstance(index, int):
            at = range(self._count)[index]
            return next(iter(self[at : at + 1]))
        begin, end, step = index.indices(self._count)
        if self.datatype not in SIZES or step != 1:
            return tuple(islice(self, begin, max(begin, end), step)) if step > 0 else tuple(self)[index]
        size = SIZES[self.datatype]
        return Packed.of(self.datatype, max(0, end - begin), self.raw()[begin * size : end * size])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Packed):
            return (self.datatype, len(self)) == (other.datatype, len(other)) and self.raw() == other.raw()
        if isinstance(other, Sequence) and len(self) == len(other):
            return all(one == another for one, another in zip(self, other, strict=True))
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.datatype, self._count))

    def __repr__(self) -> str:
        return f"Packed({self.datatype}, {self._count} values)"


def loaded(values: Sequence[Scalar]) -> Sequence[Scalar]:
    """Return the same values in memory: for someone who looks at them more than once."""
    return values.loaded() if isinstance(values, Packed) else values


def check(datatype: str, count: int, raw: bytes) -> None:
    """Raise ValueError where ``raw`` does not hold exactly ``count`` elements of ``datatype``."""
    if datatype not in SIZES:
        if sum(1 for _ in _elements(raw)) != count:
            raise ValueError(f"{len(raw)} bytes are not {count} elements of {datatype}")
    elif len(raw) != count * SIZES[datatype]:
        raise ValueError(f"{len(raw)} bytes are not {count} values of {datatype}")


def size_of(datatype: str, values: Sequence[Scalar]) -> int:
    """Return how many bytes the values take."""
    if isinstance(values, Packed):
        return values.size
    if datatype in SIZES:
        return len(values) * SIZES[datatype]
    return sum(4 + len(_bytes(value)) for value in values)


def pack(datatype: str, values: Sequence[Scalar]) -> bytes:
    """Return the values as bytes. Raise ValueError where they do not fit the datatype."""
    if isinstance(values, Packed) and values.datatype == datatype:
        return values.raw()
    try:
        if datatype == "BYTES":
            return b"".join(struct.pack("<I", len(value)) + value for value in map(_bytes, values))
        if datatype == "BF16":
            return b"".join(struct.pack("<H", _to_bf16(float(value))) for value in values)
        if datatype == "BOOL" and any(type(value) is not bool for value in values):
            raise ValueError("a value is neither true nor false")
        return struct.pack(f"<{len(values)}{_CODES[datatype]}", *values)
    except KeyError:
        raise ValueError(f"{datatype} is not a datatype of Triton") from None
    except (struct.error, OverflowError, TypeError) as error:
        raise ValueError(str(error)) from error


def unpack(datatype: str, raw: bytes) -> tuple[Scalar, ...]:
    """Return all values. Raise ValueError where the bytes end within one of them."""
    if datatype in _CODES and len(raw) % SIZES[datatype] == 0:
        return struct.unpack(f"<{len(raw) // SIZES[datatype]}{_CODES[datatype]}", raw)
    return tuple(_unpacked(datatype, raw))


def unequal(
    one: Sequence[Scalar], other: Sequence[Scalar]
) -> Iterator[tuple[int, tuple[Scalar, ...], tuple[Scalar, ...]]]:
    """Yield the parts of two equally long sequences that are not equal, each with the index where it begins.

    Bytes that are the same are passed over without being decoded.
    """
    if isinstance(one, Packed) and isinstance(other, Packed) and one.datatype == other.datatype:
        one, other = one.loaded(), other.loaded()
        if one == other:
            return
        if one.datatype in SIZES:
            yield from _unequal(one.datatype, one.raw(), other.raw())
            return
    ones, others, at = iter(one), iter(other), 0
    while values := tuple(islice(ones, CHUNK)):
        beside_them = tuple(islice(others, CHUNK))
        if values != beside_them:
            yield at, values, beside_them
        at += len(values)


def _unequal(datatype: str, one: bytes, other: bytes) -> Iterator[tuple[int, tuple[Scalar, ...], tuple[Scalar, ...]]]:
    size = SIZES[datatype]
    for begin in range(0, len(one), CHUNK * size):
        part, beside = one[begin : begin + CHUNK * size], other[begin : begin + CHUNK * size]
        if part != beside:
            yield begin // size, unpack(datatype, part), unpack(datatype, beside)


def text_or_bytes(value: bytes) -> str | bytes:
    """Return an element of BYTES as text where it is UTF-8, else as it is."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _unpacked(datatype: str, raw: bytes) -> Iterator[Scalar]:
    if datatype == "BYTES":
        return map(text_or_bytes, _elements(raw))
    if datatype == "BF16":
        return map(_from_bf16, _numbers("H", raw))
    if datatype not in _CODES:
        raise ValueError(f"{datatype!r:.80} is not a datatype of Triton")
    return _numbers(_CODES[datatype], raw)


def _numbers(code: str, raw: bytes) -> Iterator[int | float]:
    """Yield the numbers, many of them unpacked in one go: as fast as they can be had one after the other."""
    size, view = struct.calcsize(f"<{code}"), memoryview(raw)
    if len(raw) % size:
        raise ValueError(f"{len(raw)} bytes end within a value of {size}")
    whole = len(raw) // (CHUNK * size) * (CHUNK * size)
    many: Iterable[tuple[int | float, ...]] = struct.iter_unpack(f"<{CHUNK}{code}", view[:whole])
    return chain.from_iterable(chain(many, struct.iter_unpack(f"<{code}", view[whole:])))


def _elements(raw: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(raw):
        if len(raw) < at + 4 or len(raw) < (end := at + 4 + int.from_bytes(raw[at : at + 4], "little")):
            raise ValueError("the bytes end within an element")
        yield raw[at + 4 : end]
        at = end


def _bytes(value: Scalar) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise ValueError(f"{value!r:.80} is neither text nor bytes")


def _to_bf16(value: float) -> int:
    """Return the upper half of the FP32, rounded to the nearest, ties to even."""
    if math.isnan(value):
        return 0x7FC0
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    rounded: int = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    if rounded & 0x7FFF == 0x7F80 and not math.isinf(value):
        raise ValueError(f"{value!r} is too large for BF16")
    return rounded


def _from_bf16(bits: int | float) -> float:
    (value,) = struct.unpack("<f", struct.pack("<I", int(bits) << 16))
    return float(value)
