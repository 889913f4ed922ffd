"""Where the files of a version are, and how each place is read: a class for each kind of place."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bot import extras, web
from bot.errors import PromobotError, Unavailable
from bot.redaction import excerpt
from bot.retry import skip_bytes
from bot.systems.mlflow.server import Server

if TYPE_CHECKING:
    from bot import s3

_ADVICE = {"NoSuchKey": "", "404": "", "": "Artifacts are read from the bucket: see mlflow.s3."}
_NO_KEY = (
    "The artifacts are in a bucket: name the variables of its key under mlflow.s3, or give this machine an identity "
    "(IRSA, an instance profile)."
)


class Unfit(Exception):
    """The source of a version leads to no files that the bot can read."""


class Artifacts(Protocol):
    """The files of one version."""

    def errors(self, doing: str) -> AbstractContextManager[None]:
        """Raise what this kind of place raises as our errors, or as Unfit. The server's own are left alone."""

    def files(self) -> Iterator[str]:
        """Yield the path of every file."""

    def read(self, path: str, start: int, chunk_bytes: int) -> Iterator[bytes]:
        """Return the bytes of a file from ``start`` on; raise what can be known before the first byte."""


class ThroughTheServer:
    """The files of one version, as MLflow's server hands them on."""

    def __init__(self, server: Server, root: str) -> None:
        self._server, self._root = server, root

    def errors(self, doing: str) -> AbstractContextManager[None]:  # noqa: ARG002 - as the others are asked
        return nullcontext()

    def files(self) -> Iterator[str]:
        folders = [""]
        while folders:
            folder = folders.pop()
            for listed in self._server.listed(f"{self._root}/{folder}".strip("/")):
                name = str(listed["path"])
                if PurePosixPath(name).name != name or name in ("", ".."):
                    raise Unfit(f"{excerpt(repr(name), 200)} is not the name of a file")
                path = f"{folder}/{name}".lstrip("/")
                if listed["is_dir"]:
                    folders.append(path)
                else:
                    yield path

    def read(self, path: str, start: int, chunk_bytes: int) -> Iterator[bytes]:
        answer = self._server.opened(f"{self._root}/{path}".lstrip("/"), start)
        unasked = start if answer.status_code != HTTPStatus.PARTIAL_CONTENT else 0
        return skip_bytes(unasked, answer.iter_bytes(chunk_bytes), answer)


class InFolder:
    """The files of one version in a folder of this machine, as ``file:`` or a bare path names it."""

    def __init__(self, source: str) -> None:
        parts = urlsplit(source)
        # As MLflow reads such an address: percent signs count in a bare path, too.
        self._root = Path(url2pathname(parts.path if parts.scheme else source)).resolve()

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:  # noqa: ARG002 - as the others are asked
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise Unfit(f"{excerpt(str(error.filename), 300)} is not there, or is not a file") from error

    def files(self) -> Iterator[str]:
        def stop(error: OSError) -> None:
            raise error

        for folder, _, names in os.walk(self._root, onerror=stop):
            for name in names:
                yield Path(folder, name).relative_to(self._root).as_posix()

    def read(self, path: str, start: int, chunk_bytes: int) -> Iterator[bytes]:
        place = (self._root / path).resolve()
        if not place.is_relative_to(self._root):
            raise Unfit(f"{excerpt(path, 200)} leads out of the folder of the artifacts")
        opened = place.open("rb")

        def chunks() -> Iterator[bytes]:
            with opened as file:
                file.seek(start)
                while chunk := file.read(chunk_bytes):
                    yield chunk

        return chunks()


class InBucket:
    """The files of one version in a bucket. ``open_bucket`` returns the client, and what limits its connections."""

    def __init__(self, source: str, open_bucket: Callable[[], tuple[Any, s3.Lines]], *, system: str) -> None:
        self._open_bucket, self._system = open_bucket, system
        parts = urlsplit(source, allow_fragments=False)
        self._bucket, self._root = parts.netloc, parts.path.strip("/")

    def errors(self, doing: str) -> AbstractContextManager[None]:
        from bot import s3

        return s3.errors(doing, system=self._system, advice=_ADVICE, no_key=_NO_KEY)

    def files(self) -> Iterator[str]:
        client, _ = self._open_bucket()
        folder = f"{self._root}/" if self._root else ""
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=folder):
            for found in page.get("Contents", []):
                # Consoles make an object for an empty folder.
                if not found["Key"].endswith("/"):
                    yield found["Key"].removeprefix(folder)

    def read(self, path: str, start: int, chunk_bytes: int) -> Iterator[bytes]:
        """Return its bytes; a large file comes in parts, over those connections that no other file needs."""
        from bot import s3

        key = f"{self._root}/{path}".lstrip("/")
        client, lines = self._open_bucket()
        return s3.Reading(client, bucket=self._bucket, key=key, chunk_bytes=chunk_bytes, lines=lines).stream(start)


class InAnotherStore:
    """The files of one version in a store that only MLflow's SDK knows, and only as whole files.

    The SDK finds the credentials of these stores by itself; MLflow's own are not among them. The SDK does not
    translate what the libraries of these stores raise, so that any exception may come out of it.
    """

    def __init__(self, source: str, *, system: str) -> None:
        self._source, self._system = source, system

    @cached_property
    def _repository(self) -> Any:
        # Set before it is imported: neither telemetry nor progress bars belong in a bot.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        try:
            from mlflow.exceptions import MlflowException
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
        except ImportError as error:
            raise Unfit(
                f"{urlsplit(self._source).scheme}:// is read by MLflow's SDK, which is not installed here ({error}): "
                f"{extras.install('stores')}, and the library of that store"
            ) from error
        try:
            return get_artifact_repository(self._source)
        except MlflowException as error:
            raise Unfit(self._said(error)) from error

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (Unfit, PromobotError):
            raise
        except ImportError as error:
            raise Unfit(f"{self._said(error)}: install the library of that store") from error
        except Exception as error:
            raise Unavailable(f"could not {doing}: {self._said(error)}", system=self._system) from error

    def files(self) -> Iterator[str]:
        folders = [""]
        while folders:
            for path, is_folder in self._listed(folders.pop()):
                if is_folder:
                    folders.append(path)
                else:
                    yield path

    def read(self, path: str, start: int, chunk_bytes: int) -> Iterator[bytes]:
        # The SDK wraps every failure in one exception, so we ask first whether the file is there.
        if (path, False) not in self._listed(str(PurePosixPath(path).parent)):
            raise Unfit(f"{excerpt(path, 200)} is not there")
        temporary = tempfile.TemporaryDirectory(prefix="promobot-")
        try:
            local = Path(self._repository.download_artifacts(path, dst_path=temporary.name))
        except BaseException:
            temporary.cleanup()
            raise

        def chunks() -> Iterator[bytes]:
            with temporary, local.open("rb") as file:
                file.seek(start)
                while chunk := file.read(chunk_bytes):
                    yield chunk

        return chunks()

    def _said(self, error: Exception) -> str:
        """Return the SDK's words in one line, without a password or a signature that the address may hold."""
        said = str(error).replace(self._source, web.without_query(self._source))
        return excerpt(" ".join(said.split()) or type(error).__name__, 400)

    def _listed(self, folder: str) -> list[tuple[str, bool]]:
        """Return the paths in a folder, and whether each is a folder; ``""`` and ``.`` are the version's own."""
        listed = self._repository.list_artifacts(None if folder in ("", ".") else folder)
        return [(str(info.path), bool(info.is_dir)) for info in listed]
