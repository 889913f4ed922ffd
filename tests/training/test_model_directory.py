"""Packages of Triton model directories: against the real Triton, and what is refused."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bot.domain.package import Package
from bot.domain.smoke import SmokeCases
from bot.errors import InvalidInput, Rejected
from bot.settings import Triton
from bot.systems.triton.config import parse_config, placed_config, render_config
from bot.systems.triton.server import TritonControl, TritonServer
from bot.training.model_directory import package_directory
from bot.training.package import read_package
from tests.servers import RunningTriton
from tests.training.shapes import SHAPES

ROWS = np.float32([[1, 2, 3], [0, 1, 0]])
CONFIG = """
name: "taxes"
platform: "onnxruntime_onnx"
max_batch_size: 8
input { name: "X" data_type: TYPE_FP32 dims: [3] }
output { name: "Y" data_type: TYPE_FP32 dims: [3] label_filename: "labels.txt" }
version_policy { all { } }
"""
PYTHON = """\
import triton_python_backend_utils as utils
class TritonPythonModel:
    def execute(self, requests):
        return [utils.InferenceResponse([utils.Tensor("Y", utils.get_input_tensor_by_name(one, "X").as_numpy() * 2)])
                for one in requests]
"""


def adder(amount: float) -> onnx.ModelProto:
    model = SHAPES["output without a shape"]().model
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 3]) for name in "XY"]
    weight = onnx.numpy_helper.from_array(np.float32([amount]), "amount")
    node = onnx.helper.make_node("Add", ["X", "amount"], ["Y"])
    graph = onnx.helper.make_graph([node], "adder", ends[:1], ends[1:], [weight])
    return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=8)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A model as teams have it: two versions, labels, and what an editor left."""
    model = tmp_path / "taxes"
    for version in (2, 10):
        (model / str(version)).mkdir(parents=True)
        onnx.save(adder(version), model / str(version) / "model.onnx")
    (model / "config.pbtxt").write_text(CONFIG)
    (model / "labels.txt").write_text("a\nb\nc\n")
    (model / "README.md").write_text("ours")
    (model / "10/.DS_Store").write_bytes(b"x")
    np.savez(tmp_path / "rows.npz", X=ROWS)
    np.save(tmp_path / "answers.npy", ROWS + 10)
    return model


def package(directory: Path, **more: Any) -> Any:
    beside = directory.parent
    given = {"samples": str(beside / "rows.npz"), "answers": str(beside / "answers.npy")} | more
    return package_directory(directory, beside / "package", **given)


def cases(directory: Path) -> SmokeCases:
    return SmokeCases.from_json((directory.parent / "package/smoke.json").read_bytes())


def test_the_newest_version_becomes_a_package(directory: Path) -> None:
    made = package(directory)
    assert (made.model, made.version, made.backend, made.files, made.cases) == ("taxes", 10, "onnxruntime", 2, 3)
    assert made.left_out == ("10/.DS_Store", "README.md")
    target = directory.parent / "package"
    assert read_package(target).digest == made.digest
    assert [file.path for file in read_package(target).version_files] == ["labels.txt", "model.onnx"]
    config = parse_config((target / "config.pbtxt").read_text())
    assert (config.values.get("name"), config.values.get("version_policy")) == (None, None)
    assert 'label_filename: "labels.txt"' in config.text
    assert cases(directory).cases[0].outputs[0].data == (11.0, 12.0, 13.0)
    assert [case.name for case in cases(directory).cases] == ["row-0", "row-1", "batch-of-2"]


def test_another_version_on_demand(directory: Path) -> None:
    np.save(directory.parent / "answers.npy", ROWS + 2)
    assert package(directory, version=2).version == 2
    assert (directory.parent / "package/model.onnx").read_bytes() == (directory / "2/model.onnx").read_bytes()


def test_what_the_directory_leaves_to_triton_is_completed_as_triton_does(directory: Path) -> None:
    (directory / "config.pbtxt").unlink()
    made = package(directory)
    config = parse_config((directory.parent / "package/config.pbtxt").read_text())
    assert made.completed == ["backend", "input", "output", "max_batch_size", "dynamic_batching"]
    assert (config.backend, config.max_batch_size) == ("onnxruntime", 4)
    assert "labels.txt" in made.left_out


def test_the_triton_that_serves_it_is_asked(directory: Path, triton: RunningTriton) -> None:
    served = triton.repository / "taxes"
    directory.rename(served)
    (served / "README.md").unlink()
    opened = TritonServer(Triton(name="old", grpc=triton.grpc), request_seconds=10)
    TritonControl(opened, lambda: None).load("taxes", timeout_seconds=60)
    beside = directory.parent
    arguments: dict[str, Any] = {"samples": str(beside / "rows.npz"), "ask": triton.grpc}
    made = package_directory(served, beside / "package", **arguments)
    assert made.answered_by == f"Triton at {triton.grpc}"
    assert cases(directory).cases[-1].outputs[0].data == tuple((ROWS + 10).ravel().tolist())

    # What was packaged is served again, by its own configuration, and answers the same.
    again = triton.repository / "taxes-again"
    (again / "3").mkdir(parents=True)
    for file in read_package(beside / "package").version_files:
        (again / "3" / file.path).write_bytes((beside / "package" / file.path).read_bytes())
    placed = placed_config((beside / "package/config.pbtxt").read_text(), 3)
    (again / "config.pbtxt").write_text(render_config(placed, versions=[3]))
    TritonControl(opened, lambda: None).load("taxes-again", timeout_seconds=60)
    case = cases(directory).cases[-1]
    assert opened.infer("taxes-again", 3, case.inputs, outputs=["Y"]) == list(case.outputs)
    with pytest.raises(Rejected, match=r"unknown model|no-such"):
        package_directory(served, beside / "other", **arguments, ask_model="no-such")
    opened.close()


