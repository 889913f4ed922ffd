"""Inputs and outputs of a graph as Triton can carry them: tensors with a shape, of a datatype that it has.

Only the edges of the graph change. It computes what was exported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bot.training.converters.graph import without_zipmap

if TYPE_CHECKING:
    import onnx


def carried(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``model`` with inputs and outputs that Triton's onnxruntime backend serves: tensors.

    Maps of classes become the tensor that they are made of. A number without dimensions becomes ``[1]``, because
    Triton refuses empty shapes without a batch. BF16 is cast to FP32 and back, because that backend has no BF16.
    """
    model = without_zipmap(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in weights:
            _carry(model.graph, value, into=True)
    for value in model.graph.output:
        _carry(model.graph, value, into=False)
    return model


def declared_as_answered(
    model: onnx.ModelProto, rows: int | None, answers: Mapping[str, tuple[int, ...]]
) -> onnx.ModelProto:
    """Return a copy of ``model`` with the outputs declared that have no shape, or ``[1, …]`` whatever the batch is.

    Some exporters declare an output for one row, or not at all. ``answers`` has the shapes of the answers by output.
    They count where their first size is ``rows``, the size of the batch that was asked, or None without one.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    outputs = [output for output in copy.graph.output if output.type.HasField("tensor_type")]
    if without := [output for output in outputs if not output.type.tensor_type.HasField("shape")]:
        inferred = {output.name: output for output in onnx.shape_inference.infer_shapes(model).graph.output}
        for output in without:
            output.CopyFrom(inferred[output.name])
    for output in outputs:
        tensor, shape = output.type.tensor_type, answers.get(output.name, ())
        if rows is None or shape[:1] != (rows,):
            continue
        if not tensor.HasField("shape"):
            free: list[str | None] = [None] * len(shape)
            output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, tensor.elem_type, free))
        elif len(tensor.shape.dim) and tensor.shape.dim[0].dim_value == 1 and rows > 1:
            tensor.shape.dim[0].Clear()
    return copy


def _carry(graph: onnx.GraphProto, value: onnx.ValueInfoProto, *, into: bool) -> None:
    import onnx

    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return
    if tensor.elem_type == onnx.TensorProto.BFLOAT16:
        tensor.elem_type = onnx.TensorProto.FLOAT
        to = onnx.TensorProto.BFLOAT16 if into else onnx.TensorProto.FLOAT
        _put_between(graph, value.name, "Cast", into=into, to=to)
    if tensor.HasField("shape") and not tensor.shape.dim:
        tensor.shape.dim.add().dim_value = 1
        inner = f"shape of {value.name}"
        sizes: list[int] = [] if into else [1]
        graph.initializer.append(onnx.helper.make_tensor(inner, onnx.TensorProto.INT64, [len(sizes)], sizes))
        _put_between(graph, value.name, "Reshape", inner, into=into)


def _put_between(graph: onnx.GraphProto, name: str, operator: str, *more: str, into: bool, **attributes: Any) -> None:
    """Put a node between a value at the edge, whose name stays, and the graph."""
    import onnx

    inside = f"{name} before {operator}" if not into else f"{name} after {operator}"
    _rename(graph.node, name, inside)
    first, last = (name, inside) if into else (inside, name)
    node = onnx.helper.make_node(operator, [first, *more], [last], **attributes)
    if into:
        graph.node.insert(0, node)
    else:
        graph.node.append(node)


def _rename(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> None:
    for node in nodes:
        for there in (node.input, node.output):
            there[:] = [new if name == old else name for name in there]
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                _rename(graph.node, old, new)
                for value in graph.output:
                    value.name = new if value.name == old else value.name
