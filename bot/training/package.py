"""Turn a trained model into a package: config.pbtxt, smoke.json, model.onnx, package.json.

Nothing of it depends on time or place, so the same model with the same samples is the same digest everywhere.
The package holds what the *training framework* answered. Whether Triton answers the same is left to the checks of
the pull request, which ask a real one: comparing here with another runtime would prove nothing about the server.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.domain.contents import look_at
from bot.domain.model_config import config_problems
from bot.domain.package import CONFIG_FILE, MAX_SMOKE_BYTES, PACKAGE_FILE, SMOKE_FILE, Package, PackageFile
from bot.domain.smoke import FLOATS, Scalar, SmokeCase, SmokeCases, Tensor, Tolerance, smoke_problems, text_or_bytes
from bot.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import ArrayLike

MODEL_FILE = "model.onnx"
"""The name under which both Triton's onnxruntime backend and MLflow look for the model."""

ONNX_OPSET = 18
"""What scikit-learn models are exported to: old enough for the onnxruntime of every Triton in use."""

MAX_SAMPLES = 256
"""Smoke cases are asked at each deployment: a few rows that matter, not a test set."""

DEFAULT_TOLERANCE = Tolerance()

_TENSOR_NAME = re.compile(r"[A-Za-z0-9_./:-]{1,200}")
_READ_BYTES = 1 << 20
_NOT_KEPT_BY_MLFLOW = frozenset("#%")
"""Characters of a file's name that MLflow 3.17 takes for parts of an address when it stores the file."""
_RULES = "docs/training.md says what a package may contain."


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


def build_package(
    model: onnx.ModelProto | Any,
    directory: Path,
    *,
    inputs: ArrayLike | Mapping[str, ArrayLike],
    answers: ArrayLike | Mapping[str, ArrayLike],
    tolerance: Tolerance = DEFAULT_TOLERANCE,
    max_batch_size: int = 64,
    instances: int | None = None,
    max_queue_delay_microseconds: int | None = None,
) -> Package:
    """Write the package of ``model`` into ``directory``, which must be new or empty, and return it.

    ``model`` is an ONNX model whose first dimension is the batch, or a fitted scikit-learn estimator. ``inputs`` has
    sample rows by input name, ``answers`` the training framework's outputs for them by output name. For a single
    input or output a plain array will do. Arrays have the shape ``[rows, …]``, with 1 to 256 rows. An answer
    ``[rows]`` stands for ``[rows, 1]``. Inputs must be exact in the model's datatype, because the framework's answers
    would otherwise be answers to other inputs. Float answers may be rounded to the datatype. ``tolerance`` is the
    allowed difference between a served float and its answer. An output without an answer is not checked.

    Each row becomes a smoke case, and all rows together, up to ``max_batch_size`` (1 to 65536 rows), one more.
    ``instances`` is the number of copies of the model on each Triton, 1 to 64. ``max_queue_delay_microseconds`` (0 to
    10,000,000) turns on dynamic batching; a request may wait that long for others.

    Raises InvalidInput that names the argument and the tensor.
    """
    if not _is_onnx(model):
        model = to_onnx(model, inputs)
    interface = interface_of(model)
    config = config_text(
        interface,
        max_batch_size=max_batch_size,
        instances=instances,
        max_queue_delay_microseconds=max_queue_delay_microseconds,
    )
    cases = SmokeCases(
        cases=tuple(_cases(interface, inputs=inputs, answers=answers, max_batch_size=max_batch_size)),
        tolerance=tolerance,
    )
    if problems := smoke_problems(cases):
        raise InvalidInput("; ".join(problems), key=SMOKE_FILE, next_step=_RULES)
    smoke = cases.to_json()
    if len(smoke) > MAX_SMOKE_BYTES:
        raise InvalidInput(
            f"make a {SMOKE_FILE} of {len(smoke)} bytes, more than {MAX_SMOKE_BYTES}",
            key="inputs and answers",
            next_step="Give fewer rows, or smaller ones.",
        )
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise InvalidInput("is not empty", file=str(directory), next_step="Give a new directory for each package.")
    directory.joinpath(CONFIG_FILE).write_text(config)
    directory.joinpath(SMOKE_FILE).write_text(smoke)
    directory.joinpath(MODEL_FILE).write_bytes(model.SerializeToString(deterministic=True))
    package = Package.of(hash_file(directory, name) for name in (CONFIG_FILE, SMOKE_FILE, MODEL_FILE))
    directory.joinpath(PACKAGE_FILE).write_text(package.to_json())
    return package


