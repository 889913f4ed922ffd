"""MLflow's tracking server and model registry, through its public REST API.

Each client has credentials of its own, which it sends to its own server only. MLflow's SDK knows credentials of the
process alone; it is used only for artifacts in stores that MLflow's server does not hand on (Google's, Azure's).
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit

import httpx
import yaml

from bot import s3, trust, web
from bot.domain import in_words, jsontext
from bot.domain.metrics import Logged, Measured, Origin, moment, number, of_model, of_run, told_in
from bot.domain.names import MAX_VERSION
from bot.domain.nearest import did_you_mean, nearest_number
from bot.domain.package import DIGEST_TAG, MAX_BYTES, MLFLOW_FILES, PACKAGE_FILE, Package, PackageFile
from bot.domain.secret_text import Kind
from bot.domain.signature import Signature, TensorSpec
from bot.errors import NotRegistered, OtherBytes, Refused, Rejected, Unavailable
from bot.redaction import excerpt, redact, redact_all
from bot.retry import going_on, patient, seconds_asked_for, without
from bot.settings import MLflow, secret

_A_WHILE_SECONDS = 60.0
"""For a server that is asked too often and does not say for how long it wants to be left alone."""
CHUNK_BYTES = 2**18
"""More does not stay in a core's cache between receiving, hashing and writing: measured in decision 27."""
_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_CONNECTIONS = 16
_HOPS = 5
"""How often a version may name another model as its source before it is taken for a circle."""
_OF_THE_SERVER = ("http", "https", "dbfs", "databricks", "models", "runs")
"""Schemes for which MLflow's SDK would send the credentials of the process to whatever host the source names."""
_OF_MLFLOWS_CLIENTS: tuple[tuple[str, Kind], ...] = (
    ("MLFLOW_TRACKING_USERNAME", "name"),
    ("MLFLOW_TRACKING_PASSWORD", "password"),
    ("MLFLOW_TRACKING_TOKEN", "token"),
)
_COPIED = re.compile(r"models:/([^/@]+)/(\d+)")
"""The source of a version that was copied from another one."""
_LOGGED_MODEL = re.compile(r"^models:/(m-[^/]+)$|/models/(m-[0-9a-f]{32})/artifacts(?:/|$)")
_RUN = re.compile(r"^runs:/([^/]+)/|/([0-9a-f]{32})/artifacts(?:/|$)")
_ADVICE = {"NoSuchKey": "", "404": "", "": "Artifacts are read from the bucket: see mlflow.s3."}
_NO_KEY = (
    "The artifacts are in a bucket: name the variables of its key under mlflow.s3, or give this machine an identity "
    "(IRSA, an instance profile)."
)
_NOT_THERE = "RESOURCE_DOES_NOT_EXIST"
_IN_WORDS = {
    _NOT_THERE: "MLflow does not have it",
    "RESOURCE_ALREADY_EXISTS": "MLflow has it already",
    "RESOURCE_CONFLICT": "somebody else changed it at the same time",
    "INVALID_PARAMETER_VALUE": "MLflow does not take such a request",
    "BAD_REQUEST": "MLflow does not take such a request",
    "ENDPOINT_NOT_FOUND": "this server does not know the question: it is too old, or is no MLflow",
    "UNAUTHENTICATED": "MLflow does not know these credentials",
    "PERMISSION_DENIED": "MLflow does not let these credentials do it",
    "REQUEST_LIMIT_EXCEEDED": "MLflow is asked too often",
    "TEMPORARILY_UNAVAILABLE": "MLflow is not available for the moment",
    "INTERNAL_ERROR": "MLflow failed",
}
"""What the server's codes mean; its own words stand behind ours."""
_NO_ALIAS = ("INVALID_PARAMETER_VALUE", _NOT_THERE)
"""How MLflow says that a model has no such alias, or that there is no such model."""
_WHO = "Name mlflow.token_env, or mlflow.username_env and mlflow.password_env, in the environment file."

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
    """A model version as the registry has it, with its metrics and what its run logged."""

    model: str
    version: int
    status: str
    status_message: str
    run: str
    source: str
    metrics: Measured
    params: Mapping[str, str]
    tags: Mapping[str, str]
    url: str

    @property
    def commit(self) -> str:
        """The commit of the training code; empty where the run does not say."""
        return self.tags.get("promobot.commit") or self.tags.get("mlflow.source.git.commit", "")


