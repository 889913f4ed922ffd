"""A field of a request, as settings name what a recording must not keep."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FIELD = re.compile(r"(?P<input>[^\[\]]+)(?:\[(?P<column>\d{1,9})\])?")


@dataclass(frozen=True)
class Field:
    """A part of a request: a whole input, or one ``column`` of it, counted from 0 along the last dimension."""

    input: str
    column: int | None = None

    def __str__(self) -> str:
        return self.input if self.column is None else f"{self.input}[{self.column}]"


def field(text: str) -> Field:
    """Parse ``customer`` or ``X[3]``; raise ValueError for anything else."""
    found = _FIELD.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r:.80} is not a field: write an input's name, or NAME[COLUMN]")
    return Field(found["input"], None if found["column"] is None else int(found["column"]))
