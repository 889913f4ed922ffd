"""Which logs there must be, which are missing, and that what was written once stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bot.airflow.logs import Retention, lock, main, missing
from bot.sandbox.s3 import ObjectStorage

FOLDER = "dev/airflow-logs/dag_id=d/run_id=r/"


def test_each_try_that_is_over_has_a_log() -> None:
    tasks = {"a": ("success", 2), "b": ("running", 2), "c": ("deferred", 1), "d": ("skipped", 0), "e": (None, 0)}
    keys = [f"{FOLDER}task_id=a/attempt=1.log", f"{FOLDER}task_id=b/attempt=1.log"]
    assert missing(tasks, keys, folder=FOLDER) == [f"{FOLDER}task_id=a/attempt=2.log"]
    assert missing({"a": ("failed", 1)}, [], folder=FOLDER) == [f"{FOLDER}task_id=a/attempt=1.log"]
    assert missing({"a": ("up_for_retry", 1)}, [], folder=FOLDER) == [f"{FOLDER}task_id=a/attempt=1.log"]


def test_another_runs_logs_do_not_count() -> None:
    keys = ["dev/airflow-logs/dag_id=d/run_id=other/task_id=a/attempt=1.log"]
    assert missing({"a": ("success", 1)}, keys, folder=FOLDER)


# --- logs that stay ------------------------------------------------------------------------------------------

KEY = f"{FOLDER}task_id=train/attempt=1.log"
YEAR = Retention("governance", 365)


def versions(client: Any, bucket: str) -> dict[str, bytes]:
    """The content of each version of the log, by its id."""
    found = client.list_object_versions(Bucket=bucket, Prefix=KEY).get("Versions", [])
    return {
        one["VersionId"]: client.get_object(Bucket=bucket, Key=KEY, VersionId=one["VersionId"])["Body"].read()
        for one in found
    }


@pytest.mark.slow
def test_what_was_written_over_or_deleted_is_still_there_and_nobody_can_take_it_away(store: ObjectStorage) -> None:
    client, bucket = store.client(), store.bucket
    for text in (b"began\n", b"began\nended\n"):  # as Airflow's writer adds to a log: the same key again
        client.put_object(Bucket=bucket, Key=KEY, Body=text)
    found = lock(client, bucket, FOLDER, YEAR)
    assert (found.versions, found.written_over) == (2, 1)
    assert found.until is not None and timedelta(days=364) < found.until - datetime.now(UTC) <= timedelta(days=365)
    client.put_object(Bucket=bucket, Key=KEY, Body=b"nothing happened here\n")
    client.delete_object(Bucket=bucket, Key=KEY)
    kept = versions(client, bucket)
    assert sorted(kept.values()) == [b"began\n", b"began\nended\n", b"nothing happened here\n"]
    for who in (store.credentials, store.owner):
        for version, text in kept.items():
            if text.startswith(b"began"):
                with pytest.raises(ClientError, match=r"AccessDenied|Access Denied"):
                    store.client(who).delete_object(Bucket=bucket, Key=KEY, VersionId=version)
    assert versions(client, bucket).keys() >= {version for version, text in kept.items() if text.startswith(b"began")}


@pytest.mark.slow
def test_locking_again_changes_nothing_and_a_later_end_stays(store: ObjectStorage) -> None:
    client, bucket, folder = store.client(), store.bucket, "dev/airflow-logs/dag_id=d/run_id=again/"
    client.put_object(Bucket=bucket, Key=f"{folder}task_id=a/attempt=1.log", Body=b"once\n")
    long = lock(client, bucket, folder, YEAR)
    assert lock(client, bucket, folder, YEAR) == long
    assert lock(client, bucket, folder, Retention("governance", 30)) == long


class Forgetful:
    """A store that takes a lock and keeps none."""

    def get_paginator(self, _: str) -> Forgetful:
        return self

    def paginate(self, **_: str) -> list[dict[str, Any]]:
        return [{"Versions": [{"Key": KEY, "VersionId": "1", "LastModified": datetime.now(UTC), "IsLatest": True}]}]

    def head_object(self, **_: str) -> dict[str, Any]:
        return {}

    def put_object_retention(self, **_: Any) -> None:
        return None


def test_a_store_that_forgets_a_lock_is_found_out() -> None:
    with pytest.raises(ValueError, match=r"does not keep .*attempt=1\.log until"):
        lock(Forgetful(), "mlops", FOLDER, YEAR)


@pytest.mark.parametrize("text", ["", "365", "forever:1", "governance:0", "governance:-1", "compliance:1.5"])
def test_a_retention_that_says_nothing_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["d", "r", "--lock", text])
    assert ended.value.code == 2 and "is not MODE:DAYS, as governance:365" in capsys.readouterr().err
