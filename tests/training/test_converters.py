"""Models as frameworks hold them become packages, and the graph answers what the framework answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import mlflow
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import xgboost
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import IsolationForest, VotingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bot.domain.smoke import SmokeCases, Tensor
from bot.errors import InvalidInput
from bot.training import build_package, to_onnx
from bot.training.package import read_package
from tests.models.frameworks import MODELS, NUMBERS, TABLE, TWO, cat, encoded


@pytest.mark.parametrize("name", MODELS)
def test_a_model_becomes_a_package_that_holds_what_its_framework_answers(name: str, tmp_path: Path) -> None:
    # A forest of chance may split so close to a row that single precision takes the other branch.
    np.random.seed(3)
    model, rows = MODELS[name]()
    build_package(model, tmp_path, inputs=rows[:6])
    read_package(tmp_path)
    cases = SmokeCases.from_json(tmp_path.joinpath("smoke.json").read_bytes()).cases
    graph = onnx.load(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    assert [case.name for case in cases][-1] == "batch-of-6"
    for case in cases:
        assert case.outputs
        names = [output.name for output in case.outputs]
        answers = session.run(names, {tensor.name: _array(tensor) for tensor in case.inputs})
        for answer, output in zip(answers, case.outputs, strict=True):
            wanted = np.array(output.data).reshape(output.shape)
            assert answer.reshape(output.shape).shape == wanted.shape
            if wanted.dtype.kind == "f":
                np.testing.assert_allclose(answer.reshape(output.shape), wanted, rtol=1e-3, atol=1e-4)
            else:
                assert (answer.reshape(output.shape) == wanted).all()


def _array(tensor: Tensor) -> Any:
    if tensor.datatype == "BYTES":
        return np.array(tensor.data, dtype=object).reshape(tensor.shape)
    kind = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64}[tensor.datatype]
    return np.array(tensor.data, dtype=kind).reshape(tensor.shape)


def test_the_same_model_is_the_same_package() -> None:
    for name in ("XGBoost booster, two classes", "CatBoost classifier", "LightGBM classifier", "isolation forest"):
        model, rows = MODELS[name]()
        assert to_onnx(model, rows[:2]).SerializeToString() == to_onnx(model, rows[:2]).SerializeToString(), name


def test_a_graph_that_lowers_text_asks_for_no_locale_that_a_server_may_lack() -> None:
    model, rows = MODELS["words of a text"]()
    nodes = [node for node in to_onnx(model, rows[:2]).graph.node if node.op_type == "StringNormalizer"]
    locales = [a.s for node in nodes for a in node.attribute if a.name == "locale"]
    assert locales and set(locales) == {b"C.UTF-8"}


class OwnClassifier(LogisticRegression):
    """One of a team's own, of which no converter knows."""


class Halves(TransformerMixin, BaseEstimator):
    """A transformer of a team's own."""

    def fit(self, *_: Any) -> Halves:
        return self

    def transform(self, rows: Any) -> Any:
        return rows / 2


