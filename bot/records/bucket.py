"""The record store in a bucket: objects that are created once and never changed or overwritten.

``If-None-Match: *`` makes it safe: the store itself refuses a key that exists, however many writers ask at the same
time. So it must be a store that holds it (:meth:`BucketRecords.check` tries).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, TypeVar

from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError

from bot import s3
from bot.concurrency import RECORDS, map_concurrent
from bot.domain.marker import MARKER_KEY, RECORD_FOLDERS, Marker
from bot.domain.names import check_record_key
from bot.errors import OutsideError, Refused, Rejected, Unavailable
from bot.retry import retry_call
from bot.settings import Bucket

REMEMBERED_BYTES = 64 * 2**20
"""Bytes of records to keep in memory: they never change, and a service reads all of them every few seconds."""
LARGEST_BYTES = 64 * 2**20
"""A record has some kilobytes; an object larger than this is not a record."""
PROBE = "doctor/create-only"
_TRIED = "No second object may get this key.\n"
WRITER, SHA256 = "promobot-writer", "promobot-sha256"
"""Metadata of each object: which call of :meth:`BucketRecords.put` wrote it, and the sum of its bytes."""

_MARKER = Marker("records")
_TAKEN = ("PreconditionFailed", "412")
_NOT_THERE = ("NoSuchKey", "404", "NotFound")
_ADVICE = {
    "NoSuchBucket": "Create the bucket, or correct records.s3.bucket.",
    "AccessDenied": "Allow s3:PutObject and s3:GetObject on its objects, s3:ListBucket on the bucket, and with "
    "object_lock s3:PutObjectRetention: docs/how-to/storage.md has the policy.",
    "InvalidAccessKeyId": "Set the variables that records.s3 names to a key of this store.",
    "SignatureDoesNotMatch": "Set the variables that records.s3 names to a key of this store.",
    "ExpiredToken": "The credentials were temporary and have run out: get new ones, and run the same command again.",
    "RequestTimeTooSkewed": "Set this machine's clock.",
    "AuthorizationHeaderMalformed": "Correct records.s3.region.",
    "PermanentRedirect": "Correct records.s3.region, or records.s3.endpoint.",
    s3.NOT_IMPLEMENTED: "This store lacks conditional writes (If-None-Match), on which records rely, or Object Lock "
    "where object_lock is set. Use a store that has them (AWS S3, SeaweedFS, MinIO, Ceph, R2), or a directory.",
    "InvalidRequest": "With object_lock the bucket must have been made with Object Lock.",
}
_NO_KEY = (
    "Name access_key_id_env and secret_access_key_env under records.s3 and set these variables, or give this machine "
    "an identity (IRSA, an instance profile)."
)
Answer = TypeVar("Answer")


class BucketRecords:
    """Records below a prefix of a bucket. Keys are relative POSIX paths; each is written whole or not at all.

    Errors are Unavailable, Rejected or Refused. One request may stand still for ``request_seconds``.
    """

    def __init__(
        self,
        settings: Bucket,
        credentials: Mapping[str, str],
        *,
        request_seconds: float = 10,
        at_once: int = RECORDS,
    ) -> None:
        """``at_once``: so many objects are read at the same time."""
        self._bucket, self._lock, self.retry_seconds = settings.bucket, settings.object_lock, request_seconds
        self._root = f"{settings.prefix}/" if settings.prefix else ""
        where = f" at {settings.endpoint}" if settings.endpoint else ""
        self._system = f"record store (s3://{settings.bucket}/{self._root.rstrip('/')}{where})"
        self._client = s3.client(
            endpoint=settings.endpoint,
            region=settings.region,
            credentials=credentials,
            connect_seconds=request_seconds,
            read_seconds=request_seconds,
            connections=at_once,
            addressing_style=settings.addressing_style,
        )
        self._known: dict[str, str] = {}
        self._at_once = at_once
        self._is_seen = self._is_marked = False
        self._room = REMEMBERED_BYTES

    def begin(self) -> None:
        """Mark the prefix as a record store. Call it where a person says that it is new."""
        with suppress(Refused):  # it has a marker, which is looked at
            self._ask(self._mark)
        self._see()

    def _see(self) -> None:
        """Raise Unavailable where nothing says that this prefix is a record store; look once.

        Another prefix is as empty as a new one: "nothing is in quarantine" must not follow from a slip of the pen.
        """
        if self._is_seen:
            return
        text = self._ask(partial(self._read, MARKER_KEY, self._root + MARKER_KEY))
        if text is not None:
            said = _MARKER.mismatch(text)
            if said:
                raise Rejected(
                    f"{MARKER_KEY} says that this is another store: {said}",
                    system=self._system,
                    state="Nothing was read or written there.",
                    next_step="Correct records.s3.bucket or records.s3.prefix.",
                )
        elif not self._ask(self._was_used):
            raise Unavailable(
                f"there is no {MARKER_KEY} and no record: it is another prefix than the records', or was never used",
                system=self._system,
                state="Nothing was read or written there.",
                next_step="Compare records.s3 with the bucket. `promobot doctor --init` marks a new store, once.",
            )
        self._is_seen, self._is_marked = True, text is not None

    def _was_used(self) -> bool:
        with self._errors("list the records"):
            page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._root, Delimiter="/")
        found = {entry["Prefix"].removeprefix(self._root).rstrip("/") for entry in page.get("CommonPrefixes", ())}
        return not found.isdisjoint(RECORD_FOLDERS)

    def _mark(self) -> None:
        with self._errors(f"write {MARKER_KEY}"):
            self._create(self._root + MARKER_KEY, _MARKER.to_json().encode(), secrets.token_hex(16))

    def put(self, key: str, text: str) -> None:
        """Create the object; raise Refused where there is one of that key already.

        Where an answer was lost, the object that is there says who wrote it: each call writes a name of its own into
        the metadata. So one's own is never taken for another's, nor another's with the same text for one's own.
        """
        path, body, writer = self._path(key), text.encode(), secrets.token_hex(16)
        self._see()
        if not self._is_marked:
            # Somebody else did at the same time, or this identity may only write below some folders.
            with suppress(Refused, Rejected):
                self._ask(self._mark)
            self._is_marked = True
        doubtful = False

        def attempt() -> None:
            nonlocal doubtful
            try:
                with self._errors(f"write {key}"):
                    self._create(path, body, writer)
            except Unavailable as error:
                doubtful = doubtful or _may_have_arrived(error.__cause__)
                raise
            except Refused:
                if doubtful and self._writer(key) == writer:
                    return
                raise

        try:
            retry_call(attempt, seconds=self.retry_seconds)
        except Unavailable as error:
            if not doubtful:
                raise
            try:
                there = self._ask(partial(self._writer, key))
            except OutsideError:
                there = None
            if there == writer:
                return
            if there is not None:
                raise self._taken(key) from error
            error.state = f"Whether {key} was written is not known."
            raise

    def get(self, key: str) -> str | None:
        """Return the object's text, or None where there is none."""
        path = self._path(key)
        self._see()
        if (known := self._known.get(key)) is not None:
            return known
        text = self._ask(partial(self._read, key, path))
        if text is not None and len(text) <= self._room:
            self._room -= len(text)
            self._known[key] = text
        return text

    def get_all(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the texts of these listed objects by key, without those that are gone since."""
        listed = list(keys)
        found = zip(listed, map_concurrent(listed, self.get, limit=self._at_once), strict=True)
        return {key: text for key, text in found if text is not None}

    def keys(self, prefix: str) -> list[str]:
        """Return all keys below the folder ``prefix``, sorted."""
        below, found, token = f"{self._path(prefix)}/", list[str](), ""
        self._see()
        while True:
            page = self._ask(partial(self._page, prefix, below, token))
            found += [entry["Key"].removeprefix(self._root) for entry in page.get("Contents", ())]
            after, token = token, page.get("NextContinuationToken", "")
            if not page.get("IsTruncated"):
                return sorted(key for key in found if _is_key(key))
            if not token or token == after:
                # Half a list would leave out what is in quarantine.
                raise Rejected(f"could not list {prefix}: the list does not end", system=self._system)

    def check(self, environment: str) -> str:  # noqa: ARG002 - a bucket's prefix is that of one environment
        """Prove that nothing can be overwritten, and say how many deployment records there are.

        Leaves one small object, the same each time, because nobody needs the right to delete. Raises Rejected where
        the store ignores the condition.
        """
        self._see()
        key = f"{PROBE}-{self._lock.mode}" if self._lock else PROBE
        path = self._path(key)

        def refused() -> bool:
            try:
                with self._errors(f"write {key}"):
                    self._create(path, _TRIED.encode(), secrets.token_hex(16))
            except Refused:
                return True
            return False

        if not self._ask(refused) and not self._ask(refused):
            raise Rejected(
                "it overwrites what is there, though If-None-Match: * forbids that",
                system=self._system,
                state="A record written by two at once would be lost without a word.",
                next_step="Keep records in a store that holds conditional writes (AWS S3, SeaweedFS, MinIO, "
                "Ceph, R2), or in a directory.",
            )
        if self._ask(partial(self._read, key, path)) != _TRIED:
            raise Rejected(f"{key} does not read as it was written", system=self._system)
        locked = f"; each is locked for {self._lock.days} days" if self._lock else ""
        return f"{len(self.keys('deployments'))} deployment records; existing ones cannot be overwritten{locked}"

    def _create(self, path: str, body: bytes, writer: str) -> None:
        lock: dict[str, Any] = {}
        if self._lock:
            until = datetime.now(UTC) + timedelta(days=self._lock.days)
            lock = {"ObjectLockMode": self._lock.mode.upper(), "ObjectLockRetainUntilDate": until}
        self._client.put_object(
            Bucket=self._bucket,
            Key=path,
            Body=body,
            IfNoneMatch="*",
            ContentType="application/json; charset=utf-8",
            # In a header. Left to boto it follows the body over https, in chunks that many stores do not know.
            ChecksumSHA256=base64.b64encode(hashlib.sha256(body).digest()).decode(),
            Metadata={WRITER: writer, SHA256: hashlib.sha256(body).hexdigest()},
            **lock,
        )

    def _writer(self, key: str) -> str | None:
        """Return who wrote the object, empty where it does not say; None where there is none."""
        with self._errors(f"read {key}"):
            try:
                head = self._client.head_object(Bucket=self._bucket, Key=self._path(key))
            except ClientError as error:
                if s3.code_of(error) in _NOT_THERE:
                    return None
                raise
        return str(head.get("Metadata", {}).get(WRITER, ""))

    def _read(self, key: str, path: str) -> str | None:
        with self._errors(f"read {key}"):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=path, ChecksumMode="ENABLED")
            except ClientError as error:
                if s3.code_of(error) in _NOT_THERE:
                    return None
                raise
            with closing(answer["Body"]) as stream:
                if answer.get("ContentLength", 0) > LARGEST_BYTES:
                    raise Rejected(f"{key} is larger than any record", system=self._system)
                content = stream.read()
        if answer.get("Metadata", {}).get(SHA256) not in (None, hashlib.sha256(content).hexdigest()):
            raise Unavailable(f"could not read {key}: other bytes arrived than were written", system=self._system)
        try:
            return bytes(content).decode()
        except UnicodeDecodeError as error:
            raise Rejected(f"{key} is not UTF-8", system=self._system) from error

    def _page(self, prefix: str, below: str, token: str) -> dict[str, Any]:
        with self._errors(f"list {prefix}"):
            more = {"ContinuationToken": token} if token else {}
            page: dict[str, Any] = self._client.list_objects_v2(Bucket=self._bucket, Prefix=below, **more)
        return page

    def _ask(self, ask: Callable[[], Answer]) -> Answer:
        return retry_call(ask, seconds=self.retry_seconds)

    def _path(self, key: str) -> str:
        try:
            return self._root + check_record_key(key)
        except ValueError as error:
            raise Rejected(str(error), system=self._system) from error

    def _taken(self, key: str) -> Refused:
        return Refused(f"{key} is already in the {self._system}; records are never overwritten")

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        with s3.errors(doing, system=self._system, advice=_ADVICE, no_key=_NO_KEY):
            try:
                yield
            except ClientError as error:
                if s3.code_of(error) in _TAKEN:
                    raise self._taken(doing.partition(" ")[2]) from error
                raise


def opened(
    settings: Bucket, credentials: Mapping[str, str], *, request_seconds: float = 10, at_once: int = RECORDS
) -> BucketRecords:
    """Return the records of this bucket: the same each time, with what was read of them before."""
    return _opened(settings, tuple(credentials.items()), request_seconds, at_once)


@lru_cache(maxsize=32)
def _opened(
    settings: Bucket, credentials: tuple[tuple[str, str], ...], request_seconds: float, at_once: int
) -> BucketRecords:
    return BucketRecords(settings, dict(credentials), request_seconds=request_seconds, at_once=at_once)


def _may_have_arrived(cause: BaseException | None) -> bool:
    return not isinstance(cause, EndpointConnectionError | ConnectTimeoutError)


def _is_key(key: str) -> bool:
    try:
        check_record_key(key)
    except ValueError:
        return False  # what somebody else left, as consoles leave an object for an empty folder
    return True
