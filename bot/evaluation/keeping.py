"""An evaluation set on this machine: fetched once, compared with its digest while it arrives, and used again.

It lies in a folder named by its digest, never on the share. Each file is written beside its name and renamed, so the
next fetch resumes an interrupted one, and two at the same time do no harm.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from bot.domain.names import check_digest
from bot.domain.package import PackageFile
from bot.errors import InvalidInput, Refused
from bot.evaluation.description import DESCRIPTION_FILE, MAX_DESCRIPTION_BYTES
from bot.evaluation.sets import EvaluationSet, compare, described, files_of

Read = Callable[[str], Generator[bytes]]
"""Yields the bytes of one file of a set, from wherever it is kept; nobody has compared them yet."""
UNUSED_SECONDS = 30 * 24 * 3600
"""A set that nobody used for so long is deleted when another is fetched."""
_CHANGED = "Somebody changed the set after its digest was pinned: upload it again, or pin the digest of another."


def keep(folder: Path, digest: str, read: Read, *, of: str, start: int = 0, stop: int | None = None) -> EvaluationSet:
    """Return the set ``digest`` below ``folder``; fetch what is missing or damaged there by ``read``.

    ``of`` names where it comes from, for errors. With ``start`` or ``stop`` only the files that hold these rows are
    fetched. Raises InvalidInput where the source holds other bytes, Refused where the disk takes no more, and what
    ``read`` raises.
    """
    try:
        check_digest(digest)
    except ValueError as error:
        raise InvalidInput(str(error), key="digest") from error
    place = folder / digest.removeprefix("sha256:")
    with _to_disk(place):
        place.mkdir(parents=True, exist_ok=True)
        _forget(folder, but=place)
    text = _description(place, digest, read, of=of)
    description = described(text, digest, file=f"{of}/{DESCRIPTION_FILE}")
    missing = [file for file in files_of(description, start, stop) if not _is_there(place / file.path, file)]
    _check_room(place, sum(file.size for file in missing))
    for file in missing:
        _fetch(place, file, read, of=of)
    return EvaluationSet(place, digest, description)


def _description(place: Path, digest: str, read: Read, *, of: str) -> bytes:
    path = place / DESCRIPTION_FILE
    with suppress(OSError, InvalidInput):
        text = path.read_bytes()
        described(text, digest)
        os.utime(path)
        return text
    found = bytearray()
    with closing(read(DESCRIPTION_FILE)) as chunks:
        for chunk in chunks:
            found += chunk
            if len(found) > MAX_DESCRIPTION_BYTES:
                break
    text = bytes(found)
    described(text, digest, file=f"{of}/{DESCRIPTION_FILE}")
    with _to_disk(place), _beside(path) as out:
        os.write(out, text)
    return text


def _is_there(path: Path, file: PackageFile) -> bool:
    try:
        compare(path, file)
    except InvalidInput:
        return False
    return True


def _fetch(place: Path, file: PackageFile, read: Read, *, of: str) -> None:
    with _to_disk(place), _beside(place / file.path) as out:

        def feed(chunk: bytes) -> None:
            view = memoryview(chunk)
            while view:
                view = view[os.write(out, view) :]

        with closing(read(file.path)) as chunks:
            if not file.is_in(chunks, feed):
                raise InvalidInput(
                    f"is not the file that {DESCRIPTION_FILE} lists", file=f"{of}/{file.path}", next_step=_CHANGED
                )


@contextmanager
def _beside(path: Path) -> Iterator[int]:
    """Give a new file to write; it gets its name when the block ends, and is gone if the block raises."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _check_room(place: Path, needed: int) -> None:
    with _to_disk(place):
        free = shutil.disk_usage(place).free
    if needed > free:
        raise Refused(
            f"the evaluation set needs {needed / 2**20:,.0f} MiB in {place}, and {free / 2**20:,.0f} MiB are free",
            state="Nothing was measured.",
            next_step="Make room there, name another folder in XDG_CACHE_HOME, or split the set: "
            "docs/how-to/evaluation-sets.md.",
        )


def _forget(folder: Path, *, but: Path) -> None:
    """Delete the sets that nobody used for long."""
    for other in folder.iterdir():
        with suppress(FileNotFoundError):
            used = max(path.stat().st_mtime for path in (other, other / DESCRIPTION_FILE) if path.exists())
            if other != but and time.time() - used > UNUSED_SECONDS:
                shutil.rmtree(other, ignore_errors=True)


@contextmanager
def _to_disk(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refused(
            f"the evaluation set cannot be kept in {place}: {error.strerror or error}",
            state="Nothing was measured.",
            next_step="Make room there, or name another folder in XDG_CACHE_HOME.",
        ) from error
