"""Where a version is put together before it is published, and what a publish that was cut off left there.

    <state>/staging/<token>/                  a small package: gone afterwards, whatever happens
    <state>/staging/<digest>.<token>/files/   a large one: stays when it is cut off, so that the next one can go on
    <state>/staging/<digest>.<token>.lock     held as long as somebody works there

A later publish only copies from a folder that was left. The lock says whether the folder may be deleted. If an NFS
server gave the lock of a live process to another, the first process finds its folder gone and publishes nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from bot.domain.package import Package
from bot.errors import Unavailable
from bot.folders import make_folder, open_to_readers, revalidate
from bot.share.files import age_seconds, delete

ABANDONED_SECONDS = 24 * 3600
_RESUMABLE = re.compile(r"[0-9a-f]{32}\.")
_WENT_AWAY = (errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN)


def may_be_resumed(path: Path) -> bool:
    """Whether it is what is left of a large package, or its lock, and not yet too old to be of use."""
    return bool(_RESUMABLE.match(path.name)) and age_seconds(path) <= ABANDONED_SECONDS


@contextmanager
def staged(staging: Path) -> Iterator[Path]:
    """Give a folder that is gone afterwards, whatever happens."""
    folder = staging / secrets.token_hex(8)
    make_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def resumable(staging: Path, package: Package) -> Iterator[tuple[Path, list[Path]]]:
    """Give a folder to put the package together in, and those that others left of the same package, fullest first.

    It stays where the registry, the share or a person broke the work off; then of all that is left the fullest stays.
    """
    name = package.digest.removeprefix("sha256:")[:32]
    revalidate(staging / name)
    _drop_abandoned(staging)
    left = sorted((path for path in staging.glob(f"{name}.*") if path.suffix != ".lock"), key=_bytes_in, reverse=True)
    own = staging / f"{name}.{secrets.token_hex(8)}"
    kept = False
    # Before the folder: a process that sees it also sees whether somebody works in it.
    with _own_lock(own) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for folder in (own, own / "files"):
                make_folder(folder)
            yield own / "files", [path / "files" for path in left]
        except (Unavailable, KeyboardInterrupt):
            kept = True
            raise
        except OSError as error:
            kept = error.errno in _WENT_AWAY
            raise
        finally:
            with suppress(OSError):  # what is left is dropped later, and hides no error that is on its way
                fullest = [path for path in left if kept and _bytes_in(path) > _bytes_in(own)][:1]
                for path in left:
                    if path not in fullest and not _is_held(path):
                        _drop(path)
                if not kept or fullest:
                    delete(own)


@contextmanager
def _own_lock(folder: Path) -> Iterator[TextIO]:
    lock = _lock_of(folder)
    try:
        with lock.open("w") as opened:
            open_to_readers(opened.fileno(), lock.parent)
            yield opened
    finally:
        # Closed first: what is removed while it is open NFS keeps, under another name. Nobody else asks for this one.
        with suppress(OSError):
            if not folder.is_dir():
                lock.unlink(missing_ok=True)


def _drop_abandoned(staging: Path) -> None:
    for path in staging.iterdir():
        if _RESUMABLE.match(path.name) and path.suffix != ".lock" and not may_be_resumed(path) and not _is_held(path):
            _drop(path)


def _drop(folder: Path) -> None:
    if folder.is_dir():
        delete(folder)
    _lock_of(folder).unlink(missing_ok=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _is_held(folder: Path) -> bool:
    try:
        descriptor = os.open(_lock_of(folder), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total
