"""What holds for records wherever they are: created once, whole or not at all, never changed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from bot.domain.marker import MARKER_FILE
from bot.errors import Refused, Rejected
from bot.records.directory import RecordStore
from bot.records.ledger import Store
from bot.sandbox.s3 import ObjectStorage
from bot.settings import Bucket
from tests.stores import bucket_records

HOSTILE = (
    *("", "/", "/etc/passwd", "..", "../escape", "a/../../escape", "a/..", "a//b", "a/", "./a", ".hidden", "a/.b"),
    *("a\0b", "a/\0"),
)


def bucket_of(storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch, **more: object) -> Bucket:
    """Return settings of a folder of its own in the bucket, whose credentials are in variables."""
    monkeypatch.setenv("RECORDS_KEY_ID", storage.credentials.access_key_id)
    monkeypatch.setenv("RECORDS_KEY", storage.credentials.secret_access_key)
    settings = {
        "bucket": storage.bucket,
        "prefix": f"tests/{uuid4().hex}",
        "endpoint": storage.endpoint,
        "access_key_id_env": "RECORDS_KEY_ID",
        "secret_access_key_env": "RECORDS_KEY",
    }
    return Bucket.model_validate({**settings, **more})


@pytest.fixture(params=["directory", "bucket"])
def opens(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Store]]:
    """Opens one store, each time anew, as another process does."""
    if request.param == "directory":
        RecordStore(tmp_path / "records").begin()
        yield lambda: RecordStore(tmp_path / "records")
    else:
        settings = bucket_of(request.getfixturevalue("object_storage"), monkeypatch)
        bucket_records(settings, seconds=30).begin()
        yield lambda: bucket_records(settings, seconds=30)


@pytest.fixture
def store(opens: Callable[[], Store]) -> Store:
    return opens()


def test_what_was_put_is_got(store: Store, opens: Callable[[], Store]) -> None:
    text = "grün 🚀\r\n\n \x00"
    store.put("deployments/dev/1.json", text)
    for one in (store, store, opens()):
        assert one.get("deployments/dev/1.json") == text
        assert one.get("deployments/dev/2.json") is None
        assert one.get("deployments/dev/1.json/deeper") is None
        assert one.keys("nothing/here") == []


def test_keys_are_all_below_a_folder_sorted(store: Store) -> None:
    for key in ("a/2.json", "a/10.json", "a/b/c.json", "ab/1.json", "top.json"):
        store.put(key, key)
    assert store.keys("a") == ["a/10.json", "a/2.json", "a/b/c.json"]
    assert store.keys("a/b") == ["a/b/c.json"]
    assert store.get_all(store.keys("a")) == {key: key for key in ("a/10.json", "a/2.json", "a/b/c.json")}
    assert store.get_all(["a/2.json", "a/3.json"]) == {"a/2.json": "a/2.json"}


def test_a_record_is_never_overwritten(store: Store, opens: Callable[[], Store]) -> None:
    store.put("a/1.json", "first")
    for one in (store, opens()):
        for text in ("second", "first"):
            with pytest.raises(Refused, match=r"a/1\.json is already in the record store.*never overwritten"):
                one.put("a/1.json", text)
    assert store.get("a/1.json") == opens().get("a/1.json") == "first"


@pytest.mark.slow
@pytest.mark.parametrize("same", [False, True], ids=["each its own", "all the same"])
def test_of_sixteen_writers_one_wins(opens: Callable[[], Store], same: bool) -> None:
    texts = ["same" if same else f"{n}" * 100_000 for n in range(16)]
    stores, begin, key = [opens() for _ in texts], threading.Barrier(16), "race/1.json"
    outcomes: list[str] = []

    def write(store: Store, text: str) -> None:
        begin.wait(20)
        try:
            store.put(key, text)
            outcomes.append(text)
        except Refused:
            outcomes.append("refused")

    threads = [threading.Thread(target=write, args=pair) for pair in zip(stores, texts, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    winners = [text for text in outcomes if text != "refused"]
    assert len(outcomes) == 16 and len(winners) == 1
    assert opens().get(key) == winners[0] and opens().keys("race") == [key]


WRITER = """
import sys, threading
from bot.errors import Refused
from tests.records.test_record_stores import reopened
store, me = reopened(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
won = []
def write(number):
    for key in range(25):
        try:
            store.put(f"race/{key}.json", f"{me}-{number} " * 1000)
            won.append(f"{key} {me}-{number}")
        except Refused:
            pass
threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("\\n".join(won), flush=True)
"""


def reopened(where: str) -> Store:
    """Open, in another process, what :func:`test_of_many_processes_one_wins_each_key` names."""
    if where.startswith("/"):
        return RecordStore(where)
    settings = Bucket.model_validate_json(where)
    return bucket_records(settings, seconds=60)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["directory", "bucket"])
def test_of_many_processes_one_wins_each_key(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four processes of eight threads write 25 keys at the same time."""
    where = str(tmp_path / "records")
    if kind == "bucket":
        where = bucket_of(request.getfixturevalue("object_storage"), monkeypatch).model_dump_json()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, where, str(number)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    won: dict[str, list[str]] = {}
    try:
        for writer in writers:
            assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        for writer in writers:
            said, _ = writer.communicate(timeout=200)
            for line in filter(None, said.splitlines()):
                key, who = line.split()
                won.setdefault(key, []).append(who)
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    store = reopened(where)
    assert sorted(won, key=int) == [str(key) for key in range(25)]
    for key, winners in won.items():
        assert len(winners) == 1
        assert store.get(f"race/{key}.json") == f"{winners[0]} " * 1000


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_keys_are_rejected_and_touch_nothing(store: Store, tmp_path: Path, key: str) -> None:
    for act in (lambda: store.put(key, "x"), lambda: store.get(key), lambda: store.keys(key)):
        with pytest.raises(Rejected, match="is not a valid key"):
            act()
    assert {path.name for path in tmp_path.rglob("*")} <= {"records", MARKER_FILE}
    assert store.keys("a") == []


def test_it_says_what_it_holds(store: Store) -> None:
    assert store.check("dev").startswith("0 deployment records")
    store.put("deployments/dev/1.json", "{}")
    assert store.check("dev").startswith("1 deployment records")
