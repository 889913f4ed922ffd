"""Make a package of an MLflow pyfunc: Triton's Python backend runs it as MLflow loads it.

The program in the package is the bot's own. Inputs and outputs are those of the model's signature; where it has none,
of the rows that it is asked, and of its answers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bot.domain.model_config import MODEL_DIRECTORY, PYTHON_ENVIRONMENT
from bot.domain.package import CONFIG_FILE, PACKAGE_FILE, Package
from bot.domain.pyfunc import ENVIRONMENT_FILE, FOLDER, FORM_PARAMETER, MODEL_PY, PROGRAM
from bot.domain.signature import TensorSpec
from bot.domain.smoke import SmokeCases
from bot.errors import InvalidInput
from bot.training.converters.converted import NotAnswered, first_words
from bot.training.interface import Interface, batched, config_text, numpy_dtype
from bot.training.package import (
    check_smoke_bytes,
    golden_files,
    hash_file,
    make_directory,
    read_package,
    write_golden,
)
from bot.training.samples import as_arrays, cases_of

if TYPE_CHECKING:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Schema

    from bot.domain.smoke import Tolerance

OF_TRITON = "triton"
"""Stands for the environment of Triton's own Python."""
PythonEnvironment = Path | Literal["triton"]
"""An archive of an environment of Python, or ``"triton"`` where Triton's own Python has all that the model needs."""

_GZIP = b"\x1f\x8b"
_LEFT_OUT = ("registered_model_meta", "input_example.json", "serving_input_example.json")
"""What MLflow writes for itself, or as an example, and no model needs to be loaded."""
_DATATYPES = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
    "binary": "BYTES",
}
_STEP_OF_TYPES = (
    "Log it with a signature of numbers, text, and arrays of these: mlflow.pyfunc.log_model(…, "
    "signature=mlflow.models.infer_signature(rows, model.predict(rows)))."
)


