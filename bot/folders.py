"""Folders: making a client of a network file system ask for their names anew, and a crash keep them."""

from __future__ import annotations

import os
from pathlib import Path


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
