"""Which record store an environment has is decided in one place, and costs nothing where it is a directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bot import platform as connect
from bot import settings
from bot.errors import InvalidInput
from bot.records.bucket import BucketRecords
from bot.records.directory import RecordStore
from bot.settings import Bucket, S3Records
from bot.slack import service

PROJECT = Path(__file__).parents[1]
DEV = settings.load(PROJECT, "dev")
IN_A_BUCKET = DEV.model_copy(update={"records": S3Records(s3=Bucket(bucket="mlops"))})


def test_a_directory_or_a_bucket_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert isinstance(connect.records(DEV), RecordStore)
    assert isinstance(connect.records(IN_A_BUCKET), BucketRecords)
    assert connect.records(IN_A_BUCKET) is connect.records(IN_A_BUCKET), "what was read is read once"


def test_the_sdk_is_not_imported_for_a_directory() -> None:
    script = (
        "import sys; from pathlib import Path; from bot import settings, platform as connect\n"
        "from bot.operations import history\n"
        "connect.ledger(settings.load(Path('.'), 'dev'))\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('boto3', 'botocore', 's3transfer')])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_inbox_needs_a_place_of_its_own_where_records_are_in_a_bucket() -> None:
    assert service._inbox_beside_the_records([DEV])._root == Path(str(DEV.records)) / "slack"
    for listed in ([IN_A_BUCKET], [DEV, IN_A_BUCKET]):
        with pytest.raises(InvalidInput, match="in a bucket, which has no locks") as failure:
            service._inbox_beside_the_records(listed)
        assert "--state DIR" in failure.value.next_step
