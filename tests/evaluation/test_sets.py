"""Evaluation sets: what is written is what is read, whatever the batches; what is damaged or wrong is named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import InvalidInput, Refused
from bot.evaluation import sets
from bot.evaluation.description import DESCRIPTION_FILE, Description, digest_of
from bot.evaluation.sets import Batch, EvaluationSet, open_set, write
from tests.evaluation.rows import REGIONS, churn, every_datatype


@pytest.fixture(scope="module")
def churn_set(tmp_path_factory: pytest.TempPathFactory) -> EvaluationSet:
    """A set of 1,000 rows in row groups of 100 and files of about 300. Nobody changes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "GROUP_ROWS", 100)
        patch.setattr(sets, "FILE_BYTES", 300 * 50)
        return write(tmp_path_factory.mktemp("sets") / "churn", [churn(1000)])


def whole(batches: list[Batch]) -> dict[str, Any]:
    """Return what all batches hold together."""
    return {
        "inputs": {name: np.concatenate([b.inputs[name] for b in batches]) for name in batches[0].inputs},
        "labels": None if batches[0].labels is None else np.concatenate([b.labels for b in batches]),
        "slices": {name: np.concatenate([b.slices[name] for b in batches]) for name in batches[0].slices},
        "groups": None if batches[0].groups is None else np.concatenate([b.groups for b in batches]),
    }


def assert_same(found: dict[str, Any], given: dict[str, Any]) -> None:
    np.testing.assert_equal(found["inputs"], given["inputs"])
    for name in ("labels", "slices", "groups"):
        np.testing.assert_equal(found[name], given[name])


# --- what is written is what is read ------------------------------------------------------------------------------


def test_a_set_says_what_it_holds(churn_set: EvaluationSet) -> None:
    document = json.loads((churn_set.folder / DESCRIPTION_FILE).read_text())
    files = document.pop("files")

    assert document == {
        "format": 1,
        "rows": 1000,
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [4]}],
        "labels": {"kind": "class", "datatype": "INT64"},
        "slices": ["region"],
        "groups": True,
    }
    assert len(files) > 1 and sum(file["rows"] for file in files) == 1000
    for file in files:
        content = (churn_set.folder / file["path"]).read_bytes()
        assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def test_the_digest_is_what_sha256sum_says_of_its_description(churn_set: EvaluationSet) -> None:
    text = (churn_set.folder / DESCRIPTION_FILE).read_bytes()
    assert churn_set.digest == f"sha256:{hashlib.sha256(text).hexdigest()}"
    assert Description.from_json(text).to_json().encode() == text


@pytest.mark.parametrize("rows", [1, 7, 100, 128, 333, 1000, 4096])
def test_batches_of_any_size_hold_every_row_once_and_in_order(churn_set: EvaluationSet, rows: int) -> None:
    batches = list(churn_set.batches(rows))

    assert [batch.start for batch in batches] == list(range(0, 1000, rows))
    assert all(batch.rows == rows for batch in batches[:-1]) and batches[-1].rows == (1000 % rows or min(rows, 1000))
    assert_same(whole(batches), churn(1000))


@given(bounds=st.tuples(st.integers(0, 1000), st.integers(0, 1000)), rows=st.integers(1, 400))
def test_a_part_holds_its_rows_alone(churn_set: EvaluationSet, bounds: tuple[int, int], rows: int) -> None:
    start, stop = sorted(bounds)
    batches = list(churn_set.batches(rows, start=start, stop=stop))

    assert sum(batch.rows for batch in batches) == stop - start
    if batches:
        assert batches[0].start == start
        np.testing.assert_equal(whole(batches)["inputs"]["X"], churn(1000)["inputs"]["X"][start:stop])


def test_every_datatype_is_read_as_it_was_given(tmp_path: Path) -> None:
    rows = every_datatype(50)
    found = whole(list(open_set(tmp_path / "set", write(tmp_path / "set", [rows]).digest).batches(7)))

    for name, array in rows["inputs"].items():
        read = found["inputs"][name]
        assert read.shape == (array.reshape(50, -1).shape if array.ndim == 1 else array.shape)
        if array.dtype == object:
            wanted = [value if isinstance(value, bytes) else value.encode() for value in array.flat]
            assert read.ravel().tolist() == wanted
        else:
            assert read.dtype == array.dtype
            np.testing.assert_equal(read.ravel(), array.ravel())


