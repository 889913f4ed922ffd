"""``backend: "onnxruntime"`` for a Triton that was built with the Python backend only.

The sandbox's Triton is the real server, but of the backends it carries nothing except Python's. Triton lets a
backend be written in Python: this file at ``backends/onnxruntime/model.py`` is one. It answers as the native
onnxruntime backend does, so a package needs no change to run on a stock Triton.

It runs inside Triton's Python stub, in an environment of its own: nothing of ``bot`` can be imported here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton

DEFAULT_MODEL_FILE = "model.onnx"


@dataclass(frozen=True)
class Declared:
    """An input or output as ``config.pbtxt`` declares it.

    ``shape`` is what the ONNX graph has: ``reshape`` where it is given, else ``dims``, with the batch dimension in
    front where there is one; -1 is a size that each request chooses. Triton itself translates between the two, so
    here only the graph's side is seen.
    """

    name: str
    dtype: Any
    shape: tuple[int, ...]

    @classmethod
    def from_config(cls, entry: Mapping[str, Any], *, batched: bool) -> Declared:
        """Read one entry of ``input`` or ``output`` of Triton's configuration as JSON."""
        sizes = entry["reshape"].get("shape", ()) if "reshape" in entry else entry["dims"]
        shape = (*((-1,) if batched else ()), *(int(size) for size in sizes))
        return cls(entry["name"], triton.triton_string_to_numpy(entry["data_type"]), shape)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError when a tensor of this shape is not what was declared."""
        same = len(shape) == len(self.shape) and all(
            want in (-1, have) for have, want in zip(shape, self.shape, strict=True)
        )
        if not same:
            raise ValueError(f"{self.name!r} has shape {list(shape)}, config.pbtxt says {list(self.shape)}")


class TritonPythonModel:
    """One loaded version of a model; the name and the methods are what Triton's Python backend looks for."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the model file; whatever is wrong with it fails the load, with a message that says what."""
        config = json.loads(args["model_config"])
        batched = int(config.get("max_batch_size", 0)) > 0
        self.name = f"{args['model_name']} version {args['model_version']}"
        self.inputs = [Declared.from_config(entry, batched=batched) for entry in config["input"]]
        self.outputs = [Declared.from_config(entry, batched=batched) for entry in config["output"]]
        file = config.get("default_model_filename") or DEFAULT_MODEL_FILE
        self.session = _open(Path(args["model_repository"]) / args["model_version"] / file)
        self._check_names("input", self.inputs, [node.name for node in self.session.get_inputs()])
        self._check_names("output", self.outputs, [node.name for node in self.session.get_outputs()])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer each request; one that fails gets its error and spoils no other."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            feed = {declared.name: _input(request, declared) for declared in self.inputs}
            wanted = set(request.requested_output_names())
            outputs = [declared for declared in self.outputs if declared.name in wanted]
            values = self.session.run([declared.name for declared in outputs], feed)
            return triton.InferenceResponse(
                [_output(declared, value) for declared, value in zip(outputs, values, strict=True)]
            )
        except Exception as error:  # noqa: BLE001 - raised here it would fail every other request of the batch
            return triton.InferenceResponse([], triton.TritonError(f"{self.name}: {error}"))

    def _check_names(self, kind: str, declared: Sequence[Declared], present: Sequence[str]) -> None:
        unknown = sorted({entry.name for entry in declared} - set(present))
        missing = sorted(set(present) - {entry.name for entry in declared}) if kind == "input" else []
        if unknown or missing:
            raise triton.TritonModelException(
                f"{self.name}: config.pbtxt declares {kind}s {[entry.name for entry in declared]}, "
                f"the ONNX graph has {list(present)}"
            )


def _open(path: Path) -> Any:
    if not path.is_file():
        raise triton.TritonModelException(f"{path} is missing")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # several models share few cores, and small ones gain nothing from more
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise triton.TritonModelException(f"{path} cannot be opened: {error}") from error


def _input(request: Any, declared: Declared) -> Any:
    tensor = triton.get_input_tensor_by_name(request, declared.name)
    if tensor is None:
        raise ValueError(f"input {declared.name!r} is missing")
    value = tensor.as_numpy()
    declared.check_shape(value.shape)
    if value.dtype == np.object_:  # strings come as bytes, onnxruntime takes str
        return np.array([_text(item) for item in value.reshape(-1)], dtype=object).reshape(value.shape)
    return value


def _output(declared: Declared, value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        raise TypeError(
            f"{declared.name!r} is a {type(value).__name__}, not a tensor; export the model without ZipMap"
        )
    declared.check_shape(value.shape)
    if value.dtype != declared.dtype:
        raise TypeError(f"{declared.name!r} is {value.dtype}, config.pbtxt says {np.dtype(declared.dtype)}")
    return triton.Tensor(declared.name, value)


def _text(item: Any) -> str:
    return item.decode() if isinstance(item, bytes) else str(item)
