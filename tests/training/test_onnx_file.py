"""ONNX models as files: their weights may lie beside them, and pass through without being held."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from bot.errors import InvalidInput
from bot.training import build_package
from bot.training.package import read_package

ROWS = np.array([[1.0, 2.0], [3.0, -1.0]], dtype=np.float32)
WEIGHTS = np.array([[0.5, 1.0, 2.0], [1.5, -1.0, 0.25]], dtype=np.float32)
ANSWERS = ROWS @ WEIGHTS + np.arange(3, dtype=np.float32)


def affine() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["X", "w"], ["xw"]), helper.make_node("Add", ["xw", "b"], ["Y"])],
        "affine",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(WEIGHTS, "w"), numpy_helper.from_array(np.arange(3, dtype=np.float32), "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def saved(path: Path, **options: Any) -> Path:
    """Save it with its weights in other files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(affine(), path, save_as_external_data=True, size_threshold=0, **options)
    return path


def test_a_file_is_the_same_package_as_its_model(tmp_path: Path) -> None:
    onnx.save(affine(), tmp_path / "net.onnx")
    of_path = build_package(tmp_path / "net.onnx", tmp_path / "1", inputs=ROWS, answers=ANSWERS)
    of_text = build_package(str(tmp_path / "net.onnx"), tmp_path / "2", inputs=ROWS, answers=ANSWERS)
    of_model = build_package(affine(), tmp_path / "3", inputs=ROWS, answers=ANSWERS)
    assert of_path == of_text == of_model


@pytest.mark.parametrize("in_one_file", [True, False])
def test_weights_in_other_files_come_along_under_names_of_our_own(tmp_path: Path, in_one_file: bool) -> None:
    options = {"all_tensors_to_one_file": in_one_file, "location": "net-5f3a.onnx_data" if in_one_file else None}
    package = build_package(saved(tmp_path / "m/net.onnx", **options), tmp_path / "p", inputs=ROWS, answers=ANSWERS)
    names = ["model.data"] if in_one_file else ["model-0000.data", "model-0001.data"]
    assert [file.path for file in package.version_files] == [*names, "model.onnx"]
    assert read_package(tmp_path / "p") == package
    session = onnxruntime.InferenceSession(tmp_path / "p/model.onnx")
    np.testing.assert_array_equal(session.run(None, {"X": ROWS})[0], ANSWERS)


def with_a_function(weight: onnx.TensorProto) -> onnx.ModelProto:
    """Return a model whose weight is in a function of its own."""
    constant = helper.make_node("Constant", [], ["b"], value=weight)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    add = helper.make_function(
        "own", "Add2", ["X"], ["Y"], [constant, helper.make_node("Add", ["X", "b"], ["Y"])], [opsets[0]]
    )
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in "XY"]
    graph = helper.make_graph([helper.make_node("Add2", ["X"], ["Y"], domain="own")], "f", sides[:1], sides[1:])
    return helper.make_model(graph, functions=[add], opset_imports=opsets, ir_version=8)


def test_weights_of_a_function_come_along(tmp_path: Path) -> None:
    weight = onnx.TensorProto(name="b", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="f-91.bin")
    tmp_path.joinpath("f.onnx").write_bytes(with_a_function(weight).SerializeToString())
    tmp_path.joinpath("f-91.bin").write_bytes(np.array([1, 2], np.float32).tobytes())
    package = build_package(
        tmp_path / "f.onnx", tmp_path / "p", inputs=ROWS, answers=ROWS + np.array([1, 2], np.float32)
    )
    assert [file.path for file in package.version_files] == ["model.data", "model.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "p/model.onnx")
    np.testing.assert_array_equal(session.run(None, {"X": ROWS})[0], ROWS + np.array([1, 2], np.float32))


def test_the_name_that_an_exporter_drew_does_not_count(tmp_path: Path) -> None:
    one = saved(tmp_path / "1/net.onnx", location="4f00.data")
    two = saved(tmp_path / "2/net.onnx", location="a9d1.data")
    packages = [build_package(path, path.parent / "p", inputs=ROWS, answers=ANSWERS) for path in (one, two)]
    assert packages[0] == packages[1]


def _gone(path: Path) -> None:
    path.with_name("w.data").unlink()


def _elsewhere(path: Path) -> None:
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "../w.data"
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("spoil", "options", "says"),
    [
        (_gone, {}, "w.data: cannot be read: No such file or directory"),
        (_elsewhere, {}, "keeps weights in '../w.data', which is not a file beside it or below"),
        (lambda path: path.write_bytes(b"\xff\xff no model"), {}, "net.onnx: is not an ONNX model"),
        (lambda path: path.unlink(), {}, "net.onnx: cannot be read: No such file or directory"),
        (lambda _: None, {"max_bytes": 100}, "bytes with its weights, more than 100"),
    ],
)
def test_a_file_that_cannot_be_taken_is_refused(tmp_path: Path, spoil: Any, options: Any, says: str) -> None:
    path = saved(tmp_path / "m/net.onnx", location="w.data")
    spoil(path)
    with pytest.raises(InvalidInput) as refused:
        build_package(path, tmp_path / "p", inputs=ROWS, answers=ANSWERS, **options)
    assert says in str(refused.value)
    assert not tmp_path.joinpath("p").exists()


def test_a_model_whose_weights_are_not_in_it_is_asked_for_by_its_path(tmp_path: Path) -> None:
    model = onnx.load(saved(tmp_path / "net.onnx"), load_external_data=False)
    with pytest.raises(InvalidInput, match="keeps its weights in another file") as refused:
        build_package(model, tmp_path / "p", inputs=ROWS, answers=ANSWERS)
    assert refused.value.next_step == "Give the path of the model's file instead."


REGISTERS = """
import json, resource, sys
from pathlib import Path
import numpy as np
from bot.training import build_package, register
folder, uri = Path(sys.argv[1]), sys.argv[2]
rows = np.zeros((1, 2), np.float32)
package = build_package(folder / "net.onnx", folder / "package", inputs=rows, answers=rows)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
registered = register(folder / "package", model="large", metrics={"accuracy": 0.9}, tracking_uri=uri)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"size": package.size, "version": registered.version, "built": before * 1024, "peak": after * 1024}))
"""
LARGE = 2 * 2**30 + 200 * 2**20
"""Bytes of weights: more than protobuf reads."""


@pytest.mark.long
def test_weights_of_more_than_two_gibibytes_are_built_and_registered_in_little_memory(
    tmp_path: Path, mlflow_uri: str
) -> None:
    columns = LARGE // 8
    weights = onnx.TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[2, columns], data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", "net.data"), ("offset", "0"), ("length", str(columns * 8))):
        weights.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["X", "w"], ["wide"]),
            helper.make_node("Slice", ["wide", "from", "to", "axis"], ["Y"]),
        ],
        "large",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["N", 2])],
        [
            weights,
            *(numpy_helper.from_array(np.array([n]), name) for name, n in (("from", 0), ("to", 2), ("axis", 1))),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    tmp_path.joinpath("net.onnx").write_bytes(model.SerializeToString())
    with tmp_path.joinpath("net.data").open("wb") as file:
        file.truncate(columns * 8)
    done = subprocess.run(
        [sys.executable, "-c", REGISTERS, str(tmp_path), mlflow_uri], capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout.splitlines()[-1])
    print(said)
    assert said["size"] > LARGE
    assert said["peak"] < 2**30
