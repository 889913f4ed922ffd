"""A package: the files of one model version, and the digest that names exactly these bytes.

A package lies at the root of the artifacts of a registered MLflow version, beside what MLflow itself writes:

    config.pbtxt     Triton's configuration, without name and version policy (publishing sets both)
    smoke.json       requests with the answers that the training framework gave
    smoke.tensors    the large tensors among them, as bytes; only where there are such
    package.json     every other file's path, size in bytes and sha256
    model.onnx, …    everything else belongs to the version directory, under the same relative path

The digest is the sha256 of the canonical list of files (see :func:`digest_of`), so it says nothing of when or by
whom a package was made: the same bytes are the same package everywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

from bot.domain import jsontext

DIGEST_TAG = "promobot.digest"
"""The tag of a version in MLflow that names its package."""
PACKAGE_FILE = "package.json"
FINDINGS_FOLDER = "promobot.checks"
"""Where other tools write what they found of a package. It does not belong to the package: no digest covers it."""
CONFIG_FILE = "config.pbtxt"
SMOKE_FILE = "smoke.json"
TENSORS_FILE = "smoke.tensors"
NOT_OF_THE_VERSION = frozenset({CONFIG_FILE, SMOKE_FILE, TENSORS_FILE})

MLFLOW_FILES = frozenset(
    {
        "MLmodel",
        "conda.yaml",
        "python_env.yaml",
        "requirements.txt",
        "registered_model_meta",
        "input_example.json",
        "serving_input_example.json",
    }
)
"""What MLflow itself writes beside a package. ``registered_model_meta`` appears in downloads only."""

MAX_FILES = 10_000
MAX_PATH = 200

MAX_PACKAGE_FILE_BYTES = 4 * 2**20
"""Of ``package.json``: more than the longest list of files takes."""
MAX_CONFIG_BYTES = 2**20
MAX_SMOKE_BYTES = 256 * 2**20
"""Of ``smoke.json``: it is read whole, and as values it takes several times as much memory."""
MAX_TENSORS_BYTES = 2**30
"""Of ``smoke.tensors``: it is read in parts, but each deployment asks every Triton and gateway for all of it."""
MAX_MLMODEL_BYTES = 2**20
"""Of MLflow's ``MLmodel``, which holds the signature."""
MAX_BYTES = {
    PACKAGE_FILE: MAX_PACKAGE_FILE_BYTES,
    CONFIG_FILE: MAX_CONFIG_BYTES,
    SMOKE_FILE: MAX_SMOKE_BYTES,
    TENSORS_FILE: MAX_TENSORS_BYTES,
    "MLmodel": MAX_MLMODEL_BYTES,
}
"""How large a file may be that the bot itself reads, in bytes."""


