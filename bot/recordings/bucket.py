"""Recorded requests in a bucket that speaks S3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from bot import s3
from bot.errors import Rejected
from bot.retry import retry_call

_ADVICE = {
    "NoSuchBucket": "Create the bucket, or correct its name.",
    "AccessDenied": "Allow s3:PutObject, s3:GetObject and s3:DeleteObject on its objects, and s3:ListBucket on the "
    "bucket: docs/how-to/gateway.md has the policy.",
}
_NO_KEY = "Give the process an identity, or the variables of AWS: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
_AT_ONCE = 1000
"""So many objects are removed by one request, at most."""
LARGEST_BYTES = 64 * 2**20
"""Of one object: a gateway writes some mebibytes."""


class Bucket:
    """A bucket, below a prefix. One request may stand still for ``request_seconds``."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        addressing_style: str | None = None,
        credentials: Mapping[str, str] | None = None,
        request_seconds: float = 10,
    ) -> None:
        """``credentials`` as boto3 names them; None: as every AWS SDK finds them."""
        self._bucket, self._root = bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._system, self.retry_seconds = f"recordings (s3://{bucket}/{self._root.rstrip('/')})", request_seconds
        self._client = s3.client(
            endpoint=endpoint,
            region=region,
            credentials=credentials or {},
            connect_seconds=request_seconds,
            read_seconds=request_seconds,
            connections=2,
            addressing_style=addressing_style,
        )
        self._errors = partial(s3.errors, system=self._system, advice=_ADVICE, no_key=_NO_KEY)

    def add(self, name: str, content: bytes) -> None:
        """Write an object; a second try writes the same again."""
        with self._errors(f"write {name}"):
            self._client.put_object(Bucket=self._bucket, Key=self._root + name, Body=content)

    def names(self, folder: str) -> list[str]:
        """Return the names of what lies directly in a folder, sorted."""
        return retry_call(lambda: self._names(folder), seconds=self.retry_seconds)

    def read(self, name: str) -> bytes:
        """Return an object's content."""
        return retry_call(lambda: self._read(name), seconds=self.retry_seconds)

    def remove(self, folder: str) -> None:
        """Remove a folder with all that is in it."""
        keys = [entry["Key"] for page in self._pages(f"{folder}/", "") for entry in page.get("Contents", ())]
        for at in range(0, len(keys), _AT_ONCE):
            objects = [{"Key": key} for key in keys[at : at + _AT_ONCE]]
            with self._errors(f"remove {folder}"):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
            if failed := answer.get("Errors"):
                first = failed[0]
                said = f"could not remove {first.get('Key', folder)}: {first.get('Code', 'no reason given')}"
                raise Rejected(said, system=self._system, next_step=_ADVICE.get(first.get("Code", ""), ""))

    def _names(self, folder: str) -> list[str]:
        inside = f"{folder}/" if folder else ""
        found: set[str] = set()
        for page in self._pages(inside, "/"):
            found |= {entry["Prefix"].rstrip("/").rpartition("/")[2] for entry in page.get("CommonPrefixes", ())}
            found |= {entry["Key"].rpartition("/")[2] for entry in page.get("Contents", ())}
        return sorted(found - {""})

    def _pages(self, inside: str, delimiter: str) -> Iterator[Mapping[str, Any]]:
        with self._errors(f"list {inside}"):
            pages = self._client.get_paginator("list_objects_v2")
            yield from pages.paginate(Bucket=self._bucket, Prefix=self._root + inside, Delimiter=delimiter)

    def _read(self, name: str) -> bytes:
        with self._errors(f"read {name}"):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._root + name)
            if answer["ContentLength"] > LARGEST_BYTES:
                raise Rejected(f"{name} has {answer['ContentLength']} bytes", system=self._system)
            content: bytes = answer["Body"].read()
            return content
