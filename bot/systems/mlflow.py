"""MLflow's tracking server and model registry."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

# Read before mlflow is imported, which happens below: neither telemetry nor progress bars belong in a bot.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import requests
import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
from mlflow.utils.request_utils import augmented_raise_for_status
from mlflow.utils.rest_utils import http_request

from bot import s3
from bot.domain.package import MLFLOW_FILES, PACKAGE_FILE, Package
from bot.domain.signature import Signature, TensorSpec
from bot.errors import Rejected, Unavailable
from bot.retry import going_on, patient, seconds_asked_for, without
from bot.settings import MLflow, secret

# MLflow takes these from the environment only, and by default waits 120 s seven times over, or as long as the server
# asks for. Here bot/retry.py asks again. They hold for our own requests, not for the training job that calls us.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # Else a server in front of an object store sends us there, where a runner may have no way and no timeout holds.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
}
_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_A_WHILE_SECONDS = 60.0
CHUNK_BYTES = 2**18
"""More does not stay in a core's cache between receiving, hashing and writing: measured in decision 27."""
_CONNECTIONS = 16
_ADVICE = {"NoSuchKey": "", "404": "", "": "Artifacts are read from the bucket: see mlflow.s3."}
_NO_KEY = (
    "The artifacts are in a bucket: name the variables of its key under mlflow.s3, or give this machine an identity "
    "(IRSA, an instance profile)."
)

_NUMPY_TO_TRITON = {
    "bool": "BOOL",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "str": "BYTES",
    "object": "BYTES",
}


@dataclass(frozen=True)
class RegisteredVersion:
    """A model version as the registry has it, with what its run logged."""

    model: str
    version: int
    status: str
    status_message: str
    run: str
    source: str
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    tags: Mapping[str, str]
    url: str

    @property
    def commit(self) -> str:
        """The commit of the training code; empty where the run does not say."""
        return self.tags.get("promobot.commit") or self.tags.get("mlflow.source.git.commit", "")


class _Artifacts:
    """The files of one version, by way of MLflow's own client, which only knows whole files.

    A download may stand still for ``seconds``.
    """

    def __init__(self, repository: Any, seconds: float) -> None:
        self.repository, self.seconds = repository, seconds

    def list(self, folder: str | None) -> list[Any]:
        """Return what MLflow lists of a folder."""
        found: list[Any] = self.repository.list_artifacts(folder)
        return found

    def read(self, path: str, start: int, chunk_bytes: int) -> Iterator[bytes]:
        """Return the bytes of a file from ``start`` on; raise what can be known before the first byte."""
        temporary = tempfile.TemporaryDirectory(prefix="promobot-")
        try:
            local = Path(temporary.name, "artifact")
            # The public download_artifacts first lists the folder to see what the path is; we know it is a file.
            with _environment({_TIMEOUT: _whole_seconds(self.seconds)}):
                self.repository._download_file(path, str(local))
            if not local.is_file():
                raise MlflowException(f"{path} is not there")
        except BaseException:
            temporary.cleanup()
            raise

        def chunks() -> Iterator[bytes]:
            with temporary, local.open("rb") as file:
                file.seek(start)
                while chunk := file.read(chunk_bytes):
                    yield chunk

        return chunks()


class _ThroughTheServer(_Artifacts):
    """The files of one version, as MLflow's server hands them on."""

    def read(self, path: str, start: int, chunk_bytes: int) -> Iterator[bytes]:
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        repository = self.repository
        answer = http_request(  # type: ignore[no-untyped-call]
            repository._host_creds, f"/{path}", "GET", stream=True, timeout=self.seconds, extra_headers=headers
        )
        try:
            augmented_raise_for_status(answer)  # type: ignore[no-untyped-call]
        except BaseException:
            answer.close()
            raise
        unasked = start if answer.status_code != HTTPStatus.PARTIAL_CONTENT else 0
        return without(unasked, answer.iter_content(chunk_bytes), answer)


