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
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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
        return f"part-{self.number:05d}-of-{self.of:05d}"


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


# --- one part -----------------------------------------------------------------------------------------------------


def is_answered(root: Path, about: About) -> bool:
    """Return whether the folder of the part below ``root`` has its answers, whole: then there is nothing to do."""
    try:
        return _read(root / about.part.name)[0] == about.to_document()
    except InvalidInput:
        return False


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


def merged(root: Path, opened: EvaluationSet, versions: Mapping[str, str], *, batch_rows: int) -> Iterator[Answered]:
    """Yield what each version answered to each batch of the whole set, out of the parts below ``root``.

    Every part is compared with its list of files first, and must be of this set, these versions and these batches.
    Raises InvalidInput that names the part which is missing, damaged or of something else, and as asking does where a
    version refuses everything.
    """
    folders = sorted(path for path in root.glob("part-*-of-*") if path.is_dir())
    if not folders:
        raise InvalidInput("has no answers", file=str(root), next_step="Ask the parts of the set first.")
    documents = {folder: _read(folder)[1] for folder in folders}
    of = int(documents[folders[0]]["of"])
    parts = split(opened.rows, of, batch_rows=batch_rows)
    for part in parts:
        wanted = About(opened.digest, versions, part).to_document()
        folder = root / part.name
        if folder not in documents:
            raise InvalidInput(f"part {part.number} of {of} is missing", file=str(root), next_step=_AGAIN)
        for key, value in wanted.items():
            if (found := documents[folder][key]) != value:
                said = f"is of another {key}: {found} instead of {value}"
                raise InvalidInput(said, file=str(folder), next_step="Delete it, and run that part again.")
    if more := sorted(set(documents) - {root / part.name for part in parts}):
        raise InvalidInput(
            f"has parts of another division: {more[0].name} beside {parts[0].name}",
            file=str(root),
            next_step="Delete the parts of the one that does not count.",
        )
    return _merged(root, opened, list(versions), parts, documents)


def _merged(
    root: Path,
    opened: EvaluationSet,
    who: list[str],
    parts: Iterable[Part],
    documents: Mapping[Path, Mapping[str, Any]],
) -> Iterator[Answered]:
    leading: dict[str, int | None] = dict.fromkeys(who, 0)  # rows before the first answer; None after it
    first_errors: dict[str, str] = {}
    looks: dict[str, list[dict[str, Any]]] = {
        each: next((d["outputs"][each] for d in documents.values() if d["outputs"][each]), []) for each in who
    }
    for part in parts:
        batches = opened.batches(part.batch_rows, start=part.start, stop=part.stop)
        with _Reader(root / part.name, documents[root / part.name]["outputs"], looks) as reader:
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
        outputs: Mapping[str, list[dict[str, Any]]],
        looks: Mapping[str, list[dict[str, Any]]],
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
            refused[each] = to_numpy(table.column(f"{each}.refused").combine_chunks())
            outputs[each] = {look["name"]: self._output(each, look, table, rows) for look in self._looks[each]}
            if about[f"{each}.error"] is not None:
                errors[each] = about[f"{each}.error"]
            if about[f"{each}.seconds"] is not None:
                seconds[each] = about[f"{each}.seconds"]
        return refused, outputs, errors, seconds

    def _output(self, who: str, look: Mapping[str, Any], table: pa.Table, rows: int) -> NDArray[Any]:
        shape = tuple(look["shape"])
        if not self._outputs[who]:  # this part has no answer of it, and another has
            dtype = {"text": np.dtype(np.str_), "bytes": np.dtype(object)}.get(look["dtype"])
            return nothing(rows, dtype or np.dtype(look["dtype"]), shape)
        values = to_numpy(table.column(f"{who}.outputs.{look['name']}").combine_chunks()).reshape(rows, *shape)
        if look["dtype"] == "text":
            return np.array([value.decode() for value in values.flat], np.str_).reshape(values.shape)
        return values


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the answers in ``folder`` are answers to, and all that their document says.

    The files are compared with it. Raises InvalidInput where something is missing or damaged.
    """
    path = folder / ANSWERS_FILE
    try:
        document = jsontext.read(path.read_bytes())
        if not isinstance(document, dict) or document.get("format") != 1:
            raise ValueError("is not an answer of format 1")
        files = {
            entry["path"]: PackageFile(entry["path"], entry["size"], entry["sha256"]) for entry in document["files"]
        }
        if set(files) != {_ROWS, _BATCHES} or not isinstance(document["outputs"], dict):
            raise ValueError("lists other files, or no outputs")
        about = {
            key: document[key]
            for key in ("format", "digest", "versions", "part", "of", "start", "stop", "batch_rows")
        }
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", file=str(path), next_step=_AGAIN) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"cannot be understood: {error}", file=str(path), next_step=_AGAIN) from error
    for file in files.values():
        compare(folder / file.path, file)
    return about, document
