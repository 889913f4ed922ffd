"""A model directory of Triton on its way to users: packaged, registered, proposed, checked, deployed, asked."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from bot.domain.smoke import SmokeCases
from tests.operations.test_datatypes import asked, released
from tests.operations.world import HTTP, Registered, World
from tests.training.shapes import SHAPES
from tests.training.test_model_directory import CONFIG, PYTHON

METRICS = [
    word for name in ("accuracy=0.99", "f1=0.99", "roc_auc=0.99", "log_loss=0.01") for word in ("--metric", name)
]


def packaged(world: World, directory: Path, *answers: str) -> Registered:
    """Type ``promobot package`` with ``--register``; return what MLflow has."""
    model = world.model()
    samples = ("--samples", str(directory.parent / "rows.npz"))
    said = world.promobot(
        "package", str(directory), *samples, *answers, "--register", model, *METRICS,
        env={"MLFLOW_TRACKING_URI": world.endpoints.mlflow},
    )  # fmt: skip
    assert said.code == 0, said
    version, digest = said.document["registered"], said.document["digest"]
    named = {"name": model, "version": str(version)}
    answer = HTTP.get(f"{world.endpoints.mlflow}/api/2.0/mlflow/model-versions/get", params=named).raise_for_status()
    found = answer.json()["model_version"]
    (artifacts,) = (world.endpoints.directory / "mlflow/artifacts").glob(f"*/{found['run_id']}/artifacts/model-*")
    return Registered(model, version, found["run_id"], digest, artifacts)


def test_a_directory_with_labels_is_served_and_answers_with_them(world: World, tmp_path: Path) -> None:
    directory = tmp_path / "taxes"
    (directory / "1").mkdir(parents=True)
    onnx.save(SHAPES["label declared for one row"]().model, directory / "1/unused.onnx")
    node = onnx.helper.make_node("Identity", ["X"], ["Y"])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 3]) for name in "XY"]
    graph = onnx.helper.make_graph([node], "same", ends[:1], ends[1:])
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), directory / "1/model.onnx")
    (directory / "config.pbtxt").write_text(CONFIG)
    (directory / "labels.txt").write_text("ant\nbee\ncow\n")
    np.savez(tmp_path / "rows.npz", X=np.float32([[1, 3, 2], [4, 0, 0]]))
    np.savez(tmp_path / "answers.npz", Y=np.float32([[1, 3, 2], [4, 0, 0]]))
    registered = packaged(world, directory, "--answers", str(tmp_path / "answers.npz"))
    released(world, registered)
    assert asked(world, registered) == str(registered.version)
    url = f"{world.endpoints.gateway['dev'][0].url}/v2/models/{registered.model}/infer"
    best = {
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 3], "data": [1, 3, 2]}],
        "outputs": [{"name": "Y", "parameters": {"classification": 2}}],
    }
    document = HTTP.post(url, json=best).raise_for_status().json()
    assert document["outputs"][0]["data"] == ["3.000000:1:bee", "2.000000:2:cow"]


@pytest.mark.extended
def test_a_python_model_runs_where_it_is_allowed_by_name_and_its_environment_by_digest(
    world: World, tmp_path: Path
) -> None:
    directory = tmp_path / "doubler"
    (directory / "1").mkdir(parents=True)
    (directory / "1/model.py").write_text(PYTHON)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/activate").write_text("true\n")
    with tarfile.open(directory / "env.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "bin", "bin")
    (directory / "config.pbtxt").write_text(
        'backend: "python" max_batch_size: 4 '
        'input { name: "X" data_type: TYPE_FP32 dims: [2] } output { name: "Y" data_type: TYPE_FP32 dims: [2] } '
        'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz" } }'
    )
    rows = np.float32([[1, 2], [3, 4]])
    np.savez(tmp_path / "rows.npz", X=rows)
    np.savez(tmp_path / "answers.npz", Y=rows * 2)
    registered = packaged(world, directory, "--answers", str(tmp_path / "answers.npz"))

    refused = world.promobot("propose", registered.model, registered.version, "--env", "dev")
    assert refused.code != 0
    assert "python; allowed: onnxruntime" in refused.out
    world.configure(
        "dev", packages={"backends": ["onnxruntime", "python"], "file_types": [".py", ".tar.gz", ".onnx"]}
    )
    refused = world.promobot("propose", registered.model, registered.version, "--env", "dev")
    assert "the sha256 of 'env.tar.gz' is not one of packages.python_environments here" in refused.out
    sha256 = hashlib.sha256((directory / "env.tar.gz").read_bytes()).hexdigest()
    world.configure("dev", packages={"python_environments": {"doubler-2026": f"sha256:{sha256}"}})
    released(world, registered)
    assert asked(world, registered) == str(registered.version)
    smoke = SmokeCases.from_json((registered.artifacts / "smoke.json").read_bytes())
    assert smoke.cases[-1].outputs[0].data == tuple((rows * 2).ravel().tolist())
