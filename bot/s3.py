"""How the bot speaks S3, for all that is kept in buckets: a client with deadlines, large objects, boto's errors."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's, which is not Python's
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError

from bot import trust, web
from bot.concurrency import begin
from bot.errors import Rejected, Unavailable
from bot.redaction import excerpt
from bot.retry import read_retry_after, skip_bytes
from bot.transport_errors import reason

__all__ = ["ClientError", "Lines", "Reading", "client", "code_of", "errors", "status_of"]

_BUSY = ("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestTimeout", "InternalError")
_ON_THE_WAY = (
    *(ConnectionError, HTTPClientError, IncompleteReadError, FlexibleChecksumError),
    *(ResponseParserError, CredentialRetrievalError),
)
NOT_IMPLEMENTED = "NotImplemented"
"""S3's code, also for a store that answers 501 with another code or none."""
_HOST_STYLE = (
    "This store wants the bucket in the host's name, not in the path: set addressing_style: virtual beside endpoint."
)
_OF_EVERY_STORE = {
    "SecondLevelDomainForbidden": _HOST_STYLE,  # Alibaba Cloud OSS
    "PathStyleDomainForbidden": _HOST_STYLE,  # Tencent COS
    "VirtualHostDomainRequired": _HOST_STYLE,  # Huawei OBS
}
_one_at_a_time = threading.Lock()

LINES = 4
"""Connections for content at a time: as many as files are copied at once. Decision 27 has the figures."""
PART_BYTES = 16 * 2**20
"""Smaller ones are more to ask for, of a store that is far away; larger ones are more to hold in memory."""


def client(
    *,
    endpoint: str | None,
    region: str | None,
    credentials: Mapping[str, str],
    connect_seconds: float,
    read_seconds: float,
    connections: int,
    addressing_style: str | None = None,
) -> Any:
    """Return a client for which these deadlines hold, and which never asks again by itself: bot/retry.py does.

    ``credentials`` as boto3 names them; none: as every AWS SDK finds them. ``addressing_style`` is ``path``,
    ``virtual``, or None: buckets are part of the path where there is an endpoint, and what AWS chooses without one.
    """
    network: dict[str, Any] = {}
    if endpoint:
        # boto itself takes no networks in NO_PROXY.
        through = web.proxy(endpoint)
        network = {"proxies": {urlsplit(endpoint).scheme: through} if through else {}}
    config = Config(
        connect_timeout=connect_seconds,
        read_timeout=read_seconds,
        max_pool_connections=connections,
        retries={"total_max_attempts": 1, "mode": "standard"},
        # All content is compared with a sha256 of our own.
        response_checksum_validation="when_required",
        # By itself boto adds one behind the body, in chunks that many stores do not know. Callers give their own.
        request_checksum_calculation="when_required",
        # A name for each bucket is AWS's own way; most others have one name.
        s3={"addressing_style": addressing_style or ("path" if endpoint else "auto")},
        user_agent_extra="promobot",
        **network,
    )
    with _one_at_a_time:  # making clients is not safe in threads; using them is
        # Without credentials of their own a session finds some and remembers them: each client looks for itself.
        session = _session() if credentials else boto3.session.Session()
        return session.client(
            "s3",
            region_name=region,
            endpoint_url=endpoint,
            **credentials,
            config=config,
            verify=_authorities() if (endpoint or "https:").startswith("https:") else None,
        )


def _authorities() -> str:
    """Return a file of certificates; what a profile in ~/.aws/config names for itself stays in force."""
    of_a_profile = None if os.environ.get("AWS_CA_BUNDLE") else botocore.session.Session()
    return (of_a_profile and of_a_profile.get_config_variable("ca_bundle")) or trust.file()


@lru_cache(maxsize=1)
def _session() -> Any:
    # One for all, as it takes long to read what S3 is; of our own, as boto3's default one is also others'.
    return boto3.session.Session()


