"""``evaluation.json``: what an evaluation set holds. Its sha256 is the digest of the set.

format   1
rows     how many rows there are
inputs   each input's name, datatype of the Open Inference Protocol, and shape of one row
labels   null, or their kind (class, number, relevance) and their datatype (INT64, FP64, BYTES)
slices   the names of the columns that divide the rows, sorted
groups   whether each row belongs to a group, such as a customer or a query
files    each file's path, rows, size in bytes and sha256, in the order of the rows
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bot.domain import jsontext
from bot.domain.names import short
from bot.domain.package import PackageFile
from bot.domain.signature import TensorSpec
from bot.domain.smoke import DATATYPES
from bot.errors import InvalidInput

DESCRIPTION_FILE = "evaluation.json"
MAX_DESCRIPTION_BYTES = 4 * 2**20
MAX_ROWS = 100_000_000
MAX_INPUTS = 1000
MAX_SLICES = 20
MAX_NAME = 200
"""Characters of a name."""

Kind = Literal["class", "number", "relevance"]
"""What labels are: the class of a row, a number that is predicted, or how relevant a row is to its group's query."""
KINDS: tuple[Kind, ...] = get_args(Kind)

_FILE = re.compile(r"rows-[0-9]{5}\.parquet")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LABELS = {"class": ("INT64", "BYTES"), "number": ("FP64",), "relevance": ("FP64",)}
_KEYS = ("format", "rows", "inputs", "labels", "slices", "groups", "files")


@dataclass(frozen=True)
class Labels:
    """The ``kind`` of the labels, and their ``datatype``: INT64 or BYTES (text) for classes, else FP64."""

    kind: Kind
    datatype: str


@dataclass(frozen=True)
class SetFile:
    """One file of a set, and how many ``rows`` are in it."""

    file: PackageFile
    rows: int


