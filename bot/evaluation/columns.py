"""The columns of an evaluation set: arrays that people give, checked, and as they lie in Parquet files.

A column is named as its argument: ``inputs.X``, ``labels``, ``slices.region``, ``groups``. An input of several values
a row is a list of a fixed size, so that pandas, DuckDB and Spark read it, too.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from bot.domain.signature import TensorSpec
from bot.errors import InvalidInput
from bot.evaluation.description import KINDS, MAX_INPUTS, MAX_SLICES, Description, Kind, Labels, check_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

LABELS, GROUPS = "labels", "groups"
MAX_SLICE_CHARACTERS = 100
"""Of a value, such as a region: it stands in the pull request."""

DATATYPES = {
    "bool": "BOOL",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""The datatype of each type of NumPy."""
DTYPES = {datatype: np.dtype(name) for name, datatype in DATATYPES.items()}
"""NumPy's type of each datatype. BYTES are objects, and NumPy has no BF16."""
_OBJECTS = "Give arrays of one type, such as frame[columns].to_numpy(np.float32), or of text."
_INTEGERS = (np.iinfo(np.int64).min, np.iinfo(np.int64).max)


@dataclass(frozen=True)
class Layout:
    """Which columns a set has. Shapes of inputs are those of one row."""

    inputs: tuple[TensorSpec, ...]
    labels: Labels | None
    slices: tuple[str, ...]
    groups: bool

    @classmethod
    def of(cls, description: Description) -> Layout:
        """Return the layout that a description declares."""
        return cls(description.inputs, description.labels, description.slices, description.groups)

    @property
    def texts(self) -> list[str]:
        """The columns of few different texts, which Parquet keeps once each."""
        found = [f"slices.{name}" for name in self.slices]
        return [*found, LABELS] if self.labels and self.labels.datatype == "BYTES" else found

    def schema(self) -> pa.Schema:
        """Return the schema of the files."""
        fields = [pa.field(f"inputs.{spec.name}", type_of(spec), nullable=False) for spec in self.inputs]
        if self.labels:
            kind = {"INT64": pa.int64(), "FP64": pa.float64(), "BYTES": pa.string()}[self.labels.datatype]
            fields.append(pa.field(LABELS, kind, nullable=False))
        fields += [pa.field(f"slices.{name}", pa.string(), nullable=False) for name in self.slices]
        if self.groups:
            fields.append(pa.field(GROUPS, pa.int64(), nullable=False))
        return pa.schema(fields)


Columns = Mapping[str, "NDArray[Any]"]


def checked(given: Mapping[str, Any], *, kind: Kind | None, first: int = 0) -> tuple[Layout, dict[str, NDArray[Any]]]:
    """Return the layout and the columns of rows that somebody gives; raise InvalidInput that names what is wrong.

    ``given`` has ``inputs`` by name, and may have ``labels``, ``slices`` by name and ``groups``: NumPy arrays, a row
    each. ``first`` is the number of the first row, for errors.
    """
    if unknown := sorted(set(given) - {"inputs", LABELS, "slices", GROUPS}):
        raise InvalidInput(f"has the unknown {', '.join(map(str, unknown))}", next_step=_OF_A_BATCH)
    if given.get("inputs") is None:
        raise InvalidInput("is missing", key="inputs", next_step=_OF_A_BATCH)
    found: dict[str, NDArray[Any]] = {}
    specs = []
    for name, values in _named(given["inputs"], "inputs", most=MAX_INPUTS):
        spec, found[f"inputs.{name}"] = _input(name, values, first)
        specs.append(spec)
    labels = None
    if given.get(LABELS) is not None:
        labels, found[LABELS] = _labels(as_array(given[LABELS], LABELS), kind, first)
    elif kind is not None:
        raise InvalidInput("are missing, and their kind is given", key=LABELS)
    slices = []
    of_slices = {} if given.get("slices") is None else given["slices"]
    for name, values in sorted(_named(of_slices, "slices", most=MAX_SLICES), key=itemgetter(0)):
        slices.append(name)
        found[f"slices.{name}"] = _slice(name, as_array(values, f"slices: {name}"), first)
    if given.get(GROUPS) is not None:
        found[GROUPS] = _groups(as_array(given[GROUPS], GROUPS), first)
    _check_rows(found)
    return Layout(tuple(specs), labels, tuple(slices), GROUPS in found), found


_OF_A_BATCH = 'A batch is {"inputs": {"X": rows}, "labels": …, "slices": {"region": …}, "groups": …}.'


