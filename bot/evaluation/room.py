"""Arrays with a value for every row of a set: on the disk where they are large, and looked at part by part.

Ten million rows have several columns of 80 MB. The operating system keeps the pages of a file as it has room; but
those that a process has looked at count as its own until it lets them go. So everything that looks at all rows goes
over `parts`, which lets go of each part after use.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.errors import Refused

if TYPE_CHECKING:
    from numpy.typing import NDArray

AT_ONCE = 2**20
"""Values of one array that are looked at in one go; sums are added up in these parts, which may move the last bit."""
BYTES_AT_ONCE = 16 * 2**20
"""The same in bytes: a text of 64 characters takes 256."""
ON_DISK_BYTES = 16 * 2**20
"""An array that is larger lies in a temporary file, which the operating system writes and forgets as it needs to."""


def room(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return zeros, on the disk where they are many; raise Refused where the disk takes no more."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    if size < ON_DISK_BYTES or kind.hasobject:
        return np.zeros(shape, kind)
    try:
        with tempfile.TemporaryFile(prefix="promobot-") as file:
            file.truncate(size)
            return np.memmap(file, dtype=kind, mode="r+", shape=shape)
    except OSError as error:
        raise Refused(
            f"the temporary folder {tempfile.gettempdir()} takes no answers to an evaluation set: {error.strerror}",
            state="Nothing was measured.",
            next_step="Make room there, or name another folder in TMPDIR.",
        ) from error


def parts(*arrays: NDArray[Any] | None) -> Iterator[slice]:
    """Yield the rows of the first array part by part, and let go of that part of all arrays after each."""
    there = [array for array in arrays if array is not None]
    rows = len(there[0])
    widest = max(array.size // max(len(array), 1) for array in there)
    largest = max(array.nbytes // max(len(array), 1) for array in there)
    step = max(1, min(AT_ONCE // max(widest, 1), BYTES_AT_ONCE // max(largest, 1)))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
        release(*there)


def release(*arrays: NDArray[Any]) -> None:
    """Let go of the pages of arrays that lie on the disk: they stay in the file, and are read again when needed."""
    for array in arrays:
        base: Any = array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)


def taken(values: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """Return the values of these rows, which are in order."""
    found = room((len(rows), *values.shape[1:]), values.dtype)
    for part in parts(found, rows):
        found[part] = values[rows[part]]
        release(values)
    return found


def kept(values: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the values where ``mask`` is true."""
    found = room((int(mask.sum()), *values.shape[1:]), values.dtype)
    at = 0
    for part in parts(values):
        some = values[part][mask[part]]
        found[at : at + len(some)] = some
        at += len(some)
        release(found)
    return found


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """Return the distinct values, sorted."""
    found = [np.unique(values[part]) for part in parts(values)]
    return np.unique(np.concatenate(found)) if found else values[:0]


def in_order(codes: NDArray[Any], sizes: NDArray[Any]) -> NDArray[Any]:
    """Return the numbers of all rows, by code, and by row within a code; ``sizes`` counts the rows of each code."""
    order = room((len(codes),), np.int32 if len(codes) <= np.iinfo(np.int32).max else np.int64)
    at = np.cumsum(sizes) - sizes
    for part in parts(codes):
        some = codes[part]
        local = np.argsort(some, kind="stable")
        sorted_codes = some[local]
        begins = np.flatnonzero(np.concatenate([[True], sorted_codes[1:] != sorted_codes[:-1]]))
        which, lengths = sorted_codes[begins], np.diff(np.append(begins, len(some)))
        order[np.repeat(at[which] - begins, lengths) + np.arange(len(some))] = local + part.start
        at[which] += lengths
        release(order)
    return order


def groups_of(groups: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the number of each row's group, in the order of the groups' names, and how many rows each has."""
    if len(groups) and groups.dtype.kind in "iu":
        looks = [(int(groups[part].min()), int(groups[part].max())) for part in parts(groups)]
        if min(low for low, _ in looks) == 0 and (high := max(high for _, high in looks)) < len(groups):
            sizes = counted(groups, high + 1)
            if sizes.all():
                return groups, sizes  # they are such numbers already
    if len(groups) <= AT_ONCE:
        _, codes, few = np.unique(groups, return_inverse=True, return_counts=True)
        return codes, few
    names = np.array(groups)
    release(groups)
    names.sort()
    first = np.empty(len(names), np.bool_)
    first[0] = True
    np.not_equal(names[1:], names[:-1], out=first[1:])
    names = names[first]
    numbers = room((len(groups),), np.int32 if len(groups) <= np.iinfo(np.int32).max else np.int64)
    for part in parts(numbers, groups):
        some = groups[part]
        order = np.argsort(some)
        found = np.empty(len(some), numbers.dtype)
        found[order] = np.searchsorted(names, some[order])
        numbers[part] = found
    return numbers, counted(numbers, len(names))


def counted(codes: NDArray[Any], many: int) -> NDArray[np.int64]:
    """Return how many rows have each of the codes below ``many``."""
    sizes = np.zeros(many, np.int64)
    for part in parts(codes):
        np.add.at(sizes, codes[part], 1)
    return sizes
