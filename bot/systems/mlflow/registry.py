"""The model registry, as the rest of the bot asks it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import httpx

from bot import trust, web
from bot.credentials import Credentials
from bot.domain.metrics import Measured, moment
from bot.domain.names import MAX_VERSION
from bot.domain.nearest import did_you_mean, nearest_number
from bot.domain.package import DIGEST_TAG, FINDINGS_FOLDER, MAX_BYTES, MLFLOW_FILES, PACKAGE_FILE, Package
from bot.domain.signature import Signature
from bot.errors import NoPackage, NotRegistered, Rejected, Unavailable
from bot.redaction import excerpt, redact
from bot.retry import resume, retry
from bot.settings import MLflow
from bot.systems.mlflow.artifacts import Artifacts, InAnotherStore, InBucket, InFolder, ThroughTheServer, Unfit
from bot.systems.mlflow.contents import CHUNK_BYTES, PackageContents
from bot.systems.mlflow.metrics import COPIED, HOPS, measured, pairs, run_of
from bot.systems.mlflow.server import NOT_THERE, WHO, Refusal, Server
from bot.systems.mlflow.signature import signature_of
from bot.transport_errors import reason

if TYPE_CHECKING:
    from bot import s3
    from bot.domain.findings_of_others import Found

_A_WHILE_SECONDS = 60.0
"""For a server that is asked too often and does not say for how long it wants to be left alone."""
_CONNECTIONS = 16
_PAGE = 200
_OF_THE_SERVER = ("http", "https", "dbfs", "databricks", "models", "runs", "mlflow-artifacts")
"""Schemes for which MLflow's SDK would send the credentials of the process to whatever host the source names."""
_ON_THIS_MACHINE = ("", "file")
_NO_ALIAS = ("INVALID_PARAMETER_VALUE", NOT_THERE)
"""How MLflow says that a model has no such alias, or that there is no such model."""


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
    registered_at: datetime | None = None
    """When the registry got it; None where it does not say."""

    @property
    def commit(self) -> str:
        """The commit of the training code; empty where the run does not say."""
        return self.tags.get("promobot.commit") or self.tags.get("mlflow.source.git.commit", "")


