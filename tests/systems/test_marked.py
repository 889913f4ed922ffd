"""A store that is not mounted is unavailable, never empty, and nothing is written where it should be."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bot.domain.marker import MARKER_FILE, Marker
from bot.domain.routes import RouteTable
from bot.errors import Rejected, Unavailable
from bot.marked import MarkedFolder
from bot.records.directory import RecordStore
from bot.settings import Share
from tests.stores import Unfenced


def share_of(folder: Path, environment: str = "dev") -> Unfenced:
    named = Share(model_repository=str(folder / "models"), state=str(folder / "state"))
    return Unfenced(named, environment=environment)


@pytest.fixture
def share(tmp_path: Path) -> Unfenced:
    made = share_of(tmp_path)
    made.begin()
    made.routes.write(RouteTable("dev").following({}))
    return made


@pytest.fixture
def records(tmp_path: Path) -> RecordStore:
    made = RecordStore(tmp_path / "records")
    made.begin()
    made.put("quarantine/dev/1.json", "{}")
    return made


def unmount(folder: Path) -> Path:
    """Leave what an unmounted file system leaves: the same path, and nothing in it."""
    away = folder.with_name(f"{folder.name}-away")
    folder.rename(away)
    folder.mkdir()
    return away


def take_a_turn(share: Unfenced) -> None:
    with share.lease(wait_seconds=0):
        pass


ON_THE_SHARE: dict[str, Callable[[Unfenced], object]] = {
    "turn": take_a_turn,
    "routes": lambda share: share.routes.read("dev"),
    "write routes": lambda share: share.routes.write(RouteTable("dev", 2)),
    "journal": lambda share: share.journal.read(),
    "write journal": lambda share: share.journal_of(1).write("{}"),
    "outbox": lambda share: share.outbox.read(),
    "put in outbox": lambda share: share.outbox.put("m", "{}"),
    "models": lambda share: share.models.names(),
    "versions": lambda share: share.models.versions("churn"),
    "config": lambda share: share.models.config("churn"),
    "described": lambda share: share.packages.described("sha256:" + "0" * 64),
    "packages": lambda share: share.packages.digests(),
    "contents": lambda share: share.models.contents(),
    "sweep": lambda share: share.trash.sweep(alone=True),
    "check": lambda share: share.trials.check(),
}
IN_THE_RECORDS: dict[str, Callable[[RecordStore], object]] = {
    "keys": lambda records: records.keys("quarantine/dev"),
    "get": lambda records: records.get("quarantine/dev/1.json"),
    "put": lambda records: records.put("quarantine/dev/2.json", "{}"),
    "check": lambda store: store.check("dev"),
}


@pytest.mark.parametrize("what", ON_THE_SHARE)
@pytest.mark.parametrize("seen_before", [True, False])
@pytest.mark.parametrize("folder", ["state", "models"])
def test_a_share_that_is_not_mounted_is_unavailable(
    tmp_path: Path, share: Unfenced, folder: str, seen_before: bool, what: str
) -> None:
    asked = share if seen_before else share_of(tmp_path)
    unmount(tmp_path / folder)
    with pytest.raises(Unavailable) as failure:
        ON_THE_SHARE[what](asked)
    assert "Mount it" in failure.value.next_step and failure.value.state == "Nothing was read or written there."
    assert list((tmp_path / folder).iterdir()) == [], "nothing goes to the local disk"


@pytest.mark.parametrize("what", IN_THE_RECORDS)
def test_records_that_are_not_mounted_are_unavailable(tmp_path: Path, records: RecordStore, what: str) -> None:
    away = unmount(tmp_path / "records")
    for store in (records, RecordStore(tmp_path / "records")):
        with pytest.raises(Unavailable, match="not mounted, or was never used") as failure:
            IN_THE_RECORDS[what](store)
        assert "promobot doctor --init" in failure.value.next_step
    assert list((tmp_path / "records").iterdir()) == []
    (tmp_path / "records").rmdir()
    with pytest.raises(Unavailable):
        IN_THE_RECORDS[what](records)
    assert not (tmp_path / "records").exists()
    away.rename(tmp_path / "records")
    assert records.keys("quarantine/dev") == ["quarantine/dev/1.json"], "mounted again, it goes on"


def test_another_file_system_is_not_taken_for_the_model_repository(
    share: Unfenced, tmp_path: Path, small_disk: Path
) -> None:
    named = Share(model_repository=str(small_disk), state=str(tmp_path / "state"))
    with pytest.raises(Unavailable, match="not mounted"):
        Unfenced(named, environment="dev").models.names()


def test_a_store_of_before_there_were_markers_is_adopted_by_whoever_writes(
    tmp_path: Path, share: Unfenced, records: RecordStore
) -> None:
    take_a_turn(share)
    markers = [folder / MARKER_FILE for folder in (share.state, share.root, tmp_path / "records")]
    for marker in markers:
        marker.unlink()
    share, records = share_of(tmp_path), RecordStore(tmp_path / "records")
    assert share.routes.read("dev").generation == 1 and records.keys("quarantine/dev")
    assert not any(marker.exists() for marker in markers), "who only reads writes nothing"
    take_a_turn(share)
    records.put("quarantine/dev/2.json", "{}")
    said = [marker.read_text() for marker in markers]
    assert said == [
        Marker(purpose, environment).to_json()
        for purpose, environment in (("state", "dev"), ("models", "dev"), ("records", ""))
    ]
    assert all(marker.stat().st_mode & 0o777 == 0o644 for marker in markers)
    assert sorted(share.models.contents()) == [], "it is no stranger in Triton's root"


@pytest.mark.parametrize(
    ("folder", "marker", "said"),
    [
        ("state", Marker("state", "prod").to_json(), "it belongs to prod, not to dev"),
        ("models", Marker("models", "prod").to_json(), "it belongs to prod, not to dev"),
        ("state", Marker("staging state").to_json(), "it is for staging state, not for state"),
        ("state", Marker("records").to_json(), "it is for records, not for state"),
        ("state", "hello", "a value is missing, at line 1, column 1"),
        ("state", "[]", "not a marker of format 1"),
    ],
)
def test_the_store_of_somebody_else_is_refused(
    tmp_path: Path, share: Unfenced, folder: str, marker: str, said: str
) -> None:
    (tmp_path / folder / MARKER_FILE).write_text(marker)
    for asked in (share, share_of(tmp_path)):
        with pytest.raises(Rejected, match="this is another store") as failure:
            asked.routes.read("dev")
        assert said in str(failure.value)


def test_who_may_write_below_a_store_only_leaves_its_marking_to_others(
    tmp_path: Path, records: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "records" / MARKER_FILE).unlink()
    store = RecordStore(tmp_path / "records")
    monkeypatch.setattr(MarkedFolder, "_write", _refuse)
    store.put("quarantine/dev/2.json", "{}")
    assert not (tmp_path / "records" / MARKER_FILE).exists()


def _refuse(_: MarkedFolder) -> None:
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_mark_is_made_once_and_again_changes_nothing(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "new" / "records")
    store.begin()
    before = (tmp_path / "new/records" / MARKER_FILE).stat()
    store.begin()
    RecordStore(tmp_path / "new" / "records").begin()
    assert (tmp_path / "new/records" / MARKER_FILE).stat().st_mtime_ns == before.st_mtime_ns
    assert [path.name for path in (tmp_path / "new/records").iterdir()] == [MARKER_FILE]
    with pytest.raises(Rejected):
        RecordStore(tmp_path / "new" / "records", purpose="inbox").begin()


def test_a_folder_in_the_records_needs_no_marker_of_its_own_and_the_records_theirs(
    tmp_path: Path, records: RecordStore
) -> None:
    inbox = RecordStore(tmp_path / "records" / "slack", below=tmp_path / "records")
    inbox.put("inbox/1.json", "{}")
    assert inbox.keys("inbox") == ["inbox/1.json"]
    shutil.move(tmp_path / "records", tmp_path / "away")
    (tmp_path / "records").mkdir()
    with pytest.raises(Unavailable):
        inbox.put("inbox/2.json", "{}")
    assert list((tmp_path / "records").iterdir()) == []


def test_of_many_that_begin_the_same_store_at_once_none_fails(tmp_path: Path) -> None:
    """As the doctor does for several environments that share one record store."""
    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            root = tmp_path / str(number)
            list(pool.map(lambda _, root=root: RecordStore(root).begin(), range(8)))  # type: ignore[misc]
            assert [path.name for path in root.iterdir()] == [MARKER_FILE]
