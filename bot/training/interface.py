"""The inputs and outputs of a model, as its graph and Triton know them, and the configuration that says so."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.domain.signature import TensorSpec
from bot.errors import InvalidInput
from bot.training.onnx_file import is_elsewhere, tensors

if TYPE_CHECKING:
    import numpy as np
    import onnx

DEFAULT_BATCH = 64
"""Rows that Triton puts together at most, where nobody says how many."""
MAX_NAME = 200
"""Characters of a tensor's name. Triton takes any; names appear in reports, so they can be printed."""


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs of a model, in the order of its graph, and how it is batched.

    ``max_batch_size`` is Triton's. From 1 on, the first dimension of every tensor is the batch: Triton puts requests
    together along it, and a sample is a row. With 0 nothing is put together, and a sample is a whole request.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int = 0

    def without_batch_dimension(self) -> TensorSpec | None:
        """Return the first tensor along whose first dimension no requests can be put together; None if all can."""
        both = (*self.inputs, *self.outputs)
        return next((spec for spec in both if not spec.shape or spec.shape[0] != -1), None)

    def dims(self, spec: TensorSpec) -> tuple[int, ...]:
        """Return the shape that the configuration declares: of one row where there are batches, else all of it.

        A row of ``[N]`` has no dimensions, which Triton does not allow: clients see ``[N, 1]`` and Triton reshapes.
        """
        return (spec.shape[1:] or (1,)) if self.max_batch_size else spec.shape

    def is_reshaped(self, spec: TensorSpec) -> bool:
        """Whether clients see ``[N, 1]`` where the graph has ``[N]``."""
        return bool(self.max_batch_size) and len(spec.shape) == 1


def interface_of(model: onnx.ModelProto, *, file: Path | None = None) -> Interface:
    """Return the inputs and outputs of an ONNX model; raise InvalidInput for what Triton cannot serve.

    ``file`` is where it was read from, and its weights may lie beside that; without it they must be in the model.
    ``max_batch_size`` is 0 in it; ``batched`` decides.
    """
    import onnx

    if file is None and any(is_elsewhere(tensor) for tensor in tensors(model)):
        raise InvalidInput(
            "keeps its weights in another file", key="model", next_step="Give the path of the model's file instead."
        )
    weights = {tensor.name for tensor in model.graph.initializer}
    interface = Interface(
        inputs=tuple(_spec(value) for value in model.graph.input if value.name not in weights),
        outputs=tuple(_spec(value) for value in model.graph.output),
    )
    if not interface.inputs or not interface.outputs:
        raise InvalidInput("has no inputs or no outputs", key="model")
    try:
        onnx.checker.check_model(str(file) if file else model)
    except onnx.checker.ValidationError as error:
        raise InvalidInput(f"is not a valid ONNX model: {error}", key="model") from error
    return interface


def numpy_dtype(spec: TensorSpec) -> np.dtype[Any]:
    """Return the numpy type of a tensor's elements: text for BYTES, FP32 for BF16, which NumPy lacks."""
    import numpy as np

    match spec.datatype:
        case "BYTES":
            return np.dtype("str")
        case "BOOL":
            return np.dtype("bool")
        case "BF16":
            return np.dtype("float32")
        case number:
            return np.dtype(number.replace("FP", "float").lower())


def batched(interface: Interface, max_batch_size: int | None) -> Interface:
    """Return the interface with batches of at most ``max_batch_size``.

    None is 64 where the first dimension of each tensor is free, and 0 elsewhere. Raises InvalidInput where the graph
    has no such dimension and batches are asked for.
    """
    if max_batch_size is not None and not 0 <= max_batch_size <= 65536:
        raise InvalidInput("must be from 0 to 65536", key="max_batch_size")
    fixed = interface.without_batch_dimension()
    if max_batch_size is None:
        return replace(interface, max_batch_size=0 if fixed else DEFAULT_BATCH)
    if max_batch_size and fixed:
        raise InvalidInput(
            f"has the shape {list(fixed.shape)}, so requests cannot be put together along its first dimension",
            key=f"model: {fixed.name}",
            next_step="Export it with a dynamic first dimension, or give max_batch_size=0: then each request is "
            "answered by itself.",
        )
    return replace(interface, max_batch_size=max_batch_size)


