"""Models as frameworks hold them become packages, and the graph answers what the framework answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import xgboost
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Perceptron, Ridge, RidgeClassifier, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC, OneClassSVM

from bot.domain.smoke import SmokeCases, Tensor
from bot.errors import InvalidInput
from bot.training import build_package, to_onnx
from bot.training.package import read_package

_CHANCE = np.random.default_rng(18)
NUMBERS = _CHANCE.normal(size=(120, 4))
TWO = (NUMBERS[:, 0] + NUMBERS[:, 1] > 0).astype(int)
THREE = _CHANCE.integers(0, 3, 120)
TABLE = pd.DataFrame(
    {
        "age": _CHANCE.integers(18, 90, 120),
        "mean income": _CHANCE.normal(size=120).round(2),
        "city": _CHANCE.choice(["Seoul", "서울", ""], 120),
        "vip": _CHANCE.random(120) > 0.5,
    }
)
_NUMBERS, _TEXT = ["age", "mean income"], ["city"]
_BRIEF = {"n_estimators": 5}


def _encoded(*steps: Any) -> Any:
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), _NUMBERS), ("text", OneHotEncoder(handle_unknown="ignore"), _TEXT)]
    )
    return make_pipeline(columns, *steps)


MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "logistic regression": lambda: (LogisticRegression().fit(NUMBERS, TWO), NUMBERS),
    "SGD, which has no probabilities": lambda: (SGDClassifier().fit(NUMBERS, TWO), NUMBERS),
    "linear SVC": lambda: (LinearSVC().fit(NUMBERS, TWO), NUMBERS),
    "SVC": lambda: (SVC().fit(NUMBERS, THREE), NUMBERS),
    "ridge classifier": lambda: (RidgeClassifier().fit(NUMBERS, THREE), NUMBERS),
    "perceptron": lambda: (Perceptron().fit(NUMBERS, THREE), NUMBERS),
    "ridge": lambda: (Ridge().fit(NUMBERS, NUMBERS[:, :2]), NUMBERS),
    "forest with text labels": lambda: (
        RandomForestClassifier(5).fit(NUMBERS, np.where(TWO, "yes", "no")),
        NUMBERS.astype(np.float32),
    ),
    "histogram classifier": lambda: (HistGradientBoostingClassifier(max_iter=5).fit(NUMBERS, THREE), NUMBERS),
    "histogram regressor": lambda: (HistGradientBoostingRegressor(max_iter=5).fit(NUMBERS, TWO), NUMBERS),
    "gradient boosting": lambda: (GradientBoostingRegressor(n_estimators=5).fit(NUMBERS, TWO), NUMBERS),
    "isolation forest": lambda: (IsolationForest(n_estimators=5).fit(NUMBERS), NUMBERS),
    "local outliers": lambda: (LocalOutlierFactor(novelty=True).fit(NUMBERS), NUMBERS),
    "one class": lambda: (OneClassSVM().fit(NUMBERS), NUMBERS),
    "neighbours": lambda: (KNeighborsClassifier().fit(NUMBERS, TWO), NUMBERS),
    "k-means": lambda: (KMeans(3, n_init=1).fit(NUMBERS), NUMBERS),
    "PCA": lambda: (PCA(2).fit(NUMBERS), NUMBERS),
    "stacking": lambda: (
        StackingClassifier([("a", LogisticRegression()), ("b", RandomForestClassifier(3))]).fit(NUMBERS, TWO),
        NUMBERS,
    ),
    "columns of a DataFrame": lambda: (_encoded(LogisticRegression()).fit(TABLE, TWO), TABLE),
    "a DataFrame of numbers": lambda: (Ridge().fit(TABLE[_NUMBERS], TWO), TABLE[_NUMBERS]),
    "columns passed through": lambda: (
        make_pipeline(
            ColumnTransformer(
                [("numbers", "passthrough", [*_NUMBERS, "vip"]), ("text", OrdinalEncoder(), _TEXT)],
            ),
            RandomForestClassifier(5),
        ).fit(TABLE, TWO),
        TABLE,
    ),
    "XGBoost classifier": lambda: (xgboost.XGBClassifier(**_BRIEF).fit(NUMBERS, TWO), NUMBERS),
    "XGBoost, three classes": lambda: (xgboost.XGBClassifier(**_BRIEF).fit(NUMBERS, THREE), NUMBERS),
    "XGBoost of named columns": lambda: (xgboost.XGBRegressor(**_BRIEF).fit(TABLE[_NUMBERS], TWO), TABLE[_NUMBERS]),
    "XGBoost in a pipeline": lambda: (_encoded(xgboost.XGBClassifier(**_BRIEF)).fit(TABLE, TWO), TABLE),
    "XGBoost booster, two classes": lambda: (
        xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(NUMBERS, TWO), 5),
        NUMBERS,
    ),
    "XGBoost booster, three classes": lambda: (
        xgboost.train({"objective": "multi:softprob", "num_class": 3}, xgboost.DMatrix(NUMBERS, THREE), 5),
        NUMBERS,
    ),
    "XGBoost booster, a number": lambda: (
        xgboost.train({"objective": "reg:squarederror"}, xgboost.DMatrix(TABLE[_NUMBERS], TWO), 5),
        TABLE[_NUMBERS],
    ),
    "LightGBM classifier": lambda: (lightgbm.LGBMClassifier(verbose=-1, **_BRIEF).fit(NUMBERS, TWO), NUMBERS),
    "LightGBM regressor": lambda: (lightgbm.LGBMRegressor(verbose=-1, **_BRIEF).fit(NUMBERS, TWO), NUMBERS),
    "LightGBM in a pipeline": lambda: (
        _encoded(lightgbm.LGBMClassifier(verbose=-1, **_BRIEF)).fit(TABLE, TWO),
        TABLE,
    ),
    "LightGBM booster, two classes": lambda: (
        lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(NUMBERS, TWO), 5),
        NUMBERS,
    ),
    "LightGBM booster, a number": lambda: (
        lightgbm.train({"objective": "regression", "verbose": -1}, lightgbm.Dataset(NUMBERS, TWO), 5),
        NUMBERS,
    ),
    "CatBoost classifier": lambda: (_cat(catboost.CatBoostClassifier).fit(NUMBERS, TWO), NUMBERS),
    "CatBoost, three classes": lambda: (_cat(catboost.CatBoostClassifier).fit(NUMBERS, THREE), NUMBERS),
    "CatBoost in a pipeline": lambda: (_encoded(_cat(catboost.CatBoostClassifier)).fit(TABLE, TWO), TABLE),
    "CatBoost regressor in a pipeline": lambda: (
        make_pipeline(StandardScaler(), _cat(catboost.CatBoostRegressor)).fit(NUMBERS, TWO),
        NUMBERS,
    ),
    "CatBoost regressor": lambda: (_cat(catboost.CatBoostRegressor).fit(NUMBERS, NUMBERS[:, 0]), NUMBERS),
}


def _cat(kind: Any) -> Any:
    return kind(iterations=5, verbose=0, allow_writing_files=False)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_becomes_a_package_that_holds_what_its_framework_answers(name: str, tmp_path: Path) -> None:
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


class OwnClassifier(LogisticRegression):
    """One of a team's own, of which no converter knows."""


