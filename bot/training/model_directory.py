"""Make a package of a Triton model directory: ``config.pbtxt``, numbered folders of versions, any backend.

    churn/
      config.pbtxt        optional where Triton completes it
      labels.txt          optional
      1/  model.onnx, model.pt, model.plan, model.savedmodel/, model.py …
      2/  …

The configuration is completed as Triton does, so that the package says all of it. The golden answers come from people
or from a Triton that serves the model today; nothing here runs the model.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from bot.domain.model_config import MODEL_DIRECTORY, config_problems, python_environment
from bot.domain.package import CONFIG_FILE, MAX_TENSORS_BYTES, PACKAGE_FILE, Package, check_path
from bot.domain.signature import Signature, TensorSpec
from bot.domain.smoke import FLOATS, SmokeCase, SmokeCases, Tolerance, tensor_from_json
from bot.errors import InvalidInput
from bot.training.interface import Interface, batched, config_text, interface_of, numpy_dtype
from bot.training.package import DEFAULT_TOLERANCE, golden_files, hash_file, read_package, write_golden
from bot.training.samples import as_arrays, cases_of, read_samples

if TYPE_CHECKING:
    from bot.domain.signature import ModelConfig
    from bot.systems.triton.server import TritonServer

TRITONS_BATCH = 4
"""The ``max_batch_size`` with which Triton completes a configuration that has none."""
BACKENDS = {
    "model.savedmodel": ("tensorflow", "tensorflow_savedmodel"),
    "model.graphdef": ("tensorflow", "tensorflow_graphdef"),
    "model.plan": ("tensorrt", ""),
    "model.onnx": ("onnxruntime", ""),
    "model.xml": ("openvino", ""),
    "model.pt": ("pytorch", ""),
    "model.py": ("python", ""),
}
"""Backend and platform by the name of the model's file, in the order in which Triton looks."""
_VERSION = re.compile(r"[1-9][0-9]*")
_REQUEST_SECONDS = 60.0
_RULES = "docs/how-to/training.md says what a package may contain."


@dataclass(frozen=True)
class Packaged:
    """The package that was made of ``version`` of ``model``, a Triton model directory.

    ``completed`` are the fields of the configuration that the directory left to Triton, ``left_out`` the files of the
    directory that are not in the package. ``cases`` is the number of golden cases, ``answered_by`` who gave their
    answers. ``registered`` is the version of ``serving_name`` in MLflow, or None.
    """

    model: str
    version: int
    backend: str
    digest: str
    files: int
    cases: int
    answered_by: str
    completed: Sequence[str] = ()
    left_out: Sequence[str] = ()
    directory: str = ""
    serving_name: str = ""
    registered: int | None = None


def package_directory(
    source: Path,
    target: Path,
    *,
    samples: str,
    answers: str = "",
    ask: str = "",
    ask_model: str = "",
    version: int | None = None,
    tolerance: Tolerance = DEFAULT_TOLERANCE,
) -> Packaged:
    """Write the package of ``version`` (default: the newest) of the model directory ``source`` into ``target``.

    ``samples`` and ``answers`` are files: arrays as ``read_samples`` reads them, or ``.json`` with one request or a
    list of them, as the Open Inference Protocol writes requests and answers. Without ``answers`` the Triton at
    ``ask``, ``HOST:PORT`` of its gRPC, is asked, which serves this version of ``ask_model`` (default: the directory's
    name).

    Raises InvalidInput for a directory that cannot be packaged, and Unavailable or Rejected if that Triton fails.
    """
    if bool(answers) == bool(ask):
        raise InvalidInput(
            "golden answers come from one place: a file, or a Triton that serves this model today",
            key="answers",
            next_step="Give --answers FILE or --ask HOST:PORT.",
        )
    found = _Directory.read(source, version)
    if target.exists() and any(target.iterdir()):
        raise InvalidInput("is not empty", file=str(target), next_step="Give a new directory for each package.")
    with _asking(ask) as triton:
        running = "" if triton is None else triton.configuration(ask_model or found.name, found.version)
        text, completed = found.configuration(running)
        config = _parsed(text, found.directory / CONFIG_FILE)
        if problems := _problems(config, running, files=[path for path, _ in found.files]):
            raise InvalidInput("; ".join(problems[:10]), file=str(found.directory / CONFIG_FILE), next_step=_RULES)
        cases = list(_cases(config, samples, answers))
        if triton is not None:
            name = ask_model or found.name
            specs = config.signature.outputs or triton.signature(name, found.version).outputs
            outputs = [spec.name for spec in specs]
            cases = [
                replace(case, outputs=tuple(triton.infer(name, found.version, case.inputs, outputs=outputs)))
                for case in cases
            ]
    package = _written(target, text, SmokeCases(tuple(cases), tolerance), found)
    return Packaged(
        model=found.name,
        version=found.version,
        backend=config.backend,
        digest=package.digest,
        files=len(package.version_files),
        cases=len(cases),
        answered_by=f"Triton at {ask}" if ask else answers,
        completed=completed,
        left_out=found.left_out,
        directory=str(target),
    )


