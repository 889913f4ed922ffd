"""Packages: what is written, that it is the same twice, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from onnx import TensorProto, helper
from sklearn.linear_model import LinearRegression, LogisticRegression
from tritonclient.grpc import model_config_pb2

from bot.domain.package import Package
from bot.domain.smoke import SmokeCases, Tensor, Tolerance
from bot.errors import InvalidInput
from bot.training import build_package, to_onnx
from bot.training.converters.graph import renamed
from bot.training.package import hash_file, read_package

ROWS = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 0.5], [3.0, 1.0, 0.0], [4.0, 2.0, 1.0]], dtype=np.float32)
LABELS = np.array([0, 0, 1, 1])


def classifier(labels: Any = LABELS) -> LogisticRegression:
    return LogisticRegression().fit(ROWS, labels)


def answers(model: LogisticRegression) -> dict[str, Any]:
    return {"label": model.predict(ROWS), "probabilities": model.predict_proba(ROWS)}


def identity(*kinds: tuple[int, list[int | str | None]]) -> onnx.ModelProto:
    """A graph that gives back each of its inputs: in0 → out0, …"""
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"in{n}"], [f"out{n}"]) for n in range(len(kinds))],
        "identity",
        [helper.make_tensor_value_info(f"in{n}", kind, shape) for n, (kind, shape) in enumerate(kinds)],
        [helper.make_tensor_value_info(f"out{n}", kind, shape) for n, (kind, shape) in enumerate(kinds)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def config_of(directory: Path) -> Any:
    return text_format.Parse(directory.joinpath("config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def cases_of(directory: Path) -> SmokeCases:
    return SmokeCases.from_json(directory.joinpath("smoke.json").read_text())


def test_a_classifier_becomes_a_directory_that_triton_and_the_bot_understand(tmp_path: Path) -> None:
    model = classifier()
    package = build_package(model, tmp_path / "p", inputs=ROWS, answers=answers(model), max_batch_size=32)

    assert read_package(tmp_path / "p") == package
    assert [file.path for file in package.files] == ["config.pbtxt", "model.onnx", "smoke.json"]
    assert [file.path for file in package.version_files] == ["model.onnx"]
    config = config_of(tmp_path / "p")
    assert (config.backend, config.max_batch_size) == ("onnxruntime", 32)
    assert (config.name, config.HasField("version_policy")) == ("", False)  # publishing sets both
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [("X", model_config_pb2.TYPE_FP32, [3])]
    label, probabilities = config.output
    assert (label.name, label.data_type, list(label.dims)) == ("label", model_config_pb2.TYPE_INT64, [1])
    assert label.HasField("reshape") and not label.reshape.shape
    assert (probabilities.name, list(probabilities.dims)) == ("probabilities", [2])
    assert not probabilities.HasField("reshape")


def test_each_row_is_a_case_and_all_together_one_more(tmp_path: Path) -> None:
    model = classifier()
    build_package(
        model, tmp_path, inputs=ROWS, answers=answers(model), tolerance=Tolerance(0.01, 0.02), max_batch_size=3
    )

    smoke = cases_of(tmp_path)
    assert smoke.tolerance == Tolerance(0.01, 0.02)
    assert [case.name for case in smoke.cases] == ["row-0", "row-1", "row-2", "row-3", "batch-of-3"]
    third, together = smoke.cases[2], smoke.cases[4]
    assert third.inputs == (Tensor("X", "FP32", (1, 3), (3.0, 1.0, 0.0)),)
    assert third.outputs[0] == Tensor("label", "INT64", (1, 1), (1,))
    assert third.outputs[1].shape == (1, 2)
    assert third.outputs[1].data == tuple(model.predict_proba(ROWS[2:3]).astype(np.float32)[0].tolist())
    assert together.outputs[0] == Tensor("label", "INT64", (3, 1), (0, 0, 1))


def test_the_same_model_and_samples_are_the_same_digest(tmp_path: Path) -> None:
    first, again, other = classifier(), classifier(), classifier(LABELS[::-1])
    one = build_package(first, tmp_path / "1", inputs=ROWS, answers=answers(first))
    two = build_package(again, tmp_path / "2", inputs=ROWS, answers=answers(again))
    from_onnx = build_package(to_onnx(first, ROWS), tmp_path / "3", inputs=ROWS, answers=answers(first))
    different = build_package(other, tmp_path / "4", inputs=ROWS, answers=answers(other))

    assert one == two == from_onnx
    assert tmp_path.joinpath("1/package.json").read_bytes() == tmp_path.joinpath("2/package.json").read_bytes()
    assert different.digest != one.digest
    assert different.file("config.pbtxt") == one.file("config.pbtxt")


def test_text_labels_and_a_regressor(tmp_path: Path) -> None:
    words = classifier(np.array(["no", "no", "yes", "yes"]))
    build_package(words, tmp_path / "words", inputs=ROWS, answers={"label": words.predict(ROWS)})
    line = LinearRegression().fit(ROWS, LABELS)
    build_package(line, tmp_path / "line", inputs={"X": ROWS}, answers=line.predict(ROWS))

    assert config_of(tmp_path / "words").output[0].data_type == model_config_pb2.TYPE_STRING
    assert cases_of(tmp_path / "words").cases[0].outputs == (Tensor("label", "BYTES", (1, 1), ("no",)),)
    assert cases_of(tmp_path / "line").cases[0].outputs[0].shape == (1, 1)


def test_every_datatype_and_several_inputs(tmp_path: Path) -> None:
    model = identity(
        (TensorProto.DOUBLE, ["N", 2, None]),
        (TensorProto.INT8, [None]),
        (TensorProto.BOOL, ["N", 1]),
        (TensorProto.STRING, ["N", 1]),
        (TensorProto.FLOAT16, ["N", 2]),
    )
    arrays = (
        np.arange(8.0).reshape(2, 2, 2),
        np.array([1, -2]),
        np.array([[True], [False]]),
        np.array([["ä"], ["b"]]),
        np.array([[0.5, 1], [2, 3]]),
    )
    build_package(
        model,
        tmp_path,
        inputs={f"in{n}": array for n, array in enumerate(arrays)},
        answers={f"out{n}": array for n, array in enumerate(arrays)},
        instances=2,
        max_queue_delay_microseconds=300,
    )

    config = config_of(tmp_path)
    assert [list(i.dims) for i in config.input] == [[2, -1], [1], [1], [1], [2]]
    assert [i.HasField("reshape") for i in config.input] == [False, True, False, False, False]
    assert config.instance_group[0].count == 2
    assert config.dynamic_batching.max_queue_delay_microseconds == 300
    second = cases_of(tmp_path).cases[1]
    assert second.inputs == (
        Tensor("in0", "FP64", (1, 2, 2), (4.0, 5.0, 6.0, 7.0)),
        Tensor("in1", "INT8", (1, 1), (-2,)),
        Tensor("in2", "BOOL", (1, 1), (False,)),
        Tensor("in3", "BYTES", (1, 1), ("b",)),
        Tensor("in4", "FP16", (1, 2), (2.0, 3.0)),
    )
    assert [t.data for t in second.outputs] == [t.data for t in second.inputs]


def with_weights_elsewhere() -> onnx.ModelProto:
    model = to_onnx(classifier(), ROWS)
    weights = model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[1])
    weights.data_location = TensorProto.EXTERNAL
    return model


def in_a_sequence() -> onnx.ModelProto:
    model = identity(FLOATS)
    model.graph.node.append(helper.make_node("SequenceConstruct", ["in0"], ["parts"]))
    model.graph.output.append(helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None))
    return model


def without_a_shape() -> onnx.ModelProto:
    model = identity(FLOATS)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.ClearField("shape")
    return model


def named(name: str) -> onnx.ModelProto:
    return renamed(identity(FLOATS), {"in0": name})


FLOATS: tuple[int, list[int | str | None]] = (TensorProto.FLOAT, ["N", 3])


@pytest.mark.parametrize(
    ("model", "arguments", "says"),
    [
        (
            lambda: identity((TensorProto.FLOAT, [1, 3])),
            {"max_batch_size": 8},
            "model: in0: has the shape [1, 3], so requests cannot be put together along its first dimension",
        ),
        (
            lambda: identity((TensorProto.FLOAT, [3, 3])),
            {},
            "inputs: in0: has the shape [4, 3] instead of [3, 3], or [-1, 3, 3] for several requests",
        ),
        (lambda: identity((TensorProto.COMPLEX64, ["N", 3])), {}, "model: in0: is COMPLEX64, which the onnxruntime"),
        (in_a_sequence, {}, "model: parts: is a sequence, and Triton serves tensors only"),
        (without_a_shape, {"inputs": [ROWS, ROWS], "max_batch_size": 0}, "model: in0: has no shape"),
        (lambda: named("new\nline"), {}, r"model: 'new\nline': is not a valid tensor name: 1 to 200 characters"),
        (lambda: named("x" * 201), {}, "is not a valid tensor name: 1 to 200 characters that can be printed"),
        (
            lambda: identity((TensorProto.INT64, ["N", None])),
            {"inputs": [[1, 2], [3]], "answers": [[1, 2], [[3]]]},
            "answers: out0: sample 1 has the shape [1, 1] instead of [-1]",
        ),
        (
            lambda: identity((TensorProto.STRING, ["N", 1])),
            {"inputs": np.array([[b"a\0"]]), "answers": np.array([["a"]])},
            "inputs: in0: has values that are neither text nor bytes",
        ),
        (with_weights_elsewhere, {}, "model: keeps its weights in another file"),
        (lambda: identity(FLOATS, FLOATS), {}, "inputs: must be named: in0, in1"),
        (lambda: identity(FLOATS, FLOATS), {"inputs": {"in0": ROWS}, "answers": {"out0": ROWS}}, "lacks in1"),
        (lambda: identity(FLOATS), {"inputs": {"X": ROWS}}, "inputs: the model has no X; it has in0"),
        (lambda: identity(FLOATS), {"inputs": ROWS[:, :2]}, r"inputs: in0: has the shape [4, 2] instead of [-1, 3]"),
        (lambda: identity(FLOATS), {"inputs": ROWS[0]}, r"inputs: in0: has the shape [3] instead of [-1, 3]"),
        (lambda: identity(FLOATS), {"inputs": ROWS + 0.1 * np.ones(3)}, "inputs: in0: has values that FP32 cannot"),
        (
            lambda: identity(FLOATS),
            {"inputs": [["a", "b", "c"]]},
            "inputs: in0: has the type <U1, the model's is FP32",
        ),
        (lambda: identity(FLOATS), {"answers": ROWS[:2]}, "have different numbers of rows: [2, 4]"),
        (lambda: identity(FLOATS), {"answers": {}}, "answers: is empty"),
        (lambda: identity(FLOATS), {"inputs": ROWS[:0], "answers": ROWS[:0]}, "have 0 rows instead of 1 to 256"),
        (lambda: identity(FLOATS), {"max_batch_size": -1}, "max_batch_size: must be from 0"),
        (
            lambda: identity(FLOATS),
            {"max_batch_size": 0, "max_queue_delay_microseconds": 100},
            "max_queue_delay_microseconds: puts requests together, and this model has no batches",
        ),
        (lambda: identity(FLOATS), {"instances": 0}, "instances: must be from 1"),
        (
            lambda: identity((TensorProto.INT8, ["N", 3])),
            {"inputs": ROWS.astype(np.int8), "answers": ROWS},
            "answers: out0: has the type float32, the model's is INT8",
        ),
    ],
)
def test_what_cannot_be_served_or_checked_is_refused(
    tmp_path: Path, model: Callable[[], onnx.ModelProto], arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        build_package(model(), tmp_path / "p", **({"inputs": ROWS, "answers": ROWS} | arguments))
    assert says in str(refused.value)
    assert not tmp_path.joinpath("p").exists()


class OfTorch:
    """A tensor as PyTorch has it: it becomes an array once it needs no gradient, and NumPy has no bfloat16."""

    def __init__(self, values: Any, dtype: str = "torch.float32", *, requires_grad: bool = True) -> None:
        self.values, self.dtype, self.requires_grad = np.asarray(values), dtype, requires_grad

    def detach(self) -> OfTorch:
        return OfTorch(self.values, self.dtype, requires_grad=False)

    def cpu(self) -> OfTorch:
        return self

    def float(self) -> OfTorch:
        return OfTorch(self.values, requires_grad=self.requires_grad)

    def __array__(self, *_: Any, **__: Any) -> Any:
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        if "bfloat16" in self.dtype:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.values


@pytest.mark.parametrize(
    "given",
    [OfTorch(ROWS), OfTorch(ROWS, "torch.bfloat16"), [OfTorch(row) for row in ROWS]],
    ids=["float", "bfloat16", "row by row"],
)
def test_an_answer_of_torch_may_require_a_gradient(given: Any, tmp_path: Path) -> None:
    build_package(identity(FLOATS), tmp_path / "p", inputs=ROWS, answers=given)
    assert cases_of(tmp_path / "p").cases[0].outputs[0].data == (0.0, 1.0, 2.0)


def test_labels_may_be_floats_that_are_whole_numbers(tmp_path: Path) -> None:
    fitted = classifier(LABELS.astype(float))
    build_package(fitted, tmp_path / "p", inputs=ROWS, answers=answers(fitted))
    assert cases_of(tmp_path / "p").cases[-1].outputs[0] == Tensor("label", "INT64", (4, 1), (0, 0, 1, 1))


def test_rows_of_different_lengths_are_cases_and_those_alike_a_batch(tmp_path: Path) -> None:
    ids = [[1, 2], [3], [4, 5], []]
    build_package(identity((TensorProto.INT64, ["N", None])), tmp_path / "p", inputs=ids, answers=ids)
    cases = cases_of(tmp_path / "p").cases
    assert [case.name for case in cases] == ["row-0", "row-1", "row-2", "row-3", "batch-of-2"]
    assert [case.inputs[0].shape for case in cases] == [(1, 2), (1, 1), (1, 2), (1, 0), (2, 2)]
    assert cases[-1].outputs[0].data == (1, 2, 4, 5)


def test_a_request_is_a_sample_where_there_is_no_batch(tmp_path: Path) -> None:
    model = identity((TensorProto.FLOAT, [2, 3]))
    for name, inputs in {"one": ROWS[:2], "rows": ROWS, "stacked": ROWS.reshape(2, 2, 3)}.items():
        build_package(model, tmp_path / name, inputs=inputs, answers=inputs)
    config = config_of(tmp_path / "one")
    assert (config.max_batch_size, list(config.input[0].dims)) == (0, [2, 3])
    assert [case.name for case in cases_of(tmp_path / "one").cases] == ["request-0"]
    assert cases_of(tmp_path / "rows") == cases_of(tmp_path / "stacked")
    assert [case.inputs[0].shape for case in cases_of(tmp_path / "rows").cases] == [(2, 3), (2, 3)]


def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    tmp_path.joinpath("notes.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="is not empty"):
        build_package(identity(FLOATS), tmp_path, inputs=ROWS, answers=ROWS)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda p: p.joinpath("model.onnx").write_bytes(b"x"), "model.onnx: is not what package.json lists"),
        (lambda p: p.joinpath("notes.txt").write_text("x"), "lists other files than there are: notes.txt"),
        (lambda p: p.joinpath("model.onnx").unlink(), "lists other files than there are: model.onnx"),
        (lambda p: p.joinpath("package.json").unlink(), "package.json: cannot be read: No such file"),
        (lambda p: p.joinpath("package.json").write_text(json.dumps({})), "not a package.json of format 1"),
    ],
)
def test_a_package_that_was_touched_is_no_package(tmp_path: Path, spoil: Callable[[Path], None], says: str) -> None:
    build_package(identity(FLOATS), tmp_path, inputs=ROWS, answers=ROWS)
    spoil(tmp_path)
    with pytest.raises(InvalidInput) as refused:
        read_package(tmp_path)
    assert says in str(refused.value)


TOLERANT = json.dumps(
    {
        "format": 1,
        "tolerance": {"relative": 1e9},
        "cases": [
            {
                "name": "row-0",
                "inputs": [{"name": "X", "datatype": "FP32", "shape": [1], "data": [1]}],
                "outputs": [{"name": "Y", "datatype": "FP32", "shape": [1], "data": [1]}],
            }
        ],
    }
).encode()


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("config.pbtxt", b'backend: "onnxruntime" runtime: "payload.data"', "config.pbtxt: runtime: refused; Triton"),
        ("config.pbtxt", b'backend: "onnxruntime" default_model_filename: "../x"', "is not a file that package.json"),
        ("config.pbtxt", b"backend {", "config.pbtxt"),
        ("smoke.json", b"{}", "smoke.json: not a smoke.json of format 1"),
        ("smoke.json", TOLERANT, "smoke.json: tolerance.relative is 1e+09, more than 0.1"),
        ("payload.data", b"\x7fELF\2\1\1", "payload.data: is an ELF library or program, whatever it is called"),
        ("labels.txt", b"\xff\xfe", "labels.txt: is not text in UTF-8"),
        ("model.onnx", b"no model", "model.onnx: is not an ONNX model"),
        ("a#b.txt", b"", "MLflow stores 'a#b.txt' under another name"),
        ("a%20b.txt", b"", "MLflow stores 'a%20b.txt' under another name"),
        ("config.pbtxt", b"#" * (2**20 + 1), "config.pbtxt has 1048577 bytes, more than 1048576"),
    ],
)
def test_what_no_environment_would_take_is_said_before_it_is_registered(
    tmp_path: Path, file: str, content: bytes, says: str
) -> None:
    build_package(identity(FLOATS), tmp_path, inputs=ROWS, answers=ROWS)
    tmp_path.joinpath(file).write_bytes(content)
    names = {path.name for path in tmp_path.iterdir()} - {"package.json"}
    tmp_path.joinpath("package.json").write_text(Package.of(hash_file(tmp_path, name) for name in names).to_json())
    with pytest.raises(InvalidInput) as refused:
        read_package(tmp_path)
    assert says in str(refused.value)


def test_samples_that_make_too_long_a_file_of_cases_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.training.package.MAX_SMOKE_BYTES", 100)
    with pytest.raises(InvalidInput, match=r"make a smoke\.json of [0-9]+ bytes, more than 100") as refused:
        build_package(identity(FLOATS), tmp_path / "p", inputs=ROWS, answers=ROWS)
    assert refused.value.next_step == "Give fewer rows, or smaller ones."
    assert not tmp_path.joinpath("p").exists()


def test_a_tolerance_that_proves_nothing_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"smoke\.json: tolerance\.relative is 1e\+09, more than 0\.1"):
        build_package(identity(FLOATS), tmp_path / "p", inputs=ROWS, answers=ROWS, tolerance=Tolerance(1e9, 0))
    assert not tmp_path.joinpath("p").exists()


def test_importing_the_interface_loads_nothing_heavy() -> None:
    script = "import bot.training, sys; print(*{'mlflow', 'numpy', 'onnx', 'sklearn', 'skl2onnx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_bytes_that_are_no_text_are_samples_like_any_other(tmp_path: Path) -> None:
    rows = np.array([[b"\xff\0"], [b"text"], ["text"]], dtype=object)
    build_package(identity((TensorProto.STRING, ["N", 1])), tmp_path / "p", inputs=rows, answers=rows)
    *_, batch = SmokeCases.from_json((tmp_path / "p" / "smoke.json").read_bytes()).cases
    assert batch.inputs[0].data == batch.outputs[0].data == (b"\xff\0", "text", "text")
