"""The files of a package, compared with the package's list while they are read."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator
from contextlib import closing

from bot.domain.package import MAX_BYTES, SMOKE_FILE, TENSORS_FILE, Package, PackageFile
from bot.domain.smoke import Beside, SmokeCases
from bot.errors import OtherBytes, Rejected
from bot.spool import Spool

CHUNK_BYTES = 2**18
"""More does not stay in a core's cache between receiving, hashing and writing: measured in decision 27."""


class PackageContents:
    """The package of one version and its bytes. All that this returns was compared with the package's list."""

    def __init__(self, package: Package, stream: Callable[..., Generator[bytes]], system: str) -> None:
        self.package = package
        self._stream, self._system = stream, system
        self._tensors: Spool | None = None
        self._fetching = threading.Lock()

    def read(self, path: str) -> bytes:
        """Return a document that the package lists.

        Raises Rejected where it is larger than its kind may be, and OtherBytes where MLflow has other bytes.
        """
        file = self._small_enough(path)
        content = bytearray()
        with closing(self._stream(path)) as chunks:
            for chunk in chunks:
                content += chunk
                if len(content) > file.size:
                    break
        if (len(content), hashlib.sha256(content).hexdigest()) != (file.size, file.sha256):
            raise self._other_bytes(path)
        return bytes(content)

    def smoke(self) -> SmokeCases:
        """Return the golden cases; raise ValueError that says what is wrong with ``smoke.json``.

        Large tensors are fetched when the first of them is looked at, all together, and lie on this machine's disk
        from then on. Raises as ``read``.
        """
        file = self.package.file(TENSORS_FILE)
        beside = Beside(file.size, self._read_tensors, self._system) if file is not None else None
        return SmokeCases.from_json(self.read(SMOKE_FILE), beside)

    def _read_tensors(self, begin: int, size: int) -> bytes:
        with self._fetching:
            if self._tensors is None:
                file, spool = self._small_enough(TENSORS_FILE), Spool()
                if not self.is_whole(file, spool.add):
                    raise self._other_bytes(TENSORS_FILE)
                self._tensors = spool
        return self._tensors.read(begin, size)

    def _small_enough(self, path: str) -> PackageFile:
        file, limit = self.package.file(path), MAX_BYTES[path]
        if file is None or file.size > limit:
            said = f"has {file.size} bytes, more than {limit}" if file else "is not listed"
            raise Rejected(f"{path} {said}", system=self._system)
        return file

    def _other_bytes(self, path: str) -> OtherBytes:
        return OtherBytes(
            f"{path} is not what the package says",
            system=self._system,
            state="It was not used.",
            next_step="Somebody changed the artifact after it was registered: register and propose anew.",
        )

    def is_whole(self, file: PackageFile, feed: Callable[[bytes], object]) -> bool:
        """Hash a file of the package, and hand what arrives to ``feed``; say whether it is what the package lists."""
        with closing(self._stream(file.path)) as chunks:
            return file.is_in(chunks, feed)
