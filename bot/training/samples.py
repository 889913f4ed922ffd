"""Sample rows and the framework's answers, as the golden cases of a package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bot.domain.package import MAX_TENSORS_BYTES
from bot.domain.packed import Packed, Scalar, text_or_bytes
from bot.domain.signature import TensorSpec
from bot.domain.smoke import ALL_IN_JSON_BYTES, BESIDE_BYTES, FLOATS, MAX_CASE_BYTES, SmokeCase, Tensor
from bot.errors import InvalidInput
from bot.training.interface import Interface, numpy_dtype

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

MAX_SAMPLES = 256
"""Smoke cases are asked at each deployment: a few rows that matter, not a test set."""
BATCH_BYTES = 16 * 2**20
"""Of the case that asks several large rows together; two rows at least."""


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
    answers: ArrayLike | Mapping[str, ArrayLike] | None,
    max_bytes: int,
) -> Iterator[SmokeCase]:
    """Yield a case for each sample, and one more of several rows where the model is batched.

    A sample is a row of arrays ``[rows, …]``. Without batches it is a whole request: arrays have the model's shape,
    or ``[requests, *shape]``. Samples of different shapes come as a list. All cases together have ``max_bytes`` at
    most. Without ``answers`` cases have no outputs.
    """
    asked = _samples(interface, interface.inputs, inputs, key="inputs", exact=True)
    expected = {}
    if answers is not None:
        expected = _samples(interface, interface.outputs, answers, key="answers", exact=False)
    if missing := [spec.name for spec in interface.inputs if spec not in asked]:
        raise InvalidInput(f"lacks {', '.join(missing)}", key="inputs")
    if not expected and answers is not None:
        raise InvalidInput("is empty", key="answers")
    what = "rows" if interface.max_batch_size else "requests"
    counts = {len(samples) for samples in (*asked.values(), *expected.values())}
    if len(counts) > 1:
        raise InvalidInput(
            f"have different numbers of {what}: {sorted(counts)}",
            key="inputs and answers",
            next_step=_BY_REQUEST if interface.max_batch_size else _SHAPES_OF_REQUESTS,
        )
    count = counts.pop()
    if not 1 <= count <= MAX_SAMPLES:
        raise InvalidInput(f"have {count} {what} instead of 1 to {MAX_SAMPLES}", key="inputs and answers")

    def case(name: str, chosen: Sequence[int]) -> SmokeCase:
        return SmokeCase(
            name=name,
            inputs=tuple(_tensor(spec, [samples[n] for n in chosen]) for spec, samples in asked.items()),
            outputs=tuple(_tensor(spec, [samples[n] for n in chosen]) for spec, samples in expected.items()),
        )

    def shapes(number: int) -> list[tuple[int, ...]]:
        return [samples[number].shape for samples in (*asked.values(), *expected.values())]

    sizes = [
        sum(_size(samples[number]) for samples in (*asked.values(), *expected.values())) for number in range(count)
    ]
    alike = [number for number in range(count) if shapes(number) == shapes(0)][: interface.max_batch_size]
    alike = alike[: _in_a_batch(sizes, [sizes[number] for number in alike])]
    _check_size(sizes, [sizes[number] for number in alike], max_bytes, what=what)
    yield from (case(f"{what.removesuffix('s')}-{number}", [number]) for number in range(count))
    if len(alike) > 1:
        yield case(f"batch-of-{len(alike)}", alike)


def _size(array: np.ndarray[Any, Any]) -> int:
    if array.dtype.kind != "O":
        return array.nbytes
    return sum(4 + len(value if isinstance(value, bytes) else value.encode()) for value in array.flat)


def _in_a_batch(sizes: Sequence[int], alike: Sequence[int]) -> int:
    """Return how many rows one case asks together: fewer where they are large, because two show it as well."""
    if sum(sizes) + sum(alike) <= ALL_IN_JSON_BYTES:
        return len(alike)
    most = min(BATCH_BYTES, MAX_CASE_BYTES)
    numbers = range(len(alike), 1, -1)
    return next((n for n in numbers if sum(alike[:n]) <= (most if n > 2 else MAX_CASE_BYTES)), 1)


def _check_size(sizes: Sequence[int], batch: Sequence[int], max_bytes: int, *, what: str) -> None:
    """Raise InvalidInput where all cases together are too large to be asked at each deployment."""
    together = sum(batch) if len(batch) > 1 else 0
    if (total := sum(sizes) + together) <= max_bytes:
        return
    fewer = max(
        (n for n in range(1, len(sizes)) if sum(sizes[:n]) + min(together, sum(sizes[:n])) <= max_bytes), default=0
    )
    each = _mebibytes(max(sizes)) if min(sizes) == max(sizes) else f"up to {_mebibytes(max(sizes))}"
    listed = f"{len(sizes)} {what} of {each} each" if len(sizes) > 1 else f"1 {what.removesuffix('s')} of {each}"
    raise InvalidInput(
        f"make golden cases of {_mebibytes(total)}, more than {_mebibytes(max_bytes)}: {listed}"
        + (f", and {len(batch)} of them together, {_mebibytes(together)}" if together else ""),
        key="inputs and answers",
        next_step=(f"Give {fewer} of the {what}" if fewer else f"Give smaller {what}")
        + f", or say max_smoke_bytes, which may be up to {MAX_TENSORS_BYTES}: every deployment sends all of it to "
        "every Triton and gateway.",
    )


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


_BY_REQUEST = (
    "A model that does not answer row by row is packaged with max_batch_size=0: then each sample is a whole request, "
    "and answers may have any shape."
)
_SHAPES_OF_REQUESTS = "Give arrays of the model's own shape for one request, or a list with one for each request."


def _samples(
    interface: Interface,
    specs: tuple[TensorSpec, ...],
    given: ArrayLike | Mapping[str, ArrayLike],
    *,
    key: str,
    exact: bool,
) -> dict[TensorSpec, Sequence[np.ndarray[Any, Any]]]:
    """Return the samples in the order of ``specs``, each as the tensor of one request, in its datatype."""
    if not isinstance(given, Mapping):
        if len(specs) != 1:
            raise InvalidInput(f"must be named: {', '.join(spec.name for spec in specs)}", key=key)
        given = {specs[0].name: given}
    if unknown := sorted(set(given) - {spec.name for spec in specs}):
        there = ", ".join(spec.name for spec in specs)
        raise InvalidInput(f"the model has no {', '.join(unknown)}; it has {there}", key=key)
    return {
        spec: [
            _cast(spec, sample, key=f"{key}: {spec.name}", exact=exact)
            for sample in _split(interface, spec, given[spec.name], key=f"{key}: {spec.name}")
        ]
        for spec in specs
        if spec.name in given
    }


def _split(interface: Interface, spec: TensorSpec, values: ArrayLike, *, key: str) -> Sequence[np.ndarray[Any, Any]]:
    """Return what one tensor holds in each sample."""
    import numpy as np

    in_batches = bool(interface.max_batch_size)
    shape = (-1, *interface.dims(spec)) if in_batches else spec.shape
    values = as_arrays(values)
    if isinstance(values, list):  # samples of different shapes
        samples = [array[np.newaxis] if in_batches else array for array in values]
        for number, sample in enumerate(samples):
            if not _fits(sample.shape, shape):
                said = f"sample {number} has the shape {list(values[number].shape)}"
                raise InvalidInput(f"{said} instead of {list(shape[1:] if in_batches else shape)}", key=key)
        return samples
    array = values
    if in_batches:
        if array.ndim == 1 and shape == (-1, 1):
            array = array[:, np.newaxis]
        if not _fits(array.shape, shape):
            raise InvalidInput(f"has the shape {list(array.shape)} instead of {list(shape)}", key=key)
        return [array[number : number + 1] for number in range(len(array))]
    if array.ndim == 0 and shape == (1,):
        array = array.reshape(1)
    if _fits(array.shape, shape):
        return [array]
    if _fits(array.shape, (-1, *shape)):
        return list(array)
    if array.ndim == 1 and shape == (1,):
        return [array[number : number + 1] for number in range(len(array))]
    if shape and shape[0] > 0 and array.ndim and not len(array) % shape[0] and _fits(array.shape, (-1, *shape[1:])):
        return np.split(array, len(array) // shape[0]) if len(array) else []
    raise InvalidInput(
        f"has the shape {list(array.shape)} instead of {list(shape)}, or {[-1, *shape]} for several requests",
        key=key,
    )


def as_arrays(values: Any) -> np.ndarray[Any, Any] | list[np.ndarray[Any, Any]]:
    """Return what people hold as an array, or as a list of arrays where samples have different shapes.

    A tensor of PyTorch may require a gradient, lie on a GPU or be of a type that NumPy lacks.
    """
    import numpy as np

    if hasattr(values, "detach"):
        values = values.detach().cpu()
        return np.asarray(values.float() if "bfloat16" in str(values.dtype) else values)
    if isinstance(values, list | tuple) and any(hasattr(value, "detach") for value in values):
        values = [as_arrays(value) for value in values]
    try:
        array = np.asarray(values)
    except ValueError:
        return [np.asarray(value) for value in values]
    if array.dtype.kind == "O" and array.ndim == 1 and all(isinstance(v, list | np.ndarray) for v in array):
        return [np.asarray(value) for value in array]
    return array


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(want in (-1, have) for have, want in zip(shape, wanted, strict=True))


def _cast(spec: TensorSpec, array: np.ndarray[Any, Any], *, key: str, exact: bool) -> np.ndarray[Any, Any]:
    import numpy as np

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
    if not array.size:
        return array.astype(dtype)  # an empty list has no type of its own
    if not exact and array.dtype.kind == "f" and dtype.kind in "iu" and _are_whole(array):
        array = array.astype(np.int64)  # labels: a framework answers 1.0 for a class that its export calls 1
    if not np.can_cast(array.dtype, dtype, casting="same_kind"):
        raise InvalidInput(f"has the type {array.dtype}, the model's is {spec.datatype}", key=key)
    cast = array.astype(dtype)
    rounded = not np.array_equal(cast, array, equal_nan=dtype.kind == "f" and array.dtype.kind == "f")
    if spec.datatype == "BF16":  # the upper half of an FP32
        rounded = rounded or bool(np.any(cast.view(np.uint32) & 0xFFFF))
    if rounded and (exact or spec.datatype not in FLOATS):
        raise InvalidInput(
            f"has values that {spec.datatype} cannot hold",
            key=key,
            next_step=f"Ask the training framework about the values as {spec.datatype}, and give those.",
        )
    return cast


def _are_whole(array: np.ndarray[Any, Any]) -> bool:
    import numpy as np

    return bool(np.all(np.isfinite(array)) and np.all(np.abs(array) < 2**53) and np.all(array == np.trunc(array)))


def _tensor(spec: TensorSpec, samples: Sequence[np.ndarray[Any, Any]]) -> Tensor:
    import numpy as np

    array = samples[0] if len(samples) == 1 else np.concatenate(samples)
    if array.dtype.kind != "O" and array.nbytes >= BESIDE_BYTES:
        # As bytes: Python's own numbers take eight times as much memory.
        raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
        return Tensor(spec.name, spec.datatype, array.shape, Packed.of(spec.datatype, array.size, raw))
    elements: list[Scalar] = array.ravel().tolist()
    data = tuple(text_or_bytes(value) if isinstance(value, bytes) else value for value in elements)
    return Tensor(name=spec.name, datatype=spec.datatype, shape=array.shape, data=data)
