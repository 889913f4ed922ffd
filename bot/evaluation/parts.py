"""A set in parts: each is asked by a task of its own, and what all of them heard is put together exactly.

A part is a run of whole batches, so every batch is asked as it would be without parts. Its answers lie in a folder
of their own, as Parquet, with what they are answers to. :func:`merged` gives the same values as :func:`asking.ask` of
the whole set, bit for bit, but for the seconds, which each task measured itself.

Airflow maps a task over the parts, and Kubernetes indexes a Job: the bot starts none of them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bot.domain import jsontext
from bot.domain.package import PackageFile
from bot.domain.signature import TensorSpec
from bot.errors import InvalidInput
from bot.evaluation.asking import MOST_REFUSED, Answered, nothing, refuses_everything
from bot.evaluation.columns import DATATYPES, to_arrow, to_numpy, type_of
from bot.evaluation.sets import Batch, EvaluationSet, compare

if TYPE_CHECKING:
    from numpy.typing import NDArray

ANSWERS_FILE = "answers.json"
_ROWS, _BATCHES = "answers.parquet", "batches.parquet"
_GROUP_ROWS = 2**14
_NO_ROWS = Batch(0, {})
_AGAIN = "Run that part again; the others stay."
_DELETE = "Delete it, and run that part again."


@dataclass(frozen=True)
class Part:
    """One of ``of`` parts of a set: batches of ``batch_rows`` from row ``start`` to before ``stop``."""

    number: int
    of: int
    start: int
    stop: int
    batch_rows: int

    @property
    def name(self) -> str:
        """What its folder is called."""
        return _name(self.number, self.of)


def _name(number: int, of: int) -> str:
    return f"part-{number:05d}-of-{of:05d}"


def split(rows: int, of: int, *, batch_rows: int) -> tuple[Part, ...]:
    """Return the parts of a set of ``rows``, as equal as whole batches allow; some are empty where there are few.

    Raises InvalidInput for fewer than one part.
    """
    if of < 1 or batch_rows < 1:
        raise InvalidInput(f"a set cannot be split into {of} parts with batches of {batch_rows} rows")
    batches = -(-rows // batch_rows)
    bounds = [min(rows, number * batches // of * batch_rows) for number in range(of + 1)]
    return tuple(Part(number, of, bounds[number], bounds[number + 1], batch_rows) for number in range(of))


def part_of(rows: int, number: int, of: int, *, batch_rows: int) -> Part:
    """Return one part, counted from 0; raise InvalidInput where there is no such part."""
    parts = split(rows, of, batch_rows=batch_rows)
    if not 0 <= number < of:
        raise InvalidInput(f"there is no part {number} of {of}: they count from 0 to {of - 1}")
    return parts[number]


@dataclass(frozen=True)
class About:
    """What answers are answers to: the ``digest`` of the set, the digest of each version by who it is, the part."""

    digest: str
    versions: Mapping[str, str]
    part: Part

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        part = self.part
        return {
            "format": 1,
            "digest": self.digest,
            "versions": dict(sorted(self.versions.items())),
            "part": part.number,
            "of": part.of,
            "start": part.start,
            "stop": part.stop,
            "batch_rows": part.batch_rows,
        }


class _Look(BaseModel):
    """One output in ``answers.json``: its type, and the shape of one row."""

    model_config = ConfigDict(frozen=True, strict=True)

    name: str
    dtype: str
    shape: list[int]


class _Listed(BaseModel):
    """One file in ``answers.json``."""

    model_config = ConfigDict(frozen=True, strict=True)

    path: Literal["answers.parquet", "batches.parquet"]
    size: int
    sha256: str


class _Document(BaseModel):
    """``answers.json``: what the answers of a part are answers to, the outputs of each version, the files."""

    model_config = ConfigDict(frozen=True, strict=True)

    format: Literal[1]
    digest: str
    versions: dict[str, str]
    part: int
    of: int
    start: int
    stop: int
    batch_rows: int
    outputs: dict[str, list[_Look]]
    files: list[_Listed] = Field(min_length=2, max_length=2)

    @model_validator(mode="after")
    def _of_the_same_versions(self) -> _Document:
        if self.outputs.keys() != self.versions.keys() or len({file.path for file in self.files}) < len(self.files):
            raise ValueError("lists other versions, or a file twice")
        return self

    @property
    def about(self) -> dict[str, Any]:
        """What its answers are answers to, as :class:`About` says it."""
        return self.model_dump(exclude={"outputs", "files"})

    def lacks(self, outputs: Mapping[str, str]) -> str:
        """Return the output of these, by who has it, that was not asked for; a version without answers has none."""
        for who, name in outputs.items():
            names = [look.name for look in self.outputs[who]]
            if names and name not in names:
                return name
        return ""


# --- one part -----------------------------------------------------------------------------------------------------


def is_answered(root: Path, about: About, outputs: Mapping[str, str]) -> bool:
    """Return whether the folder of the part below ``root`` has its answers, whole: then there is nothing to do.

    ``outputs`` names the output that is wanted, by who has it.
    """
    try:
        document = _read(root / about.part.name)
    except InvalidInput:
        return False
    return document.about == about.to_document() and not document.lacks(outputs)


def keep_answers(root: Path, about: About, answers: Iterable[Answered]) -> Path:
    """Write what was answered to a part into its folder below ``root`` and return that; it appears once it is whole.

    A folder of that name that is there is replaced.
    """
    place = root / about.part.name
    root.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=root))
    try:
        with _Writer(partial, sorted(about.versions)) as writer:
            for answered in answers:
                writer.add(answered)
        if writer.rows != about.part.stop - about.part.start:
            raise ValueError(
                f"{writer.rows} rows were answered, and the part has {about.part.stop - about.part.start}"
            )
        files = [_listed(path) for path in sorted(partial.iterdir())]
        document = {
            **about.to_document(),
            "outputs": writer.outputs,
            "files": [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in files],
        }
        (partial / ANSWERS_FILE).write_text(json.dumps(document, indent=1) + "\n")
        partial.chmod(0o755)
        shutil.rmtree(place, ignore_errors=True)
        partial.replace(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return place


def _listed(path: Path) -> PackageFile:
    with path.open("rb") as opened:
        return PackageFile(path.name, path.stat().st_size, hashlib.file_digest(opened, "sha256").hexdigest())


class _Writer:
    """Writes answers as they come. The look of a version's outputs is known once it has answered a row."""

    def __init__(self, folder: Path, who: Iterable[str]) -> None:
        self._folder, self._who = folder, list(who)
        self._looks: dict[str, dict[str, tuple[np.dtype[Any], tuple[int, ...]]]] = {who: {} for who in self._who}
        self._waiting: list[tuple[int, Answered]] = []
        self._have = self.rows = 0
        self._open = ExitStack()
        self._writers: dict[str, pq.ParquetWriter] = {}

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._open:
            if kind is None:
                self._write()

    @property
    def outputs(self) -> dict[str, list[dict[str, Any]]]:
        """The outputs of each version: name, type and shape of one row."""
        return {
            who: [
                {"name": name, "dtype": _plain(dtype), "shape": list(shape)} for name, (dtype, shape) in looks.items()
            ]
            for who, looks in self._looks.items()
        }

    def add(self, answered: Answered) -> None:
        """Add the answers to the next batch."""
        for who in self._who:
            if not self._looks[who]:
                found = answered.outputs[who].items()
                self._looks[who] = {name: (array.dtype, array.shape[1:]) for name, array in found}
        self._waiting.append((answered.batch.rows, replace(answered, batch=_NO_ROWS)))
        self._have, self.rows = self._have + answered.batch.rows, self.rows + answered.batch.rows
        # Without an answer the columns are not known yet, and what waits is little more than a mask.
        if self._have >= _GROUP_ROWS and all(self._looks.values()):
            self._write()

    def _write(self) -> None:
        rows: dict[str, pa.Array] = {}
        batches: dict[str, Any] = {"rows": [count for count, _ in self._waiting]}
        for who in self._who:
            refused = [answered.refused[who] for _, answered in self._waiting]
            rows[f"{who}.refused"] = pa.array(_together(refused, np.dtype(bool), ()))
            batches[f"{who}.seconds"] = [answered.seconds.get(who) for _, answered in self._waiting]
            batches[f"{who}.error"] = [answered.errors.get(who) for _, answered in self._waiting]
            for name, (dtype, shape) in self._looks[who].items():
                parts = [
                    answered.outputs[who][name] if answered.outputs[who] else nothing(count, dtype, shape)
                    for count, answered in self._waiting
                ]
                rows[f"{who}.outputs.{name}"] = _column(_together(parts, dtype, shape), dtype, shape)
        self._write_table(_ROWS, pa.table(rows))
        kinds = {"rows": pa.int64(), "seconds": pa.float64(), "error": pa.string()}
        columns = {name: pa.array(values, kinds[name.rpartition(".")[2]]) for name, values in batches.items()}
        self._write_table(_BATCHES, pa.table(columns))
        self._waiting, self._have = [], 0

    def _write_table(self, name: str, table: pa.Table) -> None:
        if name not in self._writers:
            writer = pq.ParquetWriter(self._folder / name, table.schema, use_dictionary=False, write_statistics=False)
            self._writers[name] = self._open.enter_context(writer)
        self._writers[name].write_table(table, row_group_size=max(1, table.num_rows))


