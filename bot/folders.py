"""Folders on a network file system: seen as they are now, kept through a crash, and readable for others.

What the bot writes is read by others: Tritons, gateways, other runners. So no mode follows from the umask. A folder
is 0755 and a file 0644. In a folder with setgid that its group may write to, they are 2775 and 0664: there several
users of one group write, as with Git's ``core.sharedRepository``. Who may enter at all, the roots say: their modes
are set when the bot makes them, and never changed.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

READ_ONLY = 0o555
"""Of a published folder: Triton's Python backend would write into it."""
_REFUSED = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EROFS)


def ask_anew(path: Path) -> None:
    """Have the next look at ``path`` see what other machines did to it, and to the folders above it.

    An NFS client believes what it cached about a name, also that it is not there, for up to a minute. Opening a
    folder makes it ask the server (close-to-open); ``docs/nfs.md`` has what was measured. Elsewhere it does nothing.
    Folders that may not be read are passed over. Raises OSError for anything else.
    """
    for folder in reversed(path.parents):
        try:
            os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
        except PermissionError:
            continue
        except (FileNotFoundError, NotADirectoryError):
            return


def sync_folder(path: Path) -> None:
    """Have what was created, renamed and removed in a folder outlive a crash; raise OSError where it cannot."""
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
