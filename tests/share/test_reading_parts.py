"""Large objects in parts, from a real S3: the same bytes, only over connections to spare, and nothing left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from bot import s3
from bot.errors import Unavailable
from bot.retry import resume
from bot.sandbox.s3 import ObjectStorage
from tests.stand_ins.links import Fault, HttpLink

PART = 64 * 1024
LARGE = bytes(range(251)) * (9 * PART // 251)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", PART)


class Bucket:
    """What a registry reads with: one client, one count of connections."""

    def __init__(self, storage: ObjectStorage, endpoint: str) -> None:
        self.storage, self.lines = storage, s3.Lines()
        self.client = s3.client(
            endpoint=endpoint,
            region=storage.region,
            credentials={
                "aws_access_key_id": storage.credentials.access_key_id,
                "aws_secret_access_key": storage.credentials.secret_access_key,
            },
            connect_seconds=2,
            read_seconds=2,
            connections=16,
        )

    def put(self, key: str, content: bytes) -> str:
        self.storage.client().put_object(Bucket=self.storage.bucket, Key=key, Body=content)
        return key

    def reading(self, key: str, client: Any = None) -> s3.Reading:
        return s3.Reading(
            client or self.client, bucket=self.storage.bucket, key=key, chunk_bytes=10_000, lines=self.lines
        )


@pytest.fixture(scope="module")
def link(object_storage: ObjectStorage) -> Iterator[HttpLink]:
    with HttpLink(object_storage.endpoint) as link:
        yield link


@pytest.fixture
def bucket(object_storage: ObjectStorage, link: HttpLink) -> Bucket:
    link.works()
    return Bucket(object_storage, link.url)


class Watched:
    """A client that counts how many answers are open at the same time, and what was asked for."""

    def __init__(self, client: Any, *, pause_seconds: float = 0.0, knows_parts: bool = True) -> None:
        self._client, self._pause, self._knows_parts = client, pause_seconds, knows_parts
        self._lock, self.open, self.most, self.asked = threading.Lock(), 0, 0, 0

    def get_object(self, **what: str) -> Any:
        if not self._knows_parts:
            what.pop("Range", None)
        with self._lock:
            self.open, self.asked = self.open + 1, self.asked + 1
            self.most = max(self.most, self.open)
        time.sleep(self._pause)
        answer = self._client.get_object(**what)
        body, close = answer["Body"], answer["Body"].close

        def closed() -> None:
            with self._lock:
                self.open -= 1
            close()

        body.close = closed
        return answer


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 5 * PART, 5 * PART + 7])
def test_the_bytes_are_the_objects_from_wherever_they_are_asked_for(bucket: Bucket, size: int) -> None:
    key, content = bucket.put(f"sizes/{size}", LARGE[:size]), LARGE[:size]
    for start in sorted({at for at in (0, 1, PART - 1, PART, 3 * PART + 5, size - 1) if 0 <= at < max(size, 1)}):
        assert b"".join(bucket.reading(key).stream(start)) == content[start:]
    assert bucket.lines.take_spare(), "all connections are given back"


def test_one_alone_comes_over_several_connections_and_several_over_no_more(bucket: Bucket) -> None:
    key = bucket.put("large", LARGE)
    alone = Watched(bucket.client, pause_seconds=0.05)
    assert b"".join(bucket.reading(key, alone).stream(0)) == LARGE
    assert alone.most == s3.LINES and alone.asked == -(-len(LARGE) // PART)

    together = Watched(bucket.client, pause_seconds=0.05)
    with ExitStack() as stack:
        streams = [stack.enter_context(closing(bucket.reading(key, together).stream(0))) for _ in range(s3.LINES)]
        started = [next(iter(stream)) for stream in streams]
        assert all(LARGE.startswith(first) for first in started)
        time.sleep(0.3)
        said = "one each, and what was to spare before the others came; it waits in memory until it is asked for"
        assert together.asked <= 2 * s3.LINES - 1, said
        assert [first + b"".join(stream) for first, stream in zip(started, streams, strict=True)] == [LARGE] * 4


def test_a_store_that_does_not_know_parts_sends_everything_once(bucket: Bucket) -> None:
    key = bucket.put("large", LARGE)
    whole = Watched(bucket.client, knows_parts=False)
    assert b"".join(bucket.reading(key, whole).stream(100_000)) == LARGE[100_000:]
    assert (whole.asked, whole.open) == (1, 0)


@pytest.mark.parametrize("fault", [Fault("reset", times=1), Fault("truncated", times=1)], ids=str)
def test_a_part_that_breaks_off_is_asked_for_again(bucket: Bucket, link: HttpLink, fault: Fault) -> None:
    key = bucket.put("large", LARGE)

    def read_from(at: int) -> Iterator[bytes]:
        with s3.errors("read it", system="the bucket", advice={"": ""}, no_key=""):
            yield from bucket.reading(key).stream(at)

    chunks = resume(read_from, start=0, seconds=5)
    first = next(chunks)
    link.fails(fault)
    assert first + b"".join(chunks) == LARGE
    assert link.spoiled


def test_who_stops_in_the_middle_leaves_no_connection_in_use(bucket: Bucket) -> None:
    watched = Watched(bucket.client, pause_seconds=0.02)
    with closing(bucket.reading(bucket.put("large", LARGE), watched).stream(0)) as chunks:
        next(iter(chunks))
    deadline = time.monotonic() + 5
    while watched.open and time.monotonic() < deadline:
        time.sleep(0.01)
    assert watched.open == 0
    taken = [bucket.lines.take_spare() for _ in range(s3.LINES + 1)]
    assert taken == [True] * s3.LINES + [False]


def test_an_object_that_is_not_there_is_said_before_the_first_byte(bucket: Bucket) -> None:
    with pytest.raises(s3.ClientError) as failure:
        bucket.reading("nothing").stream(0)
    assert s3.code_of(failure.value) == "NoSuchKey"


def test_what_stands_still_ends_in_time(bucket: Bucket, link: HttpLink) -> None:
    key = bucket.put("large", LARGE)
    chunks = bucket.reading(key).stream(0)
    next(iter(chunks))
    link.fails(Fault("hangs after the head"))
    with (
        pytest.raises(Unavailable, match="read it"),
        s3.errors("read it", system="the bucket", advice={"": ""}, no_key=""),
    ):
        assert list(chunks)
