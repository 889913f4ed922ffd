"""A large package, at hand for all checks of a proposal: it is fetched once.

    <state>/checked/<digest>/       the version's files, whole: they appear by one rename
    <state>/checked/<digest>.lock   shared while a check uses them, exclusive while they are fetched or deleted

READY, Triton and Smoke are jobs of their own, on any runner, at the same time or one after the other. The first of
them fetches the package, the others wait for it. Nobody trusts what another one left: each check hashes every byte
before it uses them, and fetches them again if they are others.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bot.domain.contents import Look
from bot.domain.package import Package, PackageFile
from bot.folders import make_folder, open_to_readers, revalidate
from bot.share.copying import Moved
from bot.share.files import age_seconds, chunks_of, delete

KEPT_SECONDS = 3600.0
"""The checks of one commit are through by then. A later commit with the same digest fetches it again."""

Fetch = Callable[[Path], object]
"""Makes a folder with the version's files, whole, by one rename."""


@contextmanager
def at_hand(folder: Path, package: Package, fetch: Fetch, moved: Moved, look: Look | None) -> Iterator[Path]:
    """Give a folder that holds exactly the package's version files, hashed by this process while it has the lock.

    ``fetch`` makes the folder if it is missing or holds other bytes. ``moved`` receives the number of further bytes
    that were hashed. ``look`` gives what judges each file's contents. A file that it refuses is fetched again, and
    ``fetch`` raises what is wrong with it.
    """
    make_folder(folder)
    there = folder / package.digest.removeprefix("sha256:")[:32]
    lock = there.with_name(f"{there.name}.lock")
    _forget_old(
        folder, but=there, make_room=0 if there.is_dir() else sum(file.size for file in package.version_files)
    )
    with _opened(lock) as opened:
        fetched, damaged = False, None
        while True:
            fcntl.flock(opened, fcntl.LOCK_SH)
            revalidate(there)
            if there.is_dir() and (fetched or _is_whole(there, package, moved, look)):
                break
            damaged = _identity(there)
            # Given back first: on NFS two that hold it together would wait for each other for ever.
            fcntl.flock(opened, fcntl.LOCK_UN)
            fcntl.flock(opened, fcntl.LOCK_EX)
            revalidate(there)
            # The one that had the lock before us may have fetched it.
            if there.is_dir() and _identity(there) != damaged and _is_whole(there, package, moved, look):
                fetched = True
                continue
            delete(there)
            fetch(there)
            fetched = True
        os.utime(lock)  # it is the last use that counts
        yield there


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from one that took its place; None where there is none."""
    try:
        about = folder.stat()
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_ctime_ns


def _is_whole(folder: Path, package: Package, moved: Moved, look: Look | None) -> bool:
    """Hash what lies there; say whether it is the package, and nothing but what a package may contain.

    If it is not, ``moved`` gets the negative of the bytes counted so far: all of it is fetched, and counted, again.
    """
    listed = {file.path: file for file in package.version_files}
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    if there.keys() != listed.keys() or any(path.is_symlink() for path in there.values()):
        return False
    hashed = 0

    def is_right(file: PackageFile) -> bool:
        contents = look(file) if look is not None else None

        def feed(chunk: bytes) -> None:
            nonlocal hashed
            hashed += len(chunk)
            moved(len(chunk))
            if contents is not None:
                contents.feed(chunk)

        return file.is_in(chunks_of(there[file.path]), feed) and (contents is None or not contents.problem())

    if all(map(is_right, listed.values())):
        return True
    moved(-hashed)
    return False


def forget_old(folder: Path) -> int:
    """Delete what no check uses and none used for an hour; return how many packages that were."""
    return _forget_old(folder) if folder.is_dir() else 0


def _forget_old(folder: Path, *, but: Path | None = None, make_room: int = 0) -> int:
    count = 0
    for lock in sorted(folder.glob("*.lock"), key=age_seconds, reverse=True):
        there = lock.with_suffix("")
        is_full = shutil.disk_usage(folder).free < make_room
        if there == but or not (is_full or age_seconds(lock) > KEPT_SECONDS):
            continue
        with _opened(lock) as opened, suppress(BlockingIOError):
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The lock's file stays: a check that has it open would else hold a lock that nobody else can see.
            if there.is_dir():
                delete(there)
                count += 1
    return count


@contextmanager
def _opened(lock: Path) -> Iterator[BinaryIO]:
    with lock.open("ab") as opened:
        open_to_readers(opened.fileno(), lock.parent)
        yield opened
