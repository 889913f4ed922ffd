"""ONNX graphs over the shapes and datatypes that models have. NumPy, which made the numbers, is their framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.models.given import Given

Array = Any
_CHANCE = np.random.default_rng(24)
_KINDS = {
    "f2": TensorProto.FLOAT16,
    "f4": TensorProto.FLOAT,
    "f8": TensorProto.DOUBLE,
    "b1": TensorProto.BOOL,
    "i1": TensorProto.INT8,
    "i2": TensorProto.INT16,
    "i4": TensorProto.INT32,
    "i8": TensorProto.INT64,
    "u1": TensorProto.UINT8,
    "u2": TensorProto.UINT16,
    "u4": TensorProto.UINT32,
    "u8": TensorProto.UINT64,
    "O": TensorProto.STRING,
}
Declared = tuple[str, str, Sequence[int | str | None]]
"""Name, NumPy's name of the datatype, shape."""


def graph(
    nodes: Sequence[Any],
    inputs: Sequence[Declared],
    outputs: Sequence[Declared],
    weights: Mapping[str, Array] | None = None,
) -> onnx.ModelProto:
    """Return a model of these nodes."""
    ends = [[helper.make_tensor_value_info(n, _KINDS[kind], s) for n, kind, s in side] for side in (inputs, outputs)]
    kept = [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(helper.make_graph(nodes, "hand-made", *ends, kept), opset_imports=opsets, ir_version=8)


def _echo(kind: str, values: Any, shape: Sequence[int | str | None] = ("N", 2)) -> Callable[[], Given]:
    def make() -> Given:
        rows = np.array(values, dtype=object if kind == "O" else kind)
        model = graph([helper.make_node("Identity", ["X"], ["Y"])], [("X", kind, shape)], [("Y", kind, shape)])
        return Given(model, rows, rows)

    return make


def _perceptron(kind: str) -> Given:
    rows = _CHANCE.normal(size=(5, 6)).astype(kind)
    weights = {"w": _CHANCE.normal(size=(6, 3)).astype(kind), "b": _CHANCE.normal(size=3).astype(kind)}
    nodes = [
        helper.make_node("MatMul", ["X", "w"], ["xw"]),
        helper.make_node("Add", ["xw", "b"], ["sums"]),
        helper.make_node("Tanh", ["sums"], ["Y"]),
    ]
    model = graph(nodes, [("X", kind, ["N", 6])], [("Y", kind, ["N", 3])], weights)
    wide = np.tanh(rows.astype("f8") @ weights["w"].astype("f8") + weights["b"].astype("f8"))
    options = {"f2": {"tolerance": _OF_HALVES}}.get(kind, {})
    return Given(model, rows, wide.astype(kind), options)


def _tolerance(relative: float, absolute: float) -> Any:
    from bot.domain.smoke import Tolerance

    return Tolerance(relative, absolute)


_OF_HALVES = _tolerance(5e-3, 1e-3)


def _integers() -> Given:
    """Multiply INT8 by INT8 into INT32, as quantised models do."""
    rows = _CHANCE.integers(-128, 128, (4, 8)).astype("i1")
    weights = _CHANCE.integers(-128, 128, (8, 3)).astype("i1")
    nodes = [helper.make_node("MatMulInteger", ["X", "w"], ["Y"])]
    model = graph(nodes, [("X", "i1", ["N", 8])], [("Y", "i4", ["N", 3])], {"w": weights})
    return Given(model, rows, rows.astype("i4") @ weights.astype("i4"))


def _images() -> Given:
    """The mean colour of UINT8 images of any size."""
    rows = _CHANCE.integers(0, 256, (3, 7, 5, 3)).astype("u1")
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["colour"], keepdims=0),
    ]
    inputs, outputs = [("images", "u1", ["N", "H", "W", 3])], [("colour", "f4", ["N", 3])]
    model = graph(nodes, inputs, outputs, {"axes": np.array([1, 2])})
    return Given(model, rows, rows.mean((1, 2)).astype("f4"))


def _convolution() -> Given:
    rows, weights = _CHANCE.normal(size=(2, 3, 6, 6)).astype("f4"), _CHANCE.normal(size=(4, 3, 3, 3)).astype("f4")
    nodes = [helper.make_node("Conv", ["X", "w"], ["Y"], kernel_shape=[3, 3])]
    model = graph(nodes, [("X", "f4", ["N", 3, 6, 6])], [("Y", "f4", ["N", 4, 4, 4])], {"w": weights})
    seen = np.lib.stride_tricks.sliding_window_view(rows, (3, 3), axis=(2, 3))
    return Given(model, rows, np.einsum("ncijhw,ochw->noij", seen, weights))