@pytest.mark.parametrize(
    ("labels", "kind", "wanted"),
    [
        (np.array([True, False, True]), None, ("class", "INT64", [1, 0, 1])),
        (np.array([3, 1, 2], dtype=np.uint8), None, ("class", "INT64", [3, 1, 2])),
        (np.array(["yes", "no", "yes"]), None, ("class", "BYTES", ["yes", "no", "yes"])),
        (np.array(["yes", "no", "é"], dtype=object), None, ("class", "BYTES", ["yes", "no", "é"])),
        (np.array([[1.5], [2.0], [0.1]]), None, ("number", "FP64", [1.5, 2.0, 0.1])),
        (np.array([1.0, 0.0, 1.0]), "class", ("class", "INT64", [1, 0, 1])),
        (np.array([3, 1, 2]), "number", ("number", "FP64", [3.0, 1.0, 2.0])),
        (np.array([0, 1, 3]), "relevance", ("relevance", "FP64", [0.0, 1.0, 3.0])),
    ],
)
def test_labels_are_classes_numbers_or_relevance(labels: Any, kind: Any, wanted: Any, tmp_path: Path) -> None:
    written = write(tmp_path / "set", [{"inputs": {"X": np.zeros(3)}, "labels": labels}], kind=kind)
    (batch,) = written.batches(10)

    assert written.labels is not None and batch.labels is not None
    assert (written.labels.kind, written.labels.datatype, batch.labels.tolist()) == wanted


def test_without_labels_slices_and_groups_there_are_none(tmp_path: Path) -> None:
    (batch,) = write(tmp_path / "set", [{"inputs": {"X": np.zeros((3, 2))}, "labels": None}]).batches(10)
    assert (batch.labels, batch.slices, batch.groups) == (None, {}, None)


def test_slices_are_text_and_groups_that_are_text_are_kept_as_numbers(tmp_path: Path) -> None:
    rows = {
        "inputs": {"X": np.zeros(4)},
        "slices": {"year": np.array([2024, 2025, 2024, 2025]), "new": np.array([True, False, True, True])},
        "groups": np.array(["ann", "bob", "ann", "çem"], dtype=object),
    }
    written = write(tmp_path / "set", [rows])
    (batch,) = written.batches(10)

    assert written.slices == ("new", "year")
    assert batch.slices["year"].tolist() == ["2024", "2025", "2024", "2025"]
    assert batch.slices["new"].tolist() == ["True", "False", "True", "True"]
    assert batch.groups is not None
    ann, bob, again, cem = batch.groups.tolist()
    assert ann == again and len({ann, bob, cem}) == 3
    assert all(b"ann" not in file.read_bytes() for file in written.folder.iterdir())


def test_the_same_rows_have_the_same_digest_however_they_come(tmp_path: Path) -> None:
    rows = churn(500)
    cut = [
        {
            "inputs": {"X": rows["inputs"]["X"][at : at + 90]},
            "labels": rows["labels"][at : at + 90],
            "slices": {"region": rows["slices"]["region"][at : at + 90]},
            "groups": rows["groups"][at : at + 90],
        }
        for at in range(0, 500, 90)
    ]
    assert write(tmp_path / "a", [rows]).digest == write(tmp_path / "b", iter(cut)).digest


def test_a_changed_value_is_another_digest(tmp_path: Path) -> None:
    rows = churn(500)
    first = write(tmp_path / "a", [rows]).digest
    rows["labels"][499] ^= 1
    assert write(tmp_path / "b", [rows]).digest != first


def test_batches_may_use_one_array_again_and_again(tmp_path: Path) -> None:
    buffer = np.zeros((10, 2), np.float32)

    def batches() -> Any:
        for number in range(30):
            buffer[:] = number
            yield {"inputs": {"X": buffer}}

    found = whole(list(write(tmp_path / "set", batches()).batches(64)))["inputs"]["X"]
    assert found[:, 0].tolist() == [number for number in range(30) for _ in range(10)]


def test_other_tools_read_the_rows(churn_set: EvaluationSet) -> None:
    frame = pq.read_table(churn_set.folder / "rows-00000.parquet").to_pandas()
    assert frame.columns.tolist() == ["inputs.X", "labels", "slices.region", "groups"]
    assert frame["slices.region"].iloc[0] in REGIONS and len(frame["inputs.X"].iloc[0]) == 4


