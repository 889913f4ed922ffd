"""The record store in a directory: what the file system and a kill may do to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bot.errors import Rejected, Unavailable
from bot.records.directory import TRIAL, RecordStore
from tests.systems.tracing import looked_blindly, synced, traced


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    made = RecordStore(tmp_path / "records")
    made.begin()
    return made


def test_a_folder_is_opened_before_what_lies_in_it_is_looked_at(tmp_path: Path) -> None:
    """An NFS client believes for up to a minute that what it once asked for is not there (docs/how-to/nfs.md)."""
    store = RecordStore(tmp_path / "records")
    store.begin()
    readings = (lambda: store.get("quarantine/dev/one.json"), lambda: store.keys("quarantine/dev"))
    for there in (False, True):
        if there:
            store.put("quarantine/dev/one.json", "{}")
        for work in readings:
            assert looked_blindly(work, tmp_path / "log", below=tmp_path / "records") == []


def test_a_key_that_is_too_long_is_an_error_of_ours(store: RecordStore) -> None:
    with pytest.raises(Unavailable, match="File name too long"):
        store.put("a/" + "x" * 300, "x")


@pytest.mark.parametrize("call", ["openat", "write", "fsync", "link", "unlink"])
def test_killed_at_any_point_a_record_is_whole_or_not_there(store: RecordStore, call: str) -> None:
    for point in range(1, 50):
        key = f"deployments/dev/{point}.json"
        ended = traced(lambda: store.put(key, "x" * 100_000), inject=f"{call}:signal=SIGKILL:when={point}")  # noqa: B023
        assert store.get(key) in (None, "x" * 100_000)
        assert set(store.keys("deployments")) <= {f"deployments/dev/{n}.json" for n in range(1, point + 1)}
        if store.get(key) is None:
            store.put(key, "again")
        if not ended.killed:
            break
    assert point > 1, "it was never killed"
    assert not ended.killed


def test_a_record_is_synced_before_its_name_appears_and_the_name_after(store: RecordStore, tmp_path: Path) -> None:
    content, moved, name, *folders = synced(lambda: store.put("a/1.json", "x"), tmp_path / "strace")
    folder = tmp_path / "records" / "a"
    assert content.startswith(f"sync {folder}/.1.json.")
    assert moved == f"move {content.removeprefix('sync ')} {folder}/1.json"
    above = [f"sync {folder}", f"sync {folder.parent}"]
    assert [name, *folders] == above, "the folders were new, too"
    assert f"sync {folder.parent}" in synced(lambda: store.put("a/2.json", "x"), tmp_path / "strace")


@pytest.mark.parametrize("error", ["EACCES", "EIO", "ESTALE"])
def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(store: RecordStore, error: str) -> None:
    store.put("a/b/1.json", "x")
    for folder in ("a", "a/b"):
        path = store._root / folder
        ended = traced(lambda: store.keys("a"), inject=f"openat:error={error}", path=path)
        assert ended.error is Unavailable and "could not list a: " in ended.said
    assert store.keys("nothing") == []


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_disk_that_fails_is_unavailable_and_nothing_half_is_left(
    store: RecordStore, tmp_path: Path, call: str
) -> None:
    store.put("a/1.json", "first")
    ended = traced(lambda: store.put("a/2.json", "second"), inject=f"{call}:error=EIO")
    assert ended.error is Unavailable and "Input/output error" in ended.said
    assert store.get("a/2.json") is None
    assert [p.name for p in (tmp_path / "records" / "a").iterdir() if p.name.startswith(".")] == []


def test_a_full_disk_keeps_no_half_record(small_disk: Path) -> None:
    store = RecordStore(small_disk / "records")
    store.begin()
    store.put("a/1.json", "first")
    with pytest.raises(Unavailable, match="No space left on device"):
        store.put("a/2.json", "x" * 400_000)
    assert store.get("a/2.json") is None and store.keys("a") == ["a/1.json"]
    store.put("a/3.json", "x" * 200_000)  # what was half written takes no room
    assert store.keys("a") == ["a/1.json", "a/3.json"]


def test_a_store_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("no folder")
    store = RecordStore(tmp_path / "records")
    with pytest.raises(Unavailable, match="could not look at"):
        store.put("a/1.json", "x")


def test_a_record_that_is_no_text_is_rejected(store: RecordStore, tmp_path: Path) -> None:
    store.put("a/1.json", "x")
    (tmp_path / "records" / "a" / "1.json").write_bytes(b"\xff\xfe")
    with pytest.raises(Rejected, match=r"a/1\.json is not UTF-8"):
        store.get("a/1.json")


def test_a_trial_leaves_nothing_and_no_reader_sees_it(store: RecordStore, tmp_path: Path) -> None:
    store.put("deployments/dev/1.json", "{}")
    before = sorted((tmp_path / "records").rglob("*"))
    assert store.check("dev") == "1 deployment records; existing ones cannot be overwritten"
    assert sorted((tmp_path / "records").rglob("*")) == before
    for left in (f"{TRIAL}left", f".{TRIAL}left.draft"):
        (tmp_path / "records/deployments/dev" / left).touch()
        os.utime(tmp_path / "records/deployments/dev" / left, (0, 0))
    assert store.keys("deployments") == ["deployments/dev/1.json"]
    store.check("dev")
    assert sorted((tmp_path / "records").rglob("*")) == before, "the next one removes what a killed one left"


def test_killed_at_any_point_a_trial_leaves_only_what_the_next_one_removes(
    store: RecordStore, tmp_path: Path
) -> None:
    before = sorted((tmp_path / "records").rglob("*"))
    for point in range(1, 20):
        ended = traced(lambda: store.check("dev"), inject=f"unlink:signal=SIGKILL:when={point}")
        for left in {*(tmp_path / "records").rglob("*")} - {*before}:
            os.utime(left, (0, 0))
        store.check("dev")
        assert sorted((tmp_path / "records").rglob("*")) == before
        if not ended.killed:
            break
    assert point > 1 and not ended.killed


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("openat:error=EROFS:when=5+", Unavailable, "Read-only file system"),
        ("link,linkat:error=EPERM", Unavailable, "Operation not permitted"),
        ("fsync:error=EIO", Unavailable, "Input/output error"),
        # The second link says that it made the name: as a file system does that replaces what is there.
        ("link,linkat:retval=0:when=2+", Rejected, "was overwritten, and records must never be"),
    ],
)
def test_a_store_that_does_not_hold_what_it_must_is_named(
    store: RecordStore, fault: str, kind: type[Exception], said: str
) -> None:
    ended = traced(lambda: store.check("dev"), inject=fault)
    assert ended.error is kind and said in ended.said


def test_each_folder_in_which_a_deployment_would_write_is_tried(
    store: RecordStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of root nothing is refused, so that of the folder of another user is given here."""
    store.put("deployments/dev/1.json", "{}")
    store.put("quarantine/prod/1.json", "{}")
    create, tried = store._create, list[Path]()

    def created(path: Path, text: str) -> None:
        tried.append(path.parent.relative_to(tmp_path / "records"))
        create(path, text)

    monkeypatch.setattr(store, "_create", created)
    store.check("dev")
    assert list(dict.fromkeys(tried)) == [Path(), Path("deployments/dev"), Path("quarantine")]
