"""The sandbox's MLflow is the real server: runs, artifacts through it, and a registry."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts


def test_a_version_and_its_files(mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    client = MlflowClient(tracking_uri=mlflow_uri, registry_uri=mlflow_uri)
    run = client.create_run("0")
    (tmp_path / "package.json").write_text("{}")
    client.log_artifact(run.info.run_id, str(tmp_path / "package.json"), "model")
    client.create_registered_model("of-the-sandbox")
    version = client.create_model_version("of-the-sandbox", f"runs:/{run.info.run_id}/model", run.info.run_id)

    assert (version.version, version.status) == ("1", "READY")
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    fetched = download_artifacts(artifact_uri=f"runs:/{run.info.run_id}/model", dst_path=str(tmp_path / "fetched"))
    assert (Path(fetched) / "package.json").read_text() == "{}"
    client.set_registered_model_alias("of-the-sandbox", "dev", "1")
    assert client.get_model_version_by_alias("of-the-sandbox", "dev").version == "1"