# --- what is opened -----------------------------------------------------------------------------------------------


def copy_of(written: EvaluationSet, folder: Path) -> Path:
    folder.mkdir()
    for file in written.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_another_digest_is_named(churn_set: EvaluationSet) -> None:
    other = "sha256:" + "0" * 64
    with pytest.raises(InvalidInput, match=f"its digest is {churn_set.digest} instead of {other}") as failure:
        open_set(churn_set.folder, other)
    assert failure.value.file.endswith("churn/evaluation.json") and "was reviewed" in failure.value.next_step


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda file: flip(file, 100), r"rows-00001\.parquet: is damaged: its sha256 is another"),
        (lambda file: file.write_bytes(file.read_bytes()[:-7]), r"is damaged: \d+ bytes instead of \d+"),
        (lambda file: file.write_bytes(file.read_bytes() + b"x"), r"is damaged: \d+ bytes instead of \d+"),
        (lambda file: file.unlink(), r"rows-00001\.parquet: cannot be read: No such file"),
    ],
    ids=["a bit", "cut off", "longer", "missing"],
)
def test_a_damaged_file_is_named(
    damage: Callable[[Path], object], says: str, churn_set: EvaluationSet, tmp_path: Path
) -> None:
    folder = copy_of(churn_set, tmp_path / "set")
    damage(folder / "rows-00001.parquet")
    with pytest.raises(InvalidInput, match=says) as failure:
        open_set(folder, churn_set.digest)
    assert failure.value.next_step.startswith("Delete the folder and fetch the set again")


def test_a_part_needs_its_own_files_alone(churn_set: EvaluationSet, tmp_path: Path) -> None:
    folder = copy_of(churn_set, tmp_path / "set")
    first = churn_set.description.files[0].rows
    (folder / "rows-00000.parquet").unlink()
    part = open_set(folder, churn_set.digest, start=first, stop=1000)
    assert sum(batch.rows for batch in part.batches(64, start=first)) == 1000 - first
    with pytest.raises(InvalidInput, match=r"rows-00000\.parquet: cannot be read"):
        open_set(folder, churn_set.digest, start=first - 1)


def test_a_folder_without_a_set_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"evaluation\.json: cannot be read: No such file") as failure:
        open_set(tmp_path, "sha256:" + "0" * 64)
    assert "bot.training.evaluation_set" in failure.value.next_step
    with pytest.raises(InvalidInput, match="is not a valid digest"):
        (tmp_path / DESCRIPTION_FILE).write_text("{}")
        open_set(tmp_path, "latest")


def rewritten(written: EvaluationSet, folder: Path, change: Callable[[dict[str, Any]], object]) -> str:
    """Make a copy whose description is changed; return the digest of that."""
    copy_of(written, folder)
    document = json.loads((folder / DESCRIPTION_FILE).read_text())
    change(document)
    text = json.dumps(document, indent=1) + "\n"
    (folder / DESCRIPTION_FILE).write_text(text)
    return digest_of(text.encode())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(format=2), "is not an evaluation set of format 1"),
        (lambda d: d.update(more=1), "has other keys"),
        (lambda d: d.update(rows=999), "says 999 rows, but its files have 1000"),
        (lambda d: d.update(rows=True), "rows is True"),
        (lambda d: d.update(slices=["region", "region"]), "stands there twice"),
        (lambda d: d.update(groups="yes"), "neither true nor false"),
        (lambda d: d.update(inputs=[]), "is not a list of 1 to"),
        (lambda d: d["inputs"].append(d["inputs"][0]), "an input stands there twice"),
        (lambda d: d["inputs"][0].update(datatype="BF16"), "which no array has"),
        (lambda d: d["inputs"][0].update(shape=[-1]), "bad shape"),
        (lambda d: d["labels"].update(datatype="FP64"), "do not belong together"),
        (lambda d: d["files"][0].update(path="../../etc/passwd"), "is not the name of a file"),
        (lambda d: d["files"][0].update(path="rows-00007.parquet"), "not numbered one after the other"),
        (lambda d: d["files"][0].update(sha256="abc"), "bad sha256"),
        (lambda d: d["files"][0].update(rows=0), "bad rows or size"),
        (lambda d: d.update(files=[]), "lists no files"),
    ],
)
def test_a_description_that_is_wrong_is_named(
    change: Callable[[dict[str, Any]], object], says: str, churn_set: EvaluationSet, tmp_path: Path
) -> None:
    digest = rewritten(churn_set, tmp_path / "set", change)
    with pytest.raises(InvalidInput, match=says) as failure:
        open_set(tmp_path / "set", digest)
    assert failure.value.file.endswith(DESCRIPTION_FILE)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d["inputs"][0].update(name="Y"), r"not those of evaluation\.json: inputs\.Y"),
        (lambda d: d["inputs"][0].update(datatype="FP64"), r"inputs\.X is .*float.* instead of .*double"),
        (lambda d: d["inputs"][0].update(shape=[5]), r"inputs\.X is .*4\] instead of .*5\]"),
        (lambda d: d.update(groups=False), r"not those of evaluation\.json: groups"),
    ],
)
def test_rows_that_are_not_what_the_description_says_are_named(
    change: Callable[[dict[str, Any]], object], says: str, churn_set: EvaluationSet, tmp_path: Path
) -> None:
    opened = open_set(tmp_path / "set", rewritten(churn_set, tmp_path / "set", change))
    with pytest.raises(InvalidInput, match=says) as failure:
        list(opened.batches(64))
    assert failure.value.file.endswith("rows-00000.parquet")


