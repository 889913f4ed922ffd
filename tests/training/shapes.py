"""Models of every shape that Triton serves: with batches and without, a package of each and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

Sizes = list[int | str | None]


@dataclass(frozen=True)
class Served:
    """What ``build_package`` is given, and how many rows Triton may put together then."""

    model: onnx.ModelProto
    inputs: Any
    answers: Any
    max_batch_size: int
    given: Mapping[str, Any] = field(default_factory=dict)


def graph(nodes: list[onnx.NodeProto], inputs: Mapping[str, Any], outputs: Mapping[str, Any], **weights: Any) -> Any:
    """Return a graph; inputs and outputs are ``(type, sizes)`` by name, without sizes where the shape is unknown."""
    ends = [
        [helper.make_tensor_value_info(name, kind, sizes) for name, (kind, sizes) in side.items()]
        for side in (inputs, outputs)
    ]
    constants = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    made = helper.make_graph(nodes, "shapes", *ends, constants)
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


def asked(model: onnx.ModelProto, *requests: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return what ONNX's own reference says to each request, by output."""
    reference = ReferenceEvaluator(model)
    answers = [reference.run(None, dict(request)) for request in requests]
    return {output.name: [answer[n] for answer in answers] for n, output in enumerate(model.graph.output)}


def _floats(*shape: int) -> Any:
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def fixed_batch() -> Served:
    """It takes four rows, no more and no fewer."""
    model = graph(
        [helper.make_node("Add", ["X", "one"], ["Y"])],
        {"X": (FLOAT, [4, 3])},
        {"Y": (FLOAT, [4, 3])},
        one=np.float32([1]),
    )
    rows = _floats(8, 3)
    return Served(model, rows, rows + np.float32(1), 0)


def without_batches() -> Served:
    """A graph that could be batched, and whose owner wants none: it normalizes over the rows of a request."""
    model = graph(
        [helper.make_node("Softmax", ["X"], ["Y"], axis=0)], {"X": (FLOAT, ["N", 2])}, {"Y": (FLOAT, ["N", 2])}
    )
    requests = [_floats(3, 2), _floats(1, 2)]
    answers = asked(model, *({"X": one} for one in requests))
    return Served(model, requests, answers, 0, {"max_batch_size": 0})


def scalar_output() -> Served:
    """One number for all rows of a request, with a shape and without a dimension."""
    model = graph(
        [helper.make_node("ReduceMean", ["X"], ["mean"], keepdims=0)], {"X": (FLOAT, ["N", 3])}, {"mean": (FLOAT, [])}
    )
    requests = [_floats(2, 3), _floats(5, 3)]
    return Served(model, requests, {"mean": [one.mean() for one in requests]}, 0)


def input_without_batch() -> Served:
    """Rows, and a threshold for all of them, which has no dimension."""
    model = graph(
        [helper.make_node("Greater", ["X", "threshold"], ["above"])],
        {"X": (FLOAT, ["N", 3]), "threshold": (FLOAT, [])},
        {"above": (TensorProto.BOOL, ["N", 3])},
    )
    rows, thresholds = _floats(2, 4, 3), np.float32([0.0, 0.5])
    above = rows > thresholds[:, np.newaxis, np.newaxis]
    return Served(model, {"X": rows, "threshold": thresholds}, {"above": above}, 0)


def detection() -> Served:
    """An image, and as many boxes as there are in it."""
    model = graph(
        [
            helper.make_node("Greater", ["image", "zero"], ["bright"]),
            helper.make_node("NonZero", ["bright"], ["places"]),
            helper.make_node("Transpose", ["places"], ["boxes"], perm=[1, 0]),
        ],
        {"image": (FLOAT, [1, 2, 3])},
        {"boxes": (INT64, ["boxes", 3])},
        zero=np.float32(0),
    )
    images = [_floats(1, 2, 3), np.ones((1, 2, 3), np.float32)]
    return Served(model, np.stack(images), asked(model, *({"image": one} for one in images)), 0)


