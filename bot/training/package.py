"""Turn a trained model into a package: config.pbtxt, smoke.json, model.onnx, package.json.

Nothing of it depends on time or place, so the same model with the same samples is the same digest everywhere.
The package holds what the *training framework* answered. Whether Triton answers the same is left to the checks of
the pull request, which ask a real one: comparing here with another runtime would prove nothing about the server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from bot.domain.binary import encode
from bot.domain.contents import look_at
from bot.domain.model_config import config_problems
from bot.domain.package import (
    CONFIG_FILE,
    MAX_SMOKE_BYTES,
    MAX_TENSORS_BYTES,
    PACKAGE_FILE,
    SMOKE_FILE,
    TENSORS_FILE,
    Package,
    PackageFile,
)
from bot.domain.packed import Packed
from bot.domain.smoke import Beside, SmokeCases, Tensor, Tolerance, smoke_problems
from bot.errors import InvalidInput, Rejected
from bot.training.converters import convert
from bot.training.converters.edges import carried, declared_as_answered
from bot.training.interface import batched, config_text, interface_of
from bot.training.onnx_file import MAX_GRAPH_BYTES, read_onnx
from bot.training.samples import as_arrays, cases_of

if TYPE_CHECKING:
    import onnx
    import pandas as pd
    from numpy.typing import ArrayLike

MODEL_FILE = "model.onnx"
"""The name under which both Triton's onnxruntime backend and MLflow look for the model."""

DEFAULT_TOLERANCE = Tolerance()
DEFAULT_SMOKE_BYTES = 64 * 2**20
MAX_BYTES = 16 * 2**30
"""The default of ``packages.max_bytes`` of an environment."""

_READ_BYTES = 1 << 20
_NOT_KEPT_BY_MLFLOW = frozenset("#%")
"""Characters of a file's name that MLflow 3.17 takes for parts of an address when it stores the file."""
_RULES = "docs/how-to/training.md says what a package may contain."


def build_package(
    model: onnx.ModelProto | Path | str | Any,
    directory: Path,
    *,
    inputs: ArrayLike | Mapping[str, ArrayLike] | pd.DataFrame,
    answers: ArrayLike | Mapping[str, ArrayLike] | None = None,
    tolerance: Tolerance = DEFAULT_TOLERANCE,
    max_batch_size: int | None = None,
    max_smoke_bytes: int = DEFAULT_SMOKE_BYTES,
    instances: int | None = None,
    max_queue_delay_microseconds: int | None = None,
    max_bytes: int = MAX_BYTES,
) -> Package:
    """Write the package of ``model`` into ``directory``, which must be new or empty, and return it.

    ``model`` is an ONNX model, or the path of its file, or a fitted model of scikit-learn, XGBoost, LightGBM,
    CatBoost or PyTorch, or a pipeline of them, which is converted. Of a pyfunc that MLflow loaded, the model of the
    framework in it is taken. Weights in other files beside an ONNX file are copied, and never held in memory; all
    together may have ``max_bytes``. ``inputs`` has sample rows by input name, ``answers`` the training framework's
    outputs for them by output name. For a single input or output a plain array will do; a DataFrame, or columns by
    name, makes each column an input of a pipeline that chooses columns. Arrays have the shape ``[rows, …]``, with 1
    to 256 rows. An answer ``[rows]`` stands for ``[rows, 1]``. Rows of different shapes come as a list.

    ``max_batch_size`` (0 to 65536) is how many rows Triton puts together. The default is 64 where the first dimension
    of every tensor is free, and 0 elsewhere: of a fixed batch, of an input or output without a batch. With 0 a sample
    is a whole request: arrays have the model's own shape, or ``[requests, …]``. Give 0 as well where a request has
    other outputs than rows, as a detector has.

    Without ``answers`` a model that is converted is asked itself, about the rows as the graph takes them: numbers
    are rounded to FP32 where the graph has no FP64. With ``answers`` the inputs must be exact in the model's
    datatype, because the framework's answers would otherwise be answers to other inputs. Float answers may be rounded
    to the datatype. ``tolerance`` is the allowed difference between a served float and its answer. An output without
    an answer is not checked.

    Each row becomes a smoke case, and all rows together, up to ``max_batch_size``, one more. Where the cases are
    larger than 1 MiB, it has no more rows than fit into 16 MiB, but two. All cases together may have
    ``max_smoke_bytes``, which may be up to 1 GiB: every deployment sends them to every Triton and gateway.
    ``instances`` is the number of copies of the model on each Triton, 1 to 64. ``max_queue_delay_microseconds`` (0 to
    10,000,000) turns on dynamic batching; a request may wait that long for others.

    Raises InvalidInput that names the argument and the tensor.
    """
    given = _given(model, inputs, answers, max_bytes=max_bytes)
    check_smoke_bytes(max_smoke_bytes)
    graph = _as_served(given.graph, given.inputs, given.answers, batches=max_batch_size != 0)
    interface = batched(interface_of(graph, file=given.path), max_batch_size)
    config = config_text(interface, instances=instances, max_queue_delay_microseconds=max_queue_delay_microseconds)
    cases = cases_of(interface, inputs=given.inputs, answers=given.answers, max_bytes=max_smoke_bytes)
    golden = golden_files(SmokeCases(cases=tuple(cases), tolerance=tolerance))
    serialized = _serialized(graph)
    make_directory(directory)
    directory.joinpath(CONFIG_FILE).write_text(config, encoding="utf-8")
    of_cases = write_golden(directory, golden)
    directory.joinpath(MODEL_FILE).write_bytes(serialized)
    weights = [_copied(path, directory, name) for name, path in given.weights.items()]
    names = (CONFIG_FILE, *of_cases, MODEL_FILE)
    package = Package.of([*(hash_file(directory, name) for name in names), *weights])
    directory.joinpath(PACKAGE_FILE).write_text(package.to_json())
    return package