def _volumes() -> Given:
    rows = _CHANCE.normal(size=(3, 2, 4, 3, 5)).astype("f4")
    nodes = [helper.make_node("GlobalMaxPool", ["X"], ["Y"])]
    return Given(
        graph(nodes, [("X", "f4", ["N", 2, 4, 3, 5])], [("Y", "f4", ["N", 2, 1, 1, 1])]),
        rows,
        rows.max((2, 3, 4), keepdims=True),
    )


def _tokens() -> Given:
    """The mean embedding of INT64 ids of any length, where a mask says which count."""
    ids, mask = _CHANCE.integers(0, 20, (4, 9)), (_CHANCE.random((4, 9)) > 0.3).astype("i8")
    mask[:, 0] = 1
    table = _CHANCE.normal(size=(20, 4)).astype("f4")
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["hidden"]),
        helper.make_node("Cast", ["attention_mask"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["floats", "last"], ["mask"]),
        helper.make_node("Mul", ["hidden", "mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "length"], ["sums"], keepdims=0),
        helper.make_node("ReduceSum", ["floats", "length"], ["counts"], keepdims=1),
        helper.make_node("Div", ["sums", "counts"], ["embedding"]),
    ]
    model = graph(
        nodes,
        [("input_ids", "i8", ["N", "L"]), ("attention_mask", "i8", ["N", "L"])],
        [("embedding", "f4", ["N", 4])],
        {"words": table, "last": np.array([2]), "length": np.array([1])},
    )
    means = (table[ids] * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return Given(model, {"input_ids": ids, "attention_mask": mask}, means.astype("f4"))


def _series() -> Given:
    """The running sum of series of any length: the answer has the length of the question."""
    rows = _CHANCE.normal(size=(3, 6, 2)).astype("f4")
    nodes = [helper.make_node("CumSum", ["X", "axis"], ["Y"])]
    shape = ["N", "T", 2]
    model = graph(nodes, [("X", "f4", shape)], [("Y", "f4", shape)], {"axis": np.array(1)})
    return Given(model, rows, rows.cumsum(1))


def _nothing() -> Given:
    """Sums over a dimension of length 0: of no visits there is no sum but 0."""
    rows = np.zeros((2, 0, 3), "f4")
    nodes = [helper.make_node("ReduceSum", ["visits", "axis"], ["sums"], keepdims=0)]
    model = graph(nodes, [("visits", "f4", ["N", "L", 3])], [("sums", "f4", ["N", 3])], {"axis": np.array([1])})
    return Given(model, rows, np.zeros((2, 3), "f4"))


def _words() -> Given:
    rows = np.array([["Seoul", "서울"], ["", "nowhere 🚀"], ["Seoul", "x" * 3000]], dtype=object)
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["city"],
            ["code"],
            domain="ai.onnx.ml",
            keys_strings=["Seoul", "서울", ""],
            values_int64s=[1, 2, 3],
            default_int64=-1,
        )
    ]
    model = graph(nodes, [("city", "O", ["N", 2])], [("code", "i8", ["N", 2])])
    return Given(model, rows, np.array([[1, 2], [3, -1], [1, -1]]))


def _labels() -> Given:
    """A label in text for each row, which the graph has as a vector and Triton as a column."""
    rows = np.array([0, 2, 1, 0])
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["class"],
            ["label"],
            domain="ai.onnx.ml",
            keys_int64s=[0, 1, 2],
            values_strings=["low", "중간", "high"],
            default_string="",
        )
    ]
    model = graph(nodes, [("class", "i8", ["N"])], [("label", "O", ["N"])])
    return Given(model, rows, np.array(["low", "high", "중간", "low"], dtype=object))


def _three_outputs() -> Given:
    rows = _CHANCE.normal(size=(4, 5)).astype("f4")
    nodes = [
        helper.make_node("TopK", ["X", "two"], ["best", "index"]),
        helper.make_node("Greater", ["best", "zero"], ["positive"]),
    ]
    model = graph(
        nodes,
        [("X", "f4", ["N", 5])],
        [("best", "f4", ["N", 2]), ("index", "i8", ["N", 2]), ("positive", "b1", ["N", 2])],
        {"two": np.array([2]), "zero": np.array(0, "f4")},
    )
    index = np.argsort(-rows, axis=1)[:, :2]
    best = np.take_along_axis(rows, index, 1)
    return Given(model, rows, {"best": best, "index": index, "positive": best > 0})