def time_major() -> Served:
    """A recurrent network whose first dimension is time; the state that it begins with has another one."""
    model = graph(
        [helper.make_node("RNN", ["X", "W", "R", "", "", "before"], ["Y", "after"], hidden_size=2)],
        {"X": (FLOAT, ["T", 1, 3]), "before": (FLOAT, [1, 1, 2])},
        {"Y": (FLOAT, ["T", 1, 1, 2]), "after": (FLOAT, [1, 1, 2])},
        W=_floats(1, 2, 3),
        R=_floats(1, 2, 2),
    )
    requests = [{"X": _floats(length, 1, 3), "before": _floats(1, 1, 2)} for length in (5, 2)]
    inputs = {name: [request[name] for request in requests] for name in ("X", "before")}
    return Served(model, inputs, asked(model, *requests), 0)


def no_declared_shape() -> Served:
    """An output of which the exporter says nothing but its type."""
    model = graph([helper.make_node("Add", ["X", "X"], ["Y"])], {"X": (FLOAT, ["N", 3])}, {"Y": (FLOAT, None)})
    rows = _floats(3, 3)
    return Served(model, rows, rows * 2, 64)


def label_of_one_row() -> Served:
    """A label that is declared as one row's, whatever the batch, as LightGBM's converter does."""
    model = graph(
        [helper.make_node("ArgMax", ["X"], ["label"], axis=1, keepdims=0)],
        {"X": (FLOAT, ["N", 3])},
        {"label": (INT64, [1])},
    )
    rows = _floats(4, 3)
    return Served(model, rows, rows.argmax(axis=1).astype(float), 64)


def zipmap() -> Served:
    """A classifier whose export ends in a list of maps, as skl2onnx makes by default."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    rows = _floats(6, 3)
    fitted = LogisticRegression().fit(rows, ["cat", "dog"] * 3)
    answers = {"output_label": fitted.predict(rows), "output_probability": fitted.predict_proba(rows)}
    return Served(to_onnx(fitted, rows), rows, answers, 64)


def bfloat16() -> Served:
    """BF16 at both ends, which the ONNX backend of Triton does not have."""
    kind = TensorProto.BFLOAT16
    model = graph([helper.make_node("Identity", ["X"], ["Y"])], {"X": (kind, ["N", 2])}, {"Y": (kind, ["N", 2])})
    rows = np.float32([[1.5, -2], [0.25, 3]])
    return Served(model, rows, rows, 64)


def ragged_rows() -> Served:
    """Token ids of texts of different lengths, and a number for each token."""
    model = graph(
        [helper.make_node("Mul", ["ids", "two"], ["Y"])],
        {"ids": (INT64, ["N", "L"])},
        {"Y": (INT64, ["N", "L"])},
        two=np.int64([2]),
    )
    rows = [[1, 2, 3], [4, 5], [6, 7, 8]]
    return Served(model, rows, [[2, 4, 6], [8, 10], [12, 14, 16]], 64)


NAMES = ("mean radius", "input[0]", "feature#1", "a/b:c?d=%20", "say \"hi\" \\ 'no'", "온도", "größe 🚀")


def names() -> Served:
    """Names as columns of tables have them."""
    model = graph(
        [helper.make_node("Identity", [name], [f"out {name}"]) for name in NAMES],
        {name: (FLOAT, ["N", 1]) for name in NAMES},
        {f"out {name}": (FLOAT, ["N", 1]) for name in NAMES},
    )
    columns = {name: _floats(3, 1) + np.float32(n) for n, name in enumerate(NAMES)}
    return Served(model, columns, {f"out {name}": values for name, values in columns.items()}, 64)


SHAPES: Mapping[str, Callable[[], Served]] = {
    "fixed batch": fixed_batch,
    "no batches": without_batches,
    "scalar output": scalar_output,
    "input without a batch": input_without_batch,
    "more outputs than rows": detection,
    "time first": time_major,
    "output without a shape": no_declared_shape,
    "label declared for one row": label_of_one_row,
    "ZipMap": zipmap,
    "BF16": bfloat16,
    "rows of different lengths": ragged_rows,
    "names with signs": names,
}
