"""What a client of a network file system believes about names, and how to make it ask."""

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
