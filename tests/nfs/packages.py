"""The Debian packages that the lab is made of, unpacked into a folder; nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

WANTED = ("nfs-ganesha", "nfs-ganesha-vfs", "user-mode-linux", "kmod")
NEEDS = ("unshare", "ip", "mkfs.ext4", "apt-get", "dpkg", "mount")
SECONDS = 300


class Missing(RuntimeError):
    """This machine cannot have the lab, and why."""


def unpack(folder: Path) -> None:
    """Fetch NFS-Ganesha and User-Mode-Linux with what they need, and unpack them into ``folder``.

    Raises Missing where that cannot be.
    """
    if absent := [name for name in NEEDS if shutil.which(name) is None]:
        raise Missing(f"{', '.join(absent)}: not installed")
    archives = folder / "archives"
    (archives / "partial").mkdir(parents=True)
    command = ["apt-get", "install", "--assume-yes", "--download-only", "--no-install-recommends", "--reinstall"]
    # Without the lock of dpkg: nothing is installed, and another lab may fetch at the same time.
    options = [f"Dir::Cache::archives={archives}", "APT::Sandbox::User=root", "Debug::NoLocking=true"]
    _run([*command, *(part for option in options for part in ("-o", option)), *WANTED])
    for package in sorted(archives.glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(folder)])
    shutil.rmtree(archives)
    # Packages of before and after the merge of /bin and /lib into /usr.
    for name in ("bin", "sbin", "lib"):
        if (folder / name).is_dir():
            shutil.copytree(folder / name, folder / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(folder / name)
    # kmod is what its name says, and looks for modules in lib/modules.
    (folder / "lib").mkdir()
    (folder / "lib/modules").symlink_to("../usr/lib/uml/modules")
    (folder / "modprobe").symlink_to("usr/bin/kmod")


def version(package: str) -> str:
    """Return a package with the version that apt fetches, which is the one that was unpacked."""
    shown = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False).stdout
    found = next((line.split()[-1] for line in shown.splitlines() if "Candidate:" in line), "?")
    return f"{package} {found}"


def _run(command: list[str]) -> None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]}: {error}") from error
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no word"])[-1]
        raise Missing(f"{' '.join(command[:2])} ended with {ended.returncode}: {last}")
