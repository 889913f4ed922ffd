"""Stores that speak S3 otherwise than AWS: what works with them, and what they are told to do where it does not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bot.errors import Refused, Rejected, Unavailable
from bot.records.bucket import BucketRecords
from bot.sandbox.s3 import ObjectStorage
from bot.sandbox.s3_like import like
from bot.sandbox.tls import HERE, Authority, behind_tls
from bot.settings import Bucket
from tests.records.test_record_stores import bucket_of
from tests.stand_ins.server import StandIn, answer
from tests.stores import bucket_records

SECONDS = 30.0


def records(settings: Bucket, endpoint: str, **more: Any) -> BucketRecords:
    changed = settings.model_copy(update={"endpoint": endpoint, **more})
    return bucket_records(changed, seconds=SECONDS)


@pytest.fixture
def settings(object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return bucket_of(object_storage, monkeypatch)


@pytest.fixture
def named_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every name below ``localhost`` be this machine, as a resolver of systemd does."""
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        return real("127.0.0.1" if str(host).endswith(".localhost") else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@contextmanager
def over_https(url: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    authority = Authority(directory)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    certificate = authority.issue(*HERE)
    with behind_tls(int(url.rpartition(":")[2]), certificate) as port:
        yield f"https://localhost:{port}"


def test_one_that_knows_no_trailers_takes_records_over_https(
    object_storage: ObjectStorage, settings: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        like("no-trailers", object_storage.endpoint) as url,
        over_https(url, tmp_path, monkeypatch) as secured,
    ):
        store = records(settings, secured)
        store.begin()
        store.put("deployments/dev/one.json", '{"digest": "sha256:1"}')
        assert store.get("deployments/dev/one.json") == '{"digest": "sha256:1"}'
        with pytest.raises(Refused):
            store.put("deployments/dev/one.json", "{}")


def test_the_store_still_refuses_bytes_that_are_not_those_of_the_checksum(
    object_storage: ObjectStorage, settings: Bucket
) -> None:
    client = object_storage.client()
    with pytest.raises(ClientError, match=r"BadDigest|InvalidRequest|[Cc]hecksum"):
        client.put_object(Bucket=settings.bucket, Key="x", Body=b"other", ChecksumSHA256="A" * 43 + "=")


def test_the_checksum_of_what_is_written_is_in_a_header_and_the_body_as_it_is(
    stand_in: StandIn, settings: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over https boto would put it behind the body."""
    listed = b"<ListBucketResult><CommonPrefixes><Prefix>p/deployments/</Prefix></CommonPrefixes></ListBucketResult>"
    stand_in.behaviour = lambda seen: answer(
        *((200, b"") if seen.method == "PUT" else (200, listed) if "list-type" in seen.path else (404, b""))
    )
    with over_https(stand_in.url, tmp_path, monkeypatch) as secured:
        records(settings, secured, prefix="p").put("deployments/dev/one.json", "{}")
    written = [seen for seen in stand_in.seen if seen.method == "PUT"]
    assert [seen.body for seen in written][-1] == b"{}"
    for seen in written:
        assert seen.headers["x-amz-checksum-sha256"]
        assert not {"x-amz-trailer", "transfer-encoding", "content-encoding", "x-amz-sdk-checksum-algorithm"} & {
            *seen.headers
        }


def test_one_that_knows_hosts_only_says_which_setting_to_change(
    object_storage: ObjectStorage, settings: Bucket, named_hosts: None
) -> None:
    with like("virtual-hosts-only", object_storage.endpoint) as url:
        endpoint = url.replace("127.0.0.1", "localhost")
        with pytest.raises(Rejected, match="SecondLevelDomainForbidden") as refused:
            records(settings, endpoint).begin()
        assert "addressing_style: virtual" in refused.value.next_step


def test_with_addressing_style_virtual_the_bucket_is_in_the_hosts_name(
    stand_in: StandIn, settings: Bucket, named_hosts: None
) -> None:
    stand_in.answers(403, b"<Error><Code>AccessDenied</Code></Error>")
    endpoint = f"http://localhost:{stand_in.port}"
    with pytest.raises(Rejected, match="AccessDenied"):
        records(settings, endpoint, addressing_style="virtual").keys("deployments")
    with pytest.raises(Rejected, match="AccessDenied"):
        records(settings, endpoint).keys("deployments")
    hosts = [(seen.headers["host"], seen.path.startswith(f"/{settings.bucket}/")) for seen in stand_in.seen]
    assert hosts == [
        (f"{settings.bucket}.localhost:{stand_in.port}", False),
        (f"localhost:{stand_in.port}", True),
    ]


def test_one_without_conditions_is_refused_at_once_and_says_what_is_missing(
    object_storage: ObjectStorage, settings: Bucket
) -> None:
    with like("no-conditions", object_storage.endpoint) as url, pytest.raises(Rejected) as refused:
        records(settings, url).begin()
    assert "NotImplemented" in str(refused.value)
    assert "conditional writes" in refused.value.next_step


@pytest.mark.parametrize("body", [b"", b"<html>not implemented</html>", b"<Error><Code>Odd</Code></Error>"])
def test_501_without_a_code_of_s3_is_not_asked_again(body: bytes, stand_in: StandIn, settings: Bucket) -> None:
    stand_in.answers(501, body)
    with pytest.raises((Rejected, Unavailable)) as refused:
        records(settings, stand_in.url).keys("deployments")
    if b"<html>" not in body:  # that is no answer of a store, and may be a proxy's of the moment
        assert isinstance(refused.value, Rejected), refused.value
        assert "conditional writes" in refused.value.next_step
        assert len(stand_in.seen) == 1
