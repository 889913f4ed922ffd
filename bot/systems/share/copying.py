"""Bringing a package's bytes onto the share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from bot.domain.package import PackageFile
from bot.errors import OtherBytes

ReadFile = Callable[[str], Iterable[bytes]]
"""Gives the bytes of a package's file in chunks, by its path."""


def copy(file: PackageFile, chunks: Iterable[bytes], target: Path, *, system: str) -> None:
    """Write a file of a package, hashed on the way and synced; raise OtherBytes where it is not what is listed."""
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o444)
    with os.fdopen(descriptor, "wb") as out:
        # Whatever the umask: Triton runs as somebody else.
        os.fchmod(out.fileno(), 0o444)
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            if size > file.size:
                break
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if size != file.size or digest.hexdigest() != file.sha256:
        raise OtherBytes(
            f"{file.path} is not what the package says: {size} bytes, sha256 {digest.hexdigest()[:12]}…, "
            f"instead of {file.size} bytes, {file.sha256[:12]}…",
            system=system,
            state="What was staged is dropped; nothing was published.",
            next_step="Somebody changed the artifact after it was registered: register and propose anew.",
        )
