"""The MLflow adapter: against a real server, and against a stand-in for what it cannot be brought to do."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import stamina
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from bot.domain.metrics import Measured
from bot.domain.package import MAX_BYTES, PACKAGE_FILE, TENSORS_FILE
from bot.domain.signature import Signature, TensorSpec
from bot.errors import NotRegistered, OtherBytes, Rejected, Unavailable
from bot.settings import MLflow
from bot.share import nobody_else_writes
from bot.systems.mlflow import PackageContents, RegisteredVersion, Registry
from bot.systems.mlflow.registry import Aliases
from tests.servers import RunningMLflow
from tests.share.test_share import share_at
from tests.stand_ins.ftp import FtpServer
from tests.stand_ins.server import Seen, StandIn, answer
from tests.stores import registry_of
from tests.systems.conftest import Clock
from tests.systems.packages import SMOKE_BESIDE, TENSORS, Contents, chunks, flat

MODEL = Contents({"model.onnx": b"the model", "weights/part.data": b"0123456789" * 300_000, "empty.txt": b""})
SIGNATURE = """
signature:
  inputs: '[{"name": "X", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 30]}}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'
"""


def whole(registry: Registry, version: RegisteredVersion, path: str) -> bytes:
    """All bytes of an artifact, whatever they are."""
    return flat(registry.unverified_chunks(version, path))


@dataclass(frozen=True)
class Server:
    """A running MLflow; ``database`` is its SQLite file, ``artifacts`` the folder behind its proxy."""

    uri: str
    database: Path
    artifacts: Path

    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def register(
        self, files: Mapping[str, bytes], folder: Path, *, model: str, source: str = ""
    ) -> RegisteredVersion:
        """Log the files to a run of their own and register them, as any training code may do."""
        client = self.client()
        run = client.create_run("0", tags={"mlflow.source.git.commit": "c0ffee"})
        client.log_metric(run.info.run_id, "accuracy", 0.947)
        client.log_param(run.info.run_id, "depth", "7")
        for path, content in files.items():
            file = folder / "logged" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        client.log_artifacts(run.info.run_id, str(folder / "logged"), "model")
        if not client.search_registered_models(f"name = '{model}'"):
            client.create_registered_model(model)
        place = source.replace("RUN", run.info.run_id) or f"{run.info.artifact_uri}/model"
        made = client.create_model_version(model, place, run.info.run_id, tags={"promobot.digest": "sha256:1"})
        return registry_of(MLflow(uri=self.uri)).version(model, int(made.version))

    def set_status(self, version: RegisteredVersion, status: str, message: str = "") -> None:
        """Put a version into a state that the open-source server never shows by itself."""
        with sqlite3.connect(self.database, timeout=20) as connection:
            changed = connection.execute(
                "UPDATE model_versions SET status = ?, status_message = ? WHERE name = ? AND version = ?",
                (status, message, version.model, version.version),
            )
            assert changed.rowcount == 1
        connection.close()


@pytest.fixture(scope="session")
def server(mlflow_server: RunningMLflow) -> Server:
    folder = mlflow_server.directory
    return Server(mlflow_server.uri, folder / "mlflow.db", folder / "artifacts")


@pytest.fixture(scope="session")
def registry(server: Server) -> Registry:
    return registry_of(MLflow(uri=server.uri))


@pytest.fixture(scope="session")
def churn(server: Server, tmp_path_factory: pytest.TempPathFactory) -> RegisteredVersion:
    """A whole package, beside what MLflow itself writes. Nobody changes it."""
    files = {
        **MODEL.files,
        PACKAGE_FILE: MODEL.package.to_json().encode(),
        "MLmodel": SIGNATURE.encode(),
        "conda.yaml": b"",
    }
    return server.register(files, tmp_path_factory.mktemp("churn"), model="churn")


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go during the test; it must be empty afterwards."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


# --- a server that is well ----------------------------------------------------------------------------------------


NAMES = {
    "model-a": "prod.fraud.Model-A",
    "fraud": "Fraud",
    "score": "credit score v2",
    "risk": "catalog.schema.model",
    "churn-ko": "churn_모델",
    "quoted": "it's #1 & 100%?",
}


@pytest.mark.parametrize(("model", "registered"), NAMES.items())
def test_a_model_is_served_under_another_name_than_mlflows(
    server: Server, model: str, registered: str, tmp_path: Path
) -> None:
    files = {**MODEL.files, PACKAGE_FILE: MODEL.package.to_json().encode(), "MLmodel": SIGNATURE.encode()}
    folder = tmp_path / "logged"
    client, registry = server.client(), registry_of(MLflow(uri=server.uri), names=NAMES)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    run = client.create_run("0")
    client.log_artifacts(run.info.run_id, str(folder), "model")
    client.create_registered_model(registered)
    tags = {"promobot.digest": f"sha256:{model}"}
    client.create_model_version(registered, f"{run.info.artifact_uri}/model", run.info.run_id, tags=tags)

    found = registry.version(model, 1)
    assert (found.model, found.version) == (model, 1)
    assert found.url == f"{server.uri}/#/models/{quote(registered, safe='')}/versions/1"
    assert registry.versions(model) == [1] and model in registry.models() and registered not in registry.models()
    assert registry.contents(found).package.digest == MODEL.package.digest
    assert whole(registry, found, "model.onnx") == MODEL.files["model.onnx"]
    assert registry.registered_with(digest=f"sha256:{model}") == [(model, 1)]
    registry.try_alias(model, "dev")
    aliases = Aliases(registry, nobody_else_writes)
    aliases.point(model, "dev", 1)
    assert registry.alias(model, "dev") == 1
    assert client.get_model_version_by_alias(registered, "dev").version in (1, "1")
    aliases.point(model, "dev", None)
    assert registry.alias(model, "dev") is None
    with pytest.raises(NotRegistered) as missing:
        registry.version(model, 2)
    assert f"there is no version 2 of {model} ({registered} in MLflow)" in str(missing.value)


def test_all_pages_of_the_registered_models_are_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        server.client().create_registered_model(f"paged-{number}")
    monkeypatch.setattr("bot.systems.mlflow.registry._PAGE", 2)
    assert {f"paged-{number}" for number in range(5)} <= set(registry_of(MLflow(uri=server.uri)).models())


def test_a_version_with_what_its_run_logged(server: Server, registry: Registry, churn: RegisteredVersion) -> None:
    found = registry.version("churn", churn.version)
    assert (found.model, found.version, found.status) == ("churn", 1, "READY")
    assert (dict(found.metrics.values), dict(found.params)) == ({"accuracy": 0.947}, {"depth": "7"})
    origin = found.metrics.origins["accuracy"]
    assert (origin.kind, origin.name, origin.step) == ("run", found.run, 0) and origin.at is not None
    bare = registry.version("churn", churn.version, with_run=False)
    assert bare.metrics == Measured() and bare.run == found.run
    assert found.commit == "c0ffee" and found.tags["promobot.digest"] == "sha256:1"
    assert found.source.endswith("/model") and found.run in found.source
    assert found.url == f"{server.uri}/#/models/churn/versions/1"
    assert registry.ping() == "answers"


@dataclass
class Registered:
    """Registers versions of what a run logged, as training code with MLflow's own client does."""

    server: Server
    registry: Registry
    model: str

    def __post_init__(self) -> None:
        self.client = self.server.client()
        self.client.create_registered_model(self.model)
        self.run = self.client.create_run("0").info.run_id

    def logged(self, **metrics: float) -> str:
        """Return the id of a new LoggedModel of the run, with these metrics."""
        made = str(self.client.create_logged_model("0", name=self.model, source_run_id=self.run).model_id)
        for name, value in metrics.items():
            self.client.log_metric(self.run, name, value, model_id=made)
        return made

    def version(self, source: str, run: str | None = None, **tags: str) -> Measured:
        """Return the metrics of a new version with this source, and these tags."""
        named = {f"promobot.{name}": value for name, value in tags.items()}
        model = source.removeprefix("models:/") if source.startswith("models:/m-") else None
        made = self.client.create_model_version(self.model, source, run, tags=named, model_id=model)
        return self.registry.version(self.model, int(made.version)).metrics

    def says(self, *, source: str, run: str | None) -> Measured:
        """Return the metrics of a version that says this: a new server refuses it, older ones took anything."""
        version = self.client.create_model_version(self.model, f"models:/{(made := self.logged())}", model_id=made)
        with sqlite3.connect(self.server.database, timeout=20) as connection:
            connection.execute(
                "UPDATE model_versions SET source = ?, run_id = ? WHERE name = ? AND version = ?",
                (source, run, self.model, version.version),
            )
        connection.close()
        return self.registry.version(self.model, int(version.version)).metrics


