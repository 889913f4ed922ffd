"""``smoke.tensors``: large tensors of golden cases as bytes, and hostile packages that lie about them."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest

from bot.domain.package import MAX_TENSORS_BYTES, NOT_OF_THE_VERSION, TENSORS_FILE, Package, PackageFile
from bot.domain.packed import Packed, pack
from bot.domain.smoke import (
    ALL_IN_JSON_BYTES,
    BESIDE_BYTES,
    MAX_CASE_BYTES,
    Beside,
    SmokeCase,
    SmokeCases,
    Tensor,
    Tolerance,
    differences,
    smoke_problems,
)
from bot.errors import OtherBytes, Rejected

LARGE = ALL_IN_JSON_BYTES // 8
FIRST, SECOND = struct.pack("<2f", 1, 2), struct.pack("<f", 0.5)
CONTENT = FIRST + SECOND


class File:
    """The file beside, and what was read of it."""

    def __init__(self, content: bytes, size: int | None = None) -> None:
        self.content, self.reads = content, list[tuple[int, int]]()
        self.beside = Beside(len(content) if size is None else size, self.read, "the package")

    def read(self, begin: int, size: int) -> bytes:
        self.reads.append((begin, size))
        return self.content[begin : begin + size]


def entry(name: str, raw: bytes, shape: list[int], datatype: str = "FP32", **changes: Any) -> dict[str, Any]:
    sha256 = hashlib.sha256(raw).hexdigest()
    told = {"name": name, "datatype": datatype, "shape": shape, "sha256": sha256}
    return {**told, "parameters": {"binary_data_size": len(raw)}, **changes}


def document(x: Any = None, y: Any = None, **changes: Any) -> str:
    case = {"name": "row-0", "inputs": [x or entry("X", FIRST, [1, 2])], "outputs": [y or entry("Y", SECOND, [1])]}
    return json.dumps({"format": 2, "cases": [case], **changes})


def test_nothing_is_read_before_somebody_looks_and_then_one_tensor() -> None:
    file = File(CONTENT)
    (case,) = SmokeCases.from_json(document(), file.beside).cases
    assert (case.inputs[0].shape, case.size, file.reads) == ((1, 2), 12, [])
    assert list(case.outputs[0].data) == [0.5]
    assert file.reads == [(8, 4)]
    assert not differences(case, [Tensor("Y", "FP32", (1,), (0.5,))], Tolerance())
    assert differences(case, [Tensor("Y", "FP32", (1,), (0.6,))], Tolerance())


def test_small_tensors_stay_in_the_json_beside_large_ones() -> None:
    label = {"name": "label", "datatype": "INT64", "shape": [1], "data": [3]}
    (case,) = SmokeCases.from_json(document(y=label), File(FIRST).beside).cases
    assert (list(case.inputs[0].data), case.outputs[0].data) == ([1.0, 2.0], (3,))


@pytest.mark.parametrize(
    ("text", "content", "says"),
    [
        # A tensor names no offset, so it can lead beyond the file only by its length, and never into another tensor.
        (document(), FIRST, "tensor 'Y' ends at byte 12 of smoke.tensors, which has 8"),
        (document(), b"", "ends at byte 8 of smoke.tensors, which has 0"),
        (document(), CONTENT + b"more", "names no case for 4 bytes of smoke.tensors"),
        (document(format=1), CONTENT, "lacks name, datatype, shape or data"),
        (
            document(
                x={"name": "X", "datatype": "FP32", "shape": [1], "data": [0.5]},
                y={"name": "Y", "datatype": "FP32", "shape": [1], "data": [0.5]},
            ),
            CONTENT,
            "names no case for 12 bytes of smoke.tensors",
        ),
        (
            document(
                x={"name": "X", "datatype": "FP32", "shape": [1], "data": [0.5]},
                y={"name": "Y", "datatype": "FP32", "shape": [1], "data": [0.5]},
                format=1,
            ),
            b"",
            "names no case for 0 bytes of smoke.tensors",
        ),
        (document(x=entry("X", FIRST, [2**31 - 1] * 64)), CONTENT, "has 8 bytes, which are not FP32"),
        (document(x=entry("X", FIRST, [2**31 - 1] * 65)), CONTENT, "has 65 dimensions, more than 64"),
        (document(x=entry("X", FIRST, [-1, -2])), CONTENT, "bad shape"),
        (document(x=entry("X", FIRST, [2**31])), CONTENT, "bad shape"),
        (document(x=entry("X", FIRST, [1, 3])), CONTENT, "has 8 bytes, which are not FP32"),
        (document(x=entry("X", FIRST, [1, 2], "FP64")), CONTENT, "has 8 bytes, which are not FP64"),
        (document(x=entry("X", FIRST, [1, 2], "FP8")), CONTENT, "unknown datatype 'FP8'"),
        (document(x=entry("X", FIRST, [3], "BYTES")), CONTENT, "has 8 bytes, which are not BYTES"),
        *(
            (document(x=entry("X", FIRST, [1, 2], parameters={"binary_data_size": size})), CONTENT, says)
            for size, says in ((-8, "is -8"), (True, "is True"), (8.0, "is 8.0"), ("8", "is '8'"), (None, "has None"))
        ),
        (document(x=entry("X", FIRST, [1, 2], parameters=[])), CONTENT, "has None bytes"),
        *(
            (document(x=entry("X", FIRST, [1, 2], sha256=sha256)), CONTENT, "bad sha256")
            for sha256 in ("", "0" * 63, "G" * 64, None, 1, ["0" * 64], "0" * 64 + "\n")
        ),
        (document(x=entry("X", FIRST, [1, 2], data=[1.0, 2.0])), CONTENT, "both data and a sha256"),
    ],
    ids=lambda value: repr(value)[-50:],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused_before_it_is_read(text: str, content: bytes, says: str) -> None:
    file = File(content)
    with pytest.raises(ValueError, match=says) as error:
        SmokeCases.from_json(text, file.beside)
    assert not file.reads and len(str(error.value)) < 500


def test_a_size_that_nobody_has_takes_no_memory() -> None:
    """The length is held against the file before anything is taken."""
    huge = entry("X", FIRST, [2**31 - 1, 2**31 - 1, 4], parameters={"binary_data_size": (2**31 - 1) ** 2 * 16})
    file = File(CONTENT)
    with pytest.raises(ValueError, match=r"ends at byte \d+ of smoke.tensors, which has 12"):
        SmokeCases.from_json(document(x=huge), file.beside)
    assert not file.reads


def test_tensors_in_a_file_that_the_package_does_not_list() -> None:
    with pytest.raises(ValueError, match=r"has tensors in smoke.tensors, which the package does not list"):
        SmokeCases.from_json(document())


@pytest.mark.parametrize("look", [list, lambda data: data[0], lambda data: pack("FP32", data), len])
def test_other_bytes_are_found_when_they_are_read(look: Callable[[Any], Any]) -> None:
    (case,) = SmokeCases.from_json(document(), File(CONTENT[:-1] + b"\xff").beside).cases
    assert list(case.inputs[0].data) == [1.0, 2.0], "each tensor counts for itself"
    if look is len:
        assert look(case.outputs[0].data) == 1
        return
    with pytest.raises(OtherBytes, match=r"the package: smoke.tensors has other bytes for Y at 8"):
        look(case.outputs[0].data)


def test_a_file_that_became_shorter_has_other_bytes() -> None:
    (case,) = SmokeCases.from_json(document(), File(FIRST, size=12).beside).cases
    with pytest.raises(OtherBytes):
        list(case.outputs[0].data)


def test_bytes_that_are_not_elements_are_found_when_they_are_read() -> None:
    raw = b"\x09\0\0\0too short"[:-1]
    file = File(FIRST + raw)
    (case,) = SmokeCases.from_json(document(y=entry("Y", raw, [1], "BYTES")), file.beside).cases
    with pytest.raises(Rejected, match="the bytes end within an element"):
        list(case.outputs[0].data)


def written(smoke: SmokeCases) -> tuple[str, bytes]:
    text, beside = smoke.files()
    return text, b"".join(pack(tensor.datatype, tensor.data) for tensor in beside)


def cases(size: int, count: int, *more: Tensor) -> SmokeCases:
    raw = [struct.pack("<f", n) * (size // 4) for n in range(count)]
    tensors = [Tensor("X", "FP32", (1, size // 4), Packed.of("FP32", size // 4, one)) for one in raw]
    return SmokeCases(tuple(SmokeCase(f"row-{n}", (tensor,), (*more, tensor)) for n, tensor in enumerate(tensors)))


def test_up_to_a_mebibyte_everything_is_in_the_json_as_ever() -> None:
    text, beside = written(cases(ALL_IN_JSON_BYTES // 2, 1))
    assert not beside and json.loads(text)["format"] == 1
    assert text == cases(ALL_IN_JSON_BYTES // 2, 1).to_json()
    text, beside = written(cases(BESIDE_BYTES // 2, ALL_IN_JSON_BYTES // BESIDE_BYTES + 1))
    assert not beside and json.loads(text)["format"] == 1, "many small ones stay there, too"


def test_above_it_large_tensors_lie_beside_and_are_read_as_they_were() -> None:
    label = Tensor("label", "INT64", (1,), (7,))
    images = Tensor("images", "BYTES", (2,), Packed.of("BYTES", 2, pack("BYTES", ("x" * LARGE, b"\xff" * LARGE))))
    smoke = cases(LARGE, 8, label, images)
    text, content = written(smoke)
    assert json.loads(text)["format"] == 2 and len(text) < 20_000
    assert len(content) == 8 * (2 * LARGE + images.size)
    assert SmokeCases.from_json(text, File(content).beside) == smoke


def test_it_is_no_file_of_the_version_and_has_a_limit() -> None:
    def package(size: int) -> Package:
        return Package.of(PackageFile(path, 1 if path != TENSORS_FILE else size, "0" * 64) for path in names)

    names = (*sorted(NOT_OF_THE_VERSION), "model.onnx")
    assert TENSORS_FILE in names
    assert [file.path for file in package(1).version_files] == ["model.onnx"]
    assert not package(MAX_TENSORS_BYTES).too_large()
    assert "smoke.tensors has 1073741825 bytes" in package(MAX_TENSORS_BYTES + 1).too_large()


def test_one_case_must_fit_through_a_gateway() -> None:
    def case(size: int) -> SmokeCases:
        half = Tensor("X", "UINT8", (1, size // 2), Packed("UINT8", size // 2, lambda: b"", size=size // 2))
        return SmokeCases((SmokeCase("row-0", (half,), (half,)),))

    assert not smoke_problems(case(MAX_CASE_BYTES))
    assert smoke_problems(case(MAX_CASE_BYTES + 2)) == ["case row-0 has 134217730 bytes, more than 134217728"]


def test_a_tolerance_is_judged_by_values_that_lie_beside() -> None:
    def judged(absolute: float) -> list[str]:
        text = document(tolerance={"absolute": absolute})
        return smoke_problems(SmokeCases.from_json(text, File(CONTENT).beside))

    assert judged(0.05) == []
    (said,) = judged(0.06)
    assert "more than 0.1 of the largest value that Y is expected to have (0.5)" in said