def check_smoke_bytes(max_smoke_bytes: int) -> None:
    """Raise InvalidInput for a limit of golden cases that no package may have."""
    if not 1 <= max_smoke_bytes <= MAX_TENSORS_BYTES:
        raise InvalidInput(f"must be from 1 to {MAX_TENSORS_BYTES}", key="max_smoke_bytes")


def make_directory(directory: Path) -> None:
    """Make the directory of a new package; raise InvalidInput where there is something in it."""
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise InvalidInput("is not empty", file=str(directory), next_step="Give a new directory for each package.")


@dataclass(frozen=True)
class _Given:
    """A graph with sample ``inputs`` and their ``answers``; of a file, its ``path`` and those of its weights."""

    graph: onnx.ModelProto
    inputs: Any
    answers: Any
    path: Path | None = None
    weights: Mapping[str, Path] = field(default_factory=dict)


def _given(model: Any, inputs: Any, answers: Any, *, max_bytes: int) -> _Given:
    """Read or convert what is given. A model that is converted answers by itself where no answers are given."""
    if isinstance(model, str | Path):
        file = read_onnx(Path(model), max_bytes=max_bytes)
        given = _Given(file.model, inputs, answers, file.path, file.weights)
    elif _is_onnx(model):
        given = _Given(model, inputs, answers)
    else:
        converted = convert(model, inputs)
        if answers is None:
            return _Given(converted.model, converted.inputs, converted.ask())
        return _Given(converted.model, converted.given, answers)
    if answers is None:
        raise InvalidInput(
            "are missing: ONNX does not say what its training framework answers",
            key="answers",
            next_step="Ask the model before it is exported, and give what it says.",
        )
    return given


def golden_files(cases: SmokeCases) -> tuple[str, list[Tensor]]:
    """Return the text of ``smoke.json`` and the tensors that lie beside it; raise InvalidInput for bad cases."""
    if problems := smoke_problems(cases):
        raise InvalidInput("; ".join(problems), key=SMOKE_FILE, next_step=_RULES)
    smoke, beside = cases.files()
    if len(smoke) > MAX_SMOKE_BYTES:
        raise InvalidInput(
            f"make a {SMOKE_FILE} of {len(smoke)} bytes, more than {MAX_SMOKE_BYTES}",
            key="inputs and answers",
            next_step="Give fewer rows, or smaller ones.",
        )
    return smoke, beside


def write_golden(directory: Path, files: tuple[str, Sequence[Tensor]]) -> tuple[str, ...]:
    """Write what ``golden_files`` returned into a package; return the names of the files."""
    smoke, beside = files
    directory.joinpath(SMOKE_FILE).write_text(smoke)
    if not beside:
        return (SMOKE_FILE,)
    with directory.joinpath(TENSORS_FILE).open("xb") as tensors:
        tensors.writelines(map(encode, beside))
    return SMOKE_FILE, TENSORS_FILE


