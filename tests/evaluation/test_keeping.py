"""A set is fetched once, compared while it arrives, and used again; what breaks off goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from bot.errors import InvalidInput, Refused, Unavailable
from bot.evaluation import keeping, sets
from bot.evaluation.keeping import UNUSED_SECONDS, keep
from bot.evaluation.sets import EvaluationSet, open_set, write
from tests.evaluation.rows import churn


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> EvaluationSet:
    """A set of 1,000 rows in several files. Nobody changes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "GROUP_ROWS", 100)
        patch.setattr(sets, "FILE_BYTES", 300 * 50)
        return write(tmp_path_factory.mktemp("sets") / "churn", [churn(1000)])


class Source:
    """Where a set is kept; ``changes`` stand in place of its own bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.changes: dict[str, bytes] = {}
        self.breaks_at = ""

    def __call__(self, path: str) -> Generator[bytes]:
        self.asked.append(path)
        content = self.changes.get(path, (self.folder / path).read_bytes())
        for at in range(0, len(content), 1000):
            yield content[at : at + 1000]
            if path == self.breaks_at:
                raise Unavailable("gone", system="MLflow")


def place(folder: Path, written: EvaluationSet) -> Path:
    return folder / written.digest.removeprefix("sha256:")


def names(written: EvaluationSet) -> list[str]:
    return sorted(path.name for path in written.folder.iterdir())


def test_it_is_fetched_once_and_used_again(written: EvaluationSet, tmp_path: Path) -> None:
    source = Source(written.folder)
    kept = keep(tmp_path / "kept", written.digest, source, of="runs:/1/churn")

    assert kept.folder == place(tmp_path / "kept", written)
    assert sorted(source.asked) == sorted(path.name for path in kept.folder.iterdir()) == names(written)
    assert open_set(kept.folder, written.digest).description == written.description
    source.asked.clear()
    assert keep(tmp_path / "kept", written.digest, source, of="runs:/1/churn") == kept
    assert source.asked == []


def test_what_is_damaged_on_the_disk_is_fetched_again(written: EvaluationSet, tmp_path: Path) -> None:
    source = Source(written.folder)
    folder = keep(tmp_path, written.digest, source, of="x").folder
    source.asked.clear()
    (folder / "rows-00001.parquet").write_bytes(b"damaged")
    (folder / "evaluation.json").write_text("{}")
    keep(tmp_path, written.digest, source, of="x")

    assert source.asked == ["evaluation.json", "rows-00001.parquet"]
    open_set(folder, written.digest)


def test_a_fetch_that_broke_off_goes_on_with_what_is_missing(written: EvaluationSet, tmp_path: Path) -> None:
    source = Source(written.folder)
    source.breaks_at = "rows-00001.parquet"
    with pytest.raises(Unavailable):
        keep(tmp_path, written.digest, source, of="x")
    folder = place(tmp_path, written)
    assert sorted(path.name for path in folder.iterdir()) == ["evaluation.json", "rows-00000.parquet"]
    source.breaks_at = ""
    source.asked.clear()
    keep(tmp_path, written.digest, source, of="x")
    assert source.asked == [name for name in names(written) if name not in ("evaluation.json", "rows-00000.parquet")]


def test_a_part_fetches_its_own_files(written: EvaluationSet, tmp_path: Path) -> None:
    source = Source(written.folder)
    first = written.description.files[0].rows
    keep(tmp_path, written.digest, source, of="x", start=first, stop=first + 1)
    assert source.asked == ["evaluation.json", "rows-00001.parquet"]


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        ("evaluation.json", b"{}", r"runs:/1/churn/evaluation\.json: is that of another set, or was changed"),
        (
            "rows-00000.parquet",
            b"x",
            r"runs:/1/churn/rows-00000\.parquet: is not the file that evaluation\.json lists",
        ),
        ("rows-00000.parquet", b"x" * 10**6, r"is not the file that evaluation\.json lists"),
        ("evaluation.json", b" " * (keeping.MAX_DESCRIPTION_BYTES + 5), "has more than"),
    ],
)
def test_a_source_with_other_bytes_is_named_and_nothing_of_it_stays(
    path: str, content: bytes, says: str, written: EvaluationSet, tmp_path: Path
) -> None:
    source = Source(written.folder)
    source.changes[path] = content
    with pytest.raises(InvalidInput, match=says):
        keep(tmp_path, written.digest, source, of="runs:/1/churn")
    assert not (place(tmp_path, written) / path).exists()
    assert not [found for found in place(tmp_path, written).iterdir() if found.name.startswith(".")]


def test_what_nobody_used_for_long_goes_when_another_is_fetched(written: EvaluationSet, tmp_path: Path) -> None:
    source = Source(written.folder)
    for name, age in (("old", UNUSED_SECONDS + 60), ("new", UNUSED_SECONDS - 3600)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "evaluation.json").write_text("")
        for path in (tmp_path / name / "evaluation.json", tmp_path / name):
            os.utime(path, (time.time() - age,) * 2)
    keep(tmp_path, written.digest, source, of="x")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["new", place(tmp_path, written).name])
    used = place(tmp_path, written) / "evaluation.json"
    os.utime(used, (0, 0))
    keep(tmp_path, written.digest, source, of="x")
    assert used.stat().st_mtime > time.time() - 3600


def test_a_full_disk_and_a_bad_digest_are_said(
    written: EvaluationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match=r"cannot be kept in .*: Not a directory"):
        keep(tmp_path / "file", written.digest, Source(written.folder), of="x")
    with pytest.raises(InvalidInput, match="digest: 'latest' is not a valid digest"):
        keep(tmp_path, "latest", Source(written.folder), of="x")
    usage = keeping.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(keeping.shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(Refused, match=r"needs 0 MiB in .*, and 0 MiB are free") as failure:
        keep(tmp_path, written.digest, Source(written.folder), of="x")
    assert "XDG_CACHE_HOME" in failure.value.next_step
