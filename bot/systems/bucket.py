"""Files in a folder of a bucket, read as they arrive. The reader compares them with a digest."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from bot import s3
from bot.retry import resume
from bot.settings import S3

_CHUNK_BYTES = 2**18
"""As of MLflow's artifacts: decision 27 has the figures."""
_CONNECTIONS = 8


class FolderInBucket:
    """One folder of a bucket. Errors are Unavailable or Rejected; ``setting`` names what to correct then."""

    def __init__(
        self,
        store: S3,
        credentials: Mapping[str, str],
        *,
        bucket: str,
        prefix: str,
        setting: str,
        request_seconds: float = 10,
        download_seconds: float = 60,
    ) -> None:
        """``credentials`` as boto3 names them. One request may take ``request_seconds``, and may stand still for
        ``download_seconds`` while it brings bytes.
        """
        self._bucket, self._root, self.retry_seconds = bucket, prefix.strip("/"), request_seconds
        self._system = f"object store (s3://{bucket}/{self._root})"
        self._setting = setting
        self._client = s3.client(
            endpoint=store.endpoint,
            region=store.region,
            credentials=credentials,
            connect_seconds=request_seconds,
            read_seconds=download_seconds,
            connections=_CONNECTIONS,
            addressing_style=store.addressing_style,
        )
        self._lines = s3.Lines()

    def unverified_chunks(self, path: str) -> Generator[bytes]:
        """Yield the bytes of one file as they arrive; where they break off, the rest is asked for."""
        advice = {
            "NoSuchKey": f"Upload the whole folder, and compare {self._setting} with where it lies.",
            "NoSuchBucket": f"Correct {self._setting}.bucket.",
            "": f"It is read with s3:GetObject: see {self._setting}.",
        }
        no_key = (
            f"Name access_key_id_env and secret_access_key_env under {self._setting} and set these variables, or "
            "give this machine an identity (IRSA, an instance profile)."
        )

        def read_from(at: int) -> Generator[bytes]:
            with s3.errors(f"download {path}", system=self._system, advice=advice, no_key=no_key):
                key = f"{self._root}/{path}".lstrip("/")
                yield from s3.Reading(
                    self._client, bucket=self._bucket, key=key, chunk_bytes=_CHUNK_BYTES, lines=self._lines
                ).stream(at)

        return resume(read_from, start=0, seconds=self.retry_seconds)
