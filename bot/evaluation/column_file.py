"""Numbers of every row, such as scores, on this machine's disk: ten million of them are not kept in memory."""

from __future__ import annotations

import tempfile
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from bot.errors import Refused

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ColumnFile:
    """Rows of numbers that are added at the end, and then read as one array. The file goes with the object."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="promobot-")  # noqa: SIM115 - it is closed with the object
        self._looks: tuple[np.dtype[Any], tuple[int, ...]] | None = None
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, array: NDArray[Any]) -> None:
        """Add rows, all of the type and the shape of the first; raise Refused where the disk takes no more."""
        looks = (array.dtype, array.shape[1:])
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{array.dtype} is not a type of numbers")
        if self._looks not in (None, looks):
            raise ValueError(f"rows of {looks} after rows of {self._looks}")
        self._looks = looks
        try:
            self._file.write(np.ascontiguousarray(array).data)
        except OSError as error:
            raise Refused(
                f"the temporary folder {tempfile.gettempdir()} takes no more: {error.strerror}",
                state="Nothing was changed.",
                next_step="Make room there, or name another folder in TMPDIR.",
            ) from error
        self.rows += len(array)

    def array(self) -> NDArray[Any]:
        """Return all rows that were added so far, read from the disk as they are looked at; do not write to them."""
        dtype, shape = self._looks or (np.dtype(np.float64), ())
        if not self.rows:
            return np.empty((0, *shape), dtype)
        self._file.flush()
        return np.memmap(self._file, dtype, "r", shape=(self.rows, *shape))
