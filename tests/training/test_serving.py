"""What a package promises, asked of a real Triton."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from sklearn.linear_model import LogisticRegression

from bot.domain.signature import Signature, TensorSpec
from bot.domain.signature import differences as signature_differences
from bot.domain.smoke import SmokeCase, SmokeCases, Tensor, differences
from bot.sandbox.reference import RECIPES, train
from bot.systems.triton.config import parse_config
from bot.training import build_package
from tests.models.frameworks import MODELS
from tests.servers import RunningTriton as Triton
from tests.training.shapes import SHAPES

VERSION = 7


@pytest.fixture(scope="module")
def client(triton: Triton) -> Iterator[triton_grpc.InferenceServerClient]:
    with triton_grpc.InferenceServerClient(triton.grpc) as opened:
        yield opened


def publish(package: Path, repository: Path, model: str) -> None:
    version = repository / model / str(VERSION)
    version.mkdir(parents=True)
    shutil.copy(package / "config.pbtxt", repository / model)
    shutil.copy(package / "model.onnx", version)


_KINDS = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_, "BYTES": np.object_}


def ask(client: Any, model: str, case: SmokeCase) -> list[Tensor]:
    inputs = []
    for tensor in case.inputs:
        array = np.array(tensor.data, dtype=_KINDS[tensor.datatype]).reshape(tensor.shape)
        inputs.append(triton_grpc.InferInput(tensor.name, list(tensor.shape), tensor.datatype))
        inputs[-1].set_data_from_numpy(array)
    result = client.infer(model, inputs, model_version=str(VERSION))
    answer = []
    for output in result.get_response().outputs:
        values = result.as_numpy(output.name).ravel().tolist()
        data = tuple(value.decode() if isinstance(value, bytes) else value for value in values)
        answer.append(Tensor(output.name, output.datatype, tuple(output.shape), data))
    return answer


def wrong_answers(client: Any, triton: Triton, package: Path, model: str) -> dict[str, list[str]]:
    publish(package, triton.repository, model)
    client.load_model(model)
    smoke = SmokeCases.from_json(package.joinpath("smoke.json").read_text())
    found = {case.name: differences(case, ask(client, model, case), smoke.tolerance) for case in smoke.cases}
    return {name: sentences for name, sentences in found.items() if sentences}


@pytest.mark.parametrize("recipe", ["first", "better", "weak", "best"])
def test_triton_answers_what_the_framework_answered(client: Any, triton: Triton, recipe: str, tmp_path: Path) -> None:
    train(RECIPES[recipe]).package(tmp_path / "package")
    assert wrong_answers(client, triton, tmp_path / "package", recipe) == {}


def test_the_export_without_its_scaler_answers_something_else(client: Any, triton: Triton, tmp_path: Path) -> None:
    train(RECIPES["unscaled"]).package(tmp_path / "package")
    wrong = wrong_answers(client, triton, tmp_path / "package", "unscaled")
    assert len(wrong) == 9  # each of the 8 rows, and the batch
    assert any(sentence.startswith("probabilities[0]: ") for sentence in wrong["batch-of-8"])


SAMPLE = (
    "columns of a DataFrame",
    "XGBoost booster, two classes",
    "LightGBM in a pipeline",
    "CatBoost in a pipeline",
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.extended) for name in MODELS]
)
def test_triton_answers_what_each_framework_answered(client: Any, triton: Triton, name: str, tmp_path: Path) -> None:
    model, rows = MODELS[name]()
    build_package(model, tmp_path / "package", inputs=rows[:6])
    assert wrong_answers(client, triton, tmp_path / "package", f"family-{list(MODELS).index(name)}") == {}


AT_ONCE = ("fixed batch", "scalar output", "more outputs than rows", "names with signs")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in AT_ONCE else pytest.mark.extended) for name in SHAPES]
)
def test_triton_answers_requests_of_every_shape(client: Any, triton: Triton, name: str, tmp_path: Path) -> None:
    served = SHAPES[name]()
    build_package(served.model, tmp_path / "package", inputs=served.inputs, answers=served.answers, **served.given)
    config = parse_config((tmp_path / "package/config.pbtxt").read_text())
    assert config.max_batch_size == served.max_batch_size
    model = f"shape-{list(SHAPES).index(name)}"
    assert wrong_answers(client, triton, tmp_path / "package", model) == {}
    metadata = client.get_model_metadata(model, str(VERSION))
    said = Signature(*(tuple(map(_spec, side)) for side in (metadata.inputs, metadata.outputs)))
    assert signature_differences(config.signature, said, one_is="config.pbtxt", other_is="Triton") == []


def _spec(tensor: Any) -> TensorSpec:
    return TensorSpec(tensor.name, tensor.datatype, tuple(tensor.shape))


def test_text_labels_come_back_one_per_row(client: Any, triton: Triton, tmp_path: Path) -> None:
    rows = np.array([[0, 1], [1, 0], [5, 4], [4, 5]], dtype=np.float32)
    model = LogisticRegression().fit(rows, ["low", "low", "high", "high"])
    answers = {"label": model.predict(rows), "probabilities": model.predict_proba(rows)}
    build_package(model, tmp_path / "package", inputs=rows, answers=answers, instances=2, max_batch_size=8)
    assert wrong_answers(client, triton, tmp_path / "package", "words") == {}