def config_text(
    interface: Interface,
    *,
    instances: int | None = None,
    max_queue_delay_microseconds: int | None = None,
    backend: str = "onnxruntime",
) -> str:
    """Return config.pbtxt without name and version policy."""
    parts = [f'backend: "{backend}"', f"max_batch_size: {interface.max_batch_size}"]
    parts += [_config_entry("input", interface, spec) for spec in interface.inputs]
    parts += [_config_entry("output", interface, spec) for spec in interface.outputs]
    if instances is not None:
        if not 1 <= instances <= 64:
            raise InvalidInput("must be from 1 to 64", key="instances")
        parts.append(f"instance_group [ {{ kind: KIND_AUTO, count: {instances} }} ]")
    if max_queue_delay_microseconds is not None:
        if not interface.max_batch_size:
            raise InvalidInput(
                "puts requests together, and this model has no batches (max_batch_size is 0)",
                key="max_queue_delay_microseconds",
            )
        if not 0 <= max_queue_delay_microseconds <= 10_000_000:
            raise InvalidInput("must be from 0 to 10000000", key="max_queue_delay_microseconds")
        parts.append(f"dynamic_batching {{ max_queue_delay_microseconds: {max_queue_delay_microseconds} }}")
    return "\n".join(parts) + "\n"


def _config_entry(field: str, interface: Interface, spec: TensorSpec) -> str:
    datatype = "TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}"
    dims = ", ".join(str(size) for size in interface.dims(spec))
    reshape = ", reshape { shape: [ ] }" if interface.is_reshaped(spec) else ""
    # Of a name that can be printed, JSON's text is also protobuf's.
    name = json.dumps(spec.name, ensure_ascii=False)
    return f"{field} [ {{ name: {name}, data_type: {datatype}, dims: [ {dims} ]{reshape} }} ]"


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    import onnx

    key = f"model: {value.name}"
    datatypes: dict[int, str] = {
        onnx.TensorProto.BOOL: "BOOL",
        onnx.TensorProto.UINT8: "UINT8",
        onnx.TensorProto.UINT16: "UINT16",
        onnx.TensorProto.UINT32: "UINT32",
        onnx.TensorProto.UINT64: "UINT64",
        onnx.TensorProto.INT8: "INT8",
        onnx.TensorProto.INT16: "INT16",
        onnx.TensorProto.INT32: "INT32",
        onnx.TensorProto.INT64: "INT64",
        onnx.TensorProto.FLOAT16: "FP16",
        onnx.TensorProto.FLOAT: "FP32",
        onnx.TensorProto.DOUBLE: "FP64",
        onnx.TensorProto.STRING: "BYTES",
    }
    if not value.name.isprintable() or not 1 <= len(value.name) <= MAX_NAME:
        raise InvalidInput(
            f"is not a valid tensor name: 1 to {MAX_NAME} characters that can be printed",
            key=f"model: {value.name!r:.80}",
        )
    if not value.type.HasField("tensor_type"):
        form = (value.type.WhichOneof("value") or "nothing").removesuffix("_type").replace("_", " ")
        raise InvalidInput(
            f"is a {form}, and Triton serves tensors only",
            key=key,
            next_step="End the graph with tensors: ConcatFromSequence makes one of a sequence; of a map, take the "
            "tensor that it is made of.",
        )
    tensor = value.type.tensor_type
    if tensor.elem_type not in datatypes:
        kinds = {number: name for name, number in onnx.TensorProto.DataType.items()}
        kind = kinds.get(tensor.elem_type, "of an unknown type")
        raise InvalidInput(
            f"is {kind}, which the onnxruntime backend of Triton does not serve",
            key=key,
            next_step="Cast it at the end of the graph to a datatype that Triton has, such as FP32.",
        )
    if not tensor.HasField("shape"):
        raise InvalidInput(
            "has no shape",
            key=key,
            next_step="Declare its dimensions, by onnx.shape_inference or by hand; sizes may be free.",
        )
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim)
    return TensorSpec(
        name=value.name,
        datatype=datatypes[tensor.elem_type],
        shape=tuple(size if size > 0 else -1 for size in shape),
    )