def test_a_missing_value_in_a_file_of_others_is_named(churn_set: EvaluationSet, tmp_path: Path) -> None:
    folder = copy_of(churn_set, tmp_path / "set")
    path = folder / "rows-00000.parquet"
    table = pq.read_table(path)
    rows = table.num_rows
    schema = pa.schema([field.with_nullable(True) for field in table.schema])
    column = pa.array([None, *range(rows - 1)], pa.int64())
    place = table.schema.get_field_index("labels")
    changed = pa.Table.from_arrays([*table.columns[:place], column, *table.columns[place + 1 :]], schema=schema)
    pq.write_table(changed, path)
    document = json.loads((folder / DESCRIPTION_FILE).read_text())
    content = path.read_bytes()
    document["files"][0] |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / DESCRIPTION_FILE).write_text(text := json.dumps(document))

    with pytest.raises(InvalidInput, match="labels lacks a value"):
        list(open_set(folder, digest_of(text.encode())).batches(64))


# --- what is refused ----------------------------------------------------------------------------------------------

X = np.zeros((3, 2), np.float32)
BAD: list[tuple[dict[str, Any], str, str]] = [
    (
        {"inputs": {"X": np.array([[1, None], [2, 3]], dtype=object)}},
        "inputs: X: has the type object, and row 0",
        "one",
    ),
    ({"inputs": {"X": np.array([["a"], [b"b"], [1.0]], dtype=object)}}, "row 2 holds float", "one type"),
    ({"inputs": {"X": np.array([b"a", b"b"])}}, r"has the type \|S1", "dtype=object"),
    ({"inputs": {"X": np.array([1 + 2j])}}, "complex128, which no input of Triton has", "one type"),
    ({"inputs": {"X": np.array(["2024-01-01"], dtype="M8[D]")}}, r"datetime64\[D\]", "one type"),
    ({"inputs": {"X": [[1.0], [2.0, 3.0]]}}, "inputs: X: has rows of different shapes", "Every row"),
    ({"inputs": {"X": 1.0}}, "one value instead of a row for each", ""),
    ({"inputs": {"X": np.zeros((3, 0))}}, "a row holds nothing", ""),
    ({"inputs": X}, "inputs: must be named", "by name"),
    ({"inputs": {}}, "inputs: is empty", ""),
    ({"inputs": {"a\nb": X}}, "is not a valid name", ""),
    ({"labels": X}, "inputs: is missing", "A batch is"),
    ({"inputs": {"X": X}, "label": 1}, "has the unknown label", "A batch is"),
    ({"inputs": {"X": X}, "labels": [0, 1]}, r"different numbers of rows: labels: 2; inputs\.X: 3", ""),
    ({"inputs": {"X": X}, "labels": [0.5, np.nan, 1]}, "labels: row 1 is nan", "Leave out rows"),
    ({"inputs": {"X": X}, "labels": [0.5, 1, np.inf]}, "labels: row 2 is inf", "Leave out rows"),
    ({"inputs": {"X": X}, "labels": np.array(["a", None, "b"], dtype=object)}, "labels: row 1 is None", "Drop rows"),
    ({"inputs": {"X": X}, "labels": np.array([1, 2j, 3])}, "complex128", ""),
    ({"inputs": {"X": X}, "labels": np.zeros((3, 2))}, r"labels: has the shape \[3, 2\]", ""),
    ({"inputs": {"X": X}, "slices": {"region": ["a", None, "b"]}}, "slices: region: row 1 is None", "fillna"),
    ({"inputs": {"X": X}, "slices": {"age": [0.5, 1, 2]}}, "slices: age: has the type float64", "ranges"),
    ({"inputs": {"X": X}, "slices": {"text": ["a" * 101, "b", "c"]}}, "row 0 has 101 characters", ""),
    ({"inputs": {"X": X}, "slices": ["a", "b", "c"]}, "slices: must be named", "by name"),
    ({"inputs": {"X": X}, "groups": [0.5, 1, 2]}, "groups: have the type float64", "customer ids"),
]