def as_array(values: Any, key: str) -> NDArray[Any]:
    """Return what somebody gives as an array; raise InvalidInput where its rows differ in shape."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InvalidInput(
            "has rows of different shapes",
            key=key,
            next_step="Every row of a set has the shape that the model takes.",
        ) from error


def _named(given: Any, what: str, *, most: int) -> Iterator[tuple[str, Any]]:
    if not isinstance(given, Mapping):
        raise InvalidInput("must be named", key=what, next_step=f'Give them by name: {what}={{"NAME": array}}.')
    if len(given) > most:
        raise InvalidInput(f"are {len(given)}, more than {most}", key=what)
    if what == "inputs" and not given:
        raise InvalidInput("is empty", key=what)
    for name, values in given.items():
        try:
            yield check_name(name, of=what), values
        except ValueError as error:
            raise InvalidInput(str(error)) from error


def _input(name: str, values: Any, first: int) -> tuple[TensorSpec, NDArray[Any]]:
    key = f"inputs: {name}"
    array = as_array(values, key)
    if array.ndim == 0:
        raise InvalidInput("is one value instead of a row for each", key=key)
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.dtype.kind in "OSU":
        array, datatype = _texts(array, key, first), "BYTES"
    elif (datatype := DATATYPES.get(array.dtype.name, "")) == "":
        raise InvalidInput(f"has the type {array.dtype}, which no input of Triton has", key=key, next_step=_OBJECTS)
    if not math.prod(array.shape[1:]):
        raise InvalidInput(f"has the shape {list(array.shape)}: a row holds nothing", key=key)
    return TensorSpec(name, datatype, array.shape[1:]), array


def _texts(array: NDArray[Any], key: str, first: int) -> NDArray[Any]:
    """Return texts or bytes as objects; raise InvalidInput for anything else that objects may be."""
    if array.dtype.kind == "S":
        # NumPy's own type for bytes drops zeros at the end of an element.
        raise InvalidInput(
            f"has the type {array.dtype}", key=key, next_step="Give bytes as an array of dtype=object."
        )
    if array.dtype.kind == "U":
        return array.astype(object)
    for place, value in enumerate(array.flat):
        if not isinstance(value, str | bytes):
            row, what = first + place // max(1, math.prod(array.shape[1:])), type(value).__name__
            said = f"has the type object, and row {row} holds {what}, which is neither text nor bytes"
            raise InvalidInput(said, key=key, next_step=_OBJECTS)
    return array


def _column(array: NDArray[Any], key: str) -> NDArray[Any]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InvalidInput(f"has the shape {list(array.shape)} instead of one value for each row", key=key)
    return array


def _labels(array: NDArray[Any], kind: Kind | None, first: int) -> tuple[Labels, NDArray[Any]]:
    if kind is not None and kind not in KINDS:
        raise InvalidInput(f"is {kind!r:.40} instead of {', '.join(KINDS)}", key="kind")
    array = _column(array, LABELS)
    if array.dtype.kind == "O":
        array = _all_texts(
            array, LABELS, first, "Give one type: numbers, or text. Drop rows without a label, or give labels=None."
        )
    what = kind or ("number" if array.dtype.kind == "f" else "class")
    if array.dtype.kind not in "biufU":
        raise InvalidInput(f"have the type {array.dtype}, which is neither a number nor text", key=LABELS)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InvalidInput(
            f"row {first + row} is {array[row]}, and a label is a finite number",
            key=LABELS,
            next_step="Leave out rows whose outcome is not known, or give labels=None.",
        )
    if what != "class":
        if array.dtype.kind == "U":
            raise InvalidInput(f"are text, and {what} is a number", key=LABELS, next_step='Say kind="class".')
        if what == "relevance" and array.size and array.min() < 0:
            row = int(np.flatnonzero(array < 0)[0])
            raise InvalidInput(f"row {first + row} is {array[row]}, and relevance is 0 or more", key=LABELS)
        return Labels(what, "FP64"), array.astype(np.float64)
    if array.dtype.kind == "U":
        return Labels("class", "BYTES"), array
    if array.dtype.kind in "fu" and not (np.all(array == np.trunc(array)) and np.all(array <= 2**53)):
        raise InvalidInput("are not whole numbers, and classes are", key=LABELS, next_step='Say kind="number".')
    return Labels("class", "INT64"), array.astype(np.int64)


def _all_texts(array: NDArray[Any], key: str, first: int, step: str) -> NDArray[Any]:
    """Return objects that are all text as NumPy's text; raise InvalidInput for the first that is not."""
    for row, value in enumerate(array, start=first):
        if not isinstance(value, str):
            raise InvalidInput(f"row {row} is {value!r:.40}, which is not text", key=key, next_step=step)
    return array.astype(np.str_)


