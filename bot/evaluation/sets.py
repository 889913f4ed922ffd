"""Evaluation sets on disk: written once, opened by their digest, read in batches.

A set is a folder: ``evaluation.json`` (:mod:`bot.evaluation.description`) and Parquet files of bounded row groups.
The sha256 of ``evaluation.json`` names every byte. No operation holds more than a few row groups in memory.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bot.concurrency import begin
from bot.domain.names import check_digest
from bot.domain.package import PackageFile
from bot.domain.signature import TensorSpec
from bot.errors import InvalidInput, Refused
from bot.evaluation.columns import GROUPS, LABELS, Columns, Layout, as_array, checked, from_table, to_table
from bot.evaluation.description import (
    DESCRIPTION_FILE,
    MAX_DESCRIPTION_BYTES,
    MAX_ROWS,
    Description,
    Kind,
    Labels,
    SetFile,
    digest_of,
    file_name,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROUP_BYTES = 2**20
"""Of the rows in one row group, which is read at once."""
GROUP_ROWS = 2**16
FILE_BYTES = 256 * 2**20
"""Of the rows in one file. One that outgrows it is the last of its file's groups."""
MAX_SLICE_VALUES = 1000
"""Different values of one column of slices: beyond that, each has too few rows to be judged."""
_CHUNK = 2**20
_DAMAGED = "Delete the folder and fetch the set again; a set is never changed, a new one is written."


@dataclass(frozen=True)
class Batch:
    """Rows of a set from number ``start`` on, as arrays with a row each. Do not write to them.

    ``labels`` are int64 or text for classes, else float64; None where the set has none. ``slices`` hold text,
    ``groups`` int64: rows of one group have the same number.
    """

    start: int
    inputs: Mapping[str, NDArray[Any]]
    labels: NDArray[Any] | None = None
    slices: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    groups: NDArray[Any] | None = None

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(next(iter(self.inputs.values())))

    def only(self, begin: int, end: int) -> Batch:
        """Return some of the rows, counted within this batch."""
        cut = slice(begin, end)
        return Batch(
            start=self.start + begin,
            inputs={name: array[cut] for name, array in self.inputs.items()},
            labels=None if self.labels is None else self.labels[cut],
            slices={name: array[cut] for name, array in self.slices.items()},
            groups=None if self.groups is None else self.groups[cut],
        )


