"""Stores of the tests, marked as `promobot doctor --init` marks them."""

from __future__ import annotations

import os
from pathlib import Path

from bot.credentials import Credentials
from bot.records.bucket import BucketRecords
from bot.settings import Bucket, Share
from bot.share import ModelRepository


def begin_share(model_repository: Path, state: Path, *, staging: bool = False) -> ModelRepository:
    """Make a share that nobody used before; return it."""
    share = ModelRepository(Share(model_repository=str(model_repository), state=str(state)), staging=staging)
    share.begin()
    return share


def bucket_records(bucket: Bucket, *, seconds: float) -> BucketRecords:
    """Return the records in a bucket, with the keys that its settings name; read anew, not from another test's."""
    keys = Credentials(os.environ).of_bucket(bucket, of="a test")
    return BucketRecords(bucket, keys, request_seconds=seconds)