class Registry:
    """The model registry. Errors are Unavailable or Rejected.

    One request may take ``request_seconds``. A server that keeps its artifacts elsewhere fetches a whole file before
    it sends the first byte, so a download may stand still for ``download_seconds``.
    """

    def __init__(
        self,
        settings: MLflow,
        credentials: Credentials,
        *,
        names: Mapping[str, str] | None = None,
        request_seconds: float = 10,
        download_seconds: float = 60,
    ) -> None:
        """``credentials`` hold the secrets that the settings name.

        ``names`` says what MLflow calls a model that is served under another name. Everybody else uses that name.
        """
        self._credentials = credentials
        self._names = dict(names or {})
        self._served_as = {registered: model for model, registered in self._names.items()}
        self._uri, self.retry_seconds = settings.uri, request_seconds
        self._request_seconds, self._download_seconds = request_seconds, download_seconds
        self._system = f"MLflow ({settings.uri})"
        self._server = Server(
            settings, self._credentials, request_seconds=request_seconds, download_seconds=download_seconds
        )
        self._s3 = settings.s3
        self._bucket: tuple[Any, s3.Lines] | None = None
        self._opening_the_bucket = threading.Lock()
        self._known_artifacts: dict[tuple[str, int, str], Artifacts] = {}

    @retry
    def version(self, model: str, version: int, *, with_run: bool = True) -> RegisteredVersion:
        """Return the version; raise Rejected where the registry does not have it.

        Without its run it has no metrics, no parameters and no tags of the run, and nothing more is asked. A caller
        that wants only its files asks so: they must not be out of reach because a run or a LoggedModel is gone.
        """
        with self._errors(f"read {self._shown(model)} {version}"):
            try:
                found = self._server.get("model-versions/get", name=self._registered(model), version=version)[
                    "model_version"
                ]
            except Refusal as refusal:
                if refusal.code != NOT_THERE:  # a proxy's 404 has no code, and says nothing about the version
                    raise
                raise self._unknown(model, version) from refusal
            run = run_of(self._server, found["run_id"])["data"] if found.get("run_id") and with_run else {}
            metrics = measured(self._server, found, run) if with_run else Measured()
            return RegisteredVersion(
                model=model,
                version=int(found["version"]),
                status=str(found["status"]),
                status_message=redact(str(found.get("status_message", ""))),
                run=str(found.get("run_id", "")),
                source=str(found.get("source", "")),
                metrics=metrics,
                params=pairs(run, "params"),
                tags={**pairs(run, "tags"), **pairs(found, "tags")},
                url=f"{self._uri}/#/models/{quote(self._registered(model), safe='')}/versions/{found['version']}",
                registered_at=_registered_at(found),
            )

    def _registered(self, model: str) -> str:
        """Return what MLflow calls a model."""
        return self._names.get(model, model)

    def _shown(self, model: str) -> str:
        """Return a model as an error names it: with MLflow's own name, where that is another."""
        registered = self._registered(model)
        return model if registered == model else f"{model} ({registered} in MLflow)"

    def _unknown(self, model: str, version: int) -> NotRegistered:
        """Return that there is no such version, with those that there are; or with the model that may be meant."""
        if there := self.versions(model):
            newest = ", ".join(map(str, there[:5])) + (", …" if len(there) > 5 else "")
            return NotRegistered(
                f"there is no version {version} of {self._shown(model)}; the newest are {newest}",
                system=self._system,
                next_step=f"Did you mean {nearest_number(version, there)}?",
                versions=tuple(there),
            )
        found = self._server.get("registered-models/search", max_results=200).get("registered_models", [])
        names = [self._served_as.get(name, name) for name in (str(one["name"]) for one in found)]
        listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        return NotRegistered(
            f"no version of {self._shown(model)} is registered",
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
        name, again = f"{version.model} {version.version}", "Register the model with bot.training.register"
        try:
            return Package.from_json(self._document(version, PACKAGE_FILE))
        except Rejected as error:
            if PACKAGE_FILE in self.files(version):
                error.next_step = f"{again}."
                raise
            raise NoPackage(
                f"{name} has no {PACKAGE_FILE}: what Triton is to serve, and how it must answer, is not known",
                system=self._system,
                next_step=f"{again}, or make a package of what MLflow has: `promobot adopt {name}`.",
            ) from error
        except ValueError as error:
            message = f"{PACKAGE_FILE} of {name} {error}"
            raise Rejected(message, system=self._system, next_step=f"{again}.") from error

    def contents(self, version: RegisteredVersion) -> PackageContents:
        """Return the version's package and what reads its files; raise Rejected where it has no package."""
        return PackageContents(self.package(version), partial(self.unverified_chunks, version), self._system)

    @retry
    def files(self, version: RegisteredVersion) -> list[str]:
        """Return the paths of all artifacts of the version that are not MLflow's own, sorted."""
        doing = f"list the artifacts of {version.model} {version.version}"
        with self._errors(doing):
            artifacts = self._artifacts(version)
            with artifacts.errors(doing):
                return sorted(path for path in artifacts.files() if path not in MLFLOW_FILES)

    def found_by_others(self, version: RegisteredVersion, names: Iterable[str]) -> dict[str, list[Found]]:
        """Return the documents of these names that other tools wrote, beside the package and in the version's run.

        Raises Unavailable where MLflow does not answer.
        """
        places = [(f"beside the package of version {version.version}", version, f"{FINDINGS_FOLDER}/")]
        if version.run:
            in_run = replace(version, source=f"runs:/{version.run}/{FINDINGS_FOLDER}")
            places.append((f"in run {version.run}", in_run, ""))
        found: dict[str, list[Found]] = {name: [] for name in names}
        for where, place, folder in places:
            try:
                there = set(self.files(place))
            except Rejected:
                continue  # no such folder
            for name in found:
                if f"{folder}{name}.json" in there:
                    found[name].append(self._found(where, place, f"{folder}{name}.json"))
        return found

    def _found(self, where: str, place: RegisteredVersion, path: str) -> Found:
        from bot.domain import findings_of_others  # only a check judges them

        try:
            return findings_of_others.Found(where, self._document(place, path, limit=findings_of_others.MAX_BYTES))
        except Rejected as error:
            return findings_of_others.Found(where, problem=error.said)

    def _document(self, version: RegisteredVersion, path: str, *, limit: int | None = None) -> bytes:
        """Return one artifact that no package lists; raise Rejected where it is larger than its kind may be."""
        content, limit = bytearray(), MAX_BYTES[path] if limit is None else limit
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
        return self._streamed(doing, partial(self._artifacts, version), path, start, chunk_bytes)

    def unverified_of_run(self, address: str, path: str) -> Generator[bytes]:
        """Yield the bytes of a file below ``address`` (``runs:/<run>/<path>``), as ``unverified_chunks`` does.

        They are for what compares them with a digest.
        """
        doing = f"download {path} of {address}"
        return self._streamed(doing, partial(self._artifacts_of_run, address), path, 0, CHUNK_BYTES)

    def _streamed(
        self, doing: str, find: Callable[[], Artifacts], path: str, start: int, chunk_bytes: int
    ) -> Generator[bytes]:
        def read_from(at: int) -> Generator[bytes]:
            with self._errors(doing):
                artifacts = find()
                with artifacts.errors(doing):
                    yield from artifacts.read(path, at, chunk_bytes)

        return resume(read_from, start=start, seconds=self.retry_seconds)

    def signature(self, version: RegisteredVersion) -> Signature | None:
        """Return the tensors of MLflow's signature; None where it has none, or one of columns.

        No package lists ``MLmodel``: what it says is only compared with what Triton says, and decides nothing else.
        """
        text = self._document(version, "MLmodel")
        try:
            return signature_of(text)
        except ValueError as error:
            message = f"MLmodel of {version.model} {version.version} holds no signature that can be read: {error}"
            raise Rejected(message, system=self._system) from error

    @retry
    def versions(self, model: str, *, limit: int = 25) -> list[int]:
        """Return the numbers of the newest versions, newest first; none of a model that is not registered."""
        with self._errors(f"list the versions of {self._shown(model)}"):
            registered = self._registered(model)
            quotation = '"' if "'" in registered else "'"  # MLflow knows no way to escape one
            found = self._server.get(
                "model-versions/search",
                filter=f"name = {quotation}{registered}{quotation}",
                max_results=limit,
                order_by="version_number DESC",
            )
            return [int(version["version"]) for version in found.get("model_versions", [])]

    @retry
    def models(self) -> list[str]:
        """Return the registered models by the names under which they are served, sorted.

        One that no name is given for has MLflow's own, which need not be a name that can be served.
        """
        found: list[str] = []
        token = ""
        with self._errors("list the registered models"):
            while True:
                page = {"page_token": token} if token else {}
                answer = self._server.get("registered-models/search", max_results=_PAGE, **page)
                found += [str(one["name"]) for one in answer.get("registered_models", [])]
                token = str(answer.get("next_page_token") or "")
                if not token:
                    return sorted(self._served_as.get(name, name) for name in found)

    @retry
    def registered_with(self, *, digest: str = "", run: str = "") -> list[tuple[str, int]]:
        """Return which versions of whatever model were registered with this digest or for this run, newest first.

        A tag of the training job says so: this explains a mistake and proves nothing.
        """
        where = f"run_id = '{run}'" if run else f"tags.`{DIGEST_TAG}` = '{digest}'"
        with self._errors(f"search the versions with {where}"):
            found = self._server.get("model-versions/search", filter=where, max_results=10)
            return sorted(
                (
                    (self._served_as.get(str(one["name"]), str(one["name"])), int(one["version"]))
                    for one in found.get("model_versions", [])
                ),
                key=lambda named: -named[1],
            )

    @retry
    def alias(self, model: str, alias: str) -> int | None:
        """Return the version that the alias points to, or None."""
        with self._errors(f"read the alias {alias} of {self._shown(model)}"):
            try:
                found = self._server.get("registered-models/alias", name=self._registered(model), alias=alias)
            except Refusal as refusal:
                if refusal.code in _NO_ALIAS:  # a proxy's 404 has no code, and says nothing about the alias
                    return None
                raise
            return int(found["model_version"]["version"])

    @retry
    def try_alias(self, model: str, alias: str) -> None:
        """See that we may set an alias of the model, and set none: the version that is named does not exist.

        Raises Rejected where the server forbids it, or takes it.
        """
        where = {"name": self._registered(model), "alias": alias}
        with self._errors(f"set an alias of {self._shown(model)} (tried with a version that does not exist)"):
            try:
                self._server.send("POST", "registered-models/alias", **where, version=str(MAX_VERSION))
            except Refusal as refusal:
                if refusal.code in _NO_ALIAS:
                    return
                raise
            self._server.send("DELETE", "registered-models/alias", **where)
            raise Unfit(f"it points {alias} at version {MAX_VERSION}, which does not exist")

    @retry
    def ping(self) -> str:
        """Return what the server answers to the smallest question that needs its store."""
        with self._errors("search registered models"):
            self._server.get("registered-models/search", max_results=1)
        return "answers"

    def _artifacts(self, version: RegisteredVersion) -> Artifacts:
        """Return where the artifacts of a version are; it never changes, so MLflow is asked once."""
        # The version's own source, not its run's folder: a version may have been copied between models.
        key = (version.model, version.version, version.source)
        if key not in self._known_artifacts:
            source = self._place(self._registered(version.model), version.version, version.source)
            self._known_artifacts[key] = self._artifacts_at(
                source, of=f"{version.model} {version.version}", again="Register the version again"
            )
        return self._known_artifacts[key]

    def _artifacts_of_run(self, address: str) -> Artifacts:
        """Return where the artifacts below an address of a run are."""
        key = ("", 0, address)
        if key not in self._known_artifacts:
            source = self._place("", 0, address)
            self._known_artifacts[key] = self._artifacts_at(source, of=address, again="Log them again")
        return self._known_artifacts[key]

    def _artifacts_at(self, source: str, *, of: str, again: str) -> Artifacts:
        scheme = urlsplit(source).scheme
        if scheme == "s3":
            return InBucket(source, self._open_bucket, system=self._system)
        if scheme in _ON_THIS_MACHINE:
            return InFolder(source)
        folder = self._server.folder(source)
        if folder is not None:
            return ThroughTheServer(self._server, folder)
        if scheme in _OF_THE_SERVER:
            # Anyone who may register a version chooses this address. Nothing is sent there.
            where = excerpt(web.without_query(source), 200)
            raise Rejected(
                f"the artifacts of {of} are at {where}, which is not this MLflow server",
                system=self._system,
                next_step=f"{again} with artifacts of this server. If this MLflow has a server of its own for "
                "artifacts, name it in the environment file: mlflow.artifacts.",
            )
        return InAnotherStore(source, system=self._system)

    def _place(self, model: str, version: int, source: str) -> str:
        """Return where a source leads that names a run or another model; ``model`` is MLflow's own name."""
        for _ in range(HOPS):
            if re.fullmatch("models:/m-[^/]+", source):
                found = self._server.get(f"logged-models/{quote(source.removeprefix('models:/'), safe='')}")
                source = str(found["model"]["info"]["artifact_uri"])
            elif source.startswith("models:/"):
                found = self._server.get("model-versions/get-download-uri", name=model, version=version)
                source = str(found["artifact_uri"])
                if again := COPIED.fullmatch(source):
                    model, version = unquote(again[1]), int(again[2])
            elif source.startswith("runs:/"):
                run, _, path = source.removeprefix("runs:/").partition("/")
                source = f"{run_of(self._server, run)['info']['artifact_uri']}/{path}"
            else:
                return source
        raise Unfit(f"{excerpt(repr(source), 200)} leads nowhere")

    def _open_bucket(self) -> tuple[Any, s3.Lines]:
        """Return the client for the bucket of MLflow's artifacts and what limits its connections; one for all."""
        from bot import s3  # takes a while to import, and most servers hand on their artifacts

        with self._opening_the_bucket:
            if self._bucket is None:
                credentials = self._credentials
                client = s3.client(
                    # As MLflow finds the store for the training job, where the settings do not say.
                    endpoint=(self._s3.endpoint if self._s3 else None) or credentials.value("MLFLOW_S3_ENDPOINT_URL"),
                    region=self._s3.region if self._s3 else None,
                    credentials=credentials.of_bucket(self._s3, of="the bucket of MLflow's artifacts")
                    if self._s3
                    else {},
                    connect_seconds=self._request_seconds,
                    read_seconds=self._download_seconds,
                    connections=_CONNECTIONS,
                    addressing_style=self._s3.addressing_style if self._s3 else None,
                )
                self._bucket = client, s3.Lines()
            return self._bucket

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Raise what the server and the network do as our errors; each kind of artifacts translates its own."""
        try:
            yield
        except Refusal as error:
            raise self._outside(f"could not {doing}: {error}", error) from error
        except (httpx.HTTPError, OSError) as error:
            step = trust.advice(str(error))
            raise Unavailable(f"could not {doing}: {reason(error)}", system=self._system, next_step=step) from error
        except Unfit as error:
            raise Rejected(f"could not {doing}: {error}", system=self._system) from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            message = f"could not {doing}: MLflow does not answer like this: {excerpt(repr(error), 200)}"
            raise Rejected(message, system=self._system, next_step="Check mlflow.uri.") from error

    def _outside(self, message: str, refusal: Refusal) -> Unavailable | Rejected:
        if refusal.status >= 500 or refusal.status in (408, 429):
            seconds = refusal.retry_after_seconds
            if seconds is None and refusal.status == 429:
                seconds = _A_WHILE_SECONDS
            return Unavailable(message, system=self._system, retry_after_seconds=seconds)
        step = WHO if refusal.status in (401, 403) else ""
        if refusal.redirected_to:
            step = "The bot sends its credentials to mlflow.uri only: set it to the address that answers."
        return Rejected(message, system=self._system, next_step=step)


class Aliases:
    """Points MLflow's aliases, for a caller with the right to.

    ``may_still`` is called right before each request, also before a retry. It raises if the right to change something
    is gone.
    """

    def __init__(self, registry: Registry, may_still: Callable[[], object]) -> None:
        self._registry, self._may_still = registry, may_still
        self.retry_seconds = registry.retry_seconds

    @retry
    def point(self, model: str, alias: str, version: int | None) -> None:
        """Point the alias at the version, or remove it where ``version`` is None. Git is the truth, not this.

        It is one request: with a look before it, a run that was overtaken would point at what was rolled back.
        """
        self._may_still()
        where = {"name": self._registry._registered(model), "alias": alias}
        with self._registry._errors(f"set the alias {alias} of {self._registry._shown(model)}"):
            if version is None:
                self._registry._server.send("DELETE", "registered-models/alias", **where)
            else:
                self._registry._server.send("POST", "registered-models/alias", **where, version=str(version))


def _registered_at(version: Mapping[str, Any]) -> datetime | None:
    milliseconds = int(version.get("creation_timestamp") or 0)
    return moment(milliseconds) if milliseconds > 0 else None