def _written(target: Path, config: str, cases: SmokeCases, found: _Directory) -> Package:
    """Write the package, and return it as it is read again; what turns out to be none is removed."""
    golden = golden_files(cases)
    target.mkdir(parents=True, exist_ok=True)
    target.joinpath(CONFIG_FILE).write_text(config, encoding="utf-8")
    of_cases = write_golden(target, golden)
    for path, file in found.files:
        target.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target / path, follow_symlinks=False)
    names = [CONFIG_FILE, *of_cases, *(path for path, _ in found.files)]
    target.joinpath(PACKAGE_FILE).write_text(Package.of(hash_file(target, name) for name in names).to_json())
    try:
        return read_package(target)
    except InvalidInput:
        shutil.rmtree(target)  # nobody registers by mistake what is not a package
        raise


@dataclass(frozen=True)
class _Directory:
    """One version of a model directory: its files by their paths in the package, and what is left out."""

    directory: Path
    name: str
    version: int
    files: Sequence[tuple[str, Path]]
    left_out: Sequence[str]

    @classmethod
    def read(cls, directory: Path, version: int | None) -> _Directory:
        """Read what lies there; raise InvalidInput for what cannot be in a package."""
        if not directory.is_dir():
            raise InvalidInput("is not a directory", file=str(directory))
        name = directory.resolve().name
        folders = [one for one in directory.iterdir() if one.is_dir() and _VERSION.fullmatch(one.name)]
        versions = sorted(int(one.name) for one in folders)
        if not versions or (version is not None and version not in versions):
            there = ", ".join(map(str, versions)) or "none"
            raise InvalidInput(
                f"has no version {version}" if version else "has no folder of a version",
                file=str(directory),
                next_step=f"Versions are folders whose names are numbers; there: {there}.",
            )
        chosen = version or versions[-1]
        if (directory / str(chosen)).is_symlink():
            raise InvalidInput(
                "is a link", file=str(directory / str(chosen)), next_step="Copy the directory with `cp -rL`."
            )
        left_out: list[str] = []
        files = dict(_files(directory / str(chosen), left_out))
        for beside in _beside(directory, chosen):
            path = _safe(beside, directory)
            if path in files:
                raise InvalidInput(
                    f"{path} lies there and in the folder of version {chosen}, and a package has one of that name",
                    file=str(directory),
                    next_step="Rename one of them.",
                )
            files[path] = _plain(directory, path)
        taken = {CONFIG_FILE, *map(str, versions), *(path.partition("/")[0] for path in _beside(directory, chosen))}
        left_out += sorted(one.name for one in directory.iterdir() if one.name not in taken)
        return cls(directory, name, chosen, sorted(files.items()), tuple(left_out))

    def configuration(self, running: str) -> tuple[str, list[str]]:
        """Return the configuration of the package, and the fields that were completed.

        ``running`` is the configuration of a Triton that serves the model; without one, the file of the model tells
        what it can.
        """
        from bot.systems.triton.config import completed_config

        known = running or self._known()
        return completed_config(_text(self.directory / CONFIG_FILE), known, version=self.version)

    def _known(self) -> str:
        """Return what the file of the model says of its configuration, as text of a configuration."""
        names = {path.partition("/")[0] for path, _ in self.files}
        backend, platform = next((BACKENDS[name] for name in BACKENDS if name in names), ("", ""))
        said = f'backend: "{backend}"\n' if backend else ""
        said += f'platform: "{platform}"\n' if platform else ""
        graph = dict(self.files).get("model.onnx")
        if backend != "onnxruntime" or graph is None:
            return said
        import onnx

        interface = interface_of(onnx.load(str(graph), load_external_data=False), file=graph)
        interface = batched(interface, 0 if interface.without_batch_dimension() else TRITONS_BATCH)
        return config_text(
            interface,
            instances=None,
            max_queue_delay_microseconds=0 if interface.max_batch_size else None,
        )