def test_a_version_of_a_logged_model_is_judged_by_that_models_metrics(server: Server, registry: Registry) -> None:
    ours = Registered(server, registry, "checkpoints")
    weak, good = ours.logged(accuracy=0.41), ours.logged(accuracy=0.95)
    ours.client.log_metric(ours.run, "auc", 0.99)
    for model, accuracy in ((weak, 0.41), (good, 0.95)):
        found = ours.version(f"models:/{model}")
        assert dict(found.values) == {"accuracy": accuracy}
        assert (found.origins["accuracy"].kind, found.origins["accuracy"].name) == ("model", model)
        assert found.only == f"only what was logged for {model} itself counts"
    # Registered by where the model's files are, and for a run whose own metrics are the other model's.
    place = ours.client.get_logged_model(weak).artifact_location
    assert dict(ours.says(source=place, run=ours.run).values) == {"accuracy": 0.41}


def test_of_a_logged_models_metrics_the_highest_step_counts_and_two_datasets_are_unclear(
    server: Server, registry: Registry
) -> None:
    ours = Registered(server, registry, "steps")
    model = ours.logged()
    for step, value in enumerate((0.6, 0.8, 0.7)):
        ours.client.log_metric(ours.run, "accuracy", value, step=step, model_id=model)
    for dataset, value in (("train", 0.99), ("test", 0.41)):
        ours.client.log_metric(ours.run, "f1", value, dataset_name=dataset, dataset_digest="d1", model_id=model)
    found = ours.version(f"models:/{model}")
    assert (dict(found.values), found.origins["accuracy"].step) == ({"accuracy": 0.7}, 2)
    assert dict(found.unclear) == {"f1": "logged for 2 datasets (test d1, train d1)"}


def test_a_number_that_is_none_is_not_taken_for_zero_or_the_largest_there_is(
    server: Server, registry: Registry
) -> None:
    """MLflow's database has neither NaN of a LoggedModel nor infinity: 0 would be the best of all losses."""
    ours = Registered(server, registry, "nan")
    found = ours.version(f"models:/{ours.logged(loss=math.nan, accuracy=math.inf, errors=0.0)}")
    assert math.isnan(found.values["loss"])
    assert (found.values["accuracy"], found.values["errors"]) == (math.inf, 0.0)


def test_a_copy_is_judged_by_what_it_was_made_of(server: Server, registry: Registry) -> None:
    ours = Registered(server, registry, "origin")
    weak = ours.logged(accuracy=0.41)
    ours.logged(accuracy=0.95)
    ours.version(f"models:/{weak}")
    client = server.client()
    copies = [client.copy_model_version("models:/origin/1", "m-copy")]
    copies.append(client.copy_model_version("models:/m-copy/1", "copy-of-copy"))
    for copy in copies:
        found = registry.version(copy.name, int(copy.version)).metrics
        assert dict(found.values) == {"accuracy": 0.41} and found.origins["accuracy"].name == weak
    # A copy that another run is claimed for.
    other = client.create_run("0").info.run_id
    client.log_metric(other, "accuracy", 0.99)
    assert dict(ours.says(source="models:/origin/1", run=other).values) == {"accuracy": 0.41}
    client.delete_model_version("origin", "1")
    gone = registry.version("m-copy", 1).metrics
    assert (dict(gone.values), gone.doubt) == ({}, "it is a copy of origin 1, which is gone")


def test_whose_metrics_count_is_not_guessed_where_a_version_contradicts_itself(
    server: Server, registry: Registry
) -> None:
    ours = Registered(server, registry, "contradictions")
    good = server.client().create_run("0").info
    server.client().log_metric(good.run_id, "accuracy", 0.95)
    place = f"{good.artifact_uri}/model"
    assert dict(ours.version(place, good.run_id).values) == {"accuracy": 0.95}
    for source in (place, f"runs:/{good.run_id}/model"):
        found = ours.says(source=source, run=ours.run)
        assert found.doubt == f"its files are of run {good.run_id}, and it is registered for run {ours.run}"
        assert dict(found.values) == {}
    alias = ours.says(source="models:/contradictions@best", run=good.run_id)
    assert alias.doubt == "its source 'models:/contradictions@best' names neither a version nor a LoggedModel"


