"""Registering, against a real MLflow server."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bot.domain.package import MLFLOW_FILES, PACKAGE_FILE, Package
from bot.domain.signature import Signature, TensorSpec, as_in_mlflow, differences
from bot.domain.smoke import SmokeCase, SmokeCases, Tensor
from bot.errors import InvalidInput, Refused, Rejected, Unavailable
from bot.sandbox.processes import Ports
from bot.sandbox.reference import RECIPES, Trained, main, register_recipe, train
from bot.settings import MLflow
from bot.training import Registration, end_run, register, start_run
from bot.training.package import hash_file
from tests.stores import registry_of

NAMES = (f"trained-{number}" for number in count(1))


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(RECIPES["better"])


@pytest.fixture(scope="module")
def package(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("package")
    trained.package(directory)
    return directory


@pytest.fixture
def model() -> str:
    """A name that no other test registers anything under."""
    return next(NAMES)


@pytest.fixture
def mlflow(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    import mlflow

    # Not set_tracking_uri: it holds for the whole process and cannot be taken back.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    return mlflow


@pytest.fixture
def client(mlflow: Any) -> Any:
    return mlflow.MlflowClient()


def versions(client: Any, model: str) -> list[int]:
    return sorted(int(version.version) for version in client.search_model_versions(f"name = '{model}'"))


def runs(client: Any, model: str) -> list[Any]:
    experiment = client.get_experiment_by_name(model)
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def test_what_was_registered_is_what_was_packaged(
    client: Any, mlflow_uri: str, model: str, package: Path, tmp_path: Path
) -> None:
    told = {"depth": 3, "features": "all"}
    registration = register(
        package, model=model, metrics={"accuracy": 0.97}, params=told, tracking_uri=mlflow_uri, commit="c0ffee"
    )

    local = Package.from_json(package.joinpath(PACKAGE_FILE).read_bytes())
    assert registration == Registration(model, 1, registration.run, local.digest, created=True)
    version = client.get_model_version(model, "1")
    assert (version.status, version.run_id) == ("READY", registration.run)
    assert version.tags == {
        "promobot.digest": local.digest,
        "promobot.metrics": '{"accuracy": 0.97}',
        "mlflow.source.git.commit": "c0ffee",
    }
    run = client.get_run(registration.run)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"accuracy": 0.97})
    assert run.data.params == {"depth": "3", "features": "all"}
    assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"

    place = version.source.removeprefix(run.info.artifact_uri).strip("/")
    there = {Path(file.path).name for file in client.list_artifacts(registration.run, place)}
    ours = {file.path for file in local.files} | {PACKAGE_FILE}
    assert ours <= there
    assert there - ours == {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"}
    assert there - ours <= MLFLOW_FILES

    downloaded = Path(client.download_artifacts(registration.run, place, str(tmp_path)))
    hashed = Package.of(hash_file(downloaded, name) for name in there - MLFLOW_FILES - {PACKAGE_FILE})
    assert hashed.digest == registration.digest


def test_mlflow_loads_the_version_both_ways_and_gives_the_frameworks_answers(
    mlflow: Any, mlflow_uri: str, model: str, package: Path, trained: Trained
) -> None:
    import mlflow.onnx
    import mlflow.pyfunc

    register(package, model=model, metrics={}, tracking_uri=mlflow_uri)

    graph = mlflow.onnx.load_model(f"models:/{model}/1")
    assert graph.SerializeToString(deterministic=True) == package.joinpath("model.onnx").read_bytes()
    loaded = mlflow.pyfunc.load_model(f"models:/{model}/1")
    answer = loaded.predict({"X": trained.samples})
    assert answer["label"].tolist() == trained.labels.tolist()
    np.testing.assert_allclose(answer["probabilities"], trained.probabilities, rtol=1e-4, atol=1e-5)
    [given] = loaded.metadata.signature.inputs.inputs
    assert (given.name, given.type, given.shape) == ("X", np.dtype("float32"), (-1, 30))
    label, probabilities = loaded.metadata.signature.outputs.inputs
    assert (label.name, label.type, label.shape) == ("label", np.dtype("int64"), (-1,))
    assert (probabilities.name, probabilities.type, probabilities.shape) == (
        "probabilities",
        np.dtype("float32"),
        (-1, 2),
    )


def test_the_same_key_is_the_same_version(client: Any, mlflow_uri: str, model: str, package: Path) -> None:
    key = 'manual__2026-01-01T00:00:00+00:00 "it\'s"'
    first = register(package, model=model, metrics={"accuracy": 0.9}, key=key, tracking_uri=mlflow_uri)
    again = register(package, model=model, metrics={"accuracy": 0.5}, key=key, tracking_uri=mlflow_uri)
    other = register(package, model=model, metrics={"accuracy": 0.9}, key="another", tracking_uri=mlflow_uri)

    assert again == Registration(model, 1, first.run, first.digest, created=False)
    assert (other.version, other.created) == (2, True)
    assert versions(client, model) == [1, 2]
    assert {run.info.run_id: run.data.metrics["accuracy"] for run in runs(client, model)} == {
        first.run: 0.9,
        other.run: 0.9,
    }


def test_two_tasks_with_one_key_at_once_leave_one_version(
    client: Any, mlflow_uri: str, model: str, package: Path
) -> None:
    def task(_: int) -> Registration:
        return register(package, model=model, metrics={}, key="same", tracking_uri=mlflow_uri)

    with ThreadPoolExecutor(4) as pool:
        registered = list(pool.map(task, range(4)))

    assert {(one.version, one.run) for one in registered} == {(registered[0].version, registered[0].run)}
    assert versions(client, model) == [registered[0].version]
    assert sum(one.created for one in registered) == 1


def test_without_a_key_each_call_is_a_version(client: Any, mlflow_uri: str, model: str, package: Path) -> None:
    for number in (1, 2):
        assert register(package, model=model, metrics={}, tracking_uri=mlflow_uri).version == number
    assert versions(client, model) == [1, 2]


def test_a_run_of_the_caller_stays_open(client: Any, mlflow: Any, model: str, package: Path) -> None:
    mlflow.set_experiment(model)
    with mlflow.start_run() as run:
        mlflow.log_metric("epochs", 3)
        registration = register(package, model=model, metrics={"accuracy": 0.9}, run=run.info.run_id)
        assert client.get_run(run.info.run_id).info.status == "RUNNING"

    assert registration.run == run.info.run_id
    assert client.get_run(run.info.run_id).data.metrics == {"epochs": 3, "accuracy": 0.9}
    assert len(runs(client, model)) == 1


def test_what_it_was_told_is_judged_whatever_the_run_logged_before_or_logs_later(
    client: Any, mlflow_uri: str, mlflow: Any, model: str, package: Path
) -> None:
    mlflow.set_experiment(model)
    with mlflow.start_run() as run:
        for step, accuracy in enumerate((0.6, 0.8, 0.95)):
            mlflow.log_metric("accuracy", accuracy, step=step)
        mlflow.log_metric("f1", 0.7, step=2)
        run_id = run.info.run_id
        told = {"package": package, "model": model, "run": run_id, "tracking_uri": mlflow_uri, "key": "today"}
        registration = register(metrics={"accuracy": 0.41}, **told)
        mlflow.log_metric("accuracy", 0.99, step=9)
        assert register(metrics={"accuracy": 0.97}, **told) == replace(registration, created=False)
    assert client.get_run(run_id).data.metrics["accuracy"] == 0.99

    found = registry_of(MLflow(uri=mlflow_uri)).version(model, registration.version).metrics
    assert dict(found.values) == {"accuracy": 0.41, "f1": 0.7}
    assert (found.origins["accuracy"].kind, found.origins["f1"].kind, found.origins["f1"].step) == (
        "register",
        "run",
        2,
    )
    # A version of an earlier promobot was told the same and has no such tag.
    client.delete_model_version_tag(model, str(registration.version), "promobot.metrics")
    earlier = registry_of(MLflow(uri=mlflow_uri)).version(model, registration.version).metrics
    assert dict(earlier.values) == {"accuracy": 0.99, "f1": 0.7}


def test_a_run_stands_for_one_package(
    client: Any, mlflow: Any, mlflow_uri: str, model: str, package: Path, tmp_path: Path
) -> None:
    train(RECIPES["weak"]).package(tmp_path)
    first = register(package, model=model, metrics={"accuracy": 0.97}, tracking_uri=mlflow_uri)
    with pytest.raises(Refused, match=f"run {first.run} has the metrics of version 1 of {model}"):
        register(tmp_path, model=model, metrics={"accuracy": 0.87}, tracking_uri=mlflow_uri, run=first.run)
    assert client.get_run(first.run).data.metrics == {"accuracy": 0.97}
    assert versions(client, model) == [1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), np.float32("nan"), "good", None])
def test_a_metric_that_is_no_finite_number_is_refused_before_anything_happens(
    client: Any, mlflow_uri: str, model: str, package: Path, value: Any
) -> None:
    with pytest.raises(InvalidInput, match=r"^metrics: f1: is (not a number: |nan|-?inf)"):
        register(package, model=model, metrics={"accuracy": 0.9, "f1": value}, tracking_uri=mlflow_uri)
    assert client.search_registered_models(f"name = '{model}'") == []
    assert runs(client, model) == []


@pytest.mark.parametrize("name", ["../churn", "a:b", "..", " churn", ""])
def test_a_name_that_mlflow_does_not_take_is_refused(mlflow_uri: str, package: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        register(package, model=name, metrics={}, tracking_uri=mlflow_uri)


def test_a_package_that_was_touched_is_not_registered(
    client: Any, mlflow_uri: str, model: str, trained: Trained, tmp_path: Path
) -> None:
    trained.package(tmp_path)
    tmp_path.joinpath("smoke.json").write_text("{}")
    with pytest.raises(InvalidInput, match=r"smoke\.json: is not what package\.json lists"):
        register(tmp_path, model=model, metrics={}, tracking_uri=mlflow_uri)
    assert client.search_registered_models(f"name = '{model}'") == []


def test_what_mlflow_refuses_ends_the_run_as_failed(client: Any, mlflow_uri: str, model: str, package: Path) -> None:
    with pytest.raises(Rejected, match=r"MLflow: .*depth\?"):
        register(package, model=model, metrics={}, params={"depth?": 3}, tracking_uri=mlflow_uri)
    assert [run.info.status for run in runs(client, model)] == ["FAILED"]
    assert versions(client, model) == []


def test_an_mlflow_that_is_away_is_worth_trying_again(
    package: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Unavailable, match="MLflow: "):
        register(package, model=model, metrics={}, tracking_uri=f"http://127.0.0.1:{Ports().take()}")


def test_a_recipe_is_registered_with_what_was_measured(client: Any, mlflow_uri: str, model: str) -> None:
    registration = register_recipe("first", mlflow_uri, model, key="story")
    run = client.get_run(registration.run)
    assert set(run.data.metrics) == {"accuracy", "f1", "roc_auc", "log_loss"}
    assert run.data.params["recipe"] == "first"
    assert register_recipe("first", mlflow_uri, model, key="story").created is False


def test_the_command_prints_one_json_document(
    mlflow_uri: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weak", "--tracking-uri", mlflow_uri, "--model", model]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed.items() >= {"model": model, "version": 1, "created": True}.items()


def test_steps_of_one_training_share_a_run_until_a_version_came_from_it(
    client: Any, model: str, package: Path
) -> None:
    run = start_run(experiment=model, key="dag/it's run 1")
    assert start_run(experiment=model, key="dag/it's run 1") == run
    assert start_run(experiment=model, key="dag/run 2") != run
    assert client.get_run(run).info.status == "RUNNING"

    registered = register(package, model=model, metrics={"accuracy": 0.9}, run=run, key="dag/run 1/digest")
    assert registered.run == run
    end_run(run)
    end_run(run)
    assert client.get_run(run).info.status == "FINISHED"
    assert register(package, model=model, metrics={"accuracy": 0.9}, run=run, key="dag/run 1/digest") == replace(
        registered, created=False
    )
    again = start_run(experiment=model, key="dag/it's run 1")
    assert again != run  # a run stands for one package, and what is trained now may be another
    assert versions(client, model) == [1]


def test_every_other_character_in_a_files_name_comes_back_as_it_was(
    client: Any, mlflow_uri: str, model: str, package: Path, tmp_path: Path
) -> None:
    """Through the real server, there and back. MLflow keeps # and % not, so these are refused before."""
    copied = tmp_path / "package"
    shutil.copytree(package, copied)
    kept = "!$&'()+,-.;=@[]^_`{}~ "
    for character in kept:
        (copied / f"a{character}b.txt").write_text(character)
    names = [path.name for path in copied.iterdir() if path.name != PACKAGE_FILE]
    (copied / PACKAGE_FILE).write_text(Package.of(hash_file(copied, name) for name in names).to_json())
    registered = register(copied, model=model, metrics={}, tracking_uri=mlflow_uri)
    registry = registry_of(MLflow(uri=mlflow_uri))
    version = registry.version(model, registered.version)
    contents = registry.contents(version)
    assert all(contents.is_whole(file, lambda _: None) for file in contents.package.files)
    assert set(contents.package.files) == set(Package.from_json((copied / PACKAGE_FILE).read_bytes()).files)
    assert set(registry.files(version)) >= {*names, PACKAGE_FILE}