def _files(folder: Path, left_out: list[str]) -> Iterator[tuple[str, Path]]:
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder).as_posix()
        if any(part.startswith(".") or part == "__pycache__" for part in path.split("/")):
            if file.is_file():
                left_out.append(f"{folder.name}/{path}")
            continue
        if file.is_dir() and not file.is_symlink():
            continue
        yield _safe(path, folder), _plain(folder, path)


def _safe(path: str, folder: Path) -> str:
    try:
        return check_path(path)
    except ValueError as error:
        raise InvalidInput(str(error), file=str(folder), next_step="Rename the file.") from error


def _plain(folder: Path, path: str) -> Path:
    """Return the file at ``path`` below ``folder``; a link would lead to whatever the reader may read."""
    file = folder / path
    steps = [folder / parent for parent in PurePosixPath(path).parents if parent.parts]
    if linked := next((one for one in (*steps, file) if one.is_symlink()), None):
        raise InvalidInput("is a link", file=str(linked), next_step="Copy the directory with `cp -rL`.")
    if not file.is_file():
        raise InvalidInput("is not an ordinary file", file=str(file))
    return file


def _text(file: Path) -> str:
    if not file.exists() and not file.is_symlink():
        return ""
    try:
        return _plain(file.parent, file.name).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput("is not text in UTF-8", file=str(file)) from error


def _parsed(text: str, file: Path) -> ModelConfig:
    from bot.systems.triton.config import parse_config

    try:
        return parse_config(text)
    except ValueError as error:
        raise InvalidInput(str(error), file=str(file)) from error


def _beside(directory: Path, version: int) -> list[str]:
    """Return the files beside the folders of versions that the configuration names: labels, a Python environment."""
    values = _parsed(_text(directory / CONFIG_FILE), directory / CONFIG_FILE).values
    outputs = values.get("output", [])
    named = [str(one.get("label_filename", "")) for one in outputs] if isinstance(outputs, list) else []
    environment = python_environment(values) or ""
    if environment.startswith(MODEL_DIRECTORY):
        named.append(environment.removeprefix(MODEL_DIRECTORY))
    return sorted({name for name in named if name and not name.startswith(f"{version}/")})


def _problems(config: ModelConfig, running: str, *, files: Sequence[str]) -> list[str]:
    found = config_problems(config.values, files=files, parts=None)
    if running:
        found += [
            f"as Triton serves it: {said}"
            for said in config_problems({"model_transaction_policy": _policy(running)}, files=files)
        ]
    if not config.backend:
        found.append("backend: is missing, and no file of the version has a name that tells it, such as model.onnx")
    return found


def _policy(running: str) -> object:
    return _parsed(running, Path(CONFIG_FILE)).values.get("model_transaction_policy", {})


def _cases(config: ModelConfig, samples: str, answers: str) -> Iterator[SmokeCase]:
    """Yield the golden cases; without answers, the requests."""
    requests = _read(samples, "inputs")
    expected = _read(answers, "outputs") if answers else None
    if isinstance(requests, list):
        if expected is not None and (not isinstance(expected, list) or len(expected) != len(requests)):
            raise InvalidInput(
                f"has other answers than the {len(requests)} requests", file=answers, next_step="Give one for each."
            )
        for number, inputs in enumerate(requests):
            yield SmokeCase(f"request-{number}", inputs, tuple(expected[number]) if expected else ())
        return
    if isinstance(expected, list):
        raise InvalidInput("are answers to requests, and the samples are arrays", file=answers)
    interface = _interface(config.signature, config.max_batch_size)
    if not interface.inputs or not interface.outputs:
        raise InvalidInput(
            "declares no inputs and outputs, so nothing says what the columns are",
            file=CONFIG_FILE,
            next_step="Declare them, or give --ask HOST:PORT, or samples as .json with whole requests.",
        )
    given = _by_name(requests, interface, "inputs")
    if expected is None or _is_json(samples):
        specs = {spec.name: spec for spec in interface.inputs}
        given = {name: _rounded(specs[name], values) if name in specs else values for name, values in given.items()}
    inputs = tuple(spec for spec in interface.inputs if spec.name in given or not _is_optional(config, spec.name))
    if expected is not None:
        expected = _by_name(expected, replace(interface, inputs=interface.outputs), "answers")
    yield from cases_of(
        replace(interface, inputs=inputs), inputs=given, answers=expected, max_bytes=MAX_TENSORS_BYTES
    )


