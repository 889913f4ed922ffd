"""Bringing a package's bytes onto the share: several files at a time, hashed as they pass, in bounded memory.

The bytes of a file come from the nearest place: another version on the share that holds the same, what a publish
that was cut off left behind, the registry. Nothing of these is trusted, neither a name nor a size: a file counts when
the sha256 of all that was written to it is the one that the package lists. Files of the share are copied into new
files, never linked or moved: a process that still has the old file open writes into that one only.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from bot.concurrency import FILES, map_concurrent
from bot.domain.contents import Look
from bot.domain.package import PackageFile
from bot.errors import NotAllowed, OtherBytes, Rejected
from bot.folders import set_mode
from bot.share.files import make_parents
from bot.share.notes import Notes

SMALL_BYTES = 4 * 2**20
"""A package up to this size is copied file by file: it takes no longer, and each step follows the one before."""
_HASHED_BYTES = 2**18
_WRITTEN_BACK_BYTES = 8 * 2**20
_COPIED_BYTES = 32 * 2**20
_NOT_FROM_HERE = (errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM)


class ReadFile(Protocol):
    """Gives the bytes of a package's file in chunks, by its path, from ``start`` on. Several threads may ask."""

    def __call__(self, path: str, start: int = 0, /) -> Iterable[bytes]: ...


Moved = Callable[[int], None]
"""Is told how many more bytes are in place; less than none where they turned out to be others."""


@dataclass(frozen=True)
class Job:
    """A file to write at ``target``, and where on the share its bytes, or their beginning, may lie already."""

    file: PackageFile
    target: Path
    there: Sequence[Path] = ()


@dataclass(frozen=True)
class Copying:
    """How the files of a package are brought: from where, for which system, and so many at a time.

    ``moved`` gets the number of bytes as they come. ``look`` gives what judges the contents of each file; without it
    any will do.
    """

    read: ReadFile
    system: str
    limit: int = FILES
    moved: Moved = lambda _: None
    look: Look | None = None


def is_large(files: Iterable[PackageFile]) -> bool:
    """Whether files are so large together that it pays to copy several at a time, and to go on where it broke off."""
    return sum(file.size for file in files) > SMALL_BYTES


def copy_all(jobs: Sequence[Job], how: Copying) -> None:
    """Write all files, each synced; raise what the first of them that failed raised, when all others have stopped."""
    if not is_large(job.file for job in jobs):
        for job in jobs:
            _Copy(job, how).run()
        return
    stop = threading.Event()

    def copy(job: Job) -> None:
        with suppress(_Stopped):  # what another one failed of is raised
            _Copy(job, how, stop).run()

    # The largest begin, so that none is left alone at the end.
    map_concurrent(sorted(jobs, key=lambda job: -job.file.size), copy, limit=how.limit, stop=stop)


def copy_into(
    folder: Path, files: Iterable[PackageFile], notes: Notes, how: Copying, *, left: Sequence[Path] = ()
) -> None:
    """Write the files into the folder; what lies on the share already is copied from there.

    ``left``: folders in which earlier tries have the beginnings of the same files.
    """
    jobs, files = [], tuple(files)
    if is_large(files):
        notes.look_anew()
    for file in files:
        path = make_parents(folder, file.path)
        there = [*notes.places_of(file), *(one / file.path for one in left)] if is_large(files) else []
        jobs.append(Job(file, path, there))
    copy_all(jobs, how)


class _Stopped(Exception):
    """Another file of the package failed."""