def _four_inputs() -> Given:
    asked = {
        "amount": _CHANCE.normal(size=(3, 2)).astype("f4"),
        "is_new": np.array([[True], [False], [True]]),
        "level": np.array([[-3], [4], [127]], "i1"),
        "limit": _CHANCE.normal(size=(3, 1)),
    }
    nodes = [
        helper.make_node("Cast", ["level"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["limit"], ["limits"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["levels", "limits"], ["both"]),
        helper.make_node("Where", ["is_new", "amount", "both"], ["score"]),
    ]
    inputs: list[Declared] = [
        ("amount", "f4", ["N", 2]),
        ("is_new", "b1", ["N", 1]),
        ("level", "i1", ["N", 1]),
        ("limit", "f8", ["N", 1]),
    ]
    both = asked["level"].astype("f4") + asked["limit"].astype("f4")
    score = np.where(asked["is_new"], asked["amount"], both)
    return Given(graph(nodes, inputs, [("score", "f4", ["N", 2])]), asked, score)


def _bits() -> Given:
    rows = _CHANCE.random((4, 6)) > 0.5
    nodes = [helper.make_node("Not", ["X"], ["Y"])]
    return Given(graph(nodes, [("X", "b1", ["N", 6])], [("Y", "b1", ["N", 6])]), rows, ~rows)


def _attention() -> Given:
    """Attention of each token to each, of any length: softmax(QK / 2) V, with queries, keys, values alike."""
    rows = _CHANCE.normal(size=(2, 5, 4)).astype("f4")
    nodes = [
        helper.make_node("Transpose", ["X"], ["keys"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["X", "keys"], ["products"]),
        helper.make_node("Mul", ["products", "half"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "X"], ["Y"]),
    ]
    shape = ["N", "L", 4]
    model = graph(nodes, [("X", "f4", shape)], [("Y", "f4", shape)], {"half": np.array(0.5, "f4")})
    scores = rows @ rows.transpose(0, 2, 1) / 2
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return Given(model, rows, (shares / shares.sum(-1, keepdims=True)) @ rows)


GRAPHS: dict[str, Callable[[], Given]] = {
    "echo of BOOL": _echo("b1", [[True, False], [False, False]]),
    "echo of UINT8": _echo("u1", [[0, 2**8 - 1], [1, 2]]),
    "echo of UINT16": _echo("u2", [[0, 2**16 - 1], [1, 2]]),
    "echo of UINT32": _echo("u4", [[0, 2**32 - 1], [1, 2]]),
    "echo of UINT64": _echo("u8", [[0, 2**64 - 1], [1, 2]]),
    "echo of INT8": _echo("i1", [[-(2**7), 2**7 - 1], [1, 2]]),
    "echo of INT16": _echo("i2", [[-(2**15), 2**15 - 1], [1, 2]]),
    "echo of INT32": _echo("i4", [[-(2**31), 2**31 - 1], [1, 2]]),
    "echo of INT64": _echo("i8", [[-(2**63), 2**63 - 1], [1, 2]]),
    "echo of FP16": _echo("f2", [[0.5, -65504], [0, 6e-8]]),
    "echo of FP64": _echo("f8", [[1 / 3, -1e300], [0, 1e-300]]),
    "echo of strings": _echo("O", [["", "grün 🚀"], ["a\n\t\"'", "x" * 20_000]]),
    "echo of 3-d FP32 of any size": _echo("f4", [[[1, 2], [3, 4], [5, 6]]] * 2, ["N", None, None]),
    "a number per row": _echo("f4", [0.5, 1.5, -2.5], ["N"]),
    "perceptron of FP16": lambda: _perceptron("f2"),
    "perceptron of FP32": lambda: _perceptron("f4"),
    "perceptron of FP64": lambda: _perceptron("f8"),
    "product of INT8 in INT32": _integers,
    "UINT8 images of any size": _images,
    "convolution over channels": _convolution,
    "3-d volumes": _volumes,
    "tokens of any length": _tokens,
    "series of any length": _series,
    "a dimension of length 0": _nothing,
    "words to codes": _words,
    "codes to words": _labels,
    "three outputs, one of BOOL": _three_outputs,
    "four inputs of four datatypes": _four_inputs,
    "BOOL to BOOL": _bits,
    "attention over any length": _attention,
}