@pytest.mark.parametrize(
    ("model", "inputs", "says"),
    [
        (lambda: object(), NUMBERS, "model: nothing here converts a object to ONNX"),
        (lambda: lambda: 0, NUMBERS, "model: nothing here converts a function to ONNX"),
        (lambda: OwnClassifier().fit(NUMBERS, TWO), NUMBERS, "model: OwnClassifier cannot be converted to ONNX: "),
        (
            lambda: VotingClassifier([("a", LogisticRegression())]).fit(NUMBERS, TWO),
            NUMBERS,
            "VotingClassifier cannot be converted to ONNX: flatten_transform",
        ),
        (lambda: LogisticRegression(), NUMBERS, "LogisticRegression cannot be converted to ONNX: "),
        (lambda: LogisticRegression().fit(NUMBERS, TWO), [[1, 2], [3]], "inputs: have rows of different lengths"),
        (lambda: encoded(Ridge()).fit(TABLE, TWO), NUMBERS, "Pipeline cannot be converted to ONNX: "),
        (
            lambda: encoded(Ridge()).fit(TABLE, TWO),
            TABLE.assign(city=pd.Series([None, *TABLE["city"][1:]], dtype=object)),
            "inputs: city: row 0 holds None, which is neither a number nor text",
        ),
        (
            lambda: xgboost.XGBRegressor(n_estimators=5).fit(NUMBERS, TWO),
            TABLE,
            "inputs: city is not a column of numbers, and such a model has one input of numbers",
        ),
        (lambda: cat(catboost.CatBoostClassifier), NUMBERS, "CatBoostClassifier cannot be converted to ONNX: "),
        (
            lambda: cat(catboost.CatBoostClassifier).fit(NUMBERS, TWO > 0),
            NUMBERS,
            "CatBoostClassifier has labels of bool, ",
        ),
        (
            lambda: encoded(cat(catboost.CatBoostClassifier)).fit(TABLE, TWO * 1.0),
            TABLE,
            "CatBoostClassifier has labels of float64, which its exporter does not write",
        ),
        (
            lambda: lightgbm.LGBMClassifier(verbose=-1, n_estimators=3).fit(NUMBERS, TWO > 0),
            NUMBERS,
            "LGBMClassifier has labels of bool, which its exporter does not write",
        ),
        (
            lambda: xgboost.XGBClassifier(booster="dart", n_estimators=3).fit(NUMBERS, TWO),
            NUMBERS,
            "XGBClassifier has the booster dart, and the converter knows gbtree only",
        ),
        (
            lambda: xgboost.XGBRegressor(n_estimators=3).fit(NUMBERS, NUMBERS[:, :2]),
            NUMBERS,
            "XGBRegressor predicts 2 numbers, and the converter knows trees of one",
        ),
        (
            lambda: make_pipeline(Halves(), LogisticRegression()).fit(NUMBERS, TWO),
            NUMBERS,
            "Pipeline cannot be converted to ONNX: there is no converter for Halves",
        ),
        (
            lambda: make_pipeline(StandardScaler(), MultiOutputClassifier(LogisticRegression())).fit(
                NUMBERS, np.stack([TWO, 1 - TWO], axis=1)
            ),
            NUMBERS,
            "MultiOutputClassifier answers several labels for a row, with a list of probabilities",
        ),
        (
            lambda: TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1).fit(NUMBERS, TWO),
            NUMBERS,
            "TransformedTargetRegressor turns the answers of its regressor back by a function of Python",
        ),
        (
            lambda: cat(catboost.CatBoostRegressor, loss_function="MultiRMSE").fit(NUMBERS, NUMBERS[:, :2]),
            NUMBERS,
            "CatBoostRegressor was trained with MultiRMSE and answers several numbers",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_model_that_cannot_be_converted_is_told_by_its_class(
    model: Callable[[], Any], inputs: Any, says: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput) as refused:
        build_package(model(), tmp_path / "p", inputs=inputs)
    assert says in str(refused.value)
    assert refused.value.next_step
    assert not tmp_path.joinpath("p").exists()


def test_given_answers_are_answers_to_the_rows_as_they_were_given(tmp_path: Path) -> None:
    model = IsolationForest(n_estimators=5).fit(NUMBERS)
    answers = {"label": model.predict(NUMBERS[:4])}
    with pytest.raises(InvalidInput, match="inputs: X: has values that FP32 cannot hold"):
        build_package(model, tmp_path / "p", inputs=NUMBERS[:4], answers=answers)
    rounded = NUMBERS[:4].astype(np.float32)
    build_package(model, tmp_path / "p", inputs=rounded, answers={"label": model.predict(rounded.astype(float))})


def test_onnx_needs_the_answers_of_its_framework(tmp_path: Path) -> None:
    model = to_onnx(LogisticRegression().fit(NUMBERS, TWO), NUMBERS[:2])
    with pytest.raises(InvalidInput, match="answers: are missing"):
        build_package(model, tmp_path / "p", inputs=NUMBERS[:2])


def test_of_a_pyfunc_the_model_in_it_is_converted(tmp_path: Path) -> None:
    rows = NUMBERS[:30].astype(np.float32)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, np.arange(30) % 2)
    mlflow.sklearn.save_model(model, str(tmp_path / "logged"), pip_requirements=[])
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "logged"))
    package = build_package(loaded, tmp_path / "of-the-pyfunc", inputs=rows[:3])
    assert package.digest == build_package(model, tmp_path / "of-the-model", inputs=rows[:3]).digest


def test_a_pyfunc_that_is_only_code_is_refused_with_what_takes_it(tmp_path: Path) -> None:
    def doubled(values: list[float]) -> list[float]:
        return [2 * value for value in values]

    mlflow.pyfunc.save_model(str(tmp_path / "logged"), python_model=doubled, pip_requirements=[])
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "logged"))
    with pytest.raises(InvalidInput, match="the PyFuncModel holds no model of a framework") as refused:
        build_package(loaded, tmp_path / "package", inputs=NUMBERS[:3])
    assert "promobot adopt MODEL VERSION --python-environment FILE" in refused.value.next_step
    assert not (tmp_path / "package").exists()