@pytest.mark.parametrize(("rows", "says", "step"), BAD)
def test_rows_that_no_set_can_hold_are_refused_and_leave_nothing(
    rows: dict[str, Any], says: str, step: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=says) as failure:
        write(tmp_path / "set", [rows])
    assert step in failure.value.next_step
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("labels", "kind", "says"),
    [
        ([0.5, 1, 2], "class", "are not whole numbers"),
        (["a", "b", "c"], "number", "are text, and number is a number"),
        ([1, -1, 2], "relevance", "row 1 is -1, and relevance is 0 or more"),
        ([1, 1, 2], "classes", "is 'classes' instead of class, number, relevance"),
        (None, "class", "are missing, and their kind is given"),
    ],
)
def test_labels_of_another_kind_are_refused(labels: Any, kind: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=says):
        write(tmp_path / "set", [{"inputs": {"X": X}, "labels": labels}], kind=kind)


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ({"inputs": {"X": X.astype(np.float64)}}, r"inputs have X: FP64\[2\], and before X: FP32\[2\]"),
        ({"inputs": {"X": X[:, :1]}}, r"inputs have X: FP32\[1\], and before X: FP32\[2\]"),
        ({"inputs": {"X": X, "Y": X}}, "inputs have 2 inputs, and before 1 inputs"),
        ({"inputs": {"X": X}, "labels": [1, 2, 3]}, r"labels are class \(INT64\), and before missing"),
        ({"inputs": {"X": X}, "slices": {"a": ["b"] * 3}}, "slices are a, and before missing"),
        ({"inputs": {"X": X}, "groups": [1, 2, 3]}, "groups are in some batches only"),
    ],
)
def test_batches_that_differ_are_refused(second: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=says):
        write(tmp_path / "set", iter([{"inputs": {"X": X}}, second]))
    assert list(tmp_path.iterdir()) == []


def test_an_error_counts_rows_over_all_batches(tmp_path: Path) -> None:
    bad = {"inputs": {"X": X}, "labels": [1.0, np.nan, 2.0]}
    with pytest.raises(InvalidInput, match="row 4 is nan"):
        write(tmp_path / "set", [{"inputs": {"X": X}, "labels": [1.0, 1.5, 2.0]}, bad])


def test_no_rows_and_too_many_values_of_a_slice_are_refused(tmp_path: Path) -> None:
    for nothing in ([], [{"inputs": {"X": X[:0]}}]):
        with pytest.raises(InvalidInput, match="has no rows"):
            write(tmp_path / "set", nothing)
    many = {"inputs": {"X": np.zeros(1001)}, "slices": {"user": np.arange(1001)}}
    with pytest.raises(InvalidInput, match="slices: user: has more than 1000 different values"):
        write(tmp_path / "set", [many])


def test_a_set_is_never_written_over(churn_set: EvaluationSet, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not empty"):
        write(churn_set.folder, [churn(10)])
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot be written"):
        write(tmp_path / "file" / "set", [churn(10)])


def test_what_the_rows_raise_goes_on_and_leaves_nothing(tmp_path: Path) -> None:
    def batches() -> Any:
        yield churn(10)
        raise FileNotFoundError("their own data is gone")

    with pytest.raises(FileNotFoundError, match="their own data"):
        write(tmp_path / "set", batches())
    assert list(tmp_path.iterdir()) == []
