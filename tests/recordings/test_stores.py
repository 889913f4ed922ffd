"""Recordings in a folder and in a bucket: written whole, read newest first, and gone when their time is over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from bot.domain.recorded import Recorded
from bot.domain.smoke import Tensor
from bot.errors import OutsideError, Rejected, Unavailable
from bot.recordings import Store, first_kept, forget, newest, packed
from bot.recordings.bucket import Bucket
from bot.recordings.directory import Directory
from bot.sandbox.s3 import ObjectStorage

AT = datetime(2026, 11, 30, 9, tzinfo=UTC)


def recorded(number: int, *, model: str = "churn") -> Recorded:
    x = Tensor("X", "FP32", (1, 1), (float(number),))
    return Recorded(AT + timedelta(seconds=number), model, 7, "sha256:ab", (x,))


def number(one: Recorded) -> int:
    return int(float(one.inputs[0].data[0]))


def bucket(storage: ObjectStorage, prefix: str) -> Bucket:
    return Bucket(
        storage.bucket,
        prefix,
        endpoint=storage.endpoint,
        region="us-east-1",
        credentials={
            "aws_access_key_id": storage.credentials.access_key_id,
            "aws_secret_access_key": storage.credentials.secret_access_key,
        },
        request_seconds=20,
    )


@pytest.fixture(params=["directory", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "directory":
        return Directory(tmp_path)
    return bucket(request.getfixturevalue("object_storage"), f"recordings/{tmp_path.name}")


def add(store: Store, day: str, name: str, *numbers: int, model: str = "churn") -> None:
    store.add(f"dev/{model}/{day}/{name}", packed(recorded(n, model=model).to_line() for n in numbers))


def test_the_newest_come_first_over_files_and_days(store: Store) -> None:
    add(store, "2026-11-29", "235959-gateway1-1.jsonl.gz", 1, 2)
    add(store, "2026-11-30", "000001-gateway1-2.jsonl.gz", 3, 4)
    add(store, "2026-11-30", "000002-gateway2-1.jsonl.gz", 5)
    add(store, "2026-11-30", "000002-gateway2-1.jsonl.gz", 9, model="fraud")
    assert [number(one) for one in newest(store, "dev", "churn", 10)] == [5, 4, 3, 2, 1]
    assert [number(one) for one in newest(store, "dev", "churn", 2)] == [5, 4]
    assert list(newest(store, "dev", "nobody", 5)) == []
    assert list(newest(store, "prod", "churn", 5)) == []


def test_what_cannot_be_read_hides_nothing_else(store: Store) -> None:
    add(store, "2026-11-30", "000001-g-1.jsonl.gz", 1)
    whole = packed([recorded(2).to_line(), "not json", recorded(3).to_line()])
    store.add("dev/churn/2026-11-30/000002-g-2.jsonl.gz", whole)
    many = packed(recorded(n).to_line() for n in range(100, 400))
    store.add("dev/churn/2026-11-30/000003-g-3.jsonl.gz", many[: len(many) // 2])
    store.add("dev/churn/2026-11-30/000004-g-4.jsonl.gz", b"no gzip")
    store.add("dev/churn/2026-11-30/notes.txt", b"somebody's")
    store.add("dev/churn/latest/000004-g-4.jsonl.gz", b"somebody's")
    found = [number(one) for one in newest(store, "dev", "churn", 1000)]
    assert found[-3:] == [3, 2, 1]
    assert all(100 <= one < 400 for one in found[:-3])


def test_days_that_are_over_go_and_nothing_else_does(store: Store) -> None:
    for day in ("2026-11-16", "2026-11-17", "2026-11-30"):
        add(store, day, "000001-g-1.jsonl.gz", 1)
        add(store, day, "000001-g-1.jsonl.gz", 2, model="fraud")
    store.add("dev/churn/readme/a", b"somebody's")
    store.add("prod/churn/2020-01-01/000001-g-1.jsonl.gz", b"of another environment")
    gone = forget(store, "dev", before=first_kept(date(2026, 11, 30), 14))
    assert gone == ["dev/churn/2026-11-16", "dev/fraud/2026-11-16"]
    assert store.names("dev/churn") == ["2026-11-17", "2026-11-30", "readme"]
    assert store.names("prod/churn") == ["2020-01-01"]
    assert forget(store, "dev", before=date(2026, 11, 17)) == []


def test_of_a_day_all_that_is_kept_is_that_day() -> None:
    assert first_kept(date(2026, 11, 30), 1) == date(2026, 11, 30)


def test_a_folder_that_is_not_mounted_is_made_by_nobody(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    for use in (
        lambda: add(Directory(gone), "2026-11-30", "000001-g-1.jsonl.gz", 1),
        lambda: list(newest(Directory(gone), "dev", "churn", 1)),
    ):
        with pytest.raises(Unavailable, match="recordings"):
            use()
    assert not gone.exists()


@pytest.mark.parametrize("failing", ["add", "names", "read"])
def test_a_bucket_that_is_not_there_is_said(object_storage: ObjectStorage, failing: str) -> None:
    there = bucket(object_storage, "x")
    there._bucket = "no-such-bucket"
    uses: dict[str, Callable[[], object]] = {
        "add": lambda: there.add("dev/a", b""),
        "names": lambda: there.names("dev"),
        "read": lambda: there.read("dev/a"),
    }
    with pytest.raises(OutsideError, match="recordings"):
        uses[failing]()


def test_an_object_that_is_too_large_is_not_read(
    object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = bucket(object_storage, "large")
    there.add("dev/a", b"12345")
    monkeypatch.setattr("bot.recordings.bucket.LARGEST_BYTES", 4)
    with pytest.raises(Rejected, match="has 5 bytes"):
        there.read("dev/a")


@pytest.mark.parametrize("at", [20, 400, 900])
def test_of_a_file_with_a_flipped_byte_what_comes_before_it_counts(tmp_path: Path, at: int) -> None:
    content = bytearray(packed([recorded(n).to_line() for n in range(2000)]))
    content[at] ^= 0x55
    store = Directory(tmp_path)
    store.add("dev/churn/2026-11-30/000001-g-1.jsonl.gz", bytes(content))
    store.add("dev/churn/2026-11-29/000001-g-1.jsonl.gz", packed([recorded(7).to_line()]))
    found = [number(one) for one in newest(store, "dev", "churn", 5000)]
    assert found[-1] == 7 and len(found) < 2001