@dataclass(frozen=True)
class Form:
    """In which form a pyfunc takes its inputs. The package's program reads it as JSON.

    ``table`` is a DataFrame with a column for each input, ``frame`` one without names, ``array`` an array, ``arrays``
    arrays by name. ``texts`` are the inputs of text, ``flat`` those that the model takes without a second dimension.
    """

    form: Literal["table", "frame", "array", "arrays"]
    inputs: tuple[TensorSpec, ...]
    texts: tuple[str, ...] = ()
    flat: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return it for the configuration."""
        names = [spec.name for spec in self.inputs]
        return json.dumps({"form": self.form, "inputs": names, "texts": self.texts, "flat": self.flat})

    def given(self, rows: Any) -> dict[str, np.ndarray[Any, Any]]:
        """Return rows as arrays by input, in the datatypes of the inputs where these can hold them."""
        names = [spec.name for spec in self.inputs]
        if hasattr(rows, "columns") and self.form == "table":
            if missing := [name for name in names if name not in rows.columns]:
                raise InvalidInput(f"lacks {', '.join(missing)}", key="inputs")
            rows = {name: rows[name].to_numpy() for name in names}
        elif hasattr(rows, "to_numpy"):
            rows = rows.to_numpy()
        if not isinstance(rows, Mapping):
            array = as_arrays(rows)
            if self.form == "table" and not isinstance(array, list) and array.ndim == 2:
                rows = dict(zip(names, array.T, strict=False))
            else:
                rows = {names[0]: array}
        if missing := [name for name in names if name not in rows]:
            raise InvalidInput(f"lacks {', '.join(missing)}", key="inputs")
        return {spec.name: _shaped(spec, rows[spec.name]) for spec in self.inputs}

    def as_taken(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
        """Return these arrays as the model takes them."""
        taken = {name: array.reshape(-1) if name in self.flat else array for name, array in arrays.items()}
        if self.form == "arrays":
            return taken
        first = next(iter(taken.values()))
        if self.form == "array":
            return first
        import pandas as pd

        if self.form == "table":
            return pd.DataFrame({name: array.reshape(-1) for name, array in taken.items()})
        return pd.DataFrame(first)


@dataclass(frozen=True)
class Pyfunc:
    """A pyfunc: the ``folder`` in which MLflow has it, the ``model`` as it is loaded, and where it is to run."""

    folder: Path
    model: Any
    environment: PythonEnvironment


@dataclass(frozen=True)
class Asked:
    """The ``rows`` that a model is asked, how far answers may differ, and how large all of it may be."""

    rows: Any
    tolerance: Tolerance
    max_bytes: int


def package_pyfunc(given: Pyfunc, directory: Path, asked: Asked) -> Package:
    """Write the package of a pyfunc into ``directory``, which must be new or empty, and return it.

    Raises InvalidInput for a signature that Triton's tensors cannot carry, for rows that the model does not answer,
    and for a file that cannot be in a package.
    """
    check_smoke_bytes(asked.max_bytes)
    archive = None if given.environment == OF_TRITON else _checked(Path(given.environment))
    model, rows = given.model, asked.rows
    signature = model.metadata.signature
    if signature is None or signature.inputs is None:
        signature = _inferred(rows, None)
    form = form_of(signature.inputs)
    arrays = form.given(rows)
    said = _answers(model, form.as_taken(arrays))
    outputs = signature.outputs or _inferred(rows, said).outputs
    if outputs is None:
        raise InvalidInput("answers nothing that a signature has", key="model", next_step=_STEP_OF_TYPES)
    specs = outputs_of(outputs)
    interface = batched(Interface(form.inputs, specs), None)
    cases = cases_of(interface, inputs=arrays, answers=_named(specs, said), max_bytes=asked.max_bytes)
    files = golden_files(SmokeCases(cases=tuple(cases), tolerance=asked.tolerance))
    make_directory(directory)
    directory.joinpath(CONFIG_FILE).write_text(_config(interface, form, archive is not None), encoding="utf-8")
    directory.joinpath(PROGRAM).write_text(MODEL_PY, encoding="utf-8")
    names = [CONFIG_FILE, *write_golden(directory, files), PROGRAM]
    if archive is not None:
        shutil.copyfile(archive, directory / ENVIRONMENT_FILE)
        names.append(ENVIRONMENT_FILE)
    names += _copied(given.folder, directory)
    try:
        package = Package.of(hash_file(directory, name) for name in names)
    except ValueError as error:
        raise InvalidInput(str(error), key="model", next_step="Log it with other names of its files.") from error
    directory.joinpath(PACKAGE_FILE).write_text(package.to_json())
    return read_package(directory)


def form_of(schema: Schema) -> Form:
    """Return how a model of this schema takes its inputs; raise InvalidInput for types that no tensor has."""
    if schema.is_tensor_spec():
        arrays = _arrays(schema, "X")
        specs = tuple(_of_array(name, spec) for name, spec in arrays)
        texts = tuple(spec.name for spec in specs if spec.datatype == "BYTES")
        flat = tuple(name for name, spec in arrays if tuple(spec.shape) == (-1,))
        return Form("arrays" if schema.has_input_names() else "array", specs, texts, flat)
    kinds = [_kind(column.name, column.type) for column in schema.inputs]
    if schema.has_input_names():
        columns = list(zip(map(str, schema.input_names()), kinds, strict=True))
        specs = tuple(TensorSpec(name, _DATATYPES[kind], (-1, 1)) for name, kind in columns)
        return Form("table", specs, tuple(name for name, kind in columns if kind == "string"))
    spec = _side_by_side("X", kinds)
    return Form("frame", (spec,), ("X",) if kinds[0] == "string" else ())


def outputs_of(schema: Schema) -> tuple[TensorSpec, ...]:
    """Return the tensors of what a model answers; raise InvalidInput for types that no tensor has."""
    if schema.is_tensor_spec():
        return tuple(_of_array(name, spec) for name, spec in _arrays(schema, "output"))
    kinds = [_kind(column.name, column.type) for column in schema.inputs]
    if schema.has_input_names():
        names = list(map(str, schema.input_names()))
        return tuple(TensorSpec(name, _DATATYPES[kind], (-1, 1)) for name, kind in zip(names, kinds, strict=True))
    return (_side_by_side("output", kinds),)


def _arrays(schema: Schema, unnamed: str) -> list[tuple[str, Any]]:
    """Return the arrays of a schema by name; one without a name gets ``unnamed``."""
    names = schema.input_names() if schema.has_input_names() else [unnamed]
    return [(str(name), spec) for name, spec in zip(names, schema.inputs, strict=True)]


def _side_by_side(name: str, kinds: Sequence[str]) -> TensorSpec:
    if len(set(kinds)) > 1:
        raise InvalidInput(
            f"has columns of {', '.join(sorted(set(kinds)))} without names, which are no one tensor",
            key="signature",
            next_step="Log it with a DataFrame, whose columns have names, as its input example.",
        )
    return TensorSpec(name, _DATATYPES[kinds[0]], (-1, len(kinds)))


def _kind(name: object, of: object) -> str:
    kind = str(getattr(of, "name", of))
    if kind not in _DATATYPES:
        raise InvalidInput(
            f"is of the type {kind}, which no tensor of Triton has",
            key=f"signature: {name or 'the one column'}",
            next_step=_STEP_OF_TYPES,
        )
    return kind


def _of_array(name: str, spec: Any) -> TensorSpec:
    """Return the tensor of an array; ``[N]`` is ``[N, 1]`` for clients."""
    kind = str(spec.type)
    if spec.type.kind in "USO":
        datatype = "BYTES"
    elif kind == "bool" or (spec.type.kind in "iuf" and spec.type.itemsize <= 8):
        datatype = "BOOL" if kind == "bool" else kind.replace("float", "FP").upper()
    else:
        raise InvalidInput(
            f"is of the type {kind}, which no tensor of Triton has",
            key=f"signature: {name}",
            next_step=_STEP_OF_TYPES,
        )
    shape = tuple(spec.shape)
    return TensorSpec(name, datatype, (-1, 1) if shape == (-1,) else shape or (1,))


def _inferred(rows: Any, said: Any) -> ModelSignature:
    from mlflow.exceptions import MlflowException
    from mlflow.models import infer_signature

    try:
        return infer_signature(rows, said)
    except (MlflowException, TypeError, ValueError) as error:
        raise InvalidInput(
            f"has no signature, and none can be made of these rows and answers: {first_words(error)}",
            key="model",
            next_step=_STEP_OF_TYPES,
        ) from error


def _shaped(spec: TensorSpec, values: Any) -> np.ndarray[Any, Any]:
    """Return values as the tensor has them: numbers are rounded to its datatype, and columns have two dimensions."""
    array: Any = as_arrays(values)
    if isinstance(array, list):
        raise InvalidInput(
            "has rows of different shapes, which one signature cannot have", key=f"inputs: {spec.name}"
        )
    dtype = numpy_dtype(spec)
    if (dtype.kind == "f" and array.dtype.kind in "iuf") or (dtype.kind in "iu" and array.dtype.kind in "iu"):
        array = array.astype(dtype)
    elif spec.datatype == "BYTES":
        array = array.astype(object)
    shaped: np.ndarray[Any, Any] = array.reshape(-1, 1) if array.ndim == 1 and spec.shape == (-1, 1) else array
    return shaped


def _answers(model: Any, rows: Any) -> Any:
    try:
        return model.predict(rows)
    except Exception as error:  # a model of anybody's raises whatever comes
        raise NotAnswered(
            f"the pyfunc does not answer these rows: {first_words(error)}",
            key="inputs",
            next_step="Give rows as its training had them, with --samples FILE.",
        ) from error


def _named(specs: Sequence[TensorSpec], said: Any) -> dict[str, Any]:
    """Return the answers by output, as the package's program takes them apart."""
    names = [spec.name for spec in specs]
    if not isinstance(said, Mapping) and len(names) > 1 and isinstance(said, list | tuple):
        said = dict(zip(names, said, strict=False))
    if not isinstance(said, Mapping) and len(names) == 1:
        said = {names[0]: said}
    try:
        parts = {name: said[name] for name in names}
    except (KeyError, IndexError, TypeError) as error:
        raise InvalidInput(
            f"does not answer {', '.join(names)}, which its signature has",
            key="model",
            next_step="Log it with the signature of what its predict returns.",
        ) from error
    return {spec.name: _answer(spec, parts[spec.name]) for spec in specs}