def test_a_version_that_is_registered_for_another_loggedmodel_than_its_files_has_no_metrics(
    server: Server, stand_in: StandIn
) -> None:
    """MLflow's own store keeps no ``model_id`` of a version. One that does is this server, with the id added."""
    ours = Registered(server, registry_of(MLflow(uri=stand_in.url)), "misnamed")
    weak, good = ours.logged(accuracy=0.41), ours.logged(accuracy=0.95)
    ours.client.log_metric(ours.run, "accuracy", 0.95)
    run = ours.client.get_run(ours.run).info
    claimed = {"model_id": good}

    def behave(seen: Seen) -> bytes:
        said = httpx.get(f"{server.uri}{seen.path}").json()
        if "/model-versions/get?" in seen.path:
            said["model_version"] |= claimed
        return answer(200, said)

    stand_in.behaviour = behave
    place = ours.client.get_logged_model(weak).artifact_location
    for source, files in (
        (f"models:/{weak}", f"those of {weak}"),
        (place, f"those of {weak}"),
        (f"{run.artifact_uri}/model", f"at '{run.artifact_uri}/model'"),
        (f"runs:/{ours.run}/model", f"at 'runs:/{ours.run}/model'"),
    ):
        found = ours.says(source=source, run=ours.run)
        assert found.doubt == f"its files are {files}, and it is registered for {good}"
        assert dict(found.values) == {}, "neither model's number counts"
    claimed["model_id"] = weak
    assert dict(ours.says(source=place, run=ours.run).values) == {"accuracy": 0.41}


def test_a_folder_of_a_run_that_is_called_like_a_loggedmodel_is_the_runs(server: Server, registry: Registry) -> None:
    ours = Registered(server, registry, "borrowed")
    good = ours.logged(accuracy=0.95)
    ours.client.log_metric(ours.run, "accuracy", 0.41)
    place = f"{ours.client.get_run(ours.run).info.artifact_uri}/models/{good}/artifacts"
    assert dict(ours.says(source=place, run=ours.run).values) == {"accuracy": 0.41}


def test_what_register_was_told_is_judged_and_nothing_logged_later_overtakes_it(
    server: Server, registry: Registry
) -> None:
    ours = Registered(server, registry, "told")
    place = f"{ours.client.get_run(ours.run).info.artifact_uri}/model"
    found = ours.version(place, ours.run, metrics='{"accuracy": 0.41}')
    version = registry.versions("told")[0]
    for step in range(3):
        ours.client.log_metric(ours.run, "accuracy", 0.95, step=step)
        ours.client.log_metric(ours.run, "auc", 0.9, step=step)
    again = registry.version("told", version).metrics
    assert dict(found.values) == {"accuracy": 0.41} and dict(again.values) == {"accuracy": 0.41, "auc": 0.9}
    assert (again.origins["accuracy"].kind, again.origins["accuracy"].name) == ("register", f"told {version}")
    assert (again.origins["auc"].kind, again.origins["auc"].step) == ("run", 2)
    copy = server.client().copy_model_version(f"models:/told/{version}", "told-copy")
    assert dict(registry.version("told-copy", int(copy.version)).metrics.values) == dict(again.values)
    broken = ours.version(place, ours.run, metrics="0.41")
    assert broken.doubt == "its tag promobot.metrics is not a JSON object; set it right or delete it"


def test_the_package_and_its_files(registry: Registry, churn: RegisteredVersion) -> None:
    assert registry.package(churn) == MODEL.package
    assert registry.files(churn) == sorted([*MODEL.files, PACKAGE_FILE])


def test_every_file_in_chunks_and_whole(registry: Registry, churn: RegisteredVersion, downloads: Path) -> None:
    for path, content in MODEL.files.items():
        assert flat(registry.unverified_chunks(churn, path)) == content
        assert whole(registry, churn, path) == content
    sizes = [len(chunk) for chunk in registry.unverified_chunks(churn, "weights/part.data", chunk_bytes=2**20)]
    assert sizes == [2**20, 2**20, 3_000_000 - 2 * 2**20]
    assert list(downloads.iterdir()) == []


def test_a_reader_that_stops_early_leaves_nothing(
    registry: Registry, churn: RegisteredVersion, downloads: Path
) -> None:
    chunks = registry.unverified_chunks(churn, "weights/part.data", chunk_bytes=10)
    assert next(iter(chunks)) == b"0123456789"
    chunks.close()
    assert list(downloads.iterdir()) == []


@pytest.mark.parametrize("source", ["runs:/RUN/model", ""])
def test_the_ways_in_which_a_version_names_its_source(
    server: Server, registry: Registry, tmp_path: Path, source: str
) -> None:
    files = {"a.txt": b"a", "b/c.txt": b"c"}
    version = server.register(files, tmp_path, model="sources", source=source)
    copy = server.client().copy_model_version(f"models:/sources/{version.version}", "sources-copy")
    copied = registry.version("sources-copy", int(copy.version))
    for one in (version, copied, replace(version, source=f"models:/sources/{version.version}")):
        assert registry.files(one) == ["a.txt", "b/c.txt"]
        assert whole(registry, one, "b/c.txt") == b"c"


def test_the_signature(server: Server, registry: Registry, churn: RegisteredVersion, tmp_path: Path) -> None:
    assert registry.signature(churn) == Signature(
        (TensorSpec("X", "FP32", (-1, 30)),), (TensorSpec("", "INT64", (-1,)),)
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "flavors: {}",
        "signature: null",
        "signature: {inputs: '[]', outputs: '[]'}",
        """signature: {inputs: '[{"type": "double", "name": "a"}]', outputs: '[{"type": "long"}]'}""",
    ],
)
def test_no_signature_and_one_of_columns_are_none(
    server: Server, registry: Registry, tmp_path: Path, text: str
) -> None:
    version = server.register({"MLmodel": text.encode()}, tmp_path, model="signatures")
    assert registry.signature(version) is None


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[1]",
        b"\xff",
        b"signature: {inputs: '{'}",
        b"signature: 1",
        b"""signature: {inputs: '[{"type": "tensor"}]'}""",
        b"signature: {inputs: [1]}",
        b"signature: {inputs: '" + b"[" * 100_000 + b"'}",
        b"signature: " + b"[" * 2_000,
    ],
)
def test_a_signature_that_cannot_be_read_is_rejected(
    server: Server, registry: Registry, tmp_path: Path, text: bytes
) -> None:
    version = server.register({"MLmodel": text}, tmp_path, model="signatures")
    with pytest.raises(Rejected, match="MLmodel of signatures"):
        registry.signature(version)


