"""MLflow's artifacts fetched from the bucket itself: what the server never sees, and what READY does not say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

from bot.domain.package import PACKAGE_FILE
from bot.errors import Refused, Rejected, Unavailable
from bot.sandbox import mlflow
from bot.sandbox.processes import Ports
from bot.sandbox.s3 import ObjectStorage
from bot.settings import S3, MLflow
from bot.systems.mlflow import RegisteredVersion, Registry
from tests.servers import running
from tests.share.test_share import share_at
from tests.stand_ins.links import Fault, HttpLink
from tests.stores import registry_of
from tests.systems.test_mlflow import MODEL, Server, whole

pytestmark = pytest.mark.slow  # an MLflow of its own, which takes longer to start than all tests together

FILES = {**MODEL.files, PACKAGE_FILE: MODEL.package.to_json().encode()}


@pytest.fixture(scope="module")
def server(object_storage: ObjectStorage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An MLflow whose clients write and read artifacts in the bucket."""
    directory = tmp_path_factory.mktemp("mlflow")
    with Ports() as ports:
        part = mlflow.part(
            "mlflow", directory=directory / "data", port=ports.take(), storage=object_storage, direct=True
        )
        with running(directory, part):
            yield Server(f"http://127.0.0.1:{part.port}", directory / "data" / "mlflow.db", directory)