def _serialized(model: onnx.ModelProto) -> bytes:
    from google.protobuf.message import EncodeError

    try:
        written: bytes = model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise InvalidInput(
            f"is longer than the {MAX_GRAPH_BYTES} bytes that ONNX may have in one file",
            key="model",
            next_step="Save it with save_as_external_data=True, and give the path of the file.",
        ) from error
    return written


def _copied(source: Path, directory: Path, name: str) -> PackageFile:
    """Copy a file into the package block by block, and return its entry."""
    with directory.joinpath(name).open("wb") as target:
        copied = hash_file(source.parent, source.name, feed=target.write)
    return PackageFile(path=name, size=copied.size, sha256=copied.sha256)


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
    _check_smoke(directory)
    return package


def _check_config(path: Path, package: Package) -> None:
    from bot.systems.triton.config import parse_config

    try:
        config = parse_config(path.read_text())
    except ValueError as error:
        raise InvalidInput(str(error), file=str(path)) from error
    files = [file.path for file in package.version_files]
    # Which bundle it is a part of, only an environment knows.
    if problems := config_problems(config.values, files=files, parts=None):
        raise InvalidInput("; ".join(problems[:10]), file=str(path), next_step=_RULES)


def read_cases(directory: Path) -> SmokeCases:
    """Return the smoke cases of the package in ``directory``; raise ValueError that says what is wrong with them."""
    tensors, beside = directory / TENSORS_FILE, None
    if tensors.is_file():

        def read(begin: int, size: int) -> bytes:
            with tensors.open("rb") as file:
                file.seek(begin)
                return file.read(size)

        beside = Beside(tensors.stat().st_size, read, str(directory))
    return SmokeCases.from_json(directory.joinpath(SMOKE_FILE).read_bytes(), beside)


def _check_smoke(directory: Path) -> None:
    path = directory / SMOKE_FILE
    try:
        smoke = read_cases(directory)
        problems = smoke_problems(smoke)
        for tensor in (tensor for case in smoke.cases for tensor in case.tensors):
            if isinstance(tensor.data, Packed):
                tensor.data.raw()  # is compared when it is read
    except ValueError as error:
        raise InvalidInput(str(error), file=str(path)) from error
    except Rejected as error:
        raise InvalidInput(error.said, file=str(path)) from error
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


def to_onnx(estimator: Any, inputs: ArrayLike | Mapping[str, ArrayLike] | pd.DataFrame) -> onnx.ModelProto:
    """Convert ``estimator`` to ONNX, and return the graph.

    It is a fitted model of scikit-learn, XGBoost, LightGBM, CatBoost or PyTorch. ``inputs`` are sample rows: an array
    of the shape ``[rows, features]`` for the one input ``X``, or a DataFrame. Its columns are inputs ``[rows, 1]`` if
    a pipeline chooses them by name, and ``X`` side by side otherwise. They give the names, widths and datatypes. A
    classifier has the outputs ``label`` [N] and ``probabilities`` [N, classes], a regressor ``variable`` [N, 1].

    Raises InvalidInput where the model cannot be converted.
    """
    return convert(estimator, inputs).model


def _as_served(model: onnx.ModelProto, inputs: Any, answers: Any, *, batches: bool) -> onnx.ModelProto:
    """Return the graph with inputs and outputs that Triton can carry, declared as the samples show them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    shapes = [value.type.tensor_type.shape for value in model.graph.input if value.name not in weights]
    rows = None
    if batches and all(shape.dim and not shape.dim[0].dim_value for shape in shapes):
        rows = next((shape[0] for shape in _shapes(inputs, ["the one input"]).values() if shape), None)
    shapes_of_answers = _shapes(answers, [output.name for output in model.graph.output])
    return carried(declared_as_answered(model, rows, shapes_of_answers))


def _shapes(given: Any, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array by name; of samples of different shapes, their number."""
    by_name = given if isinstance(given, Mapping) else {names[0]: given} if len(names) == 1 else {}
    arrays = {name: as_arrays(values) for name, values in by_name.items()}
    return {name: (len(array),) if isinstance(array, list) else array.shape for name, array in arrays.items()}


def _is_onnx(model: object) -> TypeGuard[onnx.ModelProto]:
    import onnx

    return isinstance(model, onnx.ModelProto)
