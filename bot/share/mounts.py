"""The mount of a path, and whether it keeps what is written."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mount:
    """The mount of a path, as the kernel says."""

    point: str
    filesystem: str
    source: str
    options: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.filesystem} {self.source} at {self.point}"

    @property
    def wrong(self) -> list[str]:
        """The options of NFS under which a write may be lost, or a lock excludes nobody elsewhere."""
        if not self.filesystem.startswith("nfs"):
            return []
        local = [
            option for option in self.options if option.startswith("local_lock=") and option != "local_lock=none"
        ]
        return [option for option in self.options if option in ("soft", "softerr", "nolock", "nocto")] + local


def mount_of(path: Path, table: str) -> Mount:
    """Return what the resolved ``path`` is on, by the text of ``/proc/self/mountinfo``."""
    found = None
    for line in table.splitlines():
        mounted, _, about = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), mounted.split()[4])
        if path.is_relative_to(point) and (found is None or len(point) >= len(found.point)):
            filesystem, source, options = about.split(maxsplit=2)
            found = Mount(point, filesystem, source, (*mounted.split()[5].split(","), *options.split(",")))
    if found is None:
        raise OSError(errno.ENOENT, "in no mount", str(path))
    return found