@pytest.mark.parametrize(
    ("model", "inputs", "says"),
    [
        (object(), NUMBERS, "model: nothing here converts a object to ONNX"),
        (lambda: 0, NUMBERS, "model: nothing here converts a function to ONNX"),
        (OwnClassifier().fit(NUMBERS, TWO), NUMBERS, "model: OwnClassifier cannot be converted to ONNX: "),
        (
            VotingClassifier([("a", LogisticRegression())]).fit(NUMBERS, TWO),
            NUMBERS,
            "VotingClassifier cannot be converted to ONNX: flatten_transform",
        ),
        (LogisticRegression(), NUMBERS, "LogisticRegression cannot be converted to ONNX: "),
        (LogisticRegression().fit(NUMBERS, TWO), [[1, 2], [3]], "inputs: have rows of different lengths"),
        (_encoded(Ridge()).fit(TABLE, TWO), NUMBERS, "Pipeline cannot be converted to ONNX: "),
        (
            _encoded(Ridge()).fit(TABLE, TWO),
            TABLE.assign(city=pd.Series([None, *TABLE["city"][1:]], dtype=object)),
            "inputs: city: row 0 holds None, which is neither a number nor text",
        ),
        (
            xgboost.XGBRegressor(**_BRIEF).fit(NUMBERS, TWO),
            TABLE,
            "inputs: city is not a column of numbers, and such a model has one input of numbers",
        ),
        (_cat(catboost.CatBoostClassifier), NUMBERS, "CatBoostClassifier cannot be converted to ONNX: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_model_that_cannot_be_converted_is_told_by_its_class(
    model: Any, inputs: Any, says: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput) as refused:
        build_package(model, tmp_path / "p", inputs=inputs)
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
