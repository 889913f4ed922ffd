"""Values as bytes: as many as there should be, decoded where somebody looks, and never kept twice."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.packed import CHUNK, SIZES, Packed, pack, size_of, unpack
from bot.domain.smoke import DATATYPES

MANY = tuple(float(n) for n in range(2 * CHUNK + 3))


def floats(*values: float) -> Packed:
    return Packed.of("FP32", len(values), struct.pack(f"<{len(values)}f", *values))


def test_values_are_read_when_somebody_looks_and_each_time() -> None:
    looks: list[bytes] = []

    def read() -> bytes:
        looks.append(b"")
        return struct.pack("<3f", 1, 2, 3)

    packed = Packed("FP32", 3, read, size=12)
    assert (len(packed), size_of("FP32", packed), repr(packed)) == (3, 12, "Packed(FP32, 3 values)")
    assert not looks, "its length and its size are known without its bytes"
    assert list(packed) == [1.0, 2.0, 3.0] and packed[-1] == 3.0
    assert len(looks) == 2
    loaded = packed.loaded()
    assert (list(loaded), list(loaded)) == (list(packed), list(packed)) and len(looks) == 5


def test_it_is_a_sequence_like_any_other() -> None:
    packed = floats(*MANY)
    assert list(packed) == list(MANY) and packed == MANY and packed == floats(*MANY)
    assert packed != MANY[:-1] and packed != floats(*MANY[:-1], 0.5) and packed != "text"
    for index in (0, CHUNK, len(MANY) - 1, -1):
        assert packed[index] == MANY[index]
    for part in (slice(1, 4), slice(None, 4), slice(-3, None), slice(5, 2), slice(0, 99, 7), slice(None, None, -1)):
        assert tuple(packed[part]) == MANY[part], part
    with pytest.raises(IndexError):
        packed[len(MANY)]
    words = Packed.of("BYTES", 3, pack("BYTES", ("a", b"\xff", "")))
    assert (tuple(words), tuple(words[1:]), words[0]) == (("a", b"\xff", ""), (b"\xff", ""), "a")


def test_nan_is_itself_to_the_bit() -> None:
    assert floats(math.nan) == floats(math.nan)


@pytest.mark.parametrize("datatype", sorted(SIZES))
def test_as_many_bytes_as_values(datatype: str) -> None:
    size = SIZES[datatype]
    assert len(Packed.of(datatype, 3, bytes(3 * size))) == 3
    for wrong in (0, 3 * size - 1, 3 * size + 1):
        with pytest.raises(ValueError, match="are not 3 values"):
            Packed.of(datatype, 3, bytes(wrong))


@pytest.mark.parametrize("raw", [b"\1\0\0\0", b"\1\0\0", b"\0\0\0\0", b"\xff\xff\xff\xffa", b"\0\0\0\0" * 3])
def test_elements_of_bytes_are_counted(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"end within an element|are not 2 elements"):
        Packed.of("BYTES", 2, raw)


@given(st.binary(max_size=40), st.sampled_from(sorted(DATATYPES)))
def test_any_bytes_are_values_or_a_value_error(raw: bytes, datatype: str) -> None:
    try:
        values = unpack(datatype, raw)
    except ValueError:
        return
    packed = Packed.of(datatype, len(values), raw)
    assert repr(tuple(packed)) == repr(values)
    assert size_of(datatype, values) == len(raw) == size_of(datatype, packed)