def test_what_stands_beside_a_signature_costs_nothing(server: Server, registry: Registry, tmp_path: Path) -> None:
    """Forty lines of YAML that would become more than any machine holds, if anything were made of them."""
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 40)]
    columns = json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "bool", "shape": [1]}}])
    lines.append(f"signature: {{inputs: '{columns}', outputs: '{columns}'}}")
    version = server.register({"MLmodel": "\n".join(lines).encode()}, tmp_path, model="signatures")
    tensors = (TensorSpec("", "BOOL", (1,)),)
    assert registry.signature(version) == Signature(tensors, tensors)


def test_aliases(server: Server, registry: Registry, tmp_path: Path) -> None:
    for _ in range(2):
        server.register({"a.txt": b"a"}, tmp_path, model="aliased")
    assert registry.alias("aliased", "dev") is None
    assert registry.alias("nobody", "dev") is None
    Aliases(registry, nobody_else_writes).point("aliased", "dev", 1)
    Aliases(registry, nobody_else_writes).point("aliased", "prod", 1)
    Aliases(registry, nobody_else_writes).point("aliased", "dev", 2)
    Aliases(registry, nobody_else_writes).point("aliased", "dev", 2)
    assert (registry.alias("aliased", "dev"), registry.alias("aliased", "prod")) == (2, 1)
    Aliases(registry, nobody_else_writes).point("aliased", "dev", None)
    Aliases(registry, nobody_else_writes).point("aliased", "dev", None)
    assert (registry.alias("aliased", "dev"), registry.alias("aliased", "prod")) == (None, 1)
    with pytest.raises(Rejected, match="set the alias dev of aliased"):
        Aliases(registry, nobody_else_writes).point("aliased", "dev", 99)


# --- what is read is what the package lists -----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["config.pbtxt", "smoke.json"])
def test_a_document_that_is_not_what_the_package_lists_is_never_returned(
    server: Server, registry: Registry, tmp_path: Path, path: str
) -> None:
    files = {**MODEL.files, PACKAGE_FILE: MODEL.package.to_json().encode()}
    good = registry.contents(server.register(files, tmp_path / "good", model="verified"))
    assert good.package == MODEL.package and good.read(path) == MODEL.files[path]
    for number, other in enumerate(
        (MODEL.files[path] + b" ", MODEL.files[path][:-1], b"", MODEL.files[path].swapcase(), bytes(2**21))
    ):
        changed = server.register({**files, path: other}, tmp_path / str(number), model="verified")
        with pytest.raises(OtherBytes, match=f"{path} is not what the package says"):
            registry.contents(changed).read(path)


def test_each_file_is_compared_while_it_passes(server: Server, registry: Registry, tmp_path: Path) -> None:
    large = "weights/part.data"
    files = {
        **MODEL.files,
        PACKAGE_FILE: MODEL.package.to_json().encode(),
        large: b"0123456789" * 299_999 + b"012345678!",
    }
    contents = registry.contents(server.register(files, tmp_path, model="verified"))
    for file in MODEL.package.files:
        passed: list[bytes] = []
        assert contents.is_whole(file, passed.append) is (file.path != large)
        assert flat(passed) == files[file.path]


def test_what_is_read_whole_has_a_limit(
    server: Server, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = {**MODEL.files, PACKAGE_FILE: MODEL.package.to_json().encode()}
    version = server.register({**listed, "MLmodel": b"#" * 5000}, tmp_path, model="limited")
    for path, limit in {PACKAGE_FILE: 100, "MLmodel": 4999, "config.pbtxt": 10, "smoke.json": 20}.items():
        monkeypatch.setitem(MAX_BYTES, path, limit)
    with pytest.raises(Rejected, match=r"package\.json of limited 1 has more than 100 bytes"):
        registry.package(version)
    with pytest.raises(Rejected, match="MLmodel of limited 1 has more than 4999 bytes"):
        registry.signature(version)
    monkeypatch.setitem(MAX_BYTES, PACKAGE_FILE, 2**20)
    contents = registry.contents(version)
    with pytest.raises(Rejected, match=r"config.pbtxt has 41 bytes, more than 10"):
        contents.read("config.pbtxt")
    with pytest.raises(Rejected, match=r"smoke.json has [0-9]+ bytes, more than 20"):
        contents.read("smoke.json")


def test_a_server_that_sends_more_than_is_listed_is_not_listened_to() -> None:
    taken = 0

    def endless(_: str) -> Generator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(2**18)

    contents = PackageContents(MODEL.package, endless, "MLflow")
    with pytest.raises(OtherBytes):
        contents.read("config.pbtxt")
    assert taken == 1
    assert not contents.is_whole(MODEL.package.version_files[-1], len)
    assert taken <= 14, "3,000,000 bytes are twelve chunks"


BESIDE = Contents({"model.onnx": b"m", TENSORS_FILE: TENSORS}, smoke=SMOKE_BESIDE)


def test_large_tensors_of_golden_cases_are_fetched_once_and_only_when_somebody_looks() -> None:
    asked: list[str] = []

    def stream(path: str) -> Generator[bytes]:
        asked.append(path)
        yield from chunks(BESIDE.files[path])

    (case,) = PackageContents(BESIDE.package, stream, "MLflow").smoke().cases
    assert asked == ["smoke.json"] and case.size == 12
    assert list(case.outputs[0].data) == [9, 10, 11, 12]
    assert list(case.inputs[0].data) == [1, 2, 3, 4, 5, 6, 7, 8] == list(case.inputs[0].data)
    assert asked == ["smoke.json", TENSORS_FILE]


@pytest.mark.parametrize("content", [TENSORS[::-1], TENSORS[:-1], b"", bytes(2**21)])
def test_tensors_that_are_not_what_the_package_lists_are_never_returned(content: bytes) -> None:
    files = {**BESIDE.files, TENSORS_FILE: content}
    (case,) = PackageContents(BESIDE.package, lambda path: chunks(files[path]), "MLflow").smoke().cases
    with pytest.raises(OtherBytes, match=r"MLflow: smoke.tensors is not what the package says"):
        list(case.inputs[0].data)


def test_tensors_larger_than_a_package_may_have_are_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MAX_BYTES, TENSORS_FILE, 11)
    asked: list[str] = []

    def stream(path: str) -> Generator[bytes]:
        asked.append(path)
        yield from chunks(BESIDE.files[path])

    (case,) = PackageContents(BESIDE.package, stream, "MLflow").smoke().cases
    with pytest.raises(Rejected, match=r"smoke.tensors has 12 bytes, more than 11"):
        list(case.inputs[0].data)
    assert asked == ["smoke.json"]


