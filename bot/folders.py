"""Folders on a network file system: seen as they are now, kept through a crash, and readable for others.

Others read the files that the bot writes: Tritons, gateways, other runners. Therefore the bot sets modes itself and
ignores the umask: a folder is 0755 and a file 0644. In a folder with setgid that its group may write to, they are
2775 and 0664: there several users of one group write, as with Git's ``core.sharedRepository``. The modes of the roots
decide who may enter at all. The bot sets them when it creates the roots, and never changes them.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

READ_ONLY = 0o555
"""Of a published folder: Triton's Python backend would write into it."""
_REFUSED = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EROFS)


def revalidate(path: Path) -> None:
    """Make the NFS client revalidate ``path`` and the folders above it, so that it sees other machines' changes.

    An NFS client trusts its cache about a name for up to a minute, also when the cache says that the name does not
    exist. Opening a folder makes the client ask the server (close-to-open); ``docs/how-to/nfs.md`` has measurements.
    On other file systems it does nothing. It skips folders that it may not read. Raises OSError for anything else.
    """
    for folder in reversed(path.parents):
        try:
            os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
        except PermissionError:
            continue
        except (FileNotFoundError, NotADirectoryError):
            return


def sync_folder(path: Path) -> None:
    """Fsync a folder, so that its new, renamed and removed names survive a crash; raise OSError if that fails."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path, *, synced: bool = True) -> None:
    """Make a folder for others to read, ``synced``, because all that will lie in it hangs on its name.

    One that is there and is narrower gets this mode, where it is ours. The folder above it must be there. It is never
    made: where it is gone, so is the mount.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        path.mkdir(exist_ok=True)
        set_mode(path, _of_folders(path.parent))
        if synced:
            sync_folder(path.parent)
        return
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    wanted = _of_folders(path.parent)
    if path.is_symlink():
        return  # what it leads to is somebody's, and its mode is theirs to set
    if ~found.st_mode & wanted & 0o777:
        try:
            path.chmod(found.st_mode | wanted)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise


def open_to_readers(descriptor: int, folder: Path) -> None:
    """Give an open file in ``folder`` the mode of all files there; raise OSError where the share refuses that."""
    set_mode(descriptor, 0o664 if _is_shared(folder) else 0o644)


def set_mode(path: Path | int, mode: int) -> None:
    """Set a mode, where it is another one; the bit of setgid stays as the folder above it gave it.

    Raises OSError that says so where the file system refuses modes, unless what it gives by itself is as open to
    readers, and as closed to writers.
    """
    found = stat.S_IMODE(os.stat(path).st_mode)  # noqa: PTH116 - a path, or the descriptor of an open file
    wanted = mode | (found & stat.S_ISGID)
    if found == wanted:
        return
    try:
        os.chmod(path, wanted)  # noqa: PTH101
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        if not ~found & wanted & 0o777 and not found & ~wanted & 0o222:
            return
        said = f"this share refuses to set modes: it keeps {found:o}, and {wanted:o} is needed"
        raise OSError(error.errno, said, None if isinstance(path, int) else str(path)) from error


def of_published(folder: Path) -> int:
    """Return the mode of a folder that is published in ``folder``: written by nobody, moved by who may move it.

    To move a folder takes the right to write in it, so other users of a shared root need that.
    """
    return READ_ONLY | (0o020 if _is_shared(folder) else 0)


def make_writable(folder: Path) -> None:
    """Let ourselves move a published folder, and empty it; do nothing where we may already."""
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o700)


def _of_folders(parent: Path) -> int:
    return 0o775 if _is_shared(parent) else 0o755


def _is_shared(folder: Path) -> bool:
    mode = folder.stat().st_mode
    return bool(mode & stat.S_ISGID and mode & stat.S_IWGRP)