def test_a_python_model_with_its_environment_and_requests_as_triton_takes_them(
    directory: Path, triton: RunningTriton, tmp_path: Path
) -> None:
    served = triton.repository / "doubler"
    (served / "1").mkdir(parents=True)
    (served / "1/model.py").write_text(PYTHON)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/activate").write_text("true\n")
    with tarfile.open(served / "env.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "bin", "bin")
    (served / "config.pbtxt").write_text(
        'input { name: "X" data_type: TYPE_INT8 dims: [-1] } output { name: "Y" data_type: TYPE_INT8 dims: [-1] } '
        'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz" } } '
        'backend: "python"'
    )
    requests = [
        {"inputs": [{"name": "X", "datatype": "INT8", "shape": [len(values)], "data": values}]}
        for values in ([1, 2, 3], [4])
    ]
    (tmp_path / "requests.json").write_text(json.dumps(requests))
    opened = TritonServer(Triton(name="old", grpc=triton.grpc), request_seconds=10)
    TritonControl(opened, lambda: None).load("doubler", timeout_seconds=60)
    made = package_directory(
        served, directory.parent / "package", samples=str(tmp_path / "requests.json"), ask=triton.grpc
    )
    opened.close()
    assert (made.backend, made.completed) == ("python", [])
    assert [one for one in made.left_out if "__pycache__" not in one] == []
    assert [case.outputs[0].data for case in cases(directory).cases] == [(2, 4, 6), (8,)]
    listed = [file.path for file in read_package(directory.parent / "package").version_files]
    assert listed == ["env.tar.gz", "model.py"]


OTHERS = {
    "pytorch": ("model.pt", b"PK\x03\x04torch"),
    "tensorrt": ("model.plan", b"ptrt"),
    "tensorflow": ("model.savedmodel/saved_model.pb", b"\x08\x01"),
    "openvino": ("model.xml", b"<net/>"),
    "fil": ("xgboost.json", b"{}"),
}


@pytest.mark.parametrize("backend", OTHERS)
def test_other_backends_as_far_as_triton_says_that_it_has_none(
    directory: Path, triton: RunningTriton, backend: str
) -> None:
    """The layouts are those of Triton's own documentation; this Triton has the Python backend only."""
    path, content = OTHERS[backend]
    for version in ("2", "10"):
        (directory / version / "model.onnx").unlink()
    (directory / "10" / path).parent.mkdir(exist_ok=True)
    (directory / "10" / path).write_bytes(content)
    named = f'backend: "{backend}"' if backend == "fil" else ""
    (directory / "config.pbtxt").write_text(CONFIG.replace('platform: "onnxruntime_onnx"', named))
    made = package(directory)
    assert (made.backend, made.completed[:1]) == (backend, [] if backend == "fil" else ["backend"])
    target = directory.parent / "package"
    assert read_package(target).file(path) is not None

    there = triton.repository / f"other-{backend}"
    for file in read_package(target).version_files:
        (there / "5" / file.path).parent.mkdir(parents=True, exist_ok=True)
        (there / "5" / file.path).write_bytes((target / file.path).read_bytes())
    placed = placed_config((target / "config.pbtxt").read_text(), 5)
    (there / "config.pbtxt").write_text(render_config(placed, versions=[5]))
    opened = TritonServer(Triton(name="old", grpc=triton.grpc), request_seconds=10)
    with pytest.raises(Rejected, match=rf"unable to find backend library for backend '{backend}'"):
        TritonControl(opened, lambda: None).load(f"other-{backend}", timeout_seconds=60)
    opened.close()


def _config(text: str) -> Callable[[Path], object]:
    return lambda model: (model / "config.pbtxt").write_text(CONFIG + text)


def _labels(name: str) -> Callable[[Path], object]:
    return lambda model: (model / "config.pbtxt").write_text(CONFIG.replace("labels.txt", name))


def _environment(path: str) -> Callable[[Path], object]:
    parameter = f'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{path}" }} }}'
    return lambda model: (model / "config.pbtxt").write_text(
        CONFIG.replace('platform: "onnxruntime_onnx"', 'backend: "python"') + parameter
    )


def _linked(path: str, to: str) -> Callable[[Path], object]:
    def change(model: Path) -> None:
        place = model / path
        if place.exists():
            place.rename(model.parent / "aside")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(to)

    return change


HOSTILE = {
    "decoupled": (_config("model_transaction_policy { decoupled: true }"), "decoupled: refused; a decoupled model"),
    "library": (_config('runtime: "payload.so"'), "runtime: refused; Triton loads the library"),
    "file outside": (
        _config('default_model_filename: "../../x.onnx"'),
        "default_model_filename: '../../x.onnx' is not",
    ),
    "warm-up from a file": (
        _config('model_warmup { name: "w" inputs { key: "X" value { input_data_file: "x" } } }'),
        "model_warmup.inputs[X].input_data_file: refused",
    ),
    "steps": (_config("ensemble_scheduling { }"), "ensemble_scheduling: only a model of the platform ensemble"),
    "labels outside": (_labels("../secret.txt"), "'../secret.txt' is not a valid path in a package"),
    "labels anywhere": (_labels("/etc/passwd"), "'/etc/passwd' is not a valid path in a package"),
    "no labels": (_labels("none.txt"), "none.txt: is not an ordinary file"),
    "environment outside": (_environment("/opt/env.tar.gz"), "'/opt/env.tar.gz' lies outside of the package"),
    "environment above": (_environment("$$TRITON_MODEL_DIRECTORY/../e.tar.gz"), "'../e.tar.gz' is not a valid path"),
    "linked file": (_linked("10/weights.data", "/etc/passwd"), "weights.data: is a link"),
    "linked folder": (_linked("10/more", "/etc"), "more: is a link"),
    "linked version": (_linked("10", "2"), "10: is a link"),
    "linked labels": (_linked("labels.txt", "/etc/passwd"), "labels.txt: is a link"),
    "linked configuration": (_linked("config.pbtxt", "/etc/passwd"), "config.pbtxt: is a link"),
    "a pipe": (lambda model: os.mkfifo(model / "10/pipe"), "pipe: is not an ordinary file"),
    "a program": (lambda model: (model / "10/weights.data").write_bytes(b"\x7fELF\x02\x01"), "is an ELF library"),
    "a name that a package uses": (lambda model: (model / "10/MLmodel").write_text("x"), "may not use for its own"),
    "not a configuration": (_config("what is this"), "config.pbtxt"),
    "labels twice": (lambda model: (model / "10/labels.txt").write_text("x"), "lies there and in the folder of"),
    "no version": (
        lambda model: [one.rename(model / f"v{one.name}") for one in (model / "2", model / "10")],
        "no folder",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_directory_is_not_trusted(directory: Path, name: str) -> None:
    change, says = HOSTILE[name]
    change(directory)
    with pytest.raises(InvalidInput) as refused:
        package(directory)
    assert says in str(refused.value)
    assert not (directory.parent / "package/package.json").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"answers": ""}, "golden answers come from one place"),
        ({"ask": "127.0.0.1:1"}, "golden answers come from one place"),
        ({"answers": "", "ask": "nowhere"}, "is not HOST:PORT: 'nowhere'"),
        ({"version": 3}, "has no version 3"),
        ({"samples": "none.npz"}, "cannot be read"),
        ({"samples": "none.json"}, "cannot be read"),
    ],
)
def test_what_is_missing_is_named(directory: Path, given: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        package(directory, **given)
    assert says in str(refused.value)


def test_the_same_directory_is_the_same_digest(directory: Path) -> None:
    first = package(directory)
    (directory.parent / "package").rename(directory.parent / "first")
    assert package(directory).digest == first.digest
    assert Package.from_json((directory.parent / "package/package.json").read_bytes()).digest == first.digest


def test_samples_as_mlflows_plugin_for_triton_writes_them(directory: Path) -> None:
    beside = directory.parent
    (beside / "input.json").write_text(json.dumps({"inputs": {"X": [[0.1, 2.0, 3.0], [0.0, 1.0, 0.0]]}}))
    (beside / "expected_output.json").write_text(
        json.dumps({"outputs": {"Y": [[10.1, 12.0, 13.0], [10.0, 11.0, 10.0]]}})
    )
    package(directory, samples=str(beside / "input.json"), answers=str(beside / "expected_output.json"))
    assert [case.name for case in cases(directory).cases] == ["row-0", "row-1", "batch-of-2"]
    assert cases(directory).cases[0].inputs[0].data[0] == pytest.approx(0.1)


def test_an_ensemble_is_a_package_without_files_of_its_own(directory: Path) -> None:
    (directory / "10/model.onnx").unlink()
    steps = (
        'ensemble_scheduling { step { model_name: "a" model_version: -1 input_map { key: "X" value: "X" } '
        'output_map { key: "Y" value: "Y" } } }'
    )
    (directory / "config.pbtxt").write_text(CONFIG.replace("onnxruntime_onnx", "ensemble") + steps)
    made = package(directory)
    assert (made.backend, made.files) == ("ensemble", 1), "the labels"


def test_the_configuration_is_judged_before_the_samples_are_read(directory: Path) -> None:
    HOSTILE["library"][0](directory)
    with pytest.raises(InvalidInput, match="runtime: refused"):
        package(directory, samples="none.npz")