@dataclass(frozen=True)
class EvaluationSet:
    """A set whose bytes were compared with its digest."""

    folder: Path
    digest: str
    description: Description

    @property
    def rows(self) -> int:
        """The number of its rows."""
        return self.description.rows

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Its inputs, with the shape of one row."""
        return self.description.inputs

    @property
    def labels(self) -> Labels | None:
        """What its labels are; None where it has none."""
        return self.description.labels

    @property
    def slices(self) -> tuple[str, ...]:
        """The names of the columns that divide its rows."""
        return self.description.slices

    def batches(self, rows: int, *, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """Yield the rows from ``start`` to before ``stop``, ``rows`` at a time; the last batch may have fewer.

        Memory holds about three row groups and a batch: the next group is read while one is used. Raises
        InvalidInput where a file cannot be read.
        """
        if rows < 1:
            raise ValueError(f"a batch cannot have {rows} rows")
        stop = self.rows if stop is None else min(stop, self.rows)
        at = start
        for columns in _cut(_read_ahead(self._groups(start, stop)), rows):
            batch = Batch(
                start=at,
                inputs={spec.name: columns[f"inputs.{spec.name}"] for spec in self.inputs},
                labels=columns.get(LABELS),
                slices={name: columns[f"slices.{name}"] for name in self.slices},
                groups=columns.get(GROUPS),
            )
            at += batch.rows
            yield batch

    def _groups(self, start: int, stop: int) -> Iterator[Columns]:
        """Yield the columns of each row group between the two rows, cut to them."""
        layout, at = Layout.of(self.description), 0
        for listed in self.description.files:
            if at + listed.rows <= start or at >= stop:
                at += listed.rows
                continue
            path = self.folder / listed.file.path
            try:
                with pq.ParquetFile(path, read_dictionary=layout.texts) as opened:
                    _check_schema(opened, layout, listed)
                    for number in range(opened.num_row_groups):
                        rows = opened.metadata.row_group(number).num_rows
                        begin, end = max(start - at, 0), min(stop - at, rows)
                        if begin < end:
                            columns = from_table(layout, opened.read_row_group(number, use_threads=False))
                            yield {name: array[begin:end] for name, array in columns.items()}
                        at += rows
            except (OSError, ValueError, pa.ArrowException) as error:
                raise InvalidInput(f"cannot be read: {error}", file=str(path), next_step=_DAMAGED) from error


def open_set(folder: Path, digest: str, *, start: int = 0, stop: int | None = None) -> EvaluationSet:
    """Return the set that lies in ``folder`` after comparing every byte with ``digest`` (``sha256:…``).

    With ``start`` or ``stop`` only the files that hold these rows are compared, and only those need to be there.
    Raises InvalidInput for another set, a damaged or missing file, or what is not a set of format 1.
    """
    path = folder / DESCRIPTION_FILE
    try:
        with path.open("rb") as opened:
            text = opened.read(MAX_DESCRIPTION_BYTES + 1)
    except OSError as error:
        raise InvalidInput(
            f"cannot be read: {error.strerror}",
            file=str(path),
            next_step="Name the folder that bot.training.evaluation_set wrote.",
        ) from error
    description = described(text, digest, file=str(path))
    for file in files_of(description, start, stop):
        compare(folder / file.path, file)
    return EvaluationSet(folder, digest, description)


def described(text: bytes, digest: str, *, file: str = DESCRIPTION_FILE) -> Description:
    """Return what ``text``, that of ``evaluation.json``, says; raise InvalidInput where ``digest`` names another."""
    try:
        check_digest(digest)
    except ValueError as error:
        raise InvalidInput(str(error), key="digest") from error
    if len(text) > MAX_DESCRIPTION_BYTES:
        raise InvalidInput(f"has more than {MAX_DESCRIPTION_BYTES} bytes", file=file)
    if (found := digest_of(text)) != digest:
        raise InvalidInput(
            f"is that of another set, or was changed: its digest is {found} instead of {digest}",
            file=file,
            next_step="Name the set that was reviewed; another set needs a reviewed change of `evaluation`.",
        )
    try:
        return Description.from_json(text)
    except ValueError as error:
        raise InvalidInput(str(error), file=file, next_step="Write it with bot.training.evaluation_set.") from error


def files_of(description: Description, start: int = 0, stop: int | None = None) -> list[PackageFile]:
    """Return the files that hold the rows from ``start`` to before ``stop``."""
    stop, at, found = description.rows if stop is None else stop, 0, []
    for listed in description.files:
        if at < stop and at + listed.rows > start:
            found.append(listed.file)
        at += listed.rows
    return found


def compare(path: Path, file: PackageFile) -> None:
    """Raise InvalidInput where ``path`` does not hold the bytes of ``file``."""

    def chunks(opened: Any) -> Iterator[bytes]:
        while chunk := opened.read(_CHUNK):
            yield chunk

    try:
        with path.open("rb") as opened:
            if not file.is_in(chunks(opened)):
                size = os.fstat(opened.fileno()).st_size
                said = f"{size} bytes instead of {file.size}" if size != file.size else "its sha256 is another"
                raise InvalidInput(f"is damaged: {said}", file=str(path), next_step=_DAMAGED)
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", file=str(path), next_step=_DAMAGED) from error


def _check_schema(opened: pq.ParquetFile, layout: Layout, listed: SetFile) -> None:
    wanted, found = layout.schema(), opened.schema_arrow
    if found.names != wanted.names:
        missing = sorted(set(wanted.names) - set(found.names)) or sorted(set(found.names) - set(wanted.names))
        raise ValueError(f"its columns are not those of {DESCRIPTION_FILE}: {', '.join(missing) or 'another order'}")
    for name in wanted.names:
        of, kind = wanted.field(name).type, found.field(name).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if kind != of:
            raise ValueError(f"{name} is {kind} instead of {of}")
    if opened.metadata.num_rows != listed.rows:
        raise ValueError(f"it has {opened.metadata.num_rows} rows instead of {listed.rows}")


def _read_ahead(groups: Iterator[Columns]) -> Iterator[Columns]:
    """Yield the groups; while one is used, the next is read beside it."""

    def following() -> Columns | None:
        return next(groups, None)

    coming = begin(following, name="the next rows")
    while (group := coming.result()) is not None:
        coming = begin(following, name="the next rows")
        yield group


def _cut(groups: Iterable[Columns], rows: int) -> Iterator[Columns]:
    """Yield the same rows in parts of ``rows``; views where a part lies within one group."""
    waiting: list[Columns] = []
    have = 0
    for group in groups:
        at, length = 0, _length(group)
        while at < length:
            take = min(rows - have, length - at)
            waiting.append({name: array[at : at + take] for name, array in group.items()})
            at, have = at + take, have + take
            if have == rows:
                yield _joined(waiting)
                waiting, have = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[Columns]) -> Columns:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _length(columns: Columns) -> int:
    return len(next(iter(columns.values())))


# --- writing ------------------------------------------------------------------------------------------------------


def write(directory: Path, batches: Iterable[Mapping[str, Any]], *, kind: Kind | None = None) -> EvaluationSet:
    """Write a set of all rows of ``batches`` to ``directory``, which must be missing or empty.

    Each batch has ``inputs`` by name, and may have ``labels``, ``slices`` by name and ``groups``: NumPy arrays, a row
    each, in every batch of the same names, types and shapes. ``kind`` says what labels are. Raises InvalidInput for
    rows that no set can hold; nothing is left behind then.
    """
    directory = Path(directory)
    with _to_disk(directory):
        if directory.is_dir() and any(directory.iterdir()):
            said = "is not empty"
            raise InvalidInput(said, file=str(directory), next_step="Name a new folder: a set is never changed.")
        directory.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        writer = _Writer(partial)
        for batch in batches:
            for part in _parts(batch):
                layout, columns = checked(part, kind=kind, first=writer.rows)
                with _to_disk(directory):
                    writer.add(layout, columns)
        with _to_disk(directory):
            description = writer.finish()
            (partial / DESCRIPTION_FILE).write_text(description.to_json())
            partial.chmod(0o755)
            partial.replace(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return EvaluationSet(directory, description.digest, description)


@contextmanager
def _to_disk(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refused(
            f"{directory} cannot be written: {error.strerror or error}",
            state="No set was written.",
            next_step="Make room, or name another folder.",
        ) from error


def _parts(batch: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the same rows, a few at a time: what is checked and converted is copied, and it may be all that there is.

    What cannot be divided goes on whole, so that the check says what is wrong with it.
    """
    flat: dict[tuple[str, ...], Any] = {}
    for what, given in dict(batch).items():
        if isinstance(given, Mapping):
            flat |= {(what, name): as_array(values, f"{what}: {name}") for name, values in given.items()}
        else:
            flat[(what,)] = None if given is None else as_array(given, what)
    lengths = {array.shape[0] for array in flat.values() if array is not None and array.ndim}
    if len(lengths) != 1 or any(array is not None and not array.ndim for array in flat.values()):
        yield batch
        return
    (rows,) = lengths
    for at in range(0, rows, GROUP_ROWS):
        part: dict[str, Any] = {}
        for path, array in flat.items():
            cut = None if array is None else array[at : at + GROUP_ROWS]
            if len(path) == 1:
                part[path[0]] = cut
            else:
                part.setdefault(path[0], {})[path[1]] = cut
        yield part