@dataclass(frozen=True)
class Description:
    """The contents of a set, without its rows. Shapes of inputs are those of one row."""

    rows: int
    inputs: tuple[TensorSpec, ...]
    labels: Labels | None
    slices: tuple[str, ...]
    groups: bool
    files: tuple[SetFile, ...]

    @property
    def digest(self) -> str:
        """``sha256:…`` of the text."""
        return digest_of(self.to_json().encode())

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(one.file.size for one in self.files)

    def to_json(self) -> str:
        """Return the text of ``evaluation.json``; there is one text of a description."""
        document = {
            "format": 1,
            "rows": self.rows,
            "inputs": [{"name": s.name, "datatype": s.datatype, "shape": list(s.shape)} for s in self.inputs],
            "labels": self.labels and {"kind": self.labels.kind, "datatype": self.labels.datatype},
            "slices": list(self.slices),
            "groups": self.groups,
            "files": [
                {"path": one.file.path, "rows": one.rows, "size": one.file.size, "sha256": one.file.sha256}
                for one in self.files
            ],
        }
        return json.dumps(document, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Description:
        """Parse the text of ``evaluation.json``; raise ValueError that says what is wrong with it."""
        document = jsontext.read(text)
        if not isinstance(document, dict) or document.get("format") != 1:
            raise ValueError("is not an evaluation set of format 1")
        if set(document) != set(_KEYS):
            raise ValueError(f"has other keys than {', '.join(_KEYS)}")
        rows, slices, groups = document["rows"], document["slices"], document["groups"]
        if not _is_count(rows) or not 1 <= rows <= MAX_ROWS:
            raise ValueError(f"rows is {rows!r:.40} instead of 1 to {MAX_ROWS}")
        if type(groups) is not bool:
            raise ValueError("groups is neither true nor false")
        if not isinstance(slices, list) or len(slices) > MAX_SLICES:
            raise ValueError(f"slices is not a list of at most {MAX_SLICES} names")
        names = [check_name(name, of="slices") for name in slices]
        if names != sorted(set(names)):
            raise ValueError("slices are not sorted, or one stands there twice")
        found = cls(
            rows=rows,
            inputs=_inputs(document["inputs"]),
            labels=_labels(document["labels"]),
            slices=tuple(names),
            groups=groups,
            files=_files(document["files"]),
        )
        if sum(one.rows for one in found.files) != rows:
            raise ValueError(f"says {rows} rows, but its files have {sum(one.rows for one in found.files)}")
        return found


def probe(read: Callable[[str], Generator[bytes]], digest: str) -> Description:
    """Return what the set at a source holds, and see that bytes of its rows come from there; keep nothing.

    Raises InvalidInput where another set lies there, and what ``read`` raises.
    """
    text = bytearray()
    with closing(read(DESCRIPTION_FILE)) as chunks:
        for chunk in chunks:
            text += chunk
            if len(text) > MAX_DESCRIPTION_BYTES:
                break
    if (found := digest_of(bytes(text))) != digest:
        raise InvalidInput(
            f"names the set {short(digest)}, and where it is kept lies {short(found)}",
            next_step="Put the right one back, or name the set that lies there in a change that is reviewed.",
        )
    try:
        described = Description.from_json(bytes(text))
    except ValueError as error:
        raise InvalidInput(str(error), next_step="Write the set with bot.training.evaluation_set.") from error
    with closing(read(described.files[0].file.path)) as chunks:
        next(chunks, b"")
    return described


def digest_of(text: bytes) -> str:
    """Return the digest of a set by the bytes of its ``evaluation.json``: what ``sha256sum`` prints for that file."""
    return "sha256:" + hashlib.sha256(text).hexdigest()


def file_name(number: int) -> str:
    """Return the name of a file of a set, by its place from 0."""
    return f"rows-{number:05d}.parquet"


def check_name(name: object, *, of: str) -> str:
    """Return a name if an input or a slice may have it; raise ValueError otherwise."""
    if not isinstance(name, str) or not name.isprintable() or not 1 <= len(name) <= MAX_NAME:
        raise ValueError(f"{of}: {name!r:.80} is not a valid name: 1 to {MAX_NAME} characters that can be printed")
    return name


def _inputs(listed: Any) -> tuple[TensorSpec, ...]:
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_INPUTS:
        raise ValueError(f"inputs is not a list of 1 to {MAX_INPUTS} inputs")
    found = tuple(_input(entry) for entry in listed)
    if len({spec.name for spec in found}) < len(found):
        raise ValueError("an input stands there twice")
    return found


def _input(entry: Any) -> TensorSpec:
    if not isinstance(entry, Mapping) or set(entry) != {"name", "datatype", "shape"}:
        raise ValueError("an input has other keys than name, datatype and shape")
    name, datatype, shape = check_name(entry["name"], of="inputs"), entry["datatype"], entry["shape"]
    if datatype not in DATATYPES - {"BF16"}:
        raise ValueError(f"the input {name} has the datatype {datatype!r:.40}, which no array has")
    if not isinstance(shape, list) or not shape or not all(_is_count(size) and size for size in shape):
        raise ValueError(f"the input {name} has the bad shape {shape!r:.80}")
    return TensorSpec(name, datatype, tuple(shape))


def _labels(entry: Any) -> Labels | None:
    if entry is None:
        return None
    if not isinstance(entry, Mapping) or set(entry) != {"kind", "datatype"}:
        raise ValueError("labels has other keys than kind and datatype")
    kind, datatype = entry["kind"], entry["datatype"]
    if kind not in KINDS or datatype not in _LABELS[kind]:
        raise ValueError(f"labels are {kind!r:.40} of {datatype!r:.40}, which do not belong together")
    return Labels(kind, datatype)


def _files(listed: Any) -> tuple[SetFile, ...]:
    if not isinstance(listed, list) or not listed:
        raise ValueError("lists no files")
    found = tuple(_file(entry) for entry in listed)
    if [one.file.path for one in found] != [file_name(number) for number in range(len(found))]:
        raise ValueError("its files are not numbered one after the other")
    return found


def _file(entry: Any) -> SetFile:
    if not isinstance(entry, Mapping) or set(entry) != {"path", "rows", "size", "sha256"}:
        raise ValueError("an entry of files has other keys than path, rows, size and sha256")
    path, rows, size, sha256 = entry["path"], entry["rows"], entry["size"], entry["sha256"]
    if not isinstance(path, str) or not _FILE.fullmatch(path):
        raise ValueError(f"{path!r:.80} is not the name of a file of an evaluation set")
    if not _is_count(rows) or not rows or not _is_count(size):
        raise ValueError(f"bad rows or size of {path}")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError(f"bad sha256 of {path}")
    return SetFile(PackageFile(path, size, sha256), rows)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
