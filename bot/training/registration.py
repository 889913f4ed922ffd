"""Log a package and its metrics to MLflow and register it as the next version of a model.

MLflow's own ``log_model(registered_model_name=…)`` drops every file outside a flavor, and the artifacts
of its LoggedModels lie where no run can be asked for them. So the flavor and the package are put together on disk,
logged as plain artifacts of the run, and the version is created with that place as its source: an arrangement that
every MLflow since 1.0 understands, and that ``mlflow.onnx`` and ``mlflow.pyfunc`` load like any other.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bot.domain.metrics import as_tags
from bot.domain.mlflow_address import why_unsupported
from bot.domain.names import check_registered_name, check_run_id, short
from bot.domain.package import CONFIG_FILE, DIGEST_TAG
from bot.domain.secret_text import Kind, cleaned
from bot.domain.signature import Signature, TensorSpec, differences
from bot.domain.smoke import signature_of
from bot.errors import InvalidInput, OutsideError, Refused, Rejected, Unavailable
from bot.systems.triton.config import parse_config
from bot.training.interface import Interface, interface_of, numpy_dtype
from bot.training.package import MODEL_FILE, read_cases, read_package

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature
    from mlflow.store.entities import PagedList
    from mlflow.types.schema import Schema

Found = TypeVar("Found")

KEY_TAG = "promobot.key"
STEPS_TAG = "promobot.steps"
COMMIT_TAG = "mlflow.source.git.commit"


@dataclass(frozen=True)
class Registration:
    """The ``version`` of ``model`` in MLflow, the id of its ``run``, and its package's ``digest`` (``sha256:…``).

    ``created`` is false if the key was known and its version was found.
    """

    model: str
    version: int
    run: str
    digest: str
    created: bool = True


def register(
    package: Path,
    *,
    model: str,
    metrics: Mapping[str, float],
    params: Mapping[str, object] | None = None,
    tracking_uri: str | None = None,
    experiment: str | None = None,
    run: str | None = None,
    key: str | None = None,
    commit: str | None = None,
) -> Registration:
    """Register the package in directory ``package`` as the next version of ``model`` and return it.

    The function uses the MLflow run with the id ``run``, or starts and ends one in ``experiment`` (default: the
    model's name). It logs ``params`` and ``metrics`` to the run. The version keeps ``metrics`` as well: the gate
    judges these numbers, whatever the run logs under the same names earlier or later. The function creates a missing
    registered model or experiment. ``tracking_uri`` is the address of MLflow (default: ``MLFLOW_TRACKING_URI``).
    ``commit`` is the Git commit of the training code (default: the commit that MLflow finds for the running script).

    ``key`` identifies a training, such as Airflow's run id. A second call with the same ``key`` returns the version
    that the first call registered and logs nothing, whatever the other arguments say.

    Raises InvalidInput for a bad package or a metric that is not a finite number, and Refused for a run that already
    stands for another package. Raises Unavailable or Rejected if MLflow fails. A run that was started here and could
    not be registered ends as FAILED.
    """
    training = Training(
        model=model,
        metrics=metrics,
        params=params or {},
        experiment=experiment or model,
        run=run,
        key=key,
        tags={} if commit is None else {COMMIT_TAG: commit},
    )
    return register_training(package, training, tracking_uri=tracking_uri)


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training, as its version tells of it; the parts are as for :func:`register`.

    ``experiment`` is where a run is started if ``run`` is None. ``tags`` go to that run and to the version.
    """

    model: str
    metrics: Mapping[str, float]
    params: Mapping[str, object] = field(default_factory=dict)
    experiment: str
    run: str | None = None
    key: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


def register_training(package: Path, training: Training, *, tracking_uri: str | None) -> Registration:
    """Register the package as the next version of the model, as :func:`register` does."""
    model, run, key = training.model, training.run, training.key
    try:
        check_registered_name(model)
        if run is not None:
            check_run_id(run)
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    measured = {name: _finite(name, value) for name, value in training.metrics.items()}
    told = {name: str(value) for name, value in training.params.items()}
    contents = read_package(package)

    check_mlflow(tracking_uri)
    from mlflow import MlflowClient

    with mlflow_errors():
        client = MlflowClient(tracking_uri=tracking_uri)
        if key is not None and (known := _registered_under(client, model, key)):
            return known
        if run is not None:
            _check_run_is_free(client, run, contents.digest)
        tags = {DIGEST_TAG: contents.digest, **({} if key is None else {KEY_TAG: key}), **training.tags}
        _ensure_registered_model(client, model)
        with _run(client, run, experiment=training.experiment, tags=tags) as used:
            run_id: str = used.info.run_id
            _log(client, run_id, metrics=measured, params=told, tags=tags)
            # Named for its contents: whatever an earlier try left in this run is neither overwritten nor mixed in.
            place = f"model-{short(contents.digest)}"
            _log_model(client, run_id, package, place)
            if found := used.data.tags.get(COMMIT_TAG):
                tags.setdefault(COMMIT_TAG, found)
            registered = client.create_model_version(
                model,
                source=f"{used.info.artifact_uri}/{place}",
                run_id=run_id,
                # Bound to the version: a run goes on logging, and the gate judges the metrics of this package.
                tags={**tags, **as_tags(measured)},
                await_creation_for=0,  # proposing waits for READY, and a training job need not
            )
        number = int(registered.version)
        if key is not None and (first := _registered_under(client, model, key)) and first.version != number:
            # Two tasks with one key ran at once. Version numbers only rise, so both see the same first one.
            client.delete_model_version(model, str(number))
            return first
    return Registration(model=model, version=number, run=run_id, digest=contents.digest)


def _log_model(client: MlflowClient, run_id: str, package: Path, place: str) -> None:
    with tempfile.TemporaryDirectory(prefix="promobot-") as temporary:
        _write_model(package, Path(temporary, place), run_id=run_id, artifact_path=place)
        client.log_artifacts(run_id, str(Path(temporary, place)), place)


def start_run(*, experiment: str, key: str, tracking_uri: str | None = None) -> str:
    """Return the id of the MLflow run through which the steps of one training pass results to one another.

    The run is in the experiment named ``experiment``, which is created if it is missing. ``tracking_uri`` is as for
    ``register``. ``key`` identifies the training, as in ``register``: a second call with the same ``key`` returns the
    same run. After a version was registered from that run, it returns a new one, because a run stands for one
    package. Pass the id to ``register`` as ``run``, and end the run with ``end_run``. Raises Unavailable or Rejected
    if MLflow fails.
    """
    check_mlflow(tracking_uri)
    from mlflow import MlflowClient
    from mlflow.tracking.context.registry import resolve_tags

    with mlflow_errors():
        client = MlflowClient(tracking_uri=tracking_uri)
        where = ensure_experiment(client, experiment)
        # Compared here: a key may contain what MLflow's filter language cannot quote.
        for run in all_pages(lambda token: client.search_runs([where], max_results=1000, page_token=token)):
            run_id: str = run.info.run_id
            if run.data.tags.get(STEPS_TAG) == key and not client.search_model_versions(f"run_id = '{run_id}'"):
                return run_id
        started: str = client.create_run(where, tags=resolve_tags({STEPS_TAG: key})).info.run_id
        return started


def end_run(run: str, *, tracking_uri: str | None = None) -> None:
    """End ``run``, an id from ``start_run``, as FINISHED; it may have ended already.

    ``tracking_uri`` is as for ``register``. Raises Unavailable or Rejected if MLflow fails.
    """
    check_mlflow(tracking_uri)
    from mlflow import MlflowClient

    with mlflow_errors():
        MlflowClient(tracking_uri=tracking_uri).set_terminated(run, "FINISHED")


def check_mlflow(tracking_uri: str | None) -> None:
    """Raise InvalidInput for an address or credentials with which MLflow's client would go wrong."""
    _check_credentials()
    _check_address(tracking_uri)


def _check_credentials() -> None:
    """Raise InvalidInput for a secret that MLflow's client would send with the line break behind it."""
    kinds: dict[str, Kind] = {"MLFLOW_TRACKING_TOKEN": "token", "MLFLOW_TRACKING_PASSWORD": "password"}
    for name, kind in kinds.items():
        if text := os.environ.get(name):
            try:
                problem = (
                    "" if cleaned(text, kind) == text else "has white space around it, which would be sent along"
                )
            except ValueError as error:
                problem = str(error)
            if problem:
                raise InvalidInput(problem, key=name, next_step=f"Set {name} again.")


def _check_address(tracking_uri: str | None) -> None:
    """Raise InvalidInput for an MLflow from which the bot could not deploy what is registered there."""
    named = {
        "tracking_uri": tracking_uri or "",
        "MLFLOW_TRACKING_URI": "" if tracking_uri else os.environ.get("MLFLOW_TRACKING_URI", ""),
        "MLFLOW_REGISTRY_URI": os.environ.get("MLFLOW_REGISTRY_URI", ""),
    }
    for key, uri in named.items():
        if why := why_unsupported(uri):
            raise InvalidInput(f"this MLflow is not supported: {why}", key=key)


def _finite(name: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"is not a number: {value!r}", key=f"metrics: {name}") from error
    if not math.isfinite(number):
        raise InvalidInput(
            f"is {number}",
            key=f"metrics: {name}",
            next_step="No gate can judge it. See why the evaluation does not give a number, or leave the metric out.",
        )
    return number


def _registered_under(client: MlflowClient, model: str, key: str) -> Registration | None:
    """Return the lowest version of ``model`` that bears ``key``."""
    # Compared here: a key may contain what MLflow's filter language cannot quote.
    found = [version for version in versions_of(client, model) if version.tags.get(KEY_TAG) == key]
    if not found:
        return None
    first = min(found, key=lambda version: int(version.version))
    return Registration(
        model=model,
        version=int(first.version),
        run=first.run_id or "",
        digest=first.tags.get(DIGEST_TAG, ""),
        created=False,
    )


def versions_of(client: MlflowClient, model: str) -> Iterator[ModelVersion]:
    """Yield all versions of ``model``, whatever characters its name has."""
    quote = '"' if "'" in model else "'"
    named = f"name = {quote}{model}{quote}"
    return all_pages(lambda token: client.search_model_versions(named, max_results=1000, page_token=token))


def all_pages(ask: Callable[[str | None], PagedList[Found]]) -> Iterator[Found]:
    """Yield what MLflow lists, page by page; ``ask`` receives the token of a page, None for the first."""
    token: str | None = None
    while token != "":
        page = ask(token)
        yield from page
        token = page.token or ""


def _check_run_is_free(client: MlflowClient, run: str, digest: str) -> None:
    """Raise Refused if a version with another digest came from ``run``: the gate takes a run's metrics as its."""
    for version in client.search_model_versions(f"run_id = '{run}'"):
        if version.tags.get(DIGEST_TAG) != digest:
            raise Refused(
                f"run {run} has the metrics of version {version.version} of {version.name}, which is another package",
                state="Nothing was changed.",
                next_step="Start a run of its own for this package; a nested one will do.",
            )


def _ensure_registered_model(client: MlflowClient, model: str) -> None:
    from mlflow.exceptions import MlflowException

    if client.search_registered_models(f"name = '{model}'"):
        return
    try:
        client.create_registered_model(model)
    except MlflowException:
        if not client.search_registered_models(f"name = '{model}'"):  # else another task was faster
            raise


def ensure_experiment(client: MlflowClient, name: str) -> str:
    """Return the id of the experiment, which is created if it is missing."""
    from mlflow.exceptions import MlflowException

    if experiment := client.get_experiment_by_name(name):
        return str(experiment.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException:
        if experiment := client.get_experiment_by_name(name):  # another task was faster
            return str(experiment.experiment_id)
        raise


@contextmanager
def _run(client: MlflowClient, run: str | None, *, experiment: str, tags: Mapping[str, str]) -> Iterator[Run]:
    """Use the run ``run``, which stays as it is, or start one that ends with the block."""
    if run is not None:
        yield client.get_run(run)
        return
    from mlflow.tracking.context.registry import resolve_tags

    # What mlflow.start_run would note too: user, source, and the Git commit of the running script.
    started = client.create_run(ensure_experiment(client, experiment), tags=resolve_tags(dict(tags)))
    try:
        yield started
    except BaseException as error:
        client.set_terminated(started.info.run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    client.set_terminated(started.info.run_id, "FINISHED")


def _log(
    client: MlflowClient,
    run_id: str,
    *,
    metrics: Mapping[str, float],
    params: Mapping[str, str],
    tags: Mapping[str, str],
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    now_milliseconds = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now_milliseconds, 0) for name, value in metrics.items()],
        params=[Param(name, value) for name, value in params.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )


def _write_model(package: Path, directory: Path, *, run_id: str, artifact_path: str) -> None:
    """Write what MLflow needs to load the model, and the package's own files over it."""
    from mlflow.models import Model

    described = Model(run_id=run_id, artifact_path=artifact_path)
    if not package.joinpath(MODEL_FILE).is_file():
        signature = _signature(package)
        described.signature = signature_for_mlflow(signature.inputs, signature.outputs)
        shutil.copytree(package, directory, copy_function=_linked)
        described.save(str(directory / "MLmodel"))
        return
    import mlflow.onnx
    import onnx

    # Weights in other files stay there: MLflow writes the graph, and the package's own files come beside it.
    model = onnx.load(str(package / MODEL_FILE), load_external_data=False)
    interface = _signature(package, interface_of(model, file=package / MODEL_FILE))
    mlflow.onnx.save_model(
        model,
        directory,
        mlflow_model=described,
        signature=signature_for_mlflow(interface.inputs, interface.outputs),
        # Named here, because MLflow would otherwise load the model in another process to find them out.
        pip_requirements=[f"{name}=={version_of(name)}" for name in ("mlflow", "onnx", "onnxruntime")],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,  # a second file with a random name, otherwise
    )
    shutil.copytree(package, directory, copy_function=_linked, dirs_exist_ok=True)


def _linked(source: str, target: str) -> None:
    """Give a file a second name, for weights are large; copy it where the file system cannot."""
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _signature(package: Path, graph: Interface | None = None) -> Signature:
    """Return what clients of a package send and get: as its graph has it, unless its configuration says otherwise.

    A configuration may reshape tensors and leave outputs out. Of one that declares nothing, the smoke cases tell.
    """
    config = parse_config(package.joinpath(CONFIG_FILE).read_text(encoding="utf-8"))
    of_cases = signature_of(read_cases(package), config.max_batch_size)
    declared = Signature(
        config.signature.inputs or (graph.inputs if graph else of_cases.inputs),
        config.signature.outputs or (graph.outputs if graph else of_cases.outputs),
    )
    if graph is None:
        return declared
    of_graph = Signature(graph.inputs, graph.outputs)
    return declared if differences(of_graph, declared, one_is="graph", other_is="configuration") else of_graph


def signature_for_mlflow(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> ModelSignature:
    """Return MLflow's form of what clients send and get."""
    from mlflow.models import ModelSignature

    return ModelSignature(_schema(inputs), _schema(outputs))


def _schema(specs: tuple[TensorSpec, ...]) -> Schema:
    from mlflow.types.schema import Schema
    from mlflow.types.schema import TensorSpec as Column

    return Schema([Column(numpy_dtype(spec), spec.shape, spec.name) for spec in specs])


@contextmanager
def mlflow_errors() -> Iterator[None]:
    """Translate what MLflow's client raises into our own errors."""
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise _outside(str(error.message), error.get_http_status_code()) from error  # type: ignore[no-untyped-call]
    except requests.RequestException as error:
        # Artifacts go over plain HTTP, past MLflow's own exceptions.
        raise _outside(str(error), error.response.status_code if error.response is not None else 503) from error


def _outside(message: str, status: int) -> OutsideError:
    state = "No version was registered, unless by a call that was cut off; with a key, registering again finds it."
    if status >= 500 or status == 429:
        return Unavailable(message, system="MLflow", state=state)
    return Rejected(message, system="MLflow", state=state)
