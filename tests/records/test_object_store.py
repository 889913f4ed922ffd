"""Records in a bucket, through faults of the network and of the store: never two under one key, never half of one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bot.concurrency import RECORDS
from bot.credentials import Credentials as BotCredentials
from bot.domain.marker import MARKER_KEY, Marker
from bot.errors import OutsideError, Refused, Rejected, Unavailable
from bot.records import bucket as object_store
from bot.records.bucket import BucketRecords
from bot.redaction import redact
from bot.sandbox.s3 import Credentials, ObjectStorage
from bot.settings import Bucket
from tests.records.test_record_stores import bucket_of
from tests.stand_ins.forgetful_s3 import forgetful_s3
from tests.stand_ins.links import Fault, HttpLink
from tests.stores import bucket_records

SECONDS = 1.6
"""One request; what takes as long is not asked again."""

SHORT = [
    Fault("reset", times=1),
    Fault("truncated", times=1),
    Fault("status", status=503, times=2),
    *(
        pytest.param(fault, marks=pytest.mark.slow)
        for fault in (
            Fault("slow", times=1),
            Fault("status", status=500, times=1),
            Fault("status", status=503, retry_after=0, times=1),
            Fault("status", status=409, times=1),
            Fault("status", status=429, times=1),
        )
    ),
]
LASTING = [
    Fault("hangs"),
    Fault("status", status=503, retry_after=3600),
    pytest.param(Fault("refused"), marks=pytest.mark.long),
    pytest.param(Fault("reset"), marks=pytest.mark.long),
    pytest.param(Fault("truncated"), marks=pytest.mark.long),
    pytest.param(Fault("status", status=503), marks=pytest.mark.long),
]


@pytest.fixture
def link(object_storage: ObjectStorage) -> Iterator[HttpLink]:
    with HttpLink(object_storage.endpoint) as link:
        yield link


@pytest.fixture
def settings(object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    bucket = bucket_of(object_storage, monkeypatch)
    opened(bucket, seconds=30).begin()
    return bucket


@pytest.fixture
def through(settings: Bucket, link: HttpLink) -> BucketRecords:
    """The store as the bot reaches it, by the link that fails."""
    store = opened(settings.model_copy(update={"endpoint": link.url}))
    store.keys("nothing")  # it sees its marker before anything fails
    return store


@pytest.fixture
def patient(settings: Bucket, link: HttpLink) -> BucketRecords:
    """The same, with time for every try on a busy machine."""
    store = opened(settings.model_copy(update={"endpoint": link.url}), seconds=30)
    store.keys("nothing")
    return store


@pytest.fixture
def beside(settings: Bucket) -> BucketRecords:
    """The same store, reached by another way that always works."""
    return opened(settings, seconds=30)


def opened(settings: Bucket, *, seconds: float = SECONDS) -> BucketRecords:
    return bucket_records(settings, seconds=seconds)


def keys_of(settings: Bucket) -> dict[str, str]:
    """Return the keys as the platform reads them."""
    return BotCredentials(os.environ).of_bucket(settings, of="the record store")


def failed(act: Callable[[], object]) -> OutsideError:
    """Do what must fail; return how."""
    with pytest.raises(OutsideError) as failure:
        act()
    return failure.value


@pytest.mark.parametrize("fault", SHORT, ids=str)
def test_a_put_outlives_a_short_fault_and_writes_once(
    fault: Fault, link: HttpLink, patient: BucketRecords, beside: BucketRecords
) -> None:
    link.fails(fault)
    patient.put("a/1.json", "mine")
    assert link.spoiled, "the fault was met"
    assert beside.get("a/1.json") == "mine"
    with pytest.raises(Refused, match="never overwritten"):
        patient.put("a/1.json", "mine")


@pytest.mark.parametrize("fault", [Fault("reset", times=1), Fault("truncated", times=1)], ids=str)
@pytest.mark.parametrize("text", ["theirs", "mine"])
def test_what_somebody_else_wrote_is_not_taken_for_ones_own_though_the_answer_was_lost(
    fault: Fault, text: str, link: HttpLink, through: BucketRecords, beside: BucketRecords
) -> None:
    beside.put("a/1.json", text)
    link.fails(fault)
    with pytest.raises(Refused, match="never overwritten"):
        through.put("a/1.json", "mine")
    assert link.spoiled and beside.get("a/1.json") == text


@pytest.mark.parametrize("kind", ["done, then hangs", "reset"])
def test_a_put_whose_every_answer_is_lost_is_settled_by_looking(
    kind: Any, link: HttpLink, through: BucketRecords, beside: BucketRecords
) -> None:
    link.fails(Fault(kind, times=1 if kind.startswith("done") else 3))
    through.put("a/1.json", "mine")
    assert not link.outwaited
    assert link.spoiled == (1 if kind.startswith("done") else 3), "each try met the fault; then it looked"
    assert beside.get("a/1.json") == "mine"


def test_a_put_whose_answer_is_lost_finds_what_another_wrote(
    link: HttpLink, through: BucketRecords, beside: BucketRecords
) -> None:
    beside.put("a/1.json", "theirs")
    link.fails(Fault("done, then hangs", times=1))
    with pytest.raises(Refused, match="never overwritten"):
        through.put("a/1.json", "mine")
    assert beside.get("a/1.json") == "theirs"


@pytest.mark.slow
@pytest.mark.parametrize("fault", LASTING, ids=str)
def test_a_lasting_fault_ends_in_time_and_says_so(
    fault: Fault, link: HttpLink, through: BucketRecords, beside: BucketRecords
) -> None:
    beside.put("a/1.json", "there")
    for act in (partial(through.get, "a/1.json"), partial(through.keys, "a"), partial(through.check, "dev")):
        link.fails(fault)
        error = failed(act)
        assert not link.outwaited
        assert isinstance(error, Unavailable) and "record store (s3://mlops/tests/" in str(error)
        assert ("run the same command again" in error.next_step) == (fault.retry_after is not None)
    link.fails(fault)
    if fault.kind == "truncated":
        through.put("a/2.json", "mine")  # what is left of the answer says 200, and there is no body to miss
        assert beside.get("a/2.json") == "mine"
        return
    error = failed(partial(through.put, "a/2.json", "mine"))
    assert isinstance(error, Unavailable) and "could not write a/2.json" in str(error)
    # Whoever was never reached wrote nothing; with all others it is not known.
    assert error.state == ("" if fault.kind == "refused" else "Whether a/2.json was written is not known.")
    link.works()
    assert through.get("a/1.json") == "there"


@pytest.mark.parametrize("fault", SHORT, ids=str)
def test_reading_outlives_a_short_fault_and_never_gives_half(
    fault: Fault, link: HttpLink, patient: BucketRecords, beside: BucketRecords
) -> None:
    text = "0123456789" * 20_000
    beside.put("a/1.json", text)
    for act, right in ((partial(patient.get, "a/1.json"), text), (partial(patient.keys, "a"), ["a/1.json"])):
        link.fails(fault)
        assert act() == right
        assert link.spoiled


@pytest.mark.slow
def test_reading_what_hangs_after_the_head_never_gives_half(
    link: HttpLink, through: BucketRecords, beside: BucketRecords
) -> None:
    text = "0123456789" * 20_000
    beside.put("a/1.json", text)
    for act, right in ((partial(through.get, "a/1.json"), text), (partial(through.keys, "a"), ["a/1.json"])):
        link.fails(Fault("hangs after the head", times=1))
        with suppress(Unavailable):  # what took its whole deadline was waited for long enough
            assert act() == right
        assert link.spoiled and not link.outwaited


def test_of_many_records_not_each_is_waited_for(
    link: HttpLink, through: BucketRecords, beside: BucketRecords
) -> None:
    keys = [f"a/{number}.json" for number in range(4 * RECORDS)]
    for key in keys:
        beside.put(key, key)
    link.fails(Fault("hangs", first=10))
    assert isinstance(failed(lambda: through.get_all(keys)), Unavailable)
    link.works()
    assert through.get_all(keys) == {key: key for key in keys}


def test_bytes_that_are_not_those_that_were_written_are_never_taken(
    object_storage: ObjectStorage, settings: Bucket, through: BucketRecords
) -> None:
    damaged = {object_store.SHA256: hashlib.sha256(b"written").hexdigest()}
    where = {"Bucket": settings.bucket, "Key": f"{settings.prefix}/a/1.json"}
    object_storage.client().put_object(**where, Body=b"damaged", Metadata=damaged)
    assert "other bytes arrived than were written" in str(failed(partial(through.get, "a/1.json")))
    object_storage.client().put_object(**where, Body=b"\xff\xfe")
    assert "a/1.json is not UTF-8" in str(failed(partial(through.get, "a/1.json")))


def test_a_list_of_many_pages_is_whole_and_what_others_left_is_no_record(
    object_storage: ObjectStorage, settings: Bucket, beside: BucketRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"a/{number}.json" for number in range(11)]
    for key in keys:
        beside.put(key, key)
    for stranger in ("a/", "a/.hidden"):
        object_storage.client().put_object(Bucket=settings.bucket, Key=f"{settings.prefix}/{stranger}", Body=b"")
    pages = []

    def small(whole: Callable[..., Any] = beside._client.list_objects_v2, **asked: Any) -> Any:
        pages.append(asked)
        return whole(**asked, MaxKeys=3)

    monkeypatch.setattr(beside._client, "list_objects_v2", small)
    assert beside.keys("a") == sorted(keys)
    assert len(pages) >= 4 and all("ContinuationToken" in asked for asked in pages[1:])
    assert beside.get_all(beside.keys("a")) == {key: key for key in keys}


@pytest.mark.parametrize("mode", ["governance", "compliance"])
def test_a_locked_record_can_be_neither_deleted_nor_overwritten(
    mode: str, object_storage: ObjectStorage, settings: Bucket
) -> None:
    locked = Bucket.model_validate({**settings.model_dump(), "object_lock": {"mode": mode, "days": 2}})
    store = opened(locked, seconds=30)
    store.put("a/1.json", "mine")
    where = {"Bucket": settings.bucket, "Key": f"{settings.prefix}/a/1.json"}
    for client in (object_storage.client(), object_storage.client(object_storage.owner)):
        there = client.head_object(**where)
        assert there["ObjectLockMode"] == mode.upper()
        left = there["ObjectLockRetainUntilDate"] - datetime.now(UTC)
        assert timedelta(days=1, hours=23) < left <= timedelta(days=2)
        with pytest.raises(ClientError, match="AccessDenied"):
            client.delete_object(**where, VersionId=there["VersionId"])
    with pytest.raises(Refused, match="never overwritten"):
        store.put("a/1.json", "another")
    assert opened(locked, seconds=30).get("a/1.json") == "mine"
    assert (
        store.check("dev") == "0 deployment records; existing ones cannot be overwritten; each is locked for 2 days"
    )
    assert (
        store.check("dev") == "0 deployment records; existing ones cannot be overwritten; each is locked for 2 days"
    )


def test_another_prefix_is_unavailable_and_an_old_one_without_a_marker_is_read(
    settings: Bucket, beside: BucketRecords, object_storage: ObjectStorage
) -> None:
    beside.put("quarantine/dev/1.json", "{}")
    other = opened(settings.model_copy(update={"prefix": f"{settings.prefix}-slip"}), seconds=30)
    acts = (lambda: other.keys("quarantine/dev"), lambda: other.get("a/1.json"), lambda: other.put("a/1.json", "x"))
    for act in (*acts, lambda: other.check("dev")):
        error = failed(act)
        assert isinstance(error, Unavailable) and "was never used" in str(error)
    assert "promobot doctor --init" in error.next_step
    where = {"Bucket": settings.bucket, "Key": f"{settings.prefix}/{MARKER_KEY}"}
    owner = object_storage.client(object_storage.owner)
    owner.delete_object(**where)
    assert opened(settings, seconds=30).keys("quarantine/dev") == ["quarantine/dev/1.json"]
    opened(settings, seconds=30).put("quarantine/dev/2.json", "{}")
    assert Marker("records").mismatch(owner.get_object(**where)["Body"].read()) == "", "whoever writes marks it"


def test_who_may_not_is_told_what_to_do_and_no_secret(
    object_storage: ObjectStorage, settings: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(changed: dict[str, object], act: Callable[[BucketRecords], object]) -> str:
        error = failed(lambda: act(opened(settings.model_copy(update=changed))))
        assert isinstance(error, Rejected)
        assert object_storage.credentials.secret_access_key not in f"{error} {error.next_step}"
        return f"{error} → {error.next_step}"

    def put(store: BucketRecords) -> None:
        store.put("a/1.json", "mine")

    assert "AccessDenied" in said({"bucket": "another"}, put)
    assert "docs/how-to/storage.md has the policy" in said({"bucket": "another"}, lambda store: store.keys("a"))
    monkeypatch.setenv("RECORDS_KEY", "0" * 40)
    assert "SignatureDoesNotMatch" in said({}, put)
    assert "Set the variables that records.s3 names" in said({}, lambda store: store.get("a/1.json"))
    monkeypatch.setenv("RECORDS_KEY_ID", Credentials.new("x").access_key_id)
    assert "InvalidAccessKeyId" in said({}, put)
    monkeypatch.setenv("RECORDS_KEY_ID", object_storage.owner.access_key_id)
    monkeypatch.setenv("RECORDS_KEY", object_storage.owner.secret_access_key)
    assert "Create the bucket" in said({"bucket": "another"}, put)
    monkeypatch.delenv("RECORDS_KEY")
    with pytest.raises(Refused, match="RECORDS_KEY is not set; it holds the secret access key of the record store"):
        object_store.opened(settings, keys_of(settings))


def test_a_secret_key_is_blanked_out_of_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RECORDS_KEY"):
        monkeypatch.setenv(name, "wJalrXUtnFEMI/K7MDENG")
        assert redact("denied wJalrXUtnFEMI/K7MDENG") == "denied ***"
        monkeypatch.delenv(name)


def test_where_no_key_is_named_the_platform_says_who_we_are(
    object_storage: ObjectStorage, settings: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    anonymous = settings.model_copy(update={"access_key_id_env": None, "secret_access_key_env": None})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    error = failed(lambda: object_store.opened(anonymous, keys_of(anonymous), request_seconds=3).keys("a"))
    assert isinstance(error, Rejected) and "Name access_key_id_env" in error.next_step
    for name, value in object_storage.variables().items():
        monkeypatch.setenv(name, value)
    store = object_store.opened(anonymous, keys_of(anonymous), request_seconds=4)
    store.put("a/1.json", "mine")
    assert store.keys("a") == ["a/1.json"]


def test_a_store_that_ignores_conditions_is_found_out(settings: Bucket) -> None:
    with forgetful_s3() as url:
        store = opened(settings.model_copy(update={"endpoint": url}))
        store.begin()
        store.put("a/1.json", "first")
        store.put("a/1.json", "second")  # so it is: nobody notices
        for _ in range(2):
            error = failed(partial(store.check, "dev"))
            assert isinstance(error, Rejected) and "it overwrites what is there" in str(error)
            assert "conditional writes" in error.next_step


def test_what_was_read_is_not_asked_for_again_and_what_was_not_there_is(
    settings: Bucket, link: HttpLink, beside: BucketRecords
) -> None:
    store = object_store.opened(settings.model_copy(update={"endpoint": link.url}), keys_of(settings))
    assert store.get("a/1.json") is None
    beside.put("a/1.json", "mine")
    assert store.get_all(["a/1.json"]) == {"a/1.json": "mine"}
    asked = link.requests
    same = object_store.opened(settings.model_copy(update={"endpoint": link.url}), keys_of(settings))
    assert same.get("a/1.json") == store.get("a/1.json") == "mine"
    assert link.requests == asked
    assert store.keys("a") == ["a/1.json"] and link.requests == asked + 1
