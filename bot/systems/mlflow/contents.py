"""The files of a package, compared with the package's list while they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from contextlib import closing

from bot.domain.package import MAX_BYTES, Package, PackageFile
from bot.errors import OtherBytes, Rejected

CHUNK_BYTES = 2**18
"""More does not stay in a core's cache between receiving, hashing and writing: measured in decision 27."""


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
        with closing(self._stream(file.path)) as chunks:
            return file.is_in(chunks, feed)
