"""Sample rows as people hold them: an array, a DataFrame, columns by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.training.converters.converted import UnfitRows

if TYPE_CHECKING:
    import numpy as np

INPUT = "X"
"""The name of the one input of a model that takes an array."""


@dataclass(frozen=True)
class Rows:
    """Sample rows by input name. ``frame``: they are columns, each ``[rows, 1]`` and an input of its own."""

    arrays: Mapping[str, np.ndarray[Any, Any]]
    frame: bool

    @classmethod
    def of(cls, inputs: Any) -> Rows:
        """Read an array ``[rows, …]``, ``{"X": array}``, a DataFrame, or columns by name; raise UnfitRows."""
        import numpy as np

        if hasattr(inputs, "columns") and hasattr(inputs, "iloc"):
            return cls(
                {str(name): _column(str(name), inputs[name].to_numpy()) for name in inputs.columns}, frame=True
            )
        if isinstance(inputs, Mapping) and set(inputs) != {INPUT}:
            columns = {str(name): _column(str(name), np.asarray(values)) for name, values in inputs.items()}
            return cls(columns, frame=True)
        values = inputs[INPUT] if isinstance(inputs, Mapping) else inputs
        try:
            array = np.asarray(values)
        except ValueError as error:
            raise UnfitRows(
                "have rows of different lengths", key="inputs", next_step="Pad them to the same length."
            ) from error
        return cls({INPUT: array}, frame=False)

    def rounded(self) -> Rows:
        """Return the rows with all numbers as FP32, which every converter and every node of a graph can take."""
        import numpy as np

        arrays = {
            name: array.astype(np.float32) if array.dtype.kind in "iufb" else array
            for name, array in self.arrays.items()
        }
        return Rows(arrays, self.frame)

    def one_array(self) -> np.ndarray[Any, Any]:
        """Return them as one array ``[rows, columns]`` of numbers; raise UnfitRows for a column of text."""
        import numpy as np

        if text := [name for name, array in self.arrays.items() if array.dtype.kind not in "iufb"]:
            raise UnfitRows(
                f"{text[0]} is not a column of numbers, and such a model has one input of numbers",
                key="inputs",
                next_step="Encode it before, or put the model into a pipeline of scikit-learn that does.",
            )
        if not self.frame:
            return self.arrays[INPUT]
        return np.concatenate([array.astype(np.float64) for array in self.arrays.values()], axis=1)

    def as_trained(self, before: Rows) -> Any:
        """Return what a scikit-learn estimator takes: a DataFrame with the types that ``before`` has, or an array."""
        if not self.frame:
            array = self.arrays[INPUT]
            was = before.arrays[INPUT].dtype
            return array.astype(was) if array.dtype.kind == "f" and was.kind in "iufb" else array
        import pandas as pd

        return pd.DataFrame(
            {name: array[:, 0].astype(before.arrays[name].dtype) for name, array in self.arrays.items()}
        )


def _column(name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    key = f"inputs: {name}"
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise UnfitRows(f"has the shape {list(values.shape)}; a column has one value in each row", key=key)
    if values.dtype.kind in "iufb":
        return values[:, np.newaxis]
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise UnfitRows(
                f"row {row} holds {value!r}, which is neither a number nor text",
                key=key,
                next_step="Give text for what is missing, or leave the column out.",
            )
    return values.astype(object)[:, np.newaxis]
