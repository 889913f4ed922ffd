"""Files and folders, written so that a crash, or another machine, never shows half of them."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bot.folders import make_folder, make_writable, open_to_readers, revalidate, sync_folder

_READ_BYTES = 2**18


def write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        open_to_readers(file.fileno(), path.parent)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_up_to(path: Path, size: int) -> bytes:
    """Return a file's first ``size`` bytes."""
    with path.open("rb") as file:
        return file.read(size)


def read_part(path: Path, begin: int, size: int) -> bytes:
    """Return ``size`` bytes of a file from ``begin`` on; fewer where it ends before."""
    with path.open("rb") as file:
        file.seek(begin)
        return file.read(size)


def chunks_of(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, in parts that stay in a core's cache while they are hashed."""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_READ_BYTES):
            yield chunk


def make_parents(folder: Path, path: str) -> Path:
    """Make the folders of a file below ``folder``, each with the modes that readers need; return the file's path."""
    file = folder / path
    for above in reversed(file.relative_to(folder).parents):
        make_folder(folder / above)
    return file


def sync_folders(root: Path) -> None:
    for folder in reversed(list(folders(root))):
        sync_folder(folder)


def folders(root: Path, *, may_vanish: bool = False) -> Iterator[Path]:
    """Yield ``root`` and each folder below it, parents first. Links are not followed.

    Raises OSError where one cannot be listed: passed over, it would be neither synced nor protected. One that is gone
    by then is passed over where they ``may_vanish``.
    """

    def failed(error: OSError) -> None:
        if not (may_vanish and isinstance(error, FileNotFoundError)):
            raise error

    for folder, _, _ in os.walk(root, onerror=failed):
        yield Path(folder)


def rename_in(source: Path, target: Path) -> bool:
    """Rename and sync; say whether it was surely our rename that made the target."""
    fresh = True
    try:
        source.rename(target)
    except OSError:
        # It may have happened all the same (a lost reply on NFS), or somebody published the same before: look.
        revalidate(target)
        if not target.is_dir():
            raise
        fresh = False
    sync_folder(target.parent)
    return fresh


def delete(path: Path) -> bool:
    """Delete a file or a folder with all that is in it, also while somebody else deletes the same.

    Say whether all of it is gone: what a process of this machine has open on NFS is only renamed (``.nfs…``), and its
    folder stays until it is closed.
    """
    held = False
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return True
    for folder in folders(path, may_vanish=True):
        with suppress(FileNotFoundError):
            make_writable(folder)  # published folders are read-only, and so could not be emptied

    def failed(_: object, __: str, reason: tuple[type, BaseException, object]) -> None:
        nonlocal held
        error = reason[1]
        if isinstance(error, OSError) and error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            held = True
        elif not isinstance(error, FileNotFoundError):
            raise error

    shutil.rmtree(path, onerror=failed)
    return not held


def age_seconds(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0