def _together(parts: list[NDArray[Any]], dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty((0, *shape), dtype)


def _plain(dtype: np.dtype[Any]) -> str:
    return {"U": "text", "O": "bytes"}.get(dtype.kind, dtype.name)


def _column(array: NDArray[Any], dtype: np.dtype[Any], shape: tuple[int, ...]) -> pa.Array:
    if dtype.kind == "U":
        array = array.astype(object)
    return to_arrow(array, type_of(_spec(_plain(dtype), shape)))


def _spec(dtype: str, shape: tuple[int, ...]) -> TensorSpec:
    return TensorSpec("", DATATYPES.get(dtype, "BYTES"), shape)


# --- all parts ----------------------------------------------------------------------------------------------------


def merged(
    root: Path, opened: EvaluationSet, versions: Mapping[str, str], outputs: Mapping[str, str]
) -> Iterator[Answered]:
    """Yield what each version answered to each batch of the whole set, out of the parts below ``root``.

    ``versions`` and ``outputs`` are the digest and the measured output of each, by who it is; parts may have answers
    of more versions. Every part is compared with its list of files first, and must be of this set, these versions and
    as many rows in a request as the others. Raises InvalidInput that names the part which is missing, damaged or of
    something else, and as asking does where a version refuses everything.
    """
    folders = sorted(path for path in root.glob("part-*-of-*") if path.is_dir())
    if not folders:
        raise InvalidInput("has no answers", file=str(root), next_step="Ask the parts of the set first.")
    documents = {folder: _read(folder) for folder in folders}
    of, batch_rows = documents[folders[0]].of, documents[folders[0]].batch_rows
    missing = next((number for number in range(of) if root / _name(number, of) not in documents), None)
    if missing is not None:
        raise InvalidInput(f"part {missing} of {of} is missing", file=str(root), next_step=_AGAIN)
    if more := sorted(set(documents) - {root / _name(number, of) for number in range(of)}):
        raise InvalidInput(
            f"has parts of another division: {more[0].name} beside {_name(0, of)}",
            file=str(root),
            next_step="Delete the parts of the one that does not count.",
        )
    parts = split(opened.rows, of, batch_rows=batch_rows)
    for part in parts:
        folder = root / part.name
        found = documents[folder]
        for who, digest in versions.items():
            if (theirs := found.versions.get(who)) != digest:
                said = f"is of {theirs or 'no version'} as {who}, and not of {digest}"
                raise InvalidInput(said, file=str(folder), next_step=_DELETE)
        wanted = About(opened.digest, found.versions, part).to_document()
        for key, value in wanted.items():
            if (its := found.about[key]) != value:
                raise InvalidInput(
                    f"is of another {key}: {its} instead of {value}", file=str(folder), next_step=_DELETE
                )
        if lacking := found.lacks(outputs):
            said = f"has no answers of the output {lacking}, which is measured"
            raise InvalidInput(said, file=str(folder), next_step=_AGAIN)
    return _merged(root, opened, list(versions), parts, documents)


def _merged(
    root: Path,
    opened: EvaluationSet,
    who: list[str],
    parts: Iterable[Part],
    documents: Mapping[Path, _Document],
) -> Iterator[Answered]:
    leading: dict[str, int | None] = dict.fromkeys(who, 0)  # rows before the first answer; None after it
    first_errors: dict[str, str] = {}
    looks: dict[str, list[_Look]] = {
        each: next((d.outputs[each] for d in documents.values() if d.outputs[each]), []) for each in who
    }
    for part in parts:
        batches = opened.batches(part.batch_rows, start=part.start, stop=part.stop)
        with _Reader(root / part.name, documents[root / part.name].outputs, looks) as reader:
            for batch in batches:
                refused, outputs, errors, seconds = reader.next(batch.rows, who)
                for each in who:
                    if (before := leading[each]) is None:
                        continue
                    none = refused[each].all()
                    first_errors.setdefault(each, errors.get(each, ""))
                    before += batch.rows if none else int(refused[each].argmin())
                    if before >= MOST_REFUSED:
                        raise refuses_everything(each, MOST_REFUSED, first_errors[each])
                    leading[each] = before if none else None
                    if none:
                        outputs[each] = {}  # as asking says of a version that has answered nothing yet
                yield Answered(batch=batch, outputs=outputs, refused=refused, errors=errors, seconds=seconds)


class _Reader:
    """Reads the answers to one part, a batch at a time."""

    def __init__(
        self,
        folder: Path,
        outputs: Mapping[str, list[_Look]],
        looks: Mapping[str, list[_Look]],
    ) -> None:
        self._folder, self._outputs, self._looks = folder, outputs, looks
        self._open = ExitStack()
        self._groups: Iterator[pa.Table] = iter(())
        self._rows: pa.Table | None = None
        self._at = 0

    def __enter__(self) -> _Reader:
        try:
            rows = self._open.enter_context(pq.ParquetFile(self._folder / _ROWS))
            self._batches = iter(pq.read_table(self._folder / _BATCHES).to_pylist())
        except (OSError, pa.ArrowException) as error:
            raise InvalidInput(f"cannot be read: {error}", file=str(self._folder), next_step=_AGAIN) from error
        self._groups = (rows.read_row_group(number, use_threads=False) for number in range(rows.num_row_groups))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def next(
        self, rows: int, who: Iterable[str]
    ) -> tuple[dict[str, NDArray[np.bool_]], dict[str, dict[str, NDArray[Any]]], dict[str, str], dict[str, float]]:
        """Return who refused which rows of the next batch, the outputs, the errors and the seconds."""
        about = next(self._batches, None)
        while self._rows is None or self._at >= self._rows.num_rows:
            self._rows, self._at = next(self._groups, None), 0
            if self._rows is None:
                break
        if about is None or about["rows"] != rows or self._rows is None:
            raise InvalidInput("has other batches than its part", file=str(self._folder), next_step=_AGAIN)
        table = self._rows.slice(self._at, rows)
        self._at += rows
        refused, outputs, errors, seconds = {}, {}, {}, {}
        for each in who:
            try:
                refused[each] = to_numpy(table.column(f"{each}.refused").combine_chunks())
                outputs[each] = {look.name: self._output(each, look, table, rows) for look in self._looks[each]}
                error, took = about[f"{each}.error"], about[f"{each}.seconds"]
            except (KeyError, ValueError) as wrong:
                said = f"has other columns than {ANSWERS_FILE} says: {wrong}"
                raise InvalidInput(said, file=str(self._folder), next_step=_AGAIN) from wrong
            if error is not None:
                errors[each] = error
            if took is not None:
                seconds[each] = took
        return refused, outputs, errors, seconds

    def _output(self, who: str, look: _Look, table: pa.Table, rows: int) -> NDArray[Any]:
        shape = tuple(look.shape)
        if not self._outputs[who]:  # this part has no answer of it, and another has
            dtype = {"text": np.dtype(np.str_), "bytes": np.dtype(object)}.get(look.dtype)
            return nothing(rows, dtype or np.dtype(look.dtype), shape)
        values = to_numpy(table.column(f"{who}.outputs.{look.name}").combine_chunks()).reshape(rows, *shape)
        if look.dtype == "text":
            return np.array([value.decode() for value in values.flat], np.str_).reshape(values.shape)
        return values


def _read(folder: Path) -> _Document:
    """Return what the document of the answers in ``folder`` says, after its files were compared with it.

    Raises InvalidInput where something is missing or damaged.
    """
    path = folder / ANSWERS_FILE
    try:
        document = _Document.model_validate(jsontext.read(path.read_bytes()))
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", file=str(path), next_step=_AGAIN) from error
    except ValidationError as error:
        first = error.errors()[0]
        said = f"{'.'.join(map(str, first['loc'])) or ANSWERS_FILE}: {first['msg']}"
        raise InvalidInput(f"cannot be understood: {said}", file=str(path), next_step=_AGAIN) from error
    except ValueError as error:
        raise InvalidInput(f"cannot be understood: {error}", file=str(path), next_step=_AGAIN) from error
    for file in document.files:
        compare(folder / file.path, PackageFile(file.path, file.size, file.sha256))
    return document