class _Writer:
    """Writes rows as they come: a row group once enough of them wait, a file once enough groups are in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._layout: Layout | None = None
        self._group_rows = GROUP_ROWS
        self._waiting: list[Columns] = []
        self._have = self.rows = 0
        self._files: list[SetFile] = []
        self._open: pq.ParquetWriter | None = None
        self._rows_in_file = self._bytes_in_file = 0
        self._values: dict[str, set[str]] = {}

    def add(self, layout: Layout, columns: Columns) -> None:
        """Add rows; raise InvalidInput where they have other columns than those before them."""
        if not (rows := _length(columns)):
            return
        if self._layout is None:
            self._layout = layout
            row_bytes = max(1, sum(_size(array) for array in columns.values()) // rows)
            self._group_rows = max(1, min(GROUP_ROWS, GROUP_BYTES // row_bytes))
        elif layout != self._layout:
            raise _other_columns(layout, self._layout)
        if (self.rows + rows) > MAX_ROWS:
            raise InvalidInput(f"has more than {MAX_ROWS} rows")
        for name in layout.slices:
            seen = self._values.setdefault(name, set())
            seen.update(np.unique(columns[f"slices.{name}"]).tolist())
            if len(seen) > MAX_SLICE_VALUES:
                raise InvalidInput(
                    f"has more than {MAX_SLICE_VALUES} different values",
                    key=f"slices: {name}",
                    next_step="A slice is a group of many rows, such as a region: put values together.",
                )
        # Copies: the caller may use the same arrays for the next batch.
        self._waiting.append({name: array.copy() for name, array in columns.items()})
        self._have, self.rows = self._have + rows, self.rows + rows
        if self._have >= self._group_rows:
            self._write(layout, self._group_rows)

    def finish(self) -> Description:
        """Write what waits and return what the set holds; raise InvalidInput where it has no rows."""
        if self._layout is None:
            raise InvalidInput("has no rows", key="inputs")
        self._write(self._layout, 1)
        self._close()
        return Description(
            rows=self.rows,
            inputs=self._layout.inputs,
            labels=self._layout.labels,
            slices=self._layout.slices,
            groups=self._layout.groups,
            files=tuple(self._files),
        )

    def _write(self, layout: Layout, at_least: int) -> None:
        """Write row groups while ``at_least`` so many rows wait."""
        if not self._have:
            return
        columns, at = _joined(self._waiting), 0
        while self._have >= at_least:
            rows = min(self._group_rows, self._have)
            self._write_group(layout, {name: array[at : at + rows] for name, array in columns.items()}, rows)
            at, self._have = at + rows, self._have - rows
            if not self._have:
                break
        self._waiting = [{name: array[at:].copy() for name, array in columns.items()}] if self._have else []

    def _write_group(self, layout: Layout, columns: Columns, rows: int) -> None:
        table = to_table(layout, columns)
        if self._open is None:
            self._open = pq.ParquetWriter(
                self._folder / file_name(len(self._files)),
                table.schema,
                compression="lz4",  # decoded as fast as it is read; zstd makes 10 % less of it, in twice the time
                use_dictionary=layout.texts,
                write_statistics=False,
            )
        self._open.write_table(table, row_group_size=rows)
        self._rows_in_file, self._bytes_in_file = self._rows_in_file + rows, self._bytes_in_file + table.nbytes
        if self._bytes_in_file >= FILE_BYTES:
            self._close()

    def _close(self) -> None:
        if self._open is None:
            return
        self._open.close()
        path = self._folder / file_name(len(self._files))
        with path.open("rb") as written:
            sha256 = hashlib.file_digest(written, "sha256").hexdigest()
        self._files.append(SetFile(PackageFile(path.name, path.stat().st_size, sha256), self._rows_in_file))
        self._open, self._rows_in_file, self._bytes_in_file = None, 0, 0


def _size(array: NDArray[Any]) -> int:
    if array.dtype.kind == "O":
        return sum(4 + len(value) for value in array.flat)
    return array.nbytes


def _other_columns(found: Layout, before: Layout) -> InvalidInput:
    """Say how a batch differs from those before it."""
    if found.labels != before.labels:
        said = f"labels are {_of(found.labels)}, and before {_of(before.labels)}"
        return InvalidInput(said, next_step="Give every batch labels of one type, and say kind=….")
    if found.slices != before.slices:
        said = (
            f"slices are {', '.join(found.slices) or 'missing'}, and before {', '.join(before.slices) or 'missing'}"
        )
        return InvalidInput(said, next_step="Give every batch the same columns.")
    if found.groups != before.groups:
        return InvalidInput("groups are in some batches only", next_step="Give every batch the same columns.")
    pairs = [(str(now), str(then)) for now, then in zip(found.inputs, before.inputs, strict=False) if now != then]
    now, then = pairs[0] if pairs else (f"{len(found.inputs)} inputs", f"{len(before.inputs)} inputs")
    return InvalidInput(
        f"inputs have {now}, and before {then}", next_step="Give every batch the same inputs, of one type and shape."
    )


def _of(labels: Labels | None) -> str:
    return f"{labels.kind} ({labels.datatype})" if labels else "missing"
