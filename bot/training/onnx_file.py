"""An ONNX model as a file, with weights in files beside it: the graph is read, and the weights only pass through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from bot.errors import InvalidInput

if TYPE_CHECKING:
    import onnx

MAX_GRAPH_BYTES = 2**31 - 1
"""Protobuf reads no longer message."""
_SPLIT = "onnx.save(onnx.load(path), other_path, save_as_external_data=True) moves the weights out of it."


@dataclass(frozen=True)
class OnnxFile:
    """The ``model`` of the file ``path``, without the weights that lie in other files.

    ``weights`` are those files, by the names that ``model`` has for them. The names depend on nothing but their order
    in the graph: exporters draw random ones, and the same model would have another digest each time.
    """

    path: Path
    model: onnx.ModelProto
    weights: dict[str, Path]


def read_onnx(path: Path, *, max_bytes: int) -> OnnxFile:
    """Read the graph of an ONNX file. Raise InvalidInput for one that cannot be read or lacks a file of its weights.

    ``max_bytes`` is how much the graph and all files of its weights may have together.
    """
    import onnx
    from google.protobuf.message import DecodeError

    size = _size(path)
    if size > MAX_GRAPH_BYTES:
        raise InvalidInput(
            f"has {size} bytes, and ONNX reads at most {MAX_GRAPH_BYTES}", file=str(path), next_step=_SPLIT
        )
    try:
        model = onnx.load(str(path), format="protobuf", load_external_data=False)
    except DecodeError as error:
        raise InvalidInput("is not an ONNX model", file=str(path)) from error
    kept_elsewhere = [tensor for tensor in tensors(model) if is_elsewhere(tensor)]
    places = dict.fromkeys(_location(tensor, path) for tensor in kept_elsewhere)
    names = {place: _name(number, len(places)) for number, place in enumerate(places)}
    total = size + sum(_size(path.parent / place) for place in places)
    if total > max_bytes:
        raise InvalidInput(
            f"has {total} bytes with its weights, more than {max_bytes}",
            file=str(path),
            next_step="Give max_bytes, and set packages.max_bytes in the environments that shall take it.",
        )
    for tensor in kept_elsewhere:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = names[str(PurePosixPath(entry.value))]
    return OnnxFile(path, model, {name: path.parent / place for place, name in names.items()})


def is_elsewhere(tensor: onnx.TensorProto) -> bool:
    """Say whether a tensor's values lie in another file."""
    return bool(tensor.data_location == type(tensor).EXTERNAL)


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield each tensor of a model that holds values, also of its functions, and of the graphs in its nodes.

    The checks look for other files wherever a tensor can lie, so nothing may be passed over here.
    """
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_attributes(function.attribute_proto)
        yield from _of_nodes(function.node)
    for training in model.training_info:
        yield from _of_graph(training.initialization)
        yield from _of_graph(training.algorithm)


def _of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    yield from _of_sparse(graph.sparse_initializer)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        yield from _of_attributes(node.attribute)


def _of_attributes(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.TensorProto]:
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        one = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        yield from _of_sparse((*one, *attribute.sparse_tensors))
        for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from _of_graph(inner)


def _of_sparse(tensors: Iterable[onnx.SparseTensorProto]) -> Iterator[onnx.TensorProto]:
    for sparse in tensors:
        yield from (sparse.values, sparse.indices)


def _location(tensor: onnx.TensorProto, path: Path) -> str:
    place = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    parts = PurePosixPath(place).parts
    if not parts or PurePosixPath(place).is_absolute() or ".." in parts:
        raise InvalidInput(
            f"keeps weights in {place!r:.200}, which is not a file beside it or below",
            file=str(path),
            next_step="Save the model with its weights beside it.",
        )
    return str(PurePosixPath(place))


def _name(number: int, of: int) -> str:
    return "model.data" if of == 1 else f"model-{number:04d}.data"


def _size(path: Path) -> int:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", file=str(path)) from error
    if not path.is_file():
        raise InvalidInput("is not a file", file=str(path))
    return size