# --- waiting ------------------------------------------------------------------------------------------------------


def test_a_version_that_becomes_ready_while_it_is_waited_for(
    server: Server, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = server.register({"a.txt": b"a"}, tmp_path, model="waited")
    server.set_status(version, "PENDING_REGISTRATION")
    looked, look = [], registry.version

    def seen(model: str, number: int) -> RegisteredVersion:
        looked.append(look(model, number))
        if len(looked) == 2:
            server.set_status(version, "READY")
        return looked[-1]

    monkeypatch.setattr(registry, "version", seen)
    assert registry.wait_ready("waited", version.version, timeout_seconds=300).status == "READY"
    assert [one.status for one in looked] == ["PENDING_REGISTRATION", "PENDING_REGISTRATION", "READY"]


def test_a_version_that_stays_pending_is_returned_at_the_deadline(
    server: Server, registry: Registry, tmp_path: Path, clock: Clock
) -> None:
    version = server.register({"a.txt": b"a"}, tmp_path, model="waited")
    server.set_status(version, "PENDING_REGISTRATION", "copying")
    found = registry.wait_ready("waited", version.version, timeout_seconds=1)
    assert (found.status, found.status_message) == ("PENDING_REGISTRATION", "copying")
    assert clock.seconds == pytest.approx(1)


def test_a_registration_that_failed_ends_the_wait_at_once(
    server: Server, registry: Registry, tmp_path: Path, clock: Clock
) -> None:
    version = server.register({"a.txt": b"a"}, tmp_path, model="waited")
    server.set_status(version, "FAILED_REGISTRATION", "no space")
    found = registry.wait_ready("waited", version.version, timeout_seconds=200)
    assert (found.status, found.status_message) == ("FAILED_REGISTRATION", "no space")
    assert clock.pauses == []


# --- what is not as it should be -----------------------------------------------------------------------------------


def test_what_is_not_there_is_rejected(registry: Registry, churn: RegisteredVersion) -> None:
    with pytest.raises(NotRegistered, match=r"there is no version 4711 of churn; the newest are \d") as absent:
        registry.version("churn", 4711)
    assert absent.value.versions[-1] == 1 and absent.value.next_step == f"Did you mean {absent.value.versions[0]}?"
    with pytest.raises(Rejected, match="no version of nobody is registered"):
        registry.wait_ready("nobody", 1, timeout_seconds=30)
    with pytest.raises(Rejected, match=r"nothing\.txt of churn 1"):
        whole(registry, churn, "nothing.txt")


def test_who_has_a_digest_or_a_run_is_found_in_whatever_model(server: Server, registry: Registry) -> None:
    client, digest = server.client(), "sha256:" + "7" * 64
    runs = [client.create_run("0").info.run_id for _ in range(2)]
    for model, run in (("one", runs[0]), ("two", runs[0]), ("two", runs[1])):
        with suppress(MlflowException):
            client.create_registered_model(model)
        client.create_model_version(model, "s3://nowhere/one", run, tags={"promobot.digest": digest})
    assert sorted(registry.registered_with(digest=digest)) == [("one", 1), ("two", 1), ("two", 2)]
    assert registry.registered_with(digest=digest)[0] == ("two", 2), "the newest first"
    assert registry.registered_with(run=runs[1]) == [("two", 2)]
    assert registry.registered_with(digest="sha256:" + "8" * 64) == [] == registry.registered_with(run="0" * 32)


def test_a_version_without_a_package_is_rejected(server: Server, registry: Registry, tmp_path: Path) -> None:
    version = server.register({"a.txt": b"a"}, tmp_path, model="unpacked")
    with pytest.raises(Rejected, match="unpacked 1 has no package"):
        registry.package(version)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b'{"format": 1, "digest": "sha256:0", "files": []}'])
def test_a_package_that_cannot_be_read_is_rejected(
    server: Server, registry: Registry, tmp_path: Path, text: bytes
) -> None:
    version = server.register({PACKAGE_FILE: text}, tmp_path, model="unpacked")
    with pytest.raises(Rejected, match=r"package\.json of unpacked") as failure:
        registry.package(version)
    assert "bot.training.register" in failure.value.next_step


def test_a_version_whose_run_is_gone_from_the_store(server: Server, registry: Registry, tmp_path: Path) -> None:
    version = server.register({"a.txt": b"a"}, tmp_path, model="orphan")
    orphan = replace(version, source=f"runs:/{'0' * 32}/model")
    for act in (lambda: registry.files(orphan), lambda: whole(registry, orphan, "a.txt")):
        with pytest.raises(Rejected, match="of orphan 1"):
            act()


@pytest.mark.parametrize("source", ["nonsense://x/y", "models:/nobody/1", "models:/orphan/4711"])
def test_a_source_that_leads_nowhere_is_rejected(registry: Registry, source: str) -> None:
    version = RegisteredVersion("nobody", 1, "READY", "", "", source, Measured(), {}, {}, "")
    for act in (lambda: registry.files(version), lambda: whole(registry, version, "a.txt")):
        with pytest.raises(Rejected, match="of nobody 1"):
            act()


def test_an_artifact_that_was_changed_after_it_was_registered_is_not_published(
    server: Server, registry: Registry, tmp_path: Path
) -> None:
    """MLflow lets anybody overwrite the artifacts of a version, and nothing changes on the version."""
    files = {**MODEL.files, PACKAGE_FILE: MODEL.package.to_json().encode()}
    version = server.register(files, tmp_path, model="changed")
    other = tmp_path / "other" / "model.onnx"
    other.parent.mkdir()
    other.write_bytes(b"THE MODEL")
    server.client().log_artifact(version.run, str(other), "model")
    assert registry.version("changed", version.version).status == "READY"

    share = share_at(tmp_path / "share")
    with pytest.raises(Rejected, match=r"model\.onnx is not what the package says") as failure:
        share.models.publish(
            registry.package(version),
            partial(registry.unverified_chunks, version),
            triton_model="changed",
            version=1,
        )
    assert "changed the artifact after it was registered" in failure.value.next_step
    assert share.models.versions("changed") == []


# --- a server that is not well -------------------------------------------------------------------------------------