def _answer(spec: TensorSpec, part: Any) -> Any:
    import numpy as np

    array = np.asarray(part.to_numpy() if hasattr(part, "to_numpy") else part)
    if spec.datatype != "BYTES":
        return array.astype(numpy_dtype(spec), casting="same_kind") if array.dtype.kind != "O" else array
    texts = np.empty(array.size, dtype=object)
    texts[:] = [value if isinstance(value, bytes) else str(value) for value in array.ravel()]
    return texts.reshape(array.shape)


def _config(interface: Interface, form: Form, has_environment: bool) -> str:
    given = {FORM_PARAMETER: form.to_json()}
    if has_environment:
        given[PYTHON_ENVIRONMENT] = f"{MODEL_DIRECTORY}{ENVIRONMENT_FILE}"
    lines = [
        f"parameters {{ key: {json.dumps(key)} value {{ string_value: {json.dumps(value)} }} }}"
        for key, value in given.items()
    ]
    return "\n".join([config_text(interface, backend="python").rstrip("\n"), *lines, ""])


def _copied(source: Path, directory: Path) -> Iterator[str]:
    """Copy the files of the model; yield their paths in the package."""
    for file in sorted(source.rglob("*")):
        path = file.relative_to(source)
        if file.is_dir() or path.as_posix() in _LEFT_OUT or "__pycache__" in path.parts:
            continue
        target = directory / FOLDER / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        yield f"{FOLDER}/{path.as_posix()}"


def _checked(archive: Path) -> Path:
    try:
        with archive.open("rb") as file:
            is_gzip = file.read(len(_GZIP)) == _GZIP
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", file=str(archive)) from error
    if not is_gzip:
        raise InvalidInput(
            "is not a .tar.gz archive",
            file=str(archive),
            next_step="Pack an environment of Python with conda-pack or venv-pack.",
        )
    return archive