def read_package(directory: Path) -> Package:
    """Return the package that lies in ``directory``.

    Raises InvalidInput where its files are not those it lists, or where no environment would take them: a
    configuration that says what it may not, or a file that is not what it is called.
    """
    path = directory / PACKAGE_FILE
    try:
        package = Package.from_json(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", file=str(path)) from error
    except ValueError as error:
        raise InvalidInput(str(error), file=str(path)) from error
    if renamed := [file.path for file in package.files if set(file.path) & _NOT_KEPT_BY_MLFLOW]:
        raise InvalidInput(
            f"MLflow stores {renamed[0]!r} under another name: it cuts a name at # and decodes what follows a %",
            file=str(path),
            next_step="Rename the file, and list it under its new name.",
        )
    found = {str(p.relative_to(directory)) for p in directory.rglob("*") if not p.is_dir()} - {PACKAGE_FILE}
    listed = {file.path for file in package.files}
    if found != listed:
        raise InvalidInput(f"lists other files than there are: {', '.join(sorted(found ^ listed))}", file=str(path))
    look = look_at(package)
    for file in package.files:
        seen, where = look(file), str(directory / file.path)
        if hash_file(directory, file.path, feed=seen.feed) != file:
            raise InvalidInput("is not what package.json lists", file=where)
        if file in package.version_files and (problem := seen.problem()):
            raise InvalidInput(problem, file=where, next_step=_RULES)
    if said := package.too_large():
        raise InvalidInput(said, file=str(path), next_step=_RULES)
    _check_config(directory / CONFIG_FILE, package)
    _check_smoke(directory / SMOKE_FILE)
    return package


def _check_config(path: Path, package: Package) -> None:
    from bot.systems.triton.config import parse_config

    try:
        config = parse_config(path.read_text())
    except ValueError as error:
        raise InvalidInput(str(error), file=str(path)) from error
    if problems := config_problems(config.values, files=[file.path for file in package.version_files]):
        raise InvalidInput("; ".join(problems[:10]), file=str(path), next_step=_RULES)


def _check_smoke(path: Path) -> None:
    try:
        problems = smoke_problems(SmokeCases.from_json(path.read_bytes()))
    except ValueError as error:
        raise InvalidInput(str(error), file=str(path)) from error
    if problems:
        raise InvalidInput("; ".join(problems), file=str(path), next_step=_RULES)


def hash_file(directory: Path, path: str, *, feed: Callable[[bytes], object] = lambda _: None) -> PackageFile:
    """Return the entry of ``directory/path``: its size and sha256. ``feed`` is given the bytes as they pass."""
    sha256, size = hashlib.sha256(), 0
    with directory.joinpath(path).open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            sha256.update(block)
            size += len(block)
            feed(block)
    return PackageFile(path=path, size=size, sha256=sha256.hexdigest())


def to_onnx(estimator: Any, inputs: ArrayLike | Mapping[str, ArrayLike]) -> onnx.ModelProto:
    """Convert ``estimator``, a fitted scikit-learn one, to ONNX and return the model.

    ``inputs`` are rows of the shape ``[rows, features]``; they give the width and the datatype of the model's one
    input ``X``. A classifier has the outputs ``label`` [N] and ``probabilities`` [N, classes], a regressor
    ``variable`` [N, 1]. Raises InvalidInput for inputs by another name.
    """
    import numpy as np
    from skl2onnx import to_onnx as convert
    from sklearn.base import is_classifier

    if isinstance(inputs, Mapping):
        if set(inputs) != {"X"}:
            raise InvalidInput("a scikit-learn estimator has the one input X", key="inputs")
        inputs = inputs["X"]
    converted: onnx.ModelProto = convert(
        estimator,
        np.asarray(inputs)[:1],
        name=type(estimator).__name__,  # a random one otherwise, and with it another digest each time
        options={"zipmap": False} if is_classifier(estimator) else None,
        target_opset=ONNX_OPSET,
    )
    return converted


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


def _is_onnx(model: object) -> bool:
    import onnx

    return isinstance(model, onnx.ModelProto)


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


def _cases(
    interface: Interface,
    *,
    inputs: ArrayLike | Mapping[str, ArrayLike],
    answers: ArrayLike | Mapping[str, ArrayLike],
    max_batch_size: int,
) -> Iterator[SmokeCase]:
    asked = _arrays(interface.inputs, inputs, key="inputs", exact=True)
    expected = _arrays(interface.outputs, answers, key="answers", exact=False)
    if missing := [spec.name for spec in interface.inputs if spec not in asked]:
        raise InvalidInput(f"lacks {', '.join(missing)}", key="inputs")
    if not expected:
        raise InvalidInput("is empty", key="answers")
    rows = {len(array) for array in (*asked.values(), *expected.values())}
    if len(rows) > 1:
        raise InvalidInput(f"have different numbers of rows: {sorted(rows)}", key="inputs and answers")
    count = rows.pop()
    if not 1 <= count <= MAX_SAMPLES:
        raise InvalidInput(f"have {count} rows instead of 1 to {MAX_SAMPLES}", key="inputs and answers")

    def case(name: str, chosen: slice) -> SmokeCase:
        return SmokeCase(
            name=name,
            inputs=tuple(_tensor(spec, array[chosen]) for spec, array in asked.items()),
            outputs=tuple(_tensor(spec, array[chosen]) for spec, array in expected.items()),
        )

    yield from (case(f"row-{row}", slice(row, row + 1)) for row in range(count))
    if (batch := min(count, max_batch_size)) > 1:
        yield case(f"batch-of-{batch}", slice(0, batch))


def _arrays(
    specs: tuple[TensorSpec, ...], given: ArrayLike | Mapping[str, ArrayLike], *, key: str, exact: bool
) -> dict[TensorSpec, np.ndarray[Any, Any]]:
    """Return the arrays in the order of ``specs``, each in its tensor's datatype and ``[rows, *dims]``."""
    if not isinstance(given, Mapping):
        if len(specs) != 1:
            raise InvalidInput(f"must be named: {', '.join(spec.name for spec in specs)}", key=key)
        given = {specs[0].name: given}
    if unknown := sorted(set(given) - {spec.name for spec in specs}):
        raise InvalidInput(f"the model has no {', '.join(unknown)}", key=key)
    return {
        spec: _array(spec, given[spec.name], key=f"{key}: {spec.name}", exact=exact)
        for spec in specs
        if spec.name in given
    }


def _array(spec: TensorSpec, values: ArrayLike, *, key: str, exact: bool) -> np.ndarray[Any, Any]:
    import numpy as np

    array = np.asarray(values)
    if array.ndim == 1 and spec.dims == (1,):
        array = array.reshape(-1, 1)
    row = array.shape[1:]
    if (
        array.ndim == 0
        or len(row) != len(spec.dims)
        or any(w not in (-1, h) for w, h in zip(spec.dims, row, strict=True))
    ):
        raise InvalidInput(f"has the shape {list(array.shape)} instead of {[-1, *spec.dims]}", key=key)
    if spec.datatype == "BYTES":
        # NumPy's own type for bytes drops zeros at the end of an element.
        if array.dtype.kind == "S" or not all(isinstance(value, str | bytes) for value in array.flat):
            raise InvalidInput(
                "has values that are neither text nor bytes",
                key=key,
                next_step="Give bytes as an array of dtype=object.",
            )
        return array.astype(object)
    dtype = numpy_dtype(spec)
    if not np.can_cast(array.dtype, dtype, casting="same_kind"):
        raise InvalidInput(f"has the type {array.dtype}, the model's is {spec.datatype}", key=key)
    cast = array.astype(dtype)
    rounded = not np.array_equal(cast, array, equal_nan=dtype.kind == "f" and array.dtype.kind == "f")
    if rounded and (exact or spec.datatype not in FLOATS):
        raise InvalidInput(
            f"has values that {spec.datatype} cannot hold",
            key=key,
            next_step=f"Ask the training framework about the values as {spec.datatype}, and give those.",
        )
    return cast


def _tensor(spec: TensorSpec, array: np.ndarray[Any, Any]) -> Tensor:
    elements: list[Scalar] = array.ravel().tolist()
    data = tuple(text_or_bytes(value) if isinstance(value, bytes) else value for value in elements)
    return Tensor(name=spec.name, datatype=spec.datatype, shape=array.shape, data=data)
