"""A set as a check gets it: out of MLflow or a bucket, by the settings, and off this machine's disk the next time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bot.environment_files import load
from bot.errors import InvalidInput, Rejected, Unavailable
from bot.operations.evaluating import rows_of
from bot.platform import Platform
from bot.sandbox.s3 import ObjectStorage
from bot.settings import Environment, EvaluationRules
from bot.training import WrittenSet, evaluation_set, log_evaluation_set
from tests.evaluation.rows import churn

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> WrittenSet:
    """A set as a training job writes it. Nobody changes it."""
    return evaluation_set(tmp_path_factory.mktemp("sets") / "churn", **churn(300))


def settings(mlflow: str = "http://127.0.0.1:9", **changes: Any) -> Environment:
    dev = load(PROJECT, "dev")
    deadlines = dev.deadlines.model_copy(update={"request_seconds": 2.0, "download_seconds": 2.0})
    of_mlflow = dev.mlflow.model_copy(update={"uri": mlflow})
    return dev.model_copy(update={"mlflow": of_mlflow, "deadlines": deadlines, **changes})


def rules(written: WrittenSet, **source: Any) -> EvaluationRules:
    return EvaluationRules.model_validate({"digest": written.digest, **source})


def test_a_set_that_was_logged_is_fetched_once(written: WrittenSet, mlflow_uri: str, tmp_path: Path) -> None:
    where = rules(written, **{"from": log_evaluation_set(written.directory, tracking_uri=mlflow_uri)})
    variables = {"XDG_CACHE_HOME": str(tmp_path)}
    with Platform(settings(mlflow_uri), variables) as platform:
        found = rows_of(platform, where)
    assert found.folder == tmp_path / "promobot/evaluation" / written.digest.removeprefix("sha256:")
    (batch,) = found.batches(1000)
    np.testing.assert_equal(batch.inputs["X"], churn(300)["inputs"]["X"])

    with Platform(settings(), variables) as platform:  # no MLflow is there
        assert rows_of(platform, where) == found
    elsewhere = {"XDG_CACHE_HOME": str(tmp_path / "elsewhere")}
    with (
        Platform(settings(), elsewhere) as platform,
        pytest.raises(Unavailable, match=r"download evaluation\.json of runs:/"),
    ):
        rows_of(platform, where)


def test_another_set_at_the_same_place_is_refused(written: WrittenSet, mlflow_uri: str, tmp_path: Path) -> None:
    other = evaluation_set(tmp_path / "set", **churn(10))
    address = log_evaluation_set(other.directory, tracking_uri=mlflow_uri)
    with (
        Platform(settings(mlflow_uri), {"XDG_CACHE_HOME": str(tmp_path)}) as platform,
        pytest.raises(InvalidInput, match=f"{address}/evaluation.json: is that of another set, or was changed"),
    ):
        rows_of(platform, rules(written, **{"from": address}))


def test_a_set_in_a_bucket_is_fetched_with_the_settings_own_key(
    written: WrittenSet, object_storage: ObjectStorage, tmp_path: Path
) -> None:
    for file in written.directory.iterdir():
        object_storage.client().upload_file(str(file), object_storage.bucket, f"sets/of/churn/{file.name}")
    bucket = {
        "bucket": object_storage.bucket,
        "prefix": "sets/of/churn",
        "endpoint": object_storage.endpoint,
        "region": object_storage.region,
        "access_key_id_env": "SETS_KEY_ID",
        "secret_access_key_env": "SETS_KEY",
    }
    held = {
        "XDG_CACHE_HOME": str(tmp_path),
        "SETS_KEY_ID": object_storage.credentials.access_key_id,
        "SETS_KEY": object_storage.credentials.secret_access_key,
    }
    with Platform(settings(), held) as platform:
        assert rows_of(platform, rules(written, s3=bucket)).rows == 300
        with pytest.raises(Rejected, match=r"s3://.*/sets/of/nobody.*NoSuchKey") as failure:
            other = evaluation_set(tmp_path / "set", **churn(10))
            rows_of(platform, rules(other, s3=bucket | {"prefix": "sets/of/nobody"}))
        assert "evaluation.<model>.s3" in failure.value.next_step
