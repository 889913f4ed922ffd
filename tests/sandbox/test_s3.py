"""The sandbox's object storage keeps what records stand on, refuses what it must, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from pydantic import TypeAdapter

from bot.errors import Refused
from bot.sandbox import mlflow
from bot.sandbox.platform import Sandbox, Shape
from bot.sandbox.processes import Ports, Processes
from bot.sandbox.s3 import Credentials, ObjectStorage
from tests.servers import lives, running


def code_of(call: Any, **arguments: Any) -> str:
    """Call, and return the code of the error, or nothing."""
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


@pytest.mark.slow
def test_of_sixteen_writers_of_one_key_one_wins(object_storage: ObjectStorage) -> None:
    begin = threading.Barrier(16)

    def write(number: int) -> str:
        client = object_storage.client()
        begin.wait(20)
        body = f"{number}".encode() * 10_000
        return code_of(client.put_object, Bucket=object_storage.bucket, Key="race", Body=body, IfNoneMatch="*")

    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(write, range(16)))
    winners = [number for number, code in enumerate(codes) if not code]
    assert len(winners) == 1 and set(codes) <= {"", "PreconditionFailed", "ConditionalRequestConflict"}
    there = object_storage.client().get_object(Bucket=object_storage.bucket, Key="race")["Body"].read()
    assert there == f"{winners[0]}".encode() * 10_000


def test_wrong_credentials_other_buckets_and_wrong_checksums_are_refused(object_storage: ObjectStorage) -> None:
    named = {"Bucket": object_storage.bucket, "Key": "x", "Body": b"x"}
    client, wrong = object_storage.client(), Credentials(object_storage.credentials.access_key_id, "0" * 40)
    assert code_of(object_storage.client(wrong).put_object, **named) == "SignatureDoesNotMatch"
    assert code_of(object_storage.client(Credentials.new("x")).put_object, **named) == "InvalidAccessKeyId"
    assert code_of(client.put_object, **{**named, "Bucket": "another"}) == "AccessDenied"
    assert code_of(client.create_bucket, Bucket="another") == "AccessDenied"
    assert code_of(client.put_object, **named, ChecksumSHA256="A" * 43 + "=") == "BadDigest"
    assert code_of(client.put_object, **named) == ""


def test_a_locked_version_cannot_be_deleted(object_storage: ObjectStorage) -> None:
    client, named = object_storage.client(), {"Bucket": object_storage.bucket, "Key": "locked"}
    until = datetime.now(UTC) + timedelta(days=1)
    put = client.put_object(**named, Body=b"x", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until)
    for who in (client, object_storage.client(object_storage.owner)):
        assert code_of(who.delete_object, **named, VersionId=put["VersionId"]) == "AccessDenied"
    assert client.get_object(**named, VersionId=put["VersionId"])["Body"].read() == b"x"


@pytest.fixture
def ports() -> Iterator[Ports]:
    """Held until the test is over: what is started again has the same."""
    with Ports() as taken:
        yield taken


@pytest.mark.slow
def test_killed_and_started_again_it_has_everything_and_stopped_it_leaves_nothing(
    tmp_path: Path, ports: Ports
) -> None:
    processes = Processes(tmp_path)
    storage = ObjectStorage.new(tmp_path / "s3", ports=ports)

    def sockets() -> set[Path]:
        return {path for port in storage.ports.values() for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")}

    before = sockets()  # of others that were killed, and had the same numbers
    try:
        process = processes.start(storage.part())
        processes.wait_until_ready(process)
        storage.prepare()
        for number in range(20):
            storage.client().put_object(Bucket=storage.bucket, Key=f"a/{number}", Body=f"{number}".encode())
        os.kill(process.pid, signal.SIGKILL)
        while lives(process.pid):
            os.waitpid(process.pid, 0)

        kept = TypeAdapter(ObjectStorage)
        again = kept.validate_json(kept.dump_json(storage))
        assert again == storage
        process = processes.start(again.part())
        processes.wait_until_ready(process)
        again.prepare()
        bodies = [
            again.client().get_object(Bucket=again.bucket, Key=f"a/{n}")["Body"].read().decode() for n in range(20)
        ]
        assert bodies == [str(number) for number in range(20)]
    finally:
        stopped = processes.stop()
    assert stopped == ["s3"] and not lives(process.pid)
    assert sockets() - before == set()


@pytest.mark.slow
def test_two_sandboxes_have_two_and_one_that_has_none_gets_none(tmp_path: Path) -> None:
    def up(name: str, *, s3: bool) -> Sandbox:
        only = frozenset({"s3", "slack"})
        return Sandbox.up(tmp_path / name, progress=print, seed=print, parts=only, shape=Shape(s3=s3))

    def named(sandbox: Sandbox) -> tuple[Any, dict[str, str]]:
        storage = sandbox.endpoints.s3
        assert storage is not None
        return storage.client(), {"Bucket": storage.bucket, "Key": "name"}

    try:
        with ThreadPoolExecutor() as pool:
            one, two = pool.map(lambda name: up(name, s3=True), ("one", "two"))
        assert not set(one.endpoints.ports()) & set(two.endpoints.ports())
        file = tmp_path / "one" / "endpoints.json"
        document = json.loads(file.read_text())
        assert document["records"] == "s3://mlops" and set(document["pids"]) == {"s3", "slack"}
        assert document["s3"].keys() >= {"endpoint", "bucket", "region", "access_key_id", "secret_access_key"}
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert document["s3"]["endpoint"] in one.table()
        for sandbox in (one, two):
            client, where = named(sandbox)
            client.put_object(**where, Body=sandbox.endpoints.directory.name.encode())

        assert Sandbox.down(tmp_path / "one") == ["s3", "slack"]
        client, where = named(up("one", s3=True))
        assert client.get_object(**where)["Body"].read() == b"one"
        client, where = named(two)
        assert client.get_object(**where)["Body"].read() == b"two", "it ran on"

        up("none", s3=False)
        Sandbox.down(tmp_path / "none")
        with pytest.raises(Refused, match="has its records in directories"):
            up("none", s3=True)
    finally:
        for name in ("one", "two", "none"):
            Sandbox.down(tmp_path / name)


@pytest.mark.long
def test_mlflow_keeps_artifacts_in_the_bucket_and_gives_them_through_its_server(
    object_storage: ObjectStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clients need no way to the bucket; tests/systems/test_mlflow_on_s3.py has those that do."""
    with Ports() as ports:
        part = mlflow.part("mlflow", directory=tmp_path / "mlflow", port=ports.take(), storage=object_storage)
    with running(tmp_path, part):
        uri = f"http://127.0.0.1:{part.port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "false")
        client = MlflowClient(tracking_uri=uri)
        run = client.create_run("0")
        (tmp_path / "package.json").write_text("{}")
        client.log_artifact(run.info.run_id, str(tmp_path / "package.json"), "model")
        fetched = download_artifacts(artifact_uri=f"{run.info.artifact_uri}/model", dst_path=str(tmp_path / "got"))
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert (Path(fetched) / "package.json").read_text() == "{}"
    key = f"mlflow/0/{run.info.run_id}/artifacts/model/package.json"
    there = object_storage.client().get_object(Bucket=object_storage.bucket, Key=key)["Body"].read()
    assert there == b"{}"
