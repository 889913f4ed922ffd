"""Make a package of a version that MLflow has already, and register it as a new version.

MLflow keeps a model in the form of its framework, with a signature and, where the training job gave one, an example
of its inputs. The framework loads it, a converter makes ONNX of it, and the framework answers the example. Without
an example, which autologging does not keep, rows are made of the signature.

To load a model runs code that its file holds: scikit-learn's files are pickles, for one. Adopt what you would run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bot.domain.names import check_registered_name
from bot.domain.nearest import did_you_mean
from bot.domain.package import DIGEST_TAG, PACKAGE_FILE
from bot.errors import InvalidInput
from bot.training.converters.converted import NotConverted, first_words
from bot.training.flavors import (
    FLAVORS,
    PYFUNC,
    install,
    load,
    module_and_tokens,
    what_a_pyfunc_needs,
    what_is_missing,
)
from bot.training.interface import interface_of
from bot.training.package import DEFAULT_SMOKE_BYTES, DEFAULT_TOLERANCE, build_package
from bot.training.pyfunc import Asked, Pyfunc, PythonEnvironment, package_pyfunc
from bot.training.registration import (
    KEY_TAG,
    Training,
    all_pages,
    check_mlflow,
    mlflow_errors,
    register_training,
    signature_for_mlflow,
    versions_of,
)
from bot.training.samples import MAX_SAMPLES
from bot.training.signature_rows import rows_of_signature

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import Model, ModelSignature

    from bot.domain.package import Package
    from bot.domain.smoke import Tolerance

ADOPTED_TAG = "promobot.adopted_from"
"""The tag of a version that names the one of which it was made."""

Verdict = Literal[
    "adopted", "ready", "has a package", "needs samples", "needs a converter", "needs an environment", "cannot"
]
"""
adopted               registered as a new version, with a package
ready                 would be adopted
has a package         nothing to do; it can be proposed
needs samples         no example of its inputs is known
needs a converter     nothing here makes ONNX of it
needs an environment  it is Python code, and nobody said in which environment of Python it runs
cannot                another reason, which is told
"""
Rows = Literal["", "given", "its example", "made of its signature"]
"""Where the rows come from that a model was asked about."""


@dataclass(frozen=True)
class Adoption:
    """The end of adopting ``version`` of ``model``, which has the ``flavor`` of MLflow, with its ``verdict``.

    ``why`` and ``next_step`` say what is missing, if something is. ``rows`` says what it was asked about: rows that
    are made of its signature prove the conversion, and say nothing of what users send. ``registered`` is the new
    version, under ``serving_name``, and ``digest`` its package's; they are None and empty if none was registered.
    """

    model: str
    version: int
    verdict: Verdict
    flavor: str = ""
    why: str = ""
    next_step: str = ""
    rows: Rows = ""
    registered: int | None = None
    serving_name: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Adoptions:
    """The end of each version."""

    versions: Sequence[Adoption]


class NotAdopted(InvalidInput):
    """A version cannot be adopted as it is: ``message`` says why, ``verdict`` which kind of reason it is.

    ``next_step`` is what to do about it.
    """

    def __init__(self, message: str, *, verdict: Verdict, next_step: str) -> None:
        super().__init__(message, next_step=next_step)
        self.verdict = verdict


def adopt(
    model: str,
    version: int,
    *,
    samples: Any = None,
    serving_name: str | None = None,
    python_environment: PythonEnvironment | None = None,
    max_smoke_bytes: int | None = None,
    tracking_uri: str | None = None,
    dry_run: bool = False,
) -> Adoption:
    """Register ``version`` of ``model``, which MLflow has, once more with a package, and return what became of it.

    ``samples``, ``python_environment``, ``max_smoke_bytes`` and ``tracking_uri`` are as for ``package_from_mlflow``.
    ``serving_name`` (default: ``model``) is the registered model that gets the new version. The metrics of the
    version's run are the new version's, too. The tag ``promobot.adopted_from`` names the old version. A second call
    with the same samples returns the version that the first one registered. With ``dry_run`` everything is done but
    the registration.

    Raises Unavailable or Rejected if MLflow fails.
    """
    flavor = ""
    with tempfile.TemporaryDirectory(prefix="promobot-") as temporary:
        directory = Path(temporary, "package")
        try:
            _check_name(serving_name or model)
            found = _look(model, version, Path(temporary, "model"), tracking_uri)
            flavor = found.flavor
            if found.has_package:
                return Adoption(model, version, "has a package", flavor)
            how = _How(samples, python_environment, max_smoke_bytes)
            package, rows = _package(found, directory, how)
        except InvalidInput as error:
            return _not_adopted(model, version, flavor, error)
        if dry_run:
            return Adoption(model, version, "ready", flavor, rows=rows, digest=package.digest)
        training = Training(
            model=serving_name or model,
            metrics=found.metrics,
            experiment=serving_name or model,
            key=_key(
                found,
                serving_name or model,
                package,
                given=samples is not None or python_environment is not None,
                tracking_uri=tracking_uri,
            ),
            tags={ADOPTED_TAG: found.uri},
        )
        registered = register_training(directory, training, tracking_uri=tracking_uri)
    return Adoption(
        model,
        version,
        "adopted",
        flavor,
        rows=rows,
        registered=registered.version,
        serving_name=registered.model,
        digest=registered.digest or package.digest,
    )


def _key(found: _Found, target: str, package: Package, *, given: bool, tracking_uri: str | None) -> str:
    """Return the key to register under: a version is adopted once, and once more for each samples that are given.

    Else rows that somebody gives after rows that were made up would be passed over.
    """
    if given:
        return f"adopted from {found.uri} with {package.digest}"
    from mlflow import MlflowClient

    with mlflow_errors():
        there = [
            one
            for one in versions_of(MlflowClient(tracking_uri=tracking_uri), target)
            if one.tags.get(ADOPTED_TAG) == found.uri and KEY_TAG in one.tags
        ]
    newest = max(there, key=lambda one: int(one.version), default=None)
    return newest.tags[KEY_TAG] if newest else f"adopted from {found.uri}"


def adopt_all(*, tracking_uri: str | None = None, dry_run: bool = False) -> Iterator[Adoption]:
    """Adopt the newest version of each registered model, in the order of their names; yield each as it ends.

    ``tracking_uri`` and ``dry_run`` are as for ``adopt``. Raises Unavailable or Rejected if MLflow fails.
    """
    check_mlflow(tracking_uri)
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri)
    for name in _models(client):
        with mlflow_errors():
            newest = max(versions_of(client, name), key=lambda one: int(one.version), default=None)
        if newest is None:
            continue
        number = int(newest.version)
        if DIGEST_TAG in newest.tags:  # of a large registry most is adopted: that is known without its files
            yield Adoption(name, number, "has a package")
        else:
            yield adopt(name, number, tracking_uri=tracking_uri, dry_run=dry_run)


def package_from_mlflow(
    model: str,
    version: int,
    directory: Path,
    *,
    samples: Any = None,
    tolerance: Tolerance = DEFAULT_TOLERANCE,
    python_environment: PythonEnvironment | None = None,
    max_smoke_bytes: int | None = None,
    tracking_uri: str | None = None,
) -> Package:
    """Write the package of ``version`` of ``model`` into ``directory``, which must be new or empty; return it.

    The version was logged by MLflow's module for scikit-learn, XGBoost, LightGBM, CatBoost, PyTorch, transformers,
    TensorFlow or ONNX. ``samples`` are rows as ``build_package`` takes them for ``inputs``; at most 256 are used. The
    default is the version's input example, or rows that are made of its signature. ``tolerance`` and
    ``max_smoke_bytes`` are as for ``build_package`` (None: its default), ``tracking_uri`` as for ``register``.

    With ``python_environment`` the version becomes a package for Triton's Python backend, which loads its flavor
    ``python_function`` as MLflow does. It is the path of an archive, ``.tar.gz``, of the environment of Python in
    which the model runs, or ``"triton"`` where Triton's own Python has MLflow and all that the model needs.

    Raises NotAdopted, which is an InvalidInput, where something is missing: its message says what, its ``next_step``
    has the lines that add it. Raises Unavailable or Rejected if MLflow fails.
    """
    with tempfile.TemporaryDirectory(prefix="promobot-") as temporary:
        found = _look(model, version, Path(temporary, "model"), tracking_uri)
        how = _How(samples, python_environment, max_smoke_bytes, tolerance)
        package, _ = _package(found, directory, how)
        return package


@dataclass(frozen=True)
class _How:
    """How a version becomes a package; the parts are as for :func:`package_from_mlflow`."""

    samples: Any
    python_environment: PythonEnvironment | None
    max_smoke_bytes: int | None
    tolerance: Tolerance = DEFAULT_TOLERANCE

    @property
    def most_bytes(self) -> int:
        """How large all golden cases may be together."""
        return DEFAULT_SMOKE_BYTES if self.max_smoke_bytes is None else self.max_smoke_bytes


@dataclass(frozen=True)
class _Found:
    """A version as MLflow has it, downloaded to ``directory``; ``data`` is where the flavor keeps its model there."""

    uri: str
    directory: Path
    flavor: str
    data: str
    flavors: tuple[str, ...]
    described: Model
    example: Any
    metrics: Mapping[str, float]
    has_package: bool


def _look(model: str, version: int, directory: Path, tracking_uri: str | None) -> _Found:
    check_mlflow(tracking_uri)
    from mlflow import MlflowClient, artifacts
    from mlflow.models import Model

    uri = f"models:/{model}/{version}"
    client = MlflowClient(tracking_uri=tracking_uri)
    directory.mkdir(parents=True)
    with mlflow_errors():
        there = _registered(client, model, version)
        metrics = client.get_run(there.run_id).data.metrics if there.run_id else {}
        artifacts.download_artifacts(
            uri, dst_path=str(directory), tracking_uri=tracking_uri, registry_uri=tracking_uri
        )
    if not directory.joinpath("MLmodel").is_file():
        raise NotAdopted(
            f"{uri} has no file MLmodel: it was not logged as a model of MLflow",
            verdict="cannot",
            next_step="Log it with mlflow.<flavor>.log_model, or build a package and register that.",
        )
    described: Model = Model.load(str(directory))
    flavors = tuple(described.flavors)
    flavor = next((flavor for flavor in FLAVORS if flavor in flavors), flavors[0] if flavors else "")
    return _Found(
        uri=uri,
        directory=directory,
        flavor=flavor,
        data=str(described.flavors.get(flavor, {}).get("data", "")),
        flavors=flavors,
        described=described,
        example=_example(described, directory),
        metrics={name: value for name, value in metrics.items() if abs(value) < float("inf")},
        has_package=directory.joinpath(PACKAGE_FILE).is_file(),
    )


def _registered(client: MlflowClient, model: str, version: int) -> ModelVersion:
    """Return the version; raise NotAdopted with those that there are, or with the name that comes closest."""
    from mlflow.exceptions import MlflowException

    try:
        there: ModelVersion = client.get_model_version(model, str(version))
        return there
    except MlflowException as error:
        if error.get_http_status_code() != 404:  # type: ignore[no-untyped-call]
            raise
        newest = max((int(one.version) for one in versions_of(client, model)), default=None)
        raise NotAdopted(
            f"MLflow has no version {version} of {model}" if newest else f"MLflow has no model {model}",
            verdict="cannot",
            next_step=f"Its newest version is {newest}."
            if newest
            else did_you_mean(model, _models(client)).strip() or "See its names with: promobot adopt --all --dry-run",
        ) from error


def _example(described: Model, directory: Path) -> Any:
    return described.load_input_example(str(directory)) if described.saved_input_example_info else None


def _package(found: _Found, directory: Path, how: _How) -> tuple[Package, Rows]:
    """Write the package, and return it with where its rows come from."""
    is_pyfunc = how.python_environment is not None and PYFUNC in found.flavors
    if not is_pyfunc and found.flavors == (PYFUNC,):
        what, step = what_a_pyfunc_needs(found.uri)
        raise NotAdopted(f"{found.uri} is {what}", verdict="needs an environment", next_step=step)
    if not is_pyfunc and found.flavor not in FLAVORS:
        what, step = what_is_missing(found.flavors)
        raise NotAdopted(f"{found.uri} is {what}", verdict="needs a converter", next_step=step)
    given, source = _rows_of(found, how.samples)
    # ONNX is taken by its path: weights beside it may be larger than memory.
    by_path = found.flavor == "onnx" and not is_pyfunc
    model: Any = (
        Path(found.directory, found.data) if by_path else _loaded(found, PYFUNC if is_pyfunc else found.flavor)
    )
    if given is None:
        given, source = rows_of_signature(_signature(found, model), model), "made of its signature"
    if given is None:
        raise NotAdopted(
            f"{found.uri} has no example of its inputs, and no signature that says enough, so nobody knows what to "
            "ask it",
            verdict="needs samples",
            next_step=f"Give some with --samples FILE, or log the model with them: mlflow.{found.flavor}.log_model("
            "model, name='model', input_example=rows[:8])",
        )
    try:
        rows, answers = given, None
        if how.python_environment is not None and is_pyfunc:
            described = Pyfunc(found.directory, model, how.python_environment)
            asked = Asked(given, how.tolerance, how.most_bytes)
            return package_pyfunc(described, directory, asked), source
        if found.flavor == "onnx":
            rows, answers = _asked(model, given)
        elif found.flavor == "transformers":
            model, rows = module_and_tokens(model, given)
        package = build_package(
            model,
            directory,
            inputs=rows,
            answers=answers,
            tolerance=how.tolerance,
            max_smoke_bytes=how.most_bytes,
        )
        return package, source
    except InvalidInput as error:
        made_up = source == "made of its signature" and not isinstance(error, NotConverted)
        verdict: Verdict = "needs a converter" if isinstance(error, NotConverted) else "cannot"
        raise NotAdopted(
            f"{found.uri}: {error}" + (" (the rows were made of its signature)" if made_up else ""),
            verdict="needs samples" if made_up else verdict,
            next_step="Give real rows with --samples FILE." if made_up else error.next_step,
        ) from error


def _signature(found: _Found, model: Any) -> ModelSignature | None:
    """Return what the version takes: of ONNX, which MLflow logs without a signature, as its graph has it."""
    known: ModelSignature | None = found.described.signature
    if known is not None or found.flavor != "onnx":
        return known
    import onnx

    interface = interface_of(onnx.load(model, load_external_data=False), file=model)
    return signature_for_mlflow(interface.inputs, interface.outputs)


def _rows_of(found: _Found, samples: Any) -> tuple[Any, Rows]:
    rows, source = (found.example, "its example") if samples is None else (samples, "given")
    return (rows[:MAX_SAMPLES] if hasattr(rows, "shape") or hasattr(rows, "iloc") else rows), source  # type: ignore[return-value]


def _loaded(found: _Found, flavor: str) -> Any:
    """Return the model as its framework has it, or as MLflow does."""
    try:
        return load(flavor, found.directory)
    except ModuleNotFoundError as error:
        raise NotAdopted(
            f"{found.uri} needs {error.name}, which is not installed here",
            verdict="cannot",
            next_step=install(flavor) or "Install what the file requirements.txt beside the model names.",
        ) from error
    except Exception as error:  # unpickling runs whatever the file holds, and may raise whatever that raises
        raise NotAdopted(
            f"{found.uri} cannot be loaded here: {first_words(error)}",
            verdict="cannot",
            next_step="Install what the file requirements.txt beside the model names, in these versions.",
        ) from error


def _asked(file: Path, rows: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return rows by input name, and what onnxruntime answers to them: for ONNX it is the framework."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    if isinstance(rows, Mapping):
        given = {name: np.asarray(values) for name, values in rows.items()}
    elif hasattr(rows, "iloc") and {one.name for one in inputs} == set(rows.columns):
        given = {name: rows[[name]].to_numpy() for name in rows.columns}
    else:
        given = {inputs[0].name: rows.to_numpy() if hasattr(rows, "iloc") else np.asarray(rows)}
    wide = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
    cast = {
        one.name: given[one.name].astype(wide[one.type]) if one.type in wide else given[one.name]
        for one in inputs
        if one.name in given
    }
    names = [output.name for output in session.get_outputs()]
    return cast, dict(zip(names, session.run(names, cast), strict=True))


def _check_name(name: str) -> None:
    try:
        check_registered_name(name)
    except ValueError as error:
        raise NotAdopted(str(error), verdict="cannot", next_step="Give it another name: --as NAME.") from error


def _not_adopted(model: str, version: int, flavor: str, error: InvalidInput) -> Adoption:
    verdict: Verdict = error.verdict if isinstance(error, NotAdopted) else "cannot"
    return Adoption(model, version, verdict, flavor, why=str(error), next_step=error.next_step)


def _models(client: MlflowClient) -> list[str]:
    with mlflow_errors():
        found = all_pages(lambda token: client.search_registered_models(max_results=100, page_token=token))
        return sorted(one.name for one in found)
