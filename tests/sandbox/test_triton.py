"""The sandbox's Triton serves packages of ``backend: "onnxruntime"`` as a stock Triton does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import tritonclient.grpc as grpc
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

from tests.servers import RunningTriton

CONFIG = """
backend: "onnxruntime"
max_batch_size: 8
input [{ name: "X" data_type: TYPE_FP32 dims: [3] }]
output [
  { name: "total" data_type: TYPE_FP32 dims: [1] reshape { shape: [] } },
  { name: "twice" data_type: TYPE_FP32 dims: [3] },
  { name: "whole" data_type: TYPE_INT64 dims: [3] }
]
"""


def graph(path: Path) -> None:
    """Write a graph with three outputs, of which one has no dimension but the batch."""
    nodes = [
        helper.make_node("ReduceSum", ["X", "axes"], ["total"], keepdims=0),
        helper.make_node("Add", ["X", "X"], ["twice"]),
        helper.make_node("Cast", ["X"], ["whole"], to=TensorProto.INT64),
    ]
    outputs = [
        helper.make_tensor_value_info("total", TensorProto.FLOAT, ["N"]),
        helper.make_tensor_value_info("twice", TensorProto.FLOAT, ["N", 3]),
        helper.make_tensor_value_info("whole", TensorProto.INT64, ["N", 3]),
    ]
    made = helper.make_graph(
        nodes,
        "numbers",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 3])],
        outputs,
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    path.parent.mkdir(parents=True)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.fixture
def client(triton_server: RunningTriton) -> grpc.InferenceServerClient:
    return grpc.InferenceServerClient(triton_server.grpc)


def put(triton_server: RunningTriton, name: str, *, config: str = CONFIG, version: int = 7) -> Path:
    model = triton_server.repository / name
    graph(model / str(version) / "model.onnx")
    (model / "config.pbtxt").write_text(config)
    return model


def tensor(values: np.ndarray, *, name: str = "X", datatype: str = "FP32") -> grpc.InferInput:
    given = grpc.InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values)
    return given


def test_several_outputs_a_batch_and_a_reshape(
    triton_server: RunningTriton, client: grpc.InferenceServerClient
) -> None:
    put(triton_server, "numbers")
    client.load_model("numbers")
    values = np.array([[1, 2, 3.5], [4, 5, 6]], dtype=np.float32)

    answer = client.infer("numbers", [tensor(values)], model_version="7")

    assert answer.get_response().model_version == "7"
    np.testing.assert_array_equal(answer.as_numpy("total"), [[6.5], [15]])
    np.testing.assert_array_equal(answer.as_numpy("twice"), values * 2)
    assert answer.as_numpy("whole").tolist() == [[1, 2, 3], [4, 5, 6]]

    only = client.infer("numbers", [tensor(values)], outputs=[grpc.InferRequestedOutput("twice")])
    assert [output.name for output in only.get_response().outputs] == ["twice"]


def test_loading_and_answering_leave_nothing_in_the_repository(
    triton_server: RunningTriton, client: grpc.InferenceServerClient
) -> None:
    model = put(triton_server, "clean")
    client.load_model("clean")
    client.infer("clean", [tensor(np.zeros((1, 3), np.float32))])
    files = sorted(str(path.relative_to(model)) for path in model.rglob("*") if path.is_file())
    assert files == ["7/model.onnx", "config.pbtxt"]


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("no-such-output", CONFIG.replace('"twice"', '"thrice"'), "thrice"),
        ("no-such-input", CONFIG.replace('"X"', '"Y"'), "the ONNX graph has"),
    ],
)
def test_a_config_that_does_not_fit_the_graph_fails_the_load(
    triton_server: RunningTriton, client: grpc.InferenceServerClient, name: str, config: str, said: str
) -> None:
    put(triton_server, name, config=config)
    with pytest.raises(InferenceServerException, match=said):
        client.load_model(name)


def test_a_broken_model_file_fails_the_load_by_name(
    triton_server: RunningTriton, client: grpc.InferenceServerClient
) -> None:
    model = put(triton_server, "broken")
    (model / "7" / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(InferenceServerException, match=r"broken/7/model\.onnx cannot be opened"):
        client.load_model("broken")


def test_an_output_of_another_type_than_declared_is_an_error_of_that_request(
    triton_server: RunningTriton, client: grpc.InferenceServerClient
) -> None:
    put(triton_server, "mistyped", config=CONFIG.replace("TYPE_INT64", "TYPE_INT32"))
    client.load_model("mistyped")
    with pytest.raises(InferenceServerException, match=r"'whole' is int64, config\.pbtxt says int32"):
        client.infer("mistyped", [tensor(np.zeros((1, 3), np.float32))])


def test_texts_in_and_out(triton_server: RunningTriton, client: grpc.InferenceServerClient) -> None:
    model = triton_server.repository / "texts"
    text = helper.make_tensor_value_info("T", TensorProto.STRING, ["N", 1])
    same = helper.make_tensor_value_info("same", TensorProto.STRING, ["N", 1])
    made = helper.make_graph([helper.make_node("Identity", ["T"], ["same"])], "texts", [text], [same])
    (model / "1").mkdir(parents=True)
    onnx.save(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), model / "1" / "model.onnx"
    )
    (model / "config.pbtxt").write_text(
        'backend: "onnxruntime" max_batch_size: 4 input [{ name: "T" data_type: TYPE_STRING dims: [1] }] '
        'output [{ name: "same" data_type: TYPE_STRING dims: [1] }]'
    )
    client.load_model("texts")
    words = np.array([["grün".encode()], [b"red"]], dtype=object)
    answer = client.infer("texts", [tensor(words, name="T", datatype="BYTES")])
    assert [word.decode() for word in answer.as_numpy("same").reshape(-1)] == ["grün", "red"]
