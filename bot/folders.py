"""What a client of a network file system believes about names, and how to make it ask."""

from __future__ import annotations

import os
from pathlib import Path


def ask_anew(path: Path, *, below: Path) -> None:
    """Have the next look at ``path`` see what other machines did to it, and to the folders between it and ``below``.

    An NFS client believes what it cached about a name, also that it is not there, for up to a minute. Opening a
    folder makes it ask the server (close-to-open); ``docs/nfs.md`` has what was measured. Elsewhere it does nothing.
    Raises OSError where a folder may not be opened; one that is not there is none.
    """
    for folder in reversed(path.parents):
        if folder.is_relative_to(below):
            try:
                os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
            except (FileNotFoundError, NotADirectoryError):
                return