class _Artifacts(Protocol):
    """The files of one version."""

    def files(self) -> Iterator[str]:
        """Yield the path of every file."""

    def read(self, path: str, start: int, chunk_bytes: int) -> Iterator[bytes]:
        """Return the bytes of a file from ``start`` on; raise what can be known before the first byte."""


class _Unfit(Exception):
    """The source of a version leads to no files that the bot can read."""


class _Refusal(Exception):
    """MLflow's server did not do what was asked."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status = answer.status_code
        self.retry_after_seconds = seconds_asked_for(answer.headers.get("Retry-After"))
        self.redirected_to = web.without_query(answer.headers.get("Location", "")) if answer.is_redirect else ""
        said, self.code = " ".join(answer.text.split()), ""
        with suppress(ValueError, LookupError, TypeError):
            document = answer.json()
            self.code = str(document["error_code"])
            said = f"{document['error_code']}: {document['message']}"
        answered = excerpt(f"HTTP {self.status} {self.redirected_to or said}".strip(), 400)
        ours = _IN_WORDS.get(self.code, "")
        super().__init__(f"{ours} ({answered})" if ours else answered)


class _Server:
    """MLflow's server, asked with the credentials of one environment. Raises _Refusal and what httpx raises."""

    def __init__(self, settings: MLflow, *, request_seconds: float, download_seconds: float) -> None:
        self.uri, self._artifacts = settings.uri, settings.artifacts or settings.uri
        self._waits = httpx.Timeout(request_seconds)
        self._downloads = httpx.Timeout(request_seconds, read=download_seconds, pool=download_seconds)
        self._client = web.client(
            settings.uri,
            headers={"User-Agent": "promobot", **_credentials(settings)},
            timeout=self._waits,
            authorities=os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH", ""),
            certificate=os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH", ""),
            unverified=os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"),
        )

    def get(self, what: str, **parameters: str | int) -> Any:
        """Return the JSON object that the server answers."""
        return self._document(self._client.get(f"{self.uri}{_API}/{what}", params=parameters))

    def send(self, method: str, what: str, **body: str) -> None:
        """Have the server change something."""
        self._document(self._client.request(method, f"{self.uri}{_API}/{what}", json=body))

    def listed(self, folder: str) -> Any:
        """Return what the server lists of a folder of its artifacts."""
        address = f"{self._artifacts}{_ARTIFACTS}"
        answer = self._client.get(address, params={"path": folder}, timeout=self._downloads)
        return self._document(answer).get("files", [])

    def opened(self, path: str, start: int) -> httpx.Response:
        """Return the answer with the bytes of an artifact from ``start`` on, to be read and closed."""
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        address = f"{self._artifacts}{_ARTIFACTS}/{quote(path)}"
        request = self._client.build_request("GET", address, headers=headers, timeout=self._downloads)
        answer = self._client.send(request, stream=True)
        if not answer.is_success:
            try:
                answer.read()
                raise _Refusal(answer)
            finally:
                answer.close()
        return answer

    def folder(self, source: str) -> str | None:
        """Return the folder that an address names on this server; None where it is another server's."""
        parts = urlsplit(source)
        if parts.scheme == "mlflow-artifacts":
            # An address without a host is this server's own.
            scheme = urlsplit(self._artifacts).scheme
            is_ours = not parts.netloc or web.origin(f"{scheme}://{parts.netloc}") == web.origin(self._artifacts)
            return parts.path.strip("/") if is_ours else None
        for ours in (self._artifacts, self.uri):
            if source.startswith(f"{ours}{_ARTIFACTS}/"):
                return source.removeprefix(f"{ours}{_ARTIFACTS}/").strip("/")
        return None

    def _document(self, answer: httpx.Response) -> Any:
        if not answer.is_success:
            raise _Refusal(answer)
        document = answer.json()
        if not isinstance(document, dict):
            raise TypeError("no JSON object")
        return document


