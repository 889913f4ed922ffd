"""Changes that a converted graph needs before Triton can serve it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import onnx

OPSETS = {"": 18, "ai.onnx.ml": 3}
"""What graphs are made for: old enough for the onnxruntime of every Triton in use."""


IR_VERSION = 8
"""The form of ONNX files in which such opsets came."""


def renamed(model: onnx.ModelProto, names: Mapping[str, str]) -> onnx.ModelProto:
    """Return the graph with other names of its values."""
    for node in model.graph.node:
        for there in (node.input, node.output):
            there[:] = [names.get(name, name) for name in there]
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    return model


def joined(first: onnx.ModelProto, second: onnx.ModelProto, *, at: str) -> onnx.ModelProto:
    """Return the graph that feeds the one output of ``first`` to the input ``at`` of ``second``."""
    import onnx

    (output,) = first.graph.output
    first = renamed(first, {output.name: f"for {at}"})
    newest = {opset.domain: opset.version for opset in (*second.opset_import, *first.opset_import)}
    for model in (first, second):  # what both are made of means the same in all these versions
        model.ir_version = IR_VERSION
        del model.opset_import[:]
        model.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in newest.items())
    merged: onnx.ModelProto = onnx.compose.merge_models(first, second, io_map=[(f"for {at}", at)])
    return merged


def without_zipmap(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with tensors where it had lists of maps, which no server of tensors can send.

    A classifier's probabilities are a tensor ``[N, classes]`` until a last node makes maps of them.
    """
    import onnx

    graph = model.graph
    maps = {node.output[0]: node for node in graph.node if node.op_type == "ZipMap"}
    for output in graph.output:
        if (node := maps.get(output.name)) is not None:
            name = output.name
            output.CopyFrom(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", None]))
            source = node.input[0]
            graph.node.remove(node)
            renamed(model, {source: name})
    return model


def with_shapes_as_they_are(model: onnx.ModelProto, rows: Mapping[str, np.ndarray[Any, Any]]) -> onnx.ModelProto:
    """Return the graph with each output declared as it comes out, whatever shape its exporter declares.

    ``rows`` are sample rows by input name. The graph is asked for all of them twice over, so that a size of the model
    is not taken for the batch.
    """
    import numpy as np
    import onnx

    columns = {name: array if array.ndim > 1 else array[:, np.newaxis] for name, array in rows.items()}
    twice = {name: np.concatenate([array, array]) for name, array in columns.items()}
    count = len(next(iter(twice.values())))
    session = _session(model)
    names = [output.name for output in model.graph.output]
    for output, answer in zip(model.graph.output, session.run(names, twice), strict=True):
        shape = output.type.tensor_type.shape
        if answer.shape[:1] != (count,):
            continue
        declared = [dim.dim_value if dim.HasField("dim_value") else None for dim in shape.dim]
        actual = [None, *answer.shape[1:]]
        if declared != actual:
            kind = output.type.tensor_type.elem_type
            output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, kind, ["N", *answer.shape[1:]]))
    return model


def with_a_locale_of_every_server(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with the locale ``C.UTF-8`` where it changes the case of text.

    The converter writes en_US, which few containers have, Triton's among them: such a graph does not load there.
    """
    import onnx

    for node in model.graph.node:
        if node.op_type == "StringNormalizer":
            kept = [attribute for attribute in node.attribute if attribute.name != "locale"]
            del node.attribute[:]
            node.attribute.extend([*kept, onnx.helper.make_attribute("locale", "C.UTF-8")])
    return model


def runs(model: onnx.ModelProto) -> bool:
    """Say whether onnxruntime takes the graph: some converters write nodes of datatypes that nothing implements."""
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotThere

    try:
        _session(model)
    except (Fail, InvalidGraph, NotThere):
        return False
    return True


def _session(model: onnx.ModelProto) -> Any:
    """Open the graph without warnings, which are of shapes that an exporter declared wrong."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