def _slice(name: str, array: NDArray[Any], first: int) -> NDArray[Any]:
    key = f"slices: {name}"
    array = _column(array, key)
    if array.dtype.kind == "O":
        array = _all_texts(array, key, first, 'Give text in every row, such as frame["region"].fillna("unknown").')
    if array.dtype.kind in "biu":
        array = array.astype(np.str_)
    if array.dtype.kind != "U":
        raise InvalidInput(
            f"has the type {array.dtype}, and a slice is a group of rows, such as a region",
            key=key,
            next_step="Put numbers and dates into a few ranges, such as pandas.cut(...).astype(str).",
        )
    if (lengths := np.char.str_len(array)).max(initial=0) > MAX_SLICE_CHARACTERS:
        said = f"row {first + int(lengths.argmax())} has {lengths.max()} characters, more than {MAX_SLICE_CHARACTERS}"
        raise InvalidInput(said, key=key)
    return array


def _groups(array: NDArray[Any], first: int) -> NDArray[Any]:
    """Return a number for each row: integers as they are, the beginning of a sha256 of text.

    Only whether two rows are of one group matters, and a set need not say who its customers are.
    """
    array = _column(array, GROUPS)
    if array.dtype.kind == "O":
        array = _all_texts(array, GROUPS, first, "Give one type: whole numbers, or text.")
    if array.dtype.kind == "U":
        different, where = np.unique(array, return_inverse=True)
        hashed = (hashlib.sha256(str(text).encode()).digest()[:8] for text in different)
        numbers = np.fromiter((int.from_bytes(one, "little", signed=True) for one in hashed), np.int64)
        return numbers[where]
    if array.dtype.kind not in "biu" or (array.dtype == np.uint64 and array.size and array.max() > _INTEGERS[1]):
        raise InvalidInput(
            f"have the type {array.dtype}", key=GROUPS, next_step="Give whole numbers or text, such as customer ids."
        )
    return array.astype(np.int64)


def _check_rows(found: Columns) -> None:
    by_count: dict[int, list[str]] = {}
    for name, array in found.items():
        by_count.setdefault(len(array), []).append(name)
    if len(by_count) > 1:
        said = "; ".join(f"{', '.join(names)}: {count}" for count, names in sorted(by_count.items()))
        raise InvalidInput(f"the columns have different numbers of rows: {said}")


# --- in Parquet ---------------------------------------------------------------------------------------------------


def to_table(layout: Layout, columns: Columns) -> pa.Table:
    """Return the rows as Arrow holds them."""
    schema = layout.schema()
    return pa.Table.from_arrays([to_arrow(columns[field.name], field.type) for field in schema], schema=schema)


def from_table(layout: Layout, table: pa.Table) -> dict[str, NDArray[Any]]:
    """Return the rows as arrays, texts decoded once for each different one; raise ValueError for a missing value."""
    found = {}
    for name in layout.schema().names:
        column = table.column(name)
        if column.null_count:
            raise ValueError(f"{name} lacks a value")
        found[name] = to_numpy(column.combine_chunks())
    for spec in layout.inputs:
        array = found[f"inputs.{spec.name}"]
        found[f"inputs.{spec.name}"] = array.reshape(table.num_rows, *spec.shape)
    return found


def type_of(spec: TensorSpec) -> pa.DataType:
    """Return the Arrow type of one row of a tensor."""
    each = pa.binary() if spec.datatype == "BYTES" else pa.from_numpy_dtype(DTYPES[spec.datatype])
    count = math.prod(spec.shape)
    return each if count == 1 else pa.list_(pa.field("element", each, nullable=False), count)


def to_arrow(array: NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Return rows as an Arrow column of this type."""
    flat = np.ascontiguousarray(array).reshape(-1)
    of = kind.value_type if pa.types.is_fixed_size_list(kind) else kind
    if of == pa.binary():
        values = pa.array([v.encode() if isinstance(v, str) else v for v in flat.tolist()], type=of)
    else:
        values = pa.array(flat, type=of, from_pandas=False)
    return pa.FixedSizeListArray.from_arrays(values, type=kind) if of is not kind else values


def to_numpy(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Return a column as a flat array; lists one after the other."""
    if isinstance(column, pa.ChunkedArray):
        return np.concatenate([to_numpy(chunk) for chunk in column.chunks])
    if pa.types.is_dictionary(column.type):
        different: NDArray[Any] = np.array(column.dictionary.to_pylist(), dtype=np.str_)
        texts: NDArray[Any] = different[column.indices.to_numpy(zero_copy_only=False)]
        return texts
    if pa.types.is_fixed_size_list(column.type):
        values = column.flatten()
        if values.null_count:
            raise ValueError("a list lacks a value")
        return to_numpy(values)
    array: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return array