@pytest.mark.parametrize("variable", ["", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"])
def test_an_mlflow_from_which_nothing_could_be_deployed_is_refused_before_anything_is_sent(
    variable: str, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    if variable:
        monkeypatch.setenv(variable, "databricks-uc")
    with pytest.raises(
        InvalidInput, match=rf"{variable or 'tracking_uri'}: this MLflow is not supported: Databricks"
    ):
        register(package, model="churn", metrics={}, tracking_uri=None if variable else "databricks")


@pytest.mark.parametrize("declares", [True, False])
def test_a_package_for_any_backend_has_the_signature_that_clients_see(
    declares: bool, mlflow_uri: str, mlflow: Any, model: str, tmp_path: Path
) -> None:
    config = 'backend: "pytorch" max_batch_size: 8\n'
    config += (
        'input { name: "x 1" data_type: TYPE_BF16 dims: [2] } output { name: "y" data_type: TYPE_STRING dims: [1] }'
        if declares
        else ""
    )
    case = SmokeCase("a", (Tensor("x 1", "BF16", (1, 2), (0.5, 1.0)),), (Tensor("y", "BYTES", (1, 1), ("dog",)),))
    (tmp_path / "config.pbtxt").write_text(config)
    (tmp_path / "smoke.json").write_text(SmokeCases((case,)).to_json())
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04")
    names = ("config.pbtxt", "smoke.json", "model.pt")
    (tmp_path / PACKAGE_FILE).write_text(Package.of(hash_file(tmp_path, name) for name in names).to_json())
    done = register(tmp_path, model=model, metrics={"accuracy": 1.0}, tracking_uri=mlflow_uri)

    registry = registry_of(MLflow(uri=mlflow_uri))
    registered = registry.version(model, done.version)
    assert set(registry.files(registered)) == {*names, PACKAGE_FILE}
    signature = registry.signature(registered)
    assert signature is not None
    served = Signature((TensorSpec("x 1", "BF16", (-1, 2)),), (TensorSpec("y", "BYTES", (-1, 1)),))
    assert differences(signature, as_in_mlflow(served), one_is="MLflow", other_is="Triton") == []