def _is_optional(config: ModelConfig, name: str) -> bool:
    inputs = config.values.get("input", [])
    return isinstance(inputs, list) and any(one.get("name") == name and one.get("optional") for one in inputs)


def _interface(signature: Signature, max_batch_size: int) -> Interface:
    return Interface(signature.inputs, signature.outputs, max_batch_size)


def _by_name(given: Any, interface: Interface, what: str) -> Mapping[str, Any]:
    """Return arrays by the name of the input; a table's columns are inputs of their own, or all of the one input."""
    names = [spec.name for spec in interface.inputs]
    if isinstance(given, Mapping):
        return given
    if hasattr(given, "columns") and set(map(str, given.columns)) <= set(names):
        return {str(name): given[[name]].to_numpy() for name in given.columns}
    if len(names) == 1:
        return {names[0]: given.to_numpy() if hasattr(given, "columns") else given}
    raise InvalidInput(f"must be named: {', '.join(names)}", key=what, next_step="Give an .npz, or .json.")


def _rounded(spec: TensorSpec, values: Any) -> Any:
    """Return numbers as a client of Triton sends them: JSON and tables have more digits than FP32."""
    array = as_arrays(values)
    if isinstance(array, list) or array.dtype.kind not in "iuf" or spec.datatype not in FLOATS - {"BF16"}:
        return values
    return array.astype(numpy_dtype(spec))


def _is_json(path: str) -> bool:
    return path.lower().endswith(".json")


def _read(path: str, part: str) -> Any:
    """Return the arrays of a file; of .json, the tensors of each request or answer, or arrays by name."""
    if not _is_json(path):
        return read_samples(path)
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        if isinstance(document, dict) and isinstance(document[part], dict):
            return document[part]  # as MLflow's plugin for Triton writes them
        listed = document if isinstance(document, list) else [document]
        return [tuple(tensor_from_json(_flat(tensor)) for tensor in one[part]) for one in listed]
    except (OSError, ValueError, LookupError, TypeError) as error:
        said = f"has no {part}" if isinstance(error, LookupError | TypeError) else str(error)
        raise InvalidInput(
            f"cannot be read: {said}",
            file=path,
            next_step=f'It is one object or a list of them: {{"{part}": [{{"name": …, "datatype": …, "shape": […], '
            '"data": […]}]}, or arrays by name: {{"{part}": {{"X": [[…]]}}}}.',
        ) from error


def _flat(tensor: Any) -> Any:
    def values(data: Any) -> Iterator[Any]:
        for one in data:
            if isinstance(one, list):
                yield from values(one)
            else:
                yield one

    if isinstance(tensor, dict) and isinstance(tensor.get("data"), list):
        kept = {key: value for key, value in tensor.items() if key in ("name", "datatype", "shape")}
        return {**kept, "data": list(values(tensor["data"]))}
    return tensor


class _asking:  # noqa: N801 - reads as a verb where it is used
    """Hold the Triton at ``HOST:PORT`` open for the length of a ``with`` block; None where none is named."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._server: TritonServer | None = None

    def __enter__(self) -> TritonServer | None:
        if not self._address:
            return None
        from pydantic import ValidationError

        from bot.settings import Triton
        from bot.systems.triton.server import TritonServer

        try:
            named = Triton(name="that-serves-it", grpc=self._address)
        except ValidationError as error:
            raise InvalidInput(f"is not HOST:PORT: {self._address!r:.80}", key="ask") from error
        self._server = TritonServer(named, request_seconds=_REQUEST_SECONDS)
        return self._server

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