class _Copy:
    """One file on its way to the share. Every byte is counted and hashed; only all of them together are judged."""

    def __init__(self, job: Job, how: Copying, stop: threading.Event | None = None) -> None:
        self._job, self._file, self._read, self._system = job, job.file, how.read, how.system
        self._moved, self._look, self._stop = how.moved, how.look, stop
        self._begin()

    def _begin(self) -> None:
        self._digest, self._size, self._written_back = hashlib.sha256(), 0, 0
        self._contents = self._look(self._file) if self._look is not None else None

    def run(self) -> None:
        file = self._file
        descriptor = os.open(self._job.target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o444)
        with os.fdopen(descriptor, "wb") as out:
            set_mode(out.fileno(), 0o444)  # whatever the umask: Triton runs as somebody else
            self._fill(out)
            out.flush()
            os.fsync(out.fileno())
        if not self._is_right():
            raise OtherBytes(
                f"{file.path} is not what the package says: {self._size} bytes, "
                f"sha256 {self._digest.hexdigest()[:12]}…, instead of {file.size} bytes, {file.sha256[:12]}…",
                system=self._system,
                state="The staged files are dropped; nothing was published.",
                next_step="Somebody changed the artifact after it was registered: register and propose anew.",
            )
        if self._contents is not None and (problem := self._contents.problem()):
            raise NotAllowed(
                f"{file.path} {problem}",
                system=self._system,
                state="The staged files are dropped; nothing was published.",
                next_step="docs/how-to/training.md says what a package may contain.",
            )

    def _is_right(self) -> bool:
        return self._size == self._file.size and self._digest.hexdigest() == self._file.sha256

    def _fill(self, out: BinaryIO) -> None:
        for place in self._job.there:
            whole = self._take(out, place)
            if self._is_right():
                return
            if whole:
                self._forget(out)
            elif self._size:
                break
        if self._size:
            # A beginning was there. Only with the rest can be told whether it is the right one.
            with suppress(Rejected):
                self._receive(out)
            if self._is_right():
                return
            self._forget(out)
        self._receive(out)

    def _receive(self, out: BinaryIO) -> None:
        """Write what the registry has from here on, no more than the file is long."""
        chunks = self._read(self._file.path, self._size) if self._size else self._read(self._file.path)
        with closing(chunks) if isinstance(chunks, Generator) else nullcontext():
            for chunk in chunks:
                self._go_on()
                self._hash(chunk)
                if self._size > self._file.size:
                    break
                out.write(chunk)
                self._moved(len(chunk))
                if self._size - self._written_back >= _WRITTEN_BACK_BYTES:
                    out.flush()
                    self._write_back(out.fileno())

    def _take(self, out: BinaryIO, place: Path) -> bool:
        """Copy what lies at ``place``, and hash what came of it; say whether that was, or seemed, a whole file."""
        try:
            source = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return False  # it was removed in the meantime, or is not ours to read: there is the registry
        copy = os.open(self._job.target, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            about = os.fstat(source)
            if not stat.S_ISREG(about.st_mode) or about.st_size > self._file.size:
                return False
            while self._size < about.st_size:
                self._go_on()
                count = _copy_range(source, out.fileno(), self._size, about.st_size - self._size)
                if not count:
                    break
                self._hash_part(copy, count)
                self._write_back(out.fileno())
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            return True  # whatever it is, nothing of it is used
        finally:
            os.close(copy)
            os.close(source)
            out.seek(self._size)
        return about.st_size == self._file.size

    def _hash(self, chunk: bytes | memoryview) -> None:
        self._digest.update(chunk)
        self._size += len(chunk)
        if self._contents is not None:
            self._contents.feed(bytes(chunk))

    def _hash_part(self, copy: int, count: int) -> None:
        buffer, end = memoryview(bytearray(min(_HASHED_BYTES, count))), self._size + count
        while self._size < end:
            self._go_on()
            there = os.preadv(copy, [buffer[: end - self._size]], self._size)
            if not there:
                raise OSError(errno.EIO, "shorter than what was copied", str(self._job.target))
            self._hash(buffer[:there])
            self._moved(there)

    def _forget(self, out: BinaryIO) -> None:
        self._moved(-self._size)
        out.seek(0)
        out.truncate()
        self._begin()

    def _write_back(self, descriptor: int) -> None:
        """Make the kernel begin to write what it was given, so that there is little left to wait for at the end."""
        # That it would also let go of what is on the disk already does not apply: none of this is.
        os.posix_fadvise(descriptor, self._written_back, self._size - self._written_back, os.POSIX_FADV_DONTNEED)
        self._written_back = self._size

    def _go_on(self) -> None:
        if self._stop is not None and self._stop.is_set():
            raise _Stopped


def _copy_range(source: int, target: int, offset: int, count: int) -> int:
    """Copy a part, on the server or by reference where the file system can; return how many bytes it was."""
    try:
        return os.copy_file_range(source, target, min(count, _COPIED_BYTES), offset, offset)
    except OSError as error:
        if error.errno not in _NOT_FROM_HERE:
            raise
    return os.pwrite(target, os.pread(source, min(count, _HASHED_BYTES), offset), offset)