OF_A_STAND_IN = RegisteredVersion(
    "churn", 1, "READY", "", "", "mlflow-artifacts:/1/run/artifacts/model", Measured(), {}, {}, ""
)
CALLS: dict[str, Callable[[Registry], object]] = {
    "version": lambda registry: registry.version("churn", 1),
    "wait_ready": lambda registry: registry.wait_ready("churn", 1, timeout_seconds=1),
    "package": lambda registry: registry.package(OF_A_STAND_IN),
    "files": lambda registry: registry.files(OF_A_STAND_IN),
    "read": lambda registry: whole(registry, OF_A_STAND_IN, "a.txt"),
    "signature": lambda registry: registry.signature(OF_A_STAND_IN),
    "alias": lambda registry: registry.alias("churn", "dev"),
    "set_alias": lambda registry: Aliases(registry, nobody_else_writes).point("churn", "dev", 1),
    "ping": lambda registry: registry.ping(),
}


def at_once(registry: Registry, *calls: str) -> list[BaseException | None]:
    """Make the calls one after the other and return what each raised."""
    raised: list[BaseException | None] = []
    for call in calls:
        try:
            CALLS[call](registry)
            raised.append(None)
        except Exception as error:  # noqa: BLE001 - the test looks at each
            raised.append(error)
    return raised


@pytest.fixture
def quick() -> Iterator[None]:
    """No pauses between attempts, for tests that are about what is said in the end."""
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


def test_every_call_says_that_the_server_is_down(closed_port: int, quick: None, downloads: Path) -> None:
    gone = registry_of(MLflow(uri=f"http://127.0.0.1:{closed_port}"), request_seconds=1)
    raised = at_once(gone, *CALLS)
    assert [type(error) for error in raised] == [Unavailable] * len(CALLS)
    assert f"MLflow (http://127.0.0.1:{closed_port}): could not read churn 1: " in str(raised[0])
    assert list(downloads.iterdir()) == []


def test_a_server_that_hangs_is_unavailable_in_time(stand_in: StandIn) -> None:
    stuck = registry_of(MLflow(uri=stand_in.url), request_seconds=1, download_seconds=1)
    with pytest.raises(Unavailable, match="no answer in time"):
        stuck.version("churn", 1)
    assert not stand_in.outwaited
    assert len(stand_in.seen) == 1, "who took the whole deadline was waited for long enough"


@pytest.mark.parametrize("status", [429, 503, *(pytest.param(n, marks=pytest.mark.slow) for n in (500, 502, 504))])
def test_a_fault_is_unavailable_from_every_call(stand_in: StandIn, quick: None, status: int) -> None:
    stand_in.answers(status, b"<html>sorry</html>")
    faulty = registry_of(MLflow(uri=stand_in.url), request_seconds=1)
    assert [type(error) for error in at_once(faulty, *CALLS)] == [Unavailable] * len(CALLS)


def test_a_fault_in_mlflows_own_words_is_unavailable(stand_in: StandIn, quick: None) -> None:
    stand_in.answers(500, {"error_code": "INTERNAL_ERROR", "message": "database is locked"})
    with pytest.raises(Unavailable):
        registry_of(MLflow(uri=stand_in.url)).version("churn", 1)


def test_nobody_is_waited_for_an_hour_because_a_server_asks_for_it(
    stand_in: StandIn, quick: None, clock: Clock
) -> None:
    stand_in.answers(503, headers={"Retry-After": "3600"})
    with pytest.raises(Unavailable):
        registry_of(MLflow(uri=stand_in.url)).version("churn", 1)
    assert clock.pauses == [] and len(stand_in.seen) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_is_rejected_without_another_try(stand_in: StandIn, status: int) -> None:
    stand_in.answers(status, b"<html>who are you?</html>")
    with pytest.raises(Rejected, match=str(status)):
        registry_of(MLflow(uri=stand_in.url)).version("churn", 1)
    with pytest.raises(Rejected, match=str(status)):
        whole(registry_of(MLflow(uri=stand_in.url)), OF_A_STAND_IN, "a.txt")
    assert len(stand_in.seen) == 2


def test_a_download_that_breaks_off_for_good_is_unavailable_and_nothing_is_published(
    stand_in: StandIn, quick: None, downloads: Path, tmp_path: Path
) -> None:
    content = MODEL.files["weights/part.data"]
    stand_in.answers(200, content[:1_500_000], length=len(content))
    broken = registry_of(MLflow(uri=stand_in.url), request_seconds=1)
    got = bytearray()
    with pytest.raises(Unavailable, match=r"download weights/part\.data of churn 1"):
        for chunk in broken.unverified_chunks(OF_A_STAND_IN, "weights/part.data"):
            got += chunk
    assert got == content[: len(got)], "what was given is what is there, from its beginning"
    assert list(downloads.iterdir()) == []

    share, only = share_at(tmp_path / "share"), Contents({"weights/part.data": content})
    with pytest.raises(Unavailable):
        share.models.publish(
            only.package, partial(broken.unverified_chunks, OF_A_STAND_IN), triton_model="churn", version=1
        )
    assert share.models.versions("churn") == []
    assert list((share.state / "staging").iterdir()) == []


