"""The inputs and outputs of a model, as its graph and Triton know them, and the configuration that says so."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    import onnx

_TENSOR_NAME = re.compile(r"[A-Za-z0-9_./:-]{1,200}")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a model, as both sides know it.

    ``datatype`` is that of the Open Inference Protocol, ``dims`` the shape of one row, -1 where any size will do.
    ``scalar`` tells that the graph's own tensor is ``[N]``: Triton has no rows without dimensions, so clients see
    ``[N, 1]`` and Triton reshapes.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]
    scalar: bool = False


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs of a model, in the order of its graph."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def interface_of(model: onnx.ModelProto) -> Interface:
    """Return the inputs and outputs of an ONNX model; raise InvalidInput for one that cannot be served in batches."""
    import onnx

    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise InvalidInput("keeps its weights in another file", key="model", next_step="Load it with its weights.")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise InvalidInput(f"is not a valid ONNX model: {error}", key="model") from error
    weights = {tensor.name for tensor in model.graph.initializer}
    interface = Interface(
        inputs=tuple(_spec(value) for value in model.graph.input if value.name not in weights),
        outputs=tuple(_spec(value) for value in model.graph.output),
    )
    if not interface.inputs or not interface.outputs:
        raise InvalidInput("has no inputs or no outputs", key="model")
    return interface


def numpy_dtype(spec: TensorSpec) -> np.dtype[Any]:
    """Return the numpy type of a tensor's elements: text for BYTES."""
    import numpy as np

    match spec.datatype:
        case "BYTES":
            return np.dtype("str")
        case "BOOL":
            return np.dtype("bool")
        case number:
            return np.dtype(number.replace("FP", "float").lower())


def config_text(
    interface: Interface, *, max_batch_size: int, instances: int | None, max_queue_delay_microseconds: int | None
) -> str:
    """Return config.pbtxt without name and version policy."""
    if not 1 <= max_batch_size <= 65536:
        raise InvalidInput("must be from 1 to 65536", key="max_batch_size")
    parts = ['backend: "onnxruntime"', f"max_batch_size: {max_batch_size}"]
    parts += [_config_entry("input", spec) for spec in interface.inputs]
    parts += [_config_entry("output", spec) for spec in interface.outputs]
    if instances is not None:
        if not 1 <= instances <= 64:
            raise InvalidInput("must be from 1 to 64", key="instances")
        parts.append(f"instance_group [ {{ kind: KIND_AUTO, count: {instances} }} ]")
    if max_queue_delay_microseconds is not None:
        if not 0 <= max_queue_delay_microseconds <= 10_000_000:
            raise InvalidInput("must be from 0 to 10000000", key="max_queue_delay_microseconds")
        parts.append(f"dynamic_batching {{ max_queue_delay_microseconds: {max_queue_delay_microseconds} }}")
    return "\n".join(parts) + "\n"


def _config_entry(field: str, spec: TensorSpec) -> str:
    datatype = "TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}"
    dims = ", ".join(str(size) for size in spec.dims)
    # The graph's own shape is [N]; clients get [N, 1], since Triton allows no empty dims.
    reshape = ", reshape { shape: [ ] }" if spec.scalar else ""
    return f"{field} [ {{ name: {json.dumps(spec.name)}, data_type: {datatype}, dims: [ {dims} ]{reshape} }} ]"


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
    tensor = value.type.tensor_type
    if not _TENSOR_NAME.fullmatch(value.name):
        raise InvalidInput("is not a valid tensor name: letters, digits and _ . / : -", key=key)
    if tensor.elem_type == onnx.TensorProto.BFLOAT16:
        raise InvalidInput(
            "is BF16, of which NumPy has no arrays, so no samples can be given",
            key=key,
            next_step="Cast the inputs and outputs of the graph to FP16 or FP32; the weights may stay BF16.",
        )
    if tensor.elem_type not in datatypes:
        raise InvalidInput(
            "is not a tensor of a datatype that Triton serves",
            key=key,
            next_step="A classifier of scikit-learn is exported with the option zipmap=False.",
        )
    if not tensor.HasField("shape") or not tensor.shape.dim:
        raise InvalidInput("has no shape with a batch dimension", key=key)
    batch, *rest = (dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim)
    if batch > 0:
        raise InvalidInput(
            f"has the fixed batch size {batch}", key=key, next_step="Export it with a dynamic first dimension."
        )
    dims = tuple(size if size > 0 else -1 for size in rest)
    return TensorSpec(name=value.name, datatype=datatypes[tensor.elem_type], dims=dims or (1,), scalar=not dims)
