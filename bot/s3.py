"""How the bot speaks S3, for all that is kept in buckets: a client with deadlines, and boto's errors in our words."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import boto3
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

from bot.errors import Rejected, Unavailable
from bot.retry import seconds_asked_for

__all__ = ["ClientError", "client", "code_of", "errors", "status_of"]

_BUSY = ("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestTimeout", "InternalError")
_ON_THE_WAY = (
    *(ConnectionError, HTTPClientError, IncompleteReadError, FlexibleChecksumError),
    *(ResponseParserError, CredentialRetrievalError),
)
_one_at_a_time = threading.Lock()


def client(
    *,
    endpoint: str | None,
    region: str | None,
    credentials: Mapping[str, str],
    connect_seconds: float,
    read_seconds: float,
    connections: int,
) -> Any:
    """Return a client for which these deadlines hold, and which never asks again by itself: bot/retry.py does.

    ``credentials`` as boto3 names them; none: as every AWS SDK finds them.
    """
    config = Config(
        connect_timeout=connect_seconds,
        read_timeout=read_seconds,
        max_pool_connections=connections,
        retries={"total_max_attempts": 1, "mode": "standard"},
        # What is read is compared with a sha256 of our own.
        response_checksum_validation="when_required",
        # A name for each bucket is AWS's own way; others have one name.
        s3={"addressing_style": "path" if endpoint else "auto"},
        user_agent_extra="promobot",
    )
    with _one_at_a_time:  # making clients is not safe in threads; using them is
        # Without credentials of their own a session finds some and remembers them: each client looks for itself.
        session = _session() if credentials else boto3.session.Session()
        return session.client("s3", region_name=region, endpoint_url=endpoint, **credentials, config=config)


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
        message = (
            f"could not {doing}: the object store says {code}: {error.response['Error'].get('Message', '')[:300]}"
        )
        # 409: two wrote at the same moment, and this one lost or is to try again; then 412 says which.
        if status >= 500 or status in (408, 409, 429) or code in _BUSY:
            headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            after = seconds_asked_for(headers.get("retry-after"))
            raise Unavailable(message, system=system, retry_after_seconds=after) from error
        said = advice.get(code) or (advice.get("AccessDenied") if status == 403 else None) or advice.get("", "")
        raise Rejected(message, system=system, next_step=said) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise Rejected(f"could not {doing}: {error}", system=system, next_step=no_key) from error
    except (*_ON_THE_WAY, OSError) as error:
        raise Unavailable(f"could not {doing}: {error}", system=system) from error
    except BotoCoreError as error:
        raise Rejected(f"could not {doing}: {error}", system=system) from error


def code_of(error: ClientError) -> str:
    """Return S3's own code of an error, empty where it has none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """Return the HTTP status of an error, 0 where there is none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