@pytest.mark.parametrize("honours", [True, False])
def test_what_breaks_off_goes_on_from_there(stand_in: StandIn, honours: bool) -> None:
    """Also where the server sends everything again, whatever it was asked for."""
    content = MODEL.files["weights/part.data"]

    def behave(seen: Seen) -> bytes:
        start = int(seen.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        first = len(stand_in.seen) == 1
        if first:
            return answer(200, content[:1_500_000], length=len(content))
        return answer(206, content[start:]) if honours else answer(200, content)

    stand_in.behaviour = behave
    got = b"".join(registry_of(MLflow(uri=stand_in.url)).unverified_chunks(OF_A_STAND_IN, "weights/part.data"))

    assert got == content
    first, second = stand_in.seen
    assert "range" not in first.headers
    assert int(second.headers["range"].removeprefix("bytes=").removesuffix("-")) > 1_000_000


def test_a_download_may_begin_later_than_other_answers(stand_in: StandIn) -> None:
    """A server in front of an object store fetches a whole file before it sends the first byte."""
    late = threading.Event()

    def behave(_: Seen) -> bytes:
        late.wait(1.5)
        return answer(200, b"content")

    stand_in.behaviour = behave
    patient = registry_of(MLflow(uri=stand_in.url), request_seconds=1, download_seconds=20)
    assert whole(patient, OF_A_STAND_IN, "a.txt") == b"content"
    assert [seen.path for seen in stand_in.seen] == [
        "/api/2.0/mlflow-artifacts/artifacts/1/run/artifacts/model/a.txt"
    ], "and nobody is sent elsewhere for it"


@pytest.mark.parametrize("source", ["file://{}", "{}"])
def test_artifacts_in_a_folder_of_this_machine(
    registry: Registry, churn: RegisteredVersion, tmp_path: Path, source: str
) -> None:
    folder = tmp_path / "artifacts of churn"
    for path, content in {**MODEL.files, "a/b.txt": b"b"}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    local = replace(churn, source=source.format(quote(str(folder))))
    assert registry.files(local) == sorted([*MODEL.files, "a/b.txt"])
    content = MODEL.files["weights/part.data"]
    assert b"".join(registry.unverified_chunks(local, "weights/part.data", 1_000_000)) == content[1_000_000:]
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    for path in ("nothing", "a", "a/b.txt/c", "../secret", "link"):
        with pytest.raises(Rejected, match=r"could not download .* of churn 1: .*(is not there|leads out of)"):
            whole(registry, local, path)
    with pytest.raises(Rejected, match=r"could not list the artifacts of churn 1: .* is not there"):
        registry.files(replace(churn, source=f"{local.source}/nowhere"))


@pytest.fixture
def ftp(tmp_path: Path) -> Iterator[FtpServer]:
    folder = tmp_path / "ftp"
    (folder / "churn" / "weights").mkdir(parents=True)
    (folder / "churn" / "weights" / "part.data").write_bytes(MODEL.files["weights/part.data"])
    (folder / "churn" / "a.txt").write_bytes(b"a")
    with FtpServer(folder) as running:
        yield running


def test_a_store_that_only_the_sdk_knows_is_read_as_whole_files(
    registry: Registry, churn: RegisteredVersion, ftp: FtpServer, quick: None, downloads: Path
) -> None:
    stored = replace(churn, source=f"{ftp.url}/churn")
    assert registry.files(stored) == ["a.txt", "weights/part.data"]
    content = MODEL.files["weights/part.data"]
    assert b"".join(registry.unverified_chunks(stored, "weights/part.data", 1_000_000)) == content[1_000_000:]
    assert ftp.commands.count("RETR /churn/weights/part.data") == 1
    with pytest.raises(Rejected, match="could not download nothing of churn 1: nothing is not there"):
        whole(registry, stored, "nothing")
    ftp.broken.add("a.txt")
    with pytest.raises(Unavailable, match=r"could not download a\.txt of churn 1: .*it broke off") as failure:
        whole(registry, stored, "a.txt")
    assert "password" not in str(failure.value)
    assert ftp.commands.count("RETR /churn/a.txt") == 3, "it was asked again"
    assert list(downloads.iterdir()) == []


def test_a_full_disk_on_the_way_from_such_a_store_is_unavailable(
    registry: Registry,
    churn: RegisteredVersion,
    ftp: FtpServer,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
    small_disk: Path,
) -> None:
    stored = replace(churn, source=f"{ftp.url}/churn")
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    with pytest.raises(Unavailable, match=r"download weights/part\.data of churn 1: .*No space left on device"):
        whole(registry, stored, "weights/part.data")
    assert list(small_disk.iterdir()) == []
    monkeypatch.setattr("tempfile.tempdir", str(small_disk / "nowhere"))
    with pytest.raises(Unavailable, match=r"download weights/part\.data of churn 1"):
        whole(registry, stored, "weights/part.data")


def test_a_store_that_is_away_is_unavailable(
    registry: Registry, churn: RegisteredVersion, closed_port: int, quick: None
) -> None:
    away = replace(churn, source=f"ftp://127.0.0.1:{closed_port}/churn")
    for act in (lambda: registry.files(away), lambda: whole(registry, away, "a.txt")):
        with pytest.raises(Unavailable, match=r"of churn 1: .*Connection refused"):
            act()


def test_only_such_a_store_needs_the_sdk(server: Server, churn: RegisteredVersion, ftp: FtpServer) -> None:
    """In processes in which MLflow's SDK, boto and whatever else they import cannot be imported."""
    script = """
import sys
sys.modules.update(dict.fromkeys(("mlflow", "boto3", "botocore")))
from bot.credentials import Credentials
from bot.errors import Rejected
from bot.settings import MLflow
from bot.systems.mlflow import Registry
from dataclasses import replace
registry = Registry(MLflow(uri=sys.argv[1]), Credentials({}))
churn = registry.version("churn", 1)
print(registry.package(churn).digest, registry.signature(churn) is not None, registry.alias("churn", "none"))
try:
    registry.files(replace(churn, source=sys.argv[2]))
except Rejected as error:
    print(error)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script, server.uri, f"{ftp.url}/churn"], capture_output=True, text=True, check=True
    )
    answers, refusal = ended.stdout.splitlines()
    assert answers == f"{MODEL.package.digest} True None"
    assert "ftp:// is read by MLflow's SDK, which is not installed here" in refusal
    assert "pip install 'promobot[stores]'" in refusal


def test_the_token_is_sent_and_never_shown(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_MLFLOW_TOKEN", "canary-4711")
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN", raising=False)
    stand_in.answers(401, {"error_code": "UNAUTHENTICATED", "message": "no"})
    with pytest.raises(Rejected) as failure:
        registry_of(MLflow(uri=stand_in.url, token_env="OUR_MLFLOW_TOKEN")).version("churn", 1)
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN", raising=False)
    assert stand_in.seen[0].headers["authorization"] == "Bearer canary-4711"
    assert "canary" not in str(failure.value) + repr(failure.value.__cause__)


def test_the_patience_of_who_calls_us_stays_as_it_was(registry: Registry, churn: RegisteredVersion) -> None:
    before = dict(os.environ)
    registry.version("churn", 1)
    hashlib.sha256(whole(registry, churn, "model.onnx"))
    assert dict(os.environ) == before


# --- who receives what ---------------------------------------------------------------------------------------------

VERSION = {
    "name": "churn",
    "version": "1",
    "status": "READY",
    "run_id": "1" * 32,
    "source": "mlflow-artifacts:/1/run/artifacts/model",
}


def as_mlflow(seen: Seen) -> bytes:
    """Answer as far as a version, its run and its alias are asked for."""
    run = {"info": {"artifact_uri": "mlflow-artifacts:/1/run/artifacts"}, "data": {}}
    return answer(200, {"model_version": VERSION, "run": run, "files": [], "model_versions": [VERSION]})


@pytest.fixture
def other() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


def everything(registry: Registry) -> None:
    """Ask every kind of question."""
    for call in CALLS.values():
        with suppress(Rejected):
            call(registry)


def sent(server: StandIn) -> set[str]:
    return {seen.headers.get("authorization", "") for seen in server.seen}


@pytest.mark.parametrize("dev_first", [True, False])
def test_each_environment_sends_its_own_credentials(
    stand_in: StandIn, other: StandIn, monkeypatch: pytest.MonkeyPatch, dev_first: bool
) -> None:
    """Also where both are open in one process, in either order, and the other one has none at all."""
    for name in ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DEV_TOKEN", "canary-of-dev")
    stand_in.behaviour = other.behaviour = as_mlflow
    makes = [
        lambda: registry_of(MLflow(uri=stand_in.url, token_env="DEV_TOKEN")),
        lambda: registry_of(MLflow(uri=other.url)),
    ]
    before = dict(os.environ)
    for registry in [make() for make in (makes if dev_first else makes[::-1])]:
        everything(registry)
    assert sent(stand_in) == {"Bearer canary-of-dev"} and len(stand_in.seen) > len(CALLS)
    assert sent(other) == {""} and len(other.seen) > len(CALLS)
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ({"token_env": "OURS"}, "Bearer ours"),
        ({"username_env": "NAME", "password_env": "OURS"}, "Basic bmFtZTpvdXJz"),
        ({}, "Basic dGhlaXJzOnRoZWlycw=="),
    ],
)
def test_what_the_environment_file_names_wins(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], header: str
) -> None:
    for name, value in {"OURS": "ours", "NAME": "name", "MLFLOW_TRACKING_TOKEN": "theirs"}.items():
        monkeypatch.setenv(name, value)
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "theirs")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    stand_in.behaviour = as_mlflow
    registry_of(MLflow(uri=stand_in.url, **settings)).ping()
    assert sent(stand_in) == {header}


def test_the_credentials_of_the_training_job_are_for_its_own_server(
    stand_in: StandIn, other: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{stand_in.url}/")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "theirs")
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    stand_in.behaviour = other.behaviour = as_mlflow
    registry_of(MLflow(uri=stand_in.url)).ping()
    registry_of(MLflow(uri=other.url)).ping()
    assert (sent(stand_in), sent(other)) == ({"Bearer theirs"}, {""})


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_nothing_follows_a_redirect(
    stand_in: StandIn, other: StandIn, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("OURS", "canary")
    other.behaviour = as_mlflow
    stand_in.answers(status, headers={"Location": f"{other.url}/elsewhere?ticket=canary"})
    registry = registry_of(MLflow(uri=stand_in.url, token_env="OURS"))
    for call in CALLS.values():
        with pytest.raises(Rejected, match=f"HTTP {status} {other.url}/elsewhere") as failure:
            call(registry)
        assert "canary" not in str(failure.value)
    assert "mlflow.uri" in failure.value.next_step or "bot.training" in failure.value.next_step
    assert other.seen == []


def test_a_404_that_is_not_mlflows_is_not_taken_for_an_alias_that_is_not_set(stand_in: StandIn) -> None:
    stand_in.answers(404)
    with pytest.raises(Rejected, match="could not read the alias dev of churn"):
        registry_of(MLflow(uri=stand_in.url)).alias("churn", "dev")


@pytest.mark.parametrize("source", ["mlflow-artifacts://{host}/1/a", "http://{host}/a", "{url}/api/2.0/x", "dbfs:/a"])
def test_a_version_cannot_send_the_bot_to_another_host(
    stand_in: StandIn, other: StandIn, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Who may register a version chooses its source, and MLflow's own client would send its token there."""
    monkeypatch.setenv("OURS", "canary")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "canary")
    other.answers(404)
    elsewhere = source.format(host=f"127.0.0.1:{other.port}", url=other.url)
    version = replace(OF_A_STAND_IN, source=elsewhere)
    registry = registry_of(MLflow(uri=stand_in.url, token_env="OURS"))
    for act in (lambda: registry.files(version), lambda: whole(registry, version, "a.txt")):
        with pytest.raises(Rejected, match="is not this MLflow server") as failure:
            act()
    assert "mlflow.artifacts" in failure.value.next_step
    assert other.seen == stand_in.seen == []


