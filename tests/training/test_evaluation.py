"""Evaluation sets as a training job writes them: NumPy, pandas, batches; and in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bot.errors import InvalidInput
from bot.evaluation.sets import Batch, open_set
from bot.training import WrittenSet, evaluation_set, log_evaluation_set


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "age": np.array([20, 30, 40], dtype=np.int64),
            "city": ["Busan", "Köln", "Lima"],
            "region": pd.Categorical(["asia", "europe", "america"]),
            "paid": [True, False, True],
        }
    )


def read(written: WrittenSet) -> Batch:
    (batch,) = open_set(written.directory, written.digest).batches(100)
    return batch


def test_a_frame_gives_an_input_for_each_column(tmp_path: Path) -> None:
    rows = frame()
    written = evaluation_set(
        str(tmp_path / "set"),
        inputs=rows[["age", "city"]],
        labels=rows["paid"],
        slices=rows[["region"]],
        groups=rows["city"],
    )
    batch = read(written)

    assert written.rows == 3
    assert batch.inputs["age"].tolist() == [[20], [30], [40]]
    assert batch.inputs["city"].tolist() == [[b"Busan"], ["Köln".encode()], [b"Lima"]]
    assert batch.labels is not None and batch.labels.tolist() == [1, 0, 1]
    assert batch.slices["region"].tolist() == ["asia", "europe", "america"]


def test_a_frame_by_name_is_one_input(tmp_path: Path) -> None:
    rows = pd.DataFrame({"a": np.float32([1, 2]), "b": np.float32([3, 4])})
    batch = read(evaluation_set(tmp_path / "set", inputs={"X": rows}))
    assert batch.inputs["X"].tolist() == [[1, 3], [2, 4]] and batch.inputs["X"].dtype == np.float32


def test_a_frame_of_several_types_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="inputs: X: has the type object, and row 0 holds int") as failure:
        evaluation_set(tmp_path / "set", inputs={"X": frame()})
    assert "to_numpy(np.float32)" in failure.value.next_step


def test_batches_are_read_one_after_the_other(tmp_path: Path) -> None:
    def batches() -> Any:
        for number in range(5):
            yield {"inputs": pd.DataFrame({"n": [number, number]}), "labels": [0, 1]}

    batch = read(evaluation_set(tmp_path / "set", batches=batches()))
    assert batch.inputs["n"].ravel().tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_batches_and_arrays_are_two_ways(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="batches: is given beside labels"):
        evaluation_set(tmp_path / "set", batches=[], labels=[1])
    with pytest.raises(InvalidInput, match="batches: holds tuple instead of mappings"):
        evaluation_set(tmp_path / "set", batches=[(1, 2)])  # type: ignore[list-item]
    with pytest.raises(InvalidInput, match="inputs: is missing"):
        evaluation_set(tmp_path / "set", labels=[1])
    with pytest.raises(InvalidInput, match="rows of different shapes"):
        evaluation_set(tmp_path / "set", inputs={"X": [[1.0], [2.0, 3.0]]})


def test_a_folder_without_a_set_is_not_logged(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no evaluation set"):
        log_evaluation_set(tmp_path)
    written = evaluation_set(tmp_path / "set", inputs={"X": np.zeros(3)})
    next(written.directory.glob("*.parquet")).write_bytes(b"")
    with pytest.raises(InvalidInput, match="is damaged: 0 bytes"):
        log_evaluation_set(written.directory)


def test_a_set_is_logged_once_to_an_experiment(tmp_path: Path, mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    written = evaluation_set(tmp_path / "set", inputs={"X": np.arange(7.0)})
    address = log_evaluation_set(written.directory, tracking_uri=mlflow_uri)
    again = log_evaluation_set(written.directory, tracking_uri=mlflow_uri)

    assert again == address
    run, place = address.removeprefix("runs:/").split("/")
    client = MlflowClient(tracking_uri=mlflow_uri)
    assert client.get_run(run).info.status == "FINISHED"
    assert {Path(file.path).name for file in client.list_artifacts(run, place)} == {
        file.name for file in written.directory.iterdir()
    }


def test_a_set_is_logged_to_a_run_that_goes_on(tmp_path: Path, mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=mlflow_uri)
    run = client.create_run(client.create_experiment("of the training")).info.run_id
    written = evaluation_set(tmp_path / "set", inputs={"X": np.arange(7.0)})

    assert log_evaluation_set(written.directory, run=run, tracking_uri=mlflow_uri).startswith(
        f"runs:/{run}/evaluation-"
    )
    assert client.get_run(run).info.status == "RUNNING"
