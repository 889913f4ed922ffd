"""Sample rows and the framework's answers, as the golden cases of a package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bot.domain.smoke import FLOATS, Scalar, SmokeCase, Tensor, text_or_bytes
from bot.errors import InvalidInput
from bot.training.interface import Interface, TensorSpec, numpy_dtype

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

MAX_SAMPLES = 256
"""Smoke cases are asked at each deployment: a few rows that matter, not a test set."""


def read_samples(path: str) -> Any:
    """Return the rows of a file: a DataFrame of .parquet or .csv, an array of .npy, arrays by name of .npz.

    Raises InvalidInput for a file that cannot be read.
    """
    import numpy as np

    try:
        match path.rpartition(".")[2].lower():
            case "npy":
                return np.load(path, allow_pickle=False)
            case "npz":
                with np.load(path, allow_pickle=False) as arrays:
                    return dict(arrays)
            case "parquet":
                import pandas as pd

                return pd.read_parquet(path)
            case "csv":
                import pandas as pd

                return pd.read_csv(path)
    except (OSError, ValueError, ImportError) as error:
        raise InvalidInput(f"cannot be read: {error}", file=path) from error
    raise InvalidInput("is not a .parquet, .csv, .npy or .npz file", file=path)


def cases_of(
    interface: Interface,
    *,
    inputs: ArrayLike | Mapping[str, ArrayLike],
    answers: ArrayLike | Mapping[str, ArrayLike],
    max_batch_size: int,
) -> Iterator[SmokeCase]:
    asked = _arrays(interface.inputs, inputs, key="inputs", exact=True)
    expected = _arrays(interface.outputs, answers, key="answers", exact=False)
    if missing := [spec.name for spec in interface.inputs if spec not in asked]:
        raise InvalidInput(f"lacks {', '.join(missing)}", key="inputs")
    if not expected:
        raise InvalidInput("is empty", key="answers")
    rows = {len(array) for array in (*asked.values(), *expected.values())}
    if len(rows) > 1:
        raise InvalidInput(f"have different numbers of rows: {sorted(rows)}", key="inputs and answers")
    count = rows.pop()
    if not 1 <= count <= MAX_SAMPLES:
        raise InvalidInput(f"have {count} rows instead of 1 to {MAX_SAMPLES}", key="inputs and answers")

    def case(name: str, chosen: slice) -> SmokeCase:
        return SmokeCase(
            name=name,
            inputs=tuple(_tensor(spec, array[chosen]) for spec, array in asked.items()),
            outputs=tuple(_tensor(spec, array[chosen]) for spec, array in expected.items()),
        )

    yield from (case(f"row-{row}", slice(row, row + 1)) for row in range(count))
    if (batch := min(count, max_batch_size)) > 1:
        yield case(f"batch-of-{batch}", slice(0, batch))


def _arrays(
    specs: tuple[TensorSpec, ...], given: ArrayLike | Mapping[str, ArrayLike], *, key: str, exact: bool
) -> dict[TensorSpec, np.ndarray[Any, Any]]:
    """Return the arrays in the order of ``specs``, each in its tensor's datatype and ``[rows, *dims]``."""
    if not isinstance(given, Mapping):
        if len(specs) != 1:
            raise InvalidInput(f"must be named: {', '.join(spec.name for spec in specs)}", key=key)
        given = {specs[0].name: given}
    if unknown := sorted(set(given) - {spec.name for spec in specs}):
        raise InvalidInput(f"the model has no {', '.join(unknown)}", key=key)
    return {
        spec: _array(spec, given[spec.name], key=f"{key}: {spec.name}", exact=exact)
        for spec in specs
        if spec.name in given
    }


def _array(spec: TensorSpec, values: ArrayLike, *, key: str, exact: bool) -> np.ndarray[Any, Any]:
    import numpy as np

    array = np.asarray(values)
    if array.ndim == 1 and spec.dims == (1,):
        array = array.reshape(-1, 1)
    row = array.shape[1:]
    if (
        array.ndim == 0
        or len(row) != len(spec.dims)
        or any(w not in (-1, h) for w, h in zip(spec.dims, row, strict=True))
    ):
        raise InvalidInput(f"has the shape {list(array.shape)} instead of {[-1, *spec.dims]}", key=key)
    if spec.datatype == "BYTES":
        # NumPy's own type for bytes drops zeros at the end of an element.
        if array.dtype.kind == "S" or not all(isinstance(value, str | bytes) for value in array.flat):
            raise InvalidInput(
                "has values that are neither text nor bytes",
                key=key,
                next_step="Give bytes as an array of dtype=object.",
            )
        return array.astype(object)
    dtype = numpy_dtype(spec)
    if not np.can_cast(array.dtype, dtype, casting="same_kind"):
        raise InvalidInput(f"has the type {array.dtype}, the model's is {spec.datatype}", key=key)
    cast = array.astype(dtype)
    rounded = not np.array_equal(cast, array, equal_nan=dtype.kind == "f" and array.dtype.kind == "f")
    if rounded and (exact or spec.datatype not in FLOATS):
        raise InvalidInput(
            f"has values that {spec.datatype} cannot hold",
            key=key,
            next_step=f"Ask the training framework about the values as {spec.datatype}, and give those.",
        )
    return cast


def _tensor(spec: TensorSpec, array: np.ndarray[Any, Any]) -> Tensor:
    elements: list[Scalar] = array.ravel().tolist()
    data = tuple(text_or_bytes(value) if isinstance(value, bytes) else value for value in elements)
    return Tensor(name=spec.name, datatype=spec.datatype, shape=array.shape, data=data)