class _Bucket(_Artifacts):
    """The files of one version in a bucket."""

    def __init__(self, repository: Any, client: Any, lines: s3.Lines, seconds: float) -> None:
        super().__init__(repository, seconds)
        self._client, self._lines = client, lines
        self._bucket, root = repository.parse_s3_compliant_uri(repository.artifact_uri)
        self._root = root.rstrip("/")

    def read(self, path: str, start: int, chunk_bytes: int) -> Iterator[bytes]:
        """Return its bytes; a large file comes in parts, over those connections that no other file needs."""
        reading = s3.Reading(
            self._client, bucket=self._bucket, key=f"{self._root}/{path}", chunk_bytes=chunk_bytes, lines=self._lines
        )
        return reading.stream(start)


class Registry:
    """The model registry. Errors are Unavailable or Rejected.

    One request may take ``request_seconds``. A server that keeps its artifacts elsewhere fetches a whole file before
    it sends the first byte, so a download may stand still for ``download_seconds``.
    """

    def __init__(self, settings: MLflow, *, request_seconds: float = 10, download_seconds: float = 60) -> None:
        self._uri, self.patience_seconds = settings.uri, request_seconds
        self._request_seconds, self._download_seconds = request_seconds, download_seconds
        self._system = f"MLflow ({settings.uri})"
        if settings.token_env:
            os.environ["MLFLOW_TRACKING_TOKEN"] = secret(settings.token_env, purpose="MLflow's bearer token")
        self._client = MlflowClient(tracking_uri=settings.uri, registry_uri=settings.uri)
        self._s3 = settings.s3
        self._s3_client: Any = None
        self._lines = s3.Lines()
        self._making_a_client = threading.Lock()
        self._known_artifacts: dict[tuple[str, int, str], _Artifacts] = {}

    @patient
    def version(self, model: str, version: int, *, with_run: bool = True) -> RegisteredVersion:
        """Return the version; raise Rejected where the registry does not have it.

        Without its run, which is a question of its own, it has no metrics, no parameters and no tags of the run.
        """
        with self._errors(f"read {model} {version}"):
            found = self._client.get_model_version(model, str(version))
            run = self._client.get_run(found.run_id) if found.run_id and with_run else None
        return RegisteredVersion(
            model=model,
            version=int(found.version),
            status=found.status,
            status_message=found.status_message or "",
            run=found.run_id or "",
            source=found.source or "",
            metrics=dict(run.data.metrics) if run else {},
            params=dict(run.data.params) if run else {},
            tags={**(run.data.tags if run else {}), **found.tags},
            url=f"{self._uri}/#/models/{model}/versions/{found.version}",
        )

    def wait_ready(self, model: str, version: int, *, timeout_seconds: float) -> RegisteredVersion:
        """Return the version once it is no longer pending, or as it is at the deadline.

        Only ``status == "READY"`` means ready; FAILED_REGISTRATION ends the wait at once.
        """
        deadline, pause = time.monotonic() + timeout_seconds, 0.2
        while True:
            found = self.version(model, version)
            if found.status != "PENDING_REGISTRATION" or time.monotonic() >= deadline:
                return found
            time.sleep(min(pause, max(deadline - time.monotonic(), 0)))
            pause = min(pause * 1.5, 5)

    def package(self, version: RegisteredVersion) -> Package:
        """Return the package that the version's artifacts declare; raise Rejected where they declare none."""
        next_step = "Register the model again with bot.training.register, which writes a package."
        try:
            return Package.from_json(self.read(version, PACKAGE_FILE))
        except ValueError as error:
            message = f"{PACKAGE_FILE} of {version.model} {version.version} {error}"
            raise Rejected(message, system=self._system, next_step=next_step) from error
        except Rejected as error:
            error.next_step = next_step
            raise

    @patient
    def files(self, version: RegisteredVersion) -> list[str]:
        """Return the paths of all artifacts of the version that are not MLflow's own, sorted."""
        found: list[str] = []
        folders: list[str | None] = [None]
        with self._errors(f"list the artifacts of {version.model} {version.version}"):
            repository = self._artifacts(version)
            while folders:
                for info in repository.list(folders.pop()):
                    if info.is_dir:
                        folders.append(info.path)
                    elif info.path not in MLFLOW_FILES:
                        found.append(info.path)
        return sorted(found)

    def read(self, version: RegisteredVersion, path: str) -> bytes:
        """Return the bytes of one small artifact."""
        return b"".join(self.stream(version, path))

    def stream(
        self, version: RegisteredVersion, path: str, start: int = 0, *, chunk_bytes: int = CHUNK_BYTES
    ) -> Iterator[bytes]:
        """Yield the bytes of one artifact from ``start`` on, in chunks, as they arrive.

        Where they break off, the rest is asked for; nothing says here whether they are the right ones. May be called
        by several threads at once. Where MLflow has no way to stream from a store, a temporary file is in between.
        """
        doing = f"download {path} of {version.model} {version.version}"

        def read_from(at: int) -> Iterator[bytes]:
            with self._errors(doing):
                artifacts = self._artifacts(version)
                chunks = artifacts.read(path, at, chunk_bytes)
            with self._translated(doing):
                yield from chunks

        return going_on(read_from, start=start, seconds=self.patience_seconds)

    def signature(self, version: RegisteredVersion) -> Signature | None:
        """Return the tensors of MLflow's signature; None where it has none, or one of columns."""
        text = self.read(version, "MLmodel")
        try:
            # Read as documented in MLflow's model format; its own parser needs pandas, which a runner lacks.
            signature = (yaml.safe_load(text) or {}).get("signature") or {}
            inputs, outputs = (_tensors(signature.get(part)) for part in ("inputs", "outputs"))
        except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
            message = f"MLmodel of {version.model} {version.version} holds no signature that can be read: {error}"
            raise Rejected(message, system=self._system) from error
        return Signature(inputs, outputs) if inputs and outputs else None

    @patient
    def versions(self, model: str, *, limit: int = 25) -> list[int]:
        """Return the numbers of the newest versions, newest first; none of a model that is not registered."""
        with self._errors(f"list the versions of {model}"):
            found = self._client.search_model_versions(
                f"name = '{model}'", max_results=limit, order_by=["version_number DESC"]
            )
            return [int(version.version) for version in found]

    @patient
    def alias(self, model: str, alias: str) -> int | None:
        """Return the version that the alias points to, or None."""
        with self._errors(f"read the alias {alias} of {model}"):
            try:
                found = self._client.get_model_version_by_alias(model, alias)
            except MlflowException as error:
                if _status(error) in (400, 404):
                    return None
                raise
        return int(found.version)

    @patient
    def set_alias(self, model: str, alias: str, version: int | None) -> None:
        """Point the alias at the version, or remove it where ``version`` is None. Git is the truth, not this."""
        with self._errors(f"set the alias {alias} of {model}"):
            # The public ones first ask whether it is a prompt: a request more, in which whoever looked at his turn
            # before may be overtaken, and point the alias at what was just rolled back.
            models: Any = self._client._get_registry_client()  # type: ignore[no-untyped-call]
            if version is None:
                models.delete_registered_model_alias(model, alias)
            else:
                models.set_registered_model_alias(model, alias, str(version))

    @patient
    def ping(self) -> str:
        """Return what the server answers to the smallest question that needs its store."""
        with self._errors("search registered models"):
            self._client.search_registered_models(max_results=1)
        return "answers"

    def _artifacts(self, version: RegisteredVersion) -> _Artifacts:
        """Return where the artifacts of a version are; it never changes, so MLflow is asked once."""
        # The version's own source, not its run's folder: a version may have been copied between models.
        key = (version.model, version.version, version.source)
        if key not in self._known_artifacts:
            self._known_artifacts[key] = self._find_artifacts(version)
        return self._known_artifacts[key]

    def _find_artifacts(self, version: RegisteredVersion) -> _Artifacts:
        source = version.source
        if source.startswith("models:/"):
            source = self._client.get_model_version_download_uri(version.model, str(version.version))
        if source.startswith("runs:/"):
            run, _, path = source.removeprefix("runs:/").partition("/")
            source = f"{self._client.get_run(run).info.artifact_uri}/{path}"
        if source.startswith("s3://"):
            return self._in_a_bucket(source)
        repository = get_artifact_repository(source, tracking_uri=self._uri, registry_uri=self._uri)
        through_the_server = isinstance(repository, HttpArtifactRepository)
        return (_ThroughTheServer if through_the_server else _Artifacts)(repository, self._download_seconds)

    def _in_a_bucket(self, source: str) -> _Artifacts:
        """Return MLflow's own way to artifacts on S3, with a client for which our deadlines hold."""
        from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

        with self._making_a_client:
            if self._s3_client is None:
                self._s3_client = s3.client(
                    # As MLflow finds the store for the training job, where the settings do not say.
                    endpoint=(self._s3.endpoint if self._s3 else None) or os.environ.get("MLFLOW_S3_ENDPOINT_URL"),
                    region=self._s3.region if self._s3 else None,
                    credentials=self._s3.credentials(of="the bucket of MLflow's artifacts") if self._s3 else {},
                    connect_seconds=self._request_seconds,
                    read_seconds=self._download_seconds,
                    connections=_CONNECTIONS,
                )
        client = self._s3_client

        class InABucket(S3ArtifactRepository):  # type: ignore[misc, unused-ignore]
            def _get_s3_client(self) -> Any:
                return client

        repository = InABucket(source, tracking_uri=self._uri, registry_uri=self._uri)
        return _Bucket(repository, client, self._lines, self._download_seconds)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Ask MLflow with our patience, and raise its errors as ours."""
        with (
            self._translated(doing),
            _environment({**_PATIENCE, _TIMEOUT: _whole_seconds(self._request_seconds)}),
        ):
            yield

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        with s3.errors(doing, system=self._system, advice=_ADVICE, no_key=_NO_KEY):
            try:
                yield
            except MlflowException as error:
                if isinstance(error.__context__, s3.ClientError):
                    raise error.__context__ from error
                status = _status(error)
                message = f"could not {doing}: {error.message[:400]}"
                if status in (429, 500, 502, 503, 504) and "API request to" in error.message:
                    # Its client keeps to itself what the server asked for. Who says 429 asks for something.
                    seconds = _A_WHILE_SECONDS if status == 429 or "too many 429" in error.message else None
                    raise Unavailable(message, system=self._system, retry_after_seconds=seconds) from error
                raise Rejected(message, system=self._system) from error
            except requests.HTTPError as error:
                answer = error.response
                status = answer.status_code if answer is not None else 0
                message = f"could not {doing}: HTTP {status}"
                if status < 500 and status != 429:
                    raise Rejected(message, system=self._system) from error
                after = seconds_asked_for(answer.headers.get("Retry-After")) if answer is not None else None
                raise Unavailable(message, system=self._system, retry_after_seconds=after) from error
            except requests.RequestException as error:
                raise Unavailable(f"could not {doing}: {error}", system=self._system) from error


def _whole_seconds(seconds: float) -> str:
    return str(max(1, round(seconds)))


_environment_lock = threading.Lock()
_set_by_us: dict[str, list[str]] = {}
_before_us: dict[str, str | None] = {}


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the length of a block, of which several threads may be in at once.

    What was there before comes back when the last of them leaves; until then the newest block's values hold.
    """
    with _environment_lock:
        for name, value in variables.items():
            if not _set_by_us.get(name):
                _before_us[name] = os.environ.get(name)
            _set_by_us.setdefault(name, []).append(value)
            os.environ[name] = value
    try:
        yield
    finally:
        with _environment_lock:
            for name, value in variables.items():
                _set_by_us[name].remove(value)
                left = _set_by_us[name][-1] if _set_by_us[name] else _before_us.pop(name)
                if left is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = left


def _status(error: MlflowException) -> int:
    return int(error.get_http_status_code())  # type: ignore[no-untyped-call]


def _tensors(schema: str | None) -> tuple[TensorSpec, ...]:
    columns = json.loads(schema) if schema else []
    if any(column.get("type") != "tensor" for column in columns):
        return ()
    return tuple(
        TensorSpec(
            column.get("name") or "",
            _NUMPY_TO_TRITON.get(column["tensor-spec"]["dtype"], column["tensor-spec"]["dtype"]),
            tuple(column["tensor-spec"]["shape"]),
        )
        for column in columns
    )