def _credentials(settings: MLflow) -> dict[str, str]:
    """Return the header by which the server knows this environment.

    An environment that names no variables of its own has those that MLflow's clients know. They are for the server
    that MLFLOW_TRACKING_URI names, where it names one.
    """
    user = password = token = ""
    if settings.token_env:
        token = secret(settings.token_env, purpose="MLflow's bearer token")
    elif settings.username_env and settings.password_env:
        user = secret(settings.username_env, purpose="the user's name for MLflow", kind="name")
        password = secret(settings.password_env, purpose="the password for MLflow", kind="password")
    else:
        theirs = os.environ.get("MLFLOW_TRACKING_URI", "")
        if theirs and web.origin(theirs) != web.origin(settings.uri):
            return {}
        user, password, token = (
            secret(name, purpose="MLflow's credentials", kind=kind) if os.environ.get(name) else ""
            for name, kind in _OF_MLFLOWS_CLIENTS
        )
        for name in ("MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_AUTH"):
            if os.environ.get(name) and not (token or user):
                raise Refused(
                    f"{name} is set, which the bot does not know", state="Nothing was asked.", next_step=_WHO
                )
    if user and password:
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    return {"Authorization": f"Bearer {token}"} if token else {}


class _ThroughTheServer:
    """The files of one version, as MLflow's server hands them on."""

    def __init__(self, server: _Server, root: str) -> None:
        self._server, self._root = server, root

    def files(self) -> Iterator[str]:
        folders = [""]
        while folders:
            folder = folders.pop()
            for listed in self._server.listed(f"{self._root}/{folder}".strip("/")):
                name = str(listed["path"])
                if PurePosixPath(name).name != name or name in ("", ".."):
                    raise _Unfit(f"{excerpt(repr(name), 200)} is not the name of a file")
                path = f"{folder}/{name}".lstrip("/")
                if listed["is_dir"]:
                    folders.append(path)
                else:
                    yield path

    def read(self, path: str, start: int, chunk_bytes: int) -> Iterator[bytes]:
        answer = self._server.opened(f"{self._root}/{path}".lstrip("/"), start)
        unasked = start if answer.status_code != HTTPStatus.PARTIAL_CONTENT else 0
        return without(unasked, answer.iter_bytes(chunk_bytes), answer)


class _Bucket:
    """The files of one version in a bucket."""

    def __init__(self, source: str, client: Any, lines: s3.Lines) -> None:
        self._client, self._lines = client, lines
        parts = urlsplit(source, allow_fragments=False)
        self._bucket, self._root = parts.netloc, parts.path.strip("/")

    def files(self) -> Iterator[str]:
        folder = f"{self._root}/" if self._root else ""
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=folder):
            for found in page.get("Contents", []):
                # Consoles make an object for an empty folder.
                if not found["Key"].endswith("/"):
                    yield found["Key"].removeprefix(folder)

    def read(self, path: str, start: int, chunk_bytes: int) -> Iterator[bytes]:
        """Return its bytes; a large file comes in parts, over those connections that no other file needs."""
        key = f"{self._root}/{path}".lstrip("/")
        reading = s3.Reading(self._client, bucket=self._bucket, key=key, chunk_bytes=chunk_bytes, lines=self._lines)
        return reading.stream(start)


class _Elsewhere:
    """The files of one version in a store that only MLflow's SDK knows, and only as whole files.

    The SDK finds the credentials of these stores by itself; MLflow's own are not among them.
    """

    def __init__(self, source: str) -> None:
        # Set before it is imported: neither telemetry nor progress bars belong in a bot.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        from mlflow.exceptions import MlflowException
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        self._failure = MlflowException
        with self._errors():
            self._repository: Any = get_artifact_repository(source)

    def files(self) -> Iterator[str]:
        folders: list[str | None] = [None]
        with self._errors():
            while folders:
                for info in self._repository.list_artifacts(folders.pop()):
                    if info.is_dir:
                        folders.append(info.path)
                    else:
                        yield info.path

    def read(self, path: str, start: int, chunk_bytes: int) -> Iterator[bytes]:
        temporary = tempfile.TemporaryDirectory(prefix="promobot-")
        try:
            local = Path(temporary.name, "artifact")
            with self._errors():
                # The public download_artifacts first lists the folder to see what the path is; we know it is a file.
                self._repository._download_file(path, str(local))
            if not local.is_file():
                raise _Unfit(f"{path} is not there")
        except BaseException:
            temporary.cleanup()
            raise

        def chunks() -> Iterator[bytes]:
            with temporary, local.open("rb") as file:
                file.seek(start)
                while chunk := file.read(chunk_bytes):
                    yield chunk

        return chunks()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (self._failure, ImportError) as error:
            raise _Unfit(excerpt(str(error), 400)) from error


