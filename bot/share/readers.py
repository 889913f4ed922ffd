"""The users that can read a folder, by the modes of all that lies on the way to it."""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterable
from pathlib import Path

_ENTER, _READ_AND_ENTER = 0o1, 0o5
_ACL = "system.posix_acl_access"


def readers_of(folders: Iterable[Path]) -> str:
    """Say who can read all these folders besides root: everybody, one group, or nobody but their owner.

    A folder on the way with an access control list is left out: its mode does not say who may enter. Raises OSError
    where one cannot be looked at.
    """
    groups: set[int] = set()
    for folder in folders:
        resolved = folder.resolve()
        for path in (*reversed(resolved.parents), resolved):
            found = path.stat()
            needed = _READ_AND_ENTER if path == resolved else _ENTER
            if found.st_mode & needed == needed or _has_list(path):
                continue
            if found.st_mode >> 3 & needed != needed:
                return f"nobody but its owner ({path} has mode {stat.S_IMODE(found.st_mode):o})"
            groups.add(found.st_gid)
    if len(groups) > 1:
        return f"nobody but members of {' and '.join(sorted(map(_name, groups)))}"
    return f"the group {_name(groups.pop())}" if groups else "everybody"


def _has_list(path: Path) -> bool:
    try:
        return _ACL in os.listxattr(path)
    except OSError:
        return False  # a file system without such lists


def _name(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)
