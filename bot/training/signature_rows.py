"""Sample rows that nobody gave: made of a model's signature, and of the categories that it knows.

MLflow's autologging keeps the signature of a model, and no example of its inputs. Such rows prove that what is served
computes what the framework computes. They say nothing of what users send.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, TensorSpec

    Array = np.ndarray[Any, Any]

ROWS = 8
_SCALES = (1, 1, 1, 10, 0.1, 100, 1000, 0)
"""Of the numbers in each row: nobody knows in which range the model's training had them."""


def rows_of_signature(signature: ModelSignature | None, model: Any) -> Any:
    """Return rows as the signature has them: a DataFrame, an array, or arrays by name; None where it says too little.

    ``model`` is the fitted model; columns of text get the categories that its encoders know.
    """
    if signature is None or signature.inputs is None:
        return None
    schema = signature.inputs
    if schema.is_tensor_spec():
        arrays = {spec.name or "": _array(spec) for spec in schema.inputs}
        if any(array is None for array in arrays.values()):
            return None
        return arrays[""] if list(arrays) == [""] else arrays
    columns = [_column(number, spec, categories_of(model)) for number, spec in enumerate(schema.inputs)]
    if any(column is None for column in columns):
        return None
    if not schema.has_input_names():
        import numpy as np

        return np.stack([np.asarray(column) for column in columns], axis=1)
    import pandas as pd

    return pd.DataFrame(dict(zip(schema.input_names(), columns, strict=True)))


def categories_of(model: Any) -> Mapping[str, Sequence[Any]]:
    """Return the categories by column that the encoders of a scikit-learn pipeline were fitted to."""
    return dict(_categories(model, None))


def _categories(model: Any, columns: Sequence[Any] | None) -> Iterator[tuple[str, Sequence[Any]]]:
    if (steps := getattr(model, "steps", None)) is not None:
        if steps:  # what follows the first has other columns
            yield from _categories(steps[0][1], columns)
    elif (parts := getattr(model, "transformers_", None)) is not None:
        for _, part, chosen in parts:
            yield from _categories(part, [chosen] if isinstance(chosen, str) else chosen)
    elif (found := getattr(model, "categories_", None)) is not None:
        names = columns if columns is not None else getattr(model, "feature_names_in_", None)
        if names is not None and len(names) == len(found):
            yield from zip(map(str, names), found, strict=True)


def _column(number: int, spec: ColSpec, known: Mapping[str, Sequence[Any]]) -> Any:
    import numpy as np

    chance = np.random.default_rng(number)
    if spec.name is not None and (categories := known.get(str(spec.name))) is not None and len(categories):
        return [categories[row % len(categories)] for row in range(ROWS)]
    kind = getattr(spec.type, "name", "")
    if kind in ("double", "float"):
        numbers = chance.normal(size=ROWS) * np.array(_SCALES)
        return numbers.astype(np.float64 if kind == "double" else np.float32)
    if kind in ("integer", "long"):
        return chance.integers(0, 100, ROWS).astype(np.int64 if kind == "long" else np.int32)
    if kind == "boolean":
        return chance.random(ROWS) > 0.5
    if kind == "string":
        return np.array([f"text {row}" for row in range(ROWS)], dtype=object)
    return None


def _array(spec: TensorSpec) -> Array | None:
    """Return an array of the tensor's shape; None where a size besides the first is free: any might be wrong."""
    import numpy as np

    if not spec.shape or -1 in spec.shape[1:]:
        return None
    rows = ROWS if spec.shape[0] == -1 else spec.shape[0]
    shape, chance = (rows, *spec.shape[1:]), np.random.default_rng(0)
    if spec.type.kind == "f":
        scales = np.resize(np.array(_SCALES), rows).reshape(rows, *[1] * (len(shape) - 1))
        return (chance.normal(size=shape) * scales).astype(spec.type)
    if spec.type.kind in "iu":
        return chance.integers(0, 100, shape).astype(spec.type)
    return chance.random(shape) > 0.5 if spec.type.kind == "b" else None
