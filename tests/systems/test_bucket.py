"""A folder of a bucket, from a real S3: its files as they are, and what to do where they cannot be had."""

from __future__ import annotations

from typing import Any

import pytest

from bot.errors import Rejected, Unavailable
from bot.sandbox.s3 import ObjectStorage
from bot.settings import S3
from bot.systems.bucket import FolderInBucket
from tests.stand_ins.links import Fault, HttpLink

CONTENT = bytes(range(256)) * 5000


def folder(storage: ObjectStorage, **changes: Any) -> FolderInBucket:
    values: dict[str, Any] = {
        "endpoint": storage.endpoint,
        "bucket": storage.bucket,
        "prefix": "sets/churn",
    } | changes
    store = S3(region=storage.region, endpoint=values.pop("endpoint"))
    credentials = {
        "aws_access_key_id": storage.credentials.access_key_id,
        "aws_secret_access_key": storage.credentials.secret_access_key,
    }
    return FolderInBucket(
        store, credentials, setting="evaluation.churn.s3", request_seconds=2, download_seconds=2, **values
    )


@pytest.fixture(scope="module", autouse=True)
def rows(object_storage: ObjectStorage) -> None:
    object_storage.client().put_object(Bucket=object_storage.bucket, Key="sets/churn/rows.parquet", Body=CONTENT)


def test_a_file_is_read_as_it_is(object_storage: ObjectStorage) -> None:
    assert b"".join(folder(object_storage).unverified_chunks("rows.parquet")) == CONTENT


def test_a_short_fault_is_outlived(object_storage: ObjectStorage) -> None:
    with HttpLink(object_storage.endpoint) as link:
        found = folder(object_storage, endpoint=link.url)
        for fault in (Fault("truncated", times=1), Fault("status", status=503, times=1)):
            link.fails(fault)
            assert b"".join(found.unverified_chunks("rows.parquet")) == CONTENT
            assert link.spoiled
        link.fails(Fault("refused"))
        with pytest.raises(Unavailable, match=r"could not download rows\.parquet"):
            list(found.unverified_chunks("rows.parquet"))


def test_what_is_not_there_says_which_setting_to_correct(object_storage: ObjectStorage) -> None:
    with pytest.raises(Rejected, match=r"could not download other: .*NoSuchKey") as failure:
        list(folder(object_storage).unverified_chunks("other"))
    assert failure.value.next_step.startswith("Upload the whole folder, and compare evaluation.churn.s3 with")
    assert failure.value.system == f"object store (s3://{object_storage.bucket}/sets/churn)"
    with pytest.raises(Rejected) as failure:
        list(folder(object_storage, bucket="another-bucket").unverified_chunks("rows.parquet"))
    assert "evaluation.churn.s3" in failure.value.next_step
