"""Both distributions, built so that anybody who builds them again from the tag gets the same bytes."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

DISTRIBUTIONS: Mapping[str, str] = {"promobot": ".", "promobot_sandbox": "bot/sandbox"}
"""The folder of each, below the project."""
SUMS = "SHA256SUMS"
_FILE = re.compile(r"(?P<name>[a-z_]+)-(?P<version>[^-]+?)(?:-py3-none-any\.whl|\.tar\.gz)")


def uv() -> str:
    """Return the program: beside this Python, else on PATH."""
    return shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"


def build(project: Path, out: Path) -> dict[str, str]:
    """Build wheel and source distribution of both; return their sha256 by name, and write them as `SUMS`.

    Each wheel is built from its source distribution, as whoever installs from source does it. Raises ValueError where
    ``out`` holds something already or the project has changes: no tag would name what was built.
    """
    changes = _run(project, "git", "status", "--porcelain").strip()
    if changes:
        raise ValueError(f"not as committed:\n{changes}")
    out = out.absolute()
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty")
    for folder in DISTRIBUTIONS.values():
        locked = ("--require-hashes", "--build-constraint", str(project / "requirements.lock"))
        _run(project, uv(), "build", "--quiet", *locked, "--python", sys.executable, "--out-dir", str(out), folder)
    (out / ".gitignore").unlink(missing_ok=True)  # uv's own
    found = sums(out)
    (out / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in found.items()))
    return found


def sums(folder: Path) -> dict[str, str]:
    """Return the sha256 of each distribution in a folder, by its name."""
    files = (path for path in sorted(folder.iterdir()) if _FILE.fullmatch(path.name))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def version_of(names: Mapping[str, str]) -> str:
    """Return the version of what was built. Raises ValueError unless both distributions are whole, of one version."""
    read = [found for name in names if (found := _FILE.fullmatch(name))]
    versions = {one["version"] for one in read}
    if sorted(one["name"] for one in read) != sorted(2 * [*DISTRIBUTIONS]) or len(versions) != 1:
        raise ValueError(f"not a wheel and a source distribution of each, of one version: {sorted(names)}")
    return versions.pop()


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the names of files that only one has, or that are not the same in both."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
