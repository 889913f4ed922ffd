"""MLflow's tracking server and model registry."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Read before mlflow is imported, which happens below: neither telemetry nor progress bars belong in a bot.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import requests
import yaml
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from bot.domain.package import MLFLOW_FILES, PACKAGE_FILE, Package
from bot.domain.signature import Signature, TensorSpec
from bot.errors import Rejected, Unavailable
from bot.retry import patient, seconds_asked_for
from bot.settings import S3, MLflow, secret

# MLflow takes these from the environment only, and by default waits 120 s seven times over, or as long as the server
# asks for. Here bot/retry.py asks again. They hold for our own requests, not for the training job that calls us.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # Else a server in front of an object store sends us there, where a runner may have no way and no timeout holds.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
}
_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_A_WHILE_SECONDS = 60.0

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

    @patient
    def version(self, model: str, version: int) -> RegisteredVersion:
        """Return the version; raise Rejected where the registry does not have it."""
        with self._errors(f"read {model} {version}"):
            found = self._client.get_model_version(model, str(version))
            run = self._client.get_run(found.run_id) if found.run_id else None
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
                for info in repository.list_artifacts(folders.pop()):
                    if info.is_dir:
                        folders.append(info.path)
                    elif info.path not in MLFLOW_FILES:
                        found.append(info.path)
        return sorted(found)

    def read(self, version: RegisteredVersion, path: str) -> bytes:
        """Return the bytes of one small artifact."""
        return b"".join(self.stream(version, path))

    def stream(self, version: RegisteredVersion, path: str, *, chunk_bytes: int = 2**20) -> Iterator[bytes]:
        """Yield the bytes of one artifact in chunks."""
        doing = f"download {path} of {version.model} {version.version}"
        with self._errors(doing):
            temporary = tempfile.TemporaryDirectory(prefix="promobot-")
        with temporary as folder:
            local = Path(folder, "artifact")
            self._download(version, path, local)
            with local.open("rb") as file:
                while chunk := file.read(chunk_bytes):
                    yield chunk

    @patient
    def _download(self, version: RegisteredVersion, path: str, local: Path) -> None:
        with self._errors(f"download {path} of {version.model} {version.version}"):
            artifacts = self._artifacts(version)
            # The public download_artifacts first lists the folder to see what the path is; we know it is a file.
            with _environment({_TIMEOUT: _whole_seconds(self._download_seconds)}):
                artifacts._download_file(path, str(local))
            if not local.is_file():
                raise Rejected(f"{path} of {version.model} {version.version} is not there", system=self._system)

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
            if version is None:
                self._client.delete_registered_model_alias(model, alias)
            else:
                self._client.set_registered_model_alias(model, alias, str(version))

    @patient
    def ping(self) -> str:
        """Return what the server answers to the smallest question that needs its store."""
        with self._errors("search registered models"):
            self._client.search_registered_models(max_results=1)
        return "answers"

    def _artifacts(self, version: RegisteredVersion) -> Any:
        # The version's own source, not its run's folder: a version may have been copied between models.
        source = version.source
        if source.startswith("models:/"):
            source = self._client.get_model_version_download_uri(version.model, str(version.version))
        if source.startswith("runs:/"):
            run, _, path = source.removeprefix("runs:/").partition("/")
            source = f"{self._client.get_run(run).info.artifact_uri}/{path}"
        if source.startswith("s3://"):
            return self._in_a_bucket(source)
        return get_artifact_repository(source, tracking_uri=self._uri, registry_uri=self._uri)

    def _in_a_bucket(self, source: str) -> Any:
        """Return MLflow's own way to artifacts on S3, with a client for which our deadlines hold."""
        from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

        if self._s3_client is None:
            waits = (self._request_seconds, self._download_seconds)
            self._s3_client = _s3_client(self._s3, connect_seconds=waits[0], read_seconds=waits[1])
        client = self._s3_client

        class InABucket(S3ArtifactRepository):  # type: ignore[misc, unused-ignore]
            def _get_s3_client(self) -> Any:
                return client

            def _download_file(self, remote_file_path: str, local_path: str) -> None:
                # MLflow's own asks again up to five times by itself, whatever the deadline.
                bucket, root = self.parse_s3_compliant_uri(self.artifact_uri)  # type: ignore[no-untyped-call]
                answer = client.get_object(Bucket=bucket, Key=f"{root.rstrip('/')}/{remote_file_path}")
                with closing(answer["Body"]) as body, Path(local_path).open("wb") as file:
                    for chunk in body.iter_chunks(2**20):
                        file.write(chunk)

        return InABucket(source, tracking_uri=self._uri, registry_uri=self._uri)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            with _environment({**_PATIENCE, _TIMEOUT: _whole_seconds(self._request_seconds)}):
                yield
        except MlflowException as error:
            if isinstance(error.__context__, ClientError):
                raise self._refused_by_s3(doing, error.__context__) from error
            status = _status(error)
            message = f"could not {doing}: {error.message[:400]}"
            if status in (429, 500, 502, 503, 504) and "API request to" in error.message:
                # Its client keeps to itself what the server asked for. Who says 429 asks for something.
                seconds = _A_WHILE_SECONDS if status == 429 or "too many 429" in error.message else None
                raise Unavailable(message, system=self._system, retry_after_seconds=seconds) from error
            raise Rejected(message, system=self._system) from error
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            message = f"could not {doing}: HTTP {status}"
            if status < 500 and status != 429:
                raise Rejected(message, system=self._system) from error
            after = (
                seconds_asked_for(error.response.headers.get("Retry-After")) if error.response is not None else None
            )
            raise Unavailable(message, system=self._system, retry_after_seconds=after) from error
        except ClientError as error:
            raise self._refused_by_s3(doing, error) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise Rejected(
                f"could not {doing}: {error}",
                system=self._system,
                next_step="The artifacts are in a bucket: name the variables of its key under mlflow.s3, or give "
                "this machine an identity (IRSA, an instance profile).",
            ) from error
        except (requests.RequestException, BotoCoreError, OSError) as error:
            raise Unavailable(f"could not {doing}: {error}", system=self._system) from error

    def _refused_by_s3(self, doing: str, error: ClientError) -> Unavailable | Rejected:
        told, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
        status, code = int(meta.get("HTTPStatusCode", 0)), str(told.get("Code", ""))
        message = f"could not {doing}: the object store says {code}: {told.get('Message', '')[:300]}"
        if status >= 500 or status in (408, 429):
            after = seconds_asked_for(meta.get("HTTPHeaders", {}).get("retry-after"))
            return Unavailable(message, system=self._system, retry_after_seconds=after)
        next_step = "" if code in ("NoSuchKey", "404") else "Artifacts are read from the bucket: see mlflow.s3."
        return Rejected(message, system=self._system, next_step=next_step)


def _s3_client(settings: S3 | None, *, connect_seconds: float, read_seconds: float) -> Any:
    import boto3
    from botocore.config import Config

    # As MLflow finds the store for the training job, where the settings do not say.
    endpoint = (settings.endpoint if settings else None) or os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None
    return boto3.session.Session().client(
        "s3",
        region_name=settings.region if settings else None,
        endpoint_url=endpoint,
        **(settings.credentials(of="the bucket of MLflow's artifacts") if settings else {}),
        config=Config(
            connect_timeout=connect_seconds,
            read_timeout=read_seconds,
            # Here bot/retry.py asks again.
            retries={"total_max_attempts": 1, "mode": "standard"},
            s3={"addressing_style": "path" if endpoint else "auto"},
        ),
    )


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