class PackageContents:
    """The package of one version and its bytes. All that this returns was compared with the package's list."""

    def __init__(self, package: Package, stream: Callable[..., Generator[bytes]], system: str) -> None:
        self.package = package
        self._stream, self._system = stream, system

    def read(self, path: str) -> bytes:
        """Return a document that the package lists.

        Raises Rejected where it is larger than its kind may be, and OtherBytes where MLflow has other bytes.
        """
        file = self.package.file(path)
        limit = MAX_BYTES[path]
        if file is None or file.size > limit:
            said = f"has {file.size} bytes, more than {limit}" if file else "is not listed"
            raise Rejected(f"{path} {said}", system=self._system)
        content = bytearray()
        with closing(self._stream(path)) as chunks:
            for chunk in chunks:
                content += chunk
                if len(content) > file.size:
                    break
        if (len(content), hashlib.sha256(content).hexdigest()) != (file.size, file.sha256):
            raise OtherBytes(
                f"{path} is not what the package says",
                system=self._system,
                state="It was not used.",
                next_step="Somebody changed the artifact after it was registered: register and propose anew.",
            )
        return bytes(content)

    def is_whole(self, file: PackageFile, feed: Callable[[bytes], object]) -> bool:
        """Hash a file of the package, and hand what arrives to ``feed``; say whether it is what the package lists."""
        digest, size = hashlib.sha256(), 0
        with closing(self._stream(file.path)) as chunks:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                if size > file.size:
                    return False
                feed(chunk)
        return (size, digest.hexdigest()) == (file.size, file.sha256)


