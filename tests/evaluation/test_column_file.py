"""Scores on disk: what is added is what is read, and nothing else is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bot.errors import Refused
from bot.evaluation.column_file import ColumnFile


def test_what_is_added_is_read_as_one_array() -> None:
    with ColumnFile() as column:
        assert column.array().tolist() == []
        for start in range(0, 10, 3):
            column.add(np.arange(start, min(start + 3, 10), dtype=np.float32))
        assert column.array().tolist() == list(range(10)) and column.array().dtype == np.float32
        column.add(np.array([10.0], np.float32))
        assert (column.rows, column.array()[-1]) == (11, 10.0)


def test_rows_of_several_values_keep_their_shape() -> None:
    with ColumnFile() as column:
        column.add(np.arange(12).reshape(6, 2)[::2])
        assert column.array().tolist() == [[0, 1], [4, 5], [8, 9]]


def test_other_types_and_shapes_are_refused() -> None:
    with ColumnFile() as column:
        column.add(np.zeros(3))
        for other in (np.zeros(3, np.float32), np.zeros((3, 1))):
            with pytest.raises(ValueError, match="after rows of"):
                column.add(other)
        with pytest.raises(ValueError, match="not a type of numbers"):
            column.add(np.array(["a"]))


def test_a_full_disk_says_so() -> None:
    full = Path("/dev/full")
    with ColumnFile() as column, full.open("wb") as nowhere:
        column._file.close()
        column._file = nowhere  # type: ignore[assignment]
        with pytest.raises(Refused, match="takes no more: No space left on device"):
            column.add(np.zeros(10**6))