def test_another_server_of_artifacts_is_named_in_the_settings(
    stand_in: StandIn, other: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "ours")
    other.answers(200, b"content")
    registry = registry_of(MLflow(uri=stand_in.url, artifacts=other.url, token_env="OURS"))
    for source in (f"mlflow-artifacts://127.0.0.1:{other.port}/1/model", "mlflow-artifacts:/1/model"):
        assert whole(registry, replace(OF_A_STAND_IN, source=source), "a.txt") == b"content"
    assert sent(other) == {"Bearer ours"} and stand_in.seen == []


def test_a_name_with_signs_of_addresses_is_asked_for_as_it_is(stand_in: StandIn) -> None:
    stand_in.answers(200, b"content")
    whole(registry_of(MLflow(uri=stand_in.url)), OF_A_STAND_IN, "a#b?c%20d.txt")
    assert stand_in.seen[0].path.endswith("/artifacts/model/a%23b%3Fc%2520d.txt")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "", "..", "a/b"])
def test_a_folder_lists_names_only(stand_in: StandIn, name: str) -> None:
    stand_in.answers(200, {"files": [{"path": name, "is_dir": True}]})
    with pytest.raises(Rejected, match="is not the name of a file"):
        registry_of(MLflow(uri=stand_in.url)).files(OF_A_STAND_IN)


@pytest.mark.parametrize("body", [b"<html>log in</html>", [], {}, {"model_version": {"version": "x"}}])
def test_another_server_than_mlflow_is_rejected(stand_in: StandIn, body: object) -> None:
    stand_in.answers(200, body)
    with pytest.raises(Rejected, match="MLflow does not answer like this") as failure:
        registry_of(MLflow(uri=stand_in.url)).version("churn", 1)
    assert failure.value.next_step == "Check mlflow.uri."


def test_the_files_of_a_run_are_read_by_its_address(server: Server, registry: Registry, tmp_path: Path) -> None:
    client = server.client()
    run = client.create_run("0").info.run_id
    content = bytes(range(256)) * 5000
    (tmp_path / "rows.parquet").write_bytes(content)
    client.log_artifacts(run, str(tmp_path), "data/evaluation-1")

    chunks = list(registry.unverified_of_run(f"runs:/{run}/data/evaluation-1", "rows.parquet"))
    assert b"".join(chunks) == content and len(chunks) > 1
    with pytest.raises(Rejected, match=f"could not download nothing of runs:/{run}/data"):
        list(registry.unverified_of_run(f"runs:/{run}/data", "nothing"))
    with pytest.raises(Rejected, match="could not download x of runs:/0123/x"):
        list(registry.unverified_of_run("runs:/0123/x", "x"))
