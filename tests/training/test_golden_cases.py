"""Golden cases of any size: small ones are written as ever, large tensors lie beside, and too much is refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bot.domain.package import MAX_TENSORS_BYTES, Package
from bot.errors import InvalidInput
from bot.training import build_package, samples
from bot.training.package import hash_file, read_package

KINDS: dict[str, tuple[int, str]] = {
    "FP32": (TensorProto.FLOAT, "f4"),
    "FP64": (TensorProto.DOUBLE, "f8"),
    "FP16": (TensorProto.FLOAT16, "f2"),
    "INT64": (TensorProto.INT64, "i8"),
    "UINT8": (TensorProto.UINT8, "u1"),
    "BOOL": (TensorProto.BOOL, "?"),
}


def echo(*kinds: str) -> onnx.ModelProto:
    """A model that gives back what it gets."""
    ends = [
        [helper.make_tensor_value_info(side + kind, KINDS[kind][0], ["N", None]) for kind in kinds] for side in "XY"
    ]
    nodes = [helper.make_node("Identity", [f"X{kind}"], [f"Y{kind}"]) for kind in kinds]
    graph = helper.make_graph(nodes, "identity", *ends)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def given(width: int, rows: int, *kinds: str) -> dict[str, Any]:
    """Arrays by the kind of their values, some of them fractions."""
    counted = np.arange(rows * width).reshape(rows, width) % 251
    return {kind: (counted / (8 if kind.startswith("FP") else 1)).astype(KINDS[kind][1]) for kind in kinds}


def build(folder: Path, width: int, rows: int, *kinds: str, **more: Any) -> Package:
    arrays = given(width, rows, *kinds)
    return build_package(
        echo(*kinds),
        folder,
        inputs={f"X{kind}": array for kind, array in arrays.items()},
        answers={f"Y{kind}": array for kind, array in arrays.items()},
        **more,
    )


@pytest.mark.parametrize(
    ("width", "sha256"),
    [
        (3, "b2b952d6b8b11286d41a5e98d9a989d9f0976e8f4c66cf4863859bbb9a4538d5"),
        (1500, "8b126ce4d68d001626d65cf6576ca2bf7d415ba43e18413eac867b214974a686"),
    ],
)
def test_the_same_samples_are_the_same_bytes_as_before_there_was_a_file_beside(
    tmp_path: Path, width: int, sha256: str
) -> None:
    """The hashes are those of the version before: a digest that is in service must not change with the bot."""
    ends = [
        [helper.make_tensor_value_info(side + kind, KINDS[kind][0], ["N", width]) for kind in KINDS] for side in "XY"
    ]
    nodes = [helper.make_node("Identity", [f"X{kind}"], [f"Y{kind}"]) for kind in KINDS]
    graph = helper.make_graph(nodes, "identity", *ends)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    arrays = given(width, 4 if width == 3 else 3, *KINDS)
    inputs, answers = ({f"{side}{kind}": array for kind, array in arrays.items()} for side in "XY")
    package = build_package(model, tmp_path / "p", inputs=inputs, answers=answers)
    assert [file.path for file in package.files] == ["config.pbtxt", "model.onnx", "smoke.json"]
    assert hashlib.sha256((tmp_path / "p/smoke.json").read_bytes()).hexdigest() == sha256


def test_large_tensors_lie_beside_as_bytes_and_come_back(tmp_path: Path) -> None:
    package = build(tmp_path / "p", 150_000, 3, *KINDS)
    assert [file.path for file in package.version_files] == ["model.onnx"]
    assert package == read_package(tmp_path / "p") == build(tmp_path / "again", 150_000, 3, *KINDS)
    smoke, tensors = (package.file(name) for name in ("smoke.json", "smoke.tensors"))
    assert smoke and smoke.size < 20_000
    row = 150_000 * (4 + 8 + 2 + 8 + 1 + 1)
    assert tensors and tensors.size == 2 * (3 + 2) * row, "three rows, and two that fit into 16 MiB together"
    document = json.loads((tmp_path / "p/smoke.json").read_text())
    assert [case["name"] for case in document["cases"]] == ["row-0", "row-1", "row-2", "batch-of-2"]
    at, arrays = 0, given(150_000, 3, *KINDS)
    content = (tmp_path / "p/smoke.tensors").read_bytes()
    for number, case in enumerate(document["cases"]):
        rows = slice(number, number + 1) if number < 3 else slice(0, 2)
        for tensor in case["inputs"] + case["outputs"]:
            kind, size = tensor["datatype"], tensor["parameters"]["binary_data_size"]
            found = np.frombuffer(content[at : at + size], KINDS[kind][1]).reshape(tensor["shape"])
            np.testing.assert_array_equal(found, arrays[kind][rows])
            at += size
    assert at == len(content)


def test_texts_and_images_as_bytes_lie_beside_too(tmp_path: Path) -> None:
    ends = [[helper.make_tensor_value_info(name, TensorProto.STRING, ["N", 1])] for name in ("photo", "again")]
    graph = helper.make_graph([helper.make_node("Identity", ["photo"], ["again"])], "identity", *ends)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    photos = np.array([[b"\xff\xd8" + b"\x00" * 700_000], ["text " * 100_000]], dtype=object)
    package = build_package(model, tmp_path / "p", inputs=photos, answers=photos)
    assert package == read_package(tmp_path / "p")
    assert package.files[-1].path == "smoke.tensors" and package.files[-1].size == 4 * (700_002 + 500_000 + 8)


def test_rows_of_which_two_are_too_large_for_one_request_are_asked_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "MAX_CASE_BYTES", 2**20)
    for folder, width, names in (("p", 2**18 + 1, []), ("q", 2**18, ["batch-of-2"])):  # bytes in and out, two rows
        build(tmp_path / folder, width, 3, "UINT8")
        document = json.loads((tmp_path / folder / "smoke.json").read_text())
        assert [case["name"] for case in document["cases"][3:]] == names


def test_more_than_a_deployment_should_send_is_refused_with_its_sizes(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        build(tmp_path / "p", 2**20, 8, "FP32")
    assert str(refused.value) == (
        "inputs and answers: make golden cases of 80.0 MiB, more than 64.0 MiB: 8 rows of 8.0 MiB each, and 2 of "
        "them together, 16.0 MiB"
    )
    assert refused.value.next_step == (
        "Give 6 of the rows, or say max_smoke_bytes, which may be up to 1073741824: every deployment sends all of it "
        "to every Triton and gateway."
    )
    assert not (tmp_path / "p").exists()
    build(tmp_path / "p", 2**20, 6, "FP32")
    build(tmp_path / "all", 2**20, 8, "FP32", max_smoke_bytes=80 * 2**20)


def test_one_row_that_is_too_large_has_no_fewer_rows_to_give(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        build(tmp_path / "p", 2**20, 1, "FP32", max_smoke_bytes=2**20)
    assert "more than 1.0 MiB: 1 row of 8.0 MiB" in str(refused.value)
    assert str(refused.value.next_step).startswith("Give smaller rows, or say max_smoke_bytes")


@pytest.mark.parametrize("limit", [0, -1, MAX_TENSORS_BYTES + 1])
def test_the_limit_has_a_limit(tmp_path: Path, limit: int) -> None:
    with pytest.raises(InvalidInput, match="max_smoke_bytes: must be from 1 to 1073741824"):
        build(tmp_path / "p", 2, 1, "FP32", max_smoke_bytes=limit)


def relisted(folder: Path) -> None:
    """Write package.json for the files that are there now, as whoever changed them would."""
    names = [path.name for path in folder.iterdir() if path.name != "package.json"]
    folder.joinpath("package.json").write_text(Package.of(hash_file(folder, name) for name in names).to_json())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content[:-1], "ends at byte"),
        (lambda content: content + b"\0", "names no case for 1 bytes of smoke.tensors"),
        (lambda content: content[:-1] + b"\1", "smoke.tensors has other bytes for YFP32 at"),
        (lambda content: content[:0], "ends at byte"),
        (None, "has tensors in smoke.tensors, which the package does not list"),
    ],
)
def test_a_package_whose_tensors_are_not_those_of_its_cases_is_not_registered(
    tmp_path: Path, change: Any, says: str
) -> None:
    build(tmp_path / "p", 2**18, 1, "FP32")
    tensors = tmp_path / "p/smoke.tensors"
    if change is None:
        tensors.unlink()
    else:
        tensors.write_bytes(change(tensors.read_bytes()))
    with pytest.raises(InvalidInput, match=r"is not what package.json lists|lists other files than there are"):
        read_package(tmp_path / "p")
    relisted(tmp_path / "p")
    with pytest.raises(InvalidInput, match=says):
        read_package(tmp_path / "p")


def test_tensors_beside_cases_that_have_none_are_not_registered(tmp_path: Path) -> None:
    build(tmp_path / "p", 3, 2, "FP32")
    (tmp_path / "p/smoke.tensors").write_bytes(b"anything")
    relisted(tmp_path / "p")
    with pytest.raises(InvalidInput, match=r"names no case for 8 bytes of smoke.tensors"):
        read_package(tmp_path / "p")


IN_LITTLE_MEMORY = """
import hashlib, resource, sys
from pathlib import Path
from bot.domain.binary import request
from bot.domain.golden import Recorder
from bot.domain.smoke import Beside, SmokeCases, differences

folder = Path(sys.argv[1])
def read(begin, size):
    with (folder / "smoke.tensors").open("rb") as file:
        file.seek(begin)
        return file.read(size)

beside = Beside((folder / "smoke.tensors").stat().st_size, read, "")
smoke = SmokeCases.from_json((folder / "smoke.json").read_text(), beside)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, recorder = peak(), Recorder(smoke.tolerance)
for case in smoke.cases:
    request(case.inputs, [tensor.name for tensor in case.outputs])
    assert not differences(case, case.outputs, smoke.tolerance)
    recorder.answer(case, case.outputs)
print(peak() - before, max(case.size for case in smoke.cases), sum(case.size for case in smoke.cases))
"""


def test_whoever_asks_holds_one_case_at_a_time(tmp_path: Path) -> None:
    """Half of a case is what is asked. It is read, and copied once into the request; answers are read likewise."""
    build(tmp_path / "p", 2**20, 12, "FP32", max_smoke_bytes=2**30)
    command = [sys.executable, "-c", IN_LITTLE_MEMORY, str(tmp_path / "p")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    more, largest, together = map(int, done.stdout.split())
    assert together > 6 * largest
    assert more < 3 * largest, f"{more} bytes for cases of {largest} at most, {together} together"