@contextmanager
def as_training(object_storage: ObjectStorage) -> Iterator[None]:
    """With the variables of a training job."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in object_storage.variables().items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def churn(
    server: Server, object_storage: ObjectStorage, tmp_path_factory: pytest.TempPathFactory
) -> RegisteredVersion:
    """A whole package. Nobody changes it."""
    with as_training(object_storage):
        return server.register(FILES, tmp_path_factory.mktemp("churn"), model="churn")


@pytest.fixture
def link(object_storage: ObjectStorage) -> Iterator[HttpLink]:
    with HttpLink(object_storage.endpoint) as link:
        yield link


@pytest.fixture
def registry(
    server: Server, object_storage: ObjectStorage, link: HttpLink, monkeypatch: pytest.MonkeyPatch
) -> Registry:
    """As the bot reaches it: the bucket by settings of its own, whatever the variables of the training job say."""
    monkeypatch.setenv("ARTIFACTS_KEY_ID", object_storage.credentials.access_key_id)
    monkeypatch.setenv("ARTIFACTS_KEY", object_storage.credentials.secret_access_key)
    for name in object_storage.variables():
        monkeypatch.setenv(name, "https://elsewhere.example" if "URL" in name else "elsewhere-1")
    s3 = S3(endpoint=link.url, access_key_id_env="ARTIFACTS_KEY_ID", secret_access_key_env="ARTIFACTS_KEY")
    return registry_of(MLflow(uri=server.uri, s3=s3), request_seconds=2, download_seconds=2)


def test_a_package_and_its_files_come_from_the_bucket(
    object_storage: ObjectStorage, registry: Registry, churn: RegisteredVersion, link: HttpLink
) -> None:
    assert churn.source.startswith(f"s3://{object_storage.bucket}/mlflow/") and churn.status == "READY"
    assert registry.files(churn) == sorted(FILES)
    assert registry.package(churn) == MODEL.package
    for path, content in FILES.items():
        assert b"".join(registry.unverified_chunks(churn, path, chunk_bytes=1000)) == content
    assert link.requests >= len(FILES), "each was asked of the bucket"


def test_a_source_that_does_not_exist_is_ready_and_has_no_package(
    server: Server,
    object_storage: ObjectStorage,
    registry: Registry,
    tmp_path: Path,
) -> None:
    """MLflow registers it, says READY, and "downloads" nothing without a word. Counting and hashing tell."""
    nowhere = f"s3://{object_storage.bucket}/mlflow/nowhere/model"
    with as_training(object_storage):
        version = server.register(FILES, tmp_path, model="nowhere", source=nowhere)
        repository = S3ArtifactRepository(nowhere)  # type: ignore[no-untyped-call, unused-ignore]
        (tmp_path / "fetched").mkdir()
        fetched = Path(repository.download_artifacts("", str(tmp_path / "fetched")))
    assert list(fetched.iterdir()) == []
    assert registry.version("nowhere", version.version).status == "READY"
    assert registry.files(version) == []
    with pytest.raises(Rejected, match=r"nowhere 1 has no package\.json") as failure:
        registry.package(version)
    assert "bot.training.register" in failure.value.next_step


def test_half_a_package_and_one_that_was_changed_are_never_published(
    server: Server, object_storage: ObjectStorage, registry: Registry, tmp_path: Path
) -> None:
    for number, (name, content) in enumerate((("model.onnx", b"THE MODEL"), ("weights/part.data", None)), start=1):
        with as_training(object_storage):
            version = server.register(FILES, tmp_path / str(number), model="spoilt")
        where = {
            "Bucket": object_storage.bucket,
            "Key": f"{version.source.removeprefix(f's3://{object_storage.bucket}/')}/{name}",
        }
        if content is None:
            object_storage.client().delete_object(**where)
        else:
            object_storage.client().put_object(**where, Body=content)
        assert registry.version("spoilt", version.version).status == "READY"
        share = share_at(tmp_path / f"share-{number}")
        with pytest.raises(Rejected, match=r"model\.onnx is not what the package says|NoSuchKey"):
            share.models.publish(
                registry.package(version),
                partial(registry.unverified_chunks, version),
                triton_model="spoilt",
                version=1,
            )
        assert share.models.versions("spoilt") == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault("reset", times=1),
        Fault("truncated", times=1),
        Fault("status", status=503, times=1),
        Fault("status", status=500, times=1),
    ],
    ids=str,
)
def test_a_short_fault_of_the_bucket_is_outlived(
    fault: Fault, registry: Registry, churn: RegisteredVersion, link: HttpLink
) -> None:
    link.fails(fault)
    assert whole(registry, churn, "weights/part.data") == FILES["weights/part.data"]
    assert link.spoiled
    link.fails(fault)
    assert registry.files(churn) == sorted(FILES)
    assert link.spoiled


def test_the_rest_of_a_file_is_asked_for_alone(registry: Registry, churn: RegisteredVersion) -> None:
    rest = b"".join(registry.unverified_chunks(churn, "weights/part.data", 2_000_000))
    assert rest == FILES["weights/part.data"][2_000_000:]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("hangs"),
        Fault("hangs after the head"),
        Fault("refused"),
        pytest.param(Fault("reset"), marks=pytest.mark.long),
        pytest.param(Fault("truncated"), marks=pytest.mark.long),
        pytest.param(Fault("status", status=503), marks=pytest.mark.long),
    ],
    ids=str,
)
def test_a_lasting_fault_of_the_bucket_ends_in_time(
    fault: Fault, registry: Registry, churn: RegisteredVersion, link: HttpLink, tmp_path: Path
) -> None:
    for act in (lambda: whole(registry, churn, "model.onnx"), lambda: registry.files(churn)):
        link.fails(fault)
        with pytest.raises(Unavailable, match="of churn 1"):
            act()
        assert not link.outwaited
    link.works()
    assert whole(registry, churn, "model.onnx") == FILES["model.onnx"]


def test_who_may_not_is_told_what_to_do(
    server: Server,
    object_storage: ObjectStorage,
    registry: Registry,
    churn: RegisteredVersion,
    link: HttpLink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = replace(churn, source="s3://another/mlflow/x")
    for act in (lambda: registry.files(elsewhere), lambda: whole(registry, elsewhere, "model.onnx")):
        with pytest.raises(Rejected) as failure:
            act()
        assert "mlflow.s3" in failure.value.next_step
    monkeypatch.setenv("ARTIFACTS_KEY", "0" * 40)
    named = S3(endpoint=link.url, access_key_id_env="ARTIFACTS_KEY_ID", secret_access_key_env="ARTIFACTS_KEY")
    with pytest.raises(Rejected, match="SignatureDoesNotMatch"):
        whole(registry_of(MLflow(uri=server.uri, s3=named)), churn, "model.onnx")
    monkeypatch.delenv("ARTIFACTS_KEY")
    with pytest.raises(Refused, match="ARTIFACTS_KEY is not set"):
        whole(registry_of(MLflow(uri=server.uri, s3=named)), churn, "model.onnx")
    for name in object_storage.variables():
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(Rejected) as failure:
        whole(registry_of(MLflow(uri=server.uri, s3=S3(endpoint=link.url))), churn, "model.onnx")
    assert "give this machine an identity" in failure.value.next_step


def test_without_settings_of_its_own_the_bot_goes_where_the_training_job_went(
    server: Server, object_storage: ObjectStorage, churn: RegisteredVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in object_storage.variables().items():
        monkeypatch.setenv(name, value)
    assert whole(registry_of(MLflow(uri=server.uri)), churn, "model.onnx") == FILES["model.onnx"]