def of_the_package(there: Iterable[str], listed: Collection[str]) -> set[str]:
    """Return those artifacts of a version that its package must list: not the list, nor what other tools found."""

    def is_found_by_others(path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return folder == FINDINGS_FOLDER and name.endswith(".json") and path not in listed

    return {path for path in there if path != PACKAGE_FILE and not is_found_by_others(path)}


@dataclass(frozen=True, order=True)
class PackageFile:
    """One file: ``path``, relative and POSIX, ``size`` in bytes, ``sha256`` as 64 hexadecimal digits."""

    path: str
    size: int
    sha256: str

    def is_in(self, chunks: Iterable[bytes], feed: Callable[[bytes], object] = lambda _: None) -> bool:
        """Say whether ``chunks`` are the file's bytes, and hand them to ``feed``; stop at the first byte too many."""
        digest, size = hashlib.sha256(), 0
        for chunk in chunks:
            size += len(chunk)
            if size > self.size:
                return False
            digest.update(chunk)
            feed(chunk)
        return (size, digest.hexdigest()) == (self.size, self.sha256)


@dataclass(frozen=True)
class Package:
    """The ``files`` of a package, sorted by path, and the ``digest`` of that list, ``sha256:…``."""

    files: tuple[PackageFile, ...]
    digest: str

    @classmethod
    def of(cls, files: Iterable[PackageFile]) -> Package:
        """Return the package of ``files``; raise ValueError for a path that cannot be one of a package."""
        listed = tuple(sorted(files))
        paths = [file.path for file in listed]
        if len(listed) > MAX_FILES:
            raise ValueError(f"{len(listed)} files, more than {MAX_FILES}")
        for path in paths:
            check_path(path)
        if twice := sorted({path for path, following in pairwise(paths) if path == following}):
            raise ValueError(f"listed twice: {', '.join(twice[:10])}")
        folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
        if both := sorted(folders.intersection(paths)):
            raise ValueError(f"both a file and a folder: {', '.join(both[:10])}")
        return cls(files=listed, digest=digest_of(listed))

    @property
    def version_files(self) -> tuple[PackageFile, ...]:
        """The files that go into Triton's version directory."""
        return tuple(file for file in self.files if file.path not in NOT_OF_THE_VERSION)

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(file.size for file in self.files)

    def too_large(self, max_bytes: int | None = None) -> str:
        """Say what is larger than it may be, by the list alone: all of it, or a file that the bot reads.

        All of it may have ``max_bytes``, any number if None. An empty string where nothing is.
        """
        if max_bytes is not None and self.size > max_bytes:
            return f"{self.size} bytes, more than {max_bytes}"
        documents = [file for file in self.files if file.size > MAX_BYTES.get(file.path, file.size)]
        return "; ".join(f"{file.path} has {file.size} bytes, more than {MAX_BYTES[file.path]}" for file in documents)

    def file(self, path: str) -> PackageFile | None:
        """Return the file whose path is ``path``, or None."""
        return next((file for file in self.files if file.path == path), None)

    def to_json(self) -> str:
        """Return the text of ``package.json``."""
        document = {
            "format": 1,
            "digest": self.digest,
            "files": [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in self.files],
        }
        return json.dumps(document, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Package:
        """Parse ``text``, that of ``package.json``; raise ValueError that says what is wrong with it."""
        try:
            document = jsontext.read(text)
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from error
        if not isinstance(document, dict) or document.get("format") != 1:
            raise ValueError("not a package.json of format 1")
        if unknown := sorted(set(document) - {"format", "digest", "files"}):
            raise ValueError(f"unknown keys: {', '.join(map(repr, unknown[:10]))}")
        listed = document.get("files")
        if not isinstance(listed, list) or not listed:
            raise ValueError("lists no files")
        package = cls.of(_file(entry) for entry in listed)
        if document.get("digest") != package.digest:
            raise ValueError(f"says digest {document.get('digest')!r:.80}, but its list of files is {package.digest}")
        for needed in (CONFIG_FILE, SMOKE_FILE):
            if package.file(needed) is None:
                raise ValueError(f"does not list {needed}")
        return package


def digest_of(files: Iterable[PackageFile]) -> str:
    """Return ``sha256:…`` of the files sorted by path: a line ``<sha256>  <size>  <path>`` each, in UTF-8."""
    lines = "".join(f"{file.sha256}  {file.size}  {file.path}\n" for file in sorted(files))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def check_path(path: str) -> str:
    """Return ``path`` if a package may contain it; raise ValueError otherwise.

    Relative, in POSIX form, printable ASCII without backslash or colon, no component that is empty, ``.`` or
    ``..`` or begins with a dot, at most 200 characters. Not a name that MLflow or Promobot writes itself.
    """
    parts = path.split("/")
    plain = path.isascii() and path.isprintable() and not set(path) & set('\\:*?"<>|')
    if not path or len(path) > MAX_PATH or not plain or any(not part or part.startswith(".") for part in parts):
        raise ValueError(f"{path!r:.80} is not a valid path in a package")
    if parts[0] == PACKAGE_FILE or parts[0] in MLFLOW_FILES:
        raise ValueError(f"{path!r} is a name that a package may not use for its own files")
    if str(PurePosixPath(path)) != path:
        raise ValueError(f"{path!r:.80} is not a valid path in a package")
    return path


def _file(entry: object) -> PackageFile:
    if not isinstance(entry, dict) or set(entry) != {"path", "size", "sha256"}:
        raise ValueError("an entry of files has other keys than path, size and sha256")
    path, size, sha256 = entry["path"], entry["size"], entry["sha256"]
    if not isinstance(path, str) or type(size) is not int or size < 0:
        raise ValueError(f"bad path or size: {path!r:.80}, {size!r:.80}")
    if not isinstance(sha256, str) or len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ValueError(f"bad sha256 of {path!r:.80}")
    return PackageFile(path=path, size=size, sha256=sha256)