class Registry:
    """The model registry. Errors are Unavailable or Rejected.

    One request may take ``request_seconds``. A server that keeps its artifacts elsewhere fetches a whole file before
    it sends the first byte, so a download may stand still for ``download_seconds``.
    """

    def __init__(self, settings: MLflow, *, request_seconds: float = 10, download_seconds: float = 60) -> None:
        self._uri, self.patience_seconds = settings.uri, request_seconds
        self._request_seconds, self._download_seconds = request_seconds, download_seconds
        self._system = f"MLflow ({settings.uri})"
        self._server = _Server(settings, request_seconds=request_seconds, download_seconds=download_seconds)
        self._s3 = settings.s3
        self._s3_client: Any = None
        self._lines = s3.Lines()
        self._making_a_client = threading.Lock()
        self._known_artifacts: dict[tuple[str, int, str], _Artifacts] = {}

    @patient
    def version(self, model: str, version: int, *, with_run: bool = True) -> RegisteredVersion:
        """Return the version; raise Rejected where the registry does not have it.

        Without its run it has no metrics, no parameters and no tags of the run, and nothing more is asked. Whoever
        wants only its files asks so: they must not be out of reach because a run or a LoggedModel is gone.
        """
        with self._errors(f"read {model} {version}"):
            try:
                found = self._server.get("model-versions/get", name=model, version=version)["model_version"]
            except _Refusal as refusal:
                if refusal.code != _NOT_THERE:  # a proxy's 404 has no code, and says nothing about the version
                    raise
                raise self._unknown(model, version) from refusal
            run = self._run(found["run_id"])["data"] if found.get("run_id") and with_run else {}
            metrics = self._measured(found, run) if with_run else Measured()
            return RegisteredVersion(
                model=model,
                version=int(found["version"]),
                status=str(found["status"]),
                status_message=redact(str(found.get("status_message", ""))),
                run=str(found.get("run_id", "")),
                source=str(found.get("source", "")),
                metrics=metrics,
                params=_pairs(run, "params"),
                tags={**_pairs(run, "tags"), **_pairs(found, "tags")},
                url=f"{self._uri}/#/models/{model}/versions/{found['version']}",
            )

    def _unknown(self, model: str, version: int) -> NotRegistered:
        """Return that there is no such version, with those that there are; or with the model that may be meant."""
        if there := self.versions(model):
            newest = ", ".join(map(str, there[:5])) + (", …" if len(there) > 5 else "")
            return NotRegistered(
                f"there is no version {version} of {model}; the newest are {newest}",
                system=self._system,
                next_step=f"Did you mean {nearest_number(version, there)}?",
                versions=tuple(there),
            )
        found = self._server.get("registered-models/search", max_results=200).get("registered_models", [])
        names = [str(one["name"]) for one in found]
        listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        return NotRegistered(
            f"no version of {model} is registered",
            system=self._system,
            next_step=f"{did_you_mean(model, names)}Registered are: {listed or 'no models'}.",
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
            return Package.from_json(self._document(version, PACKAGE_FILE))
        except ValueError as error:
            message = f"{PACKAGE_FILE} of {version.model} {version.version} {error}"
            raise Rejected(message, system=self._system, next_step=next_step) from error
        except Rejected as error:
            error.next_step = next_step
            raise

    def contents(self, version: RegisteredVersion) -> PackageContents:
        """Return the version's package and what reads its files; raise Rejected where it has no package."""
        return PackageContents(self.package(version), partial(self.unverified_chunks, version), self._system)

    @patient
    def files(self, version: RegisteredVersion) -> list[str]:
        """Return the paths of all artifacts of the version that are not MLflow's own, sorted."""
        with self._errors(f"list the artifacts of {version.model} {version.version}"):
            return sorted(path for path in self._artifacts(version).files() if path not in MLFLOW_FILES)

    def _document(self, version: RegisteredVersion, path: str) -> bytes:
        """Return one artifact that no package lists; raise Rejected where it is larger than its kind may be."""
        content, limit = bytearray(), MAX_BYTES[path]
        with closing(self.unverified_chunks(version, path)) as chunks:
            for chunk in chunks:
                content += chunk
                if len(content) > limit:
                    message = f"{path} of {version.model} {version.version} has more than {limit} bytes"
                    raise Rejected(message, system=self._system, next_step="See what wrote it, and register again.")
        return bytes(content)

    def unverified_chunks(
        self, version: RegisteredVersion, path: str, start: int = 0, *, chunk_bytes: int = CHUNK_BYTES
    ) -> Generator[bytes]:
        """Yield the bytes of one artifact from ``start`` on, in chunks, as they arrive.

        They are for the share alone, which compares what it writes with the package's list: everybody else reads
        :meth:`contents`. Where they break off, the rest is asked for. Several threads may ask at once. Where MLflow
        has no way to stream from a store, a temporary file is in between.
        """
        doing = f"download {path} of {version.model} {version.version}"

        def read_from(at: int) -> Iterator[bytes]:
            with self._errors(doing):
                artifacts = self._artifacts(version)
                yield from artifacts.read(path, at, chunk_bytes)

        return going_on(read_from, start=start, seconds=self.patience_seconds)

    def signature(self, version: RegisteredVersion) -> Signature | None:
        """Return the tensors of MLflow's signature; None where it has none, or one of columns.

        No package lists ``MLmodel``: what it says is only compared with what Triton says, and decides nothing else.
        """
        text = self._document(version, "MLmodel")
        try:
            # Read as documented in MLflow's model format; its own parser needs pandas, which a runner lacks.
            # Nothing is built of the rest: a few aliases and merges would become more than a machine holds.
            signature = _yaml_value(yaml.compose(text, Loader=yaml.SafeLoader), "signature")
            inputs, outputs = (_tensors(_yaml_text(_yaml_value(signature, part))) for part in ("inputs", "outputs"))
        except (yaml.YAMLError, RecursionError, ValueError, LookupError, TypeError, AttributeError) as error:
            said = "it is not built as MLflow builds one"
            if isinstance(error, yaml.YAMLError):
                said, line = in_words.of_yaml(error, text.decode(errors="replace"))
                said = f"not YAML{f' in line {line}' if line else ''}: {said}"
            message = f"MLmodel of {version.model} {version.version} holds no signature that can be read: {said}"
            raise Rejected(message, system=self._system) from error
        return Signature(inputs, outputs) if inputs and outputs else None

    @patient
    def versions(self, model: str, *, limit: int = 25) -> list[int]:
        """Return the numbers of the newest versions, newest first; none of a model that is not registered."""
        with self._errors(f"list the versions of {model}"):
            found = self._server.get(
                "model-versions/search",
                filter=f"name = '{model}'",
                max_results=limit,
                order_by="version_number DESC",
            )
            return [int(version["version"]) for version in found.get("model_versions", [])]

    @patient
    def registered_with(self, *, digest: str = "", run: str = "") -> list[tuple[str, int]]:
        """Return which versions of whatever model were registered with this digest or for this run, newest first.

        Whoever registers says so in a tag, so this names a mistake and proves nothing.
        """
        where = f"run_id = '{run}'" if run else f"tags.`{DIGEST_TAG}` = '{digest}'"
        with self._errors(f"search the versions with {where}"):
            found = self._server.get("model-versions/search", filter=where, max_results=10)
            return sorted(
                ((str(one["name"]), int(one["version"])) for one in found.get("model_versions", [])),
                key=lambda named: -named[1],
            )

    @patient
    def alias(self, model: str, alias: str) -> int | None:
        """Return the version that the alias points to, or None."""
        with self._errors(f"read the alias {alias} of {model}"):
            try:
                found = self._server.get("registered-models/alias", name=model, alias=alias)
            except _Refusal as refusal:
                if refusal.code in _NO_ALIAS:  # a proxy's 404 has no code, and says nothing about the alias
                    return None
                raise
            return int(found["model_version"]["version"])

    @patient
    def set_alias(self, model: str, alias: str, version: int | None) -> None:
        """Point the alias at the version, or remove it where ``version`` is None. Git is the truth, not this.

        It is one request: with a look before it, a run that was overtaken would point at what was rolled back.
        """
        with self._errors(f"set the alias {alias} of {model}"):
            if version is None:
                self._server.send("DELETE", "registered-models/alias", name=model, alias=alias)
            else:
                self._server.send("POST", "registered-models/alias", name=model, alias=alias, version=str(version))

    @patient
    def try_alias(self, model: str, alias: str) -> None:
        """See that we may set an alias of the model, and set none: the version that is named does not exist.

        Raises Rejected where the server forbids it, or takes it.
        """
        with self._errors(f"set an alias of {model} (tried with a version that does not exist)"):
            try:
                self._server.send(
                    "POST", "registered-models/alias", name=model, alias=alias, version=str(MAX_VERSION)
                )
            except _Refusal as refusal:
                if refusal.code in _NO_ALIAS:
                    return
                raise
            self._server.send("DELETE", "registered-models/alias", name=model, alias=alias)
            raise _Unfit(f"it points {alias} at version {MAX_VERSION}, which does not exist")

    @patient
    def ping(self) -> str:
        """Return what the server answers to the smallest question that needs its store."""
        with self._errors("search registered models"):
            self._server.get("registered-models/search", max_results=1)
        return "answers"

    def _measured(self, version: Any, run: Any) -> Measured:
        """Return a version's metrics: what ``register`` was told, and below it those of where its bytes come from.

        A copy has the metrics of the version that it was made of. ``run`` is what the version's own run logged.
        """
        told: dict[str, tuple[float, Origin]] = {}
        measured = Measured(doubt=f"its source {version.get('source', '')!r:.200} leads nowhere")
        for _ in range(_HOPS):
            try:
                here = told_in(_pairs(version, "tags"))
            except ValueError as error:
                return Measured(doubt=f"{error}; set it right or delete it")
            origin = Origin(
                kind="register",
                name=f"{version['name']} {version['version']}",
                at=moment(int(version.get("creation_timestamp", 0))),
            )
            # The nearest counts: a copy may have been told something else than what it was made of.
            told = {**{name: (value, origin) for name, value in here.items()}, **told}
            copied = _COPIED.fullmatch(str(version.get("source", "")))
            if copied is None:
                measured = self._measured_where_it_lies(version, run)
                break
            model, number_ = unquote(copied[1]), copied[2]
            before = version.get("run_id")
            try:
                version = self._server.get("model-versions/get", name=model, version=number_)["model_version"]
            except _Refusal as refusal:
                if refusal.status != HTTPStatus.NOT_FOUND:
                    raise
                measured = Measured(doubt=f"it is a copy of {model} {number_}, which is gone")
                break
            if version.get("run_id") != before:
                run = self._run(version["run_id"])["data"] if version.get("run_id") else {}
        for name, (value, origin) in told.items():
            measured = measured.under({name: value}, origin)
        return measured

    def _measured_where_it_lies(self, version: Any, run: Any) -> Measured:
        """Return the metrics that belong to a version's bytes: those of a LoggedModel, or of the run they lie in."""
        source, run_id = str(version.get("source", "")), str(version.get("run_id", ""))
        found, named = _LOGGED_MODEL.search(source), str(version.get("model_id", ""))
        other = _RUN.search(source)
        if found and other and other.start() < found.start():
            found = None  # a folder of the run, which training may call what it likes
        model = found[found.lastindex or 0] if found else named
        if source.startswith("models:/") and not found:
            return Measured(doubt=f"its source {source!r:.200} names neither a version nor a LoggedModel")
        if named and named != (found and model):
            place = f"those of {model}" if found else f"at {source!r:.200}"
            return Measured(doubt=f"its files are {place}, and it is registered for {named}")
        if model:
            return self._measured_for(model)
        owner = other[other.lastindex or 0] if other else run_id
        if owner != run_id:
            return Measured(doubt=f"its files are of run {owner}, and it is registered for run {run_id or 'none'}")
        return of_run(run_id, _logged(run))

    def _measured_for(self, model: str) -> Measured:
        document = self._server.get(f"logged-models/{quote(model, safe='')}")["model"].get("data", {})
        measured = of_model(model, _logged(document))
        # MLflow's database has no NaN for a LoggedModel. It keeps 0, the best of all losses; the run has the NaN.
        for name in [name for name, value in measured.values.items() if value == 0]:
            origin = measured.origins[name]
            for run in {
                str(one["run_id"]) for one in document["metrics"] if one["key"] == name and one.get("run_id")
            }:
                history = self._server.get("metrics/get-history", run_id=run, metric_key=name)
                if any(
                    math.isnan(one.value) and (one.step, moment(one.milliseconds)) == (origin.step, origin.at)
                    for one in _logged(history)
                ):
                    measured = measured.under({name: math.nan}, origin)
        return measured

    def _run(self, run: str) -> Any:
        return self._server.get("runs/get", run_id=run)["run"]

    def _artifacts(self, version: RegisteredVersion) -> _Artifacts:
        """Return where the artifacts of a version are; it never changes, so MLflow is asked once."""
        # The version's own source, not its run's folder: a version may have been copied between models.
        key = (version.model, version.version, version.source)
        if key not in self._known_artifacts:
            self._known_artifacts[key] = self._find_artifacts(version)
        return self._known_artifacts[key]

    def _find_artifacts(self, version: RegisteredVersion) -> _Artifacts:
        source = self._place(version.model, version.version, version.source)
        if source.startswith("s3://"):
            return _Bucket(source, self._client_of_the_bucket(), self._lines)
        folder = self._server.folder(source)
        if folder is not None:
            return _ThroughTheServer(self._server, folder)
        if urlsplit(source).scheme in (*_OF_THE_SERVER, "mlflow-artifacts"):
            # Whoever may register a version chooses this address. Nothing is asked and no credentials are sent there.
            where = excerpt(web.without_query(source), 200)
            raise Rejected(
                f"the artifacts of {version.model} {version.version} are at {where}, which is not this MLflow server",
                system=self._system,
                next_step="Register the version again with artifacts of this server. If this MLflow has a server of "
                "its own for artifacts, name it in the environment file: mlflow.artifacts.",
            )
        return _Elsewhere(source)

    def _place(self, model: str, version: int, source: str) -> str:
        """Return where a source leads that names a run or another model."""
        for _ in range(_HOPS):
            if re.fullmatch("models:/m-[^/]+", source):
                found = self._server.get(f"logged-models/{quote(source.removeprefix('models:/'), safe='')}")
                source = str(found["model"]["info"]["artifact_uri"])
            elif source.startswith("models:/"):
                found = self._server.get("model-versions/get-download-uri", name=model, version=version)
                source = str(found["artifact_uri"])
                if again := _COPIED.fullmatch(source):
                    model, version = unquote(again[1]), int(again[2])
            elif source.startswith("runs:/"):
                run, _, path = source.removeprefix("runs:/").partition("/")
                source = f"{self._run(run)['info']['artifact_uri']}/{path}"
            else:
                return source
        raise _Unfit(f"{excerpt(repr(source), 200)} leads nowhere")

    def _client_of_the_bucket(self) -> Any:
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
                    addressing_style=self._s3.addressing_style if self._s3 else None,
                )
            return self._s3_client

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Raise what the server, the bucket and the network do as our errors."""
        with s3.errors(doing, system=self._system, advice=_ADVICE, no_key=_NO_KEY):
            try:
                yield
            except _Refusal as error:
                raise self._outside(f"could not {doing}: {error}", error) from error
            except httpx.HTTPError as error:
                why = str(error) or type(error).__name__
                step = trust.advice(why)
                raise Unavailable(f"could not {doing}: {why}", system=self._system, next_step=step) from error
            except _Unfit as error:
                raise Rejected(f"could not {doing}: {error}", system=self._system) from error
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                message = f"could not {doing}: MLflow does not answer like this: {excerpt(repr(error), 200)}"
                raise Rejected(message, system=self._system, next_step="Check mlflow.uri.") from error

    def _outside(self, message: str, refusal: _Refusal) -> Unavailable | Rejected:
        if refusal.status >= 500 or refusal.status in (408, 429):
            seconds = refusal.retry_after_seconds
            if seconds is None and refusal.status == 429:
                seconds = _A_WHILE_SECONDS
            return Unavailable(message, system=self._system, retry_after_seconds=seconds)
        step = _WHO if refusal.status in (401, 403) else ""
        if refusal.redirected_to:
            step = "The bot sends its credentials to mlflow.uri only: set it to the address that answers."
        return Rejected(message, system=self._system, next_step=step)


def _pairs(document: Any, name: str) -> dict[str, Any]:
    """Return a list of MLflow's keys and values as a mapping; what has no value is empty."""
    return {str(pair["key"]): redact_all(pair.get("value", "")) for pair in document.get(name, [])}


def _logged(document: Any) -> Iterator[Logged]:
    """Yield the metrics of a run, of a LoggedModel, or of a metric's history."""
    for one in document.get("metrics", []):
        dataset = " ".join(str(one[part]) for part in ("dataset_name", "dataset_digest") if one.get(part))
        value = number(one.get("value", 0))
        yield Logged(str(one["key"]), value, int(one.get("step", 0)), int(one.get("timestamp", 0)), redact(dataset))


def _yaml_value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    """Return the value of a key; None where there is none, or null. Of two the last counts, as MLflow reads it."""
    if node is None:
        return None
    if not isinstance(node, yaml.MappingNode):
        raise TypeError(f"what holds {key} is no mapping")
    found = next((value for name, value in reversed(node.value) if name.value == key), None)
    return None if found is None or found.tag == "tag:yaml.org,2002:null" else found


def _yaml_text(node: yaml.Node | None) -> str | None:
    if node is None:
        return None
    if not isinstance(node, yaml.ScalarNode):
        raise TypeError("is no text")
    return str(node.value)


def _tensors(schema: str | None) -> tuple[TensorSpec, ...]:
    columns = jsontext.read(schema) if schema else []
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