@contextmanager
def errors(doing: str, *, system: str, advice: Mapping[str, str], no_key: str) -> Iterator[None]:
    """Raise Unavailable or Rejected for what boto raises.

    ``advice`` says what to do about an error by its code (``""``: about any other), ``no_key`` where there are no
    credentials at all.
    """
    try:
        yield
    except ClientError as error:
        code, status = code_of(error), status_of(error)
        said = excerpt(error.response["Error"].get("Message", ""), 300)
        message = f"could not {doing}: the object store says {code or status}: {said}"
        # 409: two wrote at the same moment, and this one lost or is to try again; then 412 says which.
        is_missing = code == NOT_IMPLEMENTED or (status == HTTPStatus.NOT_IMPLEMENTED and code not in _BUSY)
        if not is_missing and (status >= 500 or status in (408, 409, 429) or code in _BUSY):
            headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            after = read_retry_after(headers.get("retry-after"))
            raise Unavailable(message, system=system, retry_after_seconds=after) from error
        known = advice.get(NOT_IMPLEMENTED if is_missing else code) or _OF_EVERY_STORE.get(code)
        said = known or (advice.get("AccessDenied") if status == 403 else None) or advice.get("", "")
        raise Rejected(message, system=system, next_step=said) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise Rejected(f"could not {doing}: {error}", system=system, next_step=no_key) from error
    except (*_ON_THE_WAY, OSError) as error:
        step = trust.advice(str(error))
        raise Unavailable(f"could not {doing}: {reason(error)}", system=system, next_step=step) from error
    except BotoCoreError as error:
        raise Rejected(f"could not {doing}: {error}", system=system) from error


class Lines:
    """The count of connections that bring content just now, over all reads of one client.

    A part that came early keeps its place until it is consumed: so many parts, and no more, wait in memory.
    """

    def __init__(self) -> None:
        self._used, self._lock = 0, threading.Lock()

    def take(self) -> None:
        """Take one, however many there are already."""
        with self._lock:
            self._used += 1

    def take_spare(self) -> bool:
        """Take one that nobody uses; say whether there was any."""
        with self._lock:
            is_spare = self._used < LINES
            self._used += is_spare
        return is_spare

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Give back one that was taken, once this is over."""
        try:
            yield
        finally:
            self.give_back()

    def give_back(self) -> None:
        """Give back one that was taken."""
        with self._lock:
            self._used -= 1


class Reading:
    """An object that is read in parts of ``PART_BYTES``: the next ones come while the first is consumed.

    Only over connections that are to spare: several files at a time need no more, and one alone gets them all. What
    came early waits in memory.
    """

    def __init__(self, client: Any, *, bucket: str, key: str, chunk_bytes: int, lines: Lines) -> None:
        self._client, self._object, self._chunk_bytes = client, {"Bucket": bucket, "Key": key}, chunk_bytes
        self._lines, self._stop = lines, threading.Event()

    def stream(self, start: int) -> Iterator[bytes]:
        """Return the bytes from ``start`` on; raise what can be known before the first at once, as boto does."""
        return self._in_parts(start, *self._ask(start))

    def _in_parts(self, start: int, chunks: Iterator[bytes], total: int) -> Iterator[bytes]:
        coming: deque[Future[list[bytes]]] = deque()
        at = start + PART_BYTES
        self._lines.take()
        try:
            while True:
                with self._lines.taken():
                    while at < total and self._lines.take_spare():
                        coming.append(self._ahead(at))
                        at += PART_BYTES
                    yield from chunks
                if coming:
                    chunks = _chunks_of(coming.popleft())  # which took its line when it was begun
                elif at < total:
                    chunks, at = self._ask(at)[0], at + PART_BYTES
                    self._lines.take()
                else:
                    return
        finally:
            self._stop.set()
            for _ in coming:
                self._lines.give_back()

    def _ahead(self, at: int) -> Future[list[bytes]]:
        def fetch() -> list[bytes]:
            found: list[bytes] = []
            for chunk in self._ask(at)[0]:
                if self._stop.is_set():
                    break  # nobody waits for it now
                found.append(chunk)
            return found

        # An interrupted read does not wait for a connection that stands still.
        return begin(fetch, name=f"part at {at}")

    def _ask(self, at: int) -> tuple[Iterator[bytes], int]:
        """Return the part that begins there, and where what can be asked for ends."""
        part = {"Range": f"bytes={at}-{at + PART_BYTES - 1}"}
        try:
            answer = self._client.get_object(**self._object, **part)
        except ClientError as error:
            if at or status_of(error) != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            answer = self._client.get_object(**self._object)  # an empty object has no first byte to ask for
        body = answer["Body"]
        chunks = body.iter_chunks(self._chunk_bytes)
        if answer["ResponseMetadata"]["HTTPStatusCode"] == HTTPStatus.PARTIAL_CONTENT:
            return skip_bytes(0, chunks, body), int(answer["ContentRange"].split("/")[1])
        # A store that does not know parts sends everything, and there is nothing left to ask for.
        return skip_bytes(at, chunks, body), at


def _chunks_of(part: Future[list[bytes]]) -> Iterator[bytes]:
    yield from part.result()


def code_of(error: ClientError) -> str:
    """Return S3's own code of an error, empty where it has none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """Return the HTTP status of an error, 0 where there is none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
